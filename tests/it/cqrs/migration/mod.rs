//! Rows become the first events of aggregates, once.

mod sources;

use std::cell::Cell;

use annals::cqrs::migration::rows::{RowError, csv, json_lines};
use annals::cqrs::migration::{Migrated, Migration, MigrationError};
use annals::testing::faults::{Effect, Fault, Faults, Operation};
use annals::{Budget, Event, Expected, NewEvent, Position, Settings, Store, StreamId, Version, WhenFull};
use serde_json::{Value, json};

use crate::support::TempFolder;

fn migration(store: &Store) -> Migration<'static> {
    Migration::new(store, "customers", |row: &Value| {
        let id = row["id"].as_u64().ok_or("it has no id")?;
        let migrated = Migrated::new("Customer", format!("customer-{id}")).data(row);
        Ok(migrated.user("import").tag("old"))
    })
}

fn rows(from: u64, to: u64) -> impl Iterator<Item = Result<Value, RowError>> {
    (from..=to).map(|id| Ok(json!({"id": id, "name": format!("name {id}")})))
}

#[test]
fn each_row_is_the_first_event_of_an_aggregate() {
    let store = Store::in_memory();
    let report = migration(&store).run(rows(1, 1_000)).expect("it ends");
    assert_eq!(
        (
            report.read,
            report.migrated,
            report.already_migrated,
            report.refused_count
        ),
        (1_000, 1_000, 0, 0)
    );
    assert_eq!(report.last_position, Some(Position(1_000)));
    let events = store.read_stream("customer-7").events();
    let event = &events[0];
    assert_eq!(
        (events.len(), event.event_type(), event.version()),
        (1, "CustomerMigrated", Version(1))
    );
    assert_eq!(event.json::<Value>().expect("JSON"), json!({"id": 7, "name": "name 7"}));
    assert_eq!((event.user_id(), event.tags().next()), (Some("import"), Some("old")));
}

