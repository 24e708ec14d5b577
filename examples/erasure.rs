//! The right to be forgotten: a customer is erased from a log that never changes.
//!
//! `cargo run --features erasure --example erasure`

use std::error::Error;
use std::fs;
use std::io::{Write, stdout};

use annals::cqrs::erasure::{KeyFile, Personal, Protected, Redacted, Scan, Subject, Vault};
use annals::cqrs::{Aggregate, Aggregates, HandlerError, Live, Projection, SnapshotPolicy, TypedEvents};
use annals::{Event, Position, Store, StoreUrl};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
enum CustomerEvent {
    Registered { name: String, email: Option<String> },
    Ordered { amount: u64 },
}

#[derive(Default, Serialize, Deserialize)]
struct Customer(String, u64);

impl Aggregate for Customer {
    const TYPE: &'static str = "Customer";
    type Event = CustomerEvent;
    type Command = CustomerEvent;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &CustomerEvent) -> Result<Vec<CustomerEvent>, String> {
        Ok(vec![command.clone()])
    }

    fn evolve(&mut self, event: CustomerEvent) {
        match event {
            CustomerEvent::Registered { name, .. } => self.0 = name,
            CustomerEvent::Ordered { amount } => self.1 += amount,
        }
    }
}

/// A read model: the names of all customers.
#[derive(Default)]
struct Names(Vec<String>);

impl Projection for Names {
    type Event = CustomerEvent;

    fn apply(&mut self, event: CustomerEvent, _: &Event) -> Result<(), HandlerError> {
        if let CustomerEvent::Registered { name, .. } = event {
            self.0.push(name);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("annals-erasure-{}", std::process::id()));
    let (journal, keys) = (folder.join("journal"), folder.join("keys"));
    fs::create_dir_all(&journal)?;
    let store = StoreUrl::of_folder(&journal).open(Store::builder())?;

    // The keys are in a file of their own: a copy of the journal has none.
    let vault = Vault::open(&store, KeyFile::create(&keys)?)?;
    let personal = Personal::new()
        .event("Registered", Subject::aggregate(), ["/name", "/email"])
        .redacted("Registered", "/email", Redacted::Null);
    let codec = Protected::new(&vault, personal);
    let customers = Aggregates::<Customer, _>::with_codec(&store, codec.clone()).snapshots(SnapshotPolicy::every(2));
    let names = Live::with_events(&store, Names::default(), &TypedEvents::with_codec(codec))?;
    let (reset, of) = (names.clone(), store.clone());
    vault.on_erase("names", move |_| {
        let reset = reset.reset(&of, Names::default());
        reset.map_err(|error| HandlerError::permanent(error.to_string()))
    });

    let (name, email) = ("Anna Quintessa".to_owned(), Some("anna@example.org".to_owned()));
    customers.execute("customer-1", &CustomerEvent::Registered { name, email })?;
    customers.execute("customer-1", &CustomerEvent::Ordered { amount: 250 })?;
    let mut out = stdout().lock();
    let stored = store.event_at(Position(1)).ok_or("it is gone")?;
    writeln!(out, "stored: {}", String::from_utf8_lossy(stored.data()))?;
    writeln!(out, "read:   {}", customers.load("customer-1")?.state.0)?;

    let evidence = vault.evidence("customer-1")?;
    let receipt = vault.erase("customer-1")?;
    writeln!(out, "erased: {receipt}")?;
    let customer = customers.load("customer-1")?.state;
    let names = names.read(|names| names.0.clone())?;
    writeln!(out, "read:   {}, who spent {}; {names:?}", customer.0, customer.1)?;
    assert_eq!((customer.0.as_str(), customer.1), ("[erased]", 250));

    store.wait_durable(store.visible())?;
    let scan = Scan::new()
        .plaintext("Anna Quintessa")
        .plaintext("anna@example.org")
        .evidence(&evidence);
    let findings = scan.store(&store).path(&folder).run()?;
    writeln!(out, "scan:   {} files, {} leftovers", findings.files, findings.count)?;
    assert!(findings.is_clean());
    store.close()?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

#[test]
fn a_customer_is_erased() -> Result<(), Box<dyn Error>> {
    main()
}
