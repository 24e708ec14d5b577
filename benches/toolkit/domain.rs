//! The domain of the toolkit's benchmarks: accounts, and the same work on them by hand, with nothing but the store and `serde_json`.

use annals::cqrs::Aggregate;
use annals::{Conflict, Error, Event, Expected, NewEvent, Store, StreamId};
use serde::{Deserialize, Serialize};

/// The state of an account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) balance: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    Deposited(Movement),
    Withdrawn(Movement),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Movement {
    pub(crate) amount: u64,
    pub(crate) reference: String,
}

impl Movement {
    pub(crate) fn of(amount: u64) -> Self {
        Self {
            amount,
            reference: "2026-01-31/0004711".to_owned(),
        }
    }
}

impl Account {
    /// The decision of a deposit: the toolkit and the code by hand make the same one.
    fn deposit(&self, amount: u64) -> Result<Movement, String> {
        match self.balance.checked_add(amount) {
            Some(_) => Ok(Movement::of(amount)),
            None => Err(format!("the balance is {}", self.balance)),
        }
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = AccountEvent;
    type Command = u64;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, amount: &u64) -> Result<Vec<AccountEvent>, String> {
        self.deposit(*amount)
            .map(|movement| vec![AccountEvent::Deposited(movement)])
    }

    fn evolve(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Deposited(movement) => self.balance += movement.amount,
            AccountEvent::Withdrawn(movement) => self.balance -= movement.amount,
        }
    }
}

#[expect(clippy::panic, reason = "a benchmark whose work fails has no figure")]
pub(crate) fn sure<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// A store with `aggregates` accounts that have `events` events each, one after the other.
pub(crate) fn filled(aggregates: usize, events: u64) -> Store {
    let store = Store::in_memory();
    for number in 0..events {
        for aggregate in 0..aggregates {
            let data = sure(serde_json::to_vec(&Movement::of(number)));
            let event = NewEvent::new("Deposited").data(data);
            sure(store.append(&StreamId::new("Account", id_of(aggregate)), Expected::Any, event));
        }
    }
    store
}

pub(crate) fn id_of(aggregate: usize) -> String {
    format!("account-{aggregate}")
}

/// An event as the enum, by hand.
pub(crate) fn decode_by_hand(event: &Event) -> AccountEvent {
    let movement = sure(event.json::<Movement>());
    match event.event_type() {
        "Deposited" => AccountEvent::Deposited(movement),
        _ => AccountEvent::Withdrawn(movement),
    }
}

/// The account and its version, by hand.
pub(crate) fn load_by_hand(store: &Store, id: &str) -> (Account, u64) {
    store
        .read_stream(id)
        .fold((Account::default(), 0), |(mut account, _), event| {
            let movement = sure(event.json::<Movement>());
            match event.event_type() {
                "Deposited" => account.balance += movement.amount,
                _ => account.balance -= movement.amount,
            }
            (account, event.version().0)
        })
}

/// The same load, decision and append as the toolkit's, again at once after a conflict. Returns the attempts.
pub(crate) fn execute_by_hand(store: &Store, id: &str, amount: u64) -> u32 {
    let stream = StreamId::new("Account", id);
    for attempt in 1.. {
        let (account, version) = load_by_hand(store, id);
        let movement = sure(account.deposit(amount));
        let data = sure(serde_json::to_vec(&movement));
        let event = NewEvent::new("Deposited").data(data);
        let expected = match version {
            0 => Expected::NoStream,
            version => Expected::exactly(version),
        };
        match store.append(&stream, expected, event) {
            Err(Error::Conflict(conflict)) if matches!(*conflict, Conflict::Version { .. }) => {}
            outcome => {
                sure(outcome);
                return attempt;
            }
        }
    }
    0
}
