-- Statements about schedules; parameters are named.

-- name: lock_schedule
SELECT
    tenant_id, schedule_id, revision, notification, cron, time_zone, start_time,
    end_time, key_id, changed_time
FROM schedules
WHERE tenant_id = %(tenant)s AND schedule_id = %(id)s
FOR UPDATE

-- name: put_schedule
INSERT INTO schedules (
    tenant_id, schedule_id, notification, cron, time_zone, start_time, end_time,
    key_id, changed_time
)
VALUES (
    %(tenant)s, %(id)s, %(notification)s, %(cron)s, %(time_zone)s, %(start)s, %(end)s,
    %(key_id)s, %(changed)s
)
ON CONFLICT (tenant_id, schedule_id) DO UPDATE
SET
    revision = nextval('schedule_revision'),
    notification = excluded.notification,
    cron = excluded.cron,
    time_zone = excluded.time_zone,
    start_time = excluded.start_time,
    end_time = excluded.end_time,
    key_id = excluded.key_id,
    changed_time = excluded.changed_time
RETURNING revision

-- name: find_schedules
SELECT
    tenant_id, schedule_id, revision, notification, cron, time_zone, start_time,
    end_time, key_id, changed_time
FROM schedules
JOIN unnest(%(tenants)s::text[], %(ids)s::text[]) AS wanted (tenant_id, schedule_id)
    USING (tenant_id, schedule_id)

-- name: page_schedules
SELECT
    tenant_id, schedule_id, revision, notification, cron, time_zone, start_time,
    end_time, key_id, changed_time
FROM schedules
WHERE tenant_id = %(tenant)s AND schedule_id > %(after)s
ORDER BY schedule_id
LIMIT %(most)s

-- name: revisions_of_schedules
SELECT tenant_id, schedule_id, revision
FROM schedules
WHERE
    (tenant_id, schedule_id) > (%(tenant)s, %(id)s)
    AND (end_time IS NULL OR end_time > %(since)s)
ORDER BY tenant_id, schedule_id
LIMIT %(most)s

-- name: delete_schedule
DELETE FROM schedules
WHERE tenant_id = %(tenant)s AND schedule_id = %(id)s
RETURNING
    tenant_id, schedule_id, revision, notification, cron, time_zone, start_time,
    end_time, key_id, changed_time
