//! Faults act where they say, as often as they say, and are on record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::cqrs::{
    Aggregate, Aggregates, CommandError, Delivered, HandlerError, OnFailure, Processors, Projection, Retry,
};
use annals::testing::conformance::Storage as _;
use annals::testing::faults::{Effect, Fault, Faults, Operation};
use annals::testing::storage::MemoryStorage;
use annals::{
    Append, Condition, Conflict, Durability, Error, Event, Expected, NewEvent, Query, Store, StreamId, Version,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Order(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    Placed,
}

impl Aggregate for Order {
    const TYPE: &'static str = "Order";
    type Event = OrderEvent;
    type Command = ();
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, (): &()) -> Result<Vec<OrderEvent>, String> {
        Ok(vec![OrderEvent::Placed])
    }

    fn evolve(&mut self, _: OrderEvent) {
        self.0 += 1;
    }
}

fn append(store: &Store, id: &str, expected: Expected) -> Result<Version, Error> {
    let appended = store.append(&StreamId::new("Order", id), expected, vec![NewEvent::new("Placed")]);
    appended.map(|appended| appended.last_version)
}

fn count(store: &Store, id: &str) -> usize {
    store.read_stream(id).events().len()
}

#[test]
fn a_fault_acts_on_the_calls_that_it_names() {
    let store = Store::in_memory();
    let fault = Fault::new(Operation::Append, Effect::Fail)
        .aggregate("order-*")
        .nth(3)
        .times(2);
    let faults = Faults::new([fault]).expect("it is fine");
    let tried = store.with_faults(&faults);
    let outcomes: Vec<_> = (0..6)
        .map(|_| append(&tried, "order-1", Expected::Any).is_ok())
        .collect();
    assert_eq!(outcomes, [true, true, false, false, true, true]);
    assert!((0..6).all(|_| append(&tried, "invoice-1", Expected::Any).is_ok()));
    assert_eq!((count(&store, "order-1"), count(&store, "invoice-1")), (4, 6));
    let fired: Vec<_> = faults.fired().iter().map(ToString::to_string).collect();
    let at = "fail at append on 'order-1'";
    assert_eq!(
        fired,
        [format!("fault 0, call 3: {at}"), format!("fault 0, call 4: {at}")]
    );
    faults.assert_all_fired();
    faults.clear();
    assert!(append(&tried, "order-1", Expected::Any).is_ok());
}

#[test]
fn other_handles_of_the_store_have_no_faults() {
    let store = Store::in_memory();
    let faults = Faults::new([Fault::new(Operation::Append, Effect::Fail).times(u64::MAX)]).expect("it is fine");
    let tried = store.with_faults(&faults);
    let derived = tried.with_durability(Durability::Volatile).expect("it has that");
    assert!(append(&store, "order-1", Expected::Any).is_ok());
    assert!(append(&tried.clone(), "order-1", Expected::Any).is_err());
    assert!(
        append(&derived, "order-1", Expected::Any).is_err(),
        "what is made of it has them"
    );
    assert!(
        append(&tried.fork(), "order-1", Expected::Any).is_ok(),
        "a fork is another store"
    );
    let both = [Append::new(
        StreamId::new("Order", "order-2"),
        Expected::Any,
        vec![NewEvent::new("Placed")],
    )];
    assert!(tried.append_all(&both).is_err());
    assert!(
        tried
            .append_if(&Condition::none(Query::all().event_type("Lost")), &both)
            .is_err()
    );
    assert_eq!(count(&store, "order-1"), 1);
}

