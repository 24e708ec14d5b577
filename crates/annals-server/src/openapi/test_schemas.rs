//! The schemas of the test API's timeline, faults and waits.

use serde_json::{Value, json};

use super::schema;
use super::shapes::{list, number, object, optional, text, time};

pub(super) fn all() -> Value {
    let mut all = faults();
    if let (Value::Object(all), Value::Object(more)) = (&mut all, observations()) {
        all.extend(more);
    }
    all
}

/// How a request fails.
fn effect() -> Value {
    json!({ "type": "string", "enum": ["conflict", "unavailable", "overload", "timeout", "lostAnswer", "delay"] })
}

fn faults() -> Value {
    let rule = json!({
        "fault": effect(),
        "operations": {
            "type": "array", "items": text(), "minItems": 1, "maxItems": 20,
            "description": "Operation ids of this document, or the words `appends` (the default), `reads` and `all`.",
        },
        "aggregateId": text(), "aggregateType": text(), "eventType": text(),
        "delayMillis": { "type": "integer", "minimum": 0, "maximum": 30_000, "description": "How long a struck request waits; 0 by default." },
        "skip": { "type": "integer", "minimum": 0, "description": "Matching requests that pass before the rule begins; 0 by default." },
        "times": {
            "type": "integer", "minimum": 1,
            "description": "The most requests that fail; 1 by default, and without a limit with `every` or `probability`.",
        },
        "every": { "type": "integer", "minimum": 1, "description": "Only each of this ordinal: with 3, the third, the sixth and so on." },
        "probability": { "type": "number", "minimum": 0, "maximum": 1 },
        "seed": { "type": "integer", "minimum": 0, "description": "The seed of the probability: the same requests fail again; 0 by default." },
    });
    let mut active = rule.clone();
    for name in ["number", "matched", "struck"] {
        active[name] = number();
    }
    let filters = [
        "aggregateId",
        "aggregateType",
        "eventType",
        "times",
        "every",
        "probability",
        "seed",
    ];
    let defaults = ["operations", "delayMillis", "skip"];
    json!({
        "NewFaultRule": object(&rule, &[&filters[..], &defaults].concat()),
        "FaultRule": object(&active, &filters),
        "FaultRules": object(&json!({ "rules": list(&schema("FaultRule")) }), &[]),
    })
}

fn observations() -> Value {
    let group = json!({
        "name": text(), "reached": { "type": "boolean" }, "position": number(), "lagEvents": number(), "inFlight": number(), "ready": number(),
        "waiting": number(), "deadLetters": number(), "lostRecords": number(), "stopReason": optional("string"),
    });
    let kinds = [
        "appended",
        "changed",
        "refused",
        "fault",
        "reset",
        "snapshot",
        "restored",
        "forkedTo",
        "forkedFrom",
        "clock",
    ];
    let entry = json!({
        "number": number(), "at": time(), "kind": { "type": "string", "enum": kinds }, "operation": text(),
        "aggregateId": text(), "aggregateType": text(), "firstVersion": number(), "lastVersion": number(), "firstPosition": number(),
        "lastPosition": number(), "eventTypes": list(&text()), "repeated": { "type": "boolean" }, "status": number(), "problem": text(),
        "detail": text(), "rule": number(), "fault": effect(), "seed": number(), "snapshot": number(), "namespace": text(),
    });
    let always = ["number", "at", "kind"];
    let members = entry
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .map(String::as_str);
    let others: Vec<&str> = members.filter(|name| !always.contains(name)).collect();
    json!({
        "Reached": object(&json!({ "visible": number(), "groups": list(&object(&group, &[])) }), &[]),
        "TimelineEntry": object(&entry, &others),
        "Timeline": object(
            &json!({ "entries": list(&schema("TimelineEntry")), "next": number(), "dropped": number() }),
            &[],
        ),
    })
}
