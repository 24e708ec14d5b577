//! What a role, a database or a URL sets for its sessions changes nothing of what a store does.

use std::time::Duration;

use annals::journal::Journal as _;
use annals::journal::postgres::PostgresJournal;
use annals::journal::postgres::cdc::{CaptureSettings, ChangeCapture};
use annals::{Durability, Error, Expected, Store};

use crate::cluster::Cluster;
use crate::follow::{append_in_sql, events, note, noted, url_at};
use crate::support::{Schema, Taker, batch, prepared, sql};

/// Settings that anyone may have set for a role, each with a value that is not the usual one.
const SETTINGS: [(&str, &str); 32] = [
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_deferrable", "on"),
    ("lock_timeout", "1"),
    ("statement_timeout", "400"),
    ("idle_session_timeout", "50"),
    ("idle_in_transaction_session_timeout", "50"),
    ("standard_conforming_strings", "off"),
    ("escape_string_warning", "off"),
    ("backslash_quote", "off"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("quote_all_identifiers", "on"),
    ("row_security", "off"),
    ("DateStyle", "German"),
    ("DateStyle", "SQL, DMY"),
    ("IntervalStyle", "iso_8601"),
    ("IntervalStyle", "sql_standard"),
    ("TimeZone", "Asia/Kathmandu"),
    ("TimeZone", "America/St_Johns"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("synchronous_commit", "off"),
    ("search_path", "pg_temp"),
    ("check_function_bodies", "off"),
    ("session_replication_role", "replica"),
    ("plpgsql.variable_conflict", "use_variable"),
    ("plpgsql.extra_errors", "all"),
    ("exit_on_error", "on"),
    ("client_min_messages", "error"),
    ("default_toast_compression", "pglz"),
];

/// The part of a URL that sets it, before what a role has set.
fn option(name: &str, value: &str) -> String {
    format!("options=-c%20{name}%3D{}", value.replace(' ', "%5C%20"))
}

/// Everything that is done with a store, in sessions to which `url` leads.
fn use_store(schema: &Schema, url: &str, what: &str) {
    let at = |schema: &Schema| url_at(url, schema);
    let journal = PostgresJournal::open_with(url, schema.settings()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let store = Store::open(journal).unwrap_or_else(|error| panic!("{what}: {error}"));
    let store = store.with_durability(Durability::Synced).expect("PostgreSQL can");
    for number in 0..3 {
        let appended = store.append(&note("one"), Expected::exactly(number), vec![noted(number)]);
        appended.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let many = (0..100).map(noted).collect::<Vec<_>>();
    store
        .append(&note("two"), Expected::NoStream, many)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    store
        .delete("two", Expected::exactly(100))
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    store
        .compact_journal()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    store.close().unwrap_or_else(|error| panic!("{what}: {error}"));

    let follower = Store::follow(&at(schema)).unwrap_or_else(|error| panic!("{what}: {error}"));
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let follower = &follower;
            scope.spawn(move || {
                for number in 0..5 {
                    let appended = follower.append(
                        &note(&format!("own-{writer}")),
                        Expected::exactly(number),
                        vec![noted(number)],
                    );
                    appended.unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            });
        }
    });
    assert_eq!(events(&follower).len(), 3 + 15, "{what}");
    let read = Store::builder()
        .read_only()
        .open_url(&at(schema))
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(events(&read), events(&follower), "{what}");
    let settings = CaptureSettings::default().slot(format!(
        "session_{}_{}",
        std::process::id(),
        schema.name.rsplit(' ').next().unwrap_or_default()
    ));
    let mut capture =
        ChangeCapture::open_with(url, schema.settings(), settings).unwrap_or_else(|error| panic!("{what}: {error}"));
    let came = crate::cdc::drain(&mut capture);
    assert_eq!(came.len(), 3 + 1 + 15, "{what}");
    capture.drop_slot().unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// As a program of another language appends, whatever is set for its session.
fn append_with(schema: &Schema, name: &str, value: &str) {
    // It forbids the caller's own statement.
    if name == "default_transaction_read_only" {
        return;
    }
    let events = r#"[{"eventType": "Noted", "timestamp": "2026-01-31T12:00:00.5+02:00", "eventData": {"a": 1.5}, "metadataHex": "00ff",
        "tags": ["a"], "eventId": "018f6d2a-7c1e-7000-8000-3f1f6a0c9d11"}]"#;
    let set = format!("SET {name} = '{value}'").replace("'SQL, DMY'", "SQL, DMY");
    // What is set counts for the transaction that comes next.
    let path = schema.name.replace('"', "\"\"");
    let call = format!("COMMIT; SELECT last_version FROM \"{path}\".append_events('sql', 'Note', 0, '{events}')");
    let rows =
        sql(&schema.url, &format!("{set}; {call}")).unwrap_or_else(|error| panic!("{name} = {value}: {error:?}"));
    assert_eq!(rows.last(), Some(&vec![Some("1".to_owned())]), "{name} = {value}");
    let row = "SELECT (occurred_at = '2026-01-31 10:00:00.5+00')::text || encode(metadata_bytes, 'hex') || data::text FROM events \
               WHERE aggregate_id = 'sql'";
    assert_eq!(schema.value(row), r#"true00ff{"a": 1.5}"#, "{name} = {value}");
}

#[test]
fn settings_of_a_role_changed_what_statements_mean_and_how_long_they_may_take() {
    let check = |half: usize| {
        let numbered = SETTINGS.into_iter().enumerate();
        for (number, setting) in numbered.filter(|(number, _)| number % 2 == half) {
            check_setting(setting, number % 4 < 2);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| check(0));
        scope.spawn(|| check(1));
    });
}

fn check_setting((name, value): (&str, &str), is_partitioned: bool) {
    let schema = if is_partitioned {
        Schema::partitioned()
    } else {
        Schema::new()
    };
    let known = format!("SELECT count(*) FROM pg_settings WHERE lower(name) = lower('{name}')");
    // Not all versions have all of them.
    if name.contains('.') || schema.value(&known) == "1" {
        let what = format!("{name} = {value}");
        use_store(&schema, &schema.url_with(&option(name, value)), &what);
        append_with(&schema, name, value);
    }
}

/// As an administrator sets them: for a role, and for a database.
#[test]
fn a_store_of_a_role_with_settings_was_refused_or_in_doubt() {
    let cluster = Cluster::start(&["fsync = off"], &[]);
    let url = cluster.url();
    let set = |of: &str| {
        let settings = [
            "default_transaction_isolation = 'serializable'",
            "default_transaction_read_only = on",
            "lock_timeout = 1",
            "idle_session_timeout = 100",
            "standard_conforming_strings = off",
            "DateStyle = 'German'",
            "synchronous_commit = off",
        ];
        for setting in settings {
            drop(sql(&url, &format!("ALTER {of} SET {setting}")));
        }
    };
    sql(&url, "CREATE ROLE app SUPERUSER LOGIN").expect("it is new");
    set("ROLE app");
    let of_role = url.replacen("postgres@", "app@", 1);
    use_store(&Schema::on(url.clone()), &of_role, "a role");
    sql(&url, "CREATE DATABASE shop").expect("it is new");
    set("DATABASE shop");
    let (server, _) = url.rsplit_once('/').expect("it names a database");
    let of_database = format!("{server}/shop");
    use_store(&Schema::on(of_database.clone()), &of_database, "a database");
}

/// The writer's sessions were idle for longer than its role may be.
#[test]
fn a_lease_was_lost_when_the_role_of_its_writer_may_not_be_idle() {
    let schema = Schema::new();
    // Less than the writer is idle below, and more than a connection is idle before the store sets it up.
    let url = schema.url_with(&option("idle_session_timeout", "200"));
    let open = |lease_wait| {
        let settings = schema.settings().lease_wait(lease_wait);
        PostgresJournal::open_with(&url, settings)
    };
    let mut writer = open(Duration::ZERO).expect("it opens");
    writer.recover(&mut Taker::default()).expect("empty");
    writer.write(&batch(1, 1)).expect("it is its own");
    let refused = open(Duration::from_millis(700))
        .map(drop)
        .expect_err("the writer is there");
    assert_eq!(refused.kind(), annals::journal::JournalErrorKind::Locked, "{refused}");
    writer.write(&batch(2, 1)).expect("it is its own still");
}

/// The server has said that nothing was kept: that is what the caller is told.
#[test]
fn what_the_server_had_refused_was_said_to_be_in_doubt() {
    let schema = prepared();
    let follower = Store::follow(&url_at(&schema.url, &schema)).expect("it can be followed");
    for (state, kept) in [("40001", 0), ("55P03", 0), ("53100", 0), ("22012", 0), ("P0001", 0)] {
        schema.sql(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()"
        ));
        let refused = follower
            .append(&note("one"), Expected::Any, vec![noted(1)])
            .expect_err("it is refused");
        let said = refused.to_string();
        assert!(said.contains("nothing was written") && said.contains(state), "{said}");
        assert!(!said.contains("not known"), "{said}");
        assert_eq!(schema.value("SELECT count(*) FROM events"), kept.to_string());
        schema.sql("DROP TRIGGER refuse ON events; DROP FUNCTION refuse");
    }
    assert_eq!(append_in_sql(&schema, "one"), 1);
}

