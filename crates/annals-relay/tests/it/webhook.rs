//! Webhooks against a receiver: signatures, answers and order.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use annals::{Clock, Expected, NewEvent, Store, StreamId, Timestamp};
use annals_relay::webhook::{Webhook, WebhookBuilder};
use annals_relay::{Envelope, Relay, RelayState};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::receiver::{Receiver, Request};
use crate::support::{append, published, quick, status_where};

const NEW: &str = "the new secret, 24 bytes or more";
const OLD: &str = "the old secret, 24 bytes or more";

fn ok() -> String {
    "200 OK".to_owned()
}

fn start(store: &Store, webhook: WebhookBuilder) -> Relay {
    let target = webhook.build().unwrap();
    Relay::builder(store, "hook", target).retry(quick()).start().unwrap()
}

/// Whether a signature of the request is that of the secret.
fn is_signed(request: &Request, secret: &str) -> bool {
    let mut signed = format!(
        "{}.{}.",
        request.header("webhook-id"),
        request.header("webhook-timestamp")
    )
    .into_bytes();
    signed.extend_from_slice(&request.body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    request.header("webhook-signature").split(' ').any(|signature| {
        let encoded = signature.strip_prefix("v1,").unwrap_or_default();
        hmac::verify(&key, &signed, &STANDARD.decode(encoded).unwrap_or_default()).is_ok()
    })
}

/// A clock that moves by a minute each time it is read.
#[derive(Debug)]
struct Minutes(AtomicI64);

impl Clock for Minutes {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(60_000_000, Ordering::SeqCst))
    }

    fn fork(self: Arc<Self>) -> Arc<dyn Clock> {
        self
    }
}

#[test]
fn a_retry_had_the_signature_of_the_first_attempt() {
    let receiver = Receiver::start(|_, number| match number {
        1 => "500 Internal Server Error".to_owned(),
        2 => "503 Service Unavailable".to_owned(),
        _ => ok(),
    });
    let store = Store::in_memory();
    let last = append(&store, "a", "{\"total\":1.0}");
    let webhook = Webhook::builder(&receiver.url).clock(Minutes(AtomicI64::new(0)));
    let relay = start(&store, webhook.secret(NEW).unwrap().secret(OLD).unwrap());
    published(&relay, last);
    let requests = receiver.requests();
    let times: Vec<_> = requests
        .iter()
        .map(|request| request.header("webhook-timestamp"))
        .collect();
    assert_eq!(times, ["0", "60", "120"]);
    for request in &requests {
        assert_eq!(
            (&request.body, request.header("webhook-id")),
            (&requests[0].body, requests[0].header("webhook-id"))
        );
        assert!(is_signed(request, NEW) && is_signed(request, OLD), "{request:?}");
        assert!(!is_signed(request, "another secret of 24 bytes or more"));
    }
    let event = store.event_at(last).unwrap();
    assert_eq!(requests[0].header("webhook-id"), event.id().to_string());
    assert_eq!(
        (requests[0].header("content-type"), requests[0].path.as_str()),
        ("application/json", "/hook")
    );
}

#[test]
fn a_redirect_was_followed() {
    let other = Receiver::start(|_, _| ok());
    let url = other.url.clone();
    let receiver = Receiver::start(move |_, _| format!("307 Temporary Redirect\r\nlocation: {url}"));
    let store = Store::in_memory();
    append(&store, "a", "1");
    let relay = start(&store, Webhook::builder(&receiver.url).secret(NEW).unwrap());
    let stopped = |status: &annals_relay::RelayStatus| matches!(status.state, RelayState::Stopped { .. });
    let status = status_where(&relay, "it does not stop", stopped);
    assert!(
        status.state.to_string().contains("redirects are not followed"),
        "{status}"
    );
    assert_eq!(
        (receiver.requests().len(), other.requests().len(), relay.letters().len()),
        (1, 0, 0)
    );
}

#[test]
fn an_endpoint_that_is_gone_was_asked_again_or_lost_events() {
    let receiver = Receiver::start(|_, number| if number == 1 { "410 Gone".to_owned() } else { ok() });
    let store = Store::in_memory();
    let last = append(&store, "a", "1");
    let relay = start(&store, Webhook::builder(&receiver.url));
    let stopped = |status: &annals_relay::RelayStatus| matches!(status.state, RelayState::Stopped { .. });
    status_where(&relay, "it does not stop", stopped);
    assert_eq!(relay.status().group.position.0, 0);
    relay.resume().unwrap();
    published(&relay, last);
    assert_eq!((receiver.requests().len(), relay.letters().len()), (2, 0));
}

#[test]
fn the_time_that_an_endpoint_asks_for_was_ignored() {
    let receiver = Receiver::start(|_, number| match number {
        1 => "429 Too Many Requests\r\nretry-after: 3600".to_owned(),
        _ => ok(),
    });
    let store = Store::in_memory();
    append(&store, "a", "1");
    append(&store, "b", "2");
    let relay = start(&store, Webhook::builder(&receiver.url).requests(1));
    let waiting = |status: &annals_relay::RelayStatus| matches!(status.state, RelayState::Waiting { .. });
    status_where(&relay, "it does not wait", waiting);
    // The pauses of the relay are at most 20 ms, and all lanes wait.
    let before = relay.when_published(annals::Position(1), Duration::from_millis(500));
    assert_eq!((before, receiver.requests().len()), (Ok(false), 1));
    // The end of a relay does not wait for the endpoint.
    relay.end();
}

