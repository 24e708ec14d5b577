//! The toolkit and the same work by hand.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use annals::cqrs::{Aggregates, HandlerError, Live, Processors, Projection};
use annals::{Delivery, Event, Position, Query};

use self::domain::{
    Account, AccountEvent, Movement, decode_by_hand, execute_by_hand, filled, id_of, load_by_hand, sure,
};
use super::store;

#[path = "../toolkit/domain.rs"]
mod domain;

const LOADED: usize = 100;
const LOADED_EVENTS: u64 = 100;
/// Events of one pass of a projection.
const PROJECTED: u64 = 10_000;
const SOON: Duration = Duration::from_secs(600);

/// The work with this name, if it is one of these.
pub(crate) fn work(name: &str) -> Option<fn(usize)> {
    Some(match name {
        "load-typed" => load_typed,
        "load-by-hand" => load_untyped,
        "command" => command,
        "command-by-hand" => command_by_hand,
        "two-commands" => two_commands,
        "two-commands-by-hand" => two_commands_by_hand,
        "command-inline" => inline,
        "command-applied-by-hand" => applied_by_hand,
        "command-handler-and-record" => handler_and_record,
        "command-handler" => handler_alone,
        "projection" => projection,
        "projection-live" => projection_live,
        "projection-by-hand" => projection_by_hand,
        _ => return None,
    })
}

/// Aggregates of 100 events.
fn load_typed(count: usize) {
    let store = filled(LOADED, LOADED_EVENTS);
    let accounts = Aggregates::<Account>::new(&store);
    for number in 0..count {
        black_box(sure(accounts.load(&id_of(number % LOADED))).state.balance);
    }
}

fn load_untyped(count: usize) {
    let store = filled(LOADED, LOADED_EVENTS);
    for number in 0..count {
        black_box(load_by_hand(&store, &id_of(number % LOADED)).0.balance);
    }
}

/// The first command of each aggregate.
fn command(count: usize) {
    let store = store();
    let accounts = Aggregates::<Account>::new(&store);
    for number in 0..count {
        black_box(sure(accounts.execute(&id_of(number), &5)));
    }
}

fn command_by_hand(count: usize) {
    let store = store();
    for number in 0..count {
        black_box(execute_by_hand(&store, &id_of(number), 5));
    }
}

/// The first and the second command of each aggregate.
fn two_commands(count: usize) {
    let store = store();
    let accounts = Aggregates::<Account>::new(&store);
    for number in 0..count {
        for _ in 0..2 {
            black_box(sure(accounts.execute(&id_of(number), &5)));
        }
    }
}

fn two_commands_by_hand(count: usize) {
    let store = store();
    for number in 0..count {
        for _ in 0..2 {
            black_box(execute_by_hand(&store, &id_of(number), 5));
        }
    }
}

/// The balances by account.
#[derive(Default)]
struct Balances(HashMap<String, u64>);

impl Projection for Balances {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, record: &Event) -> Result<(), HandlerError> {
        self.add(event, record.aggregate_id());
        Ok(())
    }
}

impl Balances {
    fn add(&mut self, event: AccountEvent, id: &str) {
        let (AccountEvent::Deposited(movement) | AccountEvent::Withdrawn(movement)) = event;
        match self.0.get_mut(id) {
            Some(balance) => *balance += movement.amount,
            None => drop(self.0.insert(id.to_owned(), movement.amount)),
        }
    }
}

fn inline(count: usize) {
    let store = store();
    let live = Live::new(&store, Balances::default());
    let accounts = Aggregates::<Account>::new(&store).inline(&live);
    for number in 0..count {
        black_box(sure(accounts.execute(&id_of(number), &5)));
    }
    assert_eq!(sure(live.read(|balances| balances.0.len())), count);
}

/// The event is read back and decoded for the handler.
fn applied_by_hand(count: usize) {
    let store = store();
    let accounts = Aggregates::<Account>::new(&store);
    let mut balances = Balances::default();
    for number in 0..count {
        let executed = sure(accounts.execute(&id_of(number), &5));
        let position = executed.appended.map(|appended| appended.last_position);
        if let Some(event) = position.and_then(|position| store.event_at(position)) {
            apply(&mut balances, &event);
        }
    }
    assert_eq!(balances.0.len(), count);
}

/// The handler of an event that is at hand, with the record of it that the handler is given.
fn handler_and_record(count: usize) {
    let store = store();
    let accounts = Aggregates::<Account>::new(&store);
    let mut balances = Balances::default();
    for number in 0..count {
        let executed = sure(accounts.execute(&id_of(number), &5));
        let position = executed.appended.map(|appended| appended.last_position);
        if let Some(record) = position.and_then(|position| store.event_at(position)) {
            let applied = balances.apply(AccountEvent::Deposited(Movement::of(5)), &record);
            sure(applied.map_err(|error| error.to_string()));
        }
    }
    assert_eq!(balances.0.len(), count);
}

/// The handler of an event that is at hand, without its record.
fn handler_alone(count: usize) {
    let store = store();
    let accounts = Aggregates::<Account>::new(&store);
    let mut balances = Balances::default();
    for number in 0..count {
        let id = id_of(number);
        black_box(sure(accounts.execute(&id, &5)));
        balances.add(AccountEvent::Deposited(Movement::of(5)), &id);
    }
    assert_eq!(balances.0.len(), count);
}

fn apply(balances: &mut Balances, event: &Event) {
    sure(
        balances
            .apply(decode_by_hand(event), event)
            .map_err(|error| error.to_string()),
    );
}

/// Each time the projection reads all events, on a thread of its own.
fn projection(count: usize) {
    let store = filled(LOADED, PROJECTED / LOADED as u64);
    for _ in 0..count {
        let processors = Processors::new(&store);
        let balances = sure(processors.project("balances", Balances::default()).start());
        sure(balances.when_processed(store.visible(), SOON));
        assert_eq!(balances.read(|balances| balances.0.len()), LOADED);
    }
}

fn projection_live(count: usize) {
    let store = filled(LOADED, PROJECTED / LOADED as u64);
    for _ in 0..count {
        let live = Live::new(&store, Balances::default());
        assert_eq!(sure(live.read(|balances| balances.0.len())), LOADED);
    }
}

fn projection_by_hand(count: usize) {
    let store = filled(LOADED, PROJECTED / LOADED as u64);
    for _ in 0..count {
        let mut balances = Balances::default();
        let mut tail = sure(store.tail(Query::all().event_types(["Deposited", "Withdrawn"]), Position(0)));
        while !tail.is_caught_up() {
            for delivery in tail.try_batch(256) {
                if let Delivery::Event(event) = delivery {
                    apply(&mut balances, &event);
                }
            }
        }
        assert_eq!(balances.0.len(), LOADED);
    }
}
