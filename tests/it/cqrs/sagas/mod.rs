//! Sagas: steps, timers, compensations, and crashes between any two of them.

mod counts;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{
    Action, Aggregates, HandlerError, Processors, Retry, Route, Saga, SagaPhase, Sagas, SendError, Sending,
};
use annals::{Clock, Event, Expected, ManualClock, NewEvent, Position, Query, Store, StoreUrl, StreamId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Account, AccountCommand};
use crate::support::{START, TempFolder};

const SOON: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum TransferEvent {
    Requested { from: String, to: String, amount: u64 },
    Confirmed,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Move {
    Withdraw { account: String, amount: u64 },
    Deposit { account: String, amount: u64 },
}

/// Moves money when the transfer is confirmed within an hour.
#[derive(Default, Serialize, Deserialize)]
struct Transfer {
    from: String,
    to: String,
    amount: u64,
    reminders: u32,
}

impl Saga for Transfer {
    const TYPE: &'static str = "TransferSaga";
    type Event = TransferEvent;
    type Command = Move;

    fn route(event: &TransferEvent, record: &Event) -> Route {
        match event {
            TransferEvent::Requested { .. } => Route::start(record.aggregate_id()),
            TransferEvent::Confirmed | TransferEvent::Cancelled => Route::resume(record.aggregate_id()),
        }
    }

    fn react(&mut self, event: TransferEvent) -> Vec<Action<Move>> {
        match event {
            TransferEvent::Requested { amount: 666, .. } => panic!("a number of the beast"),
            TransferEvent::Requested { from, to, amount } => {
                let (withdraw, deposit) = (
                    Move::Withdraw {
                        account: from.clone(),
                        amount,
                    },
                    Move::Deposit {
                        account: from.clone(),
                        amount,
                    },
                );
                (self.from, self.to, self.amount) = (from, to, amount);
                vec![
                    Action::step(withdraw, deposit),
                    Action::timer_after("reminder", HOUR / 2),
                    Action::timer_after("deadline", HOUR),
                ]
            }
            TransferEvent::Confirmed => {
                let (account, amount) = (self.to.clone(), self.amount);
                vec![Action::send(Move::Deposit { account, amount }), Action::Complete]
            }
            TransferEvent::Cancelled => vec![Action::fail("cancelled")],
        }
    }

    fn timeout(&mut self, timer: &str) -> Vec<Action<Move>> {
        if timer == "reminder" {
            self.reminders += 1;
            return Vec::new();
        }
        vec![Action::fail("not confirmed within an hour")]
    }
}

/// A store with a clock that the test moves, and two accounts.
fn bank() -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(START));
    let store = Store::builder()
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .open()
        .expect("a store");
    deposit(&store, "anna", 100);
    deposit(&store, "bert", 100);
    (store, clock)
}

fn deposit(store: &Store, id: &str, amount: u64) {
    let done = Aggregates::<Account>::new(store).execute(id, &AccountCommand::Deposit(amount));
    done.expect("a deposit");
}

fn balance(store: &Store, id: &str) -> u64 {
    let loaded = Aggregates::<Account>::new(store).load(id).expect("it is whole");
    // The account's state is compared by its debug form: its fields are its own.
    let json = serde_json::to_value(&loaded.state).expect("JSON");
    json["balance"].as_u64().expect("a number")
}

fn balances(store: &Store) -> (u64, u64) {
    (balance(store, "anna"), balance(store, "bert"))
}

fn happens(store: &Store, id: &str, event: &TransferEvent) -> Position {
    let encoded = annals::cqrs::Codec::encode(&annals::cqrs::Json, event).expect("an event");
    let new = NewEvent::new(&encoded.event_type)
        .data(&encoded.data)
        .user("clara")
        .correlation("talk-1");
    let appended = store.append(&StreamId::new("Transfer", id), Expected::Any, new);
    appended.expect("an event").last_position
}

fn request(store: &Store, id: &str, amount: u64) -> Position {
    let (from, to) = ("anna".to_owned(), "bert".to_owned());
    happens(store, id, &TransferEvent::Requested { from, to, amount })
}

/// Executes a move on the accounts.
fn carry_out(store: &Store, command: &Move, sending: &Sending) -> Result<(), SendError> {
    let accounts = Aggregates::<Account>::new(store).with_context(sending.context.clone());
    let (id, command) = match command {
        Move::Withdraw { account, amount } => (account, AccountCommand::Withdraw(*amount)),
        Move::Deposit { account, amount } => (account, AccountCommand::Deposit(*amount)),
    };
    accounts.execute_once(sending.command_id, id, &command)?;
    Ok(())
}

