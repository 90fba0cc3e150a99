-- Recurring notifications. When each comes next stands in the stream SCHED and not here:
-- the row is what was asked for, and what a lost plan is made from again.

-- A revision is never used twice, also not by a schedule that is deleted and made again:
-- it tells whether what fires was planned by the schedule as it stands.
CREATE SEQUENCE schedule_revision AS bigint;

CREATE TABLE schedules (
    -- In byte order, in which they are listed and gone through.
    tenant_id    text        COLLATE "C" NOT NULL,
    schedule_id  text        COLLATE "C" NOT NULL,
    revision     bigint      NOT NULL DEFAULT nextval('schedule_revision'),
    -- A serialized clarion.api.router.v1.Notification.
    notification bytea       NOT NULL,
    cron         text        NOT NULL,
    -- Empty: the person's.
    time_zone    text        NOT NULL,
    start_time   timestamptz,
    end_time     timestamptz,
    -- The API key that it was put with.
    key_id       text        NOT NULL,
    changed_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, schedule_id)
);
