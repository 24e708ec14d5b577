//! The parameters of operations.

use serde_json::{Map, Value, json};

use crate::wire::filter::FIELDS;

/// Every parameter, by the name that operations refer to.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    for (key, place, name, text, schema) in plain() {
        let mut parameter = json!({ "name": name, "in": place, "description": text, "schema": schema });
        if place == "path" {
            parameter["required"] = true.into();
        }
        all.insert(key.to_owned(), parameter);
    }
    all.extend(filters());
    all.into()
}

/// The parameters of the fields: each may be repeated.
fn filters() -> Map<String, Value> {
    let mut all = Map::new();
    let strings = json!({ "type": "array", "items": { "type": "string" } });
    for (field, _) in &FIELDS {
        let (first, rest) = field.split_at(1);
        let negated = format!("not{}{rest}", first.to_ascii_uppercase());
        for (name, text) in [
            ((*field).to_owned(), format!("One of these values of {field}.")),
            (
                format!("{field}Prefix"),
                format!("A value of {field} that begins with one of these."),
            ),
            (negated.clone(), format!("None of these values of {field}.")),
            (
                format!("{negated}Prefix"),
                format!("No value of {field} that begins with one of these; an empty one excludes every value."),
            ),
        ] {
            // An append has a parameter of this name, with another meaning.
            let key = if name == "aggregateType" {
                "aggregateTypeFilter"
            } else {
                &name
            };
            let parameter = json!({ "name": name, "in": "query", "description": text, "schema": strings, "style": "form", "explode": true });
            all.insert(key.to_owned(), parameter);
        }
    }
    all
}

type Plain = (&'static str, &'static str, &'static str, &'static str, Value);

