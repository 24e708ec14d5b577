//! Seats of a show, each to be sold once, and at most four to a customer: a rule across aggregates, kept by a condition.
//!
//! `cargo run --example boundary`

use std::error::Error;
use std::io::{Write, stdout};

use annals::{Append, Condition, Conflict, Expected, Field, Filter, NewEvent, Query, Store, StreamId};

const SEATS_MAX: usize = 4;

/// Everything that the decision depends on: what happened to the seat, and what the customer has reserved.
fn boundary(seat: &str, customer: &str) -> Query {
    Query::all().event_type("SeatReserved").filter(Filter::Any(vec![
        Filter::is(Field::Aggregate, seat),
        Filter::is(Field::User, customer),
    ]))
}

/// Reserves a seat: reads, decides, and appends if nothing was added to what was read. Decides again if something was.
fn reserve(store: &Store, seat: &str, customer: &str) -> Result<Result<(), String>, annals::Error> {
    loop {
        let query = boundary(seat, customer);
        let seen = store.query(query.clone()).page()?;
        if seen.events.iter().any(|event| event.aggregate_id() == seat) {
            return Ok(Err(format!("{seat} is taken")));
        }
        if seen.events.len() >= SEATS_MAX {
            return Ok(Err(format!("{customer} has {SEATS_MAX} seats")));
        }
        let reserved = NewEvent::new("SeatReserved").user(customer);
        let append = Append::new(StreamId::new("Seat", seat), Expected::Any, vec![reserved]);
        match store.append_if(&Condition::none_after(query, seen.as_of), vec![append]) {
            Ok(_) => return Ok(Ok(())),
            Err(error) if matches!(error.conflict(), Some(Conflict::Condition { .. })) => {}
            Err(error) => return Err(error),
        }
    }
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
        match reserve(&store, seat, customer)? {
            Ok(()) => writeln!(out, "{customer} has {seat}")?,
            Err(reason) => writeln!(out, "{customer} cannot have {seat}: {reason}")?,
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
                        .filter(|outcome| matches!(outcome, Ok(Ok(()))))
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
