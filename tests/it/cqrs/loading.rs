//! Loading aggregates, now and as of the past.

use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{Aggregates, LoadError, UnknownEvents};
use annals::{Clock, Expected, ManualClock, NewEvent, Position, Store, StreamId, Timestamp, Version};

use super::{Account, AccountCommand};

fn deposit(store: &Store, amount: u64) {
    let deposited = Aggregates::<Account>::new(store).execute("a", &AccountCommand::Deposit(amount));
    deposited.expect("a deposit");
}

fn balance(store: &Store) -> Result<u64, LoadError> {
    Aggregates::<Account>::new(store)
        .load("a")
        .map(|loaded| loaded.state.balance)
}

#[test]
fn an_aggregate_is_loaded_as_it_was() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(0)));
    let store = Store::builder()
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .open()
        .expect("a store");
    let accounts = Aggregates::<Account>::new(&store);
    for amount in 1..=4 {
        deposit(&store, amount);
        clock.advance(Duration::from_secs(1));
        store
            .append(&StreamId::new("Other", "o"), Expected::Any, NewEvent::new("Other"))
            .expect("another aggregate");
    }
    let at = |loaded: Result<annals::cqrs::Loaded<Account>, LoadError>| {
        let loaded = loaded.expect("it is whole");
        (loaded.version.0, loaded.state.balance)
    };
    assert_eq!(at(accounts.load("a")), (4, 10));
    for (version, balance) in [(0, 0), (1, 1), (3, 6), (4, 10)] {
        assert_eq!(at(accounts.load_version("a", Version(version))), (version, balance));
    }
    for (position, expected) in [(0, (0, 0)), (1, (1, 1)), (4, (2, 3)), (5, (3, 6)), (100, (4, 10))] {
        assert_eq!(
            at(accounts.load_as_of("a", Position(position))),
            expected,
            "position {position}"
        );
    }
    for (second, expected) in [(-1, (0, 0)), (0, (1, 1)), (2, (3, 6)), (9, (4, 10))] {
        let time = Timestamp::from_micros(second * 1_000_000);
        assert_eq!(at(accounts.load_as_of("a", time)), expected, "second {second}");
    }
    let missing = accounts.load_version("a", Version(5));
    assert!(
        matches!(
            missing,
            Err(LoadError::NoSuchVersion {
                wanted: Version(5),
                last: Version(4),
                ..
            })
        ),
        "{missing:?}"
    );
    assert_eq!(at(accounts.load("never")), (0, 0));
}

#[test]
fn an_aggregate_without_its_first_events_was_loaded_as_if_it_were_whole() {
    let store = Store::in_memory();
    (0..4).for_each(|_| deposit(&store, 1));
    store.truncate_before("a", Version(3)).expect("it exists");
    let gone = |first, last| LoadError::Incomplete {
        aggregate_id: "a".into(),
        first: Version(first),
        last: Version(last),
    };
    assert_eq!(balance(&store), Err(gone(1, 2)));
    // Nothing is left: the state is no initial one.
    store.truncate_before("a", Version(5)).expect("it exists");
    assert_eq!(balance(&store), Err(gone(1, 4)));
    let refused = Aggregates::<Account>::new(&store).execute("a", &AccountCommand::Deposit(1));
    assert!(refused.is_err());
    assert_eq!(store.read_stream("a").events().len(), 0);
}

#[test]
fn a_deleted_aggregate_begins_again() {
    let store = Store::in_memory();
    (0..3).for_each(|_| deposit(&store, 1));
    store.delete("a", Expected::Any).expect("it exists");
    assert_eq!(balance(&store), Ok(0));
    deposit(&store, 7);
    let loaded = Aggregates::<Account>::new(&store).load("a").expect("it is whole");
    assert_eq!((loaded.state.balance, loaded.version), (7, Version(4)));
    (0..2).for_each(|_| deposit(&store, 1));
    store.truncate_before("a", Version(5)).expect("it exists");
    let incomplete = balance(&store).expect_err("version 4 is gone");
    assert!(
        matches!(
            incomplete,
            LoadError::Incomplete {
                first: Version(4),
                last: Version(4),
                ..
            }
        ),
        "{incomplete:?}"
    );
}

#[test]
fn an_unknown_event_is_an_error_or_skipped() {
    let store = Store::in_memory();
    deposit(&store, 2);
    let event = NewEvent::new("Renamed").data(r#"{"name":"savings"}"#);
    store
        .append(&StreamId::new("Account", "a"), Expected::Any, event)
        .expect("an event");
    deposit_skipping(&store);
    let error = balance(&store).expect_err("the enum has no such variant");
    let id = store.event_at(Position(2)).expect("it is there").id();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read event {id} (type 'Renamed', position 2) of aggregate 'a': unknown event type 'Renamed': the enum has the variants \
             Deposited, Withdrawn"
        )
    );
}

fn deposit_skipping(store: &Store) {
    let accounts = Aggregates::<Account>::new(store).unknown_events(UnknownEvents::Skip);
    accounts
        .execute("a", &AccountCommand::Deposit(3))
        .expect("unknown events are skipped");
    let loaded = accounts.load("a").expect("unknown events are skipped");
    assert_eq!(
        (loaded.state.balance, loaded.state.events, loaded.version),
        (5, 2, Version(3))
    );
}

#[test]
fn data_that_does_not_decode_names_the_event_and_the_place() {
    let store = Store::in_memory();
    let stream = StreamId::new("Account", "a");
    let event = NewEvent::new("Deposited").data(r#"{"amount":-3}"#);
    store.append(&stream, Expected::Any, event).expect("an event");
    let text = balance(&store).expect_err("amounts are not negative").to_string();
    let wanted = ["(type 'Deposited', position 1) of aggregate 'a'", "at 'amount'", "-3"];
    assert!(wanted.iter().all(|part| text.contains(part)), "{text}");
}