fn plain() -> Vec<Plain> {
    let mut all = of_appends();
    all.extend(of_pages());
    all.extend(of_queries());
    all.extend(of_summaries());
    all.extend(of_programs());
    all.extend(of_sagas_and_states());
    all.extend(of_tests());
    all
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn one_of(values: &[&str]) -> Value {
    json!({ "type": "string", "enum": values })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn of_appends() -> Vec<Plain> {
    let version = json!({ "oneOf": [one_of(&["any", "none", "exists"]), number()] });
    vec![
        ("namespace", "path", "namespace", "The name of a namespace.", text()),
        (
            "aggregateId",
            "path",
            "aggregateId",
            "The id of an aggregate, percent-encoded: `a/b` is `a%2Fb`.",
            text(),
        ),
        ("version", "path", "version", "The first version to keep.", number()),
        (
            "snapshotVersion",
            "query",
            "version",
            "The version that the snapshot may have at most.",
            number(),
        ),
        (
            "aggregateType",
            "query",
            "aggregateType",
            "The type of the aggregate; needed once, with its first event.",
            text(),
        ),
        (
            "expectedVersion",
            "query",
            "expectedVersion",
            "The version that the aggregate must have.",
            version,
        ),
        (
            "durability",
            "query",
            "durability",
            "What the append must survive before it is acknowledged; at least what the store promises.",
            one_of(&["volatile", "written", "synced"]),
        ),
        (
            "tombstone",
            "query",
            "tombstone",
            "Delete for ever: later appends are refused.",
            flag(),
        ),
        (
            "ifMatch",
            "header",
            "If-Match",
            "The version as ETag has it, such as `\"7\"`; `*` for an aggregate that exists. A weak tag counts as a strong one.",
            text(),
        ),
        (
            "ifNoneMatch",
            "header",
            "If-None-Match",
            "`*`: the aggregate must not exist.",
            one_of(&["*"]),
        ),
        (
            "idempotencyKey",
            "header",
            "Idempotency-Key",
            "A name for this request, so that its repetition stores nothing. Events with an `eventId` need none.",
            json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        ),
    ]
}

fn of_pages() -> Vec<Plain> {
    vec![
        ("from", "query", "from", "The version to begin at.", number()),
        (
            "versionOrder",
            "query",
            "order",
            "Ascending or descending.",
            one_of(&["version", "-version"]),
        ),
        (
            "order",
            "query",
            "order",
            "By position or by time, ascending or descending.",
            one_of(&["position", "-position", "time", "-time"]),
        ),
        (
            "listOrder",
            "query",
            "order",
            "By name, by number of events or by the last event.",
            one_of(&["name", "events", "last"]),
        ),
        (
            "limit",
            "query",
            "limit",
            "At most this many; 100 by default.",
            json!({ "type": "integer", "minimum": 1, "maximum": 1_000 }),
        ),
        ("cursor", "query", "cursor", "`next` of the page before.", text()),
        ("listCursor", "query", "cursor", "`next` of the page before.", text()),
        ("streamCursor", "query", "cursor", "`next` of the page before.", text()),
        (
            "asOf",
            "query",
            "asOf",
            "As the log was at this position or time.",
            json!({ "oneOf": [number(), time()] }),
        ),
        (
            "minPosition",
            "query",
            "minPosition",
            "Wait until the event at this position is visible: that of an append of the same client.",
            number(),
        ),
        (
            "timeoutSeconds",
            "query",
            "timeoutSeconds",
            "How long to wait for `minPosition`; 30 at most, and by default.",
            number(),
        ),
    ]
}

fn of_queries() -> Vec<Plain> {
    vec![
        ("event", "path", "event", "A position, or the id of an event.", text()),
        (
            "text",
            "query",
            "text",
            "Data or metadata contain this text, case-insensitive.",
            text(),
        ),
        ("since", "query", "since", "At this time or later.", time()),
        ("before", "query", "before", "Before this time.", time()),
        ("after", "query", "after", "After this position.", number()),
        ("until", "query", "until", "Up to this position.", number()),
        (
            "system",
            "query",
            "system",
            "Include system events, whose type begins with `$`.",
            flag(),
        ),
        (
            "tailAfter",
            "query",
            "after",
            "After this position, 0 by default; `now` for the last one.",
            json!({ "oneOf": [number(), one_of(&["now"])] }),
        ),
        (
            "lastEventId",
            "header",
            "Last-Event-ID",
            "The id of the last frame that the client has; it counts before `after`.",
            number(),
        ),
    ]
}

fn of_summaries() -> Vec<Plain> {
    vec![
        (
            "field",
            "path",
            "field",
            "eventType, aggregateType, aggregate, correlation, causation, user, organization, day, tag, or index:NAME.",
            text(),
        ),
        ("prefix", "query", "prefix", "Only values that begin with this.", text()),
        (
            "timeZone",
            "query",
            "timeZone",
            "An IANA name such as Europe/Amsterdam, or an offset such as +02:00; UTC by default.",
            text(),
        ),
        (
            "top",
            "query",
            "top",
            "Names of a group, those with the most events; 100 by default.",
            json!({ "type": "integer", "minimum": 0, "maximum": 10_000 }),
        ),
        (
            "by",
            "query",
            "by",
            "The length of a row.",
            one_of(&["hour", "day", "week", "month", "year"]),
        ),
        ("fill", "query", "fill", "Include rows without events.", flag()),
        (
            "correlationId",
            "path",
            "correlationId",
            "The id of a conversation.",
            text(),
        ),
        ("snapshot", "path", "snapshot", "The number of a snapshot.", number()),
        ("forkName", "path", "name", "The name of the new namespace.", text()),
        (
            "seed",
            "query",
            "seed",
            "The seed of the ids of events: the same appends have the same ids.",
            number(),
        ),
        (
            "now",
            "query",
            "now",
            "The time that the clock shows, and at which it stands still.",
            time(),
        ),
        ("name", "path", "name", "The last part of a problem's `type`.", text()),
    ]
}

fn of_programs() -> Vec<Plain> {
    vec![
        ("processor", "path", "processor", "The name of a processor.", text()),
        ("position", "path", "position", "The position of the event.", number()),
        (
            "pauseTimeout",
            "query",
            "timeoutSeconds",
            "How long to wait until the processor has paused; 5 by default, 30 at most.",
            number(),
        ),
        ("command", "path", "command", "The name of a command.", text()),
        ("messageQuery", "path", "query", "The name of a query.", text()),
        (
            "messageKey",
            "header",
            "Idempotency-Key",
            "A name for this request, so that its repetition has no effect. Refused by commands that have no id.",
            json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        ),
        (
            "correlationHeader",
            "header",
            "X-Correlation-Id",
            "The conversation that the events of the handler belong to.",
            text(),
        ),
        (
            "causationHeader",
            "header",
            "X-Causation-Id",
            "The event or command that caused this one.",
            text(),
        ),
        ("group", "path", "group", "The name of a group.", text()),
        (
            "takeLimit",
            "query",
            "limit",
            "At most this many events; 10 by default.",
            json!({ "type": "integer", "minimum": 1, "maximum": 1_000 }),
        ),
        (
            "wait",
            "query",
            "wait",
            "Seconds to wait for the first event; 0 by default, 30 at most.",
            number(),
        ),
        (
            "replayAggregate",
            "query",
            "aggregate",
            "Only the dead letters of this aggregate.",
            text(),
        ),
        ("letterCursor", "query", "cursor", "`next` of the page before.", text()),
    ]
}

fn of_tests() -> Vec<Plain> {
    vec![
        ("rule", "path", "rule", "The number of a rule.", number()),
        (
            "waitPosition",
            "query",
            "position",
            "The position to wait for; without it, all events that are visible.",
            number(),
        ),
        (
            "waitGroup",
            "query",
            "group",
            "A group that is to have handled its events up to the position. May be repeated.",
            json!({ "type": "array", "items": { "type": "string" } }),
        ),
        (
            "waitTimeout",
            "query",
            "timeoutSeconds",
            "How long to wait; 30 at most, and by default.",
            number(),
        ),
        (
            "timelineAfter",
            "query",
            "after",
            "The number of the entry before the first; 0 by default.",
            number(),
        ),
    ]
}

fn of_sagas_and_states() -> Vec<Plain> {
    vec![
        (
            "stateVersion",
            "query",
            "version",
            "The version of the last event that the state contains; the last one by default. 0 is the state before the first event.",
            number(),
        ),
        ("saga", "path", "saga", "The type of a saga.", text()),
        (
            "sagaKey",
            "path",
            "key",
            "The key of an instance, percent-encoded.",
            text(),
        ),
        (
            "stuck",
            "query",
            "stuck",
            "Only instances that wait for a person.",
            flag(),
        ),
        ("sagaCursor", "query", "cursor", "`next` of the page before.", text()),
    ]
}
