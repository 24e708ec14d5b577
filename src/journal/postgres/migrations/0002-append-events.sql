-- Appends in SQL: for programs in other languages, and for stores that follow. Every append locks the row of head, as a writer's appends
-- do. So positions have no gap, and ascend in the order of commits.
--
-- Errors are of the class ZA; those that begin with A to H belong to the standard.
--   ZA400  the call is invalid
--   ZA409  the aggregate is at another version: DETAIL has actualVersion, and the position of its last event, as JSON
--   ZA410  the aggregate was deleted for good
--   ZA423  a store has the lease

-- The functions below find tables in this schema, whatever the search path of the caller, and search pg_temp last: any user may create
-- tables there.
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

-- What is wrong with a name; NULL for a valid name, and for no name.
CREATE FUNCTION refusal_of_name(what text, name text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN name = '' THEN format('the %s is empty', what)
        WHEN octet_length(name) > 255 THEN format('the %s has %s bytes: at most 255 are allowed', what, octet_length(name))
    END
$$;

-- The same for a name that is required and must not be reserved for the system.
CREATE FUNCTION refusal_of_own_name(what text, name text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN name IS NULL THEN format('the %s is missing', what)
        WHEN starts_with(name, '$') THEN format('%s ''%s'' begins with ''$'': such names are the system''s', what, name)
        ELSE refusal_of_name(what, name)
    END
$$;

CREATE FUNCTION refusal_of_tags(tags jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN jsonb_typeof(tags) <> 'array' THEN 'tags must be an array of texts'
        WHEN jsonb_array_length(tags) > 32 THEN format('%s tags: at most 32 are allowed', jsonb_array_length(tags))
        ELSE (
            SELECT min(CASE jsonb_typeof(tag) WHEN 'string' THEN refusal_of_name('tag', tag #>> '{}') ELSE 'tags must be an array of texts' END)
            FROM jsonb_array_elements(tags) AS each (tag))
    END
$$;

-- Bytes are hexadecimal digits. They take precedence over the same value as JSON.
CREATE FUNCTION refusal_of_payload(event jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN event ->> 'metadataHex' !~ '^([0-9a-fA-F]{2})*$' THEN 'metadataHex must be pairs of hexadecimal digits'
        WHEN event ->> 'eventDataHex' !~ '^([0-9a-fA-F]{2})*$' THEN 'eventDataHex must be pairs of hexadecimal digits'
        WHEN bytes > 1048576 THEN format('an event''s metadata and data has %s bytes: at most 1048576 are allowed', bytes)
    END
    FROM (
        SELECT coalesce(length(event ->> 'metadataHex') / 2, octet_length((event -> 'metadata')::text), 0)
            + coalesce(length(event ->> 'eventDataHex') / 2, octet_length((event -> 'eventData')::text), 0)) AS size (bytes)
$$;

CREATE FUNCTION refusal_of_numbers(event jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN event ->> 'eventId' !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN 'eventId must be a UUID'
        WHEN event ->> 'eventVersion' !~ '^[0-9]{1,10}$' OR (event ->> 'eventVersion')::numeric > 4294967295
            THEN 'eventVersion must be a number from 0 to 4294967295'
        WHEN event ->> 'timestampMicros' !~ '^-?[0-9]{1,18}$' THEN 'timestampMicros must be a number'
        WHEN event ->> 'timestamp' !~* '^\d{4}-\d\d-\d\d[t ]\d\d:\d\d:\d\d(\.\d+)?(z|[+-]\d\d:\d\d)$'
            THEN 'timestamp must be as RFC 3339 has it, like 2026-01-31T12:00:00Z'
    END
$$;

CREATE FUNCTION refusal_of_fields(event jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT min(CASE
        WHEN field IN ('eventData', 'metadata', 'tags', 'eventVersion', 'timestampMicros') OR jsonb_typeof(value) = 'null' THEN NULL
        WHEN field NOT IN ('eventType', 'eventId', 'timestamp', 'correlationId', 'causationId', 'userId', 'organizationId',
                           'metadataHex', 'metadataType', 'eventDataHex', 'eventDataType')
            THEN format('''%s'' is no field of an event', field)
        WHEN jsonb_typeof(value) <> 'string' THEN format('%s must be a text', field)
    END)
    FROM jsonb_each(event) AS each (field, value)
$$;

-- What is wrong with an event; NULL for a valid one. A null field counts as missing.
CREATE FUNCTION refusal_of_event(event jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(event) <> 'object' THEN 'an event must be an object' ELSE coalesce(
        refusal_of_fields(event),
        refusal_of_own_name('event type', event ->> 'eventType'),
        refusal_of_name('correlation id', event ->> 'correlationId'),
        refusal_of_name('causation id', event ->> 'causationId'),
        refusal_of_name('user id', event ->> 'userId'),
        refusal_of_name('organization id', event ->> 'organizationId'),
        refusal_of_name('metadata type', nullif(event ->> 'metadataType', '')),
        refusal_of_name('data type', nullif(event ->> 'eventDataType', '')),
        refusal_of_tags(nullif(event -> 'tags', 'null')),
        refusal_of_numbers(event),
        refusal_of_payload(event)) END
$$;

-- What is wrong with an append; NULL for a valid one.
CREATE FUNCTION refusal_of_append(aggregate_id text, aggregate_type text, expected_version bigint, events jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN expected_version < -2
            THEN format('expected version %s: it is NULL for any, 0 for no stream, -1 for an existing stream, or a version', expected_version)
        WHEN events IS NULL OR jsonb_typeof(events) <> 'array' THEN 'events must be an array of objects'
        WHEN jsonb_array_length(events) > 10000
            THEN format('%s events in one append: at most 10000 are allowed', jsonb_array_length(events))
        ELSE coalesce(
            refusal_of_own_name('aggregate type', aggregate_type),
            refusal_of_own_name('aggregate id', aggregate_id),
            (SELECT format('event %s: %s', place, refusal_of_event(event))
             FROM jsonb_array_elements(events) WITH ORDINALITY AS new (event, place)
             WHERE refusal_of_event(event) IS NOT NULL
             LIMIT 1))
    END
$$;

-- Appends events to an aggregate, all or none, if it is at the expected version: NULL for any, 0 for no stream or a
-- deleted one, -1 for one that exists, -2 for one that never existed. An append without events changes nothing.
--
-- An append whose events all have ids is idempotent, as in a store: repeated, it returns its first answer.
--
-- It runs with the rights of its owner: a role that may execute it can append, and needs no right to the tables.
CREATE FUNCTION append_events(
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

    SELECT version, aggregate_type, position INTO latest
    FROM events WHERE aggregate_id = target ORDER BY version DESC LIMIT 1;
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

-- Wakes the stores that follow, for an append that they should read at once; without it they poll several times a second. Call it after
-- the commit of the append, not within it: commits that notify wait for each other across the whole server.
CREATE FUNCTION notify_followers() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT pg_notify('annals-' || store, '') FROM head
$$;

REVOKE EXECUTE ON FUNCTION append_events FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION notify_followers FROM PUBLIC;
