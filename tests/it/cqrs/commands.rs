//! Commands on aggregates: decisions, conflicts, retries and ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use annals::cqrs::{Aggregate, Aggregates, CommandError, Context, Retry};
use annals::testing::{Outcome, Scenario};
use annals::{Expected, NewEvent, Position, Store, StoreUrl, StreamId, Version};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Account, AccountCommand, AccountEvent};
use crate::support::TempFolder;

fn accounts(store: &Store) -> Aggregates<Account> {
    Aggregates::new(store)
}

#[test]
fn a_rejected_command_appends_nothing() {
    let store = Store::in_memory();
    let rejected = accounts(&store).execute("a", &AccountCommand::Withdraw(1));
    assert_eq!(rejected, Err(CommandError::Rejected("the balance is 0".to_owned())));
    assert_eq!(store.visible(), Position(0));
    let nothing = accounts(&store).execute("a", &AccountCommand::Audit).expect("no event");
    assert_eq!(
        (nothing.appended, nothing.version, nothing.attempts),
        (None, Version(0), 1)
    );
    assert_eq!(store.visible(), Position(0));
}

#[test]
fn commands_of_many_threads_on_one_aggregate_lose_no_update() {
    let store = Store::in_memory();
    let retry = Retry::default().attempts(1_000);
    let attempts = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let done = accounts(&store).retry(retry).execute("a", &AccountCommand::Deposit(1));
                    attempts.fetch_add(done.expect("a deposit").attempts, Ordering::Relaxed);
                }
            });
        }
    });
    let loaded = accounts(&store).load("a").expect("it is whole");
    assert_eq!((loaded.state.balance, loaded.version), (200, Version(200)));
    assert!(attempts.into_inner() >= 200);
}

/// An aggregate whose decisions are always overtaken by another writer.
#[derive(Default)]
struct Overtaken;

#[derive(Serialize, Deserialize)]
enum Overtook {
    Overtook,
}

impl Aggregate for Overtaken {
    const TYPE: &'static str = "Overtaken";
    type Event = Overtook;
    type Command = (Store, Arc<AtomicU32>);
    type Rejection = String;

    fn initial() -> Self {
        Self
    }

    fn decide(&self, (store, decisions): &Self::Command) -> Result<Vec<Overtook>, String> {
        decisions.fetch_add(1, Ordering::Relaxed);
        let other = store.append(
            &StreamId::new("Overtaken", "a"),
            Expected::Any,
            NewEvent::new("Overtook"),
        );
        other.map_err(|error| error.to_string())?;
        Ok(vec![Overtook::Overtook])
    }

    fn evolve(&mut self, _: Overtook) {}
}

#[test]
fn a_command_gives_up_after_its_attempts() {
    let store = Store::in_memory();
    for (attempts, expected) in [(3, 3), (1, 1), (0, 1)] {
        let retry = Retry::default().attempts(attempts);
        let before = store.visible();
        let decisions = Arc::new(AtomicU32::new(0));
        let command = (store.clone(), Arc::clone(&decisions));
        let overtaken = Aggregates::<Overtaken>::new(&store).retry(retry).execute("a", &command);
        assert!(
            matches!(&overtaken, Err(CommandError::Contended { attempts, .. }) if *attempts == expected),
            "{overtaken:?}"
        );
        assert_eq!(decisions.load(Ordering::Relaxed), expected);
        assert_eq!(
            store.visible().0 - before.0,
            u64::from(expected),
            "the other writer's events alone"
        );
    }
}