#[test]
fn a_migration_that_was_interrupted_doubled_its_rows() {
    let folder = TempFolder::new();
    let url = format!("file:{}", folder.path().display());
    let broken = || {
        rows(1, 700).chain([Err(RowError::Source {
            message: "the disk is gone".to_owned(),
        })])
    };
    let store = Store::open_url(&url).expect("it opens");
    let error = migration(&store).run(broken()).expect_err("the source ends");
    let MigrationError::Source { report, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((report.read, report.migrated), (700, 700), "what was read is stored");
    assert!(
        error
            .to_string()
            .contains("the disk is gone; until then, 700 rows read: 700 migrated"),
        "{error}"
    );
    drop(store);
    let store = Store::open_url(&url).expect("it opens again");
    let report = migration(&store).run(rows(1, 900)).expect("it ends");
    assert_eq!((report.migrated, report.already_migrated), (200, 700));
    assert_eq!(store.read_all().events().len(), 900);
    let again = migration(&store).run(rows(1, 900)).expect("it ends");
    assert_eq!(
        (again.migrated, again.already_migrated, again.last_position),
        (0, 900, None)
    );
}

#[test]
fn a_crash_at_any_append_loses_and_doubles_nothing() {
    for nth in 1..=4 {
        for effect in [Effect::Fail, Effect::CommitThenTimeout] {
            let store = Store::in_memory();
            let faults = Faults::new([Fault::new(Operation::Append, effect).nth(nth)]).expect("it is fine");
            let error = migration(&store.with_faults(&faults))
                .run(rows(1, 1_000))
                .expect_err("an append fails");
            assert!(matches!(error, MigrationError::Store { .. }), "{error}");
            let report = migration(&store).run(rows(1, 1_000)).expect("it ends");
            assert_eq!(
                (
                    report.migrated + report.already_migrated,
                    store.read_all().events().len()
                ),
                (1_000, 1_000)
            );
        }
    }
}

#[test]
fn a_second_row_of_an_id_was_dropped_without_a_word() {
    let store = Store::in_memory();
    let same = [
        json!({"id": 1, "name": "a"}),
        json!({"id": 1, "name": "b"}),
        json!({"id": 2}),
        json!({"id": 2}),
    ];
    let report = migration(&store).run(same.into_iter().map(Ok)).expect("it ends");
    assert_eq!(
        (report.migrated, report.already_migrated, report.refused_count),
        (2, 1, 1)
    );
    let refused = report.refused[0].to_string();
    assert!(
        refused.starts_with("row 2: aggregate 'customer-1' was migrated with other data, at position 1"),
        "{refused}"
    );
    // In another run, too.
    let changed = migration(&store)
        .run([Ok(json!({"id": 1, "name": "c"}))])
        .expect("it ends");
    assert!(
        changed.refused[0].reason.contains("the row has changed since"),
        "{changed:?}"
    );
}

#[test]
fn what_the_store_has_is_not_touched() {
    let store = Store::in_memory();
    let customer = |id: &str| StreamId::new("Customer", id);
    store
        .append(
            &customer("customer-1"),
            Expected::Any,
            vec![NewEvent::new("CustomerMoved")],
        )
        .expect("appended");
    store
        .append(
            &StreamId::new("Order", "customer-2"),
            Expected::Any,
            vec![NewEvent::new("Placed")],
        )
        .expect("appended");
    for id in ["customer-3", "customer-4"] {
        store
            .append(&customer(id), Expected::Any, vec![NewEvent::new("CustomerMoved")])
            .expect("appended");
    }
    store.delete("customer-3", Expected::Any).expect("deleted");
    store.tombstone("customer-4", Expected::Any).expect("deleted for good");
    let report = migration(&store).run(rows(1, 5)).expect("it ends");
    assert_eq!((report.migrated, report.refused_count), (1, 4));
    let reasons: Vec<_> = report
        .refused
        .iter()
        .map(|refused| (refused.row, refused.reason.as_str()))
        .collect();
    for (row, told) in [
        (1, "'customer-1' exists already"),
        (2, "'customer-2'"),
        (
            3,
            "'customer-3' was deleted in the store, and a migration does not create it again",
        ),
        (
            4,
            "'customer-4' was deleted in the store, and a migration does not create it again",
        ),
    ] {
        assert!(
            reasons.iter().any(|(at, reason)| *at == row && reason.contains(told)),
            "{row}: {reasons:?}"
        );
    }
}

#[test]
fn a_customer_who_was_deleted_after_the_migration_came_back() {
    let store = Store::in_memory();
    migration(&store).run(rows(1, 3)).expect("it ends");
    store.delete("customer-2", Expected::Any).expect("deleted");
    let report = migration(&store).run(rows(1, 3)).expect("it ends");
    assert_eq!((report.already_migrated, report.refused_count), (2, 1));
    assert!(store.read_stream("customer-2").events().is_empty());
}

#[test]
fn later_events_follow_and_stay() {
    let store = Store::in_memory();
    migration(&store).run(rows(1, 1)).expect("it ends");
    let stream = StreamId::new("Customer", "customer-1");
    store
        .append(
            &stream,
            Expected::Exactly(Version(1)),
            vec![NewEvent::new("CustomerMoved")],
        )
        .expect("appended");
    assert_eq!(migration(&store).run(rows(1, 1)).expect("it ends").already_migrated, 1);
    let types: Vec<_> = store
        .read_stream("customer-1")
        .events()
        .iter()
        .map(|event| event.event_type().to_owned())
        .collect();
    assert_eq!(types, ["CustomerMigrated", "CustomerMoved"]);
}

#[test]
fn rows_that_cannot_be_are_reported_and_the_others_migrated() {
    let store = Store::in_memory();
    let lines = "{\"id\": 1}\n\nno JSON\n[1]\n{\"name\": \"x\"}\n{\"id\": 2}";
    let report = migration(&store).run(json_lines(lines.as_bytes())).expect("it ends");
    assert_eq!((report.read, report.migrated, report.refused_count), (5, 2, 3));
    let told: Vec<_> = report.refused.iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("row 2: it is not JSON: "), "{told:?}");
    assert_eq!(told[1..], ["row 3: it is not a JSON object", "row 4: it has no id"]);
    assert_eq!(
        report.to_string(),
        "5 rows read: 2 migrated, 0 already migrated, 3 refused"
    );
    // More than a report lists.
    let many = migration(&store)
        .run((0..1_500).map(|_| Ok(json!({}))))
        .expect("it ends");
    assert_eq!((many.refused_count, many.refused.len()), (1_500, 1_000));
    // Names that no store takes.
    let long = Migration::new(&store, "long", |_: &Value| {
        Ok(Migrated::new("Customer", "x".repeat(10_000)))
    });
    assert_eq!(long.run(rows(1, 2)).expect("it ends").refused_count, 2);
}

