//! Records of commands: what has one, what it says, who sees it, and what happens when it cannot be written.

use std::sync::Arc;

use annals::cqrs::audit::{AuditChain, CommandLog, CommandOutcome, CommandRecord};
use annals::cqrs::middleware::authorize;
use annals::cqrs::{Aggregates, CommandBus, CommandError, Context, DispatchError, Executed, Message, Retry};
use annals::journal::file::FileJournal;
use annals::{Budget, Error, Event, Expected, Limits, Position, Query, Store, StreamId, WhenFull};
use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use super::{head, rich, verify};
use crate::cqrs::{Account, AccountCommand};
use crate::support::{TempFolder, with_budget, with_limits};

fn records(store: &Store) -> Vec<(Event, CommandRecord)> {
    let query = Query::all().include_system().event_type("$command");
    let events = store.query(query).events().expect("valid");
    let parse = |event: Event| {
        let record = event.json().expect("a record");
        (event, record)
    };
    events.into_iter().map(parse).collect()
}

fn outcomes(store: &Store) -> Vec<(String, CommandOutcome)> {
    let told = |(_, record): (Event, CommandRecord)| (record.command, record.outcome);
    records(store).into_iter().map(told).collect()
}

fn anna() -> Context {
    Context::new()
        .user("anna")
        .organization("acme")
        .correlation("c-1")
        .causation("request-9")
}

#[test]
fn a_rejected_command_left_no_trace() {
    let store = Store::in_memory();
    let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
    let accounts = accounts.with_context(anna());
    accounts
        .execute("a", &AccountCommand::Exchange(0, 8))
        .expect("accepted");
    accounts
        .execute("a", &AccountCommand::Withdraw(900))
        .expect_err("too much");
    accounts.execute("a", &AccountCommand::Audit).expect("no event");
    store
        .append(&StreamId::new("Other", "b"), Expected::Any, rich_event())
        .expect("appended");
    accounts
        .execute("b", &AccountCommand::Deposit(1))
        .expect_err("another type");

    let records = records(&store);
    let told: Vec<_> = records
        .iter()
        .map(|(_, record)| (record.command.as_str(), record.outcome.as_str()))
        .collect();
    let expected = [
        ("Exchange", "accepted"),
        ("Withdraw", "rejected"),
        ("Audit", "accepted"),
        ("Deposit", "failed"),
    ];
    assert_eq!(told, expected);
    let (event, accepted) = &records[0];
    assert_eq!((event.user_id(), event.organization_id()), (Some("anna"), Some("acme")));
    assert_eq!(
        (event.correlation_id(), event.causation_id()),
        (Some("c-1"), Some("request-9"))
    );
    assert_eq!(
        (event.aggregate_type(), event.aggregate_id()),
        ("$command", "$$command:a")
    );
    assert_eq!(
        (accepted.first_position, accepted.last_position),
        (Some(Position(1)), Some(Position(2)))
    );
    assert_eq!(
        accepted.payload.as_ref().map(|payload| payload.get()),
        Some(r#"{"Exchange":[0,8]}"#)
    );
    assert_eq!((&accepted.reason, accepted.repeated), (&None, false));
    let rejected = &records[1].1;
    assert!(rejected.reason.as_ref().is_some_and(|reason| !reason.is_empty()));
    assert_eq!(
        (rejected.first_position, rejected.aggregate_id.as_deref()),
        (None, Some("a"))
    );
    assert_eq!(records[2].1.first_position, None);
    assert!(
        records[3]
            .1
            .reason
            .as_ref()
            .expect("a reason")
            .contains("is of type 'Other'")
    );
}

fn rich_event() -> Vec<annals::NewEvent<'static>> {
    vec![annals::NewEvent::new("Made")]
}