fn start(store: &Store, processors: &Processors) -> Sagas<Transfer> {
    let bank = store.clone();
    let saga = processors.saga::<Transfer>(move |command, sending| carry_out(&bank, command, sending));
    saga.start().expect("it starts")
}

fn quick(attempts: u32) -> Retry {
    Retry::default()
        .attempts(attempts)
        .first_pause(Duration::ZERO)
        .longest_pause(Duration::ZERO)
}

#[test]
fn a_saga_sends_its_commands_and_completes() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let sagas = start(&store, &processors);
    request(&store, "t1", 30);
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(balances(&store), (70, 100));
    let waiting = sagas.get("t1").expect("readable").expect("it runs");
    assert_eq!(
        (waiting.phase, waiting.run, waiting.steps_left),
        (SagaPhase::Running, 1, 0)
    );
    assert_eq!(waiting.timers["deadline"], START.after(HOUR));
    assert_eq!(waiting.state["amount"], 30);
    happens(&store, "t1", &TransferEvent::Confirmed);
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(balances(&store), (70, 130));
    assert_eq!(sagas.active(), []);
    let ended = sagas.get("t1").expect("readable").expect("it has ended");
    assert_eq!((ended.phase, ended.timers.len()), (SagaPhase::Completed, 0));
    // The commands carry on who acts and what is talked about; their cause is the reaction, and its cause the event.
    let withdrawn = store.read_stream("anna").after(annals::Version(1)).events();
    assert_eq!(
        (withdrawn[0].user_id(), withdrawn[0].correlation_id()),
        (Some("clara"), Some("talk-1"))
    );
    let cause = withdrawn[0].causation_id().expect("a cause").parse().expect("an id");
    let reaction = store.event(cause).expect("the reaction");
    assert_eq!(reaction.event_type(), "annals.SagaReacted");
    let requested = store.read_stream("t1").events()[0].id().hyphenated().to_string();
    assert_eq!(reaction.causation_id(), Some(requested.as_str()));
}

#[test]
fn a_timeout_compensates_what_was_done() {
    let (store, clock) = bank();
    let processors = Processors::new(&store);
    let sagas = start(&store, &processors);
    request(&store, "t1", 30);
    processors.when_idle(SOON).expect("it runs");
    clock.advance(HOUR / 2);
    wait_for(|| sagas.get("t1").expect("readable").expect("it runs").state["reminders"] == 1);
    assert_eq!(balances(&store), (70, 100));
    clock.advance(HOUR / 2);
    wait_for(|| sagas.active().is_empty());
    let failed = sagas.get("t1").expect("readable").expect("it has ended");
    assert_eq!(
        failed.phase,
        SagaPhase::Failed {
            reason: "not confirmed within an hour".to_owned()
        }
    );
    assert_eq!(balances(&store), (100, 100));
    // What comes too late is counted, and changes nothing.
    let late = happens(&store, "t1", &TransferEvent::Confirmed);
    sagas.when_processed(late, SOON).expect("it runs");
    assert_eq!((sagas.ignored(), balances(&store)), (1, (100, 100)));
}

/// Waits for what the saga's thread does when the clock was moved.
fn wait_for(mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "it never holds");
        std::thread::yield_now();
    }
}

#[test]
fn a_rejected_step_compensated_steps_that_were_never_sent() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&sent);
    let sagas = processors.saga::<Three>(move |command: &String, _| {
        log.lock().push(command.clone());
        if command == "second" {
            return Err(SendError::Rejected {
                rejection: "no".to_owned(),
            });
        }
        Ok(())
    });
    let sagas = sagas.start().expect("it starts");
    request(&store, "t1", 1);
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(*sent.lock(), ["zeroth", "first", "second", "undo first", "undo zeroth"]);
    let failed = sagas.get("t1").expect("readable").expect("it has ended");
    assert_eq!(
        failed.phase,
        SagaPhase::Failed {
            reason: "no".to_owned()
        }
    );
}

/// Four steps with compensations, and a command after it fails.
#[derive(Default, Serialize, Deserialize)]
struct Three;

