//! What handlers, other owners, clocks and other threads do at the wrong moment.

mod handlers;
mod models;
mod poison;
mod sagas;
mod timers;

use std::sync::mpsc::channel;
use std::time::Duration;

use annals::cqrs::Aggregates;
use annals::{Position, Store};

use super::{Account, AccountCommand, AccountEvent};

const SOON: Duration = Duration::from_secs(30);
/// Longer than what is waited for takes on any machine: it hangs then.
const HANGS: Duration = Duration::from_secs(20);

fn accounts(store: &Store) -> Aggregates<Account> {
    Aggregates::new(store)
}

fn deposit(store: &Store, id: &str, amount: u64) -> Position {
    let done = accounts(store).execute(id, &AccountCommand::Deposit(amount));
    done.expect("a deposit").appended.expect("an event").last_position
}

fn amount(event: &AccountEvent) -> u64 {
    match *event {
        AccountEvent::Deposited { amount } | AccountEvent::Withdrawn { amount } => amount,
    }
}

/// Runs `work` on a thread of its own, and fails when it does not return.
fn returns<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = channel();
    std::thread::spawn(move || done.send(work()));
    finished
        .recv_timeout(HANGS)
        .unwrap_or_else(|error| panic!("{what} does not return: {error}"))
}
