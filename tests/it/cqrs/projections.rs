//! Projections: on a thread, inline, and on demand; what they do when something fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals::cqrs::{
    Aggregates, CommandError, HandlerError, Live, LiveError, OnFailure, ProcessorState, Processors, Projection, Row,
    StartError, StopReason, Table, WaitError,
};
use annals::{Event, Expected, Gap, NewEvent, Position, Query, Store, StreamId};
use parking_lot::{Condvar, Mutex};

use super::{Account, AccountCommand, AccountEvent};

/// Long enough on any machine: what is waited for comes at once.
const SOON: Duration = Duration::from_secs(30);

/// The balance of each account.
#[derive(Default)]
struct Balances {
    rows: Table<String, Balance>,
    fails_at: Option<u64>,
    heals: Arc<AtomicBool>,
}

#[derive(Clone, Debug, PartialEq)]
struct Balance(u64);

impl Row for Balance {
    type Secondary = bool;

    /// Whether it is empty.
    fn secondary_keys(&self) -> Vec<bool> {
        vec![self.0 == 0]
    }
}

impl Projection for Balances {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, record: &Event) -> Result<(), HandlerError> {
        if self.fails_at == Some(record.position().0) && !self.heals.load(Ordering::Relaxed) {
            return Err(HandlerError::transient("out of paper"));
        }
        let id = record.aggregate_id().to_owned();
        if self.rows.get(&id).is_none() {
            self.rows.insert(id.clone(), Balance(0));
        }
        self.rows.update(&id, |balance| match event {
            AccountEvent::Deposited { amount } => balance.0 += amount,
            AccountEvent::Withdrawn { amount } => balance.0 -= amount,
        });
        Ok(())
    }

    fn check(&self, event: &AccountEvent) -> Result<(), String> {
        match event {
            AccountEvent::Deposited { amount: 13 } => Err("13 is not lucky".to_owned()),
            AccountEvent::Deposited { .. } | AccountEvent::Withdrawn { .. } => Ok(()),
        }
    }
}

fn balance(balances: &Balances, id: &str) -> Option<u64> {
    balances.rows.get(&id.to_owned()).map(|balance| balance.0)
}

pub(crate) fn deposit(store: &Store, id: &str, amount: u64) -> Position {
    let done = Aggregates::<Account>::new(store).execute(id, &AccountCommand::Deposit(amount));
    done.expect("a deposit").appended.expect("an event").last_position
}

#[test]
fn a_projection_follows_the_log() {
    let store = Store::in_memory();
    deposit(&store, "a", 5);
    let processors = Processors::new(&store);
    let balances = processors
        .project("balances", Balances::default())
        .start()
        .expect("it starts");
    let last = deposit(&store, "b", 7);
    balances.when_processed(last, SOON).expect("it runs");
    let (sum, seen) = balances.read_at(|balances| (balance(balances, "a"), balance(balances, "b")));
    assert_eq!((sum, seen), ((Some(5), Some(7)), last));
    let withdrawn = Aggregates::<Account>::new(&store).execute("a", &AccountCommand::Withdraw(5));
    withdrawn.expect("it has 5");
    processors.when_caught_up(SOON).expect("it runs");
    let empty = balances.read(|balances| balances.rows.find(&true).map(|(id, _)| id.clone()).collect::<Vec<_>>());
    assert_eq!(empty, ["a"]);
    let status = balances.status();
    assert_eq!((status.lag_events, status.handled, status.lag), (0, 3, Duration::ZERO));
    // Nothing of it is in the store: it is built again at the next start.
    assert_eq!(store.visible(), Position(3));
    processors.end();
    assert_eq!(balances.status().state, ProcessorState::Ended);
    assert!(matches!(balances.when_caught_up(SOON), Ok(Position(3))));
    deposit(&store, "a", 1);
    assert!(matches!(
        balances.when_caught_up(SOON),
        Err(WaitError::NotRunning { .. })
    ));
}

