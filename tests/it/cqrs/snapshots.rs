//! Snapshots: saved by policy, used where they fit, and never trusted where they do not.

use std::time::Duration;

use annals::cqrs::{Aggregate, Aggregates, LoadError, Loaded, SnapshotCounts, SnapshotPolicy};
use annals::{Budget, Expected, NewSnapshot, Position, Store, Version};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Account, AccountCommand};
use crate::support::{TempFolder, clocked};

fn accounts(store: &Store, policy: SnapshotPolicy) -> Aggregates<Account> {
    Aggregates::new(store).snapshots(policy)
}

fn deposit(accounts: &Aggregates<Account>, count: u64) {
    for _ in 0..count {
        accounts.execute("a", &AccountCommand::Deposit(1)).expect("a deposit");
    }
}

#[test]
fn a_load_folds_what_came_since_the_snapshot_alone() {
    let store = Store::in_memory();
    let accounts = accounts(&store, SnapshotPolicy::default());
    deposit(&accounts, 250);
    let loaded = accounts.load("a").expect("it is whole");
    assert_eq!(
        (loaded.state.balance, loaded.version, loaded.folded),
        (250, Version(250), 50)
    );
    let counts = accounts.snapshot_counts();
    assert_eq!((counts.saved, counts.refused, counts.outdated), (2, 0, 0));
    assert_eq!(store.snapshot("a").expect("a snapshot").version, Version(200));
    // Another handle finds it.
    let fresh = Aggregates::<Account>::new(&store).snapshots(SnapshotPolicy::on_demand());
    assert_eq!(fresh.load("a").expect("it is whole").folded, 50);
    assert_eq!(
        Aggregates::<Account>::new(&store)
            .load("a")
            .expect("it is whole")
            .folded,
        250
    );
}

