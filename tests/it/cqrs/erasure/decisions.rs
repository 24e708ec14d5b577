//! Decisions over queries and atomic commands with personal fields.

use annals::cqrs::{Decided, Decision, Decisions, Together};
use annals::{EventRef, Query, Store, StreamId};
use serde::Serialize;
use uuid::Uuid;

use super::*;

/// Registers a customer whose e-mail address no other has.
#[derive(Clone, Serialize)]
struct RegisterOnce;

impl Decision for RegisterOnce {
    type State = bool;
    type Event = CustomerEvent;
    type Rejection = String;

    fn query(&self) -> Query {
        Query::all().event_type("Registered")
    }

    fn initial(&self) -> bool {
        false
    }

    fn evolve(&self, is_taken: &mut bool, event: CustomerEvent, _: EventRef<'_>) {
        *is_taken |= matches!(event, CustomerEvent::Registered { email: Some(email), .. } if email == EMAIL);
    }

    fn decide(&self, is_taken: &bool) -> Result<Vec<Decided<CustomerEvent>>, String> {
        if *is_taken {
            return Err("the address is taken".to_owned());
        }
        Ok(vec![Decided::new(
            StreamId::new("Customer", "anna"),
            registered("anna"),
        )])
    }
}

#[test]
fn a_decision_reads_or_writes_personal_fields_in_clear() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let decisions = Decisions::with_codec(&store, Protected::new(&vault, personal()));
    let id = Uuid::from_u128(4);
    decisions.execute_once(id, &RegisterOnce).expect("it is free");
    assert!(vault.verify_erasure(&PLAINTEXTS, None).expect("a scan").is_clean());
    assert!(decisions.execute(&RegisterOnce).is_err());
    // The repetition is recognized: nothing is encrypted or appended again.
    decisions.execute_once(id, &RegisterOnce).expect("the same");
    assert_eq!(store.visible().0, 1);
    vault.erase("anna").expect("an erasure");
    let error = decisions
        .execute(&RegisterOnce)
        .expect_err("the subject is erased")
        .to_string();
    assert!(error.contains("the subject was erased"), "{error}");
}

#[test]
fn atomic_commands_write_personal_fields_in_clear() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = customers(&store, &vault);
    let both = |work: &mut annals::cqrs::Work<'_>| {
        work.execute(&customers, "anna", &CustomerCommand::Register)?;
        work.execute(&customers, "berta", &CustomerCommand::Move(ADDRESS.to_owned()))
    };
    Together::new(&store).execute(both).expect("both");
    assert!(vault.verify_erasure(&PLAINTEXTS, None).expect("a scan").is_clean());
    vault.erase("berta").expect("an erasure");
    // One of the two is refused, so neither is appended.
    let last = store.visible();
    assert!(Together::new(&store).execute(both).is_err());
    assert_eq!(store.visible(), last);
    assert_eq!(customers.load("anna").expect("it decodes").state.name, NAME);
}

#[cfg(all(feature = "cbor", feature = "bincode-codec"))]
#[test]
fn another_format_stores_personal_fields_in_clear() {
    use annals::cqrs::{Aggregates, Bincode, Cbor, SnapshotPolicy};
    let store = Store::in_memory();
    let vault = vault(&store);
    let cbor = Protected::around(Cbor, &vault, personal());
    let customers = Aggregates::<Customer, _>::with_codec(&store, cbor).snapshots(SnapshotPolicy::every(1));
    customers
        .execute("anna", &CustomerCommand::Register)
        .expect("a command");
    assert_eq!(customers.load("anna").expect("it decodes").state.name, NAME);
    assert!(vault.verify_erasure(&PLAINTEXTS, None).expect("a scan").is_clean());
    vault.erase("anna").expect("an erasure");
    assert_eq!(customers.load("anna").expect("it decodes").state.name, "[erased]");
    // A format without names of fields is refused; what is not personal is written.
    let bincode = Protected::around(Bincode, &vault, personal());
    let customers = Aggregates::<Customer, _>::with_codec(&store, bincode);
    assert!(customers.execute("berta", &CustomerCommand::Register).is_err());
    assert!(customers.execute("berta", &CustomerCommand::Order(1)).is_ok());
}
