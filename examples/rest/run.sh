#!/bin/sh
# Every call that most callers need, in order. CLARION_TARGET is host:port of the edge,
# CLARION_KEY_FILE a file with the API key.
set -eu
cd "$(dirname "$0")"
url="http://$CLARION_TARGET/api/v1"
key="authorization: Bearer $(cat "$CLARION_KEY_FILE")"

say() { printf '\n# %s\n' "$1"; }

say "A person: address and device. Unknown people are skipped, not refused."
curl -sS -X PUT "$url/users/user_1" -H "$key" --json @recipient.json

# The idempotency_key in the body makes repeating safe: run this twice and the id is the
# same. --retry repeats 429, 503 and 504 and waits as long as retry-after says.
say "One notification"
answer=$(curl -sS --retry 5 "$url/notifications" -H "$key" --json @single.json)
echo "$answer"
id=$(echo "$answer" | sed 's/.*"notification_id":"\([^"]*\)".*/\1/')

say "Many: one result each, in order"
curl -sS "$url/notifications/bulk" -H "$key" --json @bulk.json

say "An error: 400, a reason for programs, the fields for people"
curl -sS "$url/notifications" -H "$key" --json '{"type": "order_confirmation"}'

say "What became of the first"
sleep 1
curl -sS "$url/notifications/$id" -H "$key"

say "Preferences: what is given changes, the rest stays"
curl -sS -X PUT "$url/users/user_1/preferences" -H "$key" --json @preferences.json

say "Analytics"
curl -sS "$url/analytics/notifications?period=last_7_days&metrics=sent,delivered,opened,clicked&breakdown=channel" -H "$key"

say "The inbox, then live for 3 seconds: all items from version 0, then changes"
curl -sS "$url/users/user_1/inbox?page_size=1" -H "$key"
echo
curl -sSN --max-time 3 "$url/users/user_1/inbox:watch" -H "$key" -H "last-event-id: 0" || test $? -eq 28
