//! The schemas of bodies and answers.

use serde_json::{Map, Value, json};

use super::schema;
use super::shapes::{counts, list, number, object, optional, text, time};

/// Every schema, by its name.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    for part in [
        events(),
        appends(),
        pages(),
        queries(),
        summaries(),
        program(),
        sagas(),
        groups(),
        service(),
        super::test_schemas::all(),
    ] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    all.into()
}

fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

/// The members that events have when they are appended and when they are read.
fn event_members() -> Value {
    json!({
        "eventId": uuid(),
        "aggregateId": text(),
        "aggregateType": text(),
        "eventType": text(),
        "eventVersion": { "type": "integer", "minimum": 0, "maximum": u32::MAX, "description": "The version of the schema of the data; 1 by default." },
        "timestamp": time(),
        "eventData": { "description": "Any JSON, kept to the byte but for line ends between its tokens." },
        "eventDataHex": { "type": "string", "description": "Data that are no JSON, as hexadecimal digits." },
        "eventDataType": { "type": "string", "description": "The media type of the data, if it is not application/json." },
        "metadata": { "description": "Usually an object; correlationId, causationId, userId and organizationId in it are the ids of the event." },
        "metadataHex": text(),
        "metadataType": text(),
        "correlationId": text(),
        "causationId": text(),
        "userId": text(),
        "organizationId": text(),
        "tags": list(&text()),
        "position": number(),
        "version": number(),
        "recordedAt": time(),
    })
}

fn events() -> Value {
    let read = [
        "eventData",
        "eventDataHex",
        "eventDataType",
        "metadata",
        "metadataHex",
        "metadataType",
        "correlationId",
        "causationId",
        "userId",
        "organizationId",
        "tags",
    ];
    let mut new = object(&event_members(), &[]);
    new["required"] = json!(["eventType"]);
    new["description"] =
        "An event to append. `position`, `version` and `recordedAt` of an event that was read are ignored.".into();
    json!({
        "Event": object(&event_members(), &read),
        "NewEvent": new,
        "NewEvents": { "oneOf": [schema("NewEvent"), { "type": "array", "minItems": 1, "items": schema("NewEvent") }] },
        "CloudEvent": {
            "type": "object", "required": ["specversion", "id", "source", "type"],
            "description": "CloudEvents 1.0. The subject is the id of the aggregate, and the extension aggregatetype its type.",
            "properties": {
                "specversion": { "type": "string", "enum": ["1.0"] }, "id": text(), "source": text(), "type": text(), "subject": text(),
                "time": time(), "datacontenttype": text(), "data_base64": text(), "aggregatetype": text(), "correlationid": text(),
                "causationid": text(), "userid": text(), "organizationid": text(), "tags": text(),
            },
        },
        "Gap": object(
            &json!({
                "first": number(), "last": number(), "count": number(),
                "reason": { "description": "A name, or an object of a name and what it is about.", "type": ["string", "object"] },
            }),
            &[],
        ),
    })
}

fn place() -> Value {
    json!({
        "firstVersion": number(), "lastVersion": number(), "firstPosition": number(), "lastPosition": number(),
        "durability": { "type": "string", "enum": ["volatile", "written", "synced"] },
        "repeated": { "type": "boolean" },
    })
}

