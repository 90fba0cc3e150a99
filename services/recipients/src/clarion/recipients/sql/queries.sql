-- Every statement of the service by name; queries.py reads them. One round trip often
-- carries several of them, pipelined.

-- name: put_people
INSERT INTO person AS p (
    tenant_id, user_id, email, email_digest, phone_number, phone_digest,
    display_name, locale, time_zone, attributes, updated_time
)
SELECT %(tenant)s, n.*, %(now)s
FROM unnest(
    %(user_ids)s::text[], %(emails)s::text[], %(email_digests)s::bytea[],
    %(phone_numbers)s::text[], %(phone_digests)s::bytea[],
    %(display_names)s::text[], %(locales)s::text[], %(time_zones)s::text[],
    %(attributes)s::bytea[]
) AS n
ON CONFLICT (tenant_id, user_id) DO UPDATE SET
    email = excluded.email,
    email_digest = excluded.email_digest,
    phone_number = excluded.phone_number,
    phone_digest = excluded.phone_digest,
    display_name = excluded.display_name,
    locale = excluded.locale,
    time_zone = excluded.time_zone,
    attributes = excluded.attributes,
    updated_time = excluded.updated_time

-- name: lock_person
-- Taken by whoever changes a person's devices one at a time.
SELECT 1 FROM person
WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s
FOR NO KEY UPDATE

-- name: delete_person
DELETE FROM person WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s

-- name: delete_preference
DELETE FROM preference WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s

-- name: delete_subscriptions
DELETE FROM topic_subscriber WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s

-- name: keep_devices
-- What a person had and has no more: everything but the tokens that are put now.
DELETE FROM device
WHERE tenant_id = %(tenant)s
  AND user_id = ANY(%(people)s::text[])
  AND NOT token_digest = ANY(%(token_digests)s::bytea[])

-- name: take_tokens
-- Removes the tokens from the people who had them before.
DELETE FROM device AS d
USING unnest(%(user_ids)s::text[], %(token_digests)s::bytea[])
    AS n (user_id, token_digest)
WHERE d.tenant_id = %(tenant)s
  AND d.token_digest = n.token_digest
  AND d.user_id <> n.user_id
RETURNING d.user_id

-- name: put_devices
INSERT INTO device AS d (
    tenant_id, user_id, device_id, platform, token, token_digest, app_id,
    last_seen_time, registered_time
)
SELECT %(tenant)s, n.user_id, n.device_id, n.platform, n.token, n.token_digest,
    n.app_id, coalesce(n.last_seen_time, %(now)s), %(now)s
FROM unnest(
    %(user_ids)s::text[], %(device_ids)s::text[], %(platforms)s::text[],
    %(tokens)s::text[], %(token_digests)s::bytea[], %(app_ids)s::text[],
    %(last_seen_times)s::timestamptz[]
) AS n (
    user_id, device_id, platform, token, token_digest, app_id, last_seen_time
)
ON CONFLICT (tenant_id, token_digest) DO UPDATE SET
    device_id = excluded.device_id,
    platform = excluded.platform,
    app_id = excluded.app_id,
    last_seen_time = excluded.last_seen_time
RETURNING registered_time, last_seen_time

-- name: rotate_token
-- The device comes with a new token: the old one is gone.
DELETE FROM device
WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s
  AND device_id = %(device_id)s AND token_digest <> %(token_digest)s

-- name: forget_surplus_devices
DELETE FROM device
WHERE (tenant_id, user_id, device_id) IN (
    SELECT tenant_id, user_id, device_id FROM device
    WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s
    ORDER BY device_id <> %(device_id)s, last_seen_time DESC, device_id
    OFFSET %(most)s
)

-- name: remove_device
DELETE FROM device
WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s AND device_id = %(device_id)s

-- name: remove_tokens
DELETE FROM device
WHERE tenant_id = %(tenant)s AND token_digest = ANY(%(token_digests)s::bytea[])
RETURNING user_id

-- name: profiles
-- One statement, so that all of it is of one moment without a transaction around it.
-- Rows are of kind 0, a person with one of the devices and the preferences, 1, an
-- address with a suppression, and 2, a consent. Devices are in no order: most have one,
-- and sorting all of them costs more than finding them. Times are the eight bytes that
-- they are: a datetime costs more than the whole row.
SELECT 0 AS kind, p.user_id, p.email, p.phone_number, p.display_name, p.locale,
    p.time_zone, p.attributes, timestamptz_send(p.updated_time),
    d.device_id, d.platform, d.token, d.app_id, timestamptz_send(d.last_seen_time),
    timestamptz_send(d.registered_time),
    f.body, f.version, timestamptz_send(f.updated_time)
