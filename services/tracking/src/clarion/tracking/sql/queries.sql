-- Named queries. Arrays come as columns of one batch (columns.py); the plan is made for
-- their real length, so none of these is prepared.

-- name: take_turn
-- One writer at a time: a notification's status is read from all its deliveries, and two
-- batches that each see half of them would both be wrong.
SELECT pg_advisory_xact_lock(%(key)s::bigint)

-- name: known_notifications
SELECT uuid_send(notification_id), facts, category, type, accepted_time
FROM notifications
WHERE notification_id = ANY(%(notification_id)s::uuid[])

-- name: earlier_events
SELECT uuid_send(notification_id), kind, channel, type, occurred_time
FROM events
WHERE notification_id = ANY(%(notification_id)s::uuid[])

-- name: stored_beside
-- Work that is done again after a crash tells the same event with a later time. Across
-- midnight it would not meet its first telling, so the days beside are looked at.
SELECT s.position - 1
FROM unnest(
    %(notification_id)s::uuid[], %(event_id)s::uuid[], %(occurred_time)s::timestamptz[]
) WITH ORDINALITY AS s (notification_id, event_id, occurred_time, position)
JOIN events AS e ON e.notification_id = s.notification_id AND e.event_id = s.event_id
WHERE e.day BETWEEN %(first)s::date AND %(last)s::date
    AND e.day <> (s.occurred_time AT TIME ZONE 'UTC')::date

-- name: insert_events
-- Answers with the positions of the events that were there already.
WITH staged AS MATERIALIZED (
    SELECT *
    FROM unnest(
        %(notification_id)s::uuid[], %(event_id)s::uuid[], %(occurred_time)s::timestamptz[],
        %(delivery_id)s::uuid[], %(kind)s::smallint[], %(tenant_id)s::text[],
        %(channel)s::text[], %(type)s::text[], %(reason)s::text[], %(detail)s::bytea[]
    ) WITH ORDINALITY AS s (
        notification_id, event_id, occurred_time, delivery_id, kind, tenant_id, channel,
        type, reason, detail, position
    )
), added AS (
    INSERT INTO events (
        notification_id, event_id, day, occurred_time, delivery_id, kind, tenant_id,
        channel, type, reason, detail
    )
    SELECT
        notification_id, event_id, (occurred_time AT TIME ZONE 'UTC')::date,
        occurred_time, delivery_id, kind, tenant_id, channel, type, reason, detail
    FROM staged
    ON CONFLICT DO NOTHING
    RETURNING event_id
)
SELECT position - 1
FROM staged
WHERE NOT EXISTS (SELECT FROM added WHERE added.event_id = staged.event_id)

-- name: merge_deliveries
-- The same order as Claim in state.py; "C" collation compares text as Python does.
INSERT INTO deliveries AS d (
    notification_id, delivery_id, channel, weight, status, reason, status_time
)
SELECT *
FROM unnest(
    %(notification_id)s::uuid[], %(delivery_id)s::uuid[], %(channel)s::text[],
    %(weight)s::bigint[], %(status)s::smallint[], %(reason)s::text[],
    %(status_time)s::timestamptz[]
)
ON CONFLICT (notification_id, delivery_id, channel) DO UPDATE SET
    weight = excluded.weight,
    status = excluded.status,
    reason = excluded.reason,
    status_time = excluded.status_time
WHERE (excluded.weight, excluded.status, excluded.reason)
    > (d.weight, d.status, d.reason)

-- name: merge_attempts
INSERT INTO attempts AS a (
    notification_id, delivery_id, attempt, outcome, attempt_time, provider, reason,
    provider_message_id, provider_code, provider_latency
)
SELECT *
FROM unnest(
    %(notification_id)s::uuid[], %(delivery_id)s::uuid[], %(attempt)s::smallint[],
    %(outcome)s::smallint[], %(attempt_time)s::timestamptz[], %(provider)s::text[],
    %(reason)s::text[], %(provider_message_id)s::text[], %(provider_code)s::text[],
    %(provider_latency)s::bigint[]
)
ON CONFLICT (notification_id, delivery_id, attempt) DO UPDATE SET
    outcome = excluded.outcome,
    attempt_time = excluded.attempt_time,
    provider = excluded.provider,
    reason = excluded.reason,
    provider_message_id = excluded.provider_message_id,
    provider_code = excluded.provider_code,
    provider_latency = excluded.provider_latency
WHERE (excluded.outcome, excluded.attempt_time) > (a.outcome, a.attempt_time)

-- name: merge_notifications
-- After the deliveries, whose states make the outcomes (state.py, outcomes).
INSERT INTO notifications AS n (
    notification_id, tenant_id, user_id, type, category, priority, accepted_time,
    due_time, facts, outcomes
)
SELECT
    s.notification_id, s.tenant_id, s.user_id, s.type, s.category, s.priority,
    s.accepted_time, s.due_time, s.facts, coalesce(o.outcomes, 0)