#[test]
fn a_command_that_comes_again_is_answered_with_its_first_result() {
    let store = Store::in_memory();
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    accounts(&store)
        .execute("a", &AccountCommand::Deposit(10))
        .expect("a deposit");
    let exchange = AccountCommand::Exchange(10, 4);
    let first = accounts(&store).execute_once(one, "a", &exchange).expect("an exchange");
    let appended = first.appended.expect("two events");
    assert_eq!(
        (appended.first_version, appended.last_version),
        (Version(2), Version(3))
    );
    // By now the command would be rejected.
    accounts(&store)
        .execute("a", &AccountCommand::Withdraw(4))
        .expect("a withdrawal");
    let again = accounts(&store)
        .execute_once(one, "a", &exchange)
        .expect("the same command");
    let repeated = again.appended.expect("the same events");
    assert!(repeated.repeated);
    assert_eq!(
        (repeated.first_position, repeated.last_position, repeated.last_version),
        (appended.first_position, appended.last_position, appended.last_version)
    );
    assert_eq!(again.version, Version(4));
    let rejected = accounts(&store).execute_once(other, "a", &exchange);
    assert!(matches!(rejected, Err(CommandError::Rejected(_))), "{rejected:?}");
    assert_eq!(store.visible(), Position(4));
}

#[test]
fn a_command_is_recognized_after_a_restart() {
    let folder = TempFolder::new();
    let open = || StoreUrl::of_folder(folder.path()).open(Store::builder());
    let command = AccountCommand::Deposit(5);
    let execute = |store: &Store| accounts(store).execute_once(Uuid::from_u128(7), "a", &command);
    let store = open().expect("a store");
    assert!(!execute(&store).expect("a deposit").appended.expect("an event").repeated);
    store.close().expect("it is written");
    let store = open().expect("the same store");
    assert!(
        execute(&store)
            .expect("a deposit")
            .appended
            .expect("the event")
            .repeated
    );
    assert_eq!(accounts(&store).load("a").expect("it is whole").state.balance, 5);
}

#[test]
fn the_same_command_from_many_threads_is_executed_once() {
    let store = Store::in_memory();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let command = AccountCommand::Deposit(5);
                let done = accounts(&store).execute_once(Uuid::from_u128(9), "a", &command);
                assert_eq!(
                    done.expect("a deposit").appended.expect("an event").first_version,
                    Version(1)
                );
            });
        }
    });
    assert_eq!(accounts(&store).load("a").expect("it is whole").state.balance, 5);
}

#[test]
fn events_carry_the_context_of_their_command() {
    let store = Store::in_memory();
    let context = Context::new()
        .user("anna")
        .organization("acme")
        .correlation("c-1")
        .causation("form-3");
    let anna = accounts(&store).with_context(context);
    anna.execute("a", &AccountCommand::Exchange(0, 3)).expect("two events");
    let events = store.read_stream("a").events();
    assert_eq!(events.len(), 2);
    for event in &events {
        let names = [
            event.user_id(),
            event.organization_id(),
            event.correlation_id(),
            event.causation_id(),
        ];
        assert_eq!(names, [Some("anna"), Some("acme"), Some("c-1"), Some("form-3")]);
    }
    let follow_up = store
        .read_stream("a")
        .fold(None, |_, event| Some(Context::caused_by(&event.to_event())));
    let follow_up = follow_up.expect("there are events");
    assert_eq!(follow_up.correlation.as_deref(), Some("c-1"));
    assert_eq!(
        follow_up.causation.as_deref(),
        Some(events[1].id().hyphenated().to_string().as_str())
    );
}

/// Serde writes a map with such keys inside an enum with its tag among the fields, and cannot read it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Counted {
    Counted {
        counts: std::collections::BTreeMap<i64, u64>,
    },
}

#[derive(Default)]
struct Counter;

impl Aggregate for Counter {
    const TYPE: &'static str = "Counter";
    type Event = Counted;
    type Command = i64;
    type Rejection = String;

    fn initial() -> Self {
        Self
    }

    fn decide(&self, command: &i64) -> Result<Vec<Counted>, String> {
        let counts = (0..*command).map(|key| (key, 1)).collect();
        Ok(vec![Counted::Counted { counts }])
    }

    fn evolve(&mut self, _: Counted) {}
}

#[test]
fn an_event_that_could_never_be_read_was_stored() {
    let store = Store::in_memory();
    let counters = Aggregates::<Counter>::new(&store);
    // The first event of the type can be read: its map is empty.
    counters.execute("a", &0).expect("an empty map");
    let error = counters
        .execute("a", &2)
        .expect_err("keys that are numbers do not come back");
    assert!(
        matches!(&error, CommandError::Unwritable { event_type: Some(name), .. } if name == "Counted"),
        "{error:?}"
    );
    assert!(error.to_string().contains("aggregate 'a'"), "{error}");
    assert_eq!(store.visible(), Position(1));
    assert!(counters.load("a").is_ok());
}

