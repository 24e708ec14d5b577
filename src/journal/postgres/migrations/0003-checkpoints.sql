-- The checkpoints of change capture, by the name of its replication slot. Events up to `copied_to` are older than the slot, and are read
-- from the table; NULL while the slot is being created.
CREATE TABLE checkpoints (
    name       text COLLATE "C" PRIMARY KEY,
    position   bigint NOT NULL CHECK (position >= 0),
    copied_to  bigint CHECK (copied_to >= 0),
    lsn        pg_lsn,
    updated_at timestamptz NOT NULL DEFAULT now()
);
