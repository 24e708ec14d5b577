//! Live tails over WebSocket: credit, hostile frames, tokens and origins, and the end of the server.

use std::net::TcpStream;
use std::time::Duration;

use annals::{Expected, NewEvent, Store, StreamId};
use annals_server::{Limits, Role, Server, Token};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

use crate::client::Connection;
use crate::support::Running;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A socket that is open.
struct Socket {
    socket: WebSocket<TcpStream>,
    heartbeats: usize,
}

impl Socket {
    fn open(server: &Running, path: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let config = WebSocketConfig::default();
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, response)) => {
                assert_eq!(response.status(), 101);
                assert!(response.headers().contains_key("x-request-id"));
                Ok(Self { socket, heartbeats: 0 })
            }
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn plain(server: &Running) -> Self {
        Self::open(server, "/v1/socket", &[]).unwrap()
    }

    fn say(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).unwrap();
    }

    /// The next message; the code of the end if there is none.
    fn next(&mut self) -> Result<Value, u16> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(Some(frame))) => return Err(frame.code.into()),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The type of the next event, after any heartbeats.
    fn next_type(&mut self) -> String {
        let mut message = self.next().unwrap();
        while message["heartbeat"].is_object() {
            self.heartbeats += 1;
            message = self.next().unwrap();
        }
        message["event"]["eventType"]
            .as_str()
            .unwrap_or_else(|| panic!("{message}"))
            .to_owned()
    }

    /// What is left, up to the code of the end.
    fn rest(&mut self) -> (Vec<Value>, u16) {
        let mut messages = Vec::new();
        loop {
            match self.next() {
                Ok(message) => messages.push(message),
                Err(code) => return (messages, code),
            }
        }
    }
}

fn limited(limits: Limits) -> Running {
    Running::built(Server::builder(Store::in_memory()).limits(limits), PATIENCE)
}

#[test]
fn a_client_gets_as_many_events_as_it_grants_credit_for() {
    let limits = Limits::default().heartbeat(Duration::from_millis(20));
    let server = limited(limits);
    for number in 1..=5 {
        server.add("a", &format!("E{number}"));
    }
    let mut socket = Socket::plain(&server);
    socket.say(&json!({ "subscribe": { "query": { "filter": { "not": { "eventType": "E2" } } } }, "credit": 2 }));
    assert_eq!((socket.next_type(), socket.next_type()), ("E1".into(), "E3".into()));
    // Without credit there is the heartbeat alone.
    assert_eq!(socket.next().unwrap(), json!({ "heartbeat": { "position": 3 } }));
    socket.say(&json!({ "credit": 10 }));
    let mut seen = Vec::new();
    server.add("a", "E6");
    while seen.last().map(String::as_str) != Some("E6") {
        let message = socket.next().unwrap();
        if let Some(name) = message["event"]["eventType"].as_str() {
            seen.push(name.to_owned());
        }
    }
    assert_eq!(seen, ["E4", "E5", "E6"]);
    server.begin_stop();
    assert_eq!(socket.rest().1, 1001);
    assert_eq!(server.stop().cut_off, 0);
}

#[test]
fn a_client_that_connects_again_continues_where_it_was() {
    let server = limited(Limits::default().heartbeat(Duration::from_millis(20)));
    for number in 1..=3 {
        server.add("a", &format!("E{number}"));
    }
    let mut socket = Socket::plain(&server);
    socket.say(&json!({ "subscribe": { "lastPosition": 2 }, "credit": 9 }));
    assert_eq!(socket.next_type(), "E3");
    let mut live = Socket::open(&server, "/v1/ns/default/socket", &[]).unwrap();
    live.say(&json!({ "subscribe": { "after": "now" }, "credit": 9 }));
    // Its position shows that it has subscribed.
    while live.next().unwrap()["heartbeat"]["position"] != 3 {}
    let mut ahead = Socket::plain(&server);
    ahead.say(&json!({ "subscribe": { "lastPosition": 500 }, "credit": 1 }));
    let mut first = ahead.next().unwrap();
    while first["heartbeat"].is_object() {
        first = ahead.next().unwrap();
    }
    assert_eq!(first, json!({ "reset": { "lastPosition": 500, "visible": 3 } }));
    assert_eq!(ahead.next_type(), "E1");
    server.add("a", "E4");
    assert_eq!((socket.next_type(), live.next_type()), ("E4".into(), "E4".into()));
}