impl Saga for Three {
    const TYPE: &'static str = "Three";
    type Event = TransferEvent;
    type Command = String;

    fn route(_: &TransferEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, event: TransferEvent) -> Vec<Action<String>> {
        if event == TransferEvent::Cancelled {
            return vec![
                Action::step("never".to_owned(), "undo never".to_owned()),
                Action::fail("cancelled"),
            ];
        }
        let step = |name: &str| Action::step(name.to_owned(), format!("undo {name}"));
        vec![
            step("zeroth"),
            step("first"),
            step("second"),
            step("third"),
            Action::Complete,
        ]
    }
}

#[test]
fn a_step_whose_outcome_is_unknown_is_compensated() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&sent);
    let sagas = processors.saga::<Three>(move |command: &String, _| {
        log.lock().push(command.clone());
        if command == "first" {
            // It may have taken effect.
            return Err(SendError::Failed(HandlerError::transient("no answer in time")));
        }
        Ok(())
    });
    let sagas = sagas.retry(quick(1)).start().expect("it starts");
    request(&store, "t1", 1);
    processors.when_idle(SOON).expect("it runs");
    let stuck = sagas.stuck();
    assert_eq!(
        (stuck.len(), stuck[0].stuck.as_deref(), stuck[0].steps_left),
        (1, Some("no answer in time"), 3)
    );
    happens(&store, "t1", &TransferEvent::Cancelled);
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(*sent.lock(), ["zeroth", "first", "undo first", "undo zeroth"]);
    assert_eq!(sagas.stuck(), []);
}

#[test]
fn a_crash_before_or_after_any_step_sends_no_command_twice() {
    let (store, clock) = bank();
    let forks: Arc<Mutex<Vec<Store>>> = Arc::default();
    let processors = Processors::new(&store);
    let (bank, copies) = (store.clone(), Arc::clone(&forks));
    let sagas = processors.saga::<Transfer>(move |command, sending| {
        // The store as a crash would leave it before the command, and after it before that is recorded.
        copies.lock().push(bank.fork());
        let done = carry_out(&bank, command, sending);
        copies.lock().push(bank.fork());
        done
    });
    let sagas = sagas.start().expect("it starts");
    request(&store, "t1", 30);
    request(&store, "t2", 20);
    request(&store, "t3", 90);
    processors.when_idle(SOON).expect("it runs");
    forks.lock().push(store.fork());
    happens(&store, "t1", &TransferEvent::Confirmed);
    happens(&store, "t2", &TransferEvent::Cancelled);
    processors.when_idle(SOON).expect("it runs");
    forks.lock().push(store.fork());
    clock.advance(HOUR);
    wait_for(|| sagas.active().is_empty());
    processors.end();
    // 90 are not there: that transfer failed.
    assert_eq!(balances(&store), (70, 130));
    let forks = std::mem::take(&mut *forks.lock());
    assert!(forks.len() >= 10, "{}", forks.len());
    for fork in forks {
        finish_after_crash(&fork);
    }
}

/// Goes on where the crash was: what was sent is not sent again, what was not is, and everybody has the right balance in the end.
fn finish_after_crash(store: &Store) {
    let processors = Processors::new(store);
    let sagas = start(store, &processors);
    processors.when_idle(SOON).expect("it runs");
    for (id, event) in [("t1", TransferEvent::Confirmed), ("t2", TransferEvent::Cancelled)] {
        if sagas
            .get(id)
            .expect("readable")
            .is_some_and(|saga| saga.phase == SagaPhase::Running)
        {
            happens(store, id, &event);
        }
    }
    processors.when_idle(SOON).expect("it runs");
    for saga in ["t1", "t2", "t3"] {
        let there = sagas.get(saga).expect("readable");
        let is_ended = |phase: &SagaPhase| *phase != SagaPhase::Running;
        assert!(there.is_none_or(|there| is_ended(&there.phase)), "{saga}");
    }
    let requested = store
        .query(Query::all().event_type("Requested"))
        .count()
        .expect("valid");
    let expected = match requested {
        0 => (100, 100),
        _ => (70, 130),
    };
    assert_eq!(balances(store), expected, "{requested} requests");
    let ids: Vec<_> = store.read_all().events().iter().map(Event::id).collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
}