/// The first times the server refuses, and then it takes it: a sequence counts what was rolled back too.
#[test]
fn what_may_be_repeated_is_repeated() {
    let schema = prepared();
    let follower = Store::follow(&url_at(&schema.url, &schema)).expect("it can be followed");
    for state in ["40001", "40P01", "55P03"] {
        schema.sql(&format!(
            "CREATE SEQUENCE tries; CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') < 4 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()"
        ));
        follower
            .append(&note(state), Expected::NoStream, vec![noted(1)])
            .expect("it is repeated");
        assert_eq!(schema.value("SELECT last_value FROM tries"), "4");
        schema.sql("DROP TRIGGER refuse ON events; DROP FUNCTION refuse; DROP SEQUENCE tries");
    }
    let conflict = follower.append(&note("40001"), Expected::NoStream, vec![noted(1)]);
    assert!(matches!(conflict, Err(Error::Conflict(_))), "{conflict:?}");
}

/// The server then ends the session after each error, and reports the error as one that ended it: whether a transaction was rolled back is
/// not said.
#[test]
fn a_refusal_was_in_doubt_where_a_role_exits_on_errors() {
    let schema = prepared();
    let url = schema.url_with(&option("exit_on_error", "on"));
    let follower = Store::follow(&url_at(&url, &schema)).expect("it can be followed");
    for (state, part) in [("22012", "nothing was written"), ("P0001", "nothing was written")] {
        schema.sql(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$; \
             CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()"
        ));
        let refused = follower.append(&note("one"), Expected::Any, vec![noted(1)]);
        let said = refused.expect_err("it is refused").to_string();
        assert!(said.contains(part) && said.contains(state), "{said}");
        schema.sql("DROP TRIGGER refuse ON events; DROP FUNCTION refuse");
    }
    schema.sql(
        "CREATE SEQUENCE tries; CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('tries') < 4 THEN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let appended = follower.append(&note("one"), Expected::NoStream, vec![noted(1)]);
    assert_eq!(appended.expect("it is repeated").last_version.0, 1);
    schema.sql("DROP TRIGGER refuse ON events; DROP FUNCTION refuse; DROP SEQUENCE tries");
    for _ in 0..3 {
        let conflict = follower.append(&note("one"), Expected::NoStream, vec![noted(1)]);
        assert!(matches!(conflict, Err(Error::Conflict(_))), "{conflict:?}");
    }
}
