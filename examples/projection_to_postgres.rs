//! Orders as events, and a table of customers in PostgreSQL that follows from them. The rows and the checkpoint commit in one transaction: run it
//! again, and it goes on where it stopped.
//!
//! ```console
//! cargo run --example projection_to_postgres --features postgres -- postgres://localhost/shop
//! ```

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::time::Duration;

use annals::cqrs::{HandlerError, OnFailure, Processors, Rows, SqlProjection};
use annals::{Event, Expected, NewEvent, Store, StreamId};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Placed { customer: String, total: i64 },
    Cancelled { customer: String, total: i64 },
}

/// The table `customers`: what each has ordered.
struct Customers;

impl SqlProjection for Customers {
    type Event = OrderEvent;

    fn create(&self, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        let table = "CREATE TABLE IF NOT EXISTS customers (name text PRIMARY KEY, orders bigint, spent bigint)";
        rows.execute(table, &[])?;
        Ok(())
    }

    fn apply(&self, event: OrderEvent, _: &Event, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        match event {
            OrderEvent::Placed { customer, total } => {
                let add = "INSERT INTO customers VALUES ($1, 1, $2) ON CONFLICT (name) \
                           DO UPDATE SET orders = customers.orders + 1, spent = customers.spent + $2";
                rows.execute(add, &[&customer, &total])?;
            }
            OrderEvent::Cancelled { customer, total } => {
                let subtract = "UPDATE customers SET orders = orders - 1, spent = spent - $2 WHERE name = $1";
                if rows.execute(subtract, &[&customer, &total])? == 0 {
                    return Err(HandlerError::permanent(format!("{customer} has ordered nothing")));
                }
            }
        }
        Ok(())
    }
}

fn append(store: &Store, order: &str, event_type: &str, customer: &str, total: i64) -> annals::Result<()> {
    let data = serde_json::json!({"customer": customer, "total": total}).to_string();
    let event = NewEvent::new(event_type).data(data);
    store
        .append(&StreamId::new("Order", order), Expected::Any, event)
        .map(drop)
}

/// Appends orders, waits for the table, and returns what it contains. Events and table are in this schema of the database.
pub(crate) fn run(url: &str, schema: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let sign = if url.contains('?') { '&' } else { '?' };
    let url_of_schema = format!("{url}{sign}schema={schema}");
    let store = Store::open_url(&url_of_schema)?;
    append(&store, "order-1", "Placed", "anna", 250)?;
    append(&store, "order-2", "Placed", "berta", 40)?;
    append(&store, "order-3", "Placed", "anna", 60)?;
    append(&store, "order-1", "Cancelled", "anna", 250)?;
    // An order that was never placed: the event is parked, and the others are applied.
    append(&store, "order-4", "Cancelled", "carl", 900)?;

    let processors = Processors::new(&store);
    let customers = processors.project_to_postgres("customers", url_of_schema, Customers);
    let customers = customers.on_failure(OnFailure::park()).start()?;
    let position = customers.when_caught_up(Duration::from_secs(60))?;

    let mut lines = vec![format!("{:<10} {:>6} {:>6}", "customer", "orders", "spent")];
    lines.extend(read(url, schema)?);
    for letter in customers.letters()? {
        let (of, reason) = (letter.aggregate_id, letter.reason);
        lines.push(format!("parked: position {}, {of}: {reason}", letter.position));
    }
    lines.push(format!(
        "The table is of position {position}. Run it again: it goes on."
    ));
    store.close()?;
    Ok(lines)
}

/// Reads the table as any program does that knows nothing of events.
fn read(url: &str, schema: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        runtime.spawn(connection);
        let select = format!("SELECT name, orders, spent FROM \"{schema}\".customers ORDER BY name");
        let line = |row: &tokio_postgres::Row| {
            let (name, orders, spent): (&str, i64, i64) = (row.get(0), row.get(1), row.get(2));
            format!("{name:<10} {orders:>6} {spent:>6}")
        };
        Ok(client.query(&select, &[]).await?.iter().map(line).collect())
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let variable = || std::env::var("ANNALS_EXAMPLE_DATABASE_URL").ok();
    let Some(url) = std::env::args().nth(1).or_else(variable).filter(|url| !url.is_empty()) else {
        println!("no database: set ANNALS_EXAMPLE_DATABASE_URL to a URL such as postgres://user@localhost/shop");
        return Ok(());
    };
    for line in run(&url, "annals_example")? {
        println!("{line}");
    }
    Ok(())
}
