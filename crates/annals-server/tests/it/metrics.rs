//! Metrics: they count what happened, and the guide lists all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use annals::{Budget, Expected, NewEvent, Settings, Store, StreamId, WhenFull};
use annals_server::{DailyWork, Server};
use serde_json::json;

use crate::support::Running;
use crate::toolkit::Program;

/// Names of metrics, each with the names of its labels.
pub(crate) type Names = BTreeMap<String, BTreeSet<String>>;

/// What a text of metrics has. A histogram counts by its own name, without the bounds of its buckets.
pub(crate) fn exported(text: &str) -> Names {
    let mut kinds = BTreeMap::new();
    let mut names = Names::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert_eq!(kinds.insert(name, kind), None, "{name} is there twice");
        } else if !line.starts_with('#') {
            let (sample, labels) = line.split_once('{').unwrap_or((line, "} "));
            let sample = sample.split(' ').next().unwrap();
            let family = kinds.keys().copied().filter(|family| sample.starts_with(*family));
            let family = family.max_by_key(|family| family.len()).unwrap();
            let name = if kinds[family] == "histogram" { family } else { sample };
            let labels = labels.rsplit_once('}').unwrap().0.split("\",");
            let labels = labels.filter_map(|label| label.split_once('=')).map(|(label, _)| label);
            let labels = labels.filter(|label| *label != "le").map(str::to_owned);
            names.entry(name.to_owned()).or_default().extend(labels);
        }
    }
    names
}

/// What the guide has in its tables.
fn documented() -> Names {
    let guide = include_str!("../../../../docs/server.md");
    let (_, section) = guide.split_once("\n## Metrics\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.flat_map(|row| row.split(" |").next().unwrap().split(", `"));
    let names = cells.map(|cell| {
        let (name, labels) = cell.trim_end_matches('`').split_once('{').unwrap_or((cell, "}"));
        let labels = labels
            .trim_end_matches('}')
            .split(',')
            .filter(|label| !label.is_empty());
        (
            name.trim_end_matches('`').to_owned(),
            labels.map(str::to_owned).collect(),
        )
    });
    names.collect()
}

/// The metrics of a server that has had every kind of work, with a program beside it.
pub(crate) fn everything() -> String {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_url(&format!("file:{}", folder.path().display())).unwrap();
    let program = Program::new(&store);
    let budget = Budget::default().events(10).when_full(WhenFull::DropOldest);
    let settings = Settings::default().budget(budget);
    let small = Store::builder().settings(settings).open().unwrap();
    let builder = Server::builder(store).namespace("small", small.clone());
    let daily = DailyWork::new();
    daily.expect_archives();
    daily.expect_verifications();
    let server = Running::built(builder.toolkit(&program.metrics).daily(&daily), Duration::from_secs(30));
    server.add("a", "X");
    server.get("/v1/events").ok(200);
    server.get("/nothing").refused(404, "not-found");
    for _ in 0..5_000 {
        small
            .append(&StreamId::new("A", "a"), Expected::Any, NewEvent::new("X"))
            .unwrap();
    }
    let mut tail = server.connect();
    tail.write("GET /v1/ns/small/tail HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(tail.read_head().status, 200);
    let mut frames = Vec::new();
    while !contains(&frames, b"\nid: 5000\n") {
        assert!(tail.read_chunk(&mut frames));
    }
    // The tail asks for the next batch when this event comes.
    small
        .append(&StreamId::new("A", "a"), Expected::Any, NewEvent::new("X"))
        .unwrap();
    while !contains(&frames, b"\nid: 5001\n") {
        assert!(tail.read_chunk(&mut frames));
    }
    server.get("/metrics").text().to_owned()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The value of a line of metrics.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    lines.next()
}

#[test]
fn a_metric_was_not_in_the_guide_or_the_guide_had_one_that_is_not_exported() {
    assert_eq!(exported(&everything()), documented());
}

#[test]
fn a_tail_that_was_served_was_not_counted() {
    let text = everything();
    let small = |name: &str| value(&text, &format!("{name}{{namespace=\"small\"}}")).unwrap();
    assert_eq!(small("events_consumed_total") + small("events_missed_total"), 5_001);
    assert!(small("events_missed_total") > 0, "{text}");
    // One batch was appended while the tail was open.
    assert_eq!(value(&text, "event_end_to_end_latency_seconds_count"), Some(1));
    assert_eq!(
        small("event_store_dropped_events") + small("event_store_event_count"),
        small("event_store_position")
    );
    assert!(small("event_store_dropped_events") > 4_000, "{text}");
    assert_eq!(value(&text, "server_places_in_use{of=\"tails\"}"), Some(1));
}

#[test]
fn an_operation_was_counted_under_another_outcome() {
    let server = Running::new();
    server.add("a", "X");
    let stale = "/v1/streams/a/events?expectedVersion=none";
    server
        .post(stale, &json!({ "eventType": "Y" }))
        .refused(409, "version-conflict");
    server.post(stale, &json!([])).refused(400, "invalid-request");
    server.get("/v1/ns/default/events").ok(200);
    server.post("/v1/query", &json!({})).ok(200);
    server.get("/v1/streams/none").refused(404, "not-found");
    server.get("/v1/tail?after=x").refused(400, "invalid-request");
    let text = server.get("/metrics");
    let operation = |operation: &str, outcome: &str| {
        let name = format!("event_store_operations_total{{operation=\"{operation}\",outcome=\"{outcome}\"}}");
        value(text.text(), &name)
    };
    for (name, outcome) in [
        ("append", "success"),
        ("append", "conflict"),
        ("append", "refused"),
        ("events", "success"),
        ("query", "success"),
        ("stream", "refused"),
        ("tail", "refused"),
    ] {
        assert_eq!(operation(name, outcome), Some(1), "{name} {outcome}\n{}", text.text());
    }
    let queries = text
        .text()
        .lines()
        .filter(|line| line.starts_with("query_executions_total{"));
    assert_eq!(queries.count(), 2);
    let conflicts = "http_problems_total{type=\"version-conflict\"}";
    assert_eq!(value(text.text(), conflicts), Some(1));
}
