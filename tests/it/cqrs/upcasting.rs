//! Upcasting: events of older schemas are read as the newest in every path.

use annals::cqrs::{
    Aggregate, Aggregates, CodecError, LoadError, ReadError, TypedEvents, UnknownEvents, Upcast, Upcasters,
};
use annals::{Expected, NewEvent, Position, Store, StreamId, Version};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Invoice {
    Issued { cents: u64, currency: String },
    Paid,
    NameChanged { name: String },
    AddressChanged { address: String },
}

fn upcasters() -> Upcasters {
    Upcasters::new()
        .change("Issued", 1, |data| {
            let euros = data["euros"].as_u64().ok_or("it has no field 'euros'")?;
            *data = json!({ "cents": euros * 100 });
            Ok(())
        })
        .change("Issued", 2, |data| {
            data["currency"] = json!("EUR");
            Ok(())
        })
        .rename("Payed", 1, ("Paid", 1))
        .split("Moved", 1, &[("NameChanged", 1), ("Relocated", 1)], |data| {
            Ok(vec![
                Upcast::new("NameChanged", 1, json!({ "name": data["name"] })),
                Upcast::new("Relocated", 1, json!({ "to": data["address"] })),
            ])
        })
        // The second part of a split goes on.
        .split("Relocated", 1, &[("AddressChanged", 1)], |data| {
            Ok(vec![Upcast::new("AddressChanged", 1, json!({ "address": data["to"] }))])
        })
        .drop("Printed", 1)
}

fn events() -> TypedEvents<Invoice> {
    TypedEvents::new().upcasters(&upcasters())
}

fn add(store: &Store, event_type: &str, version: u32, data: &str) {
    let event = NewEvent::new(event_type).schema_version(version).data(data);
    store
        .append(&StreamId::new("Invoice", "a"), Expected::Any, event)
        .expect("an event");
}

fn issued(cents: u64) -> Invoice {
    Invoice::Issued {
        cents,
        currency: "EUR".to_owned(),
    }
}

/// The events, folded.
#[derive(Debug, Default, PartialEq)]
struct Read(Vec<Invoice>);

impl Aggregate for Read {
    const TYPE: &'static str = "Invoice";
    type Event = Invoice;
    type Command = Invoice;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &Invoice) -> Result<Vec<Invoice>, String> {
        Ok(vec![command.clone()])
    }

    fn evolve(&mut self, event: Invoice) {
        self.0.push(event);
    }
}

