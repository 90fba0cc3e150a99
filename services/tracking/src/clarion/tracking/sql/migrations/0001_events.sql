-- The event log, what follows from it, and counters.

-- One row an event. The day is a function of the event itself, so a repetition lands in
-- the same partition and folds. One index serves uniqueness and timelines; with
-- time-ordered notification ids new rows stay together.
CREATE TABLE events (
    notification_id uuid NOT NULL,
    event_id uuid NOT NULL,
    day date NOT NULL,
    occurred_time timestamptz NOT NULL,
    delivery_id uuid NOT NULL,
    kind smallint NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    -- The event's detail as protobuf: the request and the decision live here, once.
    detail bytea,
    PRIMARY KEY (notification_id, event_id, day)
) PARTITION BY RANGE (day);

-- Narrow, because a state change writes the row anew.
CREATE TABLE notifications (
    notification_id uuid PRIMARY KEY,
    accepted_time timestamptz NOT NULL,
    due_time timestamptz,
    facts integer NOT NULL,
    outcomes integer NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    category text COLLATE "C",
    priority text COLLATE "C" NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX notifications_by_time ON notifications
    (tenant_id, accepted_time DESC, notification_id DESC);
CREATE INDEX notifications_by_user ON notifications
    (tenant_id, user_id, accepted_time DESC, notification_id DESC);
CREATE INDEX notifications_by_age ON notifications USING brin (accepted_time);

-- One row a delivery; a channel without one has the zero id.
CREATE TABLE deliveries (
    notification_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    weight bigint NOT NULL,
    status_time timestamptz NOT NULL,
    status smallint NOT NULL,
    channel text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    PRIMARY KEY (notification_id, delivery_id, channel)
) WITH (fillfactor = 80);

-- One row a provider call.
CREATE TABLE attempts (
    notification_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    attempt_time timestamptz NOT NULL,
    provider_latency bigint,
    attempt smallint NOT NULL,
    outcome smallint NOT NULL,
    provider text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    provider_message_id text COLLATE "C" NOT NULL,
    provider_code text COLLATE "C" NOT NULL,
    PRIMARY KEY (notification_id, delivery_id, attempt)
);
COMMENT ON COLUMN attempts.provider_latency IS 'microseconds';

-- Roll-ups by minute, hour and day (UTC).
CREATE TABLE counters (
    tenant_id text COLLATE "C" NOT NULL,
    grain text COLLATE "C" NOT NULL,
    bucket timestamptz NOT NULL,
    metric text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (tenant_id, grain, bucket, metric, channel, type, category)
) WITH (fillfactor = 60);

-- Events that could not be read. They do not stop the others and are not lost.
CREATE TABLE rejected_events (
    digest bytea PRIMARY KEY,
    rejected_time timestamptz NOT NULL DEFAULT now(),
    problem text NOT NULL,
    body bytea NOT NULL
);
