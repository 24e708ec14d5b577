-- Records of events whose rows were dropped, so that they are not reported as lost.

-- The functions below find tables in this schema, whatever the search path of the caller, and search pg_temp last: any user may create
-- tables there.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- A row counts the dropped events of one part of 4,096 positions, which is named by its first position, for one reason, with the first and
-- last of them. The name is that of an aggregate or of an archive; empty where there is none.
CREATE TABLE gaps (
    part           bigint NOT NULL CHECK (part % 4096 = 1),
    kind           text COLLATE "C" NOT NULL,
    name           text COLLATE "C" NOT NULL,
    first_position bigint NOT NULL CHECK (first_position >= part),
    last_position  bigint NOT NULL CHECK (last_position < part + 4096 AND last_position >= first_position),
    events         bigint NOT NULL CHECK (events > 0),
    PRIMARY KEY (part, kind, name)
);

-- The version of an aggregate at its last dropped event: without it, an aggregate that lost all its events would begin at version 1 again.
-- There is a row before each system event of the aggregate too, since that event applies to the version of its time.
CREATE TABLE marks (
    position       bigint PRIMARY KEY CHECK (position > 0),
    aggregate_id   text COLLATE "C" NOT NULL,
    aggregate_type text COLLATE "C" NOT NULL,
    version        bigint NOT NULL CHECK (version > 0),
    kind           text COLLATE "C" NOT NULL,
    name           text COLLATE "C" NOT NULL
);

CREATE INDEX marks_aggregate_id ON marks (aggregate_id, version);

-- The last version of an aggregate, if it has one, whether or not its event was dropped.
CREATE OR REPLACE FUNCTION latest_of(target text) RETURNS TABLE (version bigint, aggregate_type text, "position" bigint)
LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        (SELECT version, aggregate_type, position FROM events WHERE aggregate_id = target ORDER BY version DESC LIMIT 1)
        UNION ALL
        (SELECT version, aggregate_type, position FROM marks WHERE aggregate_id = target ORDER BY version DESC LIMIT 1)
    ) AS found (version, aggregate_type, position) ORDER BY version DESC LIMIT 1
$$;

-- Drops the partitions without events, except the last, and returns their names. They are found before the table is locked, because that takes
-- long after many deletions without a VACUUM. The lock waits for readers of the table, but not for long, since others wait behind it. Rows
-- are looked up by the key: a scan would read all deleted ones.
CREATE FUNCTION drop_empty_partitions() RETURNS SETOF text
LANGUAGE plpgsql SET search_path FROM CURRENT SET lock_timeout = '10s' SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    last bigint;
    partition text;
    has_rows boolean;
    found_empty text[] := '{}';
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_transaction_state',
            MESSAGE = 'this transaction does not see what others commit: drop partitions in one that is READ COMMITTED';
    END IF;
    -- One call at a time: two that have found partitions would wait for each other.
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::int, 'events'::regclass::oid::int);
    -- Read first: events committed after the search have higher positions.
    SELECT position INTO STRICT last FROM head;
    FOR partition IN SELECT name FROM partitions() ORDER BY recorded_until DESC OFFSET 1 LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE position > 0)', partition) INTO has_rows;
        IF NOT has_rows THEN
            found_empty := array_append(found_empty, partition);
        END IF;
    END LOOP;
    IF found_empty = '{}' THEN
        RETURN;
    END IF;

    LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
    FOREACH partition IN ARRAY found_empty LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE position > $1)', partition) INTO has_rows USING last;
        IF NOT has_rows THEN
            EXECUTE format('DROP TABLE %I', partition);
            RETURN NEXT partition;
        END IF;
    END LOOP;
END
$$;
