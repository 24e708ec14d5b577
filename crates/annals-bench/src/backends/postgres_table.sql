SELECT pg_advisory_lock(4711);
CREATE SCHEMA IF NOT EXISTS own_schema;
SET search_path TO own_schema;
CREATE TABLE IF NOT EXISTS events (
    position bigserial PRIMARY KEY,
    aggregate_id text NOT NULL,
    version bigint NOT NULL,
    event_type text NOT NULL,
    correlation_id text NOT NULL,
    causation_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    data jsonb NOT NULL,
    UNIQUE (aggregate_id, version)
);
CREATE INDEX IF NOT EXISTS events_type ON events (event_type, position);
CREATE INDEX IF NOT EXISTS events_correlation ON events (correlation_id, position);
CREATE INDEX IF NOT EXISTS events_time ON events (occurred_at);
CREATE OR REPLACE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_notify('events', NEW.position::text); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER announce AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION announce();
SELECT pg_advisory_unlock(4711);
