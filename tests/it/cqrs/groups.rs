//! Consumer groups: at least once, nothing lost, the order of each aggregate kept, whatever consumers do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals::cqrs::{
    Aggregates, Group, GroupError, HandlerError, Received, Retry, StartError, StartFrom, StopReason, TypedEvents,
    Upcast, Upcasters,
};
use annals::{Budget, Expected, ManualClock, NewEvent, Position, Store, StoreUrl, StreamId};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::{Account, AccountCommand, AccountEvent};
use crate::support::{TempFolder, clocked};

const SOON: Duration = Duration::from_secs(30);
const NOW: Duration = Duration::ZERO;

fn deposit(store: &Store, id: &str, amount: u64) -> Position {
    let done = Aggregates::<Account>::new(store).execute(id, &AccountCommand::Deposit(amount));
    done.expect("a deposit").appended.expect("an event").last_position
}

fn amount(message: &Received<AccountEvent>) -> u64 {
    match message.event {
        AccountEvent::Deposited { amount } | AccountEvent::Withdrawn { amount } => amount,
    }
}

fn retry(attempts: u32) -> Retry {
    Retry::default()
        .attempts(attempts)
        .first_pause(Duration::from_secs(1))
        .longest_pause(Duration::from_secs(60))
}

fn group(store: &Store) -> Group<AccountEvent> {
    Group::builder(store, "billing")
        .retry(retry(3))
        .open()
        .expect("it opens")
}

fn receive(group: &Group<AccountEvent>) -> Received<AccountEvent> {
    group.receive(SOON).expect("it runs").expect("there is one")
}

fn nothing(group: &Group<AccountEvent>) {
    let message = group.receive(NOW).expect("it runs");
    assert!(message.is_none(), "{message:?}");
}

#[test]
fn consumers_compete_and_keep_the_order_of_each_aggregate() {
    let store = Store::in_memory();
    let billing = group(&store);
    let seen: Mutex<BTreeMap<String, Vec<u64>>> = Mutex::default();
    let busy = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                billing.consume(|message| {
                    busy.fetch_add(1, Ordering::Relaxed);
                    let id = message.record.aggregate_id().to_owned();
                    seen.lock().entry(id).or_default().push(amount(message));
                    Ok(())
                })
            });
        }
        let mut last = Position(0);
        for number in 0..400 {
            last = deposit(&store, &format!("a{}", number % 7), number);
        }
        assert_eq!(billing.when_processed(last, SOON), Ok(true));
        billing.end();
    });
    let seen = seen.into_inner();
    assert_eq!(seen.values().map(Vec::len).sum::<usize>(), 400);
    assert!(seen.values().all(|amounts| amounts.is_sorted()), "{seen:?}");
    assert!(matches!(billing.receive(NOW), Err(GroupError::Ended { .. })));
}

#[test]
fn one_event_of_an_aggregate_is_out_at_a_time() {
    let store = Store::in_memory();
    for (id, amount) in [("a", 1), ("a", 2), ("b", 3)] {
        deposit(&store, id, amount);
    }
    let billing = group(&store);
    let (first, other) = (receive(&billing), receive(&billing));
    assert_eq!((amount(&first), amount(&other)), (1, 3));
    nothing(&billing);
    first.ack().expect("its lease holds");
    assert_eq!(amount(&receive(&billing)), 2);
    drop(other);
    let status = billing.status();
    assert_eq!((status.position, status.in_flight, status.letters), (Position(1), 2, 0));
}

#[test]
fn an_event_that_fails_comes_again_later_and_is_parked_in_the_end() {
    let (store, clock) = clocked(Budget::default());
    deposit(&store, "a", 1);
    deposit(&store, "a", 2);
    let billing = group(&store);
    let mut keys = Vec::new();
    for attempt in 1..=3 {
        let message = receive(&billing);
        assert_eq!((amount(&message), message.attempt), (1, attempt));
        keys.push(message.key);
        message.nack("the printer is on fire").expect("its lease holds");
        // A pause is random: the longest is over after a minute.
        clock.advance(Duration::from_secs(60));
    }
    assert!(keys.iter().all(|key| *key == keys[0]));
    // 2 comes after 1 in the same aggregate: it is parked behind it.
    nothing(&billing);
    let letters = billing.letters();
    let told: Vec<_> = letters
        .iter()
        .map(|letter| (letter.position.0, letter.reason.as_str(), letter.attempts))
        .collect();
    assert_eq!(
        told,
        [
            (1, "the printer is on fire", 3),
            (2, "an earlier event of its aggregate is parked", 0)
        ]
    );
    deposit(&store, "a", 3);
    deposit(&store, "b", 4);
    let other = receive(&billing);
    assert_eq!(amount(&other), 4);
    other.ack().expect("its lease holds");
    assert_eq!(billing.letters().len(), 3);
    // Nothing is in flight: the checkpoint has passed the letters, which are stored.
    assert_eq!(billing.status().in_flight, 0);
    replay_in_order(&store, &billing);
}

