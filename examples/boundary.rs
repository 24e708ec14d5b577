//! Seats of a show, each to be sold once, and at most four to a customer: a rule across aggregates, kept by a condition.
//!
//! `cargo run --example boundary`

use std::error::Error;
use std::io::{Write, stdout};

use annals::{Append, Expected, Field, Filter, NewEvent, Query, Store, StreamId};

const SEATS_MAX: usize = 4;

/// Everything that the decision depends on: what happened to the seat, and what the customer has reserved.
fn boundary(seat: &str, customer: &str) -> Query {
    Query::all().event_type("SeatReserved").filter(Filter::Any(vec![
        Filter::is(Field::Aggregate, seat),
        Filter::is(Field::User, customer),
    ]))
}

/// Why a seat is not reserved.
#[derive(Debug)]
enum Refusal {
    Taken,
    TooMany,
    Store(annals::Error),
}

impl From<annals::Error> for Refusal {
    fn from(error: annals::Error) -> Self {
        Self::Store(error)
    }
}

/// Reserves a seat: decides on what there is, and again if something was added to it meanwhile.
fn reserve(store: &Store, seat: &str, customer: &str) -> Result<(), Refusal> {
    store.transact(boundary(seat, customer), |reserved| {
        if reserved.iter().any(|event| event.aggregate_id() == seat) {
            return Err(Refusal::Taken);
        }
        if reserved.len() >= SEATS_MAX {
            return Err(Refusal::TooMany);
        }
        let event = NewEvent::new("SeatReserved").user(customer);
        Ok(vec![Append::new(
            StreamId::new("Seat", seat),
            Expected::Any,
            vec![event],
        )])
    })?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::in_memory();
    let mut out = stdout().lock();
    for (seat, customer) in [
        ("seat-A1", "anna"),
        ("seat-A1", "bob"),
        ("seat-A2", "anna"),
        ("seat-A3", "anna"),
        ("seat-A4", "anna"),
        ("seat-A5", "anna"),
    ] {
        match reserve(&store, seat, customer) {
            Ok(()) => writeln!(out, "{customer} has {seat}")?,
            Err(Refusal::Taken) => writeln!(out, "{customer} cannot have {seat}: it is taken")?,
            Err(Refusal::TooMany) => writeln!(out, "{customer} cannot have {seat}: {SEATS_MAX} seats are the most")?,
            Err(Refusal::Store(error)) => return Err(error.into()),
        }
    }

    // Eight customers at once, for the same ten seats.
    let sold = std::thread::scope(|scope| {
        let customers: Vec<_> = (0..8)
            .map(|number| {
                let store = &store;
                scope.spawn(move || {
                    let customer = format!("customer-{number}");
                    (1..=10)
                        .map(|seat| reserve(store, &format!("seat-B{seat:02}"), &customer))
                        .filter(|outcome| matches!(outcome, Ok(())))
                        .count()
                })
            })
            .collect();
        customers
            .into_iter()
            .map(|customer| customer.join().unwrap_or(0))
            .sum::<usize>()
    });
    let reserved = store.query(Query::all().event_type("SeatReserved")).count()?;
    writeln!(
        out,
        "eight customers at once reserved {sold} of 10 seats; {reserved} reservations in all"
    )?;
    Ok(())
}
