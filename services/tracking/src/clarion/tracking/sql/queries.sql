-- Named queries. Arrays come as columns of one batch (columns.py); the plan is made for
-- their real length, so none of these is prepared.

-- name: take_turn
-- One writer at a time: a notification's status is read from all its deliveries, and two
-- batches that each see half of them would both be wrong.
SELECT pg_advisory_xact_lock(%(key)s::bigint)

-- name: turn_and_types
-- With the turn, the OIDs of the composite types, which COPY must name.
SELECT to_regtype('delivery')::oid, to_regtype('attempt')::oid
FROM (SELECT pg_advisory_xact_lock(%(key)s::bigint)) AS turn

-- name: take_known
-- Takes the rows out; they come back by COPY with what the batch adds to them.
DELETE FROM notifications
WHERE notification_id = ANY(%(notification_id)s::uuid[])
RETURNING
    uuid_send(notification_id), tenant_id, user_id, type,
    timestamptz_send(accepted_time), facts, category, priority,
    timestamptz_send(due_time), event_ids, array_send(deliveries), array_send(attempts),
    uuid_send(broadcast_id)

-- name: earlier_events
SELECT uuid_send(notification_id), kind, channel, type, occurred_time
FROM events
WHERE notification_id = ANY(%(notification_id)s::uuid[])

-- name: copy_events
COPY events (
    notification_id, event_id, day, occurred_time, delivery_id, kind, tenant_id, channel,
    type, reason, detail
) FROM STDIN (FORMAT binary)

-- name: copy_notifications
COPY notifications (
    notification_id, accepted_time, due_time, facts, outcomes, tenant_id, user_id, type,
    category, priority, event_ids, deliveries, attempts, broadcast_id
) FROM STDIN (FORMAT binary)

-- name: add_counters
INSERT INTO counters AS c (
    tenant_id, grain, bucket, metric, channel, type, category, value
)
SELECT
    s.tenant_id, g.grain, date_trunc(g.grain, s.minute, 'UTC'), s.metric, s.channel,
    s.type, s.category, sum(s.number)
FROM unnest(
    %(minute)s::timestamptz[], %(tenant_id)s::text[], %(metric)s::text[],
    %(channel)s::text[], %(type)s::text[], %(category)s::text[], %(number)s::bigint[]
) AS s (minute, tenant_id, metric, channel, type, category, number)
CROSS JOIN (VALUES ('minute'), ('hour'), ('day')) AS g (grain)
GROUP BY 1, 2, 3, 4, 5, 6, 7
ON CONFLICT (tenant_id, grain, bucket, metric, channel, type, category)
DO UPDATE SET value = c.value + excluded.value

-- name: add_broadcast_states
INSERT INTO broadcast_states AS b (broadcast_id, mask, number, accepted_time)
SELECT * FROM unnest(
    %(broadcast_id)s::uuid[], %(mask)s::integer[], %(number)s::bigint[],
    %(accepted_time)s::timestamptz[]
)
ON CONFLICT (broadcast_id, mask) DO UPDATE SET number = b.number + excluded.number

-- name: reject_events
INSERT INTO rejected_events (digest, problem, body)
SELECT * FROM unnest(%(digest)s::bytea[], %(problem)s::text[], %(body)s::bytea[])
ON CONFLICT DO NOTHING

-- name: notification
SELECT
    uuid_send(notification_id), accepted_time, due_time, facts | outcomes, user_id, type,
    category, priority, uuid_send(broadcast_id)
FROM notifications
WHERE notification_id = %(notification_id)s::uuid AND tenant_id = %(tenant_id)s

-- name: deliveries
SELECT
    uuid_send(notification_id), uuid_send(delivery_id), channel, status, reason,
    status_time
FROM deliveries
WHERE notification_id = ANY(%(notification_id)s::uuid[])
ORDER BY notification_id, channel, delivery_id

-- name: attempts
SELECT
    uuid_send(notification_id), uuid_send(delivery_id), attempt, outcome, attempt_time,
    provider, reason, provider_message_id, provider_code, provider_latency
FROM attempts
WHERE notification_id = ANY(%(notification_id)s::uuid[])
ORDER BY notification_id, delivery_id, attempt

-- name: timeline
SELECT kind, occurred_time, channel, uuid_send(delivery_id), reason, detail
FROM events
WHERE notification_id = %(notification_id)s::uuid AND day >= %(since)s::date
ORDER BY occurred_time, kind, event_id

