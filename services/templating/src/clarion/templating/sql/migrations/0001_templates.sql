-- Templates by tenant; ids are compared by bytes, so that lists are in one order everywhere.
CREATE TABLE templates (
    tenant            text COLLATE "C" NOT NULL,
    template_id       text COLLATE "C" NOT NULL,
    -- The last version given out; kept here so that two writers take turns.
    latest_version    integer NOT NULL DEFAULT 0,
    -- The version that is used; null while there are only drafts.
    published_version integer,
    PRIMARY KEY (tenant, template_id)
);

-- A version is written once and never changed.
CREATE TABLE template_versions (
    tenant       text COLLATE "C" NOT NULL,
    template_id  text COLLATE "C" NOT NULL,
    version      integer NOT NULL CHECK (version > 0),
    content      text NOT NULL,
    content_hash bytea NOT NULL,
    created_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, template_id, version),
    UNIQUE (tenant, template_id, content_hash),
    FOREIGN KEY (tenant, template_id) REFERENCES templates ON DELETE CASCADE
);
