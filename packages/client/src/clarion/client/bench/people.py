"""A large number of recipients, written into the tables of ``recipients`` at once.

Set-up, not part of what is measured: by the API a million persons take minutes. The
rows are the ones that the service itself would have written.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from clarion.api.recipients.v1.recipient_pb2 import Preferences

WIDTH = 8
_STEP = 100_000
_PREFIX = "user-"

# Emails are lower case and numbers E.164 already, so their digests are of the text.
_PEOPLE = """
INSERT INTO recipients.person (
    tenant_id, user_id, email, email_digest, phone_number, phone_digest,
    display_name, locale, time_zone, attributes, updated_time
)
SELECT {tenant}, u, u || '@people.example', sha256((u || '@people.example')::bytea),
    p, sha256(p::bytea), 'Person ' || n, 'en', 'UTC', '', now()
FROM generate_series({first}::int, {last}::int) AS n,
    LATERAL (SELECT 'user-' || lpad(n::text, 8, '0') AS u,
                    '+1415' || lpad((5550000 + n % 10000)::text, 7, '0') AS p)
"""
_DEVICES = """
INSERT INTO recipients.device (
    tenant_id, user_id, device_id, platform, token, token_digest, app_id,
    last_seen_time, registered_time
)
SELECT {tenant}, u, 'phone', platform, token, sha256(token::bytea), '', now(), now()
FROM generate_series({first}::int, {last}::int) AS n,
    LATERAL (SELECT 'user-' || lpad(n::text, 8, '0') AS u),
    LATERAL (SELECT CASE n % 5 WHEN 4 THEN 'ios' ELSE 'android' END AS platform,
                    CASE n % 5 WHEN 4 THEN rpad(encode(u::bytea, 'hex'), 64, '0')
                    ELSE 'fcm-' || u END AS token)
"""
_PREFERENCES = """
INSERT INTO recipients.preference (tenant_id, user_id, body, version, updated_time)
SELECT {tenant}, 'user-' || lpad(n::text, 8, '0'),
    CASE WHEN n % 50 = 0 THEN {quiet}::bytea ELSE {wishes}::bytea END, 1, now()
FROM generate_series({first}::int, {last}::int) AS n
WHERE n % 10 = 0
"""


def user_id(number: int) -> str:
    """The id of one person; all are equally long."""
    return f"{_PREFIX}{number:0{WIDTH}d}"


def has_inbox(number: int) -> bool:
    """Whether the person takes in-app messages: one in fifty has switched them off."""
    return number % 50 != 0


def load_people(url: str, count: int, tenant: str = "demo") -> None:
    """Persons 0 .. count-1 with an email, a number and a phone (one in five an
    iPhone); one in ten has wishes:

    no promotions, quiet hours (not now), a limit of their own, some no in-app.
    """
    wishes = _wishes(datetime.now(UTC))
    bodies = {"wishes": wishes.SerializeToString()}
    wishes.in_app_enabled = False
    bodies["quiet"] = wishes.SerializeToString()
    with psycopg.connect(url, autocommit=True) as connection:
        for first in range(0, count, _STEP):
            values = {
                "tenant": sql.Literal(tenant),
                "first": sql.Literal(first),
                "last": sql.Literal(min(first + _STEP, count) - 1),
                **{name: sql.Literal(body) for name, body in bodies.items()},
            }
            for statement in (_PEOPLE, _DEVICES, _PREFERENCES):
                connection.execute(sql.SQL(statement).format(**values))
        for table in ("person", "device", "preference"):
            connection.execute(f"VACUUM (ANALYZE) recipients.{table}")


def _wishes(now: datetime) -> Preferences:
    wishes = Preferences(categories={"promotional": False})
    quiet = now + timedelta(hours=11)
    wishes.quiet_hours.start = quiet.strftime("%H:%M")
    wishes.quiet_hours.end = (quiet + timedelta(hours=1)).strftime("%H:%M")
    wishes.quiet_hours.timezone = "UTC"
    wishes.frequency_limits["promotional"].daily = 2
    return wishes
