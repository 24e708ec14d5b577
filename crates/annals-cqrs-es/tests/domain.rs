//! A domain that is written against the framework's public traits, unchanged on its store in memory and on Annals.

#![expect(clippy::expect_used, reason = "a test fails where what it expects does not hold")]

use std::sync::Arc;

use annals::testing::faults::{Effect, Fault, Faults, Operation};
use annals::{Durability, Expected, Query, Store, StreamLimits};
use annals_cqrs_es::{Repository, aggregate_id, event_store, snapshot_store};
use cqrs_es::event_sink::EventSink;
use cqrs_es::mem_store::MemStore;
use cqrs_es::persist::{PersistedEventRepository as _, PersistedEventStore};
use cqrs_es::{Aggregate, AggregateError, CqrsFramework, DomainEvent, EventStore};
use serde::{Deserialize, Serialize};
use tokio::sync::Barrier;

// The domain: nothing in it knows of Annals.

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Money {
    Deposited { amount: i64 },
    Withdrawn { amount: i64 },
}

impl DomainEvent for Money {
    fn event_type(&self) -> String {
        match self {
            Self::Deposited { .. } => "Deposited",
            Self::Withdrawn { .. } => "Withdrawn",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "2.1".to_owned()
    }
}

#[derive(Clone, Debug)]
enum Command {
    Deposit(Vec<i64>),
    Withdraw(i64),
}

#[derive(Debug)]
struct Refused(i64);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the balance is {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// What a command waits for after its aggregate is loaded.
#[derive(Clone, Default)]
struct Services {
    meeting: Option<Arc<Barrier>>,
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Command = Command;
    type Event = Money;
    type Error = Refused;
    type Services = Services;

