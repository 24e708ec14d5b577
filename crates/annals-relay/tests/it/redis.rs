//! Redis Streams on a real server.

use std::sync::OnceLock;
use std::time::Duration;

use annals::{Position, Store};
use annals_relay::redis::{RedisBuilder, RedisStreams};
use annals_relay::{Envelope, Relay, RelayState};
use redis::{Client, Connection, FromRedisValue, cmd};

use crate::kills;
use crate::process::{Process, find};
use crate::support::{append, append_to, published, quick, status_where};

const PROGRAM: &str = "redis-server";

/// Every acknowledged entry survives a kill.
fn arguments(port: &str, folder: &str) -> Vec<String> {
    let arguments = [
        "--port",
        port,
        "--bind",
        "127.0.0.1",
        "--dir",
        folder,
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
    ];
    arguments.map(str::to_owned).to_vec()
}

fn server() -> &'static str {
    static SERVER: OnceLock<(Process, String)> = OnceLock::new();
    let start = || {
        let server = Process::start(PROGRAM, arguments);
        let url = server.url("redis");
        (server, url)
    };
    &SERVER.get_or_init(start).1
}

fn connect(url: &str) -> Connection {
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        // A server that has just started loads its files first.
        match Client::open(url).unwrap().get_connection() {
            Ok(connection) => return connection,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// An entry: its id, and its fields with their values.
type Entry = (String, Vec<String>);

fn ask<T: FromRedisValue>(url: &str, words: &[&str]) -> T {
    let mut command = cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query(&mut connect(url)).unwrap()
}

fn entries(url: &str, key: &str) -> Vec<Entry> {
    ask(url, &["XRANGE", key, "-", "+"])
}

fn field<'a>(entry: &'a Entry, name: &str) -> &'a str {
    let place = entry.1.chunks(2).find(|pair| pair[0] == name);
    place.map_or("", |pair| pair[1].as_str())
}

fn start(store: &Store, redis: RedisBuilder) -> Relay {
    let builder = Relay::builder(store, "redis", redis.build().unwrap());
    builder.retry(quick()).start().unwrap()
}

#[test]
fn a_repeated_event_was_added_twice() {
    let (store, url) = (Store::in_memory(), server());
    let mut last = Position(0);
    for number in 0..50 {
        last = append(&store, ["a", "b", "b"][number % 3], &format!("{number}"));
    }
    let redis = RedisStreams::builder(url).key("repeated");
    published(&start(&store, redis.clone()), last);
    // A relay of another name has no checkpoint: all are published again.
    let again = Relay::builder(&store, "again", redis.build().unwrap()).start().unwrap();
    published(&again, last);
    assert_eq!(again.status().counts.delivered, 50);
    let entries = entries(url, "repeated");
    let data: Vec<_> = entries.iter().map(|entry| field(entry, "body").to_owned()).collect();
    assert_eq!(data.len(), 50);
    for entry in &entries {
        assert_eq!(entry.0, format!("{}-0", field(entry, "position")));
        assert_eq!(
            (field(entry, "type"), field(entry, "content-type")),
            ("Noted", "application/json")
        );
    }
}

#[test]
fn a_dead_letter_that_was_replayed_counted_as_a_repeated_event() {
    let (store, url) = (Store::in_memory(), server());
    let last = append(&store, "a", "1");
    let redis = RedisStreams::builder(url).key("late");
    published(&start(&store, redis.clone()), last);
    // The last id is moved on, as if a later event had been added first.
    let later = append(&store, "a", "2");
    let _: String = ask(url, &["XADD", "late", "100-0", "id", "other"]);
    let relay = start(&store, redis);
    published(&relay, later);
    let ids: Vec<_> = entries(url, "late").into_iter().map(|entry| entry.0).collect();
    assert_eq!(ids, [format!("{last}-0"), "100-0".to_owned(), "100-1".to_owned()]);
    let late = &entries(url, "late")[2];
    assert_eq!(field(late, "position"), later.to_string());
}

#[test]
fn a_stream_of_another_store_swallowed_events() {
    let url = server();
    let redis = RedisStreams::builder(url).key("taken");
    for (name, is_first) in [("first", true), ("second", false)] {
        let store = Store::in_memory();
        let last = append(&store, name, "1");
        let relay = start(&store, redis.clone());
        if is_first {
            published(&relay, last);
            continue;
        }
        let status = status_where(&relay, "it does not stop", |status| {
            matches!(status.state, RelayState::Stopped { .. })
        });
        assert!(status.state.to_string().contains("is of another store"), "{status}");
    }
    assert_eq!(entries(url, "taken").len(), 1);
}

#[test]
fn a_type_was_in_the_stream_of_another_or_an_attribute_was_missing() {
    let (store, url) = (Store::in_memory(), server());
    append_to(&store, "Complaint", "c", "1");
    let last = append_to(&store, "Audit", "a", "2");
    let source = "/complaints".to_owned();
    let redis = RedisStreams::builder(url)
        .key("typed")
        .stream_per_type()
        .max_entries(1_000);
    let relay = Relay::builder(&store, "redis", redis.build().unwrap());
    let relay = relay.envelope(Envelope::CloudEventsBinary { source }).start().unwrap();
    published(&relay, last);
    let of = |key: &str| entries(url, key).remove(0);
    assert_eq!(
        (field(&of("typed:Complaint"), "body"), field(&of("typed:Audit"), "body")),
        ("1", "2")
    );
    assert_eq!(field(&of("typed:Audit"), "ce-source"), "/complaints");
}

#[test]
fn a_server_without_memory_lost_events() {
    let server = Process::start(PROGRAM, arguments);
    let (store, url) = (Store::in_memory(), server.url("redis"));
    published(&start(&store, RedisStreams::builder(&url)), append(&store, "a", "1"));
    let _: String = ask(&url, &["CONFIG", "SET", "maxmemory", "1"]);
    let last = append(&store, "a", "2");
    let relay = start(&store, RedisStreams::builder(&url));
    let waits = |status: &annals_relay::RelayStatus| status.counts.unavailable > 5;
    let status = status_where(&relay, "it does not wait", waits);
    assert!(
        status.last_error.as_deref().unwrap_or_default().contains("OOM"),
        "{status}"
    );
    let _: String = ask(&url, &["CONFIG", "SET", "maxmemory", "0"]);
    published(&relay, last);
    assert_eq!((entries(&url, "annals").len(), relay.letters().len()), (2, 0));
}

#[test]
fn an_event_was_lost_or_out_of_order_when_redis_was_killed() {
    let mut server = Process::start(PROGRAM, arguments);
    let (store, url) = (Store::in_memory(), server.url("redis"));
    let redis = RedisStreams::builder(&url).key("events").stream_per_type();
    let relay = start(&store, redis.deadline(Duration::from_secs(2)));
    let program = find(PROGRAM).unwrap();
    let counts = kills::under_load(&store, &relay, |_| {
        kills::kill(&mut server);
        let arguments = arguments(&server.port.number.to_string(), &server.folder.to_string_lossy());
        kills::restart(&mut server, &program, &arguments);
    });
    let mut arrived = Vec::new();
    for key in ["events:Complaint", "events:Audit"] {
        let entries = entries(&url, key);
        assert!(
            entries.iter().all(|entry| entry.0.ends_with("-0")),
            "a stream is not in the order of the log"
        );
        arrived.extend(
            entries
                .iter()
                .map(|entry| kills::of_json(field(entry, "body").as_bytes())),
        );
    }
    assert_eq!(kills::check(&arrived, &counts), 0, "an event was added twice");
}
