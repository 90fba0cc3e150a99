-- Replicas keep what is published in memory and ask for what was published after the highest revision that they have
-- seen. By a trigger, so that also those of an older release are heard.
CREATE SEQUENCE published_revision AS bigint;

ALTER TABLE templates ADD COLUMN published_revision bigint NOT NULL DEFAULT 0;
CREATE INDEX templates_published_revision ON templates (published_revision);

-- One after the other until commit: nobody sees a revision before all lower ones.
CREATE FUNCTION set_published_revision() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock('templates'::regclass::oid::bigint);
    NEW.published_revision := nextval('published_revision');
    RETURN NEW;
END
$$;

CREATE TRIGGER published_revision BEFORE UPDATE OF published_version ON templates
FOR EACH ROW WHEN (OLD.published_version IS DISTINCT FROM NEW.published_version)
EXECUTE FUNCTION set_published_revision();
