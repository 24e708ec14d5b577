//! Order, retries, dead letters and restarts, with a target that fails as a test says.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use annals::cqrs::StartFrom;
use annals::{Event, Name, Position, Store};
use annals_relay::{Capacity, Message, Outcome, Relay, RelayState, Target};
use parking_lot::Mutex;

use crate::support::{append, published, quick, status_where};

type Answer = dyn Fn(&str, usize) -> Outcome + Send + Sync;

/// A target that answers by the data of an event and the number of its attempt, and keeps what it has delivered.
#[derive(Clone)]
struct Script(Arc<Inner>);

struct Inner {
    answer: Box<Answer>,
    lane: Option<&'static str>,
    attempts: Mutex<HashMap<String, usize>>,
    delivered: Mutex<Vec<String>>,
    calls: AtomicUsize,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").finish_non_exhaustive()
    }
}

impl Script {
    fn new(answer: impl Fn(&str, usize) -> Outcome + Send + Sync + 'static) -> Self {
        Self::in_lane(None, answer)
    }

    fn in_lane(lane: Option<&'static str>, answer: impl Fn(&str, usize) -> Outcome + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            answer: Box::new(answer),
            lane,
            attempts: Mutex::default(),
            delivered: Mutex::default(),
            calls: AtomicUsize::new(0),
        }))
    }

    fn delivered(&self) -> Vec<String> {
        self.0.delivered.lock().clone()
    }

    fn one(&self, message: &Message) -> Outcome {
        let data = String::from_utf8(message.event.data().to_vec()).unwrap();
        let attempt = {
            let mut attempts = self.0.attempts.lock();
            let attempt = attempts.entry(data.clone()).or_default();
            *attempt += 1;
            *attempt
        };
        let outcome = (self.0.answer)(&data, attempt);
        if outcome == Outcome::Delivered {
            self.0.delivered.lock().push(data);
        }
        outcome
    }
}

impl Target for Script {
    fn publish(&self, messages: &[Arc<Message>]) -> Vec<Outcome> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        assert!(messages.is_sorted_by_key(|message| message.position()));
        messages.iter().map(|message| self.one(message)).collect()
    }

    fn lane(&self, event: &Event) -> Name {
        self.0.lane.unwrap_or(event.aggregate_id()).into()
    }

    fn capacity(&self) -> Capacity {
        Capacity::new(8, if self.0.lane.is_some() { 1 } else { 3 })
    }
}

fn retry() -> Outcome {
    Outcome::Retry {
        reason: "not now".to_owned(),
    }
}

fn start(store: &Store, target: &Script) -> Relay {
    Relay::builder(store, "out", target.clone())
        .retry(quick())
        .start()
        .unwrap()
}

fn of<'a>(delivered: &'a [String], aggregate: &str) -> Vec<&'a str> {
    let own = delivered.iter().filter(|data| data.starts_with(aggregate));
    own.map(String::as_str).collect()
}

#[test]
fn a_later_event_of_an_aggregate_overtook_one_that_failed() {
    let store = Store::in_memory();
    let mut last = Position(0);
    for number in 1..=40 {
        for aggregate in ["a", "b", "c"] {
            last = append(&store, aggregate, &format!("{aggregate}{number:02}"));
        }
    }
    // Each third event fails twice, and another is taken twice without an answer.
    let target = Script::new(|data, attempt| match data[1..].parse::<u32>().unwrap() % 3 {
        0 if attempt < 3 => retry(),
        1 if attempt < 2 => Outcome::unknown("no answer"),
        _ => Outcome::Delivered,
    });
    let relay = start(&store, &target);
    published(&relay, last);
    let delivered = target.delivered();
    for aggregate in ["a", "b", "c"] {
        let expected: Vec<_> = (1..=40).map(|number| format!("{aggregate}{number:02}")).collect();
        assert_eq!(of(&delivered, aggregate), expected);
    }
    let counts = relay.status().counts;
    assert_eq!(
        (counts.delivered, counts.parked, counts.failed, counts.unknown),
        (120, 0, 78, 42)
    );
}