#[test]
fn a_lost_acknowledgement_leaves_what_it_stored() {
    let store = Store::in_memory();
    let faults = Faults::from_json(r#"[{"on":"append","aggregate":"order-*","do":"commit_then_timeout","times":2}]"#);
    let faults = faults.expect("it is JSON");
    let orders = Aggregates::<Order>::new(&store.with_faults(&faults));
    let lost = orders.execute("order-1", &());
    assert!(
        matches!(lost, Err(CommandError::Store(Error::Unavailable { .. }))),
        "{lost:?}"
    );
    assert_eq!(count(&store, "order-1"), 1);
    // With an id, a repetition is recognized.
    let id = Uuid::from_u128(1);
    orders
        .execute_once(id, "order-2", &())
        .expect_err("its acknowledgement is lost");
    let again = orders.execute_once(id, "order-2", &()).expect("it is known");
    assert!(again.appended.expect("it has events").repeated);
    assert_eq!(count(&store, "order-2"), 1);
    faults.assert_all_fired();
}

#[test]
fn a_store_that_conflicts_on_demand_is_retried() {
    let store = Store::in_memory();
    let faults = Faults::new([Fault::new(Operation::Append, Effect::Conflict).times(3)]).expect("it is fine");
    let tried = store.with_faults(&faults);
    let retry = Retry::default().first_pause(Duration::ZERO);
    let orders = Aggregates::<Order>::new(&tried).retry(retry);
    assert_eq!(
        orders
            .execute("order-1", &())
            .expect("the fourth attempt succeeds")
            .attempts,
        4
    );
    assert_eq!(faults.fired().len(), 3);
    let few = retry.attempts(2);
    faults
        .add(Fault::new(Operation::Append, Effect::Conflict).times(2))
        .expect("it is fine");
    let contended = Aggregates::<Order>::new(&tried).retry(few).execute("order-1", &());
    assert!(
        matches!(contended, Err(CommandError::Contended { attempts: 2, .. })),
        "{contended:?}"
    );
    assert_eq!(count(&store, "order-1"), 1);
}

#[test]
fn a_conflict_acted_on_an_append_that_checks_nothing() {
    let store = Store::in_memory();
    let faults = Faults::new([Fault::new(Operation::Append, Effect::Conflict).times(9)]).expect("it is fine");
    let tried = store.with_faults(&faults);
    append(&tried, "order-1", Expected::Any).expect("nothing can conflict");
    let error = append(&tried, "order-1", Expected::Exactly(Version(1))).expect_err("it is checked");
    assert!(
        matches!(error.conflict(), Some(Conflict::Version { actual: Version(2), .. })),
        "{error}"
    );
    let part = Append::new(
        StreamId::new("Order", "order-2"),
        Expected::Any,
        vec![NewEvent::new("Placed")],
    );
    let error = tried.append_if(&Condition::none(Query::all().event_type("Lost")), &[part]);
    assert!(matches!(
        error.expect_err("it is checked").conflict(),
        Some(Conflict::Condition { .. })
    ));
    assert_eq!(store.read_all().events().len(), 1);
}

#[test]
fn reads_fail_and_wait() {
    let store = Store::in_memory();
    append(&store, "order-1", Expected::Any).expect("no fault");
    let delay = Duration::from_millis(30);
    let faults = Faults::new([
        Fault::new(Operation::Read, Effect::Fail).aggregate("order-1"),
        Fault::new(Operation::Read, Effect::Delay).lasting(delay),
    ]);
    let faults = faults.expect("they are fine");
    let tried = store.with_faults(&faults);
    let orders = Aggregates::<Order>::new(&tried);
    let error = orders.load("order-1").expect_err("the first load fails");
    assert!(
        error.to_string().contains("a fault of the test on this read"),
        "{error}"
    );
    let begun = Instant::now();
    assert_eq!(tried.query(Query::all()).count().expect("it waits"), 1);
    assert!(begun.elapsed() >= delay);
    assert_eq!(orders.load("order-1").expect("no fault is left").version, Version(1));
    faults.assert_all_fired();
}

#[derive(Default)]
struct Count(u64);

impl Projection for Count {
    type Event = OrderEvent;

    fn apply(&mut self, _: OrderEvent, _: &Event) -> Result<(), HandlerError> {
        self.0 += 1;
        Ok(())
    }
}

#[test]
fn projections_and_handlers_fail_at_an_event() {
    let store = Store::in_memory();
    for number in 0..4 {
        append(&store, &format!("order-{number}"), Expected::Any).expect("no fault");
    }
    let faults = Faults::from_json(
        r#"[{"on":"projection","aggregate":"order-1","do":"fail","processor":"count","times":2},
            {"on":"handler","nth":3,"do":"fail","type":"Placed"}]"#,
    );
    let faults = faults.expect("it is JSON");
    let processors = Processors::new(&store.with_faults(&faults));
    let retry = Retry::default().first_pause(Duration::ZERO);
    let count = processors
        .project("count", Count::default())
        .on_failure(OnFailure::stop().retry(retry));
    let count = count.start().expect("it starts");
    let handled = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&handled);
    let mailer = processors.subscribe("mailer", move |delivered: Delivered<'_, OrderEvent>| {
        log.lock().push(delivered.record.aggregate_id().to_owned());
        Ok(())
    });
    let mailer = mailer.on_failure(OnFailure::park()).start().expect("it starts");
    processors.when_idle(SOON).expect("both go on");
    assert_eq!(count.read(|count| count.0), 4, "it is tried again");
    assert_eq!(*handled.lock(), ["order-0", "order-1", "order-3"]);
    let letters = mailer.letters().expect("they are read");
    assert_eq!(
        (letters.len(), letters[0].reason.as_str()),
        (1, "a fault of the test on this event")
    );
    faults.assert_all_fired();
}

#[test]
fn a_flush_that_fails_ends_the_appends() {
    let storage = MemoryStorage::new(Durability::Synced);
    let faults = Faults::new([Fault::new(Operation::Flush, Effect::Fail).nth(3)]).expect("it is fine");
    let journal = storage.journal().expect("it is free");
    let store = Store::open(faults.journal(Box::new(journal))).expect("it is empty");
    let store = store.with_durability(Durability::Synced).expect("it has that");
    append(&store, "order-1", Expected::Any).expect("written and synced: two flushes");
    let failed = append(&store, "order-1", Expected::Any).expect_err("the third fails");
    assert!(matches!(failed, Error::Failed { .. }), "{failed}");
    assert!(append(&store, "order-1", Expected::Any).is_err());
    faults.assert_all_fired();
    drop(store);
    storage.lose_process();
    let again = Store::open(storage.journal().expect("it is free")).expect("it is recovered");
    assert_eq!(count(&again, "order-1"), 1);
}

