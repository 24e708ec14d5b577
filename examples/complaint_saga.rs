//! A complaint: a saga that refunds and ships again, undoes its steps when one is refused, and does not wait forever.
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
enum ComplaintEvent {
    Raised { article: String },
    Accepted,
}

#[derive(Debug, Serialize, Deserialize)]
enum Do {
    Refund,
    TakeBackRefund,
    Reserve(String),
    ReleaseReservation(String),
    Ship(String),
    Remind,
}

/// A refund and a reservation at once; the parcel when the customer accepts, within two weeks.
#[derive(Default, Serialize, Deserialize)]
struct Complaint {
    article: String,
    reminded: bool,
}

impl Saga for Complaint {
    const TYPE: &'static str = "ComplaintSaga";
    type Event = ComplaintEvent;
    type Command = Do;

    fn route(event: &ComplaintEvent, record: &Event) -> Route {
        match event {
            ComplaintEvent::Raised { .. } => Route::start(record.aggregate_id()),
            ComplaintEvent::Accepted => Route::resume(record.aggregate_id()),
        }
    }

    fn react(&mut self, event: ComplaintEvent) -> Vec<Action<Do>> {
        match event {
            ComplaintEvent::Raised { article } => {
                self.article.clone_from(&article);
                vec![
                    Action::step(Do::Refund, Do::TakeBackRefund),
                    Action::step(Do::Reserve(article.clone()), Do::ReleaseReservation(article)),
                    Action::timer_after("answer", DAY * 7),
                ]
            }
            ComplaintEvent::Accepted => vec![Action::send(Do::Ship(self.article.clone())), Action::Complete],
        }
    }

    fn timeout(&mut self, timer: &str) -> Vec<Action<Do>> {
        if self.reminded {
            return vec![Action::fail("no answer in two weeks")];
        }
        self.reminded = true;
        vec![Action::send(Do::Remind), Action::timer_after(timer, DAY * 7)]
    }
}

fn happens(store: &Store, id: &str, event: NewEvent<'_>) -> annals::Result<()> {
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
        if matches!(command, Do::Reserve(article) if article == "lamp") {
            return Err(SendError::Rejected("lamps are sold out".to_owned()));
        }
        Ok(())
    });
    let sagas = sagas.start()?;

    println!("three complaints");
    for (id, article) in [("accepted", "chair"), ("refused", "lamp"), ("forgotten", "table")] {
        happens(
            &store,
            id,
            NewEvent::new("Raised").data(format!(r#"{{"article":"{article}"}}"#)),
        )?;
        processors.when_idle(SOON)?;
    }
    println!("one customer answers");
    happens(&store, "accepted", NewEvent::new("Accepted"))?;
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