#[test]
fn a_timer_that_became_due_while_the_program_was_down_fired_twice() {
    let folder = TempFolder::new();
    let clock = Arc::new(ManualClock::at(START));
    let open = || {
        let builder = Store::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>);
        StoreUrl::of_folder(folder.path()).open(builder).expect("a store")
    };
    let store = open();
    deposit(&store, "anna", 100);
    deposit(&store, "bert", 100);
    {
        let processors = Processors::new(&store);
        start(&store, &processors);
        request(&store, "t1", 30);
        processors.when_idle(SOON).expect("it runs");
        processors.end();
        store.close().expect("it is written");
    }
    clock.advance(HOUR * 2);
    // It comes after the deadline, so the deadline is first.
    let store = open();
    let late = happens(&store, "t1", &TransferEvent::Confirmed);
    for _ in 0..3 {
        let processors = Processors::new(&store);
        let sagas = start(&store, &processors);
        sagas.when_processed(late, SOON).expect("it runs");
        processors.when_idle(SOON).expect("it runs");
        let ended = sagas.get("t1").expect("readable").expect("it has ended");
        assert_eq!(
            ended.phase,
            SagaPhase::Failed {
                reason: "not confirmed within an hour".to_owned()
            }
        );
        assert_eq!(ended.state["reminders"], 1);
        assert_eq!(balances(&store), (100, 100));
    }
    let reactions = store.query(Query::all().event_type("annals.SagaReacted")).count();
    assert_eq!(reactions, Ok(3), "the request, the reminder and the deadline");
}

#[test]
fn a_cancelled_or_renewed_timer_fired_all_the_same() {
    #[derive(Default, Serialize, Deserialize)]
    struct Alarm {
        rang: Vec<String>,
    }
    impl Saga for Alarm {
        const TYPE: &'static str = "Alarm";
        type Event = TransferEvent;
        type Command = String;
        fn route(_: &TransferEvent, record: &Event) -> Route {
            Route::start(record.aggregate_id())
        }
        fn react(&mut self, event: TransferEvent) -> Vec<Action<String>> {
            match event {
                TransferEvent::Requested { .. } => vec![
                    Action::timer_after("cancelled", HOUR),
                    Action::timer_after("renewed", HOUR),
                    Action::timer_at("past", annals::Timestamp::MIN),
                ],
                TransferEvent::Confirmed => {
                    vec![
                        Action::cancel_timer("cancelled"),
                        Action::timer_after("renewed", HOUR * 3),
                    ]
                }
                TransferEvent::Cancelled => vec![Action::Complete],
            }
        }
        fn timeout(&mut self, timer: &str) -> Vec<Action<String>> {
            self.rang.push(timer.to_owned());
            Vec::new()
        }
    }
    let (store, clock) = bank();
    let processors = Processors::new(&store);
    let sagas = processors.saga::<Alarm>(|_, _| Ok(())).start().expect("it starts");
    let rang = || sagas.get("t1").expect("readable").expect("it runs").state["rang"].clone();
    request(&store, "t1", 1);
    processors.when_idle(SOON).expect("it runs");
    wait_for(|| rang() == serde_json::json!(["past"]));
    happens(&store, "t1", &TransferEvent::Confirmed);
    processors.when_idle(SOON).expect("it runs");
    clock.advance(HOUR * 2);
    processors.when_idle(SOON).expect("it runs");
    clock.advance(HOUR);
    wait_for(|| rang() == serde_json::json!(["past", "renewed"]));
    happens(&store, "t1", &TransferEvent::Cancelled);
    processors.when_idle(SOON).expect("it runs");
    clock.advance(HOUR * 9);
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(rang(), serde_json::json!(["past", "renewed"]));
}

#[test]
fn two_start_events_made_twins() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let sagas = start(&store, &processors);
    request(&store, "t1", 10);
    request(&store, "t1", 10);
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(sagas.active().len(), 1);
    // The second went to the first's instance, which decides what it means: here it withdraws again.
    assert_eq!(balances(&store), (80, 100));
    happens(&store, "t1", &TransferEvent::Cancelled);
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(balances(&store), (100, 100));
    // An instance that has ended starts again, with a new state.
    request(&store, "t1", 5);
    processors.when_idle(SOON).expect("it runs");
    let again = sagas.get("t1").expect("readable").expect("it runs");
    assert_eq!(
        (again.run, &again.state["amount"], &again.phase),
        (2, &5.into(), &SagaPhase::Running)
    );
    assert_eq!(balances(&store), (95, 100));
}
