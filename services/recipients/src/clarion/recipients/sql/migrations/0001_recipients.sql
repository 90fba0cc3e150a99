-- The people, what they want, and where nothing may be sent to.
--
-- tenant_id leads every key: a tenant's rows lie together, and a query that forgets the
-- tenant cannot use an index. Addresses and tokens may be thousands of bytes long, more
-- than an index entry holds, so they are found by their digest (SHA-256 of the
-- normalised form, made by addresses.py).

CREATE TABLE person (
    tenant_id     text        NOT NULL,
    user_id       text        NOT NULL,
    email         text        NOT NULL,
    email_digest  bytea,
    phone_number  text        NOT NULL,
    phone_digest  bytea,
    display_name  text        NOT NULL,
    locale        text        NOT NULL,
    time_zone     text        NOT NULL,
    -- A serialized google.protobuf.Struct: the numbers and nulls come back as they came.
    attributes    bytea       NOT NULL,
    updated_time  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

-- Whose address is this? Asked when a suppression comes or goes.
CREATE INDEX person_email ON person (tenant_id, email_digest)
    WHERE email_digest IS NOT NULL;
CREATE INDEX person_phone ON person (tenant_id, phone_digest)
    WHERE phone_digest IS NOT NULL;

CREATE TABLE device (
    tenant_id       text        NOT NULL,
    user_id         text        NOT NULL,
    device_id       text        NOT NULL,
    platform        text        NOT NULL,
    token           text        NOT NULL,
    token_digest    bytea       NOT NULL,
    app_id          text        NOT NULL,
    last_seen_time  timestamptz NOT NULL,
    registered_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, device_id),
    -- A token belongs to one person: whoever registered it last.
    UNIQUE (tenant_id, token_digest),
    -- So that a device registered while its person is deleted does not stay behind.
    FOREIGN KEY (tenant_id, user_id) REFERENCES person ON DELETE CASCADE
);

-- No reference to person: people may say what they want before they are known here.
CREATE TABLE preference (
    tenant_id    text        NOT NULL,
    user_id      text        NOT NULL,
    -- A serialized clarion.api.recipients.v1.Preferences without user_id, version and
    -- updated_time: a new switch of the contract needs no migration.
    body         bytea       NOT NULL,
    version      bigint      NOT NULL,
    updated_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE suppression (
    tenant_id      text        NOT NULL,
    address_digest bytea       NOT NULL,
    channel        text        NOT NULL,
    -- Normalised: an email lower-cased, a phone number as E.164.
    address        text        NOT NULL,
    reason         text        NOT NULL,
    source         text        NOT NULL,
    created_time   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, address_digest, channel)
);

CREATE INDEX suppression_list ON suppression
    (tenant_id, channel, (left(address, 128) COLLATE "C"), address_digest);

-- The ledger outlives the person: it proves what was agreed to.
CREATE TABLE consent (
    tenant_id     text        NOT NULL,
    user_id       text        NOT NULL,
    sequence      bigint      GENERATED ALWAYS AS IDENTITY,
    channel       text        NOT NULL,
    category      text        NOT NULL,
    granted       boolean     NOT NULL,
    source        text        NOT NULL,
    text_version  text        NOT NULL,
    given_time    timestamptz NOT NULL,
    request_id    text        NOT NULL,
    recorded_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, sequence)
);

CREATE UNIQUE INDEX consent_request ON consent (tenant_id, user_id, request_id)
    WHERE request_id <> '';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the consent ledger is append-only';
END
$$;

CREATE TRIGGER consent_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON consent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE topic_subscriber (
    tenant_id       text        NOT NULL,
    topic           text        NOT NULL,
    -- Byte order, so that pages of a fan-out can go on after any user_id.
    user_id         text        COLLATE "C" NOT NULL,
    subscribed_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, topic, user_id)
);

-- All subscriptions of a person that is deleted.
CREATE INDEX topic_subscriber_person ON topic_subscriber (tenant_id, user_id);
