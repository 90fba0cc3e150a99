-- name: lock_template
-- Makes the row where it is missing; either way no other writer has it until commit.
INSERT INTO templates (tenant, template_id)
VALUES (%(tenant)s, %(template_id)s)
ON CONFLICT (tenant, template_id) DO UPDATE SET latest_version = templates.latest_version
RETURNING latest_version;

-- name: find_content
SELECT version
FROM template_versions
WHERE tenant = %(tenant)s AND template_id = %(template_id)s AND content_hash = %(digest)s;

-- name: insert_version
INSERT INTO template_versions (tenant, template_id, version, content, content_hash)
VALUES (%(tenant)s, %(template_id)s, %(version)s, %(content)s, %(digest)s);

-- name: set_latest
UPDATE templates SET latest_version = %(version)s
WHERE tenant = %(tenant)s AND template_id = %(template_id)s;

-- name: publish
-- Publishing what is published already is no event.
WITH changed AS (
    UPDATE templates AS t SET published_version = v.version
    FROM template_versions AS v
    WHERE t.tenant = %(tenant)s AND t.template_id = %(template_id)s
      AND v.tenant = t.tenant AND v.template_id = t.template_id AND v.version = %(version)s
      AND t.published_version IS DISTINCT FROM v.version
    RETURNING t.tenant, t.template_id, t.published_version
)
INSERT INTO template_publications (tenant, template_id, version)
SELECT tenant, template_id, published_version FROM changed;

-- name: get
SELECT v.template_id, v.version, v.content, v.created_time,
       v.version IS NOT DISTINCT FROM t.published_version AS published
FROM template_versions AS v
JOIN templates AS t USING (tenant, template_id)
WHERE v.tenant = %(tenant)s AND v.template_id = %(template_id)s
  AND v.version = CASE WHEN %(version)s::bigint = 0 THEN t.published_version ELSE %(version)s::bigint END;

-- name: list
SELECT v.template_id, v.version, v.content, v.created_time, true AS published
FROM templates AS t
JOIN template_versions AS v
  ON v.tenant = t.tenant AND v.template_id = t.template_id AND v.version = t.published_version
WHERE t.tenant = %(tenant)s AND t.template_id > %(after)s
ORDER BY t.template_id
LIMIT %(limit)s;

-- name: published
SELECT template_id, published_version
FROM templates
WHERE tenant = %(tenant)s AND published_version IS NOT NULL;

-- name: revision
SELECT coalesce(max(published_revision), 0) FROM templates;

-- name: changed
SELECT tenant, published_revision
FROM templates
WHERE published_revision > %(after)s
ORDER BY published_revision
LIMIT %(limit)s;

-- name: publications
SELECT template_id, nullif(published_time, '-infinity'), version
FROM template_publications
WHERE tenant = %(tenant)s
ORDER BY template_id, published_time;