#[test]
fn a_scenario_compares_what_was_committed() {
    let deposited = |amount| AccountEvent::Deposited { amount };
    Scenario::<Account>::given([deposited(3)])
        .when(AccountCommand::Withdraw(3))
        .then([AccountEvent::Withdrawn { amount: 3 }])
        .then_state(|account| assert_eq!(account.balance, 0));
    Scenario::<Account>::given([]).when(AccountCommand::Audit).then([]);
    Scenario::<Account>::given([deposited(3)])
        .and_given([deposited(1)])
        .when(AccountCommand::Withdraw(5))
        .then_rejected("the balance is 4");
}

fn failure(scenario: impl FnOnce() -> Outcome<Account>) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(scenario)).expect_err("it has to fail");
    panic.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn a_scenario_that_fails_says_what_differs() {
    let given_nothing = || Scenario::<Account>::given([]);
    let deposit = || given_nothing().when(AccountCommand::Deposit(3));
    let text = failure(|| deposit().then([AccountEvent::Deposited { amount: 4 }]));
    let difference = "the events differ (- expected, + committed):\n   1   Deposited {\n   1 -     amount: 4,\n   1 +     amount: 3,\n";
    assert_eq!(text, difference);
    let text = failure(|| deposit().then([]));
    assert!(text.contains("   1 + Deposited {"), "{text}");
    let text = failure(|| given_nothing().when(AccountCommand::Withdraw(3)).then([]));
    assert_eq!(text, "the command was rejected: \"the balance is 0\"");
    let text = failure(|| given_nothing().when(AccountCommand::Audit).then_rejected("no"));
    assert_eq!(text, "the command was not rejected; it committed []");
    let text = failure(|| given_nothing().when(AccountCommand::Withdraw(3)).then_rejected("no"));
    assert!(
        text.contains("- \"no\"") && text.contains("+ \"the balance is 0\""),
        "{text}"
    );
}

/// What happens between two commands.
#[derive(Clone, Copy, Debug)]
enum Between {
    /// A command with this id, which may have come before.
    Command(u8),
    /// The program ends, and another opens what the journal has.
    Restart,
    /// Another writer appends.
    Overtake,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        8 => (0_u8..6).prop_map(Between::Command),
        1 => Just(Between::Restart),
        2 => Just(Between::Overtake),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However often a command comes, across restarts and conflicts, it takes effect once.
    #[test]
    fn a_command_with_an_id_takes_effect_once(steps in proptest::collection::vec(between(), 1..40), snapshots: bool) {
        let folder = TempFolder::new();
        let open = || StoreUrl::of_folder(folder.path()).open(Store::builder()).expect("a store");
        let mut store = open();
        let (mut seen, mut others) = (std::collections::BTreeSet::new(), 0_u64);
        for step in steps {
            match step {
                Between::Command(id) => {
                    let accounts = if snapshots {
                        accounts(&store).snapshots(annals::cqrs::SnapshotPolicy::every(2))
                    } else {
                        accounts(&store)
                    };
                    let amount = AccountCommand::Deposit(1 << id);
                    let done = accounts.execute_once(Uuid::from_u128(u128::from(id) + 1), "a", &amount);
                    let appended = done.expect("a deposit").appended.expect("an event");
                    prop_assert_eq!(appended.repeated, !seen.insert(id));
                }
                Between::Restart => {
                    store.close().expect("it is written");
                    store = open();
                }
                Between::Overtake => {
                    others += 1;
                    accounts(&store).execute("a", &AccountCommand::Deposit(1 << 20)).expect("a deposit");
                }
            }
        }
        let sum = seen.iter().map(|id| 1_u64 << id).sum::<u64>() + (others << 20);
        prop_assert_eq!(accounts(&store).load("a").map(|loaded| loaded.state.balance), Ok(sum));
    }
}
