-- Reads that escalations were not told of yet: there are some while Valkey is away.
CREATE TABLE unmarked_reads (
    tenant_id text NOT NULL,
    notification_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, notification_id)
);
