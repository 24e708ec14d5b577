//! A complaint: a saga that refunds and ships a replacement, compensates its steps when one is rejected, and times out after two weeks.
//!
//! `cargo run --example complaint_saga`

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{Action, Processors, Route, Saga, SagaPhase, SendError};
use annals::{Event, Expected, ManualClock, NewEvent, Store, StreamId};
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const SOON: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(crate) enum ComplaintEvent {
    Raised { article: String },
    Accepted,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Refund,
    TakeBackRefund,
    Reserve(String),
    ReleaseReservation(String),
    Ship(String),
    Remind,
}

/// Refunds and reserves a replacement at once; ships it when the customer accepts within two weeks.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Complaint {
    article: String,
    reminded: bool,
}

impl Saga for Complaint {
    const TYPE: &'static str = "ComplaintSaga";
    type Event = ComplaintEvent;
    type Command = Command;

    fn route(event: &ComplaintEvent, record: &Event) -> Route {
        match event {
            ComplaintEvent::Raised { .. } => Route::start(record.aggregate_id()),
            ComplaintEvent::Accepted => Route::resume(record.aggregate_id()),
        }
    }

    fn react(&mut self, event: ComplaintEvent) -> Vec<Action<Command>> {
        match event {
            ComplaintEvent::Raised { article } => {
                self.article.clone_from(&article);
                vec![
                    Action::step(Command::Refund, Command::TakeBackRefund),
                    Action::step(Command::Reserve(article.clone()), Command::ReleaseReservation(article)),
                    Action::timer_after("answer", DAY * 7),
                ]
            }
            ComplaintEvent::Accepted => vec![Action::send(Command::Ship(self.article.clone())), Action::Complete],
        }
    }

    fn timeout(&mut self, timer: &str) -> Vec<Action<Command>> {
        if self.reminded {
            return vec![Action::fail("no answer in two weeks")];
        }
        self.reminded = true;
        vec![Action::send(Command::Remind), Action::timer_after(timer, DAY * 7)]
    }
}

fn append(store: &Store, id: &str, event: NewEvent<'_>) -> annals::Result<()> {
    store
        .append(&StreamId::new("Complaint", id), Expected::Any, event)
        .map(drop)
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse()?));
    let store = Store::builder().clock(Arc::<ManualClock>::clone(&clock)).open()?;
    let processors = Processors::new(&store);
    let sagas = processors.saga::<Complaint>(|command, sending| {
        println!("  {}: {command:?}", sending.key);
        if matches!(command, Command::Reserve(article) if article == "lamp") {
            return Err(SendError::Rejected {
                rejection: "lamps are sold out".to_owned(),
            });
        }
        Ok(())
    });
    let sagas = sagas.start()?;

    println!("three complaints");
    for (id, article) in [("accepted", "chair"), ("refused", "lamp"), ("forgotten", "table")] {
        append(
            &store,
            id,
            NewEvent::new("Raised").data(format!(r#"{{"article":"{article}"}}"#)),
        )?;
        processors.when_idle(SOON)?;
    }
    println!("one customer accepts");
    append(&store, "accepted", NewEvent::new("Accepted"))?;
    processors.when_idle(SOON)?;
    for week in 1..=2 {
        println!("week {week} is over");
        clock.advance(DAY * 7);
        processors.when_idle(SOON)?;
    }
    for id in ["accepted", "refused", "forgotten"] {
        match sagas.get(id)?.map(|saga| saga.phase) {
            Some(SagaPhase::Failed { reason }) => println!("{id}: undone, because {reason}"),
            phase => println!("{id}: {phase:?}"),
        }
    }
    Ok(())
}
