-- name: take_turn
-- One writer at a time: revisions become visible in their order, so that who has seen one
-- has seen all before it.
SELECT pg_advisory_xact_lock(6278317429015537);

-- name: count
SELECT count(*) FROM notification_types
WHERE tenant_id = %(tenant)s AND type <> %(type)s AND NOT deleted;

-- name: put
INSERT INTO notification_types (tenant_id, type, definition, revision)
VALUES (%(tenant)s, %(type)s, %(definition)s, nextval('notification_type_revision'))
ON CONFLICT (tenant_id, type) DO UPDATE
SET definition = excluded.definition, revision = excluded.revision, changed_time = now(),
    deleted = false;

-- name: delete
UPDATE notification_types
SET definition = %(definition)s, revision = nextval('notification_type_revision'),
    changed_time = now(), deleted = true
WHERE tenant_id = %(tenant)s AND type = %(type)s AND NOT deleted;

-- name: of_tenant
SELECT definition FROM notification_types
WHERE tenant_id = %(tenant)s AND NOT deleted
ORDER BY type;

-- name: changed
SELECT tenant_id, revision, definition FROM notification_types
WHERE revision > %(after)s
ORDER BY revision
LIMIT %(most)s;