#[test]
fn a_message_that_is_invalid_was_obeyed_or_ended_the_server() {
    let server = Running::new();
    server.add("a", "E1");
    let first = [
        "",
        "{",
        "[]",
        "{}",
        "{\"credit\":1}",
        "{\"credit\":-1}",
        "{\"subscribe\":{\"after\":\"later\"}}",
        "{\"subscribe\":{\"query\":{\"limit\":1}}}",
        "{\"subscribe\":{\"query\":{\"asOf\":1}}}",
        "{\"subscribe\":{\"query\":{\"filter\":{\"colour\":\"red\"}}}}",
        "{\"subscribe\":{},\"more\":1}",
    ];
    for text in first {
        let mut socket = Socket::plain(&server);
        socket.socket.send(Message::text(text)).unwrap();
        let (messages, code) = socket.rest();
        assert_eq!((messages.len(), code), (1, 1008), "{text}: {messages:?}");
        assert_eq!(messages[0]["problem"]["type"], "/problems/invalid-request", "{text}");
    }
    let mut socket = Socket::plain(&server);
    socket.say(&json!({ "subscribe": {}, "credit": 1 }));
    assert_eq!(socket.next_type(), "E1");
    socket.say(&json!({ "subscribe": {} }));
    assert_eq!(socket.rest().1, 1008);
    let mut socket = Socket::plain(&server);
    socket.socket.send(Message::binary(vec![0xff; 9])).unwrap();
    assert_eq!(socket.rest().1, 1008);
    server.get("/healthz").ok(200);
}

/// A connection after a handshake, to send frames as they are.
fn raw(server: &Running) -> Connection {
    let mut connection = server.connect();
    let head = "GET /v1/socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    connection.write(head).unwrap();
    assert_eq!(connection.read_head().status, 101);
    connection
}

