-- Statements of the inbox; parameters are named.

-- name: add_items
WITH incoming AS (
    SELECT DISTINCT ON (tenant_id, user_id, item_id) *
    FROM unnest(
        %(tenants)s::text[], %(users)s::text[], %(items)s::uuid[],
        %(notifications)s::uuid[], %(types)s::text[], %(categories)s::text[],
        %(titles)s::text[], %(bodies)s::text[], %(data)s::bytea[]
    ) WITH ORDINALITY AS i (
        tenant_id, user_id, item_id, notification_id, type, category, title, body,
        data, place
    )
    ORDER BY tenant_id, user_id, item_id, place
), fresh AS (
    SELECT i.*
    FROM incoming AS i
    WHERE NOT EXISTS (
        SELECT 1 FROM items AS e
        WHERE
            e.tenant_id = i.tenant_id
            AND e.user_id = i.user_id
            AND e.item_id = i.item_id
    )
), bumped AS (
    -- In one order everywhere, so that two chunks can not wait for each other.
    INSERT INTO heads AS h (tenant_id, user_id, version)
    SELECT tenant_id, user_id, count(*) FROM fresh
    GROUP BY tenant_id, user_id
    ORDER BY tenant_id, user_id
    ON CONFLICT (tenant_id, user_id) DO UPDATE
    SET version = h.version + excluded.version
    RETURNING tenant_id, user_id, version
)
INSERT INTO items (
    tenant_id, user_id, item_id, notification_id, version, type, category, title,
    body, data, created_time
)
SELECT
    f.tenant_id, f.user_id, f.item_id, f.notification_id,
    b.version + 1 - row_number() OVER (
        PARTITION BY f.tenant_id, f.user_id ORDER BY f.place DESC
    ),
    f.type, f.category, f.title, f.body, f.data, %(now)s
FROM fresh AS f
INNER JOIN bumped AS b USING (tenant_id, user_id)
ON CONFLICT DO NOTHING
RETURNING tenant_id, user_id;

-- name: bump_head
INSERT INTO heads AS h (tenant_id, user_id, version)
VALUES (%(tenant)s, %(user)s, 0)
ON CONFLICT (tenant_id, user_id) DO UPDATE SET version = h.version
RETURNING version;

-- name: set_head
UPDATE heads SET version = %(version)s
WHERE tenant_id = %(tenant)s AND user_id = %(user)s;

-- name: head
SELECT version FROM heads
WHERE tenant_id = %(tenant)s AND user_id = %(user)s;

-- name: list_items
SELECT * FROM items
WHERE
    tenant_id = %(tenant)s AND user_id = %(user)s
    AND (archived_time IS NOT NULL) = (%(filter)s = 'archived')
    AND (%(filter)s <> 'unread' OR read_time IS NULL)
    AND (
        %(before_time)s::timestamptz IS NULL
        OR (created_time, item_id) < (%(before_time)s, %(before_item)s::uuid)
    )
ORDER BY created_time DESC, item_id DESC
LIMIT %(limit)s;

-- name: changed_items
SELECT * FROM items
WHERE
    tenant_id = %(tenant)s AND user_id = %(user)s AND version > %(version)s
ORDER BY version
LIMIT %(limit)s;

-- name: counts
SELECT
    count(*) AS total,
    count(*) FILTER (WHERE read_time IS NULL) AS unread,
    count(*) FILTER (WHERE seen_time IS NULL) AS unseen
FROM items
WHERE tenant_id = %(tenant)s AND user_id = %(user)s AND archived_time IS NULL;

-- name: mark_items
WITH affected AS (
    SELECT
        item_id,
        row_number() OVER (ORDER BY version) AS place
    FROM items
    WHERE
        tenant_id = %(tenant)s AND user_id = %(user)s
        AND (cardinality(%(items)s::uuid[]) = 0 OR item_id = ANY(%(items)s::uuid[]))
        AND CASE %(mark)s
            WHEN 'seen' THEN seen_time IS NULL
            WHEN 'read' THEN read_time IS NULL
            WHEN 'unread' THEN read_time IS NOT NULL
            WHEN 'archived' THEN archived_time IS NULL
            WHEN 'unarchived' THEN archived_time IS NOT NULL
        END
)
UPDATE items AS i
SET
    version = %(version)s + a.place,
    -- Whoever reads an item has seen it.
    seen_time = CASE
        WHEN %(mark)s IN ('seen', 'read') THEN coalesce(i.seen_time, %(now)s)
        ELSE i.seen_time
    END,
    read_time = CASE %(mark)s
        WHEN 'read' THEN %(now)s WHEN 'unread' THEN NULL ELSE i.read_time
    END,
    archived_time = CASE %(mark)s
        WHEN 'archived' THEN %(now)s WHEN 'unarchived' THEN NULL ELSE i.archived_time
    END
FROM affected AS a
WHERE
    i.tenant_id = %(tenant)s AND i.user_id = %(user)s AND i.item_id = a.item_id
RETURNING i.item_id;

-- name: named_items
SELECT item_id, notification_id, type FROM items
WHERE
    tenant_id = %(tenant)s AND user_id = %(user)s
    AND item_id = ANY(%(items)s::uuid[]);

-- name: keep_unmarked
INSERT INTO unmarked_reads (tenant_id, notification_id)
SELECT %(tenant)s, notification_id
FROM unnest(%(notifications)s::uuid[]) AS n (notification_id)
ORDER BY notification_id
ON CONFLICT DO NOTHING;

-- name: some_unmarked
SELECT tenant_id, array_agg(notification_id::text) AS notifications
FROM (
    SELECT tenant_id, notification_id FROM unmarked_reads
    ORDER BY tenant_id, notification_id
    LIMIT %(limit)s
) AS oldest
GROUP BY tenant_id;

-- name: remove_unmarked
DELETE FROM unmarked_reads
WHERE
    tenant_id = %(tenant)s
    AND notification_id = ANY(%(notifications)s::uuid[]);
