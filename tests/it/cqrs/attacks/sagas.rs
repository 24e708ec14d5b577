//! Sagas: timers, attempts, and their streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use annals::cqrs::{Action, HandlerError, Processors, Retry, Route, Saga, SendError};
use annals::{Budget, Event, Expected, NewEvent, Position, Store, StreamId, Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::{SOON, returns};
use crate::support::clocked;

#[derive(Serialize, Deserialize)]
enum Beat {
    Began { each: u64 },
    Lasting,
}

/// Sends a command, and sets a timer again whenever it is due.
#[derive(Default, Serialize, Deserialize)]
struct Heart {
    each: u64,
    beats: u64,
}

impl Heart {
    fn timer(&self) -> Action<u64> {
        if self.each == 0 {
            return Action::timer_at("beat", Timestamp::MIN);
        }
        Action::timer_after("beat", Duration::from_secs(self.each))
    }
}

impl Saga for Heart {
    const TYPE: &'static str = "Heart";
    type Event = Beat;
    type Command = u64;

    fn route(_: &Beat, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, event: Beat) -> Vec<Action<u64>> {
        match event {
            Beat::Began { each } => {
                self.each = each;
                vec![Action::send(each), self.timer()]
            }
            Beat::Lasting => {
                self.beats += 1;
                Vec::new()
            }
        }
    }

    fn timeout(&mut self, _: &str) -> Vec<Action<u64>> {
        self.beats += 1;
        vec![self.timer()]
    }
}

fn begin(store: &Store, id: &str, each: u64) -> Position {
    let began = NewEvent::new("Began").data(format!("{{\"each\":{each}}}"));
    let appended = store.append(&StreamId::new("Body", id), Expected::Any, began);
    appended.expect("an event").last_position
}

#[test]
fn a_timer_that_sets_itself_at_once_kept_its_saga_from_ending() {
    let (manual, _clock) = clocked(Budget::default());
    for store in [Store::in_memory(), manual] {
        let processors = Processors::new(&store);
        processors.saga::<Heart>(|_, _| Ok(())).start().expect("it starts");
        begin(&store, "anna", 0);
        let waiting = processors.clone();
        let stopped = returns("a wait for the saga", move || {
            waiting.when_idle(Duration::from_secs(10))
        });
        let ended = processors.clone();
        returns("the end of the saga", move || ended.end());
        let stopped = stopped.expect_err("it cannot go on").to_string();
        assert!(
            stopped.contains("timer 'beat'") && stopped.contains("Heart/anna"),
            "{stopped}"
        );
        assert!(store.visible() < Position(5_000), "{}", store.visible());
    }
}

#[test]
fn a_timer_or_an_event_gave_a_failing_command_more_attempts() {
    let (store, clock) = clocked(Budget::default());
    let processors = Processors::new(&store);
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let retry = Retry::default()
        .attempts(3)
        .first_pause(Duration::from_secs(10))
        .longest_pause(Duration::from_secs(10));
    let hearts = processors
        .saga::<Heart>(move |_, sending| {
            assert_eq!(sending.attempt, counted.fetch_add(1, Ordering::Relaxed) + 1);
            Err(SendError::Failed(HandlerError::transient("no line")))
        })
        .retry(retry)
        .start()
        .expect("it starts");
    begin(&store, "anna", 1);
    for _ in 0..30 {
        clock.advance(Duration::from_secs(1));
        let lasting = NewEvent::new("Lasting");
        store
            .append(&StreamId::new("Body", "anna"), Expected::Any, lasting)
            .expect("an event");
        processors.when_idle(SOON).expect("it runs");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    assert_eq!(hearts.stuck().len(), 1);
    assert!(
        hearts.active()[0].state["beats"].as_u64() > Some(30),
        "its timers go on"
    );
}

#[test]
fn a_saga_whose_first_events_are_gone_was_taken_for_one_that_has_ended() {
    let (store, clock) = clocked(Budget::default());
    let processors = Processors::new(&store);
    let hearts = processors.saga::<Heart>(|_, _| Ok(())).start().expect("it starts");
    begin(&store, "anna", 1);
    begin(&store, "bert", 1);
    processors.when_idle(SOON).expect("it runs");
    clock.advance(Duration::from_secs(1));
    processors.when_idle(SOON).expect("it runs");
    assert!(hearts.abandon("bert", "not needed").expect("it runs"));
    processors.end();
    store
        .truncate_before("Heart/anna", Version(3))
        .expect("it is truncated");
    store
        .truncate_before("Heart/bert", Version(3))
        .expect("it is truncated");
    let again = processors.saga::<Heart>(|_, _| Ok(())).skip_gaps();
    let again = again.start().expect("it starts");
    let stopped = again.when_caught_up(SOON).expect_err("it stops").to_string();
    assert!(stopped.contains("Heart/anna") && !stopped.contains("bert"), "{stopped}");
    assert!(again.get("anna").is_err());
}

#[test]
fn sagas_whose_type_has_a_slash_shared_streams_with_others() {
    #[derive(Default, Serialize, Deserialize)]
    struct Nested(u64);

    impl Saga for Nested {
        const TYPE: &'static str = "Heart/anna";
        type Event = Beat;
        type Command = u64;

        fn route(_: &Beat, _: &Event) -> Route {
            Route::start("bert")
        }

        fn react(&mut self, _: Beat) -> Vec<Action<u64>> {
            self.0 += 1;
            Vec::new()
        }
    }
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let refused = processors
        .saga::<Nested>(|_, _| Ok(()))
        .start()
        .expect_err("it is refused");
    assert!(refused.to_string().contains("'/'"), "{refused}");
}