FROM unnest(
    %(notification_id)s::uuid[], %(tenant_id)s::text[], %(user_id)s::text[],
    %(type)s::text[], %(category)s::text[], %(priority)s::text[],
    %(accepted_time)s::timestamptz[], %(due_time)s::timestamptz[], %(facts)s::integer[]
) AS s (
    notification_id, tenant_id, user_id, type, category, priority, accepted_time,
    due_time, facts
)
LEFT JOIN LATERAL (
    SELECT bit_or(
        CASE WHEN c.mask & %(good)s::integer <> 0
            THEN c.mask & ~%(bad)s::integer ELSE c.mask END
    ) AS outcomes
    FROM (
        SELECT CASE WHEN bool_or(d.delivery_id <> %(no_id)s::uuid)
            THEN bit_or(1 << d.status) & ~%(put_off)s::integer
            ELSE bit_or(1 << d.status) END AS mask
        FROM deliveries AS d
        WHERE d.notification_id = s.notification_id
        GROUP BY d.channel
    ) AS c
) AS o ON true
ON CONFLICT (notification_id) DO UPDATE SET
    facts = n.facts | excluded.facts,
    outcomes = excluded.outcomes,
    user_id = CASE WHEN n.user_id = '' THEN excluded.user_id ELSE n.user_id END,
    type = CASE WHEN n.type = '' THEN excluded.type ELSE n.type END,
    category = coalesce(n.category, excluded.category),
    priority = CASE WHEN n.category IS NULL AND excluded.priority <> ''
        THEN excluded.priority ELSE n.priority END,
    due_time = greatest(n.due_time, excluded.due_time),
    accepted_time = CASE
        WHEN n.facts & %(accepted)s::integer > excluded.facts & %(accepted)s::integer
            THEN n.accepted_time
        WHEN n.facts & %(accepted)s::integer < excluded.facts & %(accepted)s::integer
            THEN excluded.accepted_time
        ELSE least(n.accepted_time, excluded.accepted_time) END
-- What changes nothing is not written.
WHERE n.facts | excluded.facts <> n.facts
    OR n.outcomes <> excluded.outcomes
    OR n.user_id = ''
    OR excluded.accepted_time < n.accepted_time
    OR excluded.due_time IS DISTINCT FROM n.due_time

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

-- name: reject_events
INSERT INTO rejected_events (digest, problem, body)
SELECT * FROM unnest(%(digest)s::bytea[], %(problem)s::text[], %(body)s::bytea[])
ON CONFLICT DO NOTHING

-- name: notification
SELECT
    uuid_send(notification_id), accepted_time, due_time, facts | outcomes, user_id, type,
    category, priority
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
    category, priority
FROM notifications AS n
WHERE tenant_id = %(tenant_id)s
    AND (accepted_time, notification_id)
        < (%(before_time)s::timestamptz, %(before_id)s::uuid)
    AND (%(user_id)s::text = '' OR user_id = %(user_id)s::text)
    AND (%(type)s::text = '' OR type = %(type)s::text)
    AND (%(status)s::text = '' OR {status} = %(status)s::text)
ORDER BY accepted_time DESC, notification_id DESC
LIMIT %(limit)s

-- name: count_decided
SELECT count(*)
FROM notifications
WHERE tenant_id = %(tenant_id)s AND facts & %(decided)s::integer <> 0
    AND accepted_time >= %(start)s::timestamptz
    AND accepted_time < %(end)s::timestamptz

-- name: count_deliveries
SELECT d.status, count(*)
FROM notifications AS n
JOIN deliveries AS d ON d.notification_id = n.notification_id
    AND d.delivery_id <> %(no_id)s::uuid
WHERE n.tenant_id = %(tenant_id)s
    AND n.accepted_time >= %(start)s::timestamptz
    AND n.accepted_time < %(end)s::timestamptz
GROUP BY d.status

-- name: oldest_waiting
SELECT
    uuid_send(d.notification_id), uuid_send(d.delivery_id), d.channel, d.status,
    d.reason, d.status_time
FROM notifications AS n
JOIN deliveries AS d ON d.notification_id = n.notification_id
    AND d.delivery_id <> %(no_id)s::uuid
WHERE n.tenant_id = %(tenant_id)s
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
), old_deliveries AS (
    DELETE FROM deliveries USING old
    WHERE deliveries.notification_id = old.notification_id
), old_attempts AS (
    DELETE FROM attempts USING old
    WHERE attempts.notification_id = old.notification_id
)
SELECT count(*) FROM old

-- name: forget_counters
DELETE FROM counters WHERE grain = %(grain)s AND bucket < %(before)s

-- name: forget_rejected
DELETE FROM rejected_events WHERE rejected_time < %(before)s
