-- Statements about digests; parameters are named. Rows are locked in one order, so that
-- workers wait for each other and never for good: items by key, then windows by bucket.

-- name: insert_items
INSERT INTO digest_items (tenant_id, notification_id, release, accepted_time, fold)
SELECT tenant_id, notification_id, release, accepted_time, fold
FROM unnest(
    %(tenant_ids)s::text[], %(notification_ids)s::uuid[], %(releases)s::integer[],
    %(accepted_times)s::timestamptz[], %(folds)s::bytea[]
) AS given (tenant_id, notification_id, release, accepted_time, fold)
ORDER BY tenant_id COLLATE "C", notification_id, release
ON CONFLICT DO NOTHING
RETURNING tenant_id, notification_id::text, release

-- name: open_windows
INSERT INTO digest_windows AS w (
    window_id, tenant_id, bucket, lane, opened_time, closes_time, latest_time
)
SELECT window_id, tenant_id, bucket, lane, %(now)s, closes_time, latest_time
FROM unnest(
    %(window_ids)s::uuid[], %(tenant_ids)s::text[], %(buckets)s::uuid[],
    %(lanes)s::text[], %(closes_times)s::timestamptz[], %(latest_times)s::timestamptz[]
) AS given (window_id, tenant_id, bucket, lane, closes_time, latest_time)
ORDER BY bucket
ON CONFLICT (bucket) WHERE state = 0 DO UPDATE
-- One that is over and not closed yet takes nothing more.
SET closes_time = CASE
    WHEN w.closes_time <= %(now)s THEN w.closes_time
    ELSE least(greatest(w.closes_time, excluded.closes_time), w.latest_time)
END
RETURNING bucket::text, window_id::text, lane, closes_time, items, bytes

-- name: fill_windows
UPDATE digest_windows AS w
SET
    items = w.items + given.items,
    bytes = w.bytes + given.bytes,
    state = CASE WHEN given.is_full THEN 1 ELSE w.state END,
    closed_time = CASE WHEN given.is_full THEN %(now)s ELSE w.closed_time END,
    closes_time
        = CASE WHEN given.is_full THEN least(w.closes_time, %(now)s) ELSE w.closes_time END
FROM unnest(
    %(window_ids)s::uuid[], %(items)s::integer[], %(bytes)s::integer[],
    %(full)s::boolean[]
) AS given (window_id, items, bytes, is_full)
WHERE w.window_id = given.window_id

-- name: place_items
UPDATE digest_items AS i
SET window_id = given.window_id
FROM unnest(
    %(tenant_ids)s::text[], %(notification_ids)s::uuid[], %(releases)s::integer[],
    %(window_ids)s::uuid[]
) AS given (tenant_id, notification_id, release, window_id)
WHERE
    i.tenant_id = given.tenant_id
    AND i.notification_id = given.notification_id
    AND i.release = given.release

-- name: places
SELECT
    i.tenant_id, i.notification_id::text, i.release, w.window_id::text, w.lane,
    w.closes_time, w.state
FROM unnest(
    %(tenant_ids)s::text[], %(notification_ids)s::uuid[], %(releases)s::integer[]
) AS given (tenant_id, notification_id, release)
JOIN digest_items AS i USING (tenant_id, notification_id, release)
JOIN digest_windows AS w USING (window_id)

-- name: lock_windows
SELECT window_id::text, tenant_id, lane, state, closes_time, closed_time
FROM digest_windows
WHERE window_id = ANY(%(window_ids)s::uuid[])
ORDER BY bucket, window_id
FOR UPDATE

-- name: close_windows
UPDATE digest_windows
SET state = 1, closed_time = %(now)s
WHERE window_id = ANY(%(window_ids)s::uuid[])

-- name: items_of_windows
SELECT window_id::text, fold
FROM digest_items
WHERE window_id = ANY(%(window_ids)s::uuid[]) AND NOT cancelled
ORDER BY accepted_time, position

-- name: sent_windows
UPDATE digest_windows
SET state = 2, sent_time = %(now)s
WHERE window_id = ANY(%(window_ids)s::uuid[]) AND state = 1

-- name: lock_windows_of
SELECT w.window_id
FROM digest_windows AS w
WHERE
    w.window_id IN (
        SELECT i.window_id
        FROM digest_items AS i
        WHERE i.tenant_id = %(tenant_id)s AND i.notification_id = %(notification_id)s
    )
    AND w.state = 0
ORDER BY w.bucket
FOR UPDATE OF w

-- name: cancel_items
UPDATE digest_items AS i
SET cancelled = true
WHERE
    i.tenant_id = %(tenant_id)s
    AND i.notification_id = %(notification_id)s
    AND i.window_id = ANY(%(window_ids)s::uuid[])
    AND NOT i.cancelled

-- name: overdue
SELECT tenant_id, window_id::text, lane, closes_time
FROM digest_windows
WHERE state < 2 AND closes_time < %(before)s
ORDER BY closes_time
LIMIT %(most)s

-- name: prune
DELETE FROM digest_windows
WHERE window_id IN (
    SELECT window_id FROM digest_windows
    WHERE state = 2 AND sent_time < %(before)s
    ORDER BY sent_time
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