#[test]
fn a_fault_that_cannot_be_is_refused() {
    for (json, told) in [
        (r#"{"on":"read","do":"conflict"}"#, "only an append can conflict"),
        (
            r#"{"on":"handler","do":"commit_then_timeout"}"#,
            "only an append can commit_then_timeout",
        ),
        (r#"{"on":"append","do":"fail","ms":5}"#, "'ms' is the length of a delay"),
        (r#"{"on":"append","do":"delay","ms":60001}"#, "longer than 60000 ms"),
        (r#"{"on":"append","do":"fail","nth":0}"#, "count from 1"),
        (r#"{"on":"append","do":"fail","times":0}"#, "count from 1"),
        (r#"{"on":"append","do":"fail","chance":1.5}"#, "from 0 to 1"),
        (
            r#"{"on":"append","do":"fail","processor":"x"}"#,
            "only projections and handlers",
        ),
        (
            r#"{"on":"flush","do":"fail","aggregate":"x"}"#,
            "leave 'aggregate' and 'type' out",
        ),
        // It would never act: a read names no types.
        (r#"{"on":"read","do":"fail","type":"OrderPlaced"}"#, "leave 'type' out"),
        (r#"{"on":"append","do":"explode"}"#, "unknown variant `explode`"),
        (r#"{"on":"append","do":"fail","stream":"x"}"#, "unknown field `stream`"),
        (r#"{"do":"fail"}"#, "missing field `on`"),
        ("[1]", "cannot parse the faults"),
        ("", "cannot parse the faults"),
    ] {
        let error = Faults::from_json(json).expect_err(json);
        assert!(
            matches!(error, Error::Invalid { .. }) && error.to_string().contains(told),
            "{json}: {error}"
        );
    }
    let long = Fault::new(Operation::Append, Effect::Fail).aggregate("x".repeat(256));
    assert!(
        Faults::new([long])
            .expect_err("too long")
            .to_string()
            .contains("longer than 255 bytes")
    );
    let many = (0..1_025).map(|_| Fault::new(Operation::Append, Effect::Fail));
    assert!(Faults::new(many).expect_err("too many").to_string().contains("1024"));
}

#[test]
fn a_fault_that_never_fired_passed_for_proved() {
    let faults = Faults::new([
        Fault::new(Operation::Append, Effect::Fail),
        Fault::new(Operation::Append, Effect::Fail).aggregate("invoice-*"),
    ]);
    let faults = faults.expect("they are fine");
    let store = Store::in_memory().with_faults(&faults);
    append(&store, "order-1", Expected::Any).expect_err("the first acts");
    assert_eq!(faults.unfired().len(), 1);
    let told = catch_unwind(AssertUnwindSafe(|| faults.assert_all_fired())).expect_err("one never fired");
    let told = told.downcast_ref::<String>().expect("a message");
    assert!(
        told.contains("invoice-*") && told.contains("append on 'order-1'"),
        "{told}"
    );
}

#[test]
fn the_same_seed_draws_the_same_faults() {
    let draw = |seed: u64| -> Vec<bool> {
        let fault = Fault::new(Operation::Append, Effect::Fail).chance(0.3);
        let faults = Faults::seeded(seed, [fault]).expect("it is fine");
        let store = Store::in_memory().with_faults(&faults);
        (0..400)
            .map(|_| append(&store, "order-1", Expected::Any).is_err())
            .collect()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    let failed = draw(7).iter().filter(|failed| **failed).count();
    assert!((80..160).contains(&failed), "{failed} of 400 at a chance of 0.3");
    let never = Faults::seeded(7, [Fault::new(Operation::Append, Effect::Fail).chance(0.0)]).expect("it is fine");
    let store = Store::in_memory().with_faults(&never);
    assert!((0..100).all(|_| append(&store, "order-1", Expected::Any).is_ok()));
}

#[test]
fn faults_are_written_as_they_are_read() {
    let fault = Fault::new(Operation::Append, Effect::Delay)
        .aggregate("order-*")
        .event_type("Placed")
        .nth(2);
    let fault = fault.times(3).chance(0.5).lasting(Duration::from_millis(20));
    let json = serde_json::to_string(&fault).expect("it is data");
    assert_eq!(
        json,
        r#"{"on":"append","do":"delay","aggregate":"order-*","type":"Placed","nth":2,"times":3,"chance":0.5,"ms":20}"#
    );
    assert_eq!(serde_json::from_str::<Fault>(&json).expect("it is read"), fault);
}
