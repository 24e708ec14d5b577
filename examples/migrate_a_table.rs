//! A table of customers moves into the store while the program runs. `cargo run --example migrate_a_table --features migration`

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;
use std::error::Error;

use annals::Store;
use annals::cqrs::migration::{Migrated, Migration, rows};
use annals::cqrs::{Aggregate, Aggregates};
use serde::{Deserialize, Serialize};

/// The old table, as it was exported.
const TABLE: &str = "\
id,name,city,since
1,Anna,Ulm,2019-05-01T09:00:00Z
2,Bert,Bonn,2021-11-30T17:30:00Z
3,Carla,Köln,yesterday
4,Dora,Jena,2024-02-29T08:00:00Z
";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum CustomerEvent {
    CustomerMigrated { name: String, city: String },
    CustomerMoved { city: String },
}

/// A customer of the store: the row that was migrated, and what has happened since.
#[derive(Clone, Debug, Default, PartialEq)]
struct Customer {
    name: String,
    city: String,
}

struct Move(&'static str);

impl Aggregate for Customer {
    const TYPE: &'static str = "Customer";
    type Event = CustomerEvent;
    type Command = Move;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, Move(city): &Move) -> Result<Vec<CustomerEvent>, String> {
        let city = (*city).to_owned();
        Ok(vec![CustomerEvent::CustomerMoved { city }])
    }

    fn evolve(&mut self, event: CustomerEvent) {
        match event {
            CustomerEvent::CustomerMigrated { name, city } => *self = Self { name, city },
            CustomerEvent::CustomerMoved { city } => self.city = city,
        }
    }
}

/// The switch: a customer is read from the store as soon as it is there, and from the old table until then.
struct Customers {
    old: BTreeMap<String, Customer>,
    new: Aggregates<Customer>,
}

impl Customers {
    fn load(&self, id: &str) -> Result<(&'static str, Option<Customer>), Box<dyn Error>> {
        let loaded = self.new.load(id)?;
        if loaded.version.0 > 0 {
            return Ok(("store", Some(loaded.state)));
        }
        Ok(("table", self.old.get(id).cloned()))
    }
}

fn old_table() -> BTreeMap<String, Customer> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let customer = |row: serde_json::Value| {
        let (name, city) = (text(&row["name"]), text(&row["city"]));
        (format!("customer-{}", text(&row["id"])), Customer { name, city })
    };
    let rows = rows::csv(TABLE.as_bytes()).filter_map(Result::ok);
    rows.map(customer).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::in_memory();
    let customers = Customers {
        old: old_table(),
        new: Aggregates::new(&store),
    };
    let show = |id: &str| -> Result<(), Box<dyn Error>> {
        let (from, customer) = customers.load(id)?;
        println!("    {id} from the {from}: {customer:?}");
        Ok(())
    };
    show("customer-1")?;
    let migration = Migration::new(&store, "customers", |row| {
        let id = row["id"].as_str().ok_or("it has no id")?;
        let since = row["since"].as_str().unwrap_or_default().parse();
        let since = since.map_err(|error| format!("'since': {error}"))?;
        let migrated = Migrated::new("Customer", format!("customer-{id}")).data(row);
        Ok(migrated.timestamp(since))
    });
    let report = migration.run(rows::csv(TABLE.as_bytes()))?;
    println!("{report}");
    for refused in &report.refused {
        println!("    {refused}");
    }
    customers.new.execute("customer-1", &Move("Rom"))?;
    show("customer-1")?;
    show("customer-3")?;
    println!("again, with the row corrected:");
    let corrected = TABLE.replace("yesterday", "2023-01-01T00:00:00Z");
    let again = migration.run(rows::csv(corrected.as_bytes()))?;
    assert_eq!((again.migrated, again.already_migrated), (1, 3), "{again}");
    show("customer-1")?;
    show("customer-3")
}
