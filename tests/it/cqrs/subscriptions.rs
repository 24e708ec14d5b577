//! Subscriptions: at least once, with a checkpoint in the store, dead letters, and one owner at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals::cqrs::{
    Aggregates, Delivered, HandlerError, OnFailure, ProcessorState, Processors, Retry, StartFrom, StopReason,
    Subscription, WaitError,
};
use annals::{Expected, NewEvent, Position, Query, Store, StoreUrl, StreamId, StreamLimits, Version};
use parking_lot::Mutex;
use uuid::Uuid;

use super::{Account, AccountCommand, AccountEvent};
use crate::support::TempFolder;

const SOON: Duration = Duration::from_secs(30);

fn deposit(store: &Store, id: &str, amount: u64) -> Position {
    let done = Aggregates::<Account>::new(store).execute(id, &AccountCommand::Deposit(amount));
    done.expect("a deposit").appended.expect("an event").last_position
}

/// What a handler saw: amount, attempt and key.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(u64, u32, Uuid)>>>);

impl Log {
    fn add(&self, delivered: &Delivered<'_, AccountEvent>) -> u64 {
        let AccountEvent::Deposited { amount } = delivered.event else {
            panic!("deposits alone");
        };
        self.0.lock().push((amount, delivered.attempt, delivered.key));
        amount
    }

    fn amounts(&self) -> Vec<u64> {
        self.0.lock().iter().map(|(amount, ..)| *amount).collect()
    }
}

/// A subscription whose handler fails at the amounts that `fails` names.
fn subscribe(
    processors: &Processors,
    log: &Log,
    on_failure: OnFailure,
    fails: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> Subscription<AccountEvent> {
    let log = log.clone();
    let handler = move |delivered: Delivered<'_, AccountEvent>| {
        let amount = log.add(&delivered);
        if fails(amount) {
            return Err(HandlerError::transient(format!("{amount} is too much")));
        }
        Ok(())
    };
    processors
        .subscribe("mailer", handler)
        .on_failure(on_failure)
        .start()
        .expect("it starts")
}

#[test]
fn a_subscription_goes_on_after_a_restart() {
    let folder = TempFolder::new();
    let open = || {
        StoreUrl::of_folder(folder.path())
            .open(Store::builder())
            .expect("a store")
    };
    let log = Log::default();
    let mut keys = Vec::new();
    for round in 0..3 {
        let store = open();
        let processors = Processors::new(&store);
        deposit(&store, "a", 2 * round);
        let mailer = subscribe(&processors, &log, OnFailure::stop(), |_| false);
        deposit(&store, "a", 2 * round + 1);
        mailer.when_caught_up(SOON).expect("it runs");
        processors.end();
        store.close().expect("it is written");
        keys = log.0.lock().iter().map(|(_, _, key)| *key).collect();
    }
    assert_eq!(log.amounts(), [0, 1, 2, 3, 4, 5]);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 6);
}

#[test]
fn a_handler_is_retried_and_the_context_is_carried_on() {
    let store = Store::in_memory();
    let accounts = Aggregates::<Account>::new(&store);
    let context = annals::cqrs::Context::new().user("anna").correlation("talk-1");
    accounts
        .with_context(context)
        .execute("a", &AccountCommand::Deposit(5))
        .expect("a deposit");
    let processors = Processors::new(&store);
    let bonus = Aggregates::<Account>::new(&store);
    let attempts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&attempts);
    let handler = move |delivered: Delivered<'_, AccountEvent>| {
        if counted.fetch_add(1, Ordering::Relaxed) < 2 {
            return Err(HandlerError::transient("not yet"));
        }
        if delivered.record.aggregate_id() == "a" {
            let bonus = bonus.with_context(delivered.context.clone());
            bonus.execute_once(delivered.key, "bonus", &AccountCommand::Deposit(1))?;
        }
        Ok(())
    };
    let quick = Retry::default()
        .attempts(3)
        .first_pause(Duration::from_micros(1))
        .longest_pause(Duration::from_micros(1));
    let bonus = processors
        .subscribe("bonus", handler)
        .on_failure(OnFailure::default().retry(quick));
    let bonus = bonus.start().expect("it starts");
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(attempts.load(Ordering::Relaxed), 4, "two failures, then both events");
    let follow_up = store.read_stream("bonus").events();
    let cause = store
        .event_at(Position(1))
        .expect("an event")
        .id()
        .hyphenated()
        .to_string();
    assert_eq!(
        (follow_up[0].user_id(), follow_up[0].correlation_id()),
        (Some("anna"), Some("talk-1"))
    );
    assert_eq!(follow_up[0].causation_id(), Some(cause.as_str()));
    let (event, error) = bonus.status().last_error.expect("it had failed");
    assert_eq!((event.position, error.as_str()), (Position(1), "not yet"));
}

