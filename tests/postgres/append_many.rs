//! Several appends in one call: outcomes, bounds, rights, and the schema that they act on.

use annals::Store;

use crate::append_alike::{lines, quoted};
use crate::follow::{append_in_sql, note};
use crate::roles::{APPENDER, grant_more, revoke};
use crate::support::{Schema, prepared};

#[test]
fn the_example_of_the_documentation_appends_several() {
    let schema = prepared();
    let page = include_str!("../../docs/postgresql.md");
    let example = |call: &str| {
        let (_, rest) = page.split_once(call).expect("there is one");
        rest.split_once(";\n").expect("it ends").0
    };
    let first = example("```sql\nSELECT * FROM annals.append_events");
    schema.sql(&format!("SELECT * FROM append_events{first}"));
    let many = example("error_message FROM annals.append_many");
    let rows = schema.sql(&format!(
        "SELECT place, last_position, error_code, error_message FROM append_many{many}"
    ));
    let conflict = "2 ZA409 aggregate 'order-1' is at version 2, expected version 1";
    assert_eq!(lines(rows), ["1 3", conflict, "3 4"]);
}

fn noted(id: &str, expected: &str) -> String {
    format!(
        r#"{{"aggregateId": "{id}", "aggregateType": "Note", "expectedVersion": {expected}, "events": [{{"eventType": "Noted"}}]}}"#
    )
}

/// The state and message of each outcome, and nothing for an append that was made.
fn refused(schema: &Schema, appends: &str) -> Vec<String> {
    let sql = format!(
        "SELECT concat_ws(' ', error_code, error_message) FROM append_many({}) AS made",
        quoted(appends)
    );
    lines(schema.sql(&sql))
}

#[test]
fn a_refused_append_leaves_the_others() {
    let schema = prepared();
    let appends = [
        noted("a", "0"),
        noted("a", "0"),
        "null".to_owned(),
        "[]".to_owned(),
        r#"{"aggregateID": "a"}"#.to_owned(),
        r#"{"aggregateId": 7}"#.to_owned(),
        r#"{"aggregateId": "a", "aggregateType": []}"#.to_owned(),
        noted("a", "1.5"),
        noted("a", "\"1\""),
        noted("a", "99999999999999999999"),
        r#"{"aggregateId": "a", "aggregateType": "Note"}"#.to_owned(),
        r#"{"aggregateType": "Note", "events": []}"#.to_owned(),
        noted("a", "1"),
        noted("b", "-1"),
        noted("b", "0"),
    ];
    let object = "ZA400 an append must be an object with aggregateId, aggregateType, expectedVersion and events";
    let number = "ZA400 expectedVersion must be a whole number, or null for any version";
    assert_eq!(
        refused(&schema, &format!("[{}]", appends.join(","))),
        [
            "",
            "ZA409 aggregate 'a' is at version 1, expected no stream",
            object,
            object,
            "ZA400 'aggregateID' is no field of an append: it has aggregateId, aggregateType, expectedVersion and events",
            "ZA400 aggregateId must be a text",
            "ZA400 aggregateType must be a text",
            number,
            number,
            number,
            "ZA400 events must be an array of objects",
            "ZA400 the aggregate id is missing",
            "",
            "ZA409 aggregate 'b' is at version 0, expected an existing stream",
            "",
        ]
    );
    assert_eq!(
        schema.value("SELECT string_agg(aggregate_id, '' ORDER BY position) FROM events"),
        "aab"
    );
}

#[test]
fn calls_of_several_are_bounded() {
    let schema = prepared();
    assert_eq!(refused(&schema, "[]"), [""; 0]);
    for (argument, message) in [
        ("'{}'", "appends must be an array of objects"),
        ("NULL", "appends must be an array of objects"),
        ("'null'", "appends must be an array of objects"),
        ("'\"[]\"'", "appends must be an array of objects"),
        (
            "(SELECT jsonb_agg(7) FROM generate_series(1, 10001))",
            "10001 appends in one call: at most 10000 are allowed",
        ),
    ] {
        let error = schema
            .try_sql(&format!("SELECT * FROM append_many({argument})"))
            .expect_err(argument);
        let said = error.as_db_error().expect("the server says so");
        assert_eq!((said.code().code(), said.message()), ("ZA400", message));
    }
    let most = "SELECT jsonb_agg(jsonb_build_object('aggregateId', 'note-' || n % 9000, 'aggregateType', 'Note', 'events', \
                '[{\"eventType\": \"Noted\"}]'::jsonb)) FROM generate_series(1, 10000) AS n";
    let made = schema.value(&format!(
        "SELECT count(*) FROM append_many(({most})) AS made WHERE error_code IS NULL"
    ));
    assert_eq!(made, "10000");
    assert_eq!(
        schema.value("SELECT max(position) || ' ' || max(version) FROM events"),
        "10000 2"
    );
}