#[test]
fn an_aggregate_waited_for_another_that_failed() {
    let store = Store::in_memory();
    append(&store, "a", "a1");
    append(&store, "a", "a2");
    let last = append(&store, "b", "b1");
    let target = Script::new(|data, _| {
        if data == "a1" {
            Outcome::unknown("silence")
        } else {
            Outcome::Delivered
        }
    });
    let relay = start(&store, &target);
    let status = status_where(&relay, "b1 is not delivered", |status| status.counts.delivered == 1);
    assert_eq!(target.delivered(), ["b1"]);
    // The checkpoint does not pass a1, whose outcome is never known, however often it is tried.
    assert_eq!(
        (status.group.position, status.state),
        (Position(0), RelayState::Running)
    );
    status_where(&relay, "a1 is not tried again", |status| status.counts.unknown > 5);
    assert!(relay.letters().is_empty() && relay.status().group.position < last);
}

#[test]
fn an_event_that_was_never_taken_was_lost_or_overtaken() {
    let store = Store::in_memory();
    append(&store, "a", "a1");
    append(&store, "a", "a2");
    append(&store, "b", "b1");
    let last = append(&store, "b", "b2");
    let is_fixed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let fixed = Arc::clone(&is_fixed);
    let target = Script::new(move |data, _| match data {
        "a1" if !fixed.load(Ordering::SeqCst) => retry(),
        "b1" if !fixed.load(Ordering::SeqCst) => Outcome::refused("too large"),
        _ => Outcome::Delivered,
    });
    let relay = start(&store, &target);
    published(&relay, last);
    let reasons: Vec<_> = relay
        .letters()
        .into_iter()
        .map(|letter| (letter.reason, letter.attempts))
        .collect();
    let behind = || ("an earlier event of its aggregate is parked".to_owned(), 0);
    assert_eq!(reasons[0], ("not now (after 3 attempts)".to_owned(), 1));
    assert_eq!((&reasons[1], &reasons[3]), (&behind(), &behind()));
    assert_eq!(reasons[2].0, "too large");
    assert!(target.delivered().is_empty());
    is_fixed.store(true, Ordering::SeqCst);
    assert_eq!(relay.replay_letters(None), 4);
    status_where(&relay, "letters are left", |status| status.group.letters == 0);
    let delivered = target.delivered();
    assert_eq!(
        (of(&delivered, "a"), of(&delivered, "b")),
        (vec!["a1", "a2"], vec!["b1", "b2"])
    );
}

#[test]
fn a_target_that_was_away_made_dead_letters() {
    let store = Store::in_memory();
    let last = append(&store, "a", "a1");
    let target = Script::new(|_, attempt| {
        if attempt < 20 {
            Outcome::unavailable("no connection")
        } else {
            Outcome::Delivered
        }
    });
    let relay = start(&store, &target);
    status_where(
        &relay,
        "it does not wait",
        |status| matches!(&status.state, RelayState::Waiting { reason } if reason == "no connection"),
    );
    published(&relay, last);
    status_where(&relay, "it waits", |status| status.state == RelayState::Running);
    assert!(relay.letters().is_empty());
}

#[test]
fn a_stopped_relay_published_on_or_lost_an_event() {
    let store = Store::in_memory();
    append(&store, "a", "a1");
    let target = Script::new(|_, attempt| match attempt {
        1 => Outcome::Stop {
            reason: "gone".to_owned(),
        },
        _ => Outcome::Delivered,
    });
    let relay = start(&store, &target);
    let stopped = RelayState::Stopped {
        reason: "gone".to_owned(),
    };
    status_where(&relay, "it does not stop", |status| status.state == stopped);
    let last = append(&store, "b", "b1");
    assert_eq!(
        (target.0.calls.load(Ordering::SeqCst), relay.status().state),
        (1, stopped)
    );
    relay.resume().unwrap();
    // The first attempt at b1 stops the relay again.
    status_where(&relay, "it does not stop", |status| {
        status.counts.delivered == 1 && status.state != RelayState::Running
    });
    relay.resume().unwrap();
    published(&relay, last);
    assert_eq!(target.delivered(), ["a1", "b1"]);
}