/// A replay keeps the order, moves no checkpoint, and parks again what fails.
fn replay_in_order(store: &Store, billing: &Group<AccountEvent>) {
    let before = billing.status().position;
    assert_eq!(billing.replay_letters(Some("a")), 3);
    assert_eq!(billing.replay_letters(None), 0, "they are on their way");
    receive(billing).ack().expect("its lease holds");
    receive(billing).park("still on fire").expect("its lease holds");
    let told: Vec<_> = billing.letters().iter().map(|letter| letter.position.0).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(billing.status().position >= before);
    assert_eq!(billing.replay_letters(Some("a")), 2);
    let last = deposit(store, "a", 5);
    for expected in [2, 3, 5] {
        let message = receive(billing);
        assert_eq!(amount(&message), expected, "new events follow the letters");
        message.ack().expect("its lease holds");
    }
    assert_eq!(billing.letters(), []);
    assert_eq!(billing.when_processed(last, SOON), Ok(true));
}

#[test]
fn a_consumer_that_dies_gives_its_events_back_after_a_time() {
    let (store, clock) = clocked(Budget::default());
    deposit(&store, "a", 1);
    let billing = Group::<AccountEvent>::builder(&store, "billing")
        .lease(Duration::from_secs(10))
        .retry(
            Retry::default()
                .attempts(2)
                .first_pause(Duration::ZERO)
                .longest_pause(Duration::ZERO),
        );
    let billing = billing.open().expect("it opens");
    let hung = receive(&billing);
    nothing(&billing);
    clock.advance(Duration::from_secs(10));
    let message = receive(&billing);
    assert_eq!((amount(&message), message.attempt), (1, 2));
    let lost = hung.ack().expect_err("it went to another");
    assert_eq!(lost.position, Position(1));
    // Dropped without an answer: the second attempt was the last.
    drop(message);
    nothing(&billing);
    assert_eq!(billing.letters()[0].reason, "its consumer dropped it");
    assert_eq!(billing.drop_letter(Position(1)), Ok(true));
    assert_eq!(
        (billing.drop_letter(Position(1)), billing.letters().len()),
        (Ok(false), 0)
    );
}

#[test]
fn a_consumer_that_panics_takes_no_other_down() {
    let store = Store::in_memory();
    for number in 0..20 {
        deposit(&store, &format!("a{number}"), number);
    }
    let billing = Group::<AccountEvent>::builder(&store, "billing")
        .retry(Retry::never())
        .open()
        .expect("it opens");
    let handled = std::thread::scope(|scope| {
        let consumer = scope.spawn(|| {
            billing.consume(|message| {
                assert!(amount(message) != 7, "seven is heaven");
                Ok(())
            })
        });
        assert_eq!(billing.when_processed(Position(20), SOON), Ok(true));
        billing.end();
        consumer.join().expect("it is caught")
    });
    // A negative answer is one too.
    assert_eq!(handled, Ok(20));
    assert!(billing.letters()[0].reason.ends_with("panicked: seven is heaven"));
}

#[test]
fn a_permanent_failure_is_parked_at_once() {
    let store = Store::in_memory();
    deposit(&store, "a", 1);
    let broken = NewEvent::new("Deposited").data("{}");
    store
        .append(&StreamId::new("Account", "b"), Expected::Any, broken)
        .expect("an event");
    let billing = group(&store);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| billing.consume(|_| Err(HandlerError::permanent("no such account"))));
        assert_eq!(billing.when_processed(Position(2), SOON), Ok(true));
        billing.end();
        done.store(true, Ordering::Relaxed);
    });
    let letters = billing.letters();
    assert_eq!(
        (letters[0].reason.as_str(), letters[0].attempts),
        ("no such account", 1)
    );
    assert!(letters[1].reason.contains("does not decode"), "{letters:?}");
}

