-- Fails unless an insert into events has taken every row that was sent: a trigger that returns NULL leaves a row out, and there would be no event
-- at its position. Appends call it, and so does a store, with its own rights: it reads nothing.
CREATE FUNCTION check_taken(taken bigint, sent bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF taken <> sent THEN
        RAISE EXCEPTION USING ERRCODE = 'triggered_action_exception',
            MESSAGE = format('the table events took %s of %s rows: a trigger on it left the others out', taken, sent),
            HINT = 'Nothing was written. Have the trigger return NEW, and raise an error for a row that it refuses.';
    END IF;
    RETURN taken;
END
$$;
