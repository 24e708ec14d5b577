//! The `OpenAPI` document is true: the client of the tests checks every answer against it, and every operation is called here.

use std::sync::OnceLock;

use annals::Store;
use annals_server::{Builder, Program, Server};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::messages::Bank;
use crate::processors::Mailer;
use crate::sagas::Shop;
use crate::support::{JSON, Running};

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| document_of(Server::builder(Store::in_memory()).test_api()))
}

/// The document of a server on which a program is mounted.
fn document_of_program() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| document_of(Server::builder(Store::in_memory()).program(Program::new())))
}

fn document_of(builder: Builder) -> Value {
    serde_json::from_str(&builder.build().unwrap().openapi()).unwrap()
}

/// Checks that an answer is documented: its status, its media type, and its body.
#[track_caller]
pub(crate) fn check(method: &str, target: &str, answer: &Answer) {
    let path = target.split('?').next().unwrap();
    // Pages and their files are no part of the API.
    if path.starts_with("/ui") {
        return;
    }
    let Some(item) = item_of(path) else {
        assert!(
            [400, 403, 404, 405, 421].contains(&answer.status),
            "{method} {target}: {}",
            answer.status
        );
        return;
    };
    let Some(operation) = item.get(method.to_ascii_lowercase()) else {
        assert!(
            method == "HEAD" || [400, 403, 405, 421].contains(&answer.status),
            "{method} {target}: {}",
            answer.status
        );
        return;
    };
    // A server without the test API has none of its paths, and one without a program none of a program's.
    let optional = ["test", "processors", "messages", "sagas"];
    let is_optional = optional.iter().any(|tag| operation["tags"] == json!([tag]));
    if is_optional && answer.status == 404 && answer.text().contains("there is nothing at") {
        return;
    }
    let response = &operation["responses"][answer.status.to_string()];
    assert!(
        response.is_object(),
        "{method} {target}: {} is not documented: {}",
        answer.status,
        answer.text()
    );
    let media = answer.header("content-type").unwrap();
    let content = &response["content"][media];
    assert!(content.is_object(), "{method} {target}: {media} is not documented");
    let bodies: Vec<Value> = match media {
        "application/x-ndjson" => answer
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        "application/json" | "application/problem+json" | "application/cloudevents-batch+json" => vec![answer.json()],
        _ => Vec::new(),
    };
    for body in bodies {
        let fault = fault(&content["schema"], &body);
        assert_eq!(fault, None, "{method} {target}: {body}");
    }
    if media == "application/problem+json" {
        let name = answer.json()["type"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        let text = response["description"].as_str().unwrap();
        assert!(
            text.contains(&format!("`{name}`")),
            "{method} {target}: {name} is not documented"
        );
    }
}

/// The item of the path with the most literal segments.
fn item_of(path: &str) -> Option<&'static Value> {
    let segments: Vec<&str> = path.split('/').collect();
    let of = |document: &'static Value| document["paths"].as_object().unwrap().iter();
    // The last of several counts: with the test API, operations have more problems.
    let paths = of(document_of_program()).chain(of(document()));
    let fits = paths.filter_map(|(template, item)| {
        let template: Vec<&str> = template.split('/').collect();
        let is_fit = template.len() == segments.len()
            && template
                .iter()
                .zip(&segments)
                .all(|(own, given)| own == given || own.starts_with('{') && !given.is_empty());
        let literal = template.iter().filter(|own| !own.starts_with('{')).count();
        is_fit.then_some((literal, item))
    });
    fits.max_by_key(|(literal, _)| *literal).map(|(_, item)| item)
}

/// What is wrong with a value, by the keywords that the document uses.
fn fault(schema: &Value, value: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document().pointer(reference.strip_prefix('#').unwrap());
        return fault(schema.unwrap_or_else(|| panic!("{reference} is not defined")), value);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().filter(|choice| fault(choice, value).is_none()).count();
        return (fits != 1).then(|| format!("{value} fits {fits} of {}", schema["oneOf"]));
    }
    if let Some(values) = schema["enum"].as_array().filter(|values| !values.contains(value)) {
        return Some(format!("{value} is none of {values:?}"));
    }
    let types = match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
    };
    if !types.iter().any(|name| is_of(name, value)) {
        return Some(format!("{value} is no {types:?}"));
    }
    match value {
        Value::Array(items) => items.iter().find_map(|item| fault(&schema["items"], item)),
        Value::Object(_) => fault_of_object(schema, value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}

fn fault_of_object(schema: &Value, value: &Value) -> Option<String> {
    let required = schema["required"].as_array().into_iter().flatten();
    let mut missing = required.filter(|name| value.get(name.as_str().unwrap()).is_none());
    if let Some(name) = missing.next() {
        return Some(format!("{name} is missing"));
    }
    let mut members = value.as_object().unwrap().iter();
    members.find_map(
        |(name, member)| match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => Some(format!("{name} is not documented")),
            (Value::Null, additional) => fault(additional, member),
            (own, _) => fault(own, member),
        },
    )
}