#[test]
fn a_wait_for_an_event_that_does_not_decode_was_in_vain() {
    for _ in 0..50 {
        let store = Store::in_memory();
        let billing = group(&store);
        let broken = NewEvent::new("Deposited").data("{}");
        store
            .append(&StreamId::new("Account", "b"), Expected::Any, broken)
            .expect("an event");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| billing.when_processed(Position(2), SOON));
            std::thread::yield_now();
            // Parks the event, and has nothing to deliver.
            while billing.status().letters == 0 {
                assert!(billing.try_receive().expect("it goes on").is_none());
            }
            assert_eq!(waits.join().expect("it does not panic"), Ok(true));
        });
    }
}

#[test]
fn what_is_not_acknowledged_comes_again_after_a_restart() {
    let folder = TempFolder::new();
    let open = || {
        StoreUrl::of_folder(folder.path())
            .open(Store::builder())
            .expect("a store")
    };
    {
        let store = open();
        for (id, amount) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
            deposit(&store, id, amount);
        }
        let billing = group(&store);
        let messages: Vec<_> = (0..4).map(|_| receive(&billing)).collect();
        for message in messages {
            match amount(&message) {
                1 | 3 => message.ack().expect("its lease holds"),
                2 => message.park("never").expect("its lease holds"),
                _ => drop(message),
            }
        }
        billing.end();
        store.close().expect("it is written");
    }
    let store = open();
    let billing = group(&store);
    let message = receive(&billing);
    assert_eq!(amount(&message), 4);
    message.ack().expect("its lease holds");
    nothing(&billing);
    assert_eq!(billing.letters()[0].position, Position(2));
}

#[test]
fn a_second_opening_of_a_group_takes_over() {
    let store = Store::in_memory();
    deposit(&store, "a", 1);
    let old = group(&store);
    let held = receive(&old);
    let new = group(&store);
    let taken = receive(&new);
    assert_eq!(amount(&taken), 1);
    let refused = old.receive(NOW).expect_err("it is superseded");
    assert!(
        matches!(
            &refused,
            GroupError::Stopped {
                reason: StopReason::Superseded { epoch: 1 },
                ..
            }
        ),
        "{refused}"
    );
    assert!(held.ack().is_err());
    taken.ack().expect("its lease holds");
    // It takes over again when it is told.
    old.resume().expect("it goes on");
    nothing(&old);
    assert!(new.receive(NOW).is_err());
}

#[test]
fn a_slow_group_fetched_everything() {
    let store = Store::in_memory();
    for number in 0..100 {
        deposit(&store, &format!("a{number}"), number);
    }
    let billing = Group::<AccountEvent>::builder(&store, "billing")
        .max_in_flight(3)
        .open()
        .expect("it opens");
    let messages: Vec<_> = (0..3).map(|_| receive(&billing)).collect();
    nothing(&billing);
    assert_eq!(billing.status().in_flight, 3);
    for message in messages {
        message.ack().expect("its lease holds");
    }
    for _ in 3..100 {
        receive(&billing).ack().expect("its lease holds");
    }
    nothing(&billing);
}

#[test]
fn gaps_and_starting_points_are_as_with_subscriptions() {
    let store = Store::in_memory();
    for amount in 1..=4 {
        deposit(&store, "a", amount);
    }
    store.truncate_before("a", annals::Version(3)).expect("it exists");
    let error = group(&store).receive(NOW).expect_err("events are gone").to_string();
    assert!(error.contains("2 events from position 1 to 2 are gone"), "{error}");
    let lenient = Group::<AccountEvent>::builder(&store, "lenient")
        .skip_gaps()
        .open()
        .expect("it opens");
    assert_eq!(amount(&receive(&lenient)), 3);
    let at_end = Group::<AccountEvent>::builder(&store, "end")
        .start_from(StartFrom::End)
        .open()
        .expect("it opens");
    nothing(&at_end);
    for name in ["", &"x".repeat(201), "a\u{0}b"] {
        let refused = Group::<AccountEvent>::builder(&store, name).open();
        assert!(
            matches!(refused.map(|_| ()), Err(StartError::InvalidName { .. })),
            "{name}"
        );
    }
    let beyond = StartFrom::After(Position(999));
    let beyond = Group::<AccountEvent>::builder(&store, "beyond")
        .start_from(beyond)
        .open();
    assert!(matches!(
        beyond.map(|_| ()),
        Err(StartError::Stopped {
            reason: StopReason::CheckpointBeyondLog { .. },
            ..
        })
    ));
}

