//! A program that serves its own store: clients look at its processor and its dead letters, and control them.
//!
//! ```console
//! cargo run -p annals-server --example program
//! curl "$URL/v1/processors"
//! ```

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::net::TcpListener;
use std::time::Duration;

use annals::cqrs::{Delivered, HandlerError, OnFailure, Processors};
use annals::{Expected, NewEvent, Store, StreamId};
use annals_server::{Program, Server, stop_signal};

#[derive(serde::Deserialize)]
enum OrderEvent {
    Placed,
    Paid,
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    // It cannot handle payments, so that there are dead letters.
    let send_mail = |delivered: Delivered<'_, OrderEvent>| match delivered.event {
        OrderEvent::Placed => Ok(()),
        OrderEvent::Paid => Err(HandlerError::permanent("the <b>mail server</b> refuses \"receipts\"")),
    };
    let mailer = processors
        .subscribe("mailer", send_mail)
        .on_failure(OnFailure::park())
        .start()?;
    for number in 1..=3 {
        let stream = StreamId::new("Order", format!("order-{number}"));
        let events = ["Placed", "Paid"].map(|name| NewEvent::new(name).data("null"));
        store.append(&stream, Expected::NoStream, &events)?;
    }
    let program = Program::new().processors(&processors).subscription(&mailer);
    let server = Server::builder(store).program(program).build()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}", listener.local_addr()?);
    let (_stop, stopped) = stop_signal();
    server.run(listener, stopped, Duration::from_secs(1))?;
    Ok(())
}
