-- What waits to be sent together. A window is open (0), closed (1: it takes nothing more
-- and its message is being made) or sent (2). What is sent stays for some days, so that a
-- notification that comes again is known.
CREATE TABLE digest_windows (
    window_id    uuid        PRIMARY KEY,
    tenant_id    text        NOT NULL,
    -- Derived from tenant, person, type, category and digest_key.
    bucket       uuid        NOT NULL,
    lane         text        NOT NULL,
    state        smallint    NOT NULL DEFAULT 0,
    opened_time  timestamptz NOT NULL,
    closes_time  timestamptz NOT NULL,
    -- closes_time never moves beyond it.
    latest_time  timestamptz NOT NULL,
    closed_time  timestamptz,
    sent_time    timestamptz,
    items        integer     NOT NULL DEFAULT 0,
    bytes        integer     NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX digest_windows_open ON digest_windows (bucket) WHERE state = 0;
CREATE INDEX digest_windows_due ON digest_windows (closes_time) WHERE state < 2;
CREATE INDEX digest_windows_sent ON digest_windows (sent_time) WHERE state = 2;

CREATE TABLE digest_items (
    tenant_id       text        NOT NULL,
    notification_id uuid        NOT NULL,
    -- With the id it names a decision: channels that were deferred are decided again.
    release         integer     NOT NULL,
    position        bigint      GENERATED ALWAYS AS IDENTITY,
    -- Null only within the transaction that stores it.
    window_id       uuid        REFERENCES digest_windows ON DELETE CASCADE,
    accepted_time   timestamptz NOT NULL,
    cancelled       boolean     NOT NULL DEFAULT false,
    -- A serialized clarion.api.event.v1.DigestFold.
    fold            bytea       NOT NULL,
    PRIMARY KEY (tenant_id, notification_id, release)
);
CREATE INDEX digest_items_window ON digest_items (window_id);