#[test]
fn an_undocumented_answer_passed_the_check() {
    let page = json!({ "events": [], "next": null, "asOf": 0, "gaps": [] });
    let schema = json!({ "$ref": "#/components/schemas/Page" });
    assert_eq!(fault(&schema, &page), None);
    for (name, wrong) in [
        ("next", json!(1)),
        ("asOf", json!("0")),
        ("more", json!(1)),
        ("events", json!([{}])),
    ] {
        let mut page = page.clone();
        page[name] = wrong;
        assert!(fault(&schema, &page).is_some(), "{name}");
    }
    assert!(fault(&schema, &json!({})).is_some());
}

/// A request for each operation, that succeeds: operation, target and body.
fn requests() -> Vec<(&'static str, &'static str, Value)> {
    let none = Value::Null;
    let event =
        json!({ "eventType": "Placed", "aggregateId": "order-1", "aggregateType": "Order", "correlationId": "c" });
    let append = json!({ "appends": [{ "aggregateId": "order-2", "aggregateType": "Order", "events": [event_of("order-2")] }],
        "condition": { "query": { "filter": { "tag": "none" } }, "after": 0 } });
    vec![
        (
            "append",
            "/v1/streams/order-1/events?aggregateType=Order",
            event.clone(),
        ),
        ("appendAll", "/v1/appends", append),
        ("appendEvents", "/v1/events", json!([event])),
        ("stream", "/v1/streams/order-1", none.clone()),
        (
            "readStream",
            "/v1/streams/order-1/events?order=-version&limit=1",
            none.clone(),
        ),
        ("events", "/v1/events?order=-time&limit=1&correlation=c", none.clone()),
        ("event", "/v1/events/1", none.clone()),
        (
            "query",
            "/v1/query",
            json!({ "filter": { "any": [{ "tag": "x" }, { "eventType": ["Placed"] }] }, "order": "-position" }),
        ),
        ("count", "/v1/count", none.clone()),
        ("explain", "/v1/explain?eventTypePrefix=P", none.clone()),
        ("list", "/v1/lists/aggregate", none.clone()),
        ("statistics", "/v1/statistics", none.clone()),
        ("trend", "/v1/trend?by=hour&fill", none.clone()),
        ("heatmap", "/v1/heatmap", none.clone()),
        ("trace", "/v1/traces/c", none.clone()),
        ("store", "/v1/store", none.clone()),
        ("archives", "/v1/archives", none.clone()),
        ("home", "/", none.clone()),
        ("metrics", "/metrics", none.clone()),
        ("healthz", "/healthz", none.clone()),
        ("readyz", "/readyz", none.clone()),
        ("openapi", "/openapi.json", none.clone()),
        ("problems", "/problems", none.clone()),
        ("problem", "/problems/busy", none.clone()),
        (
            "saveSnapshot",
            "/v1/streams/order-1/snapshot",
            json!({ "version": 1, "data": { "total": 250 } }),
        ),
        ("snapshot", "/v1/streams/order-1/snapshot?version=7", none.clone()),
        (
            "setLimits",
            "/v1/streams/order-1/limits",
            json!({ "maxCount": 1, "maxAgeSeconds": null }),
        ),
        ("truncateBefore", "/v1/streams/order-1/events-before/2", none.clone()),
        ("delete", "/v1/streams/order-1", none),
    ]
}

/// The same for the operations on groups.
fn group_requests() -> Vec<(&'static str, &'static str, Value)> {
    let none = Value::Null;
    let lost = json!({ "leases": ["00000000-0000-0000-0000-000000000000"] });
    vec![
        (
            "defineGroup",
            "/v1/groups/order-group",
            json!({ "filter": { "eventType": "Never" }, "skipGaps": true }),
        ),
        ("groups", "/v1/groups", none.clone()),
        ("group", "/v1/groups/order-group", none.clone()),
        ("takeEvents", "/v1/groups/order-group/take?limit=1&wait=0", none.clone()),
        ("ackEvents", "/v1/groups/order-group/ack", lost.clone()),
        ("nackEvents", "/v1/groups/order-group/nack", lost),
        ("resumeGroup", "/v1/groups/order-group/resume", none.clone()),
        (
            "groupDeadLetters",
            "/v1/groups/order-group/dead-letters?limit=1&cursor=0",
            none.clone(),
        ),
        (
            "replayGroupDeadLetters",
            "/v1/groups/order-group/dead-letters/replay?aggregate=order-1",
            none.clone(),
        ),
        ("deleteGroup", "/v1/groups/order-group", none),
    ]
}