fn appends() -> Value {
    let expected = json!({ "oneOf": [{ "type": "string", "enum": ["any", "none", "exists"] }, number()] });
    let mut part = place();
    part["aggregateId"] = text();
    json!({
        "Appended": object(&place(), &[]),
        "AllAppended": object(&json!({ "appended": list(&object(&part, &[])) }), &[]),
        "NewAppends": object(
            &json!({
                "appends": list(&object(
                    &json!({ "aggregateId": text(), "aggregateType": text(), "expectedVersion": expected, "events": list(&schema("NewEvent")) }),
                    &["aggregateType", "expectedVersion"],
                )),
                "condition": object(&json!({ "query": schema("Query"), "after": number() }), &["after"]),
            }),
            &["condition"],
        ),
        "StreamSnapshot": object(
            &json!({
                "aggregateId": text(), "version": number(), "missing": number(), "schemaVersion": number(), "takenAt": time(),
                "position": number(), "data": {}, "dataHex": text(), "dataType": text(),
            }),
            &["data", "dataHex", "dataType"],
        ),
        "NewSnapshot": object(
            &json!({
                "version": number(), "schemaVersion": number(), "keep": number(), "data": { "description": "Any JSON." },
                "dataHex": text(), "dataType": text(),
            }),
            &["schemaVersion", "keep", "data", "dataHex", "dataType"],
        ),
        "Changed": object(&json!({ "position": number() }), &[]),
        "StreamLimits": object(&json!({ "maxCount": optional("integer"), "maxAgeSeconds": optional("number") }), &["maxCount", "maxAgeSeconds"]),
        "Stream": object(
            &json!({
                "aggregateId": text(), "aggregateType": text(), "version": number(), "events": number(), "droppedTo": number(),
                "deletedTo": number(), "tombstoned": { "type": "boolean" }, "limits": schema("StreamLimits"),
            }),
            &[],
        ),
    })
}

fn pages() -> Value {
    let page = json!({ "events": list(&schema("Event")), "next": optional("string"), "asOf": number(), "gaps": list(&schema("Gap")) });
    let mut stream = page.clone();
    stream["aggregateId"] = text();
    stream["aggregateType"] = text();
    stream["version"] = number();
    json!({ "Page": object(&page, &[]), "StreamPage": object(&stream, &[]) })
}

fn queries() -> Value {
    let names = json!({ "oneOf": [text(), list(&text())] });
    let range = |of: Value| object(&json!({ "from": of, "to": of }), &["from", "to"]);
    let mut filter = json!({
        "prefix": object(&json!({ "field": text(), "value": text() }), &[]),
        "index": object(&json!({ "name": text(), "values": names }), &[]),
        "all": list(&schema("Filter")),
        "any": list(&schema("Filter")),
        "not": schema("Filter"),
        "data": { "type": "object", "description": "Values at JSON pointers, of which all must be equal." },
        "metadata": { "type": "object", "description": "Values at JSON pointers, of which all must be equal." },
        "text": text(),
        "versions": range(number()),
        "positions": range(number()),
        "times": range(time()),
    });
    for (field, _) in crate::wire::filter::FIELDS {
        filter[field] = names.clone();
    }
    json!({
        "Filter": {
            "type": "object", "description": "Exactly one member, which names the kind of the filter.",
            "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": filter,
        },
        "Query": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "filter": schema("Filter"), "since": time(), "before": time(), "after": number(), "until": number(),
                "order": { "type": "string", "enum": ["position", "-position", "time", "-time"] },
                "limit": { "type": "integer", "minimum": 1, "maximum": 1_000 }, "cursor": text(),
                "asOf": { "oneOf": [number(), time()] }, "system": { "type": "boolean" }, "minPosition": number(), "timeoutSeconds": number(),
            },
        },
        "Count": object(&json!({ "count": number() }), &[]),
        "Explanation": object(
            &json!({
                "terms": list(&object(&json!({ "term": text(), "excluded": { "type": "boolean" }, "events": number() }), &[])),
                "scanned": { "type": "boolean" }, "triedOnEvents": { "type": "boolean" }, "candidates": number(), "examined": number(),
                "matches": number(), "windows": number(), "shards": number(),
                "cache": { "type": "string", "enum": ["unused", "hit", "extended", "miss"] }, "elapsedSeconds": { "type": "number" },
            }),
            &[],
        ),
    })
}