#[test]
fn chains_differed_by_path() {
    let store = Store::in_memory();
    add(&store, "Issued", 1, r#"{"euros":7}"#);
    add(&store, "Printed", 1, "{}");
    add(&store, "Moved", 1, r#"{"name":"anna","address":"here"}"#);
    add(&store, "Issued", 2, r#"{"cents":8}"#);
    add(&store, "Payed", 1, "");
    add(&store, "Printed", 1, "{}");
    let want = vec![
        issued(700),
        Invoice::NameChanged {
            name: "anna".to_owned(),
        },
        Invoice::AddressChanged {
            address: "here".to_owned(),
        },
        issued(8),
        Invoice::Paid,
    ];
    let invoices = Aggregates::<Read>::new(&store).upcasters(&upcasters());
    let loaded = invoices.load("a").expect("every version has a path");
    // The last event is dropped, another was split: the version is that of the stored events.
    assert_eq!((loaded.state.0, loaded.version), (want.clone(), Version(6)));
    let read = events().read_stream(&store, "a").expect("it decodes");
    assert_eq!(read.iter().map(|read| read.event.clone()).collect::<Vec<_>>(), want);
    assert_eq!(read[1].record.position(), read[2].record.position());
    let queried = events().query(&store, events().all()).expect("it decodes");
    assert_eq!(queried, read);
    let mut tail = store.tail(events().all(), Position(0)).expect("a query for types");
    let tailed: Vec<_> = std::iter::from_fn(|| tail.try_next()).collect();
    let mut decoded = Vec::new();
    for delivery in tailed {
        let annals::Delivery::Event(event) = delivery else {
            panic!("nothing is gone");
        };
        decoded.extend(events().decode_event(&event).expect("it decodes"));
    }
    assert_eq!(decoded, want);
    // The next version is not used twice.
    let paid = invoices.execute("a", &Invoice::Paid).expect("an event");
    assert_eq!(paid.version, Version(7));
    assert_eq!(invoices.check(), Ok(()));
    assert_eq!(events().check(&store, events().all()), Ok(()));
}

#[test]
fn new_events_have_the_newest_version() {
    let store = Store::in_memory();
    let invoices = Aggregates::<Read>::new(&store).upcasters(&upcasters());
    invoices.execute("a", &issued(5)).expect("an event");
    let event = store.event_at(Position(1)).expect("an event");
    assert_eq!((event.event_type(), event.schema_version()), ("Issued", 3));
    assert_eq!(invoices.load("a").expect("it is whole").state.0, [issued(5)]);
    // A program without the upcasters says what it lacks, instead of reading an older shape as the newest.
    let older = Aggregates::<Read>::new(&store).upcasters(&Upcasters::new().change("Issued", 1, |_| Ok(())));
    let error = older.load("a").expect_err("version 3 is not known").to_string();
    assert!(
        error.contains("no upcaster is registered for this schema version"),
        "{error}"
    );
}

#[test]
fn what_does_not_upcast_names_the_event() {
    let store = Store::in_memory();
    add(&store, "Paid", 1, "");
    add(&store, "Issued", 1, r#"{"dollars":7}"#);
    let Err(ReadError::Undecodable(error)) = events().read_stream(&store, "a") else {
        panic!("there are no euros");
    };
    assert_eq!((error.position, error.event_type.as_str()), (Position(2), "Issued"));
    assert!(
        error
            .to_string()
            .ends_with("schema version 1 cannot be upcast: it has no field 'euros'"),
        "{error}"
    );
    let invoices = Aggregates::<Read>::new(&store).upcasters(&upcasters());
    assert!(matches!(invoices.load("a"), Err(LoadError::Undecodable(_))));
}

#[test]
fn a_circle_of_upcasters_never_ended() {
    let store = Store::in_memory();
    add(&store, "Ping", 1, "{}");
    let circle =
        Upcasters::new()
            .rename("Ping", 1, ("Pong", 1))
            .split("Pong", 1, &[("Ping", 1), ("Pong", 1)], |data| {
                Ok(vec![Upcast::new("Ping", 1, data.clone()), Upcast::new("Pong", 1, data)])
            });
    let events = TypedEvents::<Invoice>::new().upcasters(&circle);
    let error = events.read_stream(&store, "a").expect_err("it never ends").to_string();
    assert!(error.contains("go in a circle"), "{error}");
    let error = events
        .check(&store, annals::Query::all())
        .expect_err("it never ends")
        .to_string();
    assert!(error.contains("go in a circle"), "{error}");
}

#[test]
fn an_upcaster_that_returns_what_it_does_not_declare_is_found() {
    let liar = Upcasters::new().split("Paid", 1, &[("Issued", 3)], |data| {
        Ok(vec![Upcast::new("Issued", 1, data)])
    });
    let store = Store::in_memory();
    add(&store, "Paid", 1, "{}");
    let events = TypedEvents::<Invoice>::new().upcasters(&liar);
    let Err(ReadError::Undecodable(error)) = events.read_stream(&store, "a") else {
        panic!("it is another version");
    };
    assert!(
        matches!(&error.error, CodecError::NotUpcast { why, .. } if why.contains("does not declare")),
        "{error}"
    );
}

#[test]
fn the_check_lists_every_version_without_a_path() {
    let store = Store::in_memory();
    for (event_type, version) in [
        ("Issued", 1),
        ("Issued", 4),
        ("Issued", 4),
        ("Payed", 2),
        ("Paid", 1),
        ("Lost", 1),
    ] {
        add(&store, event_type, version, "{}");
    }
    let invoices = Aggregates::<Read>::new(&store).upcasters(&upcasters());
    let Err(ReadError::MissingPaths(missing)) = invoices.check() else {
        panic!("three have no path");
    };
    let found: Vec<_> = missing
        .paths
        .iter()
        .map(|path| (path.event_type.as_str(), path.schema_version, path.events, path.first.0))
        .collect();
    assert_eq!(found, [("Issued", 4, 2, 2), ("Lost", 1, 1, 6), ("Payed", 2, 1, 4)]);
    assert!(
        missing
            .to_string()
            .contains("'Lost' version 1 (1 events from position 6: the enum has no variant 'Lost')")
    );
    let skipping = invoices.unknown_events(UnknownEvents::Skip).check();
    let Err(ReadError::MissingPaths(missing)) = skipping else {
        panic!("two have no path");
    };
    assert_eq!(missing.paths.len(), 2, "{missing}");
}

proptest! {
    /// Stored as any of its versions, an event is read as the newest.
    #[test]
    fn every_stored_version_is_read_alike(amounts in proptest::collection::vec((0_u64..1_000, 1_u32..4), 0..20)) {
        let store = Store::in_memory();
        for (amount, version) in &amounts {
            let data = match version {
                1 => json!({ "euros": amount }),
                2 => json!({ "cents": amount * 100 }),
                _ => json!({ "cents": amount * 100, "currency": "EUR" }),
            };
            add(&store, "Issued", *version, &data.to_string());
        }
        let invoices = Aggregates::<Read>::new(&store).upcasters(&upcasters());
        let want: Vec<_> = amounts.iter().map(|(amount, _)| issued(amount * 100)).collect();
        prop_assert_eq!(invoices.load("a").map(|loaded| loaded.state.0), Ok(want));
    }
}