#[test]
fn policies_compose() {
    let (store, clock) = clocked(Budget::default());
    let taken = || store.snapshot("a").map_or(0, |snapshot| snapshot.version.0);
    let after = accounts(&store, SnapshotPolicy::on_demand().or_after(Duration::from_secs(60)));
    deposit(&after, 3);
    assert_eq!(taken(), 0);
    clock.advance(Duration::from_secs(60));
    deposit(&after, 1);
    assert_eq!(taken(), 4);
    let bytes = accounts(&store, SnapshotPolicy::every(1_000).or_bytes(30));
    deposit(&bytes, 2);
    assert_eq!(taken(), 4, "{} bytes", 2 * r#"{"amount":1}"#.len());
    deposit(&bytes, 1);
    assert_eq!(taken(), 7);
    let on_demand = accounts(&store, SnapshotPolicy::on_demand());
    deposit(&on_demand, 500);
    assert_eq!(taken(), 7);
    assert!(on_demand.save_snapshot("a").expect("it is saved").is_some());
    assert_eq!(taken(), 507);
    assert_eq!(on_demand.save_snapshot("never written"), Ok(None));
    let error = Aggregates::<Account>::new(&store)
        .save_snapshot("a")
        .expect_err("no snapshots");
    assert!(
        error.to_string().contains("call `Aggregates::snapshots` first"),
        "{error}"
    );
}

#[test]
fn the_past_is_loaded_from_the_nearest_snapshot() {
    let (store, clock) = clocked(Budget::default());
    let accounts = accounts(&store, SnapshotPolicy::every(10).keep(3));
    let mut times = Vec::new();
    for _ in 0..58 {
        deposit(&accounts, 1);
        times.push(store.now());
        clock.advance(Duration::from_secs(1));
    }
    let plain = Aggregates::<Account>::new(&store);
    for version in 1..=58_u64 {
        let at = usize::try_from(version - 1).expect("small");
        let position = store.read_stream("a").from(Version(version)).limit(1).events()[0].position();
        let want = plain.load_version("a", Version(version)).expect("it is whole");
        for got in [
            accounts.load_version("a", Version(version)),
            accounts.load_as_of("a", position),
            accounts.load_as_of("a", times[at]),
        ] {
            let got = got.expect("it is whole");
            assert_eq!((&got.state, got.version), (&want.state, want.version));
            // The last three snapshots are of versions 30, 40 and 50.
            let folded = if version >= 30 { version % 10 } else { version };
            assert_eq!(got.folded, folded, "version {version}");
        }
    }
    assert_eq!(
        accounts.load_version("a", Version(99)),
        Err(LoadError::NoSuchVersion {
            aggregate_id: "a".into(),
            wanted: Version(99),
            last: Version(58)
        })
    );
}

#[test]
fn a_snapshot_of_another_aggregate_type_or_version_was_read_as_a_state() {
    let store = Store::in_memory();
    deposit(&accounts(&store, SnapshotPolicy::every(5)), 5);
    let newer = accounts(&store, SnapshotPolicy::every(5).state_version(2));
    let loaded = newer.load("a").expect("it is whole");
    assert_eq!((loaded.state.balance, loaded.folded), (5, 5));
    deposit(&newer, 1);
    assert_eq!(newer.load("a").expect("it is whole").folded, 0, "it is replaced");
    let SnapshotCounts { outdated, used, .. } = newer.snapshot_counts();
    assert_eq!((outdated, used), (2, 1));
    // A snapshot of another shape, saved without the toolkit, and one of this shape that does not decode.
    store
        .save_snapshot("a", NewSnapshot::new(Version(6)).data(r#"{"balance":900,"events":6}"#))
        .expect("it is saved");
    assert_eq!(newer.load("a").expect("it is whole").state.balance, 6);
    let shape = {
        newer.save_snapshot("a").expect("it is saved");
        store.snapshot("a").expect("it is there").schema_version
    };
    store
        .save_snapshot("a", NewSnapshot::new(Version(6)).schema_version(shape).data("{"))
        .expect("it is saved");
    assert_eq!(newer.load("a").expect("it is whole").state.balance, 6);
    assert_eq!(newer.snapshot_counts().unreadable, 1);
}

#[test]
fn a_snapshot_stands_for_events_that_are_gone() {
    let store = Store::in_memory();
    let accounts = accounts(&store, SnapshotPolicy::every(10));
    deposit(&accounts, 13);
    store.truncate_before("a", Version(11)).expect("it exists");
    assert_eq!(accounts.load("a").expect("the snapshot has them").state.balance, 13);
    assert!(Aggregates::<Account>::new(&store).load("a").is_err());
    store.truncate_before("a", Version(12)).expect("it exists");
    let lost = accounts.load("a");
    assert!(matches!(lost, Err(LoadError::Incomplete { .. })), "{lost:?}");
}

#[test]
fn a_deleted_aggregate_came_back_from_its_snapshot() {
    let store = Store::in_memory();
    let accounts = accounts(&store, SnapshotPolicy::every(10));
    deposit(&accounts, 10);
    store.delete("a", Expected::Any).expect("it exists");
    assert_eq!(accounts.load("a").expect("deleted").state, Account::default());
    deposit(&accounts, 1);
    let loaded = accounts.load("a").expect("it began again");
    assert_eq!((loaded.state.balance, loaded.version), (1, Version(11)));
    store.tombstone("a", Expected::Any).expect("it exists");
    assert!(matches!(accounts.load("a"), Err(LoadError::Deleted { .. })));
}

#[test]
fn a_command_succeeds_where_its_snapshot_is_refused() {
    #[derive(Default, Serialize, Deserialize)]
    struct Wide {
        text: String,
    }
    #[derive(Serialize, Deserialize)]
    enum Widened {
        Widened,
    }
    impl Aggregate for Wide {
        const TYPE: &'static str = "Wide";
        type Event = Widened;
        type Command = ();
        type Rejection = String;
        fn initial() -> Self {
            Self::default()
        }
        fn decide(&self, (): &()) -> Result<Vec<Widened>, String> {
            Ok(vec![Widened::Widened])
        }
        fn evolve(&mut self, _: Widened) {
            self.text.push_str(&"x".repeat(1_000));
        }
    }
    let store = crate::support::with_limits(annals::Limits::default().payload_bytes_max(4_000));
    let wide = Aggregates::<Wide>::new(&store).snapshots(SnapshotPolicy::every(2));
    for _ in 0..10 {
        wide.execute("a", &()).expect("the command itself has room");
    }
    let counts = wide.snapshot_counts();
    assert_eq!(counts.saved, 1);
    assert!(counts.refused >= 3, "{counts:?}");
    assert!(matches!(wide.save_snapshot("a"), Err(LoadError::Snapshot { .. })));
    assert_eq!(wide.load("a").expect("it is whole").state.text.len(), 10_000);
}

#[test]
fn a_known_command_behind_a_snapshot_was_executed_again() {
    let store = Store::in_memory();
    let accounts = accounts(&store, SnapshotPolicy::every(5));
    let id = uuid::Uuid::from_u128(7);
    accounts
        .execute_once(id, "a", &AccountCommand::Deposit(3))
        .expect("a deposit");
    deposit(&accounts, 10);
    let again = accounts
        .execute_once(id, "a", &AccountCommand::Deposit(3))
        .expect("known");
    assert!(again.appended.expect("an event").repeated);
    assert_eq!(accounts.load("a").expect("it is whole").state.balance, 13);
}

#[test]
fn snapshots_are_found_after_a_restart() {
    let folder = TempFolder::new();
    let url = format!("file:{}", folder.path().display());
    let policy = SnapshotPolicy::every(10).keep(2);
    {
        let store = Store::open_url(&url).expect("a store");
        deposit(&accounts(&store, policy), 35);
        store.close().expect("it is written");
    }
    let store = Store::open_url(&url).expect("a store");
    let accounts = accounts(&store, policy);
    assert_eq!(accounts.load("a").expect("it is whole").folded, 5);
    assert_eq!(accounts.load_version("a", Version(29)).expect("it is whole").folded, 9);
    assert_eq!(accounts.load_version("a", Version(19)).expect("it is whole").folded, 19);
    assert_eq!(store.visible(), Position(38), "35 events and 3 snapshots");
}

proptest! {
    /// Whatever is done between, a load with snapshots leads to what a load of all events leads to.
    #[test]
    fn snapshot_and_tail_equal_a_full_replay(
        every in 1_u64..8,
        keep in 1_u32..4,
        steps in proptest::collection::vec((0_u8..12, 1_u64..5), 1..60),
    ) {
        let store = Store::in_memory();
        let saved = accounts(&store, SnapshotPolicy::every(every).keep(keep));
        let plain = Aggregates::<Account>::new(&store);
        for (step, amount) in steps {
            match step {
                0..=6 => drop(saved.execute("a", &AccountCommand::Deposit(amount))),
                7 | 8 => drop(saved.execute("a", &AccountCommand::Withdraw(amount))),
                9 => drop(plain.execute("a", &AccountCommand::Exchange(1, amount))),
                10 => drop(saved.save_snapshot("a")),
                _ => drop(store.delete("a", Expected::Any)),
            }
            let with: Loaded<Account> = saved.load("a").expect("it is whole");
            let full = plain.load("a").expect("it is whole");
            prop_assert_eq!((&with.state, with.version), (&full.state, full.version));
            prop_assert!(with.folded <= full.folded);
            for version in 0..=full.version.0 {
                let with = saved.load_version("a", Version(version)).map(|loaded| loaded.state);
                let full = plain.load_version("a", Version(version)).map(|loaded| loaded.state);
                prop_assert_eq!(with, full, "version {}", version);
            }
        }
    }
}