fn summaries() -> Value {
    let distinct = json!({ "days": number(), "types": number(), "aggregateTypes": number(), "organizations": number(), "users": number() });
    let item = json!({ "name": text(), "aggregateType": text(), "events": number(), "lastPosition": number(), "lastAt": time() });
    json!({
        "List": object(
            &json!({ "items": list(&object(&item, &["aggregateType"])), "next": optional("string"), "asOf": number() }),
            &[],
        ),
        "Statistics": object(
            &json!({
                "timeZone": text(), "total": number(), "first": optional("string"), "last": optional("string"), "byHour": list(&number()),
                "byDay": counts(), "byType": counts(), "byAggregateType": counts(), "byOrganization": counts(), "withoutOrganization": number(),
                "byUser": counts(), "withoutUser": number(), "distinct": object(&distinct, &[]),
            }),
            &[],
        ),
        "Trend": object(&json!({ "rows": list(&object(&json!({ "start": time(), "label": text(), "count": number() }), &[])) }), &[]),
        "Heatmap": object(&json!({ "timeZone": text(), "total": number(), "max": number(), "counts": list(&list(&number())) }), &[]),
        "Trace": object(
            &json!({
                "correlationId": text(), "total": number(), "truncated": { "type": "boolean" },
                "tree": list(&object(&json!({ "eventId": uuid(), "depth": number() }), &[])), "events": list(&schema("Event")),
            }),
            &[],
        ),
    })
}

fn groups() -> Value {
    let definition = json!({
        "filter": { "oneOf": [schema("Filter"), { "type": "null" }] },
        "leaseSeconds": number(), "attempts": number(), "firstPauseSeconds": number(), "longestPauseSeconds": number(), "maxInFlight": number(),
        "start": {
            "oneOf": [{ "type": "string", "enum": ["beginning", "end"] }, object(&json!({ "after": number() }), &[])],
            "description": "Where a group begins that has no place yet.",
        },
        "skipGaps": { "type": "boolean" },
    });
    let all: Vec<&str> = definition
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
    let status = json!({
        "position": number(), "lagEvents": number(), "inFlight": number(), "ready": number(), "waiting": number(), "deadLetters": number(),
        "lostRecords": number(), "stopReason": optional("string"),
    });
    let mut status = object(&status, &[]);
    status["type"] = json!(["object", "null"]);
    status["description"] = "Null while no client has used the group since the server started.".into();
    let leases = json!({ "type": "array", "minItems": 1, "maxItems": 1_000, "items": uuid() });
    let taken =
        json!({ "lease": uuid(), "leaseEndsAt": time(), "attempt": number(), "key": uuid(), "event": schema("Event") });
    json!({
        "NewGroup": object(&definition, &all),
        "Group": object(&json!({ "name": text(), "definition": object(&definition, &[]), "status": status }), &[]),
        "Groups": object(&json!({ "groups": list(&schema("Group")) }), &[]),
        "GroupName": object(&json!({ "name": text() }), &[]),
        "TakenEvents": object(&json!({ "events": list(&object(&taken, &[])) }), &[]),
        "Ack": object(&json!({ "leases": leases }), &[]),
        "Nack": object(
            &json!({ "leases": leases, "action": { "type": "string", "enum": ["retry", "park", "skip"] }, "reason": text() }),
            &["action", "reason"],
        ),
        "Settled": object(&json!({ "settled": number(), "lost": list(&uuid()) }), &[]),
        "Replayed": object(&json!({ "replayed": number() }), &[]),
    })
}

fn program() -> Value {
    let failure = json!({ "position": number(), "eventId": uuid(), "eventType": text(), "aggregateId": text(), "reason": text() });
    let mut letter = failure.clone();
    letter["attempts"] = number();
    letter["parkedAt"] = time();
    let mut last_error = object(&failure, &[]);
    last_error["type"] = json!(["object", "null"]);
    let mut next = object(&letter, &[]);
    next["type"] = json!(["object", "null"]);
    json!({
        "Processor": object(
            &json!({
                "name": text(), "state": { "type": "string", "enum": ["running", "caughtUp", "paused", "stopped", "ended", "other"] },
                "stopReason": optional("string"), "position": number(), "lagEvents": number(), "lagSeconds": { "type": "number" },
                "handled": number(), "parked": number(), "lastError": last_error, "waitsFor": optional("string"),
                "deadLetters": optional("integer"),
            }),
            &[],
        ),
        "Processors": object(&json!({ "processors": list(&schema("Processor")) }), &[]),
        "DeadLetter": object(&letter, &[]),
        "DeadLetters": object(
            &json!({ "deadLetters": list(&schema("DeadLetter")), "next": optional("string"), "total": number(), "lostRecords": number() }),
            &[],
        ),
        "Retried": object(&json!({ "handled": number(), "left": number(), "next": next }), &[]),
        "Message": { "description": "The command or query as its program defines it." },
        "MessageReply": { "description": "The reply as the program defines it." },
        "Commands": object(
            &json!({ "commands": list(&object(&json!({ "name": text(), "takesIdempotencyKey": { "type": "boolean" } }), &[])) }),
            &[],
        ),
        "Queries": object(&json!({ "queries": list(&object(&json!({ "name": text() }), &[])) }), &[]),
        "Discarded": object(&json!({ "position": number() }), &[]),
    })
}