/// The same for the operations of the test API.
fn test_requests() -> Vec<(&'static str, &'static str, Value)> {
    let none = Value::Null;
    vec![
        ("testSnapshot", "/v1/test/snapshots", none.clone()),
        ("testRestore", "/v1/test/snapshots/1/restore", none.clone()),
        ("testFork", "/v1/test/fork/order-fork", none.clone()),
        (
            "testReset",
            "/v1/test/reset?seed=7&now=2026-01-31T12:00:00Z",
            none.clone(),
        ),
        ("testClock", "/v1/test/clock", none.clone()),
        (
            "testSetClock",
            "/v1/test/clock",
            json!({ "now": "2026-01-31T12:00:00Z" }),
        ),
        ("testAdvanceClock", "/v1/test/clock/advance", json!({ "seconds": 60 })),
        (
            "testAddFault",
            "/v1/test/faults",
            json!({ "fault": "conflict", "operations": ["appendAll"], "aggregateId": "order-9", "probability": 0.5, "seed": 7 }),
        ),
        ("testFaults", "/v1/test/faults", none.clone()),
        ("testRemoveFault", "/v1/test/faults/1", none.clone()),
        ("testClearFaults", "/v1/test/faults", none.clone()),
        ("testWait", "/v1/test/wait?position=0&timeoutSeconds=1", none.clone()),
        ("testTimeline", "/v1/test/timeline?after=0&limit=9", none.clone()),
        ("testRemove", "/v1/test", none),
    ]
}

fn event_of(id: &str) -> Value {
    json!({ "eventType": "Placed", "aggregateId": id })
}

/// The method of an operation.
fn method_of(id: &str) -> String {
    method_in(document(), id)
}

