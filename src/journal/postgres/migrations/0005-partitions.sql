-- Optional partitions: the events that the store recorded in a month are a table of their own.
--
-- The key of a partitioned table must contain the column that it is partitioned by. So each partition has its own unique keys: `position`, and
-- aggregate and version. The row of head keeps both unique across partitions, since every write locks it.

-- The functions below find tables in this schema, whatever the search path of the caller, and search pg_temp last: any user may create
-- tables there.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

ALTER TABLE head ADD COLUMN partitioned_by text CHECK (partitioned_by = 'month');

-- The partitions, the oldest first, each with the range of times at which its events were recorded.
CREATE FUNCTION partitions() RETURNS TABLE (name text, recorded_from timestamptz, recorded_until timestamptz)
LANGUAGE sql STABLE SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
    SELECT relname, coalesce(substring(bounds FROM 'FROM \(''([^'']*)''\)')::timestamptz, '-infinity'),
        substring(bounds FROM 'TO \(''([^'']*)''\)')::timestamptz
    FROM pg_catalog.pg_inherits
        JOIN pg_catalog.pg_class ON pg_class.oid = inhrelid,
        pg_catalog.pg_get_expr(relpartbound, pg_class.oid) AS bounds
    WHERE inhparent = 'events'::regclass
    ORDER BY 2
$$;