#[test]
fn csv_is_read_with_its_header() {
    let read = |text: &str| -> Vec<Result<Value, RowError>> { csv(text.as_bytes()).collect() };
    let rows = read("id,name\n1,\"a, \"\"b\"\"\nc\"\n2\n3,ü\r\n");
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0], Ok(json!({"id": "1", "name": "a, \"b\"\nc"})));
    assert_eq!(
        rows[1],
        Err(RowError::Row {
            message: "it has 1 fields, and the header 2".to_owned()
        })
    );
    assert_eq!(rows[2], Ok(json!({"id": "3", "name": "ü"})));
    assert_eq!(read(""), []);
    assert_eq!(read("id,name\n"), []);
    let bytes = csv(&b"id\n\xff\n1\n"[..]).collect::<Vec<_>>();
    assert!(
        matches!(&bytes[0], Err(RowError::Row { message: reason }) if reason.contains("UTF-8")),
        "{bytes:?}"
    );
    assert_eq!(bytes[1], Ok(json!({"id": "1"})));
    let header = csv(&b"\xff\n1\n"[..]).collect::<Vec<_>>();
    assert!(matches!(&header[..], [Err(RowError::Source { .. })]), "{header:?}");
}

#[test]
fn a_line_without_an_end_took_all_the_memory() {
    let endless = std::io::Read::take(std::io::repeat(b' '), u64::MAX);
    let rows: Vec<_> = json_lines(endless).collect();
    assert_eq!(
        rows,
        [Err(RowError::Source {
            message: "a line is longer than 16777216 bytes, which is the maximum of a row".to_owned()
        })]
    );
}

#[test]
fn a_full_store_ends_the_migration_with_what_was_done() {
    let budget = Budget::default().events(300).when_full(WhenFull::Refuse);
    let store = Store::builder()
        .settings(Settings::default().budget(budget))
        .open()
        .expect("it opens");
    let told = Cell::new(0);
    let error = migration(&store)
        .on_progress(|report| told.set(report.migrated))
        .run(rows(1, 600))
        .expect_err("it is full");
    assert!(
        error.to_string().contains("the store is full") && error.to_string().contains("256 migrated"),
        "{error}"
    );
    assert_eq!(told.get(), 256);
}

#[test]
fn times_of_the_rows_are_kept() {
    let store = Store::in_memory();
    let at: annals::Timestamp = "2019-05-01T09:00:00.000001Z".parse().expect("a time");
    let migration = Migration::new(&store, "customers", |_: &Value| {
        Ok(Migrated::new("Customer", "customer-1").timestamp(at))
    });
    migration.run(rows(1, 1)).expect("it ends");
    let event: Event = store.read_stream("customer-1").events().remove(0);
    assert_eq!(event.timestamp(), at);
    assert!(event.recorded_at() > at);
}