#[test]
fn a_long_stretch_without_events_of_the_projection_left_its_position_behind() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let balances = processors
        .project("balances", Balances::default())
        .start()
        .expect("it starts");
    for _ in 0..50 {
        let noise = vec![NewEvent::new("Noted"); 1_000];
        store
            .append(&StreamId::new("Note", "n"), Expected::Any, noise)
            .expect("notes");
    }
    assert_eq!(balances.when_caught_up(SOON), Ok(Position(50_000)));
    assert_eq!(balances.status().handled, 0);
}

#[test]
fn a_projection_whose_type_is_no_enum_saw_no_event_and_said_nothing() {
    #[derive(serde::Deserialize)]
    struct Amount {
        #[expect(dead_code, reason = "it is never read")]
        amount: u64,
    }
    struct Amounts;
    impl Projection for Amounts {
        type Event = Amount;
        fn apply(&mut self, _: Amount, _: &Event) -> Result<(), HandlerError> {
            Ok(())
        }
    }
    let store = Store::in_memory();
    deposit(&store, "a", 5);
    let error = Live::new(&store, Amounts)
        .read(|_| ())
        .expect_err("it is a struct")
        .to_string();
    assert!(
        error.contains("the type is a struct: an event is read as a variant of an enum"),
        "{error}"
    );
}

#[test]
fn a_failure_stops_the_projection_with_event_and_reason() {
    let store = Store::in_memory();
    for amount in 1..=4 {
        deposit(&store, "a", amount);
    }
    let heals = Arc::new(AtomicBool::new(false));
    let failing = Balances {
        fails_at: Some(3),
        heals: Arc::clone(&heals),
        ..Balances::default()
    };
    let processors = Processors::new(&store);
    let builder = processors.project("balances", failing).on_failure(OnFailure::stop());
    let balances = builder.start().expect("it starts");
    let error = balances.when_caught_up(SOON).expect_err("it stops").to_string();
    assert!(
        error.contains("processor 'balances' is at position 0") || error.contains("is at position 2"),
        "{error}"
    );
    assert!(error.contains("position 3) of aggregate 'a': out of paper"), "{error}");
    let ProcessorState::Stopped(reason) = balances.status().state else {
        panic!("it stopped");
    };
    assert_eq!(reason.event().map(|event| event.position), Some(Position(3)));
    // What came before is applied once, and the rest when the cause is gone.
    assert_eq!(balances.read(|balances| balance(balances, "a")), Some(3));
    heals.store(true, Ordering::Relaxed);
    balances.resume();
    balances.when_caught_up(SOON).expect("it runs again");
    assert_eq!(balances.read(|balances| balance(balances, "a")), Some(10));
}

#[test]
fn an_event_that_fails_is_parked_where_the_policy_says_so() {
    let store = Store::in_memory();
    for amount in 1..=4 {
        deposit(&store, "a", amount);
    }
    let failing = Balances {
        fails_at: Some(3),
        ..Balances::default()
    };
    let processors = Processors::new(&store);
    let builder = processors.project("balances", failing).on_failure(OnFailure::park());
    let balances = builder.start().expect("it starts");
    balances.when_caught_up(SOON).expect("it goes on");
    assert_eq!(balances.read(|balances| balance(balances, "a")), Some(7));
    let (skipped, count) = balances.skipped();
    assert_eq!(
        (skipped[0].0.position(), skipped[0].1.as_str(), count),
        (Position(3), "out of paper", 1)
    );
    assert_eq!((balances.status().handled, balances.status().parked), (3, 1));
}