#[test]
fn an_endpoint_that_does_not_answer_held_the_others_up() {
    let receiver = Receiver::start(|request, _| {
        if request.body.ends_with(b"silent") {
            String::new()
        } else {
            ok()
        }
    });
    let store = Store::in_memory();
    let event = |data: &'static str| NewEvent::new("Noted").data(data);
    for (id, data) in [("a", "silent"), ("a", "later"), ("b", "1"), ("c", "2")] {
        store
            .append(&StreamId::new("Order", id), Expected::Any, event(data))
            .unwrap();
    }
    let source = "/orders".to_owned();
    let target = Webhook::builder(&receiver.url)
        .deadline(Duration::from_millis(200))
        .build()
        .unwrap();
    let relay = Relay::builder(&store, "hook", target)
        .retry(quick())
        .envelope(Envelope::CloudEventsBinary { source });
    let relay = relay.start().unwrap();
    let status = status_where(&relay, "a is not tried again", |status| {
        status.counts.unknown > 3 && status.counts.delivered == 2
    });
    assert_eq!((status.group.position.0, status.group.letters), (0, 0));
    let bodies: Vec<_> = receiver.requests().into_iter().map(|request| request.body).collect();
    assert!(!bodies.contains(&b"later".to_vec()));
}

#[test]
fn a_message_that_an_endpoint_refuses_was_sent_again() {
    let receiver = Receiver::start(|_, _| "422 Unprocessable Entity".to_owned());
    let store = Store::in_memory();
    let last = append(&store, "a", "1");
    let relay = start(&store, Webhook::builder(&receiver.url));
    published(&relay, last);
    assert_eq!(
        (receiver.requests().len(), relay.letters()[0].reason.as_str()),
        (1, "the endpoint answers 422 Unprocessable Entity")
    );
}

#[test]
fn an_endpoint_without_a_listener_made_dead_letters() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    drop(listener);
    let store = Store::in_memory();
    append(&store, "a", "1");
    let relay = start(&store, Webhook::builder(url));
    let status = status_where(&relay, "it is not tried again", |status| status.counts.unavailable > 5);
    assert_eq!((status.group.letters, status.counts.unknown), (0, 0));
}

#[test]
fn an_attribute_was_missing_or_another_header() {
    let receiver = Receiver::start(|_, _| ok());
    let store = Store::in_memory();
    let event = NewEvent::new("Über\u{2028}weisung")
        .data([0xff, 1])
        .content_type("application/x-own".into())
        .user("anna\u{7f} \"b\"");
    let last = store
        .append(&StreamId::new("Order", "order 1"), Expected::Any, event)
        .unwrap()
        .last_position;
    let target = Webhook::builder(&receiver.url)
        .header("authorization", "Bearer own")
        .unwrap()
        .build()
        .unwrap();
    let source = "/orders".to_owned();
    let relay = Relay::builder(&store, "hook", target).envelope(Envelope::CloudEventsBinary { source });
    let relay = relay.start().unwrap();
    published(&relay, last);
    let request = receiver.requests().remove(0);
    assert_eq!(request.body, [0xff, 1]);
    for (name, value) in [
        ("content-type", "application/x-own"),
        ("ce-specversion", "1.0"),
        ("ce-source", "/orders"),
        ("ce-type", "%C3%9Cber%E2%80%A8weisung"),
        ("ce-subject", "order%201"),
        ("ce-userid", "anna%7F%20%22b%22"),
        ("ce-sequence", &last.to_string()),
        ("authorization", "Bearer own"),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert_eq!(request.header("ce-id"), request.header("webhook-id"));
}

#[test]
fn events_of_an_aggregate_arrived_out_of_order_when_requests_failed() {
    // Every third request fails, one after the endpoint has kept it.
    let receiver = Receiver::start(|_, number| match number % 6 {
        2 => "500 Internal Server Error".to_owned(),
        5 => "503 Service Unavailable".to_owned(),
        _ => ok(),
    });
    let store = Arc::new(Store::in_memory());
    let mut last = annals::Position(0);
    for number in 0..60 {
        for id in ["a", "b", "c", "d", "e"] {
            last = append(&store, id, &format!("\"{id}{number:02}\""));
        }
    }
    let target = Webhook::builder(&receiver.url).build().unwrap();
    let relay = Relay::builder(&store, "hook", target).retry(quick().attempts(100));
    let relay = relay.start().unwrap();
    published(&relay, last);
    for id in ["a", "b", "c", "d", "e"] {
        let mut seen: Vec<String> = Vec::new();
        for request in receiver.requests() {
            let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            if json["aggregateId"] == id {
                seen.push(json["eventData"].as_str().unwrap().to_owned());
            }
        }
        seen.dedup();
        let expected: Vec<_> = (0..60).map(|number| format!("{id}{number:02}")).collect();
        assert_eq!(seen, expected);
    }
}
