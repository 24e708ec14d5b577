-- Rows of events that are gone leave the table of events. What is left of them is here, because nobody is to take them for lost.

-- The functions below look for tables here, whatever path their callers have, and last where any user may make some.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- Positions are counted by parts of 4096, each named by its first: so many of its events are gone for this reason, between these
-- positions. The name is that of an aggregate or of an archive, and empty where there is none.
CREATE TABLE gaps (
    part           bigint NOT NULL CHECK (part % 4096 = 1),
    kind           text COLLATE "C" NOT NULL,
    name           text COLLATE "C" NOT NULL,
    first_position bigint NOT NULL CHECK (first_position >= part),
    last_position  bigint NOT NULL CHECK (last_position < part + 4096 AND last_position >= first_position),
    events         bigint NOT NULL CHECK (events > 0),
    PRIMARY KEY (part, kind, name)
);

-- The version that an aggregate was at with its last event that is gone: without it an aggregate of which nothing is left would begin with
-- version 1 again. There is one more before each event of the system about it, which is to find it as it was.
CREATE TABLE marks (
    position       bigint PRIMARY KEY CHECK (position > 0),
    aggregate_id   text COLLATE "C" NOT NULL,
    aggregate_type text COLLATE "C" NOT NULL,
    version        bigint NOT NULL CHECK (version > 0),
    kind           text COLLATE "C" NOT NULL,
    name           text COLLATE "C" NOT NULL
);

CREATE INDEX marks_aggregate_id ON marks (aggregate_id, version);

-- The last version of an aggregate, if it has one, whether or not its event is gone.
CREATE OR REPLACE FUNCTION latest_of(target text) RETURNS TABLE (version bigint, aggregate_type text, "position" bigint)
LANGUAGE sql STABLE AS $$
    SELECT * FROM (
        (SELECT version, aggregate_type, position FROM events WHERE aggregate_id = target ORDER BY version DESC LIMIT 1)
        UNION ALL
        (SELECT version, aggregate_type, position FROM marks WHERE aggregate_id = target ORDER BY version DESC LIMIT 1)
    ) AS found (version, aggregate_type, position) ORDER BY version DESC LIMIT 1
$$;

-- Drops the partitions that have no event any more, but for the last, and answers their names. They are found before anybody has to wait:
-- where many rows were deleted and no VACUUM came since, that takes long. Whoever reads the table is waited for then, not for long, because
-- others wait as well. Rows are looked for by the key, as a table full of deleted ones would be read to its end.
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
    -- One at a time: two that have looked would wait for each other.
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::int, 'events'::regclass::oid::int);
    -- Read first: what is committed after the looks has higher positions.
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
