//! `serve --otlp`: a receiver on a loopback address sees the spans, and one that is absent or hangs stops nothing.

#![cfg(all(unix, feature = "otlp"))]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use crate::serve::Served;
use crate::support::{program, run};

/// A request that a receiver was sent: its head and its body.
type Request = (String, Vec<u8>);

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// A receiver that takes everything.
fn receiver() -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            if let Some(request) = read_request(&stream) {
                // Before the answer, after which the server may end.
                drop(sender.send(request));
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    (url, requests)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The fields of a message in the encoding of protobuf, those with a length as their bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes).unwrap();
        let content = match key & 7 {
            0 => number(&mut bytes).unwrap().to_le_bytes().to_vec(),
            1 => bytes.split_off(..8).unwrap().to_vec(),
            2 => {
                let length = usize::try_from(number(&mut bytes).unwrap()).unwrap();
                bytes.split_off(..length).unwrap().to_vec()
            }
            kind => {
                assert_eq!(kind, 5, "a kind of field of protobuf");
                bytes.split_off(..4).unwrap().to_vec()
            }
        };
        found.push((key >> 3, content));
    }
    found
}

/// The contents of a field.
fn all(bytes: &[u8], number: u64) -> Vec<Vec<u8>> {
    let own = fields(bytes).into_iter().filter(|(field, _)| *field == number);
    own.map(|(_, content)| content).collect()
}

/// A span: trace, id, parent, name, and all of it.
#[derive(Debug)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    whole: Vec<u8>,
}

fn spans(body: &[u8]) -> Vec<Span> {
    let scopes = all(body, 1).into_iter().flat_map(|resource| all(&resource, 2));
    let whole = scopes.flat_map(|scope| all(&scope, 2));
    whole
        .map(|whole| {
            let first = |number| all(&whole, number).into_iter().next().unwrap_or_default();
            Span {
                trace: first(1),
                id: first(2),
                parent: first(4),
                name: String::from_utf8(first(5)).unwrap(),
                whole: whole.clone(),
            }
        })
        .collect()
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

const EVENTS: &str = "/v1/streams/secret-order/events?aggregateType=SecretOrder";

#[test]
fn spans_of_an_append_over_http_were_not_exported() {
    let (url, requests) = receiver();
    let served = Served::start(&["serve", "--otlp", &url]);
    let body = r#"{"eventType":"SecretPlaced","eventData":{"secret":1}}"#;
    assert_eq!(served.send("POST", EVENTS, body).unwrap().0, 201);
    let conflict = format!("{EVENTS}&expectedVersion=none");
    assert_eq!(served.send("POST", &conflict, body).unwrap().0, 409);
    let ended = served.end("-TERM");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("not exported"), "{}", ended.stderr);
    let mut found = Vec::new();
    for (head, body) in requests.try_iter() {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(
            head.to_ascii_lowercase()
                .contains("content-type: application/x-protobuf"),
            "{head}"
        );
        assert!(has(&body, "service.name") && has(&body, "annals"), "a resource");
        // Neither the payload nor a name of the event is in it.
        assert!(!String::from_utf8_lossy(&body).to_lowercase().contains("secret"));
        found.extend(spans(&body));
    }
    let named = |name: &str| found.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let requests = named("POST /v1/streams/{aggregateId}/events");
    let appends = named("append");
    assert_eq!((requests.len(), appends.len()), (2, 2), "{found:?}");
    for (append, outcome) in appends.iter().zip(["success", "conflict"]) {
        assert!(has(&append.whole, outcome), "{append:?}");
        let parent = requests.iter().find(|request| request.id == append.parent);
        let parent = parent.expect("an append is a child of its request");
        assert_eq!(parent.trace, append.trace);
    }
    assert!(has(&requests[1].whole, "version-conflict"), "{requests:?}");
}

#[test]
fn a_request_was_no_part_of_the_trace_of_its_caller() {
    let (url, requests) = receiver();
    let served = Served::start(&["serve", "--otlp", &url]);
    let (trace, caller) = (
        0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128,
        0x00f0_67aa_0ba9_02b7_u64,
    );
    let parent = |trace: u128, flags: &str| format!("traceparent: 00-{trace:032x}-{caller:016x}-{flags}\r\n");
    let post = |header: &str| {
        let sent = served.send_with(header, "POST", EVENTS, r#"{"eventType":"X"}"#);
        assert_eq!(sent.unwrap().0, 201);
    };
    // The last two are no headers of Trace Context, and the one before them asks for no span.
    post(&format!("{}tracestate: secret=1\r\n", parent(trace, "01")));
    post(&parent(trace, "00"));
    post(&parent(0, "01"));
    post(&format!("traceparent: {}\r\n", "x".repeat(4_000)));
    served.end("-TERM");
    let bodies: Vec<_> = requests.try_iter().map(|(_, body)| body).collect();
    let found: Vec<_> = bodies.iter().flat_map(|body| spans(body)).collect();
    let (in_trace, others): (Vec<_>, Vec<_>) = found.iter().partition(|span| span.trace == trace.to_be_bytes());
    assert_eq!((in_trace.len(), others.len()), (2, 4), "{found:?}");
    let request = in_trace.iter().find(|span| span.name.starts_with("POST")).unwrap();
    let append = in_trace.iter().find(|span| span.name == "append").unwrap();
    assert_eq!(
        (&*request.parent, &append.parent),
        (&caller.to_be_bytes()[..], &request.id)
    );
    assert!(!bodies.iter().any(|body| has(body, "secret=1")));
}

/// Appends 100 events, stops the server, and returns what it said at its end.
fn appended_without(url: &str) -> String {
    let served = Served::start(&["serve", "--otlp", url]);
    for _ in 0..100 {
        let (status, body) = served.send("POST", EVENTS, r#"{"eventType":"X"}"#).unwrap();
        assert_eq!(status, 201, "{body}");
    }
    let ended = served.end("-TERM");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_receiver_that_hangs_held_the_server() {
    // Its connections are accepted by the system, and nothing reads them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = appended_without(&format!("http://{}", listener.local_addr().unwrap()));
    assert!(said.contains("200 spans not exported"), "{said}");
}

#[test]
fn spans_without_a_receiver_were_lost_in_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // A port that was free again could be that of another test's receiver.
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(drop));
    let said = appended_without(&url);
    assert!(said.contains("200 spans not exported"), "{said}");
    assert!(said.contains("spans are lost"), "{said}");
}

#[test]
fn a_url_with_the_path_of_spans_got_it_twice() {
    let (url, requests) = receiver();
    let served = Served::start(&["serve", "--otlp", &format!("{url}/v1/traces/")]);
    served.send("POST", EVENTS, r#"{"eventType":"X"}"#).unwrap();
    served.end("-TERM");
    let (head, _) = requests.try_iter().next().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
}

#[test]
fn a_url_that_no_receiver_has_was_accepted() {
    for url in [
        "localhost:4318",
        "ftp://127.0.0.1",
        "http://user@127.0.0.1:4318",
        "http://127.0.0.1:4318?a=b",
    ] {
        let ran = run(program().args(["serve", "--port", "0", "--otlp", url]));
        assert_eq!(ran.code, 2, "{url}");
        assert!(ran.stderr.contains("the URL of --otlp has the form"), "{}", ran.stderr);
    }
}