    async fn handle(&mut self, command: Command, services: &Services, sink: &EventSink<Self>) -> Result<(), Refused> {
        if let Some(meeting) = &services.meeting {
            meeting.wait().await;
        }
        match command {
            Command::Withdraw(amount) if amount > self.balance => return Err(Refused(self.balance)),
            Command::Withdraw(amount) => sink.write(Money::Withdrawn { amount }, self).await,
            Command::Deposit(amounts) => {
                for amount in amounts {
                    sink.write(Money::Deposited { amount }, self).await;
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: Money) {
        match event {
            Money::Deposited { amount } => self.balance += amount,
            Money::Withdrawn { amount } => self.balance -= amount,
        }
    }
}

async fn balance(store: &impl EventStore<Account>, id: &str) -> i64 {
    let events = store.load_events(id).await.expect("they are read");
    let mut account = Account::default();
    for event in events {
        account.apply(event.payload);
    }
    account.balance
}

/// A week of an account, on handles of one store.
async fn week<S: EventStore<Account>>(make: impl Fn() -> S) {
    let (accounts, store) = (CqrsFramework::new(make(), vec![], Services::default()), make());
    accounts
        .execute("a-1", Command::Deposit(vec![100, 20]))
        .await
        .expect("it is new");
    accounts
        .execute("a-1", Command::Withdraw(50))
        .await
        .expect("there is enough");
    let refused = accounts.execute("a-1", Command::Withdraw(71)).await;
    assert!(matches!(refused, Err(AggregateError::UserError(Refused(70)))));
    accounts
        .execute("a-1", Command::Deposit(vec![]))
        .await
        .expect("no event");
    accounts
        .execute("a-2", Command::Deposit(vec![1]))
        .await
        .expect("another account");
    assert_eq!((balance(&store, "a-1").await, balance(&store, "a-2").await), (70, 1));
    let sequences: Vec<_> = store
        .load_events("a-1")
        .await
        .expect("read")
        .iter()
        .map(|event| event.sequence)
        .collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert!(store.load_events("a-3").await.expect("read").is_empty());
}

#[tokio::test]
async fn the_domain_runs_on_its_own_store_and_on_annals() {
    let own = MemStore::<Account>::default();
    week(|| own.clone()).await;
    let annals = Store::in_memory();
    week(|| event_store::<Account>(&annals)).await;
    for size in [1, 2, 3, 100] {
        let annals = Store::in_memory();
        week(|| snapshot_store::<Account>(&annals, size)).await;
    }
}

/// Two withdrawals of all there is that load the account at the same time. Returns how many were accepted, and the balance.
async fn two_at_once<S: EventStore<Account>>(make: impl Fn() -> S) -> (usize, i64) {
    let calm = CqrsFramework::new(make(), vec![], Services::default());
    calm.execute("a-1", Command::Deposit(vec![100]))
        .await
        .expect("it is new");
    let services = Services {
        meeting: Some(Arc::new(Barrier::new(2))),
    };
    let accounts = CqrsFramework::new(make(), vec![], services);
    let withdraw = || accounts.execute("a-1", Command::Withdraw(100));
    let (one, other) = tokio::join!(withdraw(), withdraw());
    let accepted = [&one, &other].into_iter().filter(|result| result.is_ok()).count();
    if accepted == 1 {
        let conflict = one.and(other).expect_err("one of them conflicts");
        assert!(matches!(conflict, AggregateError::AggregateConflict), "{conflict}");
    }
    (accepted, balance(&make(), "a-1").await)
}

#[tokio::test]
async fn a_lost_update_that_the_frameworks_store_cannot_show() {
    // The account is overdrawn, and no error says so.
    let own = MemStore::<Account>::default();
    assert_eq!(two_at_once(|| own.clone()).await, (2, -100));
    let annals = Store::in_memory();
    assert_eq!(two_at_once(|| event_store::<Account>(&annals)).await, (1, 0));
    let annals = Store::in_memory();
    assert_eq!(two_at_once(|| snapshot_store::<Account>(&annals, 2)).await, (1, 0));
}

#[tokio::test]
async fn a_snapshot_in_the_middle_of_a_commit_lost_the_events_after_it() {
    // 5 events at once with a snapshot after each third: it has 3 of them.
    for before in 0..4 {
        let annals = Store::in_memory();
        let store = snapshot_store::<Account>(&annals, 3);
        let accounts = CqrsFramework::new(snapshot_store::<Account>(&annals, 3), vec![], Services::default());
        accounts
            .execute("a-1", Command::Deposit(vec![1; before]))
            .await
            .expect("appended");
        accounts
            .execute("a-1", Command::Deposit(vec![10; 5]))
            .await
            .expect("appended");
        let loaded = store.load_aggregate("a-1").await.expect("loaded");
        let expected = i64::try_from(before).expect("small") + 50;
        assert_eq!(loaded.aggregate.balance, expected, "{before} events before");
        assert_eq!(loaded.current_sequence, before + 5);
        assert!(
            annals.snapshot(&aggregate_id::<Account>("a-1")).is_some(),
            "there is one"
        );
    }
}

#[tokio::test]
async fn the_snapshot_of_the_framework_had_the_events_of_a_command_twice() {
    let annals = Store::in_memory();
    let accounts = CqrsFramework::new(snapshot_store::<Account>(&annals, 1), vec![], Services::default());
    for _ in 0..3 {
        accounts
            .execute("a-1", Command::Deposit(vec![100, 20]))
            .await
            .expect("appended");
    }
    let snapshot = annals.snapshot(&aggregate_id::<Account>("a-1")).expect("there is one");
    assert_eq!(
        String::from_utf8_lossy(&snapshot.data),
        r#"{"aggregate":{"balance":360},"snapshot":3}"#
    );
    assert_eq!(snapshot.version.0, 6);
}

#[tokio::test]
async fn events_keep_their_version_and_metadata_and_are_found_by_them() {
    let annals = Store::in_memory();
    let accounts = CqrsFramework::new(event_store::<Account>(&annals), vec![], Services::default());
    let metadata = [("user_id", "anna"), ("correlation_id", "checkout-7"), ("ip", "::1")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    accounts
        .execute_with_metadata("a-1", Command::Deposit(vec![5]), metadata)
        .await
        .expect("appended");
    let found = annals
        .query(Query::all().user("anna").correlation("checkout-7"))
        .events()
        .expect("answered");
    assert_eq!((found[0].aggregate_id(), found[0].schema_version()), ("Account/a-1", 2));
    let events = Repository::new(&annals)
        .get_events::<Account>("a-1")
        .await
        .expect("read");
    assert_eq!(
        (events[0].event_version.as_str(), events[0].aggregate_id.as_str()),
        ("2.1", "a-1")
    );
    assert_eq!(events[0].metadata["ip"], "::1");
    let loaded = event_store::<Account>(&annals).load_events("a-1").await.expect("read");
    assert_eq!(loaded[0].metadata.len(), 3);
}

#[tokio::test]
async fn an_aggregate_without_its_first_events_was_loaded_as_if_whole() {
    let annals = Store::in_memory();
    let store = event_store::<Account>(&annals);
    let accounts = CqrsFramework::new(event_store::<Account>(&annals), vec![], Services::default());
    accounts
        .execute("a-1", Command::Deposit(vec![1, 2, 3]))
        .await
        .expect("appended");
    let limits = StreamLimits::default().max_count(2);
    annals.set_limits("Account/a-1", limits).expect("limited");
    let error = accounts
        .execute("a-1", Command::Deposit(vec![1]))
        .await
        .expect_err("its state is not known");
    assert!(
        error.to_string().contains("'Account/a-1' before version 2 are gone"),
        "{error}"
    );
    // A deleted account begins again.
    annals.delete("Account/a-1", Expected::Any).expect("deleted");
    accounts
        .execute("a-1", Command::Deposit(vec![7]))
        .await
        .expect("it is new");
    assert_eq!(balance(&store, "a-1").await, 7);
}

#[tokio::test]
async fn the_same_id_of_two_types_is_two_aggregates() {
    #[derive(Default, Serialize, Deserialize)]
    struct Card;

    impl Aggregate for Card {
        const TYPE: &'static str = "Card";
        type Command = ();
        type Event = Money;
        type Error = Refused;
        type Services = ();

        async fn handle(&mut self, (): (), (): &(), sink: &EventSink<Self>) -> Result<(), Refused> {
            sink.write(Money::Deposited { amount: 1 }, self).await;
            Ok(())
        }

        fn apply(&mut self, _: Money) {}
    }

    let annals = Store::in_memory();
    let accounts = CqrsFramework::new(event_store::<Account>(&annals), vec![], Services::default());
    accounts
        .execute("1", Command::Deposit(vec![1, 2]))
        .await
        .expect("appended");
    CqrsFramework::new(event_store::<Card>(&annals), vec![], ())
        .execute("1", ())
        .await
        .expect("appended");
    let repository = Repository::new(&annals);
    let mut all = repository.stream_all_events::<Account>().await.expect("streamed");
    let mut count = 0;
    while let Some(event) = all.next::<Account>(&[]).await {
        assert_eq!(event.expect("decoded").aggregate_id, "1");
        count += 1;
    }
    assert_eq!(count, 2);
    let mut one = repository.stream_events::<Card>("1").await.expect("streamed");
    assert!(one.next::<Card>(&[]).await.is_some_and(|event| event.is_ok()));
    assert!(one.next::<Card>(&[]).await.is_none());
    // More than one page of events.
    accounts
        .execute("2", Command::Deposit(vec![1; 700]))
        .await
        .expect("appended");
    let mut all = repository.stream_all_events::<Account>().await.expect("streamed");
    let mut sum = 0;
    while let Some(event) = all.next::<Account>(&[]).await {
        sum += event.expect("decoded").sequence;
    }
    assert_eq!(sum, 3 + 700 * 701 / 2);
    // A reader that stops early ends the replay.
    drop(repository.stream_all_events::<Account>().await.expect("streamed"));
}

#[tokio::test]
async fn commits_await_the_durability_that_was_asked_for() {
    let folder = std::env::temp_dir().join(format!("annals-cqrs-es-{}", std::process::id()));
    let url = format!("file:{}", folder.display());
    {
        let annals = Store::open_url(&url).expect("it opens");
        let repository = Repository::new(&annals)
            .with_durability(Durability::Synced)
            .expect("files have it");
        let accounts = CqrsFramework::new(
            PersistedEventStore::<_, Account>::new_event_store(repository),
            vec![],
            Services::default(),
        );
        accounts
            .execute("a-1", Command::Deposit(vec![5]))
            .await
            .expect("appended");
        assert_eq!(annals.reached(Durability::Synced), annals.visible());
        assert!(
            Repository::new(&Store::in_memory())
                .with_durability(Durability::Synced)
                .is_err()
        );
    }
    let annals = Store::open_url(&url).expect("it opens again");
    assert_eq!(balance(&event_store::<Account>(&annals), "a-1").await, 5);
    drop(annals);
    std::fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn faults_on_demand_reach_the_program() {
    let annals = Store::in_memory();
    let faults = Faults::new([
        Fault::new(Operation::Append, Effect::Conflict).aggregate("Account/*"),
        Fault::new(Operation::Append, Effect::CommitThenTimeout)
            .aggregate("Account/*")
            .nth(2),
    ]);
    let faults = faults.expect("they are fine");
    let accounts = CqrsFramework::new(
        event_store::<Account>(&annals.with_faults(&faults)),
        vec![],
        Services::default(),
    );
    let conflict = accounts.execute("a-1", Command::Deposit(vec![1])).await;
    assert!(matches!(conflict, Err(AggregateError::AggregateConflict)));
    let lost = accounts.execute("a-1", Command::Deposit(vec![1])).await;
    assert!(matches!(lost, Err(AggregateError::DatabaseConnectionError(_))));
    assert_eq!(
        balance(&event_store::<Account>(&annals), "a-1").await,
        1,
        "it is stored nevertheless"
    );
    faults.assert_all_fired();
}
