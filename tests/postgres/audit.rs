//! The hash chain over a store in PostgreSQL: what it returns is what was hashed, and a row that SQL changes is found.

use annals::cqrs::audit::{AuditChain, AuditKey, CommandLog, Head, Verify, VerifyError};
use annals::cqrs::{Aggregate, Aggregates};
use annals::{ContentType, Expected, NewEvent, Position, Query, Store, StreamId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::follow::follow;
use crate::support::Schema;

const COUNT: u64 = 1_300;

fn key() -> AuditKey {
    AuditKey::from_bytes([7; 32])
}

fn open(schema: &Schema) -> Store {
    Store::open(schema.journal().expect("a journal")).expect("a store")
}

fn head(store: &Store) -> Head {
    AuditChain::of(store).expect("whole").head(&key(), store.now())
}

fn check(store: &Store, head: &Head) -> Result<u64, VerifyError> {
    let public = key().public();
    Verify::new(head, &public).run(store).map(|verified| verified.count)
}

/// Times finer than a microsecond, equal times, nested keys in an order that `jsonb` changes, numbers that it would write in another way, escapes,
/// keys twice, and data that are no JSON.
fn fill(store: &Store) {
    let data = [
        r#"{"zz":1,"a":{"y":1,"x":[1,2.50,1e3]},"b":null}"#,
        r#"{"a":1,"a":2}"#,
        r#"{ "spaces" : "é\u0000\u00e9" }"#,
        r#"{"amount":250}"#,
        "no json",
    ];
    let stream = StreamId::new("Order", "order-1");
    let time: Timestamp = "2026-01-31T12:00:00.123456789Z".parse().expect("a time");
    let events: Vec<_> = (0..COUNT)
        .map(|number| {
            let place = usize::try_from(number).expect("small") % data.len();
            let event = NewEvent::new("Placed")
                .timestamp(time)
                .data(data[place])
                .metadata(r#"{"z":1.0,"aa":{"b":2,"a":1}}"#);
            match place {
                4 => event.content_type(ContentType::from("text/plain")),
                _ => event.user("anna").correlation("c-1").tag("x y").tag("a"),
            }
        })
        .collect();
    store.append(&stream, Expected::Any, events).expect("appended");
}

#[test]
fn a_store_that_was_opened_again_failed_every_honest_entry() {
    let schema = Schema::new();
    let store = open(&schema);
    fill(&store);
    let before = head(&store);
    assert_eq!(check(&store, &before), Ok(COUNT));
    store.close().expect("closed");
    drop(store);
    let store = open(&schema);
    assert_eq!(check(&store, &before), Ok(COUNT));
    assert_eq!(head(&store).tip, before.tip);
    let follower = follow(&schema);
    follower.wait_visible(Position(COUNT));
    assert_eq!(check(&follower, &before), Ok(COUNT));
    // The memory of another store has other ids and recording times, and so another chain.
    let memory = Store::in_memory();
    fill(&memory);
    assert!(matches!(check(&memory, &before), Err(VerifyError::OtherStore { .. })));
}

#[test]
fn a_row_that_sql_changed_was_not_seen() {
    for (number, sql) in [
        "UPDATE events SET data = '{\"amount\": 950}' WHERE position = 4",
        "UPDATE events SET user_id = 'ben' WHERE position = 1026",
        "UPDATE events SET occurred_at = occurred_at + interval '1 microsecond' WHERE position = 1300",
        "UPDATE events SET recorded_at = recorded_at - interval '1 microsecond' WHERE position = 700",
        "UPDATE events SET metadata = '{\"z\": 1.1}', metadata_bytes = NULL WHERE position = 2",
    ]
    .into_iter()
    .enumerate()
    {
        let schema = Schema::new();
        let store = open(&schema);
        fill(&store);
        let before = head(&store);
        store.close().expect("closed");
        drop(store);
        schema.sql(sql);
        let fault = check(&open(&schema), &before).expect_err(sql);
        let block = if number == 1 || number == 2 {
            (1_025, 1_300)
        } else {
            (1, 1_024)
        };
        let expected = VerifyError::Changed {
            first: Position(block.0),
            last: Position(block.1),
        };
        assert_eq!(fault, expected, "{sql}");
    }
}

#[derive(Default)]
struct Door;

#[derive(Serialize, Deserialize)]
enum DoorEvent {
    Opened,
}

#[derive(Serialize)]
enum DoorCommand {
    Open,
    Break,
}

impl Aggregate for Door {
    const TYPE: &'static str = "Door";
    type Event = DoorEvent;
    type Command = DoorCommand;
    type Rejection = String;

    fn initial() -> Self {
        Self
    }

    fn decide(&self, command: &DoorCommand) -> Result<Vec<DoorEvent>, String> {
        match command {
            DoorCommand::Open => Ok(vec![DoorEvent::Opened]),
            DoorCommand::Break => Err("it is of steel".to_owned()),
        }
    }

    fn evolve(&mut self, _: DoorEvent) {}
}

#[test]
fn records_of_commands_are_rows_that_recovery_knows() {
    let schema = Schema::new();
    let store = open(&schema);
    let doors = CommandLog::new(&store).aggregates(&Aggregates::<Door>::new(&store));
    for _ in 0..20 {
        doors.execute("door-1", &DoorCommand::Open).expect("accepted");
        doors.execute("door-1", &DoorCommand::Break).expect_err("rejected");
    }
    let (before, whole) = (head(&store), store.read_all().include_system().events());
    assert_eq!(
        (before.tip.count, whole.len(), store.read_all().events().len()),
        (60, 60, 20)
    );
    store.close().expect("closed");
    drop((store, doors));
    let store = open(&schema);
    assert_eq!(store.read_all().include_system().events(), whole);
    assert_eq!(check(&store, &before), Ok(60));
    let rejected =
        schema.value("SELECT count(*) FROM events WHERE event_type = '$command' AND data->>'outcome' = 'rejected'");
    assert_eq!(rejected, "20");
    // The streams of commands go on, and a follower reads them.
    let doors = CommandLog::new(&store).aggregates(&Aggregates::<Door>::new(&store));
    doors.execute("door-1", &DoorCommand::Open).expect("accepted");
    let follower = follow(&schema);
    follower.wait_visible(Position(62));
    assert_eq!(follower.read_all().include_system().events().len(), 62);
}

#[test]
fn records_that_a_budget_dropped_leave_the_table_and_the_others_stay() {
    let schema = Schema::new();
    let open = || {
        let budget = annals::Budget::default()
            .bytes(40_000)
            .when_full(annals::WhenFull::DropOldest);
        let settings = annals::Settings::default().budget(budget);
        let builder = Store::builder().settings(settings);
        let journal = schema.journal().expect("a journal");
        builder.journal(journal).open().expect("a store")
    };
    let store = open();
    let doors = CommandLog::new(&store).aggregates(&Aggregates::<Door>::new(&store));
    for number in 0..400 {
        doors
            .execute(&format!("door-{}", number % 150), &DoorCommand::Open)
            .ok();
    }
    store.wait_durable(store.visible()).expect("durable");
    store.compact_journal().expect("compacted");
    let rows = |kind: &str| -> u64 {
        let text = format!("SELECT count(*) FROM events WHERE event_type {kind} '$command'");
        schema.value(&text).parse().expect("a number")
    };
    assert!(rows("=") < 250 && rows("<>") < 250, "{} and {}", rows("="), rows("<>"));
    let (before, gaps) = (store.read_all().include_system().events(), store.gaps());
    store.close().expect("closed");
    drop((store, doors));
    let store = open();
    assert_eq!(store.read_all().include_system().events(), before);
    let dropped = |gaps: &[annals::Gap]| gaps.iter().map(|gap| gap.count).sum::<u64>();
    assert_eq!(dropped(&store.gaps()), dropped(&gaps));
    // Versions of streams whose records are all gone are not used again.
    let doors = CommandLog::new(&store).aggregates(&Aggregates::<Door>::new(&store));
    let executed = doors.execute("door-149", &DoorCommand::Break).map(drop);
    assert!(executed.is_err());
    let last = store
        .query(Query::all().include_system().event_type("$command"))
        .events()
        .expect("valid");
    assert!(last.last().expect("a record").version().0 > 2, "{last:?}");
}

#[test]
fn a_follower_lost_records_without_a_word() {
    let schema = Schema::new();
    let store = open(&schema);
    fill(&store);
    store.close().expect("closed");
    drop(store);
    let follower = follow(&schema);
    follower.wait_visible(Position(COUNT));
    let told = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let sink = std::sync::Arc::clone(&told);
    let log = CommandLog::new(&follower).on_error(move |_, error| sink.lock().push(error.to_string()));
    let doors = log.aggregates(&Aggregates::<Door>::new(&follower));
    doors.execute("door-1", &DoorCommand::Open).expect("its result stands");
    assert_eq!(log.failures(), 1);
    let told = told.lock().join("; ");
    assert!(told.contains("writes no records of commands"), "{told}");
}
