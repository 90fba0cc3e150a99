-- A type that was deleted stays as a row with what holds for one that nobody registered,
-- so that every router hears of it as of any other change.
ALTER TABLE notification_types ADD COLUMN deleted boolean NOT NULL DEFAULT false;