#[test]
fn a_stopped_subscription_handled_its_batch_again() {
    let store = Store::in_memory();
    for amount in 1..=5 {
        deposit(&store, "a", amount);
    }
    let log = Log::default();
    let processors = Processors::new(&store);
    let healed = Arc::new(AtomicBool::new(false));
    let heals = Arc::clone(&healed);
    let mailer = subscribe(&processors, &log, OnFailure::stop(), move |amount| {
        amount == 4 && !heals.load(Ordering::Relaxed)
    });
    assert!(matches!(
        mailer.when_processed(Position(5), SOON),
        Err(WaitError::NotRunning { .. })
    ));
    healed.store(true, Ordering::Relaxed);
    mailer.resume();
    processors.when_idle(SOON).expect("it runs again");
    assert_eq!(log.amounts(), [1, 2, 3, 4, 4, 5]);
}

#[test]
fn letters_keep_the_order_of_their_aggregate() {
    let store = Store::in_memory();
    for (id, amount) in [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("a", 5)] {
        deposit(&store, id, amount);
    }
    let (log, processors) = (Log::default(), Processors::new(&store));
    let healed = Arc::new(AtomicBool::new(false));
    let heals = Arc::clone(&healed);
    let mailer = subscribe(&processors, &log, OnFailure::park(), move |amount| {
        amount == 3 && !heals.load(Ordering::Relaxed)
    });
    processors.when_idle(SOON).expect("it goes on");
    // 5 comes after 3 in the same aggregate: it waits, too.
    assert_eq!(log.amounts(), [1, 2, 3, 4]);
    let letters = mailer.letters().expect("readable");
    let told: Vec<_> = letters
        .iter()
        .map(|letter| (letter.position.0, letter.reason.as_str(), letter.attempts))
        .collect();
    assert_eq!(
        told,
        [
            (3, "3 is too much", 1),
            (5, "an earlier event of its aggregate is parked", 0)
        ]
    );
    // A replay that fails leaves both, and moves no checkpoint.
    assert_eq!(mailer.replay_letters(), Ok(0));
    assert_eq!(mailer.letters().expect("readable")[0].attempts, 2);
    healed.store(true, Ordering::Relaxed);
    assert_eq!(mailer.replay_letters(), Ok(2));
    assert_eq!(log.amounts(), [1, 2, 3, 4, 3, 3, 5]);
    assert_eq!(mailer.letters(), Ok(Vec::new()));
    deposit(&store, "a", 6);
    processors.when_idle(SOON).expect("it runs");
    assert_eq!(log.amounts().last(), Some(&6));
    assert_eq!(mailer.drop_letter(Position(3)), Ok(false));
}

#[test]
fn letters_of_one_aggregate_are_replayed_alone() {
    let store = Store::in_memory();
    for (id, amount) in [("a", 1), ("b", 2), ("a", 3)] {
        deposit(&store, id, amount);
    }
    let (log, processors) = (Log::default(), Processors::new(&store));
    let healed = Arc::new(AtomicBool::new(false));
    let heals = Arc::clone(&healed);
    let mailer = subscribe(&processors, &log, OnFailure::park(), move |_| {
        !heals.load(Ordering::Relaxed)
    });
    processors.when_idle(SOON).expect("it goes on");
    healed.store(true, Ordering::Relaxed);
    assert_eq!(mailer.replay_letters_of("none"), Ok(0));
    assert_eq!(mailer.replay_letters_of("a"), Ok(2));
    assert_eq!(log.amounts(), [1, 2, 1, 3]);
    let left: Vec<_> = mailer
        .letters()
        .expect("readable")
        .iter()
        .map(|letter| letter.position.0)
        .collect();
    assert_eq!(left, [2]);
}

