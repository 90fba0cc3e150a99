-- When which version became the one that is used: what was accepted before keeps the one of then.
CREATE TABLE template_publications (
    tenant         text COLLATE "C" NOT NULL,
    template_id    text COLLATE "C" NOT NULL,
    published_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    version        integer NOT NULL,
    PRIMARY KEY (tenant, template_id, published_time),
    FOREIGN KEY (tenant, template_id) REFERENCES templates ON DELETE CASCADE
);

-- What is published already was so for all that anybody knows.
INSERT INTO template_publications (tenant, template_id, published_time, version)
SELECT tenant, template_id, '-infinity', published_version
FROM templates
WHERE published_version IS NOT NULL;