#[test]
fn a_relay_began_again_at_the_first_event() {
    let store = Store::in_memory();
    let last = append(&store, "a", "a1");
    let target = Script::new(|_, _| Outcome::Delivered);
    let relay = start(&store, &target);
    published(&relay, last);
    relay.end();
    let last = append(&store, "a", "a2");
    let relay = start(&store, &target);
    published(&relay, last);
    assert_eq!(target.delivered(), ["a1", "a2"]);
    let other = Relay::builder(&store, "late", target.clone())
        .start_from(StartFrom::End)
        .start()
        .unwrap();
    let last = append(&store, "a", "a3");
    published(&other, last);
    published(&relay, last);
    assert_eq!(target.delivered(), ["a1", "a2", "a3", "a3"]);
}

#[test]
fn a_second_relay_of_a_name_published_beside_the_first() {
    let store = Store::in_memory();
    let target = Script::new(|_, _| Outcome::Delivered);
    let (first, second) = (start(&store, &target), start(&store, &target));
    published(&second, append(&store, "a", "a1"));
    let stopped = |status: &annals_relay::RelayStatus| matches!(status.state, RelayState::Stopped { .. });
    let status = status_where(&first, "it does not stop", stopped);
    assert!(status.state.to_string().contains("has started"), "{status}");
    assert_eq!(target.delivered(), ["a1"]);
}

#[test]
fn a_target_that_panicked_lost_the_event_or_ended_the_relay() {
    let store = Store::in_memory();
    let last = append(&store, "a", "a1");
    let target = Script::new(|_, attempt| {
        assert!(attempt > 2, "staged");
        Outcome::Delivered
    });
    let relay = start(&store, &target);
    published(&relay, last);
    assert_eq!(
        (target.delivered(), relay.status().counts.unknown),
        (vec!["a1".to_owned()], 2)
    );
}

#[test]
fn a_lane_of_all_aggregates_was_out_of_order() {
    let store = Store::in_memory();
    let mut expected = Vec::new();
    let mut last = Position(0);
    for number in 0..300 {
        // A few aggregates have most events.
        let aggregate = ["a", "b", "c", "a", "a"][number % 5];
        let data = format!("{aggregate}{number:03}");
        last = append(&store, aggregate, &data);
        expected.push(data);
    }
    let target = Script::in_lane(Some("all"), |data, attempt| {
        if data.ends_with('7') && attempt == 1 {
            retry()
        } else {
            Outcome::Delivered
        }
    });
    let relay = start(&store, &target);
    published(&relay, last);
    assert_eq!(target.delivered(), expected);
}

#[test]
fn events_of_the_toolkit_were_published() {
    let store = Store::in_memory();
    let target = Script::new(|_, _| Outcome::Delivered);
    let relay = start(&store, &target);
    let group = annals::cqrs::Group::<()>::builder(&store, "other").open().unwrap();
    drop(group);
    crate::support::append_to(&store, "annals.Own", "x", "x1");
    published(&relay, append(&store, "a", "a1"));
    assert_eq!(target.delivered(), ["a1"]);
}

#[test]
fn a_relay_was_not_in_the_metrics() {
    let store = Store::in_memory();
    append(&store, "a", "a1");
    let last = append(&store, "b", "b1");
    let target = Script::new(|data, _| {
        if data == "a1" {
            Outcome::refused("no")
        } else {
            Outcome::Delivered
        }
    });
    let relay = start(&store, &target);
    published(&relay, last);
    let metrics = annals_relay::RelayMetrics::new();
    metrics.relay(&relay);
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(metrics));
    let text = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    let has = |line: &str| assert!(text().lines().any(|own| own == line), "{line}");
    has("relay_delivered_events_total{relay=\"out\"} 1.0");
    has("relay_parked_events_total{relay=\"out\"} 1.0");
    has("relay_dead_letters{relay=\"out\"} 1.0");
    has("relay_up{relay=\"out\"} 1.0");
    relay.end();
    has("relay_up{relay=\"out\"} 0.0");
}