-- Creates the partition for events recorded at a time, if it is missing, and returns its range: microseconds since 1970, with NULL for no
-- lower bound. Readers and writers do not wait, and an existing partition is found without a lock.
--
-- It runs with the rights of its owner: a writer need not own the tables.
CREATE FUNCTION make_partition(recorded timestamptz, OUT from_micros bigint, OUT until_micros bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    -- Everything older than the year 1 is in one partition.
    year_1 CONSTANT timestamptz := '0001-01-01 00:00:00+00';
    month CONSTANT timestamptz := CASE WHEN recorded >= year_1 THEN date_trunc('month', recorded) END;
    starts timestamptz;
    ends timestamptz;
    partition text;
BEGIN
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

-- What prevents the table events from being partitioned, since it becomes the first partition; NULL for nothing.
CREATE FUNCTION refusal_of_partitions() RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT string_agg(DISTINCT what, ', ' ORDER BY what) FROM (
        SELECT 'the view ' || ev_class::regclass FROM pg_catalog.pg_depend JOIN pg_catalog.pg_rewrite ON pg_rewrite.oid = objid
        WHERE classid = 'pg_rewrite'::regclass AND refobjid = 'events'::regclass AND ev_class NOT IN ('live_events'::regclass, 'snapshots'::regclass)
        UNION ALL
        SELECT 'the trigger ' || quote_ident(tgname) FROM pg_catalog.pg_trigger WHERE tgrelid = 'events'::regclass AND NOT tgisinternal
        UNION ALL
        SELECT 'the foreign key ' || quote_ident(conname) FROM pg_catalog.pg_constraint
        WHERE contype = 'f' AND 'events'::regclass IN (confrelid, conrelid)
        UNION ALL
        SELECT 'the index ' || quote_ident(relname) FROM pg_catalog.pg_index JOIN pg_catalog.pg_class ON pg_class.oid = indexrelid
        WHERE indrelid = 'events'::regclass AND (indisunique OR indisexclusion)
            AND relname NOT IN ('events_pkey', 'events_aggregate_id_version_key')
        UNION ALL
        SELECT 'the policy ' || quote_ident(polname) FROM pg_catalog.pg_policy WHERE polrelid = 'events'::regclass
    ) AS found (what)
$$;

-- Locks the head if the caller still holds the lease `number`. A late call, after another program has written, changes nothing.
CREATE FUNCTION fence_partitioning(number uuid) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM head WHERE lease = number AND partitioned_by IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure',
            MESSAGE = 'the lease of the store that partitions the table events is over, or another has done it';
    END IF;
END
$$;

-- Partitions a table in three steps, by the store that holds the lease of this number. The first adds a constraint to the table: no event is of
-- a later month than the last one now. The second validates it, without making others wait. Returns the first time that the constraint
-- excludes; NULL for an empty table.
CREATE FUNCTION bound_events(number uuid, OUT bound timestamptz)
LANGUAGE plpgsql SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
BEGIN
    IF refusal_of_partitions() IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'dependent_objects_still_exist',
            MESSAGE = format('what belongs to the table events must be dropped, and made again when it is partitioned: %s', refusal_of_partitions());
    END IF;
    SELECT date_trunc('month', greatest(max(recorded_at), '0001-01-01 00:00:00+00')) + interval '1 month' INTO bound
    FROM events HAVING count(*) > 0;
    -- After the table was read, which may take long; the lease is renewed meanwhile. A caller that still holds it has read everything.
    PERFORM fence_partitioning(number);
    ALTER TABLE events DROP CONSTRAINT IF EXISTS events_recorded_before;
    IF bound IS NOT NULL THEN
        EXECUTE format('ALTER TABLE events ADD CONSTRAINT events_recorded_before CHECK (recorded_at < %L) NOT VALID', bound);
    END IF;
END
$$;

-- The first time that the constraint excludes, if a store began to partition the table and did not finish.
CREATE FUNCTION bound_of_events() RETURNS timestamptz
LANGUAGE sql STABLE SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
    SELECT substring(pg_catalog.pg_get_constraintdef(oid) FROM '''([^'']*)''')::timestamptz
    FROM pg_catalog.pg_constraint WHERE conrelid = 'events'::regclass AND conname = 'events_recorded_before'
$$;

-- Removes that constraint. It runs with the rights of its owner: the next writer need not own a table that another left unfinished.
CREATE FUNCTION free_events(number uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM fence_partitioning(number);
    IF bound_of_events() IS NOT NULL THEN
        ALTER TABLE events DROP CONSTRAINT events_recorded_before;
    END IF;
END
$$;

-- The third step: the table becomes the first partition of a new table with its name, indexes, grants and publications.
CREATE FUNCTION partition_by_month(number uuid, bound timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    old CONSTANT regclass := 'events'::regclass;
    first CONSTANT text := 'events_until_' || coalesce(to_char(bound - interval '1 month', 'YYYY_MM'), 'now');
    live CONSTANT text := pg_get_viewdef('live_events'::regclass);
    snaps CONSTANT text := pg_get_viewdef('snapshots'::regclass);
    statements text[];
    statement text;
BEGIN
    PERFORM fence_partitioning(number);
    LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
    IF bound IS NULL AND EXISTS (SELECT FROM events) THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = 'the table events is not empty any more';
    END IF;
    SELECT array_agg(made) INTO statements FROM (
        SELECT 'CREATE INDEX ON events' || substr(definition, strpos(definition, ' USING '))
        FROM pg_catalog.pg_index, pg_get_indexdef(indexrelid) AS definition
        WHERE indrelid = old AND NOT indisunique
        UNION ALL
        SELECT format('GRANT %s ON events TO %s%s', granted.privilege_type,
            CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END,
            CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM (
            SELECT acl.privilege_type, acl.grantee, acl.is_grantable FROM pg_catalog.pg_class, aclexplode(relacl) AS acl
            WHERE pg_class.oid = old AND acl.grantee <> relowner
            UNION ALL
            SELECT format('%s (%I)', acl.privilege_type, attname), acl.grantee, acl.is_grantable
            FROM pg_catalog.pg_attribute, aclexplode(attacl) AS acl WHERE attrelid = old
        ) AS granted
        UNION ALL
        SELECT format('ALTER TABLE events OWNER TO %I', pg_get_userbyid(relowner)) FROM pg_catalog.pg_class WHERE pg_class.oid = old
        UNION ALL
        SELECT format('ALTER PUBLICATION %I SET (publish_via_partition_root = true)', pubname)
        FROM pg_catalog.pg_publication_rel JOIN pg_catalog.pg_publication ON pg_publication.oid = prpubid WHERE prrelid = old
        UNION ALL
        SELECT format('ALTER PUBLICATION %I ADD TABLE events', pubname)
        FROM pg_catalog.pg_publication_rel JOIN pg_catalog.pg_publication ON pg_publication.oid = prpubid WHERE prrelid = old
        UNION ALL
        SELECT format('ALTER PUBLICATION %I DROP TABLE %I', pubname, first)
        FROM pg_catalog.pg_publication_rel JOIN pg_catalog.pg_publication ON pg_publication.oid = prpubid WHERE prrelid = old
    ) AS made (made);

    EXECUTE format('ALTER TABLE events RENAME TO %I', first);
    EXECUTE format('CREATE TABLE events (LIKE %I INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (recorded_at)', first);
    ALTER TABLE events DROP CONSTRAINT IF EXISTS events_recorded_before;
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE 'CREATE OR REPLACE VIEW live_events AS ' || live;
    EXECUTE 'CREATE OR REPLACE VIEW snapshots AS ' || snaps;
    IF bound IS NULL THEN
        EXECUTE format('DROP TABLE %I', first);
    ELSE
        EXECUTE format('ALTER TABLE events ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)', first, bound);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT events_recorded_before', first);
    END IF;
    UPDATE head SET partitioned_by = 'month';
END
$$;

-- The last version of an aggregate, if it has one.
CREATE FUNCTION latest_of(target text) RETURNS TABLE (version bigint, aggregate_type text, "position" bigint)
LANGUAGE sql STABLE AS $$
    SELECT version, aggregate_type, position FROM events WHERE aggregate_id = target ORDER BY version DESC LIMIT 1
$$;

-- Appends events to an aggregate, all or none, if it is at the expected version: NULL for any, 0 for no stream or a
-- deleted one, -1 for one that exists, -2 for one that never existed. An append without events changes nothing.
--
-- An append whose events all have ids is idempotent, as in a store: repeated, it returns its first answer.
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
    refusal CONSTANT text := refusal_of_append(target, append_events.aggregate_type, expected, append_events.events);
    top head%ROWTYPE;
    latest record;
    actual bigint;
    is_there boolean;
    is_met boolean;
    ids uuid[];
    stored uuid[];
    recorded timestamptz;
BEGIN
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA400', MESSAGE = refusal;
    END IF;

    -- Waits for the current writer. The statements below see what it committed.
    SELECT * INTO STRICT top FROM head FOR UPDATE;
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

    SELECT array_agg((event ->> 'eventId')::uuid ORDER BY place) INTO ids
    FROM jsonb_array_elements(append_events.events) WITH ORDINALITY AS new (event, place);
    IF array_position(ids, NULL) IS NULL AND (NOT is_met OR expected IS NULL OR expected = -1) THEN
        first_version := CASE
            WHEN expected > 0 THEN expected + 1
            WHEN expected IN (0, -2) THEN (SELECT min(version) FROM live_events WHERE aggregate_id = target)
            ELSE (SELECT min(version) FROM live_events WHERE event_id = ids[1] AND aggregate_id = target)
        END;
        last_version := first_version + number - 1;
        SELECT min(position), max(position), array_agg(event_id ORDER BY version) INTO first_position, last_position, stored
        FROM live_events WHERE aggregate_id = target AND version BETWEEN first_version AND last_version;
        IF stored = ids THEN
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
        CASE WHEN event ->> 'timestampMicros' IS NULL THEN coalesce((event ->> 'timestamp')::timestamptz, recorded) ELSE '-infinity' END,
        recorded, event ->> 'correlationId', event ->> 'causationId', event ->> 'userId', event ->> 'organizationId',
        ARRAY(SELECT jsonb_array_elements_text(nullif(event -> 'tags', 'null'))),
        nullif(event -> 'metadata', 'null'), nullif(event -> 'eventData', 'null'),
        decode(nullif(event ->> 'metadataHex', ''), 'hex'), decode(nullif(event ->> 'eventDataHex', ''), 'hex'),
        nullif(event ->> 'metadataType', 'application/json'), nullif(event ->> 'eventDataType', 'application/json'),
        (event ->> 'timestampMicros')::bigint
    FROM jsonb_array_elements(append_events.events) WITH ORDINALITY AS new (event, place);
END
$$;

REVOKE EXECUTE ON FUNCTION make_partition, free_events FROM PUBLIC;
