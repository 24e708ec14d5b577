//! Commands to several aggregates: together or not at all.

use std::sync::atomic::{AtomicU64, Ordering};

use annals::cqrs::{Aggregates, CommandError, Retry, Together};
use annals::{Error, Expected, NewEvent, Position, Store, StreamId, Version};
use uuid::Uuid;

use super::{Account, AccountCommand};

fn accounts(store: &Store) -> Aggregates<Account> {
    Aggregates::new(store)
}

fn balance(store: &Store, id: &str) -> u64 {
    accounts(store).load(id).expect("it is whole").state.balance
}

fn transfer(store: &Store, from: &str, to: &str, amount: u64) -> Result<usize, CommandError<String>> {
    let accounts = accounts(store);
    let retry = Retry::default().attempts(1_000);
    let done = Together::new(store).retry(retry).execute(|work| {
        work.execute(&accounts, from, &AccountCommand::Withdraw(amount))?;
        work.execute(&accounts, to, &AccountCommand::Deposit(amount))
    });
    done.map(|appended| appended.len())
}

#[test]
fn a_rejected_part_leaves_the_other_undone() {
    let store = Store::in_memory();
    accounts(&store)
        .execute("a", &AccountCommand::Deposit(10))
        .expect("a deposit");
    assert_eq!(transfer(&store, "a", "b", 10), Ok(2));
    assert_eq!((balance(&store, "a"), balance(&store, "b")), (0, 10));
    let refused = transfer(&store, "a", "b", 1);
    assert_eq!(refused, Err(CommandError::Rejected("the balance is 0".to_owned())));
    assert_eq!(store.visible(), Position(3));
    let nothing = Together::new(&store).execute(|work| work.execute(&accounts(&store), "a", &AccountCommand::Audit));
    assert_eq!(nothing.map(|appended| appended.len()), Ok(0));
}

#[test]
fn transfers_of_many_threads_lose_nothing() {
    let store = Store::in_memory();
    for id in ["a", "b", "c"] {
        accounts(&store)
            .execute(id, &AccountCommand::Deposit(100))
            .expect("a deposit");
    }
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a"), ("b", "a")] {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let transferred = (0..50).filter(|_| transfer(store, from, to, 1).is_ok()).count();
                done.fetch_add(transferred as u64, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(balance(&store, "a") + balance(&store, "b") + balance(&store, "c"), 300);
    assert_eq!(store.visible().0, 3 + 2 * done.into_inner());
}

#[test]
fn two_commands_for_one_aggregate_are_refused() {
    let store = Store::in_memory();
    let twice = Together::new(&store).execute(|work| {
        work.execute(&accounts(&store), "a", &AccountCommand::Deposit(1))?;
        work.execute(&accounts(&store), "a", &AccountCommand::Deposit(1))
    });
    assert!(
        matches!(twice, Err(CommandError::Store(Error::Invalid { .. }))),
        "{twice:?}"
    );
    assert_eq!(store.visible(), Position(0));
}

#[test]
fn aggregates_of_another_store_are_refused() {
    let (store, other) = (Store::in_memory(), Store::in_memory());
    let mixed = Together::new(&store).execute(|work| {
        work.execute(&accounts(&store), "a", &AccountCommand::Deposit(1))?;
        work.execute(&accounts(&other), "b", &AccountCommand::Deposit(1))
    });
    assert!(mixed.expect_err("two stores").to_string().contains("another store"));
    assert_eq!((store.visible(), other.visible()), (Position(0), Position(0)));
}

#[test]
fn work_that_comes_again_is_done_once() {
    let store = Store::in_memory();
    accounts(&store)
        .execute("a", &AccountCommand::Deposit(10))
        .expect("a deposit");
    let id = Uuid::from_u128(1);
    let run = || {
        Together::new(&store).execute(|work| {
            work.execute_once(id, &accounts(&store), "a", &AccountCommand::Withdraw(10))?;
            work.execute_once(id, &accounts(&store), "b", &AccountCommand::Deposit(10))
        })
    };
    let first = run().expect("a transfer");
    assert!(first.iter().all(|part| !part.repeated));
    // The withdrawal would be rejected now.
    let again = run().expect("it is known");
    assert!(again.iter().all(|part| part.repeated), "{again:?}");
    assert_eq!(
        (balance(&store, "a"), balance(&store, "b"), store.visible()),
        (0, 10, Position(3))
    );
}

#[test]
fn a_conflict_in_one_part_repeats_the_whole_work() {
    let store = Store::in_memory();
    accounts(&store)
        .execute("a", &AccountCommand::Deposit(10))
        .expect("a deposit");
    let mut attempts = 0;
    let done = Together::new(&store).execute(|work| {
        attempts += 1;
        work.execute(&accounts(&store), "a", &AccountCommand::Withdraw(1))?;
        if attempts == 1 {
            let event = NewEvent::new("Deposited").data(r#"{"amount":5}"#);
            let stream = StreamId::new("Account", "a");
            store.append(&stream, Expected::exactly(1), event)?;
        }
        work.execute(&accounts(&store), "b", &AccountCommand::Deposit(1))
    });
    let done = done.expect("the second attempt");
    assert_eq!(
        (attempts, done[0].last_version, done[1].last_version),
        (2, Version(3), Version(1))
    );
    assert_eq!(balance(&store, "a"), 14);
}