fn method_in(document: &Value, id: &str) -> String {
    let items = document["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap());
    let mut found = operations.filter(|(_, operation)| operation["operationId"] == *id);
    found
        .next()
        .unwrap_or_else(|| panic!("{id} is not documented"))
        .0
        .to_uppercase()
}

#[test]
fn every_operation_of_the_document_answers() {
    let server = Running::for_tests();
    // The last one needs a dead letter: a test of groups calls it.
    let mut called = [
        "tail",
        "tailInNamespace",
        "socket",
        "socketInNamespace",
        "discardGroupDeadLetter",
        "discardGroupDeadLetterInNamespace",
    ]
    .map(str::to_owned)
    .to_vec();
    for (id, target, body) in requests().into_iter().chain(group_requests()).chain(test_requests()) {
        let mut targets = vec![(id.to_owned(), target.to_owned())];
        if let Some(rest) = target.strip_prefix("/v1/") {
            let rest = rest.replace("order-", "namespaced-").replace("faults/1", "faults/2");
            targets.push((format!("{id}InNamespace"), format!("/v1/ns/default/{rest}")));
        }
        for (id, target) in targets {
            let text = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            let text = if id.ends_with("InNamespace") {
                text.replace("order-", "namespaced-")
            } else {
                text
            };
            let answer = server.send(&method_of(&id), &target, &[JSON], text.as_bytes());
            assert!([200, 201].contains(&answer.status), "{id}: {}", answer.text());
            called.push(id);
        }
    }
    called.sort();
    assert_eq!(ids(document()), called);
    assert_eq!(&server.get("/openapi.json").ok(200), document());
}

/// The ids of the operations of a document, sorted.
fn ids(document: &Value) -> Vec<String> {
    let items = document["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let mut ids: Vec<String> = operations
        .map(|one| one["operationId"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

/// A request for each operation on a program, that succeeds: operation, target and body.
const PROGRAM_REQUESTS: [(&str, &str, &str); 19] = [
    ("processors", "/v1/processors", ""),
    ("processor", "/v1/processors/mailer", ""),
    ("pauseProcessor", "/v1/processors/mailer/pause?timeoutSeconds=30", ""),
    ("resumeProcessor", "/v1/processors/mailer/resume", ""),
    (
        "waitForProcessor",
        "/v1/processors/mailer/wait?position=0&timeoutSeconds=30",
        "",
    ),
    ("deadLetters", "/v1/processors/mailer/dead-letters?limit=1&cursor=0", ""),
    ("retryDeadLetters", "/v1/processors/mailer/dead-letters/retry", ""),
    (
        "retryDeadLetter",
        "/v1/processors/mailer/dead-letters/{position}/retry",
        "",
    ),
    (
        "discardDeadLetter",
        "/v1/processors/mailer/dead-letters/{position}/discard",
        "",
    ),
    ("commands", "/v1/commands", ""),
    (
        "command",
        "/v1/commands/Deposit",
        r#"{"account":"account-1","amount":250}"#,
    ),
    ("queries", "/v1/queries", ""),
    ("messageQuery", "/v1/queries/Balance", r#"{"account":"account-1"}"#),
    (
        "state",
        "/v1/streams/order-1/state?version=1&minPosition=1&timeoutSeconds=30",
        "",
    ),
    ("sagas", "/v1/sagas", ""),
    (
        "sagaInstances",
        "/v1/sagas/Mail/instances?stuck=true&limit=1&cursor=a",
        "",
    ),
    ("sagaInstance", "/v1/sagas/Mail/instances/order-1", ""),
    ("retrySaga", "/v1/sagas/Mail/instances/order-1/retry", ""),
    (
        "abandonSaga",
        "/v1/sagas/Mail/instances/order-1/abandon",
        r#"{"reason":"paid in cash"}"#,
    ),
];

#[test]
fn every_operation_on_a_program_answers() {
    let mailer = Mailer::with_letters(&["order-1", "order-2"]);
    // The saga has a store of its own, which its processor reads.
    let shop = Shop::with_orders(&["order-1"]);
    let server = mailer.server_with(Bank::new(&Store::in_memory()).program.saga(&shop.sagas));
    let document = document_of_program();
    let letters = server.get("/v1/processors/mailer/dead-letters").ok(200);
    let position = letters["deadLetters"][0]["position"].to_string();
    for (id, target, body) in PROGRAM_REQUESTS {
        let target = target.replace("{position}", &position);
        let method = method_in(document, id);
        let answer = server.send(&method, &target, &[JSON], body.as_bytes());
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        let unknown = format!("{}?unheardOf=1", target.split('?').next().unwrap());
        let unknown = server.send(&method, &unknown, &[JSON], body.as_bytes());
        unknown.refused(400, "invalid-request");
    }
    let of_program: Vec<String> = ids(document)
        .into_iter()
        .filter(|id| !ids(self::document()).contains(id))
        .collect();
    let mut called: Vec<String> = PROGRAM_REQUESTS
        .iter()
        .flat_map(|(id, ..)| [(*id).to_owned(), format!("{id}InNamespace")])
        .collect();
    called.sort();
    assert_eq!(of_program, called);
    assert_eq!(&server.get("/openapi.json").ok(200), document);
}

#[test]
fn a_parameter_was_documented_and_not_taken() {
    let server = Running::for_tests();
    for event in ["order-1", "order-2"] {
        server
            .post(
                &format!("/v1/streams/{event}/events?aggregateType=Order"),
                &json!({ "eventType": "X", "correlationId": "c" }),
            )
            .ok(201);
    }
    for (id, target, body) in requests().into_iter().chain(group_requests()).chain(test_requests()) {
        let path = target.split('?').next().unwrap();
        let operation = &item_of(path).unwrap()[method_of(id).to_ascii_lowercase()];
        for parameter in operation["parameters"].as_array().unwrap() {
            let parameter = document()
                .pointer(parameter["$ref"].as_str().unwrap().strip_prefix('#').unwrap())
                .unwrap();
            if parameter["in"] != "query" || !body.is_null() {
                continue;
            }
            let name = parameter["name"].as_str().unwrap();
            let answer = server.send(&method_of(id), &format!("{path}?{name}=%00"), &[], b"");
            let text = answer.text();
            assert!(!text.contains("no parameter"), "{id}: {name}: {text}");
        }
        let answer = server.send(
            &method_of(id),
            &format!("{path}?unheardOf=1"),
            &[JSON],
            body_of(&body).as_bytes(),
        );
        let is_strict = !["/", "/metrics", "/healthz", "/readyz", "/openapi.json"].contains(&path)
            && !path.starts_with("/problems");
        assert_eq!(answer.status == 400, is_strict, "{id}: {}", answer.text());
    }
}

fn body_of(body: &Value) -> String {
    if body.is_null() {
        String::new()
    } else {
        body.to_string()
    }
}

#[test]
fn every_reference_of_the_document_is_defined() {
    fn check(document: &Value, value: &Value, count: &mut usize) {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    *count += 1;
                    assert!(
                        document.pointer(reference.strip_prefix('#').unwrap()).is_some(),
                        "{reference}"
                    );
                }
                members.values().for_each(|member| check(document, member, count));
            }
            Value::Array(items) => items.iter().for_each(|item| check(document, item, count)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut count = 0;
    for document in [document(), document_of_program()] {
        check(document, document, &mut count);
    }
    assert!(count > 500, "{count}");
}
