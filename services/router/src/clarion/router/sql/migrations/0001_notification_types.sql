-- What tenants say about their types of notification. Every router holds all of it and
-- asks for what has a higher revision than the highest that it has seen.
CREATE SEQUENCE notification_type_revision AS bigint;

CREATE TABLE notification_types (
    tenant_id    text   NOT NULL,
    type         text   COLLATE "C" NOT NULL,
    -- A serialized clarion.api.router.v1.NotificationType, with all defaults filled in.
    definition   bytea  NOT NULL,
    revision     bigint NOT NULL,
    changed_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, type)
);
CREATE UNIQUE INDEX notification_types_revision ON notification_types (revision);
