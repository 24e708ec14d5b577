//! RabbitMQ: a real broker.

use std::time::Duration;

use annals::{Position, Store};
use annals_relay::rabbitmq::{Queue, RabbitMq, RabbitMqBuilder};
use annals_relay::{Envelope, Relay, RelayState};
use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicRejectOptions};
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::runtime::Runtime;

use crate::broker::{Broker, shared};
use crate::kills;
use crate::support::{append_to, published, quick, status_where};

fn start(store: &Store, name: &str, rabbitmq: RabbitMqBuilder) -> Relay {
    let builder = Relay::builder(store, name, rabbitmq.build().unwrap());
    builder.retry(quick()).start().unwrap()
}

/// A client that gets messages.
struct Client {
    runtime: Runtime,
    _connection: Connection,
    channel: Channel,
}

impl Client {
    fn connect(url: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
            let channel = connection.create_channel().await.unwrap();
            (connection, channel)
        });
        Self {
            runtime,
            _connection: connection,
            channel,
        }
    }

    fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        let get = self.channel.basic_get(queue.into(), BasicGetOptions::default());
        self.runtime.block_on(get).unwrap()
    }

    /// Takes all messages out of a queue.
    fn all(&self, queue: &str) -> Vec<BasicGetMessage> {
        let mut all = Vec::new();
        while let Some(message) = self.get(queue) {
            self.runtime
                .block_on(message.delivery.ack(BasicAckOptions::default()))
                .unwrap();
            all.push(message);
        }
        all
    }
}

fn header(message: &BasicGetMessage, name: &str) -> String {
    let headers = message.delivery.properties.headers().as_ref().unwrap();
    let value = headers.inner().get(name);
    value.map_or_else(String::new, |value| {
        let text = value.as_long_string().expect("every header is a text");
        String::from_utf8_lossy(text.as_bytes()).into_owned()
    })
}

#[test]
fn a_type_went_to_the_exchange_of_another_or_without_its_headers() {
    let store = Store::in_memory();
    append_to(&store, "Complaint", "c", "1");
    append_to(&store, "Audit.Log", "a", "2");
    let last = append_to(&store, "Other", "o", "3");
    let rabbitmq = RabbitMq::builder(shared().url())
        .exchange("Complaint", "complaints.events")
        .exchange("Audit.Log", "audit.events")
        .queue(Queue::new("complaint.commands").bind("complaints.events", "Complaint.*"))
        .queue(
            Queue::new("audit.all.events")
                .bind("complaints.events", "#")
                .bind("audit.events", "#")
                .quorum()
                .dead_letters("audit.dead"),
        )
        .queue(Queue::new("others").bind("annals.events", "Other.Noted"));
    let source = "/complaints".to_owned();
    let relay = Relay::builder(&store, "topics", rabbitmq.build().unwrap());
    let relay = relay.envelope(Envelope::CloudEventsBinary { source }).start().unwrap();
    published(&relay, last);
    let client = Client::connect(&shared().url());
    let bodies = |queue: &str| {
        let messages = client.all(queue).into_iter();
        messages
            .map(|message| String::from_utf8(message.delivery.data.clone()).unwrap())
            .collect::<Vec<_>>()
    };
    let mut audit = bodies("audit.all.events");
    audit.sort_unstable();
    assert_eq!(
        (audit, bodies("complaint.commands")),
        (vec!["1".to_owned(), "2".to_owned()], vec!["1".to_owned()])
    );
    let message = client.get("others").unwrap();
    assert_eq!(message.delivery.routing_key.as_str(), "Other.Noted");
    assert_eq!(message.delivery.properties.delivery_mode(), &Some(2));
    let event = store.event_at(last).unwrap();
    let id = message
        .delivery
        .properties
        .message_id()
        .as_ref()
        .unwrap()
        .as_str()
        .to_owned();
    assert_eq!(id, event.id().to_string());
    for (name, value) in [
        ("aggregate", "o"),
        ("version", "1"),
        ("cloudEvents:source", "/complaints"),
        ("cloudEvents:id", &id),
    ] {
        assert_eq!(header(&message, name), value, "{name}");
    }
}

