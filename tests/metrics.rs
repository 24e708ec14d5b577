//! Metrics of a program that has no server.

use std::time::Duration;

use annals::cqrs::{Action, HandlerError, Processors, Projection, Route, Saga, SendError, Sending};
use annals::metrics::{EventMetrics, Exporter, StoreMetrics, ToolkitMetrics};
use annals::{Appended, Budget, Event, Expected, NewEvent, Result, Settings, Store, StreamId, WhenFull};
use serde::{Deserialize, Serialize};

fn append(store: &Store, id: &str, expected: Expected) -> Result<Appended> {
    store.append(
        &StreamId::new("Order", id),
        expected,
        NewEvent::new("Placed").data("null"),
    )
}

/// Whether the text has a line, also where a whole number is written with a fraction.
fn has(text: &str, line: &str) -> bool {
    text.lines().any(|own| own == line || own == format!("{line}.0"))
}

#[track_caller]
fn check(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(has(text, line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn a_store_exported_other_figures_than_its_statistics() {
    let budget = Budget::default().events(10).when_full(WhenFull::DropOldest);
    let settings = Settings::default().budget(budget);
    let small = Store::builder().settings(settings).open().unwrap();
    for _ in 0..5_000 {
        append(&small, "a", Expected::Any).unwrap();
    }
    let other = Store::in_memory();
    append(&other, "a", Expected::Any).unwrap();
    let stats = small.stats();
    assert!(stats.events < 5_000, "it has dropped events");
    let stores = move || vec![("small".to_owned(), small.clone()), ("other".to_owned(), other.clone())];
    let text = Exporter::new().with(StoreMetrics::of_each(stores)).text();
    check(
        &text,
        &[
            "event_store_position{namespace=\"small\"} 5000",
            "event_store_event_count{namespace=\"other\"} 1",
            "event_store_unflushed_events{namespace=\"other\"} 1",
            "event_store_fault{namespace=\"small\"} 0",
            &format!("event_store_event_count{{namespace=\"small\"}} {}", stats.events),
            &format!(
                "event_store_dropped_events{{namespace=\"small\"}} {}",
                5_000 - stats.events
            ),
            &format!("event_store_size_bytes{{namespace=\"small\"}} {}", stats.memory_bytes),
        ],
    );
    // Neither has a journal.
    assert!(!text.contains("event_store_synced_position"), "{text}");
    assert_eq!(text.matches("# TYPE event_store_position ").count(), 1);
}

#[test]
fn an_append_was_counted_under_another_outcome() {
    let store = Store::in_memory();
    let events = EventMetrics::new();
    let once = NewEvent::new("Placed").id(uuid::Uuid::from_u128(7));
    for _ in 0..2 {
        let stream = StreamId::new("Order", "a");
        let appended = events.append("shop", || store.append(&stream, Expected::Any, once.clone()));
        assert_eq!(appended.unwrap().last_position.0, 1);
    }
    let refused = events.append("shop", || append(&store, "", Expected::Any));
    assert!(refused.is_err());
    let conflict = events.append("shop", || append(&store, "a", Expected::NoStream));
    assert!(conflict.is_err());
    store.close().unwrap();
    assert!(events.append("shop", || append(&store, "a", Expected::Any)).is_err());
    events.consumed("shop", 3, 0, None);
    events.consumed("shop", 2, 5, Some(Duration::from_millis(3)));
    events.handled(Duration::from_millis(1));
    check(
        &Exporter::new().with(events).text(),
        &[
            // The second was a repetition.
            "events_published_total{namespace=\"shop\"} 1",
            "event_publishing_duration_seconds_count 2",
            "event_store_operations_total{operation=\"append\",outcome=\"success\"} 2",
            "event_store_operations_total{operation=\"append\",outcome=\"refused\"} 1",
            "event_store_operations_total{operation=\"append\",outcome=\"conflict\"} 1",
            "event_store_operations_total{operation=\"append\",outcome=\"failed\"} 1",
            "events_consumed_total{namespace=\"shop\"} 5",
            "events_missed_total{namespace=\"shop\"} 5",
            "event_end_to_end_latency_seconds_count 1",
            "event_consumption_duration_seconds_count 1",
        ],
    );
}

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Placed,
}

#[derive(Default)]
struct Orders;

impl Projection for Orders {
    type Event = OrderEvent;

    fn apply(&mut self, _: OrderEvent, _: &Event) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// Ships an order in two steps.
#[derive(Default, Serialize, Deserialize)]
struct Shipping;

impl Saga for Shipping {
    const TYPE: &'static str = "Shipping";
    type Event = OrderEvent;
    type Command = String;

    fn route(_: &OrderEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, _: OrderEvent) -> Vec<Action<String>> {
        let step = |name: &str| Action::step(name.to_owned(), format!("undo {name}"));
        vec![step("reserve"), step("ship"), Action::Complete]
    }
}

fn ship(command: &str, sending: &Sending) -> Result<(), SendError> {
    if sending.key == "sold-out" && command == "ship" {
        let rejection = "sold out".to_owned();
        return Err(SendError::Rejected { rejection });
    }
    Ok(())
}

#[test]
fn a_saga_of_a_program_was_not_exported() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let sagas = processors.saga::<Shipping>(|command: &String, sending| ship(command, sending));
    let sagas = sagas.start().unwrap();
    let orders = processors.project("orders", Orders).start().unwrap();
    let toolkit = ToolkitMetrics::new();
    toolkit.saga(&sagas);
    toolkit.projection(&orders);
    for id in ["order-1", "order-2", "sold-out"] {
        append(&store, id, Expected::Any).unwrap();
    }
    processors.when_caught_up(Duration::from_secs(60)).unwrap();
    check(
        &Exporter::new().with(toolkit).text(),
        &[
            "saga_executions_total{saga=\"Shipping\",outcome=\"completed\"} 2",
            "saga_executions_total{saga=\"Shipping\",outcome=\"failed\"} 1",
            "saga_executions_total{saga=\"Shipping\",outcome=\"abandoned\"} 0",
            "saga_step_executions_total{saga=\"Shipping\",outcome=\"success\"} 5",
            "saga_step_executions_total{saga=\"Shipping\",outcome=\"rejected\"} 1",
            "saga_compensations_total{saga=\"Shipping\",outcome=\"success\"} 1",
            "active_sagas{saga=\"Shipping\"} 0",
            "projection_updates_total{projection=\"orders\"} 3",
            "processor_up{processor=\"Shipping\"} 1",
        ],
    );
}