FROM person AS p
LEFT JOIN device AS d ON d.tenant_id = p.tenant_id AND d.user_id = p.user_id
LEFT JOIN preference AS f ON f.tenant_id = p.tenant_id AND f.user_id = p.user_id
WHERE p.tenant_id = %(tenant)s AND p.user_id = ANY(%(user_ids)s::text[])
UNION ALL
-- An inbox has no address but the user_id, which may look like somebody's address.
-- Nothing is looked up for a tenant without any: whether there is one is
-- judged once.
(SELECT 1, a.user_id, s.channel, s.address, s.reason, s.source,
    '', NULL, timestamptz_send(s.created_time),
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM (
    SELECT p.user_id, d.digest, d.is_inbox
    FROM person AS p
    CROSS JOIN LATERAL (
        VALUES (p.email_digest, false), (p.phone_digest, false),
            (sha256(convert_to(p.user_id, 'UTF8')), true)
    ) AS d (digest, is_inbox)
    WHERE p.tenant_id = %(tenant)s AND p.user_id = ANY(%(user_ids)s::text[])
        AND d.digest IS NOT NULL
    UNION ALL
    SELECT user_id, token_digest, false
    FROM device
    WHERE tenant_id = %(tenant)s AND user_id = ANY(%(user_ids)s::text[])
) AS a
JOIN suppression AS s
    ON s.tenant_id = %(tenant)s
    AND s.address_digest = a.digest
    AND (s.channel = 'in_app') = a.is_inbox
WHERE EXISTS (SELECT 1 FROM suppression WHERE tenant_id = %(tenant)s)
ORDER BY a.user_id, s.channel, s.address_digest)
UNION ALL
-- The last word on each channel and category, of people who took something back.
(SELECT DISTINCT ON (c.user_id, c.channel, c.category)
    2, c.user_id, c.channel, c.category, CASE WHEN c.granted THEN 'granted' ELSE '' END,
    '', '', NULL, timestamptz_send(c.given_time),
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM consent AS c
WHERE EXISTS (SELECT 1 FROM consent WHERE tenant_id = %(tenant)s)
    AND c.tenant_id = %(tenant)s AND c.user_id = ANY(%(user_ids)s::text[])
ORDER BY c.user_id, c.channel, c.category, c.given_time DESC, c.sequence DESC)

-- name: ensure_preference
-- A row to lock, so that two first changes of one person do not lose one.
INSERT INTO preference (tenant_id, user_id, body, version, updated_time)
VALUES (%(tenant)s, %(user_id)s, '', 0, %(now)s)
ON CONFLICT DO NOTHING

-- name: lock_preference
SELECT body, version, updated_time FROM preference
WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s
FOR UPDATE

-- name: get_preference
SELECT body, version, updated_time FROM preference
WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s

-- name: set_preference
UPDATE preference
SET body = %(body)s, version = %(version)s, updated_time = %(now)s
WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s

-- name: add_consent
INSERT INTO consent (
    tenant_id, user_id, channel, category, granted, source, text_version, given_time,
    request_id, recorded_time
)
VALUES (
    %(tenant)s, %(user_id)s, %(channel)s, %(category)s, %(granted)s, %(source)s,
    %(text_version)s, %(given_time)s, %(request_id)s, %(now)s
)
ON CONFLICT (tenant_id, user_id, request_id) WHERE request_id <> '' DO NOTHING

-- name: consent_of_request
SELECT sequence, channel, category, granted, source, text_version, given_time,
    request_id
FROM consent
WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s AND request_id = %(request_id)s

-- name: list_consents
SELECT sequence, channel, category, granted, source, text_version, given_time,
    request_id
FROM consent
WHERE tenant_id = %(tenant)s AND user_id = %(user_id)s AND sequence < %(before)s
ORDER BY sequence DESC
LIMIT %(most)s

-- name: lock_suppressions
-- A tenant's writers take turns: so the key in Valkey always follows the last commit.
SELECT pg_advisory_xact_lock(hashtextextended('suppression:' || %(tenant)s, 0))

-- name: add_suppressions
INSERT INTO suppression AS s (
    tenant_id, address_digest, channel, address, reason, source, created_time
)
SELECT %(tenant)s, n.address_digest, n.channel, n.address, n.reason, n.source,
    coalesce(n.created_time, %(now)s)
