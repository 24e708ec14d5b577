-- Appends in SQL with plans that a connection keeps.
--
-- PL/pgSQL keeps the plans of its statements for a session. A function in SQL that cannot be inlined is parsed and planned in each statement that
-- calls it. The functions in SQL that name what is wrong with an append therefore run only for an append that is_valid_append does not accept.
SELECT set_config('search_path', format('%I, pg_temp, %I', current_schema(),
                                        format('home %s %s', quote_ident(current_schema())::regnamespace::oid, store)), true)
FROM head;

-- The time of microseconds since 1970; -infinity for one before 4713 BC, which PostgreSQL cannot represent.
CREATE OR REPLACE FUNCTION time_of_micros(micros bigint) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CASE WHEN micros < -210866803200000000 THEN '-infinity'::timestamptz ELSE
        (make_timestamp(1970, 1, 1, 0, 0, 0) + make_interval(days => (micros / 86400000000)::int)
            + (micros % 86400000000)::float8 * interval '1 microsecond') AT TIME ZONE 'UTC' END;
END
$$;

-- Whether tags are valid. False also for a few that are valid.
CREATE FUNCTION is_valid_tags(tags jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF jsonb_typeof(tags) <> 'array' OR jsonb_array_length(tags) > 32 THEN
        RETURN false;
    END IF;
    RETURN jsonb_array_length(tags) = 0 OR NOT EXISTS (
        SELECT FROM jsonb_array_elements(tags) AS each (tag)
        WHERE jsonb_typeof(tag) <> 'string' OR octet_length(tag #>> '{}') NOT BETWEEN 1 AND 255);
END
$$;

-- Whether the fields of an event that have no bound for their bytes alone are valid: the numbers, times and payloads.
CREATE FUNCTION is_valid_payload(event jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    version CONSTANT text := event ->> 'eventVersion';
    micros CONSTANT text := event ->> 'timestampMicros';
    moment CONSTANT text := event ->> 'timestamp';
    metadata_hex CONSTANT text := event ->> 'metadataHex';
    data_hex CONSTANT text := event ->> 'eventDataHex';
BEGIN
    IF version !~ '^[0-9]{1,10}$' OR micros !~ '^-?[0-9]{1,18}$'
        OR metadata_hex !~ '^([0-9a-fA-F]{2})*$' OR data_hex !~ '^([0-9a-fA-F]{2})*$'
        OR (moment IS NOT NULL AND micros_of_time(moment) IS NULL) THEN
        RETURN false;
    END IF;
    RETURN coalesce(version::bigint <= 4294967295, true)
        AND coalesce(micros::bigint BETWEEN -377705116800000000 AND 253402300799999999, true)
        AND coalesce(length(metadata_hex) / 2, octet_length((event -> 'metadata')::text), 0)
            + coalesce(length(data_hex) / 2, octet_length((event -> 'eventData')::text), 0) <= 1048576;
END
$$;

-- Whether an event is valid: true only if refusal_of_event finds nothing. False also for a few that are valid, such as one with an unknown
-- field that is null.
CREATE FUNCTION is_valid_event(event jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    tags CONSTANT jsonb := event -> 'tags';
BEGIN
    IF jsonb_typeof(event) <> 'object' OR event - ARRAY['eventType', 'eventId', 'eventVersion', 'timestamp', 'timestampMicros', 'correlationId',
        'causationId', 'userId', 'organizationId', 'tags', 'metadata', 'metadataHex', 'metadataType', 'eventData', 'eventDataHex',
        'eventDataType'] <> '{}' THEN
        RETURN false;
    END IF;
    RETURN jsonb_typeof(event -> 'eventType') = 'string'
        -- Strict, because a lax filter looks into arrays.
        AND NOT event - ARRAY['eventType', 'eventData', 'metadata', 'tags', 'eventVersion', 'timestampMicros']
            @? 'strict $.* ? (@.type() <> "string" && @.type() <> "null")'
        AND octet_length(event ->> 'eventType') BETWEEN 1 AND 255
        AND NOT starts_with(event ->> 'eventType', '$')
        AND coalesce(octet_length(event ->> 'correlationId') BETWEEN 1 AND 255, true)
        AND coalesce(octet_length(event ->> 'causationId') BETWEEN 1 AND 255, true)
        AND coalesce(octet_length(event ->> 'userId') BETWEEN 1 AND 255, true)
        AND coalesce(octet_length(event ->> 'organizationId') BETWEEN 1 AND 255, true)
        AND coalesce(octet_length(event ->> 'metadataType') <= 255, true)
        AND coalesce(octet_length(event ->> 'eventDataType') <= 255, true)
        AND coalesce(event ->> 'eventId' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', true)
        AND (tags IS NULL OR tags IN ('[]', 'null') OR is_valid_tags(tags))
        AND is_valid_payload(event);
END
$$;

-- Whether an append is valid: true only if refusal_of_append finds nothing.
CREATE FUNCTION is_valid_append(aggregate_id text, aggregate_type text, expected_version bigint, events jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF expected_version < -2 OR events IS NULL OR jsonb_typeof(events) <> 'array' OR jsonb_array_length(events) > 10000
        OR NOT coalesce(octet_length(aggregate_type) BETWEEN 1 AND 255 AND NOT starts_with(aggregate_type, '$')
            AND octet_length(aggregate_id) BETWEEN 1 AND 255 AND NOT starts_with(aggregate_id, '$'), false) THEN
        RETURN false;
    END IF;
    IF jsonb_array_length(events) = 1 THEN
        RETURN is_valid_event(events -> 0);
    END IF;
    RETURN NOT EXISTS (SELECT FROM jsonb_array_elements(events) AS new (event) WHERE is_valid_event(event) IS NOT TRUE);
END
$$;

-- What is wrong with an append by itself; NULL for nothing.
CREATE FUNCTION refusal_of_call(aggregate_id text, aggregate_type text, expected_version bigint, events jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    refusal text;
BEGIN
    IF is_valid_append(aggregate_id, aggregate_type, expected_version, events) IS NOT TRUE THEN
        refusal := refusal_of_append(aggregate_id, aggregate_type, expected_version, events);
    END IF;
    IF refusal IS NULL AND jsonb_array_length(events) > 1 THEN
        SELECT format('events %s and %s of the append have the same id, %s: give each event an id of its own', min(place), max(place), id) INTO refusal
        FROM jsonb_array_elements(events) WITH ORDINALITY AS new (event, place), LATERAL (SELECT (event ->> 'eventId')::uuid OFFSET 0) AS own (id)
        WHERE id IS NOT NULL GROUP BY id HAVING count(*) > 1 LIMIT 1;
    END IF;
    RETURN refusal;
END
$$;

-- Where the events of an append are that has been made already: all must be events that the aggregate retains, one after another and where the
-- expectation would have put them. Otherwise `known` is what the aggregate retains of them, as [place, version, position]; NULL for nothing.
CREATE FUNCTION repetition_of(
    target text, expected bigint, ids uuid[], OUT first_position bigint, OUT last_position bigint, OUT first_version bigint,
    OUT last_version bigint, OUT is_repeated boolean, OUT known jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    is_repeated := false;
    SELECT jsonb_agg(jsonb_build_array(place, version, position) ORDER BY place, version) INTO known
    FROM unnest(ids) WITH ORDINALITY AS new (id, place) JOIN live_events ON event_id = id AND aggregate_id = target;
    IF known IS NOT NULL THEN
        SELECT jsonb_agg(event ORDER BY place) INTO known
        FROM jsonb_array_elements(known) WITH ORDINALITY AS there (event, place)
        WHERE (event ->> 1)::bigint > dropped_by_limits(target, clock_timestamp());
    END IF;
    IF known IS NULL THEN
        RETURN;
    END IF;
    SELECT min((event ->> 1)::bigint), max((event ->> 1)::bigint), min((event ->> 2)::bigint), max((event ->> 2)::bigint)
    INTO first_version, last_version, first_position, last_position
    FROM jsonb_array_elements(known) AS there (event)
    GROUP BY (event ->> 1)::bigint - (event ->> 0)::bigint HAVING count(*) = cardinality(ids)
        AND CASE
            WHEN expected > 0 THEN min((event ->> 1)::bigint) = expected + 1
            WHEN expected = -2 THEN min((event ->> 1)::bigint) = 1
            WHEN expected = 0 THEN min((event ->> 1)::bigint) = (
                SELECT min(version) FROM live_events
                WHERE aggregate_id = target AND version > dropped_by_limits(target, clock_timestamp()))
            ELSE true
        END
    ORDER BY 1 LIMIT 1;
    is_repeated := FOUND;
END
$$;

-- Makes room for events that are recorded at a time, in a table that is partitioned by month or is to be.
CREATE FUNCTION make_room(recorded timestamptz, base bigint, is_partitioned boolean) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    month CONSTANT timestamp := date_trunc('month', recorded AT TIME ZONE 'UTC');
BEGIN
    IF is_partitioned THEN
        -- A partition ends with a month, so the partition of the event before has room.
        IF NOT EXISTS (SELECT FROM events WHERE position = base AND recorded_at >= month AT TIME ZONE 'UTC'
                       AND recorded_at < (month + interval '1 month') AT TIME ZONE 'UTC') THEN
            PERFORM make_partition(recorded);
        END IF;
    ELSIF recorded >= bound_of_events() THEN
        -- The store that was partitioning the table has not finished, and has no lease any more.
        ALTER TABLE events DROP CONSTRAINT events_recorded_before;
    END IF;
END
$$;

-- The columns of an event that has no fault; the planner puts it into the statement that calls it.
CREATE FUNCTION columns_of(event jsonb, recorded timestamptz) RETURNS TABLE (
    event_id uuid, event_type text, schema_version bigint, occurred_at timestamptz, correlation_id text, causation_id text, user_id text,
    organization_id text, tags text[], metadata jsonb, data jsonb, metadata_bytes bytea, data_bytes bytea, metadata_type text, data_type text,
    occurred_micros bigint)
LANGUAGE sql STABLE AS $$
    SELECT (event ->> 'eventId')::uuid, event ->> 'eventType', coalesce((event ->> 'eventVersion')::bigint, 1),
        CASE WHEN event ?| '{timestampMicros,timestamp}' THEN
            coalesce(time_of_micros(coalesce((event ->> 'timestampMicros')::bigint, micros_of_time(event ->> 'timestamp'))), recorded)
            ELSE recorded END,
        event ->> 'correlationId', event ->> 'causationId', event ->> 'userId', event ->> 'organizationId',
        CASE WHEN jsonb_array_length(nullif(event -> 'tags', 'null')) > 0 THEN ARRAY(SELECT jsonb_array_elements_text(event -> 'tags'))
            ELSE '{}' END,
        nullif(event -> 'metadata', 'null'), nullif(event -> 'eventData', 'null'),
        decode(nullif(event ->> 'metadataHex', ''), 'hex'), decode(nullif(event ->> 'eventDataHex', ''), 'hex'),
        nullif(event ->> 'metadataType', 'application/json'), nullif(event ->> 'eventDataType', 'application/json'),
        CASE WHEN (event ->> 'timestampMicros')::bigint < -210866803200000000 THEN (event ->> 'timestampMicros')::bigint END
$$;

-- Appends events after the position `base`, which is that of the head, to an aggregate that is at the expected version. Otherwise it returns
-- why not, and has written nothing. Its caller has checked the append by refusal_of_call and locked the head, and moves the head.
CREATE FUNCTION append_one(
    target text, of_type text, expected bigint, new_events jsonb, base bigint, is_partitioned boolean, recorded timestamptz,
    OUT first_position bigint, OUT last_position bigint, OUT first_version bigint, OUT last_version bigint, OUT repeated boolean,
    OUT state text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    number CONSTANT bigint := jsonb_array_length(new_events);
    ids uuid[];
    actual bigint;
    actual_type text;
    actual_position bigint;
    has_deletions boolean;
    has_ids boolean;
    is_bounded boolean;
    is_there boolean;
    is_met boolean;
    before record;
    known jsonb;
    taken bigint;
BEGIN
    -- NULL for an event without one.
    IF number = 1 THEN
        ids := ARRAY[(new_events #>> '{0,eventId}')::uuid];
    ELSE
        SELECT array_agg((event ->> 'eventId')::uuid ORDER BY place) INTO ids
        FROM jsonb_array_elements(new_events) WITH ORDINALITY AS new (event, place);
    END IF;
    -- The last event of the aggregate may be gone: its mark is left. OFFSET 0 has the events found by their ids.
    SELECT coalesce(greatest(last.version, mark.version), 0),
        CASE WHEN mark.version > last.version OR last.version IS NULL THEN mark.aggregate_type ELSE last.aggregate_type END,
        CASE WHEN mark.version > last.version OR last.version IS NULL THEN mark.position ELSE last.position END,
        EXISTS (SELECT FROM deletions WHERE aggregate_id = target),
        EXISTS (SELECT FROM unnest(ids) AS new (id), LATERAL (SELECT aggregate_id FROM events WHERE event_id = id OFFSET 0) AS known
                WHERE known.aggregate_id = target),
        EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = 'events'::regclass AND conname = 'events_recorded_before')
    INTO actual, actual_type, actual_position, has_deletions, has_ids, is_bounded
    FROM (SELECT) AS one
        LEFT JOIN LATERAL (
            SELECT version, aggregate_type, position FROM events WHERE aggregate_id = target ORDER BY version DESC LIMIT 1) AS last ON true
        LEFT JOIN LATERAL (
            SELECT version, aggregate_type, position FROM marks WHERE aggregate_id = target ORDER BY version DESC LIMIT 1) AS mark ON true;

    IF has_deletions AND EXISTS (SELECT FROM deletions WHERE aggregate_id = target AND kind = 'tombstoned') THEN
        state := 'ZA410';
        message := format('aggregate ''%s'' was deleted for good: use another id', target);
        RETURN;
    END IF;
    IF actual_type <> of_type THEN
        state := 'ZA400';
        message := format('aggregate ''%s'' is of type ''%s'', not ''%s'': an id belongs to one type', target, actual_type, of_type);
        RETURN;
    END IF;
    is_there := actual > 0;
    IF has_deletions AND is_there THEN
        is_there := NOT EXISTS (SELECT FROM deletions WHERE aggregate_id = target AND kind = 'deleted' AND position > actual_position);
    END IF;
    is_met := CASE
        WHEN expected IS NULL THEN true
        WHEN expected = 0 THEN NOT is_there
        WHEN expected = -1 THEN is_there
        ELSE actual = greatest(expected, 0)
    END;
    IF has_ids THEN
        before := repetition_of(target, expected, ids);
        IF before.is_repeated THEN
            first_position := before.first_position;
            last_position := before.last_position;
            first_version := before.first_version;
            last_version := before.last_version;
            repeated := true;
            RETURN;
        END IF;
        known := before.known;
    END IF;
    IF NOT is_met THEN
        state := 'ZA409';
        message := format('aggregate ''%s'' is at version %s, expected %s', target, actual, CASE expected
            WHEN 0 THEN 'no stream' WHEN -1 THEN 'an existing stream' ELSE format('version %s', greatest(expected, 0)) END);
        detail := json_build_object('actualVersion', actual, 'position',
            (SELECT coalesce(max(position), 0) FROM live_events WHERE aggregate_id = target));
        hint := 'Nothing was written: read it again and decide again.';
        RETURN;
    END IF;
    IF known IS NOT NULL THEN
        state := 'ZA409';
        message := format('event %s is version %s of aggregate ''%s'' already, and other events of the append are not',
                          ids[(known #>> '{0,0}')::int], known #>> '{0,1}', target);
        detail := json_build_object('eventId', ids[(known #>> '{0,0}')::int], 'version', known #> '{0,1}',
                                    'position', known #> '{0,2}');
        hint := 'Nothing was written: append the new ones alone.';
        RETURN;
    END IF;
    IF actual + number > 4294967295 THEN
        state := 'ZA400';
        message := format('aggregate ''%s'' is full: it has 2^32 versions', target);
        RETURN;
    END IF;

    first_position := base + 1;
    last_position := base + number;
    first_version := actual + 1;
    last_version := actual + number;
    repeated := false;
    IF number = 0 THEN
        RETURN;
    END IF;
    IF is_partitioned OR is_bounded THEN
        PERFORM make_room(recorded, base, is_partitioned);
    END IF;
    INSERT INTO events (position, event_id, aggregate_id, aggregate_type, event_type, schema_version, version, occurred_at, recorded_at,
        correlation_id, causation_id, user_id, organization_id, tags, metadata, data, metadata_bytes, data_bytes, metadata_type,
        data_type, occurred_micros)
    SELECT base + place, coalesce(row.event_id, gen_random_uuid()), target, of_type, row.event_type, row.schema_version, actual + place,
        row.occurred_at, recorded, row.correlation_id, row.causation_id, row.user_id, row.organization_id, row.tags, row.metadata, row.data,
        row.metadata_bytes, row.data_bytes, row.metadata_type, row.data_type, row.occurred_micros
    FROM (SELECT jsonb_array_elements(new_events), generate_series(1, number)) AS new (event, place), columns_of(event, recorded) AS row;
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken <> number THEN
        PERFORM check_taken(taken, number);
    END IF;
END
$$;

-- Locks the head for an append. `held` says which store has the lease, if one has.
CREATE FUNCTION lock_head(caller text, own_store uuid, OUT base bigint, OUT is_partitioned boolean, OUT held text)
LANGUAGE plpgsql AS $$
DECLARE
    top record;
BEGIN
    -- Waits for the writer that has the head. What comes below sees what it committed.
    SELECT * INTO STRICT top FROM head FOR UPDATE;
    IF top.store <> own_store THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('%s belongs to another store than the tables of the schema %I', caller, current_schema()),
            HINT = 'Nothing was written: have the owner of the schema open the store once, which sets the functions right.';
    END IF;
    base := top.position;
    is_partitioned := top.partitioned_by IS NOT NULL;
    IF top.lease IS NOT NULL AND top.lease_expires > clock_timestamp() THEN
        held := format('a store writes here, held by %s since %s', top.holder,
                       to_char(top.held_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
    END IF;
END
$$;

-- Moves the head, which is locked. A lease that is over ends for good, so that its writer cannot go on where it was.
CREATE FUNCTION move_head(last bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE head SET position = last, epoch = epoch + (lease IS NOT NULL)::int,
        lease = NULL, holder = NULL, held_since = NULL, lease_expires = NULL;
END
$$;

-- Appends events to an aggregate, all or none, if it is at the expected version: NULL for any, 0 for no stream or a
-- deleted one, -1 for one that exists, -2 for one that never existed. An append without events changes nothing.
--
-- An append is idempotent by the ids that its events bring, as in a store: when all are those of events that the aggregate retains, one after
-- another and where the expectation would have put them, it returns the first answer again; when some are, it is refused (ZA409, DETAIL has
-- eventId, version and position); an id twice is refused (ZA400).
--
-- It runs with the rights of its owner: a role that may execute it can append, and needs no right to the tables.
-- Its plans are generic: a plan for the events of one call is of no use to another. They are not compiled: on a table without statistics the
-- estimates are high, and compiling takes longer than the call.
CREATE OR REPLACE FUNCTION append_events(
    aggregate_id text, aggregate_type text, expected_version bigint, events jsonb,
    OUT first_position bigint, OUT last_position bigint, OUT first_version bigint, OUT last_version bigint, OUT repeated boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    own_store CONSTANT uuid := substring(pg_catalog.current_setting('search_path') FROM '"home [0-9]+ ([0-9a-f-]{36})"$')::uuid;
    refusal text;
    top record;
    done record;
    moved_by bigint;
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid::regnamespace::text
        <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = substring(pg_catalog.current_setting('search_path') FROM '"home ([0-9]+) ')::oid;
    END IF;
    refusal := refusal_of_call(append_events.aggregate_id, append_events.aggregate_type, append_events.expected_version, append_events.events);
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA400', MESSAGE = refusal;
    END IF;

    -- Without a lease, the head is locked and moved at once: an append that is refused rolls it back. Waits for the writer that has the
    -- head, and what comes below sees what it committed.
    moved_by := jsonb_array_length(append_events.events);
    IF moved_by > 0 THEN
        UPDATE head SET position = position + moved_by WHERE lease IS NULL AND store = own_store
        RETURNING position - moved_by AS base, partitioned_by IS NOT NULL AS is_partitioned INTO top;
    END IF;
    IF moved_by = 0 OR NOT FOUND THEN
        moved_by := 0;
        top := lock_head('append_events', own_store);
        IF top.held IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'ZA423', MESSAGE = top.held,
                HINT = 'Append there, or close it and have every program append through append_events.';
        END IF;
    END IF;

    done := append_one(append_events.aggregate_id, append_events.aggregate_type, append_events.expected_version, append_events.events,
                       top.base, top.is_partitioned, clock_timestamp());
    IF done.hint IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = done.state, MESSAGE = done.message, DETAIL = done.detail, HINT = done.hint;
    ELSIF done.state IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = done.state, MESSAGE = done.message;
    END IF;
    first_position := done.first_position;
    last_position := done.last_position;
    first_version := done.first_version;
    last_version := done.last_version;
    repeated := done.repeated;
    IF repeated AND moved_by > 0 THEN
        UPDATE head SET position = top.base;
    ELSIF NOT repeated AND moved_by = 0 AND last_position > top.base THEN
        PERFORM move_head(done.last_position);
    END IF;
END
$$;

-- Gives functions with these names to the owner of append_events, also when another role migrates, and takes them away from all other roles.
--
-- Functions that append_events calls have no search path, and PL/pgSQL resolves the types of their variables once in a session. A role that could
-- call them by itself could put its own types into them, and append_events would use those with the rights of its owner.
CREATE FUNCTION keep_for_owner(names text[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT unnest(ARRAY[
            format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', made.oid::regprocedure),
            CASE WHEN made.proowner <> appending.proowner
                THEN format('ALTER FUNCTION %s OWNER TO %I', made.oid::regprocedure, pg_get_userbyid(appending.proowner)) END])
        FROM pg_catalog.pg_proc AS made JOIN pg_catalog.pg_proc AS appending ON appending.pronamespace = made.pronamespace
        WHERE appending.oid = 'append_events(text, text, bigint, jsonb)'::regprocedure AND made.proname = ANY (names)
    LOOP
        IF statement IS NOT NULL THEN
            EXECUTE statement;
        END IF;
    END LOOP;
END
$$;

SELECT keep_for_owner(ARRAY['micros_of_time', 'time_of_micros', 'is_valid_tags', 'is_valid_payload', 'is_valid_event', 'is_valid_append', 'refusal_of_call',
    'repetition_of', 'make_room', 'columns_of', 'append_one', 'lock_head', 'move_head', 'keep_for_owner', 'fence_partitioning', 'bound_of_events']);
