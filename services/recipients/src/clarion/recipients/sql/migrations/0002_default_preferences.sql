-- What a tenant wants for everybody who does not say it. Every process holds all of it
-- and asks for what has a higher revision than the highest that it has seen.
CREATE SEQUENCE default_preference_revision AS bigint;

CREATE TABLE default_preference (
    tenant_id    text        PRIMARY KEY,
    -- A serialized clarion.api.recipients.v1.Preferences, as in the table preference.
    body         bytea       NOT NULL,
    version      bigint      NOT NULL,
    revision     bigint      NOT NULL,
    updated_time timestamptz NOT NULL
);

CREATE UNIQUE INDEX default_preference_revision_of ON default_preference (revision);