#[test]
fn a_pause_was_waited_for_by_the_thread_that_asked() {
    let store = Store::in_memory();
    let (log, processors) = (Log::default(), Processors::new(&store));
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock();
    let handler_gate = Arc::clone(&gate);
    let mailer = subscribe(&processors, &log, OnFailure::stop(), move |_| {
        drop(handler_gate.lock());
        false
    });
    deposit(&store, "a", 1);
    // The handler holds its batch until the gate opens, and this returns meanwhile.
    mailer.request_pause();
    assert_ne!(mailer.status().state, ProcessorState::Ended);
    drop(held);
    mailer.pause();
    assert_eq!(mailer.status().state, ProcessorState::Paused);
    deposit(&store, "a", 2);
    mailer.resume();
    processors.when_idle(SOON).expect("it runs again");
    assert_eq!(log.amounts(), [1, 2]);
}

#[test]
fn letters_that_a_limit_cut_were_lost_without_a_word() {
    let store = Store::in_memory();
    for amount in 1..=3 {
        deposit(&store, &format!("{amount}"), amount);
    }
    let (log, processors) = (Log::default(), Processors::new(&store));
    let mailer = subscribe(&processors, &log, OnFailure::park(), |_| true);
    processors.when_idle(SOON).expect("it goes on");
    assert_eq!(mailer.letters().expect("readable").len(), 3);
    assert_eq!(mailer.lost_letter_records(), Ok(0));
    let limits = StreamLimits::default().max_count(1);
    let stream = format!("annals.letters/{}", mailer.status().name);
    store.set_limits(&stream, limits).expect("stored");
    assert_eq!(mailer.lost_letter_records(), Ok(2));
    store.truncate_before(&stream, Version(4)).expect("truncated");
    assert_eq!(mailer.lost_letter_records(), Ok(3));
}

#[test]
fn letters_survive_a_restart_and_are_not_handled_again() {
    let folder = TempFolder::new();
    let open = || {
        StoreUrl::of_folder(folder.path())
            .open(Store::builder())
            .expect("a store")
    };
    let log = Log::default();
    for round in 0..2 {
        let store = open();
        let processors = Processors::new(&store);
        if round == 0 {
            deposit(&store, "a", 1);
        }
        let mailer = subscribe(&processors, &log, OnFailure::park(), |amount| amount == 1);
        processors.when_idle(SOON).expect("it goes on");
        assert_eq!(mailer.letters().expect("readable").len(), 1);
        if round == 1 {
            assert_eq!(mailer.drop_letter(Position(1)), Ok(true));
            assert_eq!(mailer.letters(), Ok(Vec::new()));
        }
        processors.end();
        store.close().expect("it is written");
    }
    assert_eq!(log.amounts(), [1]);
}

#[test]
fn two_owners_of_one_name_took_turns() {
    let store = Store::in_memory();
    deposit(&store, "a", 1);
    let (log, first, second) = (Log::default(), Processors::new(&store), Processors::new(&store));
    let old = subscribe(&first, &log, OnFailure::stop(), |_| false);
    first.when_idle(SOON).expect("it runs");
    let new = subscribe(&second, &log, OnFailure::stop(), |_| false);
    second.when_idle(SOON).expect("it runs");
    let last = deposit(&store, "a", 2);
    new.when_processed(last, SOON).expect("it runs");
    let refused = old
        .when_processed(last, SOON)
        .expect_err("it is superseded")
        .to_string();
    assert!(
        refused.contains("another processor of this name has started since epoch 1"),
        "{refused}"
    );
    assert!(matches!(
        old.status().state,
        ProcessorState::Stopped(StopReason::Superseded { epoch: 1 })
    ));
    // From here on the new one alone.
    let before = log.amounts().len();
    deposit(&store, "a", 3);
    second.when_idle(SOON).expect("it runs");
    assert_eq!(log.amounts()[before..], [3]);
}

#[test]
fn a_checkpoint_beyond_the_log_stops_the_subscription() {
    let store = Store::in_memory();
    for amount in 1..=9 {
        deposit(&store, "a", amount);
    }
    let processors = Processors::new(&store);
    let log = Log::default();
    let at = |from: StartFrom, name: &str| {
        let log = log.clone();
        let handler = move |delivered: Delivered<'_, AccountEvent>| {
            log.add(&delivered);
            Ok(())
        };
        processors
            .subscribe(name.to_owned(), handler)
            .start_from(from)
            .start()
            .expect("it starts")
    };
    let beyond = at(StartFrom::After(Position(99)), "beyond");
    let error = beyond.when_caught_up(SOON).expect_err("it is beyond").to_string();
    assert!(
        error.contains("its checkpoint 99 is beyond the end of the log"),
        "{error}"
    );
    let after = at(StartFrom::After(Position(7)), "after");
    after.when_caught_up(SOON).expect("it runs");
    assert_eq!(log.amounts(), [8, 9]);
    let end = at(StartFrom::End, "end");
    end.when_caught_up(SOON).expect("it runs");
    deposit(&store, "a", 10);
    end.when_caught_up(SOON).expect("it runs");
    after.when_caught_up(SOON).expect("it runs");
    assert_eq!(log.amounts(), [8, 9, 10, 10]);
}

