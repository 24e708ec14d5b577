//! What is told of an erasure: listeners, projections, subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals::cqrs::{Action, HandlerError, Live, OnFailure, Processors, Projection, Route, Saga, TypedEvents};
use annals::{Event, Expected, NewEvent, Store, StreamId};
use serde::{Deserialize, Serialize};

use super::*;

const SOON: Duration = Duration::from_secs(30);

/// The names of all customers.
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

fn typed(vault: &annals::cqrs::erasure::Vault) -> TypedEvents<CustomerEvent, Protected> {
    TypedEvents::with_codec(Protected::new(vault, personal()))
}

#[test]
fn a_read_model_keeps_personal_data() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let processors = Processors::new(&store);
    let projected = processors
        .project("names", Names::default())
        .events(&typed(&vault))
        .start()
        .expect("it starts");
    let live = Live::with_events(&store, Names::default(), &typed(&vault)).expect("it runs");
    register(&customers(&store, &vault).inline(&live));
    projected.when_caught_up(SOON).expect("it runs");
    let names = |of: &str| {
        [
            projected.read(|names| names.0.concat()),
            live.read(|names| names.0.concat()).expect("it runs"),
        ] == [of, of]
    };
    assert!(names(NAME));
    let (rebuilt, reset, of) = (projected.clone(), live.clone(), store.clone());
    vault.on_erase("names", move |_| {
        rebuilt
            .rebuild(Names::default())
            .map(drop)
            .map_err(|error| HandlerError::permanent(error.to_string()))
    });
    vault.on_erase("live names", move |_| {
        reset
            .reset(&of, Names::default())
            .map_err(|error| HandlerError::permanent(error.to_string()))
    });
    let receipt = vault.erase("anna").expect("an erasure");
    assert!(
        receipt.told.len() == 2 && receipt.told.iter().all(|told| told.error.is_none()),
        "{receipt}"
    );
    assert!(names("[erased]"));
    processors.end();
}

#[test]
fn a_listener_that_fails_is_forgotten() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let (heals, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (is_healed, counted) = (Arc::clone(&heals), Arc::clone(&calls));
    vault.on_erase("mail", move |erased| {
        assert_eq!(erased.subject, "anna");
        counted.fetch_add(1, Ordering::Relaxed);
        if is_healed.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(HandlerError::transient("the mail server is down"))
    });
    register(&customers(&store, &vault));
    let receipt = vault.erase("anna").expect("the keys are destroyed in any case");
    assert_eq!(receipt.told[0].error.as_deref(), Some("the mail server is down"));
    assert!(!receipt.is_complete() && vault.is_erased("anna") == Ok(true));
    heals.store(true, Ordering::Relaxed);
    let again = vault.erase("anna").expect("it is told again");
    assert_eq!(
        (again.told[0].error.as_deref(), calls.load(Ordering::Relaxed)),
        (None, 2)
    );
}

#[derive(Debug, Serialize, Deserialize)]
enum Seen {
    #[serde(rename = "annals.Erased")]
    Erased { key: uuid::Uuid, generation: u32 },
}

#[test]
fn a_subscription_does_not_see_an_erasure() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let processors = Processors::new(&store);
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let all = Arc::clone(&seen);
    let handler = move |delivered: annals::cqrs::Delivered<'_, Seen>| {
        let Seen::Erased { key, generation } = delivered.event;
        all.lock().push((key, generation));
        Ok(())
    };
    let cleaner = processors.subscribe("cleaner", handler).start().expect("it starts");
    register(&customers(&store, &vault));
    let receipt = vault.erase("anna").expect("an erasure");
    cleaner.when_caught_up(SOON).expect("it runs");
    assert_eq!(*seen.lock(), [(receipt.key.expect("a key"), 1)]);
    let mark = store
        .event_at(annals::Position(receipt.mark.expect("a mark")))
        .expect("an event");
    assert!(!String::from_utf8_lossy(mark.data()).contains("anna"));
    processors.end();
}

#[test]
fn a_poison_event_at_the_first_position_stops_everything_after_it() {
    let store = Store::in_memory();
    let vault = vault(&store);
    // Damaged, as no writer of this library leaves it.
    let forged = NewEvent::new("Registered")
        .data(r#"{"customer":"x","name":{"$erasable":1,"key":"?"},"email":null,"phones":[]}"#);
    store
        .append(&StreamId::new("Customer", "poison"), Expected::NoStream, forged)
        .expect("an append");
    register(&customers(&store, &vault));
    let processors = Processors::new(&store);
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let handler = move |_: annals::cqrs::Delivered<'_, CustomerEvent>| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let mailer = processors
        .subscribe("mailer", handler)
        .events(&typed(&vault))
        .on_failure(OnFailure::park());
    let mailer = mailer.start().expect("it starts");
    mailer.when_caught_up(SOON).expect("it goes on");
    let letters = mailer.letters().expect("letters");
    assert_eq!(
        (letters.len(), letters[0].position.0, count.load(Ordering::Relaxed)),
        (1, 1, 3)
    );
    assert!(
        letters[0].reason.contains("invalid member key"),
        "{}",
        letters[0].reason
    );
    // An erased first event is none: it decodes as redacted.
    vault.erase("anna").expect("an erasure");
    assert_eq!(
        customers(&store, &vault).load("anna").expect("it decodes").state,
        forgotten()
    );
    processors.end();
}

/// Welcomes a customer; its state has the name in clear.
#[derive(Default, Serialize, Deserialize)]
struct Welcome {
    name: String,
    events: u64,
}

impl Saga for Welcome {
    const TYPE: &'static str = "Welcome";
    type Event = CustomerEvent;
    type Command = ();

    fn route(_: &CustomerEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, event: CustomerEvent) -> Vec<Action<()>> {
        self.events += 1;
        if let CustomerEvent::Registered { name, .. } = event {
            self.name = name;
        }
        Vec::new()
    }
}

#[test]
fn a_receipt_counts_the_sagas_of_others() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = customers(&store, &vault);
    let processors = Processors::new(&store);
    let sagas = processors.saga::<Welcome>(|(), _| Ok(())).events(&typed(&vault));
    let sagas = sagas.start().expect("it starts");
    for id in ["anna", "berta"] {
        customers
            .execute(id, &CustomerCommand::Move(ADDRESS.to_owned()))
            .expect("a command");
        customers.execute(id, &CustomerCommand::Order(1)).expect("a command");
    }
    customers
        .execute("carla", &CustomerCommand::Order(1))
        .expect("a command");
    sagas.when_caught_up(SOON).expect("it runs");
    processors.end();
    // The second state follows from the first, which had an address.
    let receipt = vault.erase("anna").expect("an erasure");
    assert_eq!((receipt.saga_states, receipt.is_complete()), (2, false));
    let receipt = vault.erase("dora").expect("an erasure");
    assert_eq!((receipt.saga_states, receipt.is_complete()), (0, true));
}