#[test]
fn several_in_one_call_are_refused_while_a_store_writes() {
    let schema = prepared();
    let store = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    let appends = format!("[{}, 7, {}]", noted("a", "null"), noted("b", "0"));
    let outcomes = refused(&schema, &appends);
    assert!(
        outcomes[0].starts_with("ZA423 a store writes here, held by annals (process "),
        "{outcomes:?}"
    );
    assert!(
        outcomes[1].starts_with("ZA400 an append must be an object"),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[2], outcomes[0]);
    store.close().expect("the server is there");
    assert_eq!(refused(&schema, &format!("[{}]", noted("a", "null"))), [""]);
    // A lease that is over ends for good.
    schema.sql("UPDATE head SET lease = gen_random_uuid(), lease_expires = clock_timestamp() - interval '1 second'");
    assert_eq!(
        refused(&schema, &format!("[{}, {}]", noted("a", "9"), noted("c", "9")))[0][..5],
        *"ZA409"
    );
    assert_eq!(schema.value("SELECT lease IS NULL FROM head"), "f");
    assert_eq!(refused(&schema, &format!("[{}]", noted("a", "1"))), [""]);
    assert_eq!(schema.value("SELECT lease IS NULL FROM head"), "t");
}

#[test]
fn an_error_of_the_tables_rolls_back_the_whole_call() {
    let schema = prepared();
    schema.sql("ALTER TABLE events ADD CHECK (aggregate_id <> 'b')");
    let sql = format!(
        "SELECT * FROM append_many('[{}, {}]')",
        noted("a", "0"),
        noted("b", "0")
    );
    assert_eq!(
        schema
            .try_sql(&sql)
            .expect_err("it is forbidden")
            .code()
            .map(|code| code.code()),
        Some("23514")
    );
    assert_eq!(
        schema.value("SELECT position + (SELECT count(*) FROM events) FROM head"),
        "0"
    );
}

#[test]
fn several_in_one_call_act_on_a_renamed_schema() {
    let old = prepared();
    append_in_sql(&old, "o");
    let now = Schema::new();
    let [from, to] = [&old.name, &now.name].map(|name| name.replace('"', "\"\""));
    old.sql(&format!("ALTER SCHEMA \"{from}\" RENAME TO \"{to}\""));
    drop(old.journal().expect("a new store"));
    let call = |id: &str| {
        let call = format!(
            "SELECT last_position FROM \"{to}\".append_many('[{}]')",
            noted(id, "null")
        );
        now.value(&format!("SET search_path TO public; {call}"))
    };
    assert_eq!(call("o"), "2");
    assert_eq!(old.value("SELECT count(*) FROM events"), "0");
    // The functions of another store append nothing.
    now.sql("UPDATE head SET store = gen_random_uuid()");
    let refused = now.try_sql(&format!("SELECT * FROM append_many('[{}]')", noted("o", "null")));
    assert!(
        format!("{refused:?}").contains("append_many belongs to another store"),
        "{refused:?}"
    );
    assert_eq!(append_in_sql(&old, note("o").aggregate_id.as_ref()), 1);
}

/// A role that may append may not call the functions that `append_events` and `append_many` call.
#[test]
fn inner_functions_could_be_given_types_by_other_roles() {
    let schema = prepared();
    let role = format!("appending_many_{}", std::process::id());
    schema.sql(&format!("CREATE ROLE {role} NOLOGIN"));
    let as_role = |sql: &str| schema.try_sql(&format!("SET ROLE {role}; {sql}"));
    let many = format!("SELECT last_position FROM append_many('[{}]')", noted("a", "null"));
    as_role(&many).expect_err("it was not granted");
    grant_more(&schema, APPENDER, &role);
    as_role(&many).expect("it was granted");
    for inner in [
        "is_valid_event('{}')",
        "micros_of_time('x')",
        "append_one('a', 'Note', NULL, '[]', 0, false, now())",
        "append_here('a', 'Note', NULL, '[]', gen_random_uuid())",
        "claim_positions('a', 'Note', NULL, 1, '{}', gen_random_uuid())",
        "has_valid_lengths('{}')",
        "make_room(now(), 0, false)",
        "unsynced_after(1, 1)",
        "move_head(1)",
        "lock_head('x', gen_random_uuid())",
        "refusal_of_member('{}')",
        "fence_partitioning(gen_random_uuid())",
        "bound_of_events()",
    ] {
        let refused = as_role(&format!("SELECT {inner}")).expect_err(inner);
        assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{refused:?}");
    }
    revoke(&schema, &role);
}
