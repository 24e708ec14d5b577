//! A store whose schema is renamed, or restored: what is appended goes to it, and to no other that has taken its name.

use annals::journal::Journal as _;
use annals::journal::postgres::Partition;
use annals::{Error, Expected, Store};

use crate::cdc::{Reader, drain};
use crate::follow::{append_in_sql, events, follow, note, noted};
use crate::support::{Schema, Taker, batch, prepared};

/// The schema under another name; what drops the old one drops a store that has taken its name.
fn renamed(schema: &Schema) -> Schema {
    let mut other = Schema::new();
    other.partition = schema.partition;
    let [old, new] = [&schema.name, &other.name].map(|name| name.replace('"', "\"\""));
    schema.sql(&format!("ALTER SCHEMA \"{old}\" RENAME TO \"{new}\""));
    other
}

/// The path of a session that calls the functions by their whole names.
fn append_from_elsewhere(schema: &Schema, id: &str) -> String {
    let name = schema.name.replace('"', "\"\"");
    let call = format!("\"{name}\".append_events('{id}', 'Note', NULL, '[{{\"eventType\": \"MeantForOld\"}}]')");
    schema.value(&format!("SET search_path TO public; SELECT last_position FROM {call}"))
}

fn count(schema: &Schema) -> String {
    schema.value("SELECT count(*) FROM events")
}

/// Nothing, a new store, or a copy with the same id has the old name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Successor {
    None,
    New,
    Copy,
}

fn succeed(old: &Schema, now: &Schema, successor: Successor) {
    if successor == Successor::None {
        return;
    }
    drop(old.journal().expect("a new store"));
    if successor == Successor::Copy {
        let id = now.value("SELECT store FROM head");
        old.sql(&format!("UPDATE head SET store = '{id}'"));
        drop(old.journal().expect("its functions are set right"));
    }
}

#[test]
fn appends_in_sql_went_to_the_store_that_took_the_name_of_a_renamed_schema() {
    for partition in [Partition::AsItIs, Partition::ByMonth] {
        for successor in [Successor::None, Successor::New, Successor::Copy] {
            let mut old = Schema::new();
            old.partition = partition;
            drop(old.journal().expect("the tables are made"));
            append_in_sql(&old, "o");
            let now = renamed(&old);
            succeed(&old, &now, successor);
            let what = format!("{partition:?} {successor:?}");
            assert_eq!(append_from_elsewhere(&now, "o"), "2", "{what}");
            assert_eq!(append_in_sql(&now, "o"), 3, "{what}");
            assert_eq!(count(&now), "3", "{what}");
            now.sql("SELECT notify_followers()");
            let partitions = if partition == Partition::ByMonth { "1" } else { "0" };
            assert_eq!(now.value("SELECT count(*) FROM partitions()"), partitions, "{what}");
            now.sql("SELECT drop_empty_partitions()");
            if successor != Successor::None {
                assert_eq!(count(&old), "0", "{what}");
                assert_eq!(append_in_sql(&old, "o"), 1, "{what}");
                assert_eq!(count(&now), "3", "{what}");
            }
            // A writer sets the names right.
            let mut journal = now.journal().expect("it opens");
            journal.recover(&mut Taker::default()).expect("it can be read");
            drop(journal);
            let paths = "SELECT count(*) FROM pg_proc, unnest(proconfig) AS setting WHERE pronamespace = quote_ident(current_schema())::regnamespace \
                         AND setting LIKE 'search_path=%' AND NOT starts_with(setting, format('search_path=%I, pg_temp, \"home ', current_schema()))";
            assert_eq!(now.value(paths), "0", "{what}");
        }
    }
}

#[test]
fn a_follower_of_a_renamed_schema_appended_to_another_store() {
    for successor in [Successor::None, Successor::New, Successor::Copy] {
        let old = prepared();
        append_in_sql(&old, "o");
        let before = follow(&old);
        before
            .append(&note("o"), Expected::exactly(1), vec![noted(1)])
            .expect("appended");
        let now = renamed(&old);
        succeed(&old, &now, successor);
        let after = follow(&now);
        let appended = after.append(&note("o"), Expected::exactly(2), vec![noted(2)]);
        assert_eq!(
            appended.expect("it is at that version").last_position.0,
            3,
            "{successor:?}"
        );
        assert_eq!(events(&after).len(), 3, "{successor:?}");
        // The one that was there follows a name that is gone, or another's.
        let refused = before.append(&note("p"), Expected::Any, vec![noted(3)]);
        assert!(refused.is_err(), "{successor:?}: {refused:?}");
        assert_eq!(count(&now), "3", "{successor:?}");
        if successor != Successor::None {
            let is_final = matches!(refused, Err(Error::Failed { .. }));
            assert!(is_final || successor == Successor::Copy, "{refused:?}");
            assert_eq!(count(&old), "0", "{successor:?}");
        }
    }
}

