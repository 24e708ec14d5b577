//! NATS JetStream on a real server.

use std::path::PathBuf;
use std::time::Duration;

use annals::{Expected, NewEvent, Store, StreamId};
use annals_relay::nats::{NatsBuilder, NatsStream};
use annals_relay::{Envelope, Relay, RelayStatus};
use async_nats::jetstream;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull;
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;

use crate::kills;
use crate::process::Process;
use crate::python;
use crate::support::{append, append_to, published, quick, status_where};

fn program() -> PathBuf {
    python::program("nats-server")
}

fn arguments(port: &str, folder: &str) -> Vec<String> {
    let arguments = ["-a", "127.0.0.1", "-p", port, "-js", "-sd", folder];
    arguments.map(str::to_owned).to_vec()
}

fn start_server() -> (Process, String) {
    let server = Process::start_at(&program(), arguments);
    let url = server.url("nats");
    (server, url)
}

fn start(store: &Store, nats: NatsBuilder) -> Relay {
    let builder = Relay::builder(store, "nats", nats.build().unwrap());
    builder.retry(quick()).start().unwrap()
}

/// A message of a stream: its subject, its headers and its body.
struct Stored {
    subject: String,
    id: String,
    source: String,
    body: Vec<u8>,
}

/// All messages of a stream.
fn messages(url: &str, stream: &str) -> Vec<Stored> {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let context = jetstream::new(async_nats::connect(url).await.unwrap());
        let mut stream = context.get_stream(stream).await.unwrap();
        let count = stream.info().await.unwrap().state.messages;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.unwrap();
        let mut all = consumer.messages().await.unwrap();
        let mut stored = Vec::new();
        for _ in 0..count {
            let message = all.next().await.unwrap().unwrap();
            message.ack().await.unwrap();
            let header = |name: &str| {
                let value = message.headers.as_ref().and_then(|headers| headers.get(name));
                value.map_or_else(String::new, |value| value.as_str().to_owned())
            };
            stored.push(Stored {
                subject: message.subject.to_string(),
                id: header("Nats-Msg-Id"),
                source: header("ce-source"),
                body: message.payload.to_vec(),
            });
        }
        stored
    })
}

#[test]
fn a_repeated_event_was_stored_twice_or_without_its_headers() {
    let (_server, url) = start_server();
    let store = Store::in_memory();
    append_to(&store, "Complaint", "c", "1");
    let last = append_to(&store, "Audit.Log", "a", "2");
    for name in ["first", "again"] {
        let target = NatsStream::builder(&url, "events").create().build().unwrap();
        let source = "/complaints".to_owned();
        let relay = Relay::builder(&store, name, target).envelope(Envelope::CloudEventsBinary { source });
        let relay = relay.retry(quick()).start().unwrap();
        published(&relay, last);
        assert_eq!(relay.status().counts.delivered, 2);
    }
    let stored = messages(&url, "events");
    let subjects: Vec<_> = stored.iter().map(|message| message.subject.as_str()).collect();
    assert_eq!(subjects, ["events.Complaint", "events.Audit%2eLog"]);
    assert_eq!(
        (stored[1].body.as_slice(), stored[1].source.as_str()),
        (&b"2"[..], "/complaints")
    );
    assert_eq!(stored[1].id, store.event_at(last).unwrap().id().to_string());
}

#[test]
fn a_large_event_ended_the_connection_of_the_others() {
    let (_server, url) = start_server();
    let store = Store::in_memory();
    append(&store, "a", "1");
    let large = NewEvent::new("Large").data(vec![b'1'; 1 << 20]);
    store
        .append(&StreamId::new("Order", "b"), Expected::Any, large)
        .unwrap();
    let last = append(&store, "c", "3");
    let relay = start(&store, NatsStream::builder(&url, "events").create());
    published(&relay, last);
    let letters = relay.letters();
    assert_eq!((letters.len(), &*letters[0].aggregate_id), (1, "b"));
    assert!(letters[0].reason.contains("raise max_payload"), "{}", letters[0].reason);
    let status = relay.status();
    assert_eq!(
        (
            status.counts.delivered,
            status.counts.unknown,
            messages(&url, "events").len()
        ),
        (2, 0, 2)
    );
}

#[test]
fn events_without_a_stream_were_lost() {
    let (_server, url) = start_server();
    let store = Store::in_memory();
    let last = append(&store, "a", "1");
    let relay = start(&store, NatsStream::builder(&url, "events"));
    let waits = |status: &RelayStatus| status.counts.unavailable > 3;
    let status = status_where(&relay, "it does not wait", waits);
    assert!(
        status
            .last_error
            .as_deref()
            .unwrap_or_default()
            .contains("has no stream 'events'"),
        "{status}"
    );
    assert_eq!(status.group.position.0, 0);
    relay.end();
    let relay = start(&store, NatsStream::builder(&url, "events").create());
    published(&relay, last);
}

#[test]
fn an_event_was_lost_or_out_of_order_when_nats_was_killed() {
    let (mut server, url) = start_server();
    let store = Store::in_memory();
    let nats = NatsStream::builder(&url, "events")
        .create()
        .deadline(Duration::from_secs(3));
    let relay = start(&store, nats);
    let counts = kills::under_load(&store, &relay, |_| {
        kills::kill(&mut server);
        let arguments = arguments(&server.port.number.to_string(), &server.folder.to_string_lossy());
        kills::restart(&mut server, &program(), &arguments);
    });
    let arrived: Vec<_> = messages(&url, "events")
        .iter()
        .map(|message| kills::of_json(&message.body))
        .collect();
    // The outages are shorter than the duplicate window.
    assert_eq!(kills::check(&arrived, &counts), 0, "an event was stored twice");
}
