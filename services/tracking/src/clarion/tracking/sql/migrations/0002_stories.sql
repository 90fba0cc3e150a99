-- A notification becomes one row with its deliveries, attempts and the ids of its events.
-- A batch is written by COPY alone then, and what is told again is known without a look
-- into the days of the event log.

-- Nobody writes meanwhile: the key of take_turn.
SELECT pg_advisory_xact_lock(27985188481494894);

CREATE TYPE delivery AS (
    delivery_id uuid,
    weight bigint,
    status_time timestamptz,
    status smallint,
    channel text COLLATE "C",
    reason text COLLATE "C"
);

CREATE TYPE attempt AS (
    delivery_id uuid,
    attempt_time timestamptz,
    provider_latency bigint,
    attempt smallint,
    outcome smallint,
    provider text COLLATE "C",
    reason text COLLATE "C",
    provider_message_id text COLLATE "C",
    provider_code text COLLATE "C"
);
COMMENT ON COLUMN attempt.provider_latency IS 'microseconds';

ALTER TABLE notifications
    ADD COLUMN event_ids bytea NOT NULL DEFAULT '',
    ADD COLUMN deliveries delivery[] NOT NULL DEFAULT '{}',
    ADD COLUMN attempts attempt[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN notifications.event_ids IS 'one after the other, 16 bytes each';

UPDATE notifications AS n SET
    event_ids = coalesce((
        SELECT string_agg(uuid_send(e.event_id), '')
        FROM events AS e
        WHERE e.notification_id = n.notification_id
    ), ''),
    deliveries = ARRAY(
        SELECT ROW(
            d.delivery_id, d.weight, d.status_time, d.status, d.channel, d.reason
        )::delivery
        FROM deliveries AS d
        WHERE d.notification_id = n.notification_id
    ),
    attempts = ARRAY(
        SELECT ROW(
            a.delivery_id, a.attempt_time, a.provider_latency, a.attempt, a.outcome,
            a.provider, a.reason, a.provider_message_id, a.provider_code
        )::attempt
        FROM attempts AS a
        WHERE a.notification_id = n.notification_id
    );

DROP TABLE deliveries, attempts;

-- A row is replaced by a new one, never changed in place.
ALTER TABLE notifications RESET (fillfactor);

-- For whoever reads: one row a delivery (a channel without one has the zero id), one row
-- a provider call.
CREATE VIEW deliveries AS
SELECT n.notification_id, d.*
FROM notifications AS n CROSS JOIN LATERAL unnest(n.deliveries) AS d;

CREATE VIEW attempts AS
SELECT n.notification_id, a.*
FROM notifications AS n CROSS JOIN LATERAL unnest(n.attempts) AS a;

-- Timelines are found by it. What is told twice never gets here.
ALTER TABLE events DROP CONSTRAINT events_pkey;
CREATE INDEX events_by_notification ON events (notification_id);
