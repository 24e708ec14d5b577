//! The log: what a request was and how it ended, and nothing of what it carried.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use annals::Store;
use annals_server::{Role, Server, Token};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{JSON, Running};

/// What all servers of this process have logged, with every detail that there is.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::TRACE);
    let subscriber = subscriber.with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL);
    tracing::subscriber::set_global_default(subscriber.with_writer(log.clone()).finish()).unwrap();
    log
});

/// The log so far.
fn logged() -> String {
    String::from_utf8(LOG.0.lock().clone()).unwrap()
}

/// The line of the answer to the request with this id.
#[track_caller]
fn answer_of(id: &str) -> String {
    let text = logged();
    let mut lines = text
        .lines()
        .filter(|line| line.contains(&format!("answered id=\"{id}\"")));
    lines.next().unwrap_or_else(|| panic!("{id}: {text}")).to_owned()
}

const SECRET: &str = "secret-0123456789-of-the-token";

fn server() -> Running {
    drop(logged());
    let token = Token::new(Role::Write, SECRET).unwrap();
    let builder = Server::builder(Store::in_memory()).namespace("other", Store::in_memory());
    Running::built(builder.tokens([token]), Duration::from_secs(30))
}

#[test]
fn an_answer_is_logged_with_its_route_and_outcome() {
    let server = server();
    let bearer = format!("Bearer {SECRET}");
    let send = |id: &str, method: &str, target: &str| {
        server.send(
            method,
            target,
            &[("X-Request-Id", id), ("Authorization", &bearer), JSON],
            b"",
        )
    };
    send("logs-1", "GET", "/v1/ns/other/events");
    let line = answer_of("logs-1");
    for part in [
        " INFO ",
        "method=\"get\"",
        "route=\"/v1/events\"",
        "namespace=\"other\"",
        "status=200",
        "duration_us=",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("problem"), "{line}");
    send("logs-2", "GET", "/v1/streams/none");
    let line = answer_of("logs-2");
    assert!(
        line.contains("status=404") && line.contains("problem=\"not-found\""),
        "{line}"
    );
    assert!(line.contains("route=\"/v1/streams/{aggregateId}\""), "{line}");
    server.stop();
    let text = logged();
    assert!(
        text.contains("draining") && text.contains("closed namespace=\"other\" visible=0"),
        "{text}"
    );
}

#[test]
fn a_log_had_a_token_or_a_value_of_a_request() {
    let server = server();
    let bearer = format!("Bearer {SECRET}");
    let long = format!(
        "{{\"eventType\":\"Hidden1\",\"eventData\":{{\"hidden2\":\"hidden3\"}},\"metadata\":{{\"userId\":\"hidden4\"}}{}}}",
        " ".repeat(70_000)
    );
    let requests: [(&str, &str, &[u8]); 11] = [
        (
            "POST",
            "/v1/streams/hidden5/events?aggregateType=Hidden6",
            long.as_bytes(),
        ),
        (
            "POST",
            "/v1/streams/hidden5/events?expectedVersion=none",
            b"{\"eventType\":\"Hidden1\"}",
        ),
        (
            "POST",
            "/v1/streams/hidden5/events",
            b"{\"eventType\":\"Hidden1\",\"hidden7\":",
        ),
        ("GET", "/v1/events?user=hidden8&data:/hidden9=hidden10", b""),
        ("GET", "/v1/events?hidden11=1", b""),
        ("GET", "/v1/events?cursor=hidden12", b""),
        ("GET", "/v1/events/hidden13", b""),
        ("GET", "/hidden14", b""),
        ("GET", "/v1/ns/hidden%2015/events", b""),
        ("GET", "/v1/tail?after=hidden16", b""),
        ("POST", "/v1/query", b"{\"filter\":{\"user\":\"hidden17\"}}"),
    ];
    for (method, target, body) in requests {
        for authorization in [bearer.as_str(), "Bearer hidden18-0123456789", "Basic aGlkZGVuMTk="] {
            let headers = [
                ("Authorization", authorization),
                ("Cookie", "hidden20"),
                ("User-Agent", "hidden21"),
                JSON,
            ];
            server.send(method, target, &headers, body);
        }
    }
    server.send("GET", "/v1/events", &[("Host", "hidden22.example")], b"");
    server.send("GET", "/v1/events", &[("Origin", "http://hidden23.example")], b"");
    server.stop();
    let text = logged();
    assert!(text.matches("answered id=").count() > 30, "{text}");
    let lower = text.to_lowercase();
    for secret in [
        "hidden",
        "token",
        SECRET,
        "bearer",
        "agzkgvumtk",
        "authorization",
        "cookie",
    ] {
        let line = lower.lines().find(|line| line.contains(&secret.to_lowercase()));
        assert_eq!(line, None, "{secret}");
    }
}