#[test]
fn a_repeated_command_and_one_without_payload_are_told_apart() {
    let store = Store::in_memory();
    let log = CommandLog::new(&store).without_payloads();
    let accounts = log.aggregates(&Aggregates::<Account>::new(&store));
    let id = Uuid::from_u128(7);
    let first = accounts
        .execute_once(id, "a", &AccountCommand::Deposit(5))
        .expect("accepted");
    let again = accounts
        .execute_once(id, "a", &AccountCommand::Deposit(5))
        .expect("repeated");
    assert_eq!(
        first.appended.map(|appended| appended.first_position),
        again.appended.map(|appended| appended.first_position)
    );
    accounts
        .execute_once(id, "a", &AccountCommand::Deposit(6))
        .expect_err("another command");
    let pending = accounts.execute_async("a", &AccountCommand::Withdraw(1), annals::Durability::Volatile);
    assert_eq!(pending.expect("accepted").executed.version.0, 2);
    let records = records(&store);
    let told: Vec<_> = records
        .iter()
        .map(|(_, record)| {
            (
                record.outcome,
                record.repeated,
                record.command_id.is_some(),
                record.payload.is_none(),
            )
        })
        .collect();
    let expected = [
        (CommandOutcome::Accepted, false, true, true),
        (CommandOutcome::Accepted, true, true, true),
        (CommandOutcome::Failed, false, true, true),
        (CommandOutcome::Accepted, false, false, true),
    ];
    assert_eq!(told, expected);
}

#[test]
fn records_reached_readers_of_all_events() {
    let store = Store::in_memory();
    let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
    let mut tail = store.tail(Query::all(), Position(0)).expect("valid");
    for _ in 0..3 {
        accounts.execute("a", &AccountCommand::Deposit(5)).expect("accepted");
    }
    assert_eq!(store.read_all().events().len(), 3);
    assert_eq!(store.query(Query::all()).count().expect("valid"), 3);
    assert_eq!(tail.try_batch(100).len(), 3);
    assert_eq!(store.read_stream("a").events().len(), 3);
    assert_eq!(store.stats().events, 3);
    assert_eq!(accounts.aggregates().load("a").expect("loaded").version.0, 3);
    // They are events of the log for those who ask, and part of the chain.
    assert_eq!(store.read_all().include_system().events().len(), 6);
    assert_eq!(AuditChain::of(&store).expect("whole").count(), 6);
    // No user can forge one.
    let forged = annals::NewEvent::new("$command");
    for id in ["a", "$$command:a"] {
        let refused = store.append(&StreamId::new("Account", id), Expected::Any, vec![forged.clone()]);
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{id}");
    }
}

#[test]
fn a_record_that_cannot_be_written_failed_the_command_or_vanished() {
    let limits = Limits::default().payload_bytes_max(120);
    let store = with_limits(limits);
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let log = CommandLog::new(&store)
        .on_error(move |record, error| sink.lock().push((record.command.clone(), error.to_string())));
    let accounts = log.aggregates(&Aggregates::<Account>::new(&store));
    let executed = accounts
        .execute("a", &AccountCommand::Deposit(5))
        .expect("its result stands");
    assert_eq!(executed.version.0, 1);
    accounts
        .execute("a", &AccountCommand::Withdraw(50))
        .expect_err("its rejection stands");
    assert_eq!((log.failures(), records(&store).len()), (2, 0));
    let told = told.lock().clone();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].0, "Deposit");
    assert!(told[0].1.contains("at most 120"), "{}", told[0].1);

    // A store that is full: neither fits, and both say so.
    let budget = Budget::default().bytes(2_000).when_full(WhenFull::Refuse);
    let store = with_budget(budget);
    let log = CommandLog::new(&store).on_error(|_, error| assert!(matches!(error, Error::Full { .. }), "{error}"));
    let accounts = log.aggregates(&Aggregates::<Account>::new(&store));
    let executed = (0..50).filter(|_| accounts.execute("a", &AccountCommand::Deposit(5)).is_ok());
    let executed = executed.count() as u64;
    assert!(executed > 0 && log.failures() > 0, "{executed}");
    assert_eq!(records(&store).len() as u64 + log.failures(), 50);
    assert_eq!(store.read_stream("a").events().len() as u64, executed);

    // A closed store: the command fails, and so does its record.
    let store = Store::in_memory();
    let log = CommandLog::new(&store).on_error(|_, _| ());
    let accounts = log.aggregates(&Aggregates::<Account>::new(&store));
    store.close().expect("closed");
    let error = accounts
        .execute("a", &AccountCommand::Deposit(5))
        .expect_err("it is closed");
    assert!(matches!(error, CommandError::Store(Error::Closed)), "{error}");
    assert_eq!(log.failures(), 1);
}

