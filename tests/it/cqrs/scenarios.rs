//! Scenarios: what they say when they fail, and that they are no kinder than the store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use annals::cqrs::{Action, Decided, Decision, HandlerError, Projection, Route, Saga, SagaPhase};
use annals::testing::{DecisionScenario, ProjectionScenario, SagaScenario, Scenario};
use annals::{Event, EventRef, Query, StreamId};
use serde::{Deserialize, Serialize};

use super::{Account, AccountCommand, AccountEvent};

const HOUR: Duration = Duration::from_secs(3_600);

/// The message of a scenario that fails.
fn failure(scenario: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(scenario)).expect_err("the scenario fails");
    *panic.downcast::<String>().expect("a text")
}

fn deposited(id: &str, amount: u64) -> Decided<AccountEvent> {
    Decided::new(StreamId::new("Account", id), AccountEvent::Deposited { amount })
}

#[test]
fn events_are_expected_one_after_the_other() {
    let exchange =
        || Scenario::<Account>::given([AccountEvent::Deposited { amount: 9 }]).when(AccountCommand::Exchange(5, 3));
    let withdrawn = || AccountEvent::Withdrawn { amount: 5 };
    exchange()
        .then_next(withdrawn())
        .then_next(AccountEvent::Deposited { amount: 3 })
        .and_no_more();
    let message = failure(|| drop(exchange().then_next(withdrawn()).and_no_more()));
    assert!(message.contains("+ Deposited"), "{message}");
    let message = failure(|| drop(exchange().then([withdrawn(), withdrawn()])));
    assert!(message.contains("- expected, + committed"), "{message}");
}

/// Opens the only account that is allowed.
#[derive(Debug)]
struct OpenOne(&'static str);

impl Decision for OpenOne {
    type State = u32;
    type Event = AccountEvent;
    type Rejection = String;

    fn query(&self) -> Query {
        Query::all().event_type("Deposited")
    }

    fn initial(&self) -> u32 {
        0
    }

    fn evolve(&self, count: &mut u32, _: AccountEvent, _: EventRef<'_>) {
        *count += 1;
    }

    fn decide(&self, count: &u32) -> Result<Vec<Decided<AccountEvent>>, String> {
        match count {
            0 => Ok(vec![deposited(self.0, 1).tag("first")]),
            _ => Err("there is one already".to_owned()),
        }
    }
}

#[test]
fn decisions_are_tested_with_their_aggregates_and_tags() {
    DecisionScenario::<OpenOne>::given([])
        .when(OpenOne("a"))
        .then([deposited("a", 1).tag("first")]);
    DecisionScenario::given([deposited("b", 1)])
        .advance(HOUR)
        .when(OpenOne("a"))
        .then_rejected("there is one already");
    let message = failure(|| {
        DecisionScenario::<OpenOne>::given([])
            .when(OpenOne("a"))
            .then([deposited("a", 1)]);
    });
    assert!(message.contains("first"), "{message}");
    let message = failure(|| DecisionScenario::given([deposited("b", 1)]).when(OpenOne("a")).then([]));
    assert!(message.contains("rejected: \"there is one already\""), "{message}");
}

#[derive(Default)]
struct Sum(u64);

impl Projection for Sum {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, _: &Event) -> Result<(), HandlerError> {
        let AccountEvent::Deposited { amount } = event else {
            return Err(HandlerError::permanent("withdrawals are not counted"));
        };
        self.0 += amount;
        Ok(())
    }
}

#[test]
fn projections_are_tested_by_their_state() {
    ProjectionScenario::of(Sum::default())
        .given([deposited("a", 1), deposited("b", 2)])
        .then_state(|sum| assert_eq!(sum.0, 3))
        .advance(HOUR)
        .given([deposited("a", 4)])
        .then_state(|sum| assert_eq!(sum.0, 7));
    let withdrawn = Decided::new(StreamId::new("Account", "a"), AccountEvent::Withdrawn { amount: 1 });
    let failing = || ProjectionScenario::of(Sum::default()).given([withdrawn.clone()]);
    failing().then_stopped("withdrawals are not counted");
    let message = failure(|| drop(failing().then_state(|_| ())));
    assert!(
        message.contains("position 1") && message.contains("withdrawals are not counted"),
        "{message}"
    );
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Light {
    On,
    Off,
}

/// Rings every hour while the light is on.
#[derive(Default, Serialize, Deserialize)]
struct Alarm {
    rang: Vec<String>,
}

impl Saga for Alarm {
    const TYPE: &'static str = "Alarm";
    type Event = Light;
    type Command = String;

    fn route(event: &Light, record: &Event) -> Route {
        match event {
            Light::On => Route::start(record.aggregate_id()),
            Light::Off => Route::resume(record.aggregate_id()),
        }
    }

    fn react(&mut self, event: Light) -> Vec<Action<String>> {
        match event {
            Light::On => vec![
                Action::step("open".to_owned(), "close".to_owned()),
                Action::timer_after("hour", HOUR),
                Action::timer_after("half", HOUR / 2),
            ],
            Light::Off => vec![Action::fail("switched off")],
        }
    }

    fn timeout(&mut self, timer: &str) -> Vec<Action<String>> {
        self.rang.push(timer.to_owned());
        let again = if timer == "hour" { HOUR } else { HOUR * 100 };
        vec![Action::send(format!("ring {timer}")), Action::timer_after(timer, again)]
    }
}

#[test]
fn an_advance_over_several_timers_fired_each_once_at_the_end() {
    SagaScenario::<Alarm>::new()
        .when("a", Light::On)
        .then_sends(["open".to_owned()])
        .advance(HOUR * 3 + HOUR / 2)
        .then_sends(["ring half", "ring hour", "ring hour", "ring hour"].map(str::to_owned))
        .then_state("a", |alarm| assert_eq!(alarm.rang, ["half", "hour", "hour", "hour"]))
        .advance(HOUR / 2)
        .then_sends(["ring hour".to_owned()])
        .when("a", Light::Off)
        .then_sends(["close".to_owned()])
        .then_ended(
            "a",
            &SagaPhase::Failed {
                reason: "switched off".to_owned(),
            },
        )
        .advance(HOUR * 1_000)
        .then_sends([]);
}

#[test]
fn a_saga_scenario_says_what_differs() {
    let on = || SagaScenario::<Alarm>::new().when("a", Light::On);
    let message = failure(|| drop(on().then_sends(["close".to_owned()])));
    assert!(
        message.contains("1 - \"close\"") && message.contains("1 + \"open\""),
        "{message}"
    );
    let message = failure(|| drop(on().then_ended("a", &SagaPhase::Completed)));
    assert!(message.contains("expected Completed, found Some(Running)"), "{message}");
    let message = failure(|| drop(on().then_state("b", |_| ())));
    assert!(message.contains("no instance with the key 'b'"), "{message}");
    SagaScenario::<Alarm>::new()
        .rejecting("the door is locked")
        .when("a", Light::On)
        .then_sends(["open".to_owned()])
        .then_ended(
            "a",
            &SagaPhase::Failed {
                reason: "the door is locked".to_owned(),
            },
        );
    SagaScenario::<Alarm>::new()
        .failing("no answer")
        .when("a", Light::On)
        .then_stuck("a", "no answer");
}
