-- How far readers of the table's changes have come: each has a name, that of its replication slot. What lies up to `copied_to` was there
-- before the slot was, and is read from the table; NULL while the slot is being made.
CREATE TABLE checkpoints (
    name       text COLLATE "C" PRIMARY KEY,
    position   bigint NOT NULL CHECK (position >= 0),
    copied_to  bigint CHECK (copied_to >= 0),
    lsn        pg_lsn,
    updated_at timestamptz NOT NULL DEFAULT now()
);
