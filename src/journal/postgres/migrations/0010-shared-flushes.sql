-- Appends that queue for the head, and appends that share flushes.
SELECT set_config('search_path', format('%I, pg_temp, %I', current_schema(),
                                        format('home %s %s', quote_ident(current_schema())::regnamespace::oid, store)), true)
FROM head;

-- The last position that was appended by a transaction that did not wait for its flush. While it is the position of the head, the events up to
-- it may not be flushed. A later append that waits flushes them, and leaves the head at a higher position.
ALTER TABLE head ADD COLUMN unsynced bigint NOT NULL DEFAULT 0;

-- An update leaves the old version of the row in the page, and each read of the page visits all of them. With free space, the server prunes them
-- earlier.
ALTER TABLE head SET (fillfactor = 30);

-- The value of `unsynced` after this transaction has appended up to position `last`.
CREATE FUNCTION unsynced_after(last bigint, before bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$ SELECT CASE WHEN current_setting('synchronous_commit') = 'off' THEN last ELSE before END $$;

-- Whether the texts of an event are neither empty nor too long.
CREATE FUNCTION has_valid_lengths(event jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN octet_length(event ->> 'eventType') BETWEEN 1 AND 255
        AND coalesce(octet_length(event ->> 'correlationId') BETWEEN 1 AND 255, true)
        AND coalesce(octet_length(event ->> 'causationId') BETWEEN 1 AND 255, true)
        AND coalesce(octet_length(event ->> 'userId') BETWEEN 1 AND 255, true)
        AND coalesce(octet_length(event ->> 'organizationId') BETWEEN 1 AND 255, true)
        AND coalesce(octet_length(event ->> 'metadataType') <= 255, true)
        AND coalesce(octet_length(event ->> 'eventDataType') <= 255, true);
END
$$;

-- Whether an event is valid: true only if refusal_of_event finds nothing. False also for a few that are valid, such as one with an unknown
-- field that is null. PL/pgSQL prepares each expression in each transaction that reaches it, so rare checks are separate functions.
CREATE OR REPLACE FUNCTION is_valid_event(event jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    texts jsonb;
BEGIN
    IF jsonb_typeof(event) <> 'object' THEN
        RETURN false;
    END IF;
    texts := event - '{eventData, metadata, tags, eventVersion, timestampMicros}'::text[];
    -- The path is strict, because a lax filter looks into arrays. The JSON of a text is at least as long as the text.
    IF (texts - '{eventType, eventId, timestamp, correlationId, causationId, userId, organizationId, metadataHex, metadataType, eventDataHex,
                  eventDataType}'::text[] = '{}'
        AND jsonb_typeof(texts -> 'eventType') = 'string' AND NOT starts_with(texts ->> 'eventType', '$')
        AND NOT texts @? 'strict $.* ? (@.type() <> "string" && @.type() <> "null" || @ == "")'
        AND coalesce(texts ->> 'eventId' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', true)
        AND (octet_length(texts::text) <= 255 OR has_valid_lengths(texts))) IS NOT TRUE THEN
        RETURN false;
    END IF;
    IF event ?| '{tags, eventVersion, timestampMicros, timestamp, metadataHex, eventDataHex}' THEN
        RETURN (coalesce(event -> 'tags', '[]') IN ('[]', 'null') OR is_valid_tags(event -> 'tags')) AND is_valid_payload(event);
    END IF;
    RETURN coalesce(octet_length((event -> 'metadata')::text), 0) + coalesce(octet_length((event -> 'eventData')::text), 0) <= 1048576;
END
$$;

-- Locks the head for an append, behind the appends that queue for it. `held` names the store that holds the lease, if there is one.
--
-- Each commit wakes all sessions that wait for a row, and one of them locks it; an advisory lock wakes only the next session.
CREATE OR REPLACE FUNCTION lock_head(caller text, own_store uuid, OUT base bigint, OUT is_partitioned boolean, OUT held text)
LANGUAGE plpgsql AS $$
DECLARE
    top record;
BEGIN
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::int, 'head'::regclass::oid::int);
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
CREATE OR REPLACE FUNCTION move_head(last bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE head SET position = last, unsynced = unsynced_after(last, unsynced), epoch = epoch + (lease IS NOT NULL)::int,
        lease = NULL, holder = NULL, held_since = NULL, lease_expires = NULL;
END
$$;

-- Locks the table, and then the head, as an append does, for the store that has the lease of this number and partitions the table. A call that comes
-- after the lease has ended changes nothing.
CREATE OR REPLACE FUNCTION fence_partitioning(number uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
    PERFORM FROM head WHERE lease = number AND partitioned_by IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure',
            MESSAGE = 'the lease of the store that partitions the table events is over, or another has done it';
    END IF;
END
$$;

-- Makes room for events that are recorded at a time, in a table that is partitioned by month or is to be.
CREATE OR REPLACE FUNCTION make_room(recorded timestamptz, base bigint, is_partitioned boolean) RETURNS void
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
    ELSIF bound_of_events() IS NOT NULL THEN
        -- The store that was partitioning the table has not finished, and has no lease any more. The bound is removed with the lease, because
        -- claim_positions checks only the lease.
        ALTER TABLE events DROP CONSTRAINT events_recorded_before;
    END IF;
END
$$;

-- Moves the head for an append without a conflict: there is no lease, the aggregate is at the expected version, nothing of it was truncated or
-- deleted, and it has none of these events. Otherwise `base` is NULL, and append_one decides.
CREATE FUNCTION claim_positions(
    target text, of_type text, expected bigint, number bigint, ids uuid[], own_store uuid,
    OUT base bigint, OUT version_before bigint, OUT recorded timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::int, 'head'::regclass::oid::int);
    recorded := clock_timestamp();
    -- The snapshot of this statement is taken after the queue, and a store that takes the lease queues too: nothing that it reads changes meanwhile.
    UPDATE head SET position = head.position + number, unsynced = unsynced_after(head.position + number, unsynced)
    FROM (
        SELECT coalesce((
            SELECT CASE WHEN aggregate_type = of_type THEN version ELSE -1 END FROM events
            WHERE aggregate_id = target ORDER BY version DESC LIMIT 1), 0) OFFSET 0) AS last (version)
    WHERE store = own_store AND lease IS NULL AND partitioned_by IS NULL
        AND CASE WHEN expected IS NULL THEN last.version >= 0 WHEN expected = -1 THEN last.version > 0
            ELSE last.version = greatest(expected, 0) END
        AND last.version + number <= 4294967295
        AND NOT EXISTS (SELECT FROM marks WHERE aggregate_id = target)
        AND NOT EXISTS (SELECT FROM deletions WHERE aggregate_id = target)
        AND NOT EXISTS (SELECT FROM (SELECT aggregate_id FROM events WHERE event_id = ANY (ids) OFFSET 0) AS known WHERE aggregate_id = target)
    RETURNING head.position - number, last.version INTO base, version_before;
END
$$;

-- Appends as append_events, which has determined the id of the store.
CREATE FUNCTION append_here(
    aggregate_id text, aggregate_type text, expected_version bigint, events jsonb, own_store uuid,
    OUT first_position bigint, OUT last_position bigint, OUT first_version bigint, OUT last_version bigint, OUT repeated boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    target CONSTANT text := append_here.aggregate_id;
    of_type CONSTANT text := append_here.aggregate_type;
    expected CONSTANT bigint := append_here.expected_version;
    new_events CONSTANT jsonb := append_here.events;
    number bigint;
    taken bigint;
    refusal text;
    top record;
    done record;
BEGIN
    IF jsonb_typeof(new_events) IS DISTINCT FROM 'array' OR jsonb_array_length(new_events) <> 1
        OR is_valid_append(target, of_type, expected, new_events) IS NOT TRUE THEN
        refusal := refusal_of_call(target, of_type, expected, new_events);
        IF refusal IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'ZA400', MESSAGE = refusal;
        END IF;
    END IF;
    number := jsonb_array_length(new_events);

    -- The executor opens the table and its indexes before it calls claim_positions, and so before the head is locked. An append to a partitioned table
    -- may have to add a partition, so it locks the head first: it could wait for sessions that have the table open while they wait for the head.
    IF number > 0 AND pg_get_partkeydef('events'::regclass) IS NULL THEN
        WITH claimed AS MATERIALIZED (
            SELECT base, version_before, recorded
            FROM claim_positions(target, of_type, expected, number,
                CASE WHEN number = 1 THEN ARRAY[(new_events #>> '{0,eventId}')::uuid]
                    ELSE ARRAY(SELECT (event ->> 'eventId')::uuid FROM jsonb_array_elements(new_events) AS new (event)) END,
                own_store)),
        inserted AS (
            INSERT INTO events (position, event_id, aggregate_id, aggregate_type, event_type, schema_version, version, occurred_at, recorded_at,
                correlation_id, causation_id, user_id, organization_id, tags, metadata, data, metadata_bytes, data_bytes, metadata_type,
                data_type, occurred_micros)
            SELECT base + place, coalesce(row.event_id, gen_random_uuid()), target, of_type, row.event_type, row.schema_version,
                version_before + place, row.occurred_at, recorded, row.correlation_id, row.causation_id, row.user_id, row.organization_id,
                row.tags, row.metadata, row.data, row.metadata_bytes, row.data_bytes, row.metadata_type, row.data_type, row.occurred_micros
            FROM claimed,
                LATERAL (SELECT jsonb_array_elements(new_events), generate_series(1, number)) AS new (event, place),
                columns_of(event, recorded) AS row
            WHERE base IS NOT NULL
            RETURNING 1)
        SELECT base + 1, version_before + 1, (SELECT count(*) FROM inserted) INTO first_position, first_version, taken FROM claimed;
        IF first_position IS NOT NULL THEN
            IF taken <> number THEN
                PERFORM check_taken(taken, number);
            END IF;
            last_position := first_position + number - 1;
            last_version := first_version + number - 1;
            repeated := false;
            RETURN;
        END IF;
    END IF;

    top := lock_head('append_events', own_store);
    IF top.held IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA423', MESSAGE = top.held,
            HINT = 'Append there, or close it and have every program append through append_events.';
    END IF;
    done := append_one(target, of_type, expected, new_events, top.base, top.is_partitioned, clock_timestamp());
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
    IF last_position > top.base THEN
        PERFORM move_head(last_position);
    END IF;
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
-- estimates are high, and compiling takes longer than the call. They read no table from end to end: one that was empty when a session made its
-- plans grows.
CREATE OR REPLACE FUNCTION append_events(
    aggregate_id text, aggregate_type text, expected_version bigint, events jsonb,
    OUT first_position bigint, OUT last_position bigint, OUT first_version bigint, OUT last_version bigint, OUT repeated boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off AS $$
DECLARE
    -- The OID of the schema and the id of the store. The path ends with them in at most 54 characters, which have none of the name of the schema.
    home CONSTANT text := pg_catalog.split_part(pg_catalog."right"(pg_catalog.current_setting('search_path'), 54), '"home ', 2);
    done record;
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF pg_catalog.split_part(home, ' ', 1)::oid::regnamespace::text <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = pg_catalog.split_part(home, ' ', 1)::oid;
    END IF;
    done := append_here(aggregate_id, aggregate_type, expected_version, events, "left"(split_part(home, ' ', 2), 36)::uuid);
    first_position := done.first_position;
    last_position := done.last_position;
    first_version := done.first_version;
    last_version := done.last_version;
    repeated := done.repeated;
END
$$;

-- As append_events: a table that was empty when a session made its plans grows.
ALTER FUNCTION append_many(jsonb) SET enable_seqscan = off;

-- Like append_events, but the transaction does not wait for its flush, and so the next append does not wait for that flush either. SQL sees the
-- events at once. They survive a crash of the server after wait_synced has returned. Followers show them when they are flushed.
CREATE FUNCTION append_unsynced(
    aggregate_id text, aggregate_type text, expected_version bigint, events jsonb,
    OUT first_position bigint, OUT last_position bigint, OUT first_version bigint, OUT last_version bigint, OUT repeated boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off AS $$
DECLARE
    -- The OID of the schema and the id of the store. The path ends with them in at most 54 characters, which have none of the name of the schema.
    home CONSTANT text := pg_catalog.split_part(pg_catalog."right"(pg_catalog.current_setting('search_path'), 54), '"home ', 2);
    before text;
    done record;
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF pg_catalog.split_part(home, ' ', 1)::oid::regnamespace::text <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = pg_catalog.split_part(home, ' ', 1)::oid;
    END IF;
    before := current_setting('synchronous_commit');
    -- Until the transaction ends. One in which wait_synced was called waits.
    IF current_setting('annals.commit_waits', true) IS DISTINCT FROM 'on' THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    done := append_here(aggregate_id, aggregate_type, expected_version, events, "left"(split_part(home, ' ', 2), 36)::uuid);
    -- Nothing was written that is noted in `unsynced`: the events of an earlier append_events in the transaction are not noted either.
    IF done.repeated OR done.last_position < done.first_position THEN
        PERFORM set_config('synchronous_commit', before, true);
    END IF;
    first_position := done.first_position;
    last_position := done.last_position;
    first_version := done.first_version;
    last_version := done.last_version;
    repeated := done.repeated;
END
$$;

-- Returns the last position of the log. All events up to it are flushed when the transaction of this call is committed. Concurrent calls share
-- a flush. With `event_id`, the event at `position` must have this id: after a crash, another event may be there.
CREATE FUNCTION wait_synced("position" bigint, event_id uuid DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    -- The OID of the schema and the id of the store. The path ends with them in at most 54 characters, which have none of the name of the schema.
    home CONSTANT text := pg_catalog.split_part(pg_catalog."right"(pg_catalog.current_setting('search_path'), 54), '"home ', 2);
    top record;
    found_id uuid;
BEGIN
    -- After the schema was renamed, the search path names another schema or none. So every name that the other schema could have too is qualified.
    IF pg_catalog.split_part(home, ' ', 1)::oid::regnamespace::text <> coalesce(pg_catalog.quote_ident(pg_catalog.current_schema()), '') THEN
        PERFORM pg_catalog.set_config('search_path', pg_catalog.format('%I, pg_temp', nspname), true) FROM pg_catalog.pg_namespace
        WHERE oid = pg_catalog.split_part(home, ' ', 1)::oid;
    END IF;
    -- Read before the flush, which then covers it.
    SELECT head.position AS last, unsynced >= head.position AS is_unsynced INTO STRICT top FROM head;
    IF wait_synced.position > top.last AND (pg_is_in_recovery() OR current_setting('transaction_isolation') <> 'read committed') THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('position %s is not visible here: the last is %s', wait_synced.position, top.last),
            HINT = 'Call wait_synced on the primary, in a transaction that is READ COMMITTED. The event may be there: do not append it again.';
    END IF;
    IF wait_synced.position IS NULL OR wait_synced.position > top.last THEN
        RAISE EXCEPTION USING ERRCODE = 'ZA404',
            MESSAGE = format('no event is at position %s: the last is at %s', coalesce(wait_synced.position::text, 'NULL'), top.last),
            HINT = 'The server lost it in a crash, or it was never appended: append it again.';
    END IF;
    IF wait_synced.event_id IS NOT NULL THEN
        SELECT events.event_id INTO found_id FROM events WHERE events.position = wait_synced.position;
        IF found_id IS DISTINCT FROM wait_synced.event_id THEN
            RAISE EXCEPTION USING ERRCODE = 'ZA404',
                MESSAGE = format('event %s is not at position %s', wait_synced.event_id, wait_synced.position),
                HINT = 'The server lost it in a crash, or it has been deleted since: append it again unless it was deleted.';
        END IF;
    END IF;
    IF pg_is_in_recovery() THEN
        -- A replica receives only what its primary has flushed.
        RETURN top.last;
    END IF;
    -- The transaction may have appended, and may append later by append_unsynced: its commit waits for all that.
    PERFORM set_config('annals.commit_waits', 'on', true);
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF top.is_unsynced THEN
        -- A commit waits for the flush of all commits before it, if its transaction has written something.
        PERFORM pg_logical_emit_message(true, 'annals', '');
    END IF;
    RETURN top.last;
END
$$;

SELECT keep_for_owner(ARRAY['is_valid_event', 'make_room', 'fence_partitioning', 'lock_head', 'move_head', 'unsynced_after', 'claim_positions',
    'append_here', 'has_valid_lengths', 'append_unsynced', 'wait_synced']);

-- Roles that may execute append_events may execute these.
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s%s', made,
            CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END,
            CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM pg_catalog.pg_proc, aclexplode(proacl) AS acl, unnest(ARRAY['append_unsynced', 'wait_synced']) AS made
        WHERE pg_proc.oid = 'append_events(text, text, bigint, jsonb)'::regprocedure
            AND acl.privilege_type = 'EXECUTE' AND acl.grantee <> proowner
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
