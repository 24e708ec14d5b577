//! An event that does not decode, at the very first position of the log: nothing is before it that a checkpoint could name.

use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{
    Action, Delivered, Group, HandlerError, Live, LoadError, OnFailure, Processors, Projection, Route, Saga,
};
use annals::{Event, Expected, NewEvent, Position, Store, StoreUrl, StreamId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::super::{Account, AccountCommand, AccountEvent};
use crate::support::TempFolder;

const SOON: Duration = Duration::from_secs(30);

fn poisoned(folder: &TempFolder) -> Store {
    let store = open(folder);
    let poison = NewEvent::new("Deposited").data(r#"{"amount": "five"}"#);
    store
        .append(&StreamId::new("Account", "poison"), Expected::NoStream, vec![poison])
        .expect("a store keeps bytes");
    deposit(&store, 7);
    store
}

fn open(folder: &TempFolder) -> Store {
    StoreUrl::of_folder(folder.path())
        .open(Store::builder())
        .expect("a store")
}

fn deposit(store: &Store, amount: u64) {
    let accounts = annals::cqrs::Aggregates::<Account>::new(store);
    accounts
        .execute("healthy", &AccountCommand::Deposit(amount))
        .expect("another account is not affected");
}

#[derive(Default)]
struct Count(u64);

impl Projection for Count {
    type Event = AccountEvent;

    fn apply(&mut self, _: AccountEvent, _: &Event) -> Result<(), HandlerError> {
        self.0 += 1;
        Ok(())
    }
}

#[test]
fn a_projection_stops_at_it_or_parks_it() {
    let folder = TempFolder::new();
    let store = poisoned(&folder);
    let processors = Processors::new(&store);
    let stopped = processors
        .project("stops", Count::default())
        .on_failure(OnFailure::stop())
        .start()
        .expect("it starts");
    let error = stopped.when_caught_up(SOON).expect_err("it stops");
    let told = error.to_string();
    assert!(
        told.contains("position 1") && told.contains("Deposited") && told.contains("amount"),
        "{told}"
    );
    let parks = processors
        .project("parks", Count::default())
        .on_failure(OnFailure::park())
        .start()
        .expect("it starts");
    parks.when_caught_up(SOON).expect("it goes on");
    assert_eq!((parks.read(|count| count.0), parks.skipped().1), (1, 1));
    let live = Live::new(&store, Count::default());
    let told = live.read(|count| count.0).expect_err("it cannot be folded").to_string();
    assert!(told.contains("position 1"), "{told}");
    let loaded = annals::cqrs::Aggregates::<Account>::new(&store).load("poison");
    assert!(matches!(loaded, Err(LoadError::Undecodable(_))), "{loaded:?}");
}

#[test]
fn a_subscription_parked_it_again_after_a_restart() {
    let folder = TempFolder::new();
    let store = poisoned(&folder);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let start = |store: &Store| {
        let (processors, log) = (Processors::new(store), Arc::clone(&seen));
        let handler = move |delivered: Delivered<'_, AccountEvent>| {
            log.lock().push(delivered.record.position());
            Ok(())
        };
        let mailer = processors
            .subscribe("mailer", handler)
            .on_failure(OnFailure::park())
            .start()
            .expect("it starts");
        mailer.when_caught_up(SOON).expect("it goes on");
        let letters = mailer.letters().expect("they are read");
        processors.end();
        letters
    };
    let letters = start(&store);
    assert_eq!((letters.len(), letters[0].position), (1, Position(1)));
    assert!(letters[0].reason.contains("amount"), "{}", letters[0].reason);
    store.close().expect("it is written");
    let store = open(&folder);
    deposit(&store, 8);
    assert_eq!(start(&store), letters, "the same letter, once");
    assert_eq!(seen.lock().len(), 2, "each other event once");
    assert_eq!(seen.lock()[0], Position(2));
}

#[test]
fn a_subscription_that_stops_at_it_begins_at_it_again() {
    let folder = TempFolder::new();
    let store = poisoned(&folder);
    for _ in 0..2 {
        let processors = Processors::new(&store);
        let handler = |_: Delivered<'_, AccountEvent>| Ok(());
        let mailer = processors
            .subscribe("mailer", handler)
            .on_failure(OnFailure::stop())
            .start()
            .expect("it starts");
        let error = mailer.when_caught_up(SOON).expect_err("it stops");
        assert!(error.to_string().contains("position 1"), "{error}");
        assert_eq!((mailer.status().position, mailer.status().handled), (Position(0), 0));
        processors.end();
    }
}

#[test]
fn a_group_parks_it_and_delivers_the_rest() {
    let folder = TempFolder::new();
    let store = poisoned(&folder);
    let group: Group<AccountEvent> = Group::builder(&store, "billing").open().expect("it opens");
    let received = group.receive(SOON).expect("it runs").expect("the healthy event");
    assert_eq!(received.record.position(), Position(2));
    received.ack().expect("it is held");
    let letters = group.letters();
    assert_eq!((letters.len(), letters[0].position), (1, Position(1)));
}

#[derive(Default, Serialize, Deserialize)]
struct Watch;

impl Saga for Watch {
    const TYPE: &'static str = "Watch";
    type Event = AccountEvent;
    type Command = ();

    fn route(_: &AccountEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, _: AccountEvent) -> Vec<Action<()>> {
        vec![Action::Complete]
    }
}

#[test]
fn a_saga_stops_at_it_and_names_it() {
    let folder = TempFolder::new();
    let store = poisoned(&folder);
    let processors = Processors::new(&store);
    let sagas = processors.saga::<Watch>(|(), _| Ok(())).start().expect("it starts");
    let error = sagas.when_caught_up(SOON).expect_err("it stops");
    assert!(error.to_string().contains("position 1"), "{error}");
    deposit(&store, 9);
    assert_eq!(
        store.read_stream("healthy").events().len(),
        2,
        "the store is not affected"
    );
}
