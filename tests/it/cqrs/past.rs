//! Loading aggregates that were deleted, truncated, or are not what the caller takes them for.

use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{Aggregates, CommandError, LoadError, UnknownEvents};
use annals::{Clock, Expected, ManualClock, NewEvent, Position, Store, StreamId, Timestamp, Version};

use super::{Account, AccountCommand};

fn accounts(store: &Store) -> Aggregates<Account> {
    Aggregates::new(store)
}

fn deposit(store: &Store, count: u32) {
    for _ in 0..count {
        let deposited = accounts(store).execute("a", &AccountCommand::Deposit(1));
        deposited.expect("a deposit");
    }
}

fn gone(first: u64, last: u64) -> LoadError {
    LoadError::Incomplete {
        aggregate_id: "a".into(),
        first: Version(first),
        last: Version(last),
    }
}

/// Version and balance.
fn loaded(result: Result<annals::cqrs::Loaded<Account>, LoadError>) -> Result<(u64, u64), LoadError> {
    result.map(|loaded| (loaded.version.0, loaded.state.balance))
}

#[test]
fn an_aggregate_of_another_type_was_loaded_as_this_one() {
    let store = Store::in_memory();
    let card = StreamId::new("Card", "a");
    let event = || NewEvent::new("Deposited").data(r#"{"amount":900}"#);
    store
        .append(&card, Expected::Any, vec![event(), event()])
        .expect("a card");
    let skipping = accounts(&store).unknown_events(UnknownEvents::Skip);
    let other = LoadError::OtherType {
        aggregate_id: "a".into(),
        wanted: "Account".into(),
        actual: "Card".into(),
    };
    let check = || {
        for loaded in [
            accounts(&store).load("a"),
            skipping.load("a"),
            accounts(&store).load_version("a", Version(1)),
            accounts(&store).load_as_of("a", Position(1)),
        ] {
            assert_eq!(loaded.map(|loaded| loaded.version), Err(other.clone()));
        }
        // The command would be accepted on what is there.
        let command = AccountCommand::Withdraw(1);
        let executed = accounts(&store).execute("a", &command);
        assert_eq!(executed, Err(CommandError::Load(other.clone())));
    };
    check();
    // Without an event of its own left, the id still belongs to the card.
    store.delete("a", Expected::Any).expect("it exists");
    assert_eq!(
        accounts(&store).load("a").map(|loaded| loaded.version),
        Err(other.clone())
    );
    assert_eq!(
        other.to_string(),
        "aggregate 'a' is of type 'Card', not 'Account': an id belongs to one type"
    );
}

#[test]
fn an_aggregate_deleted_for_good_asked_for_an_archive() {
    let store = Store::in_memory();
    let deleted = || LoadError::Deleted {
        aggregate_id: "a".into(),
    };
    for begin in 0..2 {
        let store = store.fork();
        deposit(&store, 2);
        if begin == 1 {
            store.delete("a", Expected::Any).expect("it exists");
        }
        store.tombstone("a", Expected::Any).expect("it exists");
        assert_eq!(loaded(accounts(&store).load("a")), Err(deleted()));
        assert_eq!(loaded(accounts(&store).load_version("a", Version(1))), Err(deleted()));
        assert_eq!(loaded(accounts(&store).load_as_of("a", Position(1))), Err(deleted()));
        let command = AccountCommand::Audit;
        assert_eq!(
            accounts(&store).execute("a", &command),
            Err(CommandError::Load(deleted()))
        );
    }
}

#[test]
fn a_version_after_a_deletion_could_not_be_loaded() {
    let store = Store::in_memory();
    deposit(&store, 3);
    store.delete("a", Expected::Any).expect("it exists");
    let missing = |last| LoadError::NoSuchVersion {
        aggregate_id: "a".into(),
        wanted: Version(6),
        last: Version(last),
    };
    let at = |version| loaded(accounts(&store).load_version("a", Version(version)));
    assert_eq!(at(6), Err(missing(3)));
    deposit(&store, 2);
    assert_eq!((at(0), at(4), at(5)), (Ok((0, 0)), Ok((4, 1)), Ok((5, 2))));
    assert_eq!(at(6), Err(missing(5)));
    // What was deleted is not there any more.
    assert_eq!([at(1), at(3)], [Err(gone(1, 3)), Err(gone(1, 3))]);
    // A version that is there needs those before it, back to the beginning.
    store.truncate_before("a", Version(5)).expect("it exists");
    assert_eq!([at(4), at(5)], [Err(gone(4, 4)), Err(gone(4, 4))]);
}

#[test]
fn an_aggregate_before_its_deletion_was_loaded_as_if_it_had_never_been() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    let store = Store::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).open();
    let store = store.expect("a store");
    let second = || clock.advance(Duration::from_secs(1));
    deposit(&store, 2);
    second();
    store.delete("a", Expected::Any).expect("it exists");
    second();
    deposit(&store, 1);
    second();
    store.delete("a", Expected::Any).expect("it exists");
    second();
    deposit(&store, 1);
    // Positions: two deposits, the deletion, a deposit, the second deletion, a deposit.
    let at = |position| loaded(accounts(&store).load_as_of("a", Position(position)));
    let then = |second: i64| loaded(accounts(&store).load_as_of("a", Timestamp::from_micros(second * 1_000_000)));
    for position in 1..=4 {
        assert_eq!(at(position), Err(gone(1, 3)), "position {position}");
    }
    for second in 0..=2 {
        assert_eq!(then(second), Err(gone(1, 3)), "second {second}");
    }
    assert_eq!((at(5), at(6), at(99)), (Ok((0, 0)), Ok((4, 1)), Ok((4, 1))));
    assert_eq!((then(3), then(4)), (Ok((0, 0)), Ok((4, 1))));
    // An aggregate that was never deleted has a beginning.
    assert_eq!(loaded(accounts(&store).load_as_of("b", Position(1))), Ok((0, 0)));
}
