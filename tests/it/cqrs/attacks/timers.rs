//! Thousands of timers at one instant.

use std::time::Duration;

use annals::cqrs::{Action, Processors, Route, Saga};
use annals::{Budget, Event, Expected, NewEvent, StreamId};
use serde::{Deserialize, Serialize};

use super::SOON;
use crate::support::clocked;

#[derive(Deserialize)]
enum Ping {
    Pinged,
}

/// Sets a timer for no time whenever it is due.
#[derive(Default, Serialize, Deserialize)]
struct Spinning;

impl Saga for Spinning {
    const TYPE: &'static str = "Spinning";
    type Event = Ping;
    type Command = ();

    fn route(_: &Ping, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, Ping::Pinged: Ping) -> Vec<Action<()>> {
        (0..3_000)
            .map(|number| Action::timer_after(format!("timer-{number}"), Duration::ZERO))
            .collect()
    }

    fn timeout(&mut self, timer: &str) -> Vec<Action<()>> {
        if timer != "timer-2999" {
            return Vec::new();
        }
        vec![Action::timer_after(timer, Duration::ZERO)]
    }
}

#[test]
fn thousands_of_timers_at_one_instant_are_no_endless_loop_and_one_that_sets_itself_is() {
    let (store, _clock) = clocked(Budget::default());
    let processors = Processors::new(&store);
    let spinning = processors.saga::<Spinning>(|(), _| Ok(())).start().expect("it starts");
    let pinged = NewEvent::new("Pinged");
    store
        .append(&StreamId::new("Net", "net-1"), Expected::Any, pinged)
        .expect("an event");
    let stopped = processors.when_idle(SOON).expect_err("it stops").to_string();
    assert!(stopped.contains("timer 'timer-2999'"), "{stopped}");
    let timers = spinning.get("net-1").expect("it is read").expect("it is there").timers;
    assert_eq!(timers.len(), 1);
}
