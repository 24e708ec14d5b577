//! Invoices over the years: snapshots, upcasters for events of older schemas, and the past. `cargo run --example invoice`

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{Aggregate, Aggregates, ReadError, SnapshotPolicy, Upcasters};
use annals::{Expected, ManualClock, NewEvent, Store, StreamId, Version};
use serde::{Deserialize, Serialize};
use serde_json::json;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The events as they are now. Amounts were in euros once, and `Paid` was called `Payed`.
#[derive(Serialize, Deserialize)]
enum InvoiceEvent {
    Billed { cents: i64, currency: String },
    Paid { cents: i64 },
}

struct Bill(i64);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Invoice {
    lines: u32,
    open_cents: i64,
}

impl Aggregate for Invoice {
    const TYPE: &'static str = "Invoice";
    type Event = InvoiceEvent;
    type Command = Bill;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, Bill(cents): &Bill) -> Result<Vec<InvoiceEvent>, String> {
        let currency = "EUR".to_owned();
        Ok(vec![InvoiceEvent::Billed {
            cents: *cents,
            currency,
        }])
    }

    fn evolve(&mut self, event: InvoiceEvent) {
        match event {
            InvoiceEvent::Billed { cents, .. } => {
                self.lines += 1;
                self.open_cents += cents;
            }
            InvoiceEvent::Paid { cents } => self.open_cents -= cents,
        }
    }
}

fn upcasters() -> Upcasters {
    Upcasters::new()
        .change("Billed", 1, |data| {
            let euros = data["euros"].as_i64().ok_or("it has no euros")?;
            *data = json!({ "cents": euros * 100 });
            Ok(())
        })
        .change("Billed", 2, |data| {
            data["currency"] = json!("EUR");
            Ok(())
        })
        .rename("Payed", 1, ("Paid", 1))
}

/// What programs of earlier years have stored.
fn old_events(store: &Store) -> annals::Result<()> {
    let invoice = StreamId::new("Invoice", "invoice-1");
    let old = vec![
        NewEvent::new("Billed").schema_version(1).data(r#"{"euros":20}"#),
        NewEvent::new("Billed").schema_version(2).data(r#"{"cents":550}"#),
        NewEvent::new("Payed").data(r#"{"cents":1000}"#),
    ];
    store.append(&invoice, Expected::NoStream, old).map(drop)
}

fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse()?));
    let store = Store::builder().clock(Arc::<ManualClock>::clone(&clock)).open()?;
    old_events(&store)?;

    if let Err(ReadError::MissingPaths(missing)) = Aggregates::<Invoice>::new(&store).check() {
        println!("without upcasters: {missing}");
    }
    let invoices = Aggregates::<Invoice>::new(&store).upcasters(&upcasters());
    let invoices = invoices.snapshots(SnapshotPolicy::every(100).keep(2));
    invoices.check()?;
    println!("with upcasters: {:?}", invoices.load("invoice-1")?.state);

    for day in 1..=365 {
        clock.advance(DAY);
        invoices.execute("invoice-1", &Bill(day))?;
    }
    let loaded = invoices.load("invoice-1")?;
    println!(
        "a year later: {:?}, from a snapshot and {} events of {}",
        loaded.state, loaded.folded, loaded.version
    );

    let past = invoices.load_version("invoice-1", Version(250))?;
    println!(
        "at version 250: {:?}, from an older snapshot and {} events",
        past.state, past.folded
    );
    let spring = "2026-04-01T12:00:00Z".parse::<annals::Timestamp>()?;
    println!(
        "on the first of April: {:?}",
        invoices.load_as_of("invoice-1", spring)?.state
    );
    Ok(())
}