fn sagas() -> Value {
    let instance = json!({
        "key": text(), "run": number(),
        "phase": { "type": "string", "enum": ["running", "compensating", "completed", "failed", "abandoned", "other"] },
        "reason": optional("string"), "stuck": optional("string"), "stepsLeft": number(),
        "timers": { "type": "object", "additionalProperties": time() }, "state": { "description": "The state as JSON." },
        "startedAt": time(), "changedAt": time(),
    });
    let saga = json!({ "name": text(), "active": number(), "stuck": number() });
    json!({
        "AggregateState": object(
            &json!({
                "aggregateId": text(), "aggregateType": text(), "version": number(),
                "state": { "description": "The state as the program writes it as JSON." },
            }),
            &[],
        ),
        "Sagas": object(&json!({ "sagas": list(&object(&saga, &[])) }), &[]),
        "SagaInstance": object(&instance, &[]),
        "SagaInstances": object(
            &json!({ "instances": list(&schema("SagaInstance")), "next": optional("string"), "total": number() }),
            &[],
        ),
        "ChangedSaga": object(&json!({ "changed": { "type": "boolean" }, "instance": schema("SagaInstance") }), &[]),
        "Reason": object(&json!({ "reason": { "type": "string", "maxLength": 4_096 } }), &[]),
    })
}

fn service() -> Value {
    let kind = json!({ "type": text(), "status": number(), "title": text(), "meaning": text() });
    json!({
        "Problem": {
            "type": "object", "required": ["type", "title", "status", "detail"],
            "description": "RFC 9457. Some types have more members, which /problems describes.",
            "properties": { "type": { "type": "string", "format": "uri-reference" }, "title": text(), "status": number(), "detail": text() },
        },
        "ProblemType": object(&kind, &[]),
        "ProblemTypes": object(&json!({ "problems": list(&schema("ProblemType")) }), &[]),
        "Health": object(&json!({ "status": text() }), &[]),
        "Home": object(
            &json!({
                "name": text(), "version": text(), "ephemeral": { "type": "boolean" }, "api": text(), "openapi": text(), "problems": text(),
                "metrics": text(), "namespaces": list(&text()), "defaultNamespace": text(), "capabilities": list(&text()),
            }),
            &[],
        ),
        "Document": { "type": "object" },
        "Namespace": object(&json!({ "namespace": text() }), &[]),
        "Snapshot": object(&json!({ "namespace": text(), "snapshot": number() }), &[]),
        "Clock": object(&json!({ "now": time(), "manual": { "type": "boolean" } }), &[]),
        "ClockTime": object(&json!({ "now": time() }), &[]),
        "ClockStep": object(&json!({ "seconds": { "type": "number", "minimum": 0 } }), &[]),
        "Archives": object(
            &json!({
                "archives": list(&object(&json!({ "name": text(), "events": number(), "firstPosition": number(), "lastPosition": number() }), &[])),
                "unnamedEvents": number(),
            }),
            &[],
        ),
        "Store": object(
            &json!({
                "ephemeral": { "type": "boolean" }, "visible": number(), "written": optional("integer"), "synced": optional("integer"),
                "fault": optional("string"), "stats": { "type": "object" },
            }),
            &[],
        ),
    })
}
