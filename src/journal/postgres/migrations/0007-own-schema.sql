-- Functions act on the schema that contains them, also after it was renamed, and depend on no setting of the calling session. Times have the
-- range of a store.
--
-- The path of a function ends with the number of its schema and the id of its store, as the name of a schema that is not there:
-- "home 16385 018f6d2a-7c1e-7000-8000-3f1f6a0c9d11". A path names a schema, and names change. Opening a store sets the paths again when they
-- differ, as after the tables were restored from a dump. A number that no schema of the database has is that of another server.
SELECT set_config('search_path', format('%I, pg_temp, %I', current_schema(), format('home %s %s', quote_ident(current_schema())::regnamespace::oid, store)), true)
FROM head;

-- Microseconds since 1970 of a time in RFC 3339, with a year from 0001 to 9999; NULL for another text, or a time after 9999 in UTC. Fractions of
-- a microsecond are cut off.
CREATE FUNCTION micros_of_time(moment text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    month date;
    day int;
    zone text := '';
    behind int := 0;
    micros bigint;
BEGIN
    IF moment IS NULL OR moment !~ ('^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]+)?'
        '([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$') OR left(moment, 4) = '0000' THEN
        RETURN NULL;
    END IF;
    month := make_date(left(moment, 4)::int, substr(moment, 6, 2)::int, 1);
    day := substr(moment, 9, 2)::int - 1;
    IF day > 27 AND date_part('month', month + day) <> date_part('month', month) THEN
        RETURN NULL;
    END IF;
    IF right(moment, 1) IN ('Z', 'z') THEN
        moment := left(moment, -1);
    ELSE
        zone := right(moment, 6);
        moment := left(moment, -6);
        behind := (left(zone, 1) || '1')::int * (substr(zone, 2, 2)::int * 3600 + right(zone, 2)::int * 60);
    END IF;
    micros := ((month + day - make_date(1970, 1, 1))::bigint * 86400
            + substr(moment, 12, 2)::int * 3600 + substr(moment, 15, 2)::int * 60 + substr(moment, 18, 2)::int - behind) * 1000000
        + rpad(substr(moment, 21, 6), 6, '0')::bigint;
    RETURN CASE WHEN micros <= 253402300799999999 THEN micros END;
END
$$;

-- The time of microseconds since 1970; -infinity for one before 4713 BC, which PostgreSQL cannot represent.
CREATE FUNCTION time_of_micros(micros bigint) RETURNS timestamptz
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN micros < -210866803200000000 THEN '-infinity'::timestamptz ELSE
        (make_timestamp(1970, 1, 1, 0, 0, 0) + make_interval(days => (micros / 86400000000)::int)
            + (micros % 86400000000)::float8 * interval '1 microsecond') AT TIME ZONE 'UTC' END
$$;

-- What is wrong with the time of an event; NULL for a valid one. The range is that of a store.
CREATE FUNCTION refusal_of_time(event jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN event ->> 'timestamp' IS NOT NULL AND micros_of_time(event ->> 'timestamp') IS NULL
            THEN 'timestamp must be as RFC 3339 has it, with a year from 0001 to 9999 in UTC, like 2026-01-31T12:00:00Z'
        WHEN event ->> 'timestampMicros' !~ '^-?[0-9]{1,18}$'
            OR (event ->> 'timestampMicros')::bigint NOT BETWEEN -377705116800000000 AND 253402300799999999
            THEN 'timestampMicros must be a number from -377705116800000000 to 253402300799999999, the years -9999 to 9999'
    END
$$;

CREATE OR REPLACE FUNCTION refusal_of_numbers(event jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN event ->> 'eventId' !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN 'eventId must be a UUID'
        WHEN event ->> 'eventVersion' !~ '^[0-9]{1,10}$' OR (event ->> 'eventVersion')::numeric > 4294967295
            THEN 'eventVersion must be a number from 0 to 4294967295'
        ELSE refusal_of_time(event)
    END
$$;

-- The partitions, the oldest first, each with the range of times at which its events were recorded.
CREATE OR REPLACE FUNCTION partitions() RETURNS TABLE (name text, recorded_from timestamptz, recorded_until timestamptz)
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid::regnamespace::text
        <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid;
    END IF;
    RETURN QUERY
    SELECT relname::text, coalesce(substring(bounds FROM 'FROM [(]''([^'']*)''[)]')::timestamptz, '-infinity'),
        substring(bounds FROM 'TO [(]''([^'']*)''[)]')::timestamptz
    FROM pg_catalog.pg_inherits
        JOIN pg_catalog.pg_class ON pg_class.oid = inhrelid,
        pg_catalog.pg_get_expr(relpartbound, pg_class.oid) AS bounds
    WHERE inhparent = 'events'::regclass
    ORDER BY 2;
END
$$;

-- Creates the partition for events recorded at a time, if it is missing, and returns its range: microseconds since 1970, with NULL for no
-- lower bound. Readers and writers do not wait, and an existing partition is found without a lock.
--
-- It runs with the rights of its owner: a writer need not own the tables.
CREATE OR REPLACE FUNCTION make_partition(recorded timestamptz, OUT from_micros bigint, OUT until_micros bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    -- Everything older than the year 1 is in one partition.
    year_1 CONSTANT timestamptz := '0001-01-01 00:00:00+00';
    month CONSTANT timestamptz := CASE WHEN recorded >= year_1 THEN date_trunc('month', recorded) END;
    starts timestamptz;
    ends timestamptz;
    partition text;
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid::regnamespace::text
        <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid;
    END IF;
    SELECT recorded_from, recorded_until INTO starts, ends
    FROM partitions() WHERE recorded >= recorded_from AND recorded < recorded_until;
    IF NOT FOUND THEN
        -- One call creates it at a time. Without ONLY, the lock would wait for a VACUUM of any partition.
        LOCK TABLE ONLY events IN SHARE UPDATE EXCLUSIVE MODE;
        SELECT recorded_from, recorded_until INTO starts, ends
        FROM partitions() WHERE recorded >= recorded_from AND recorded < recorded_until;
    END IF;
    IF NOT FOUND THEN
        starts := coalesce(month, '-infinity');
        ends := coalesce(month + interval '1 month', year_1);
        partition := 'events_' || coalesce(to_char(month, 'YYYY_MM'), '0000');
        EXECUTE format('CREATE TABLE %I (LIKE events INCLUDING ALL EXCLUDING INDEXES, PRIMARY KEY (position), UNIQUE (aggregate_id, version))',
                       partition);
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%L)', partition,
                       coalesce(quote_literal(month), 'MINVALUE'), ends);
    END IF;
    from_micros := CASE WHEN isfinite(starts) THEN extract(epoch FROM starts) * 1000000 END;
    until_micros := extract(epoch FROM ends) * 1000000;
END
$$;

-- Removes the constraint that excludes later months. It runs with the rights of its owner: a writer need not own a table that another left
-- unfinished.
CREATE OR REPLACE FUNCTION free_events(number uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid::regnamespace::text
        <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid;
    END IF;
    PERFORM fence_partitioning(number);
    IF bound_of_events() IS NOT NULL THEN
        ALTER TABLE events DROP CONSTRAINT events_recorded_before;
    END IF;
END
$$;

-- Drops the partitions without events, except the last, and returns their names. They are found before the table is locked, because that takes
-- long after many deletions without a VACUUM. The lock waits for readers of the table, but not for long, since others wait behind it. Rows
-- are looked up by the key: a scan would read all deleted ones.
CREATE OR REPLACE FUNCTION drop_empty_partitions() RETURNS SETOF text
LANGUAGE plpgsql SET search_path FROM CURRENT SET lock_timeout = '10s' SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    last bigint;
    partition text;
    has_rows boolean;
    found_empty text[] := '{}';
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid::regnamespace::text
        <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid;
    END IF;
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

-- Wakes the stores that follow, for an append that they should read at once; without it they poll several times a second. Call it after
-- the commit of the append, not within it: commits that notify wait for each other across the whole server.
CREATE OR REPLACE FUNCTION notify_followers() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid::regnamespace::text
        <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid;
    END IF;
    PERFORM pg_notify('annals-' || store, '') FROM head;
END
$$;

-- The last version that the limits of an aggregate had dropped at a time, according to all limits that it has had; 0 for none. Age drops from the
-- first event up to the first that is young enough.
CREATE FUNCTION dropped_by_limits(target text, moment timestamptz) RETURNS bigint
LANGUAGE sql STABLE AS $$
    WITH limits AS (
        SELECT (data ->> 'maxCount')::numeric AS max_count, (data ->> 'maxAgeSeconds')::float8 AS max_age,
            lead(position) OVER (ORDER BY position) AS until
        FROM events WHERE aggregate_id = '$' || target AND event_type = '$limited'
    )
    SELECT greatest(
        (SELECT max((data ->> 'goneTo')::bigint) FROM events WHERE aggregate_id = '$' || target),
        (SELECT max(greatest(version - max_count, 0))::bigint FROM limits CROSS JOIN LATERAL (
            SELECT version FROM events WHERE aggregate_id = target AND (until IS NULL OR position < until)
            ORDER BY version DESC LIMIT 1) AS latest
         WHERE max_count IS NOT NULL),
        (SELECT coalesce(
            -- An age of several thousand years is no limit.
            (SELECT min(version) - 1 FROM live_events
             WHERE aggregate_id = target
                AND (max_age >= 1e11 OR occurred_at > moment - make_interval(secs => least(max_age, 1e11)))),
            (SELECT max(version) FROM events WHERE aggregate_id = target))
         FROM limits WHERE until IS NULL AND max_age IS NOT NULL),
        0)
$$;

-- Appends events to an aggregate, all or none, if it is at the expected version: NULL for any, 0 for no stream or a
-- deleted one, -1 for one that exists, -2 for one that never existed. An append without events changes nothing.
--
-- An append is idempotent by the ids of its events, as in a store. If all are ids of events that the aggregate retains, in succession and where
-- the expected version would have put them, it returns its first answer again. If only some are, it is refused (ZA409, DETAIL has eventId,
-- version and position); an id that occurs twice is refused (ZA400).
--
-- It runs with the rights of its owner: a role that may execute it can append, and needs no right to the tables.
CREATE OR REPLACE FUNCTION append_events(
    aggregate_id text, aggregate_type text, expected_version bigint, events jsonb,
    OUT first_position bigint, OUT last_position bigint, OUT first_version bigint, OUT last_version bigint, OUT repeated boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    target CONSTANT text := append_events.aggregate_id;
    expected CONSTANT bigint := append_events.expected_version;
    number CONSTANT bigint := CASE jsonb_typeof(append_events.events) WHEN 'array' THEN jsonb_array_length(append_events.events) END;
    own_store CONSTANT uuid := substring(pg_catalog.current_setting('search_path') FROM '"home [0-9]+ ([0-9a-f-]{36})"$')::uuid;
    refusal text;
    top record;
    latest record;
    actual bigint;
    is_there boolean;
    is_met boolean;
    ids uuid[];
    known jsonb;
    recorded timestamptz;
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid::regnamespace::text
        <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid;
    END IF;
    refusal := refusal_of_append(target, append_events.aggregate_type, expected, append_events.events);
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA400', MESSAGE = refusal;
    END IF;
    -- NULL for an event without one.
    SELECT array_agg((event ->> 'eventId')::uuid ORDER BY place) INTO ids
    FROM jsonb_array_elements(append_events.events) WITH ORDINALITY AS new (event, place);
    SELECT format('events %s and %s of the append have the same id, %s: give each event an id of its own', min(place), max(place), id) INTO refusal
    FROM unnest(ids) WITH ORDINALITY AS new (id, place) WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1 LIMIT 1;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA400', MESSAGE = refusal;
    END IF;

    -- Waits for the current writer. The statements below see what it committed.
    SELECT * INTO STRICT top FROM head FOR UPDATE;
    IF top.store <> own_store THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('append_events belongs to another store than the tables of the schema %I', current_schema()),
            HINT = 'Nothing was written: have the owner of the schema open the store once, which sets the functions right.';
    END IF;
    IF top.lease IS NOT NULL AND top.lease_expires > clock_timestamp() THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA423',
            MESSAGE = format('a store writes here, held by %s since %s', top.holder,
                             to_char(top.held_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')),
            HINT = 'Append there, or close it and have every program append through append_events.';
    END IF;

    SELECT * INTO latest FROM latest_of(target);
    actual := coalesce(latest.version, 0);
    IF EXISTS (SELECT FROM deletions WHERE aggregate_id = target AND kind = 'tombstoned') THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA410', MESSAGE = format('aggregate ''%s'' was deleted for good: use another id', target);
    END IF;
    IF latest.aggregate_type <> append_events.aggregate_type THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA400',
            MESSAGE = format('aggregate ''%s'' is of type ''%s'', not ''%s'': an id belongs to one type',
                             target, latest.aggregate_type, append_events.aggregate_type);
    END IF;
    is_there := actual > 0
        AND NOT EXISTS (SELECT FROM deletions WHERE aggregate_id = target AND kind = 'deleted' AND position > latest.position);
    is_met := CASE
        WHEN expected IS NULL THEN true
        WHEN expected = 0 THEN NOT is_there
        WHEN expected = -1 THEN is_there
        ELSE actual = greatest(expected, 0)
    END;

    -- The events that the aggregate retains with these ids, as [place, version, position].
    IF ids IS NOT NULL THEN
        SELECT jsonb_agg(jsonb_build_array(place, version, position) ORDER BY place, version) INTO known
        FROM unnest(ids) WITH ORDINALITY AS new (id, place) JOIN live_events ON event_id = id AND aggregate_id = target;
    END IF;
    IF known IS NOT NULL THEN
        SELECT jsonb_agg(event ORDER BY place) INTO known
        FROM jsonb_array_elements(known) WITH ORDINALITY AS there (event, place)
        WHERE (event ->> 1)::bigint > dropped_by_limits(target, clock_timestamp());
    END IF;
    IF known IS NOT NULL THEN
        SELECT min((event ->> 1)::bigint), max((event ->> 1)::bigint), min((event ->> 2)::bigint), max((event ->> 2)::bigint)
        INTO first_version, last_version, first_position, last_position
        FROM jsonb_array_elements(known) AS there (event)
        GROUP BY (event ->> 1)::bigint - (event ->> 0)::bigint HAVING count(*) = number
            AND CASE
                WHEN expected > 0 THEN min((event ->> 1)::bigint) = expected + 1
                WHEN expected = -2 THEN min((event ->> 1)::bigint) = 1
                WHEN expected = 0 THEN min((event ->> 1)::bigint) = (
                    SELECT min(version) FROM live_events
                    WHERE aggregate_id = target AND version > dropped_by_limits(target, clock_timestamp()))
                ELSE true
            END
        ORDER BY 1 LIMIT 1;
        IF FOUND THEN
            repeated := true;
            RETURN;
        END IF;
    END IF;
    IF NOT is_met THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA409',
            MESSAGE = format('aggregate ''%s'' is at version %s, expected %s', target, actual, CASE expected
                WHEN 0 THEN 'no stream' WHEN -1 THEN 'an existing stream' ELSE format('version %s', greatest(expected, 0)) END),
            DETAIL = json_build_object('actualVersion', actual, 'position',
                (SELECT coalesce(max(position), 0) FROM live_events WHERE aggregate_id = target))::text,
            HINT = 'Nothing was written: read it again and decide again.';
    END IF;
    IF known IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA409',
            MESSAGE = format('event %s is version %s of aggregate ''%s'' already, and other events of the append are not',
                             ids[(known #>> '{0,0}')::int], known #>> '{0,1}', target),
            DETAIL = json_build_object('eventId', ids[(known #>> '{0,0}')::int], 'version', known #> '{0,1}',
                                       'position', known #> '{0,2}')::text,
            HINT = 'Nothing was written: append the new ones alone.';
    END IF;
    IF actual + number > 4294967295 THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA400', MESSAGE = format('aggregate ''%s'' is full: it has 2^32 versions', target);
    END IF;

    first_position := top.position + 1;
    last_position := top.position + number;
    first_version := actual + 1;
    last_version := actual + number;
    repeated := false;
    IF number = 0 THEN
        RETURN;
    END IF;
    -- An expired lease ends for good, so that its writer cannot continue.
    UPDATE head SET position = last_position, epoch = epoch + (lease IS NOT NULL)::int,
        lease = NULL, holder = NULL, held_since = NULL, lease_expires = NULL;
    recorded := clock_timestamp();
    IF top.partitioned_by IS NOT NULL THEN
        PERFORM make_partition(recorded);
    ELSIF recorded >= bound_of_events() THEN
        -- A store began to partition the table, did not finish, and has lost its lease.
        ALTER TABLE events DROP CONSTRAINT events_recorded_before;
    END IF;
    INSERT INTO events (position, event_id, aggregate_id, aggregate_type, event_type, schema_version, version, occurred_at, recorded_at,
        correlation_id, causation_id, user_id, organization_id, tags, metadata, data, metadata_bytes, data_bytes, metadata_type,
        data_type, occurred_micros)
    SELECT top.position + place, coalesce((event ->> 'eventId')::uuid, gen_random_uuid()), target, append_events.aggregate_type,
        event ->> 'eventType', coalesce((event ->> 'eventVersion')::bigint, 1), actual + place,
        coalesce(time_of_micros(coalesce((event ->> 'timestampMicros')::bigint, micros_of_time(event ->> 'timestamp'))), recorded),
        recorded, event ->> 'correlationId', event ->> 'causationId', event ->> 'userId', event ->> 'organizationId',
        ARRAY(SELECT jsonb_array_elements_text(nullif(event -> 'tags', 'null'))),
        nullif(event -> 'metadata', 'null'), nullif(event -> 'eventData', 'null'),
        decode(nullif(event ->> 'metadataHex', ''), 'hex'), decode(nullif(event ->> 'eventDataHex', ''), 'hex'),
        nullif(event ->> 'metadataType', 'application/json'), nullif(event ->> 'eventDataType', 'application/json'),
        CASE WHEN NOT isfinite(time_of_micros((event ->> 'timestampMicros')::bigint)) THEN (event ->> 'timestampMicros')::bigint END
    FROM jsonb_array_elements(append_events.events) WITH ORDINALITY AS new (event, place);
END
$$;

-- The functions above call these two, which act on the schema of their caller.
ALTER FUNCTION bound_of_events() RESET search_path;
ALTER FUNCTION fence_partitioning(uuid) RESET search_path;
