-- Several appends in one call and one transaction, with an outcome for each.
SELECT set_config('search_path', format('%I, pg_temp, %I', current_schema(),
                                        format('home %s %s', quote_ident(current_schema())::regnamespace::oid, store)), true)
FROM head;

-- What is wrong with one of several appends by itself; NULL for nothing.
CREATE FUNCTION refusal_of_member(append jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF jsonb_typeof(append) <> 'object' THEN
        RETURN 'an append must be an object with aggregateId, aggregateType, expectedVersion and events';
    ELSIF append - ARRAY['aggregateId', 'aggregateType', 'expectedVersion', 'events'] <> '{}' THEN
        RETURN format('''%s'' is no field of an append: it has aggregateId, aggregateType, expectedVersion and events',
                      (SELECT min(field) FROM jsonb_object_keys(append - ARRAY['aggregateId', 'aggregateType', 'expectedVersion', 'events']) AS field));
    ELSIF jsonb_typeof(append -> 'aggregateId') NOT IN ('string', 'null') THEN
        RETURN 'aggregateId must be a text';
    ELSIF jsonb_typeof(append -> 'aggregateType') NOT IN ('string', 'null') THEN
        RETURN 'aggregateType must be a text';
    ELSIF jsonb_typeof(append -> 'expectedVersion') NOT IN ('number', 'null') OR append ->> 'expectedVersion' !~ '^-?[0-9]{1,18}$' THEN
        RETURN 'expectedVersion must be a whole number, or null for any version';
    END IF;
    RETURN refusal_of_call(append ->> 'aggregateId', append ->> 'aggregateType', (append ->> 'expectedVersion')::bigint, append -> 'events');
END
$$;

-- Makes the appends of these places, which are to different aggregates, as append_many does. Their events are inserted together, but for those of
-- an aggregate with marks, deletions or known ids, and of an append that is refused: append_one has those.
CREATE FUNCTION append_distinct(
    appends jsonb, refusals text[], first_place bigint, last_place bigint, base bigint, is_partitioned boolean, is_bounded boolean, recorded timestamptz)
RETURNS TABLE (place bigint, first_position bigint, last_position bigint, first_version bigint, last_version bigint, repeated boolean,
               error_code text, error_message text, error_detail text, error_hint text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    item record;
    done record;
    -- Of the events to insert: the places of their appends, and the position and the version before.
    places bigint[] := '{}';
    bases bigint[] := '{}';
    versions bigint[] := '{}';
    number_of_events bigint := 0;
    taken bigint;
BEGIN
    FOR item IN
        SELECT spot, target, of_type, expected, new_events, jsonb_array_length(new_events) AS events,
            CASE WHEN latest.type <> of_type OR (SELECT true FROM marks WHERE aggregate_id = target LIMIT 1)
                OR (SELECT true FROM deletions WHERE aggregate_id = target LIMIT 1)
                OR EXISTS (
                    SELECT FROM jsonb_array_elements(new_events) AS new (event), LATERAL (
                        SELECT aggregate_id FROM events WHERE event_id = (event ->> 'eventId')::uuid OFFSET 0) AS known
                    WHERE known.aggregate_id = target)
                THEN NULL ELSE coalesce(latest.version, 0) END AS actual
        FROM (
            SELECT spot, append ->> 'aggregateId', append ->> 'aggregateType', (append ->> 'expectedVersion')::bigint, append -> 'events'
            FROM (
                SELECT spot, CASE WHEN refusals[spot] IS NULL THEN appends -> (spot - 1)::int END
                FROM generate_series(first_place, last_place) AS spot OFFSET 0) AS valid (spot, append) OFFSET 0
            ) AS fields (spot, target, of_type, expected, new_events)
            LEFT JOIN LATERAL (
                SELECT version, aggregate_type FROM events WHERE aggregate_id = target ORDER BY version DESC LIMIT 1
            ) AS latest (version, type) ON true
        ORDER BY spot
    LOOP
        place := item.spot;
        error_code := CASE WHEN refusals[place] IS NOT NULL THEN 'ZA400' END;
        error_message := refusals[place];
        error_detail := NULL;
        error_hint := NULL;
        IF error_code IS NOT NULL THEN
            first_position := NULL;
            last_position := NULL;
            first_version := NULL;
            last_version := NULL;
            repeated := NULL;
        ELSIF item.events > 0 AND item.actual + item.events <= 4294967295 AND (CASE item.expected
            WHEN 0 THEN item.actual = 0 WHEN -1 THEN item.actual > 0 ELSE item.actual = greatest(coalesce(item.expected, item.actual), 0) END) THEN
            places := array_append(places, place);
            bases := array_append(bases, base);
            versions := array_append(versions, item.actual);
            number_of_events := number_of_events + item.events;
            first_position := base + 1;
            last_position := base + item.events;
            first_version := item.actual + 1;
            last_version := item.actual + item.events;
            repeated := false;
        ELSE
            done := append_one(item.target, item.of_type, item.expected, item.new_events, base, is_partitioned, recorded);
            first_position := done.first_position;
            last_position := done.last_position;
            first_version := done.first_version;
            last_version := done.last_version;
            repeated := done.repeated;
            error_code := done.state;
            error_message := done.message;
            error_detail := done.detail;
            error_hint := done.hint;
        END IF;
        base := greatest(base, last_position);
        RETURN NEXT;
    END LOOP;
    IF places = '{}' THEN
        RETURN;
    END IF;
    IF is_partitioned OR is_bounded THEN
        PERFORM make_room(recorded, bases[1], is_partitioned);
    END IF;
    INSERT INTO events (position, event_id, aggregate_id, aggregate_type, event_type, schema_version, version, occurred_at, recorded_at,
        correlation_id, causation_id, user_id, organization_id, tags, metadata, data, metadata_bytes, data_bytes, metadata_type,
        data_type, occurred_micros)
    SELECT before + number, coalesce(row.event_id, gen_random_uuid()), target, of_type, row.event_type, row.schema_version,
        version_before + number, row.occurred_at, recorded, row.correlation_id, row.causation_id, row.user_id, row.organization_id, row.tags,
        row.metadata, row.data, row.metadata_bytes, row.data_bytes, row.metadata_type, row.data_type, row.occurred_micros
    FROM (
        SELECT before, version_before, append ->> 'aggregateId', append ->> 'aggregateType', jsonb_array_elements(append -> 'events'),
            generate_series(1, jsonb_array_length(append -> 'events'))
        FROM (
            SELECT before, version_before, appends -> (spot - 1)::int
            FROM unnest(places, bases, versions) AS accepted (spot, before, version_before) OFFSET 0) AS accepted (before, version_before, append)
        ) AS new (before, version_before, target, of_type, event, number), columns_of(event, recorded) AS row;
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken <> number_of_events THEN
        PERFORM check_taken(taken, number_of_events);
    END IF;
END
$$;

-- Makes several appends in one transaction, in their order: each is an object with aggregateId, aggregateType, expectedVersion (NULL for
-- any) and events, as append_events takes them. Each has a row with its place, counted from 1, and what append_events would have returned, or the
-- SQLSTATE, message, detail and hint that it would have failed with. An append that is refused writes nothing, and leaves the others. Any other
-- error, such as that of a constraint of your own, rolls back all.
--
-- It runs with the rights of its owner: a role that may execute it can append, and needs no right to the tables.
-- Its plans are generic: a plan for the events of one call is of no use to another. They are not compiled: on a table without statistics the
-- estimates are high, and compiling takes longer than the call.
CREATE FUNCTION append_many(appends jsonb)
RETURNS TABLE (place bigint, first_position bigint, last_position bigint, first_version bigint, last_version bigint, repeated boolean,
               error_code text, error_message text, error_detail text, error_hint text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan SET jit = off AS $$
DECLARE
    own_store CONSTANT uuid := substring(pg_catalog.current_setting('search_path') FROM '"home [0-9]+ ([0-9a-f-]{36})"$')::uuid;
    number bigint;
    refusals text[];
    -- The place of the append before to the same aggregate; 0 for none.
    earlier bigint[];
    top record;
    last bigint;
    recorded timestamptz;
    is_bounded boolean;
    first_place bigint := 1;
    last_place bigint;
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid::regnamespace::text
        <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid;
    END IF;
    IF appends IS NULL OR jsonb_typeof(appends) <> 'array' THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA400', MESSAGE = 'appends must be an array of objects';
    END IF;
    number := jsonb_array_length(appends);
    IF number > 10000 THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA400', MESSAGE = format('%s appends in one call: at most 10000 are allowed', number);
    END IF;
    SELECT array_agg(refusal_of_member(append) ORDER BY spot), array_agg(before ORDER BY spot) INTO refusals, earlier
    FROM (
        SELECT append, spot, coalesce(lag(spot) OVER (PARTITION BY append ->> 'aggregateId' ORDER BY spot), 0)
        FROM jsonb_array_elements(appends) WITH ORDINALITY AS new (append, spot)) AS new (append, spot, before);

    top := lock_head('append_many', own_store);
    IF top.held IS NOT NULL THEN
        RETURN QUERY SELECT spot, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::boolean,
            CASE WHEN refusal IS NULL THEN 'ZA423' ELSE 'ZA400' END, coalesce(refusal, top.held), NULL,
            CASE WHEN refusal IS NULL THEN 'Append there, or close it and have every program append through append_events.' END
        FROM unnest(refusals) WITH ORDINALITY AS new (refusal, spot);
        RETURN;
    END IF;
    last := top.base;
    recorded := clock_timestamp();
    is_bounded := EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = 'events'::regclass AND conname = 'events_recorded_before');
    WHILE first_place <= number LOOP
        last_place := first_place;
        WHILE last_place < number AND earlier[last_place + 1] < first_place LOOP
            last_place := last_place + 1;
        END LOOP;
        FOR place, first_position, last_position, first_version, last_version, repeated, error_code, error_message, error_detail, error_hint IN
            SELECT * FROM append_distinct(appends, refusals, first_place, last_place, last, top.is_partitioned, is_bounded, recorded)
        LOOP
            last := greatest(last, last_position);
            RETURN NEXT;
        END LOOP;
        first_place := last_place + 1;
    END LOOP;
    IF last > top.base THEN
        PERFORM move_head(last);
    END IF;
END
$$;

SELECT keep_for_owner(ARRAY['refusal_of_member', 'append_distinct', 'append_many']);

-- Roles that may execute append_events may execute append_many.
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('GRANT EXECUTE ON FUNCTION append_many TO %s%s',
            CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END,
            CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM pg_catalog.pg_proc, aclexplode(proacl) AS acl
        WHERE pg_proc.oid = 'append_events(text, text, bigint, jsonb)'::regprocedure
            AND acl.privilege_type = 'EXECUTE' AND acl.grantee <> proowner
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