-- name: list_notifications
SELECT
    uuid_send(notification_id), accepted_time, due_time, facts | outcomes, user_id, type,
    category, priority, uuid_send(broadcast_id)
FROM notifications AS n
WHERE tenant_id = %(tenant_id)s
    AND (accepted_time, notification_id)
        < (%(before_time)s::timestamptz, %(before_id)s::uuid)
    AND (%(user_id)s::text = '' OR user_id = %(user_id)s::text)
    AND (%(type)s::text = '' OR type = %(type)s::text)
    AND (%(broadcast_id)s::uuid IS NULL OR broadcast_id = %(broadcast_id)s::uuid)
    AND (%(status)s::text = '' OR {status} = %(status)s::text)
ORDER BY accepted_time DESC, notification_id DESC
LIMIT %(limit)s

-- name: list_of_broadcast
-- Of each state the next page, and of these the next page: whatever is asked for, what is
-- looked at is a page for each state, not the broadcast.
SELECT n.*
FROM broadcast_states AS s
CROSS JOIN LATERAL (
    SELECT
        uuid_send(notification_id), accepted_time, due_time, facts | outcomes, user_id,
        type, category, priority, uuid_send(broadcast_id)
    FROM notifications
    WHERE broadcast_id = s.broadcast_id AND facts | outcomes = s.mask
        AND notification_id < %(before_id)s::uuid
        AND tenant_id = %(tenant_id)s
        AND (%(type)s::text = '' OR type = %(type)s::text)
    ORDER BY notification_id DESC
    LIMIT %(limit)s
) AS n (notification_id)
WHERE s.broadcast_id = %(broadcast_id)s::uuid
    AND (
        %(status)s::text = ''
        OR (SELECT {status} FROM (VALUES (s.mask, 0)) AS m (facts, outcomes))
            = %(status)s::text
    )
ORDER BY n.notification_id DESC
LIMIT %(limit)s

-- name: broadcast_states
SELECT mask, number
FROM broadcast_states
WHERE broadcast_id = %(broadcast_id)s::uuid AND number > 0

-- name: count_decided
SELECT count(*)
FROM notifications
WHERE tenant_id = %(tenant_id)s AND facts & %(decided)s::integer <> 0
    AND accepted_time >= %(start)s::timestamptz
    AND accepted_time < %(end)s::timestamptz

-- name: count_deliveries
SELECT d.status, count(*)
FROM notifications AS n
CROSS JOIN LATERAL unnest(n.deliveries) AS d
WHERE d.delivery_id <> %(no_id)s::uuid
    AND n.tenant_id = %(tenant_id)s
    AND n.accepted_time >= %(start)s::timestamptz
    AND n.accepted_time < %(end)s::timestamptz
GROUP BY d.status

-- name: oldest_waiting
SELECT
    uuid_send(n.notification_id), uuid_send(d.delivery_id), d.channel, d.status,
    d.reason, d.status_time
FROM notifications AS n
CROSS JOIN LATERAL unnest(n.deliveries) AS d
WHERE d.delivery_id <> %(no_id)s::uuid
    AND n.tenant_id = %(tenant_id)s
    AND n.outcomes & %(pending)s::integer <> 0
    AND d.status = ANY(%(waiting)s::smallint[])
    AND n.accepted_time >= %(start)s::timestamptz
    AND n.accepted_time < %(end)s::timestamptz
ORDER BY d.status_time
LIMIT %(limit)s

-- name: counters
SELECT metric, {key}, sum(value)::bigint
FROM counters
WHERE tenant_id = %(tenant_id)s AND grain = %(grain)s
    AND bucket >= %(start)s AND bucket < %(end)s AND metric = ANY(%(metrics)s)
GROUP BY 1, 2

-- name: partitions
SELECT c.relname
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass

-- name: forget_notifications
WITH old AS (
    DELETE FROM notifications WHERE notification_id IN (
        SELECT notification_id FROM notifications
        WHERE accepted_time < %(before)s::timestamptz LIMIT %(limit)s
    )
    RETURNING notification_id
)
SELECT count(*) FROM old

-- name: forget_broadcast_states
DELETE FROM broadcast_states WHERE accepted_time < %(before)s::timestamptz

-- name: forget_counters
DELETE FROM counters WHERE grain = %(grain)s AND bucket < %(before)s

-- name: forget_rejected
DELETE FROM rejected_events WHERE rejected_time < %(before)s
