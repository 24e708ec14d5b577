//! A program with commands, queries, a projection, a saga and a group, which exports its metrics with those of the server.

use std::time::Duration;

use annals::cqrs::{
    Action, CommandBus, Context, Group, HandlerError, Message, Processors, Projected, Projection, QueryBus, Route,
    Saga, Sagas,
};
use annals::{Event, Expected, NewEvent, Store, StreamId};
use annals_server::{Server, ToolkitMetrics};
use serde::{Deserialize, Serialize};

use crate::support::Running;

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Placed,
}

struct Place(bool);

impl Message for Place {
    const NAME: &'static str = "Place";
    type Bus = CommandBus;
    type Reply = ();
    type Error = String;
}

struct Find;

impl Message for Find {
    const NAME: &'static str = "Find";
    type Bus = QueryBus;
    type Reply = u64;
    type Error = String;
}

#[derive(Default)]
struct Orders(u64);

impl Projection for Orders {
    type Event = OrderEvent;

    fn apply(&mut self, _: OrderEvent, _: &Event) -> Result<(), HandlerError> {
        self.0 += 1;
        Ok(())
    }
}

/// Waits for ever.
#[derive(Default, Serialize, Deserialize)]
struct Waiting;

impl Saga for Waiting {
    const TYPE: &'static str = "Waiting";
    type Event = OrderEvent;
    type Command = ();

    fn route(_: &OrderEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, _: OrderEvent) -> Vec<Action<()>> {
        Vec::new()
    }
}

/// The program: its store has two orders, which all its parts have handled.
pub(crate) struct Program {
    pub(crate) metrics: ToolkitMetrics,
    _processors: Processors,
    _orders: Projected<Orders>,
    _sagas: Sagas<Waiting>,
    _group: Group<OrderEvent>,
}

impl Program {
    pub(crate) fn new(store: &Store) -> Self {
        let metrics = ToolkitMetrics::new();
        let processors = Processors::new(store);
        let orders = processors.project("orders", Orders::default()).start().unwrap();
        let sagas = processors.saga::<Waiting>(|(), _| Ok(())).start().unwrap();
        let group = Group::<OrderEvent>::builder(store, "billing").open().unwrap();
        metrics.projection(&orders);
        metrics.saga(&sagas);
        metrics.group(&group);
        for id in ["order-1", "order-2"] {
            let event = NewEvent::new("Placed").data("null");
            store.append(&StreamId::new("Order", id), Expected::Any, event).unwrap();
        }
        processors.when_caught_up(Duration::from_secs(60)).unwrap();
        dispatch(&metrics);
        Self {
            metrics,
            _processors: processors,
            _orders: orders,
            _sagas: sagas,
            _group: group,
        }
    }
}

/// Sends two commands, one of which fails, and a query.
fn dispatch(metrics: &ToolkitMetrics) {
    let commands = CommandBus::builder().layer(metrics.commands());
    let commands = commands.handle(
        |place: &Place, _: &Context| {
            if place.0 { Ok(()) } else { Err("sold out".to_owned()) }
        },
    );
    let commands = commands.build().unwrap();
    commands.dispatch(&Place(true), &Context::new()).unwrap();
    assert!(commands.dispatch(&Place(false), &Context::new()).is_err());
    let queries = QueryBus::builder().layer(metrics.queries());
    let queries = queries.handle(|_: &Find, _: &Context| Ok(2)).build().unwrap();
    assert_eq!(queries.dispatch(&Find, &Context::new()).unwrap(), 2);
}

#[test]
fn a_program_exports_its_metrics_with_those_of_the_server() {
    let store = Store::in_memory();
    let program = Program::new(&store);
    let builder = Server::builder(store).toolkit(&program.metrics);
    let server = Running::built(builder, Duration::from_secs(30));
    let text = server.get("/metrics");
    for line in [
        "command_executions_total{command=\"Place\",outcome=\"success\"} 1",
        "command_executions_total{command=\"Place\",outcome=\"failed\"} 1",
        "command_execution_duration_seconds_count{command=\"Place\"} 2",
        "query_executions_total{query=\"Find\",outcome=\"success\"} 1",
        "projection_updates_total{projection=\"orders\"} 2",
        "processor_lag_events{processor=\"orders\"} 0",
        "processor_up{processor=\"orders\"} 1",
        "processor_parked_events_total{processor=\"orders\"} 0",
        "saga_executions_total{saga=\"Waiting\",outcome=\"completed\"} 0",
        "saga_step_executions_total{saga=\"Waiting\",outcome=\"success\"} 0",
        "active_sagas{saga=\"Waiting\"} 2",
        "stuck_sagas{saga=\"Waiting\"} 0",
        "group_in_flight_events{group=\"billing\"} 0",
        "group_up{group=\"billing\"} 1",
    ] {
        let mut lines = text.text().lines();
        let wanted = lines.any(|own| own == line || own == format!("{line}.0"));
        assert!(wanted, "{line}\n{}", text.text());
    }
    // A server of a program without these has none of them, not even with a value of 0.
    let bare = Running::new().get("/metrics");
    for absent in ["processor_", "command_", "saga", "group_", "projection_"] {
        assert!(!bare.text().contains(absent), "{absent}\n{}", bare.text());
    }
}
