-- A person's inbox has a version that grows with every change. The row in heads is locked
-- by whoever changes the inbox, so versions are committed in their order and a watcher
-- that has read up to one never misses a smaller one.
CREATE TABLE heads (
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE items (
    tenant_id text NOT NULL,
    user_id text NOT NULL,
    item_id uuid NOT NULL,
    notification_id uuid NOT NULL,
    version bigint NOT NULL,
    type text NOT NULL,
    category text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    -- google.protobuf.Struct, encoded; null where there is none.
    data bytea,
    created_time timestamptz NOT NULL,
    seen_time timestamptz,
    read_time timestamptz,
    archived_time timestamptz,
    PRIMARY KEY (tenant_id, user_id, item_id)
);

CREATE INDEX items_by_version ON items (tenant_id, user_id, version);

CREATE INDEX items_by_time ON items (
    tenant_id, user_id, created_time DESC, item_id DESC
) INCLUDE (archived_time, read_time, seen_time);