/// A frame of a client, masked by zeros, that claims this length.
fn frame(first: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match length {
        0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        126..65_536 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            frame.push(0xff);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn a_hostile_frame_ended_the_server_or_was_collected() {
    let server = Running::new();
    let unmasked = vec![0x81, 2, b'{', b'}'];
    let hostile = [
        frame(0x81, 3, &[0xff, 0xfe, 0xfd]),
        frame(0x81, 1 << 40, b"{"),
        frame(0x81, u64::MAX, b"{"),
        frame(0x81, 65_537, b"{"),
        frame(0xf1, 2, b"{}"),
        frame(0x83, 2, b"{}"),
        frame(0x89, 200, &[0; 200]),
        frame(0x80, 2, b"{}"),
        unmasked,
    ];
    for bytes in hostile {
        let mut connection = raw(&server);
        connection.write(&bytes).unwrap();
        let mut answer = Vec::new();
        while connection.read_some(&mut answer) {}
        assert!(answer.len() < 1_000, "{bytes:?}");
    }
    // A message in parts without end is ended at the limit.
    let mut connection = raw(&server);
    let part = frame(0x01, 60_000, &vec![b' '; 60_000]);
    connection.write(&part).unwrap();
    let more = frame(0x00, 60_000, &vec![b' '; 60_000]);
    drop(connection.write(&more));
    let mut answer = Vec::new();
    while connection.read_some(&mut answer) {}
    server.get("/healthz").ok(200);
}

/// Waits until the server has a place for another tail.
fn wait_for_place(server: &Running) {
    while Socket::open(server, "/v1/socket", &[]).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_says_or_reads_nothing_held_its_place() {
    let limits = Limits::default().tails(1).body_time(Duration::from_millis(50));
    let server = limited(limits);
    let mut silent = Socket::plain(&server);
    assert_eq!(Socket::open(&server, "/v1/socket", &[]).err(), Some(503));
    assert_eq!(silent.rest().1, 1008);
    wait_for_place(&server);

    let limits = Limits::default().tails(1).write_time(Duration::from_millis(50));
    let store = Store::in_memory();
    let server = Running::built(Server::builder(store.clone()).limits(limits), PATIENCE);
    let mut unread = Socket::plain(&server);
    unread.say(&json!({ "subscribe": {}, "credit": 1_000 }));
    let data = format!("\"{}\"", "x".repeat(1 << 19));
    for _ in 0..100 {
        let event = NewEvent::new("X").data(&*data);
        store.append(&StreamId::new("A", "a"), Expected::Any, event).unwrap();
    }
    wait_for_place(&server);
    drop(unread);
}

#[test]
fn a_client_that_reads_nothing_held_up_the_end_of_the_server() {
    let store = Store::in_memory();
    // Far less than the server waits for a client that takes nothing.
    let server = Running::built(Server::builder(store.clone()), Duration::from_secs(10));
    let mut unread = Socket::plain(&server);
    unread.say(&json!({ "subscribe": {}, "credit": 1_000 }));
    let data = format!("\"{}\"", "x".repeat(1 << 19));
    for _ in 0..100 {
        let event = NewEvent::new("X").data(&*data);
        store.append(&StreamId::new("A", "a"), Expected::Any, event).unwrap();
    }
    // It is being fed.
    unread.next_type();
    assert_eq!(server.stop().cut_off, 0);
    drop(unread);
}

#[test]
fn a_client_that_vanished_held_its_place() {
    let limits = Limits::default()
        .tails(1)
        .heartbeat(Duration::from_millis(10))
        .write_time(Duration::from_secs(2));
    let server = limited(limits);
    // It stays connected, and answers no ping.
    let mut vanished = raw(&server);
    let subscribe = b"{\"subscribe\":{},\"credit\":1}";
    vanished.write(frame(0x81, subscribe.len() as u64, subscribe)).unwrap();
    wait_for_place(&server);
    // One that answers is kept for far longer.
    let mut alive = Socket::open(&server, "/v1/socket", &[]);
    while alive.is_err() {
        alive = Socket::open(&server, "/v1/socket", &[]);
    }
    let mut alive = alive.unwrap();
    alive.say(&json!({ "subscribe": {}, "credit": 1 }));
    for _ in 0..250 {
        assert!(alive.next().unwrap()["heartbeat"].is_object());
    }
    // Also if events come all the time, and it sends nothing but the answers to pings.
    alive.say(&json!({ "credit": 1_000_000 }));
    while alive.heartbeats < 250 {
        server.add("a", "X");
        assert_eq!(alive.next_type(), "X");
    }
}

#[test]
fn a_page_of_another_origin_opened_a_socket() {
    let server = Running::new();
    let own = format!("http://{}", server.address);
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        assert_eq!(
            Socket::open(&server, "/v1/socket", &[("origin", origin)]).err(),
            Some(403),
            "{origin}"
        );
    }
    assert!(Socket::open(&server, "/v1/socket", &[("origin", &own)]).is_ok());
    assert_eq!(
        Socket::open(&server, "/v1/socket", &[("host", "evil.example")]).err(),
        Some(421)
    );
    assert_eq!(Socket::open(&server, "/v1/ns/none/socket", &[]).err(), Some(403));
    server.get("/v1/socket").refused(400, "invalid-request");
}

#[test]
fn a_socket_needed_no_token_or_took_one_from_the_address() {
    const SECRET: &str = "a+secret/of=16~characters";
    let token = Token::new(Role::Read, SECRET).unwrap().in_namespace("other");
    let builder = Server::builder(Store::in_memory()).namespace("other", Store::in_memory());
    let server = Running::built(builder.tokens([token]), PATIENCE);
    let path = "/v1/ns/other/socket";
    let encoded = URL_SAFE_NO_PAD.encode(SECRET);
    let offer = format!("annals.tail.v1, annals.token.{encoded}");
    let mut socket = Socket::open(&server, path, &[("sec-websocket-protocol", &offer)]).unwrap();
    socket.say(&json!({ "subscribe": {}, "credit": 1 }));
    let bearer = format!("Bearer {SECRET}");
    assert!(Socket::open(&server, path, &[("authorization", &bearer)]).is_ok());
    let wrong = format!(
        "annals.tail.v1, annals.token.{}",
        URL_SAFE_NO_PAD.encode("another-0123456789")
    );
    let twice = format!("{offer}, annals.token.{encoded}");
    for wrong in [
        "annals.tail.v1",
        "annals.token.",
        &wrong,
        &twice,
        &format!("annals.token.{SECRET}"),
    ] {
        let opened = Socket::open(&server, path, &[("sec-websocket-protocol", wrong)]);
        assert_eq!(opened.err(), Some(401), "{wrong}");
    }
    assert_eq!(Socket::open(&server, path, &[]).err(), Some(401));
    assert_eq!(
        Socket::open(&server, &format!("{path}?token={encoded}"), &[]).err(),
        Some(401)
    );
    let other = Socket::open(&server, "/v1/socket", &[("sec-websocket-protocol", &offer)]);
    assert_eq!(other.err(), Some(403));
    // Not where nothing is upgraded.
    let headers = [("Sec-WebSocket-Protocol", offer.as_str())];
    server
        .send("GET", "/v1/ns/other/events", &headers, b"")
        .refused(401, "unauthorized");
}