#[test]
fn functions_of_another_store_append_nothing_until_its_owner_has_opened_it() {
    let schema = prepared();
    schema.sql("UPDATE head SET store = gen_random_uuid()");
    let refused = schema.try_sql("SELECT * FROM append_events('o', 'Note', NULL, '[{\"eventType\": \"Noted\"}]')");
    let error = refused.expect_err("the functions are another's");
    let said = error.as_db_error().expect("the server has said it");
    assert_eq!(said.code().code(), "55000");
    assert!(said.message().contains("another store"), "{said}");
    assert!(
        follow(&schema)
            .append(&note("o"), Expected::Any, vec![noted(1)])
            .is_err()
    );
    assert_eq!(count(&schema), "0");
    drop(schema.journal().expect("it is set right"));
    assert_eq!(append_in_sql(&schema, "o"), 1);
}

/// The functions of the first program name the schema that they were made in, and nothing else.
#[test]
fn tables_of_an_earlier_program_that_were_renamed_kept_the_name() {
    for has_successor in [false, true] {
        let old = crate::schema::first_tables();
        let now = renamed(&old);
        if has_successor {
            drop(old.journal().expect("a new store"));
        } else {
            drop(now.journal().expect("it may change them"));
        }
        assert_eq!(append_from_elsewhere(&now, "note-1"), "2");
        drop(now.journal().expect("it may change them"));
        assert_eq!(append_from_elsewhere(&now, "note-1"), "3");
        assert_eq!(count(&now), "3");
        if has_successor {
            assert_eq!(count(&old), "0");
        }
    }
}

/// A writer that has its lease finds that its tables are gone from where they were, and writes to no other's.
#[test]
fn a_writer_of_a_renamed_schema_writes_to_no_other_store() {
    let old = prepared();
    let mut journal = old.journal().expect("it opens");
    journal.recover(&mut Taker::default()).expect("empty");
    journal.write(&batch(1, 3)).expect("it is its own");
    let now = renamed(&old);
    drop(old.journal().expect("a new store"));
    for _ in 0..3 {
        assert!(journal.write(&batch(4, 2)).is_err());
    }
    drop(journal);
    assert_eq!((count(&old), count(&now)), ("0".to_owned(), "3".to_owned()));
    let store = Store::open(now.journal().expect("it opens")).expect("it can be read");
    assert_eq!(events(&store).len(), 3);
}

/// The publication has the name of the schema, and the slot is noted in it.
#[test]
fn change_capture_goes_on_in_a_renamed_schema() {
    let old = prepared();
    append_in_sql(&old, "o");
    let before = Reader::new(&old, "renamed");
    assert_eq!(drain(&mut before.open()).len(), 1);
    append_in_sql(&old, "o");
    let now = renamed(&old);
    let after = Reader::new(&now, "renamed");
    append_in_sql(&now, "o");
    assert_eq!(drain(&mut after.open()).len(), 2);
    // The store that takes the name takes the publication of this name as well, and not the slot.
    drop(old.journal().expect("a new store"));
    append_in_sql(&old, "n");
    let successor = Reader::new(&old, "successor");
    assert_eq!(drain(&mut successor.open()).len(), 1);
    append_in_sql(&now, "o");
    append_in_sql(&old, "n");
    assert_eq!(drain(&mut after.open()).len(), 1);
    assert_eq!(drain(&mut successor.open()).len(), 1);
}

/// The paths of the functions end with their home, and begin with the name.
#[test]
fn a_schema_with_the_name_of_a_home_could_not_be_appended_to() {
    for name in ["a\"home b", "\"home 7 x", "home 1 018f6d2a-7c1e-7000-8000-3f1f6a0c9d11"] {
        let mut schema = Schema::new();
        schema.name = format!("{name} {}", std::process::id());
        drop(schema.journal().expect("the tables are made"));
        for function in ["append_events", "append_unsynced"] {
            let append = format!("SELECT {function}('note-1', 'Note', NULL, '[{{\"eventType\": \"Noted\"}}]')");
            schema.sql(&append);
        }
        assert_eq!(schema.value("SELECT wait_synced(2)"), "2", "{name}");
        let now = renamed(&schema);
        assert_eq!(append_in_sql(&now, "o"), 3, "{name}");
        now.sql("SELECT append_unsynced('note-1', 'Note', 2, '[{\"eventType\": \"Noted\"}]')");
        assert_eq!(now.value("SELECT wait_synced(4)"), "4", "{name}");
    }
}
