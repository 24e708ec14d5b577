//! Tests of an aggregate in the form "given, when, then". It prints what the tests check, and what a test that fails says.
//!
//! ```console
//! cargo run --example test_your_aggregate --features testing
//! ```

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "an example prints, and fails aloud"
)]

use std::time::Duration;

use annals::cqrs::Aggregate;
use annals::testing::Scenario;
use serde::{Deserialize, Serialize};

/// A seat in a theatre, which is held for a customer and then bought.
#[derive(Debug, Default)]
struct Seat {
    held_by: Option<String>,
    is_sold: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum SeatEvent {
    Held { customer: String, price: u32 },
    Released,
    Bought { customer: String },
}

enum SeatCommand {
    Hold(&'static str, u32),
    Release,
    Buy(&'static str),
}

#[derive(Debug, PartialEq)]
enum Rejection {
    HeldBy(String),
    NotHeld,
    Sold,
}

impl Aggregate for Seat {
    const TYPE: &'static str = "Seat";
    type Event = SeatEvent;
    type Command = SeatCommand;
    type Rejection = Rejection;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &SeatCommand) -> Result<Vec<SeatEvent>, Rejection> {
        if self.is_sold {
            return Err(Rejection::Sold);
        }
        match (command, self.held_by.as_deref()) {
            (SeatCommand::Hold(customer, price), None) => Ok(vec![held_by(customer, *price)]),
            (SeatCommand::Release, Some(_)) => Ok(vec![SeatEvent::Released]),
            (SeatCommand::Buy(customer), Some(holder)) if *customer == holder => {
                let customer = holder.to_owned();
                Ok(vec![SeatEvent::Bought { customer }])
            }
            (SeatCommand::Hold(..) | SeatCommand::Buy(_), Some(holder)) => Err(Rejection::HeldBy(holder.to_owned())),
            (SeatCommand::Release | SeatCommand::Buy(_), None) => Err(Rejection::NotHeld),
        }
    }

    fn evolve(&mut self, event: SeatEvent) {
        match event {
            SeatEvent::Held { customer, .. } => self.held_by = Some(customer),
            SeatEvent::Released => self.held_by = None,
            SeatEvent::Bought { .. } => self.is_sold = true,
        }
    }
}

fn held_by(name: &str, price: u32) -> SeatEvent {
    let customer = name.to_owned();
    SeatEvent::Held { customer, price }
}

fn main() {
    let hold = |customer| SeatCommand::Hold(customer, 40);
    Scenario::<Seat>::given([])
        .when(hold("anna"))
        .then([held_by("anna", 40)]);
    println!("a free seat is held:                                passed");

    Scenario::<Seat>::given([held_by("anna", 40)])
        .when(SeatCommand::Buy("bert"))
        .then_rejected(Rejection::HeldBy("anna".to_owned()));
    println!("a seat that is held cannot be bought by another:    passed");

    Scenario::<Seat>::given([])
        .when(SeatCommand::Release)
        .then_rejected(Rejection::NotHeld);
    Scenario::<Seat>::given([held_by("anna", 40)])
        .advance(Duration::from_secs(600))
        .and_given([SeatEvent::Released])
        .when(hold("bert"))
        .then([held_by("bert", 40)])
        .then_state(|seat| assert_eq!(seat.held_by.as_deref(), Some("bert")));
    println!("a seat that was released is held by another:        passed");

    println!("\na test that expects another price fails with:\n");
    let expects_45 = || {
        Scenario::<Seat>::given([])
            .when(hold("anna"))
            .then([held_by("anna", 45)])
    };
    std::panic::set_hook(Box::new(|_| {}));
    let failure = std::panic::catch_unwind(expects_45).expect_err("the prices differ");
    println!("{}", failure.downcast_ref::<String>().expect("a message"));
}
