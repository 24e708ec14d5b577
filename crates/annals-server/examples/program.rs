//! A program that serves its own store: clients look at its orders, its processor, its dead letters and its saga, and control them.
//!
//! ```console
//! cargo run -p annals-server --example program
//! curl "$URL/v1/processors"
//! ```

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::net::TcpListener;
use std::time::Duration;

use annals::cqrs::{
    Action, Aggregate, Aggregates, Delivered, HandlerError, OnFailure, Processors, Route, Saga, SendError,
};
use annals::{Event, Expected, NewEvent, Store, StreamId};
use annals_server::{Program, Server, stop_signal};

#[derive(serde::Deserialize, serde::Serialize)]
enum OrderEvent {
    Placed,
    Paid,
}

/// An order, with its history in words.
#[derive(serde::Serialize)]
struct Order {
    status: &'static str,
    history: Vec<String>,
}

impl Aggregate for Order {
    const TYPE: &'static str = "Order";
    type Event = OrderEvent;
    type Command = ();
    type Rejection = ();

    fn initial() -> Self {
        Self {
            status: "new",
            history: Vec::new(),
        }
    }

    fn decide(&self, (): &()) -> Result<Vec<OrderEvent>, ()> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, event: OrderEvent) {
        self.status = match event {
            OrderEvent::Placed => "placed",
            OrderEvent::Paid => "paid",
        };
        self.history.push(format!("it is <b>{}</b>", self.status));
    }
}

/// Ships each order that is paid.
#[derive(Default, serde::Deserialize, serde::Serialize)]
struct Shipping {
    parcels: u64,
}

impl Saga for Shipping {
    const TYPE: &'static str = "Shipping";
    type Event = OrderEvent;
    type Command = String;

    fn route(event: &OrderEvent, record: &Event) -> Route {
        match event {
            OrderEvent::Placed => Route::Ignore,
            OrderEvent::Paid => Route::start(record.aggregate_id()),
        }
    }

    fn react(&mut self, _: OrderEvent) -> Vec<Action<String>> {
        self.parcels += 1;
        vec![Action::send("ship".to_owned()), Action::Complete]
    }
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
    // No parcel is taken, so that instances are stuck.
    let ship = |_: &String, _: &_| Err(SendError::Failed(HandlerError::permanent("the <b>carrier</b> is away")));
    let shipping = processors.saga::<Shipping>(ship).start()?;
    for number in 1..=3 {
        let stream = StreamId::new("Order", format!("order-{number}"));
        let events = ["Placed", "Paid"].map(|name| NewEvent::new(name).data("null"));
        store.append(&stream, Expected::NoStream, &events)?;
    }
    let program = Program::new()
        .processors(&processors)
        .subscription(&mailer)
        .states(&Aggregates::<Order>::new(&store))
        .saga(&shipping);
    let server = Server::builder(store).program(program).build()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}", listener.local_addr()?);
    let (_stop, stopped) = stop_signal();
    server.run(listener, stopped, Duration::from_secs(1))?;
    Ok(())
}