#[test]
fn gaps_stop_a_subscription_unless_it_skips_them() {
    let store = Store::in_memory();
    for amount in 1..=3 {
        deposit(&store, "a", amount);
    }
    store.truncate_before("a", annals::Version(3)).expect("it exists");
    let (log, processors) = (Log::default(), Processors::new(&store));
    let strict = subscribe(&processors, &log, OnFailure::stop(), |_| false);
    let error = strict.when_caught_up(SOON).expect_err("events are gone").to_string();
    assert!(
        error.contains("2 events from position 1 to 2 are gone") && error.contains("skip_gaps"),
        "{error}"
    );
    let seen = log.clone();
    let handler = move |delivered: Delivered<'_, AccountEvent>| {
        seen.add(&delivered);
        Ok(())
    };
    let lenient = processors
        .subscribe("lenient", handler)
        .skip_gaps()
        .start()
        .expect("it starts");
    lenient.when_caught_up(SOON).expect("it goes on");
    assert_eq!(log.amounts(), [3]);
}

#[test]
fn a_quiet_stretch_was_read_again_at_every_start() {
    let store = Store::in_memory();
    let (log, processors) = (Log::default(), Processors::new(&store));
    let mailer = subscribe(&processors, &log, OnFailure::stop(), |_| false);
    let noise = vec![NewEvent::new("Noted"); 5_000];
    store
        .append(&StreamId::new("Note", "n"), Expected::Any, noise)
        .expect("notes");
    mailer.when_caught_up(SOON).expect("it runs");
    let saved = store.snapshot("annals.processor/mailer").expect("a checkpoint");
    let saved: u64 = String::from_utf8_lossy(&saved.data).parse().expect("a position");
    assert!(saved >= 1_000, "{saved}");
    // The subscription's own checkpoints are no work for it.
    let before = processors.when_idle(SOON).expect("it runs");
    assert_eq!(processors.when_idle(SOON), Ok(before));
    assert_eq!(
        store.query(Query::all().event_type("annals.ProcessorStarted")).count(),
        Ok(1)
    );
}

#[test]
fn an_event_of_an_append_without_events_is_waited_for_in_no_time() {
    let store = Store::in_memory();
    let (log, processors) = (Log::default(), Processors::new(&store));
    let mailer = subscribe(&processors, &log, OnFailure::stop(), |_| false);
    let nothing = Aggregates::<Account>::new(&store)
        .execute("a", &AccountCommand::Audit)
        .expect("no event");
    assert_eq!(nothing.appended, None);
    mailer
        .when_processed(Position(0), Duration::ZERO)
        .expect("nothing to wait for");
    let appended = store
        .append(&StreamId::new("Account", "a"), Expected::Any, Vec::new())
        .expect("no event");
    mailer
        .when_processed(Position(appended.first_position.0 - 1), SOON)
        .expect("it runs");
}

#[test]
fn a_budget_that_dropped_the_start_of_a_subscription_stopped_it() {
    let store = crate::support::keeping(50);
    let (seen, processors) = (Log::default(), Processors::new(&store));
    let log = seen.clone();
    let handler = move |delivered: Delivered<'_, AccountEvent>| {
        log.add(&delivered);
        Ok(())
    };
    let lenient = processors
        .subscribe("lenient", handler)
        .skip_gaps()
        .start()
        .expect("it starts");
    let group = annals::cqrs::Group::<AccountEvent>::builder(&store, "group")
        .skip_gaps()
        .open()
        .expect("it opens");
    let mut received = 0;
    for round in 0..8 {
        for number in 0..30 {
            deposit(&store, &format!("a{round}-{number}"), round * 30 + number);
        }
        processors.when_idle(SOON).expect("it goes on");
        lenient.when_caught_up(SOON).expect("it goes on");
        while let Some(message) = group.try_receive().expect("it goes on") {
            message.ack().expect("its lease holds");
            received += 1;
        }
    }
    assert_eq!((seen.amounts(), received), ((0..240).collect(), 240));
}