#[test]
fn a_message_that_no_queue_took_counted_as_delivered() {
    let store = Store::in_memory();
    let last = append_to(&store, "Complaint", "c", "1");
    let rabbitmq = || RabbitMq::builder(shared().url()).other_exchange("unbound.events");
    let relay = start(&store, "unbound", rabbitmq());
    published(&relay, last);
    let status = relay.status();
    assert_eq!(
        (status.counts.delivered, status.counts.failed, status.group.letters),
        (0, 3, 1)
    );
    assert!(
        relay.letters()[0].reason.starts_with("no queue takes it: NO_ROUTE"),
        "{:?}",
        relay.letters()
    );
    relay.end();
    let relay = start(
        &store,
        "unbound",
        rabbitmq().queue(Queue::new("bound").bind("unbound.events", "#")),
    );
    assert_eq!(relay.replay_letters(None), 1);
    status_where(&relay, "the letter is left", |status| status.group.letters == 0);
    assert_eq!(Client::connect(&shared().url()).all("bound").len(), 1);
}

#[test]
fn a_message_that_a_consumer_rejects_was_lost() {
    let store = Store::in_memory();
    let last = append_to(&store, "Complaint", "c", "1");
    let queue = Queue::new("rejecting")
        .bind("rejected.events", "#")
        .dead_letters("rejected.dead");
    let rabbitmq = RabbitMq::builder(shared().url())
        .other_exchange("rejected.events")
        .queue(queue);
    let relay = start(&store, "rejected", rabbitmq);
    published(&relay, last);
    let client = Client::connect(&shared().url());
    let message = client.get("rejecting").unwrap();
    client
        .runtime
        .block_on(message.delivery.reject(BasicRejectOptions { requeue: false }))
        .unwrap();
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while client.get("rejected.dead").is_none() {
        assert!(std::time::Instant::now() < deadline, "the message is in no queue");
    }
}

#[test]
fn an_alarm_of_the_broker_lost_events_or_went_unnoticed() {
    let broker = Broker::start();
    let store = Store::in_memory();
    let queue = Queue::new("all").bind("annals.events", "#");
    let rabbitmq = RabbitMq::builder(broker.url())
        .queue(queue)
        .deadline(Duration::from_secs(3));
    let relay = start(&store, "alarm", rabbitmq);
    published(&relay, append_to(&store, "Complaint", "c", "1"));
    broker.control(&["set_vm_memory_high_watermark", "0"]);
    let last = append_to(&store, "Complaint", "c", "2");
    let is_blocked = |state: &RelayState| matches!(state, RelayState::Waiting { reason } if reason.contains("has blocked publishing"));
    status_where(&relay, "the alarm is not noticed", |status| is_blocked(&status.state));
    assert_eq!(relay.when_published(last, Duration::from_millis(100)), Ok(false));
    broker.control(&["set_vm_memory_high_watermark", "0.9"]);
    published(&relay, last);
    assert_eq!(relay.letters(), []);
}

#[test]
fn an_event_was_lost_or_out_of_order_when_rabbitmq_was_killed() {
    let mut broker = Broker::start();
    let store = Store::in_memory();
    let queue = Queue::new("all")
        .bind("complaints.events", "#")
        .bind("audit.events", "#");
    let rabbitmq = RabbitMq::builder(broker.url())
        .exchange("Complaint", "complaints.events")
        .exchange("Audit", "audit.events")
        .queue(queue)
        .deadline(Duration::from_secs(5));
    let relay = start(&store, "kills", rabbitmq);
    let counts = kills::under_load(&store, &relay, |_| {
        broker.kill();
        broker.restart();
    });
    assert!(relay.status().group.position >= Position(1));
    let messages = Client::connect(&broker.url()).all("all");
    let arrived: Vec<_> = messages
        .iter()
        .map(|message| kills::of_json(&message.delivery.data))
        .collect();
    // Those that were not confirmed before a kill may be there twice.
    kills::check(&arrived, &counts);
}