FROM unnest(
    %(address_digests)s::bytea[], %(channels)s::text[], %(addresses)s::text[],
    %(reasons)s::text[], %(sources)s::text[], %(created_times)s::timestamptz[]
) AS n (address_digest, channel, address, reason, source, created_time)
ON CONFLICT (tenant_id, address_digest, channel) DO UPDATE SET
    reason = excluded.reason,
    source = excluded.source,
    created_time = excluded.created_time
WHERE s.reason = 'unsubscribe' AND excluded.reason <> 'unsubscribe'
RETURNING xmax = 0

-- name: reasons_of
SELECT s.address_digest, s.channel, s.reason
FROM suppression AS s
JOIN unnest(%(address_digests)s::bytea[], %(channels)s::text[])
    AS n (address_digest, channel)
    ON n.address_digest = s.address_digest AND n.channel = s.channel
WHERE s.tenant_id = %(tenant)s

-- name: remove_suppression
DELETE FROM suppression
WHERE tenant_id = %(tenant)s
  AND address_digest = %(address_digest)s
  AND channel = %(channel)s

-- name: people_with_addresses
-- The people who are reached by one of the addresses, and how they spell their email.
SELECT user_id, email FROM person
WHERE tenant_id = %(tenant)s AND email_digest = ANY(%(address_digests)s::bytea[])
UNION ALL
SELECT user_id, '' FROM person
WHERE tenant_id = %(tenant)s AND phone_digest = ANY(%(address_digests)s::bytea[])
UNION ALL
SELECT user_id, '' FROM device
WHERE tenant_id = %(tenant)s AND token_digest = ANY(%(address_digests)s::bytea[])

-- name: list_suppressions
SELECT channel, address, address_digest, reason, source, created_time
FROM suppression
WHERE tenant_id = %(tenant)s
  AND (%(channel)s = '' OR channel = %(channel)s)
  AND (channel, left(address, 128) COLLATE "C", address_digest)
    > (%(after_channel)s, %(after_address)s, %(after_digest)s)
ORDER BY channel, left(address, 128) COLLATE "C", address_digest
LIMIT %(most)s

-- name: page_of_all_suppressions
-- Locked, so that none is lifted between this and the write of its key to Valkey.
SELECT s.tenant_id, s.address_digest, s.channel, s.address, s.reason,
    ARRAY(
        SELECT p.email FROM person AS p
        WHERE p.tenant_id = s.tenant_id AND p.email_digest = s.address_digest
    ) AS spellings
FROM suppression AS s
WHERE (s.tenant_id, s.address_digest, s.channel)
    > (%(after_tenant)s, %(after_digest)s, %(after_channel)s)
ORDER BY s.tenant_id, s.address_digest, s.channel
LIMIT %(most)s
FOR SHARE OF s

-- name: subscribe
INSERT INTO topic_subscriber (tenant_id, topic, user_id, subscribed_time)
SELECT %(tenant)s, %(topic)s, n.user_id, %(now)s
FROM unnest(%(user_ids)s::text[]) AS n (user_id)
ON CONFLICT DO NOTHING

-- name: unsubscribe
DELETE FROM topic_subscriber
WHERE tenant_id = %(tenant)s AND topic = %(topic)s
  AND user_id = ANY(%(user_ids)s::text[])

-- name: list_subscribers
SELECT user_id FROM topic_subscriber
WHERE tenant_id = %(tenant)s AND topic = %(topic)s
  AND user_id > %(after)s COLLATE "C"
ORDER BY user_id
LIMIT %(most)s

-- name: take_turn_with_defaults
-- Writers take turns, so that a revision is never committed before a lower one.
SELECT pg_advisory_xact_lock(hashtextextended('default_preference', 0))

-- name: get_default_preference
SELECT body, version, updated_time FROM default_preference
WHERE tenant_id = %(tenant)s

-- name: put_default_preference
INSERT INTO default_preference AS d (
    tenant_id, body, version, revision, updated_time
)
VALUES (
    %(tenant)s, %(body)s, %(version)s, nextval('default_preference_revision'), %(now)s
)
ON CONFLICT (tenant_id) DO UPDATE SET
    body = excluded.body,
    version = excluded.version,
    revision = excluded.revision,
    updated_time = excluded.updated_time

-- name: changed_default_preferences
SELECT tenant_id, revision, body, version, updated_time FROM default_preference
WHERE revision > %(after)s
ORDER BY revision
LIMIT %(most)s