#[test]
fn records_are_there_after_a_restart_and_go_with_the_budget() {
    let folder = TempFolder::new();
    let open = || Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store");
    let store = open();
    let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
    for amount in 1..=20 {
        accounts
            .execute("a", &AccountCommand::Deposit(amount))
            .expect("accepted");
    }
    accounts
        .execute("a", &AccountCommand::Withdraw(9_000))
        .expect_err("too much");
    rich(&store, 5);
    store.delete("a", Expected::Any).expect("deleted");
    let (before, told) = (store.read_all().include_system().events(), outcomes(&store));
    assert_eq!(told.len(), 21);
    store.close().expect("closed");
    drop((store, accounts));
    let store = open();
    assert_eq!(store.read_all().include_system().events(), before);
    assert_eq!(outcomes(&store), told);
    // The next record continues the stream of commands.
    let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
    accounts.execute("a", &AccountCommand::Deposit(1)).expect("accepted");
    assert_eq!(records(&store).last().expect("a record").0.version().0, 22);

    let budget = Budget::default().bytes(100_000).when_full(WhenFull::DropOldest);
    let store = with_budget(budget);
    let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
    for number in 0..2_000 {
        accounts
            .execute(&format!("a-{number}"), &AccountCommand::Deposit(1))
            .expect("accepted");
    }
    let left = records(&store).len();
    assert!((50..800).contains(&left), "{left}");
}

#[test]
fn records_of_dropped_commands_were_damage() {
    // Commands that a budget dropped leave marks in the compacted journal; recovery reads them.
    let folder = TempFolder::new();
    let open = || {
        let settings = annals::journal::file::FileSettings::default()
            .segment_bytes(4_096)
            .preallocate_bytes(0);
        let budget = Budget::default().bytes(60_000).when_full(WhenFull::DropOldest);
        let builder = Store::builder().settings(annals::Settings::default().budget(budget));
        let journal = FileJournal::open_with(folder.path(), settings).expect("a journal");
        builder.journal(journal).open().expect("a store")
    };
    let store = open();
    let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
    for number in 0..1_500 {
        let id = format!("a-{}", number % 700);
        accounts
            .execute_once(Uuid::from_u128(number), &id, &AccountCommand::Deposit(1))
            .ok();
    }
    store.wait_durable(store.visible()).expect("durable");
    store.compact_journal().expect("compacted");
    let before = store.read_all().include_system().events();
    store.close().expect("closed");
    drop((store, accounts));
    let store = open();
    assert_eq!(store.read_all().include_system().events(), before);
    store.close().expect("closed");
    drop(store);
    let found = annals::journal::file::verify(folder.path(), &mut |_, _| ()).expect("verified");
    assert_eq!(found.damage, []);
}

#[test]
fn a_command_that_panicked_left_no_trace() {
    #[derive(Default)]
    struct Fuse;

    impl annals::cqrs::Aggregate for Fuse {
        const TYPE: &'static str = "Fuse";
        type Event = crate::cqrs::AccountEvent;
        type Command = ();
        type Rejection = String;

        fn initial() -> Self {
            Self
        }

        fn decide(&self, (): &()) -> Result<Vec<Self::Event>, String> {
            panic!("it blew")
        }

        fn evolve(&mut self, _: Self::Event) {}
    }

    let store = Store::in_memory();
    let fuses = CommandLog::new(&store).aggregates(&Aggregates::<Fuse>::new(&store));
    let execute = std::panic::AssertUnwindSafe(|| fuses.execute("a", &()).map(drop));
    let panic = std::panic::catch_unwind(execute).expect_err("it panics as before");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"it blew"));
    let (_, record) = &records(&store)[0];
    assert_eq!(record.outcome, CommandOutcome::Failed);
    assert_eq!(record.reason.as_deref(), Some("the command panicked: it blew"));
}

#[derive(Serialize)]
struct Deposit {
    account: String,
    amount: u64,
}

impl Message for Deposit {
    type Bus = CommandBus;
    type Reply = Executed;
    type Error = CommandError<String>;
    const NAME: &'static str = "Deposit";
}