#[test]
fn the_parts_of_a_split_event_are_handed_out_one_by_one() {
    let store = Store::in_memory();
    let moved = NewEvent::new("Moved").data(r#"{"amount":5}"#);
    store
        .append(&StreamId::new("Account", "a"), Expected::Any, moved)
        .expect("an event");
    let nine = NewEvent::new("Deposited").data(r#"{"amount":9}"#);
    store
        .append(&StreamId::new("Account", "a"), Expected::Any, nine)
        .expect("an event");
    let split = Upcasters::new().split("Moved", 1, &[("Withdrawn", 1), ("Deposited", 1)], |data| {
        Ok(vec![
            Upcast::new("Withdrawn", 1, data.clone()),
            Upcast::new("Deposited", 1, data),
        ])
    });
    let events = TypedEvents::<AccountEvent>::new().upcasters(&split);
    let billing = Group::builder(&store, "billing")
        .events(&events)
        .retry(retry(3))
        .open()
        .expect("it opens");
    let mut keys = Vec::new();
    for expected in [5, 5, 9] {
        let message = receive(&billing);
        assert_eq!(amount(&message), expected);
        keys.push(message.key);
        message.ack().expect("its lease holds");
    }
    keys.dedup();
    assert_eq!(keys.len(), 3);
    nothing(&billing);
}

/// What a consumer does with an event.
#[derive(Clone, Copy, Debug)]
enum Step {
    Receive,
    Ack(usize),
    Nack(usize),
    Drop(usize),
    Append(u8),
    PassTime,
    Crash,
    Replay,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Receive),
        4 => (0_usize..4).prop_map(Step::Ack),
        2 => (0_usize..4).prop_map(Step::Nack),
        1 => (0_usize..4).prop_map(Step::Drop),
        4 => (0_u8..3).prop_map(Step::Append),
        1 => Just(Step::PassTime),
        1 => Just(Step::Crash),
        1 => Just(Step::Replay),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A store, the consumers' messages, and what was acknowledged.
struct World {
    store: Store,
    clock: Arc<ManualClock>,
    group: Group<AccountEvent>,
    held: Vec<Received<AccountEvent>>,
    appended: u64,
    /// The amounts acknowledged, by aggregate.
    acked: BTreeMap<String, Vec<u64>>,
}

impl World {
    fn new() -> Self {
        let (store, clock) = clocked(Budget::default());
        Self {
            group: group(&store),
            store,
            clock,
            held: Vec::new(),
            appended: 0,
            acked: BTreeMap::new(),
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Receive => self.held.extend(self.group.receive(NOW).expect("it runs")),
            Step::Ack(place) if place < self.held.len() => self.ack(place),
            Step::Nack(place) if place < self.held.len() => drop(self.held.remove(place).nack("no")),
            Step::Drop(place) if place < self.held.len() => drop(self.held.remove(place)),
            Step::Ack(_) | Step::Nack(_) | Step::Drop(_) => {}
            Step::Append(id) => {
                self.appended += 1;
                deposit(&self.store, &format!("a{id}"), self.appended);
            }
            Step::PassTime => self.clock.advance(Duration::from_secs(61)),
            Step::Crash => {
                // The consumers' answers come too late.
                let late = std::mem::take(&mut self.held);
                self.group = group(&self.store);
                assert!(late.into_iter().all(|message| message.ack().is_err()));
            }
            Step::Replay => drop(self.group.replay_letters(None)),
        }
    }

    fn ack(&mut self, place: usize) {
        let message = self.held.remove(place);
        let (id, amount) = (message.record.aggregate_id().to_owned(), amount(&message));
        if message.ack().is_ok() {
            self.acked.entry(id).or_default().push(amount);
        }
    }

    /// Handles what is left.
    fn finish(&mut self) {
        self.held.clear();
        for _ in 0..100 {
            self.clock.advance(Duration::from_secs(61));
            self.group.replay_letters(None);
            while let Some(message) = self.group.receive(NOW).expect("it runs") {
                self.held.push(message);
                self.ack(self.held.len() - 1);
            }
        }
        assert_eq!(self.group.letters(), []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every event is acknowledged at least once, and first acknowledged in the order of its aggregate.
    #[test]
    fn nothing_is_lost_and_the_order_is_kept(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.carry_out(step);
        }
        world.finish();
        let mut all: Vec<u64> = Vec::new();
        for amounts in world.acked.values() {
            let mut first: Vec<u64> = Vec::new();
            for amount in amounts {
                if !first.contains(amount) {
                    first.push(*amount);
                }
            }
            prop_assert!(first.is_sorted(), "{:?}", amounts);
            all.extend(first);
        }
        all.sort_unstable();
        prop_assert_eq!(all, (1..=world.appended).collect::<Vec<_>>());
    }
}