#[test]
fn an_event_that_does_not_decode_stops_the_projection() {
    let store = Store::in_memory();
    deposit(&store, "a", 1);
    let broken = NewEvent::new("Deposited").data(r#"{"amount":"much"}"#);
    store
        .append(&StreamId::new("Account", "b"), Expected::Any, broken)
        .expect("an event");
    let processors = Processors::new(&store);
    let balances = processors
        .project("balances", Balances::default())
        .start()
        .expect("it starts");
    let error = balances.when_caught_up(SOON).expect_err("it stops").to_string();
    assert!(
        error.contains("position 2") && error.contains("does not decode at 'amount'"),
        "{error}"
    );
    let live = Live::new(&store, Balances::default());
    let error = live.read(|_| ()).expect_err("it stops");
    assert!(
        matches!(&error, LiveError::Failed { event, .. } if event.position == Position(2)),
        "{error}"
    );
}

/// Panics at an event, and shares what it does with the test.
struct Panicking(Arc<AtomicU64>);

impl Projection for Panicking {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, _: &Event) -> Result<(), HandlerError> {
        let AccountEvent::Deposited { amount } = event else {
            panic!("withdrawals are not expected");
        };
        self.0.fetch_add(amount, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_panic_stops_the_projection_and_no_other() {
    let store = Store::in_memory();
    deposit(&store, "a", 5);
    let processors = Processors::new(&store);
    let sum = Arc::new(AtomicU64::new(0));
    let panicking = processors
        .project("panicking", Panicking(Arc::clone(&sum)))
        .start()
        .expect("it starts");
    let other = processors
        .project("other", Balances::default())
        .start()
        .expect("it starts");
    processors.when_caught_up(SOON).expect("both run");
    Aggregates::<Account>::new(&store)
        .execute("a", &AccountCommand::Withdraw(1))
        .expect("it has 5");
    let last = deposit(&store, "a", 2);
    other.when_processed(last, SOON).expect("it is not affected");
    let error = panicking
        .when_processed(last, SOON)
        .expect_err("it panicked")
        .to_string();
    assert!(
        error.contains("the handler panicked: withdrawals are not expected"),
        "{error}"
    );
    assert_eq!(sum.load(Ordering::Relaxed), 5);
    // On demand too, and the next read says so again.
    let live = Live::new(&store, Panicking(sum));
    for _ in 0..2 {
        assert!(matches!(live.read(|_| ()), Err(LiveError::Panicked { .. })));
    }
}

#[test]
fn events_that_are_gone_stop_a_projection_that_needs_them() {
    #[derive(Default)]
    struct Modest(Vec<(u64, u64)>);
    impl Projection for Modest {
        type Event = AccountEvent;
        fn apply(&mut self, _: AccountEvent, _: &Event) -> Result<(), HandlerError> {
            Ok(())
        }
        fn gap(&mut self, gap: &Gap) -> Result<(), HandlerError> {
            self.0.push((gap.first.0, gap.last.0));
            Ok(())
        }
    }
    let store = Store::in_memory();
    for _ in 0..5 {
        deposit(&store, "a", 1);
    }
    store.truncate_before("a", annals::Version(4)).expect("it exists");
    let processors = Processors::new(&store);
    let needs = processors
        .project("needs", Balances::default())
        .start()
        .expect("it starts");
    let error = needs.when_caught_up(SOON).expect_err("it stops").to_string();
    assert!(
        error.contains("3 events from position 1 to 3 are gone") && error.contains("Projection::gap"),
        "{error}"
    );
    let modest = processors
        .project("modest", Modest::default())
        .start()
        .expect("it starts");
    modest.when_caught_up(SOON).expect("it goes on");
    assert_eq!(modest.read(|modest| modest.0.clone()), [(1, 3)]);
    assert!(matches!(
        Live::new(&store, Balances::default()).read(|_| ()),
        Err(LiveError::Gap { .. })
    ));
}

#[test]
fn two_processors_of_one_name_are_refused() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let first = processors
        .project("balances", Balances::default())
        .start()
        .expect("it starts");
    let second = processors.clone().project("balances", Balances::default()).start();
    assert_eq!(
        second.map(|_| ()),
        Err(StartError::NameTaken {
            name: "balances".into()
        })
    );
    first.end();
    processors
        .project("balances", Balances::default())
        .start()
        .expect("the name is free");
    for name in ["", "a\u{7}b", &"x".repeat(201)] {
        let refused = processors.project(name, Balances::default()).start();
        assert!(matches!(refused, Err(StartError::InvalidName { .. })), "{name}");
    }
    let invalid = processors
        .project("limited", Balances::default())
        .query(Query::all().limit(1))
        .start();
    assert!(matches!(invalid, Err(StartError::Store(_))));
}

#[test]
fn a_paused_projection_stays_where_it_is() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let balances = processors
        .project("balances", Balances::default())
        .start()
        .expect("it starts");
    deposit(&store, "a", 1);
    balances.when_caught_up(SOON).expect("it runs");
    balances.pause();
    assert_eq!(balances.status().state, ProcessorState::Paused);
    let last = deposit(&store, "a", 1);
    assert!(matches!(
        balances.when_processed(last, SOON),
        Err(WaitError::NotRunning { .. })
    ));
    assert_eq!(balances.status().lag_events, 1);
    balances.resume();
    balances.when_processed(last, SOON).expect("it runs again");
    for _ in 0..50 {
        balances.pause();
        balances.resume();
    }
    let last = deposit(&store, "a", 1);
    balances.when_processed(last, SOON).expect("it runs again");
    assert_eq!(balances.read(|balances| balance(balances, "a")), Some(3));
    store.close().expect("nothing to write");
    balances.end();
}

/// Waits for the test before it applies an event.
#[derive(Default)]
struct Held {
    count: u64,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Projection for Held {
    type Event = AccountEvent;

    fn apply(&mut self, _: AccountEvent, _: &Event) -> Result<(), HandlerError> {
        let (open, changed) = &*self.gate;
        let mut open = open.lock();
        while !*open {
            changed.wait(&mut open);
        }
        self.count += 1;
        Ok(())
    }
}

fn open_gate(gate: &(Mutex<bool>, Condvar)) {
    *gate.0.lock() = true;
    gate.1.notify_all();
}

#[test]
fn a_handler_in_flight_at_a_rebuild_applied_its_event_twice() {
    let store = Store::in_memory();
    for _ in 0..3 {
        deposit(&store, "a", 1);
    }
    let held = Held::default();
    let gate = Arc::clone(&held.gate);
    let processors = Processors::new(&store);
    let counted = processors.project("held", held).start().expect("it starts");
    std::thread::scope(|scope| {
        let rebuilt = scope.spawn(|| {
            let fresh = Held::default();
            open_gate(&fresh.gate);
            counted.rebuild(fresh)
        });
        // The thread is in the middle of the first event, or before it: either way the rebuild waits for it at most.
        open_gate(&gate);
        assert_eq!(rebuilt.join().expect("no panic"), Ok(Position(3)));
    });
    let last = deposit(&store, "a", 1);
    counted.when_processed(last, SOON).expect("it runs");
    assert_eq!(counted.read(|held| held.count), 4);
}

#[test]
fn a_rebuild_that_fails_replaces_nothing() {
    let store = Store::in_memory();
    for _ in 0..3 {
        deposit(&store, "a", 1);
    }
    let processors = Processors::new(&store);
    let balances = processors
        .project("balances", Balances::default())
        .start()
        .expect("it starts");
    balances.when_caught_up(SOON).expect("it runs");
    let failing = Balances {
        fails_at: Some(2),
        ..Balances::default()
    };
    assert!(matches!(balances.rebuild(failing), Err(LiveError::Failed { .. })));
    assert_eq!(balances.read(|balances| balance(balances, "a")), Some(3));
    assert_eq!(balances.rebuild(Balances::default()), Ok(Position(3)));
    assert_eq!(balances.read(|balances| balance(balances, "a")), Some(3));
}

#[test]
fn a_handler_that_waits_for_its_own_projection_waited_forever() {
    #[derive(Default)]
    struct Waiting {
        own: Arc<Mutex<Option<annals::cqrs::Processor>>>,
        error: Option<WaitError>,
    }
    impl Projection for Waiting {
        type Event = AccountEvent;
        fn apply(&mut self, _: AccountEvent, record: &Event) -> Result<(), HandlerError> {
            let own = self
                .own
                .lock()
                .clone()
                .ok_or_else(|| HandlerError::transient("not yet"))?;
            self.error = own.when_processed(record.position(), SOON).err();
            Ok(())
        }
    }
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let waiting = Waiting::default();
    let own = Arc::clone(&waiting.own);
    let projected = processors.project("waiting", waiting).start().expect("it starts");
    *own.lock() = processors.get("waiting");
    let last = deposit(&store, "a", 1);
    projected
        .when_processed(last, SOON)
        .expect("it does not wait for itself");
    let error = projected.read(|waiting| waiting.error.clone());
    assert_eq!(error, Some(WaitError::OwnHandler { name: "waiting".into() }));
}

#[test]
fn a_read_on_demand_sees_what_the_store_shows() {
    let store = Store::in_memory();
    let live = Live::new(&store, Balances::default());
    for amount in 1..=20 {
        deposit(&store, "a", amount);
        let sum = (1..=amount).sum::<u64>();
        assert_eq!(live.read(|balances| balance(balances, "a")), Ok(Some(sum)));
    }
    live.reset(&store, Balances::default()).expect("the store is readable");
    assert_eq!(live.read(|balances| balance(balances, "a")), Ok(Some(210)));
}

#[test]
fn a_failing_inline_projection_aborts_the_append() {
    let store = Store::in_memory();
    let live = Live::new(&store, Balances::default());
    let accounts = Aggregates::<Account>::new(&store).inline(&live).inline(&live);
    accounts.execute("a", &AccountCommand::Deposit(5)).expect("a deposit");
    assert_eq!(live.read(|balances| balance(balances, "a")), Ok(Some(5)));
    let refused = accounts.execute("a", &AccountCommand::Deposit(13));
    assert_eq!(
        refused,
        Err(CommandError::Inline {
            reason: "13 is not lucky".to_owned()
        })
    );
    assert_eq!(store.visible(), Position(1));
    let together = annals::cqrs::Together::new(&store).execute(|work| {
        work.execute(&accounts, "a", &AccountCommand::Withdraw(5))?;
        work.execute(&accounts, "b", &AccountCommand::Deposit(13))
    });
    assert!(matches!(together, Err(CommandError::Inline { .. })));
    // An append that goes another way is seen by the next command; it makes the projection fail, and then no command is taken.
    let broken = NewEvent::new("Deposited").data("{}");
    store
        .append(&StreamId::new("Account", "x"), Expected::Any, broken)
        .expect("an event");
    let aborted = accounts
        .execute("a", &AccountCommand::Deposit(1))
        .expect_err("it has failed")
        .to_string();
    assert!(
        aborted.contains("inline projection refuses the command: the read model stopped at event"),
        "{aborted}"
    );
    assert_eq!(store.visible(), Position(2));
}

#[test]
fn inline_commands_of_many_threads_keep_a_unique_rule() {
    /// No two accounts have the same balance deposited at once: a rule over all aggregates.
    #[derive(Default)]
    struct Unique(std::collections::BTreeSet<u64>);
    impl Projection for Unique {
        type Event = AccountEvent;
        fn apply(&mut self, event: AccountEvent, _: &Event) -> Result<(), HandlerError> {
            if let AccountEvent::Deposited { amount } = event {
                self.0.insert(amount);
            }
            Ok(())
        }
        fn check(&self, event: &AccountEvent) -> Result<(), String> {
            match event {
                AccountEvent::Deposited { amount } if self.0.contains(amount) => Err("taken".to_owned()),
                AccountEvent::Deposited { .. } | AccountEvent::Withdrawn { .. } => Ok(()),
            }
        }
    }
    let store = Store::in_memory();
    let unique = Live::new(&store, Unique::default());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let accounts = Aggregates::<Account>::new(&store).inline(&unique);
            scope.spawn(move || {
                for amount in 0..50 {
                    let id = format!("{thread}-{amount}");
                    drop(accounts.execute(&id, &AccountCommand::Deposit(amount)));
                }
            });
        }
    });
    assert_eq!(store.visible(), Position(50));
    assert_eq!(unique.read(|unique| unique.0.len()), Ok(50));
}

#[test]
fn a_dropped_registry_ends_its_processors() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let balances = processors
        .project("balances", Balances::default())
        .start()
        .expect("it starts");
    drop(processors);
    assert_eq!(balances.status().state, ProcessorState::Ended);
    assert_eq!(StopReason::Ended.event(), None);
}
