-- A subscriber's notification says which broadcast made it, and the states of a
-- broadcast's notifications are counted when they change.

-- Nobody writes meanwhile: the key of take_turn.
SELECT pg_advisory_xact_lock(27985188481494894);

-- Not known of what was decided before.
ALTER TABLE notifications ADD COLUMN broadcast_id uuid;
CREATE INDEX notifications_by_broadcast ON notifications
    (broadcast_id, (facts | outcomes), notification_id)
    WHERE broadcast_id IS NOT NULL;

-- Every mask that a notification of the broadcast has or had; not the status, so that the
-- words for masks may change.
CREATE TABLE broadcast_states (
    broadcast_id uuid NOT NULL,
    mask integer NOT NULL,
    number bigint NOT NULL,
    accepted_time timestamptz NOT NULL,
    PRIMARY KEY (broadcast_id, mask)
) WITH (fillfactor = 60);
COMMENT ON COLUMN broadcast_states.mask IS 'facts | outcomes of the notifications';
COMMENT ON COLUMN broadcast_states.accepted_time IS 'when to forget it';