/// A command that cannot be serialized, and panics.
struct Explode;

impl Message for Explode {
    type Bus = CommandBus;
    type Reply = ();
    type Error = String;
    const NAME: &'static str = "Explode";
}

#[test]
fn a_bus_recorded_only_what_its_handlers_saw() {
    let store = Store::in_memory();
    let accounts = Aggregates::<Account>::new(&store).retry(Retry::never());
    let layer = CommandLog::new(&store).bus().describe::<Deposit>(
        |message| Some(StreamId::new("Account", message.account.as_str())),
        |error| matches!(error, CommandError::Rejected(_)),
    );
    let bus = CommandBus::builder()
        .layer(layer.layer())
        .layer(authorize(|_, context| {
            context.user.as_ref().map(drop).ok_or("no user".to_owned())
        }))
        .handle(move |message: &Deposit, context| {
            let accounts = accounts.with_context(context.clone());
            match message.amount {
                0 => accounts.execute(&message.account, &AccountCommand::Withdraw(1_000)),
                amount => accounts.execute(&message.account, &AccountCommand::Deposit(amount)),
            }
        })
        .handle(|_: &Explode, _| panic!("boom"))
        .build()
        .expect("a bus");
    let deposit = |amount| Deposit {
        account: "a".into(),
        amount,
    };
    bus.dispatch(&deposit(5), &anna()).expect("accepted");
    bus.dispatch(&deposit(0), &anna()).expect_err("rejected");
    let refused = bus.dispatch(&deposit(5), &Context::new().correlation("c-2"));
    assert!(matches!(refused, Err(DispatchError::Refused { .. })));
    let panicked = bus.dispatch(&Explode, &anna());
    assert!(matches!(panicked, Err(DispatchError::Panicked { .. })));

    let records = records(&store);
    let told: Vec<_> = records
        .iter()
        .map(|(event, record)| (record.command.as_str(), record.outcome.as_str(), event.user_id()))
        .collect();
    let expected = [
        ("Deposit", "accepted", Some("anna")),
        ("Deposit", "rejected", Some("anna")),
        ("Deposit", "rejected", None),
        ("Explode", "failed", Some("anna")),
    ];
    assert_eq!(told, expected);
    assert_eq!(records[0].1.first_position, Some(Position(1)));
    assert_eq!(
        records[0].1.payload.as_ref().map(|payload| payload.get()),
        Some(r#"{"account":"a","amount":5}"#)
    );
    assert!(records[2].1.reason.as_ref().expect("a reason").contains("no user"));
    assert_eq!(records[2].0.correlation_id(), Some("c-2"));
    assert_eq!(
        (&records[3].1.aggregate_id, records[3].0.aggregate_id()),
        (&None, "$$command:")
    );
    assert!(records[3].1.reason.as_ref().expect("a reason").contains("boom"));
}

#[test]
fn long_payloads_and_reasons_filled_the_log() {
    #[derive(Serialize)]
    struct Long(String);

    impl Message for Long {
        type Bus = CommandBus;
        type Reply = ();
        type Error = String;
        const NAME: &'static str = "Long";
    }

    let store = Store::in_memory();
    let layer = CommandLog::new(&store).bus().describe::<Long>(|_| None, |_| true);
    let bus = CommandBus::builder()
        .layer(layer.layer())
        .handle(|message: &Long, _| Err("ü".repeat(message.0.len())))
        .build()
        .expect("a bus");
    for bytes in [10, 70_000] {
        bus.dispatch(&Long("x".repeat(bytes)), &Context::new())
            .expect_err("rejected");
    }
    let records = records(&store);
    assert_eq!(
        (records[0].1.payload.is_some(), records[0].1.payload_bytes),
        (true, None)
    );
    assert_eq!(
        (records[1].1.payload.is_some(), records[1].1.payload_bytes),
        (false, Some(70_002))
    );
    let reason = records[1].1.reason.as_ref().expect("a reason");
    assert!(reason.len() < 2_100 && reason.ends_with("ü…"), "{}", reason.len());
    // A changed record is found as any other event.
    let head = head(&store);
    verify(&store, &head).expect("whole");
}
