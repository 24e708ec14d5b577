-- The tables of a store. Every write locks the row of head, which orders commits by their positions and fences writers.

-- One row. A lease is a time in which one program may write: the one that knows its number. The epoch counts the leases.
CREATE TABLE head (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    store         uuid NOT NULL,
    position      bigint NOT NULL CHECK (position >= 0),
    epoch         bigint NOT NULL CHECK (epoch >= 0),
    lease         uuid,
    holder        text,
    held_since    timestamptz,
    lease_expires timestamptz
);

INSERT INTO head (store, position, epoch) VALUES (gen_random_uuid(), 0, 0);

-- A column ending in _bytes holds what jsonb would not return byte for byte, and one ending in _micros a time before 4713 BC, as
-- microseconds since 1970. Where a type is NULL, it is application/json. Names compare by their bytes, as they do in memory: no
-- index depends on the locale of the machine.
CREATE TABLE events (
    position        bigint PRIMARY KEY CHECK (position > 0),
    event_id        uuid NOT NULL,
    aggregate_id    text COLLATE "C" NOT NULL,
    aggregate_type  text COLLATE "C" NOT NULL,
    event_type      text COLLATE "C" NOT NULL,
    schema_version  bigint NOT NULL,
    version         bigint NOT NULL CHECK (version > 0),
    occurred_at     timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL,
    correlation_id  text COLLATE "C",
    causation_id    text COLLATE "C",
    user_id         text COLLATE "C",
    organization_id text COLLATE "C",
    tags            text[] COLLATE "C" NOT NULL,
    metadata        jsonb,
    data            jsonb,
    metadata_bytes  bytea,
    data_bytes      bytea,
    metadata_type   text COLLATE "C",
    data_type       text COLLATE "C",
    occurred_micros bigint,
    recorded_micros bigint,
    UNIQUE (aggregate_id, version)
);

CREATE INDEX events_event_id ON events (event_id);
CREATE INDEX events_event_type ON events (event_type, position);
CREATE INDEX events_aggregate_type ON events (aggregate_type, position);
CREATE INDEX events_occurred_at ON events (occurred_at);
CREATE INDEX events_correlation_id ON events (correlation_id, position) WHERE correlation_id IS NOT NULL;
CREATE INDEX events_user_id ON events (user_id, position) WHERE user_id IS NOT NULL;

-- What the system events truncated or deleted; the events themselves stay. Without a version, it is everything before the position.
CREATE TABLE deletions (
    position     bigint PRIMARY KEY,
    aggregate_id text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL CHECK (kind IN ('truncated', 'deleted', 'tombstoned', 'archived')),
    to_version   bigint
);

CREATE INDEX deletions_aggregate_id ON deletions (aggregate_id);

-- What readers of a store see, except for the limits of aggregates, which depend on the time of reading.
CREATE VIEW live_events AS
SELECT position, event_id, aggregate_id, aggregate_type, event_type, schema_version, version, occurred_at, recorded_at,
       correlation_id, causation_id, user_id, organization_id, tags, metadata, data, metadata_bytes, data_bytes, metadata_type,
       data_type
FROM events
WHERE NOT starts_with(event_type, '$')
  AND NOT EXISTS (
      SELECT FROM deletions
      WHERE deletions.aggregate_id = events.aggregate_id
        AND deletions.position > events.position
        AND (deletions.to_version IS NULL OR events.version <= deletions.to_version));
