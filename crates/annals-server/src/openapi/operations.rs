//! The operations: method, path, parameters, bodies and answers.

use super::operation::{Body, Operation, Reply, WAITS, get, of, with};
use super::{Parts, group_operations, program_operations, test_operations};
use crate::problem::Kind;

/// Problems of every operation that writes.
macro_rules! writing {
    ($($kind:ident),*) => {
        &[
            Kind::ReadOnly, Kind::VersionConflict, Kind::Gone, Kind::Full, Kind::Backlog, Kind::JournalFailed, Kind::Unsupported, Kind::Unavailable,
            $(Kind::$kind),*
        ]
    };
}

/// The parameters of the filters.
const FILTERS: &[&str] = &[
    "eventType",
    "eventTypePrefix",
    "notEventType",
    "notEventTypePrefix",
    "aggregateTypeFilter",
    "aggregateTypePrefix",
    "notAggregateType",
    "notAggregateTypePrefix",
    "aggregate",
    "aggregatePrefix",
    "notAggregate",
    "notAggregatePrefix",
    "correlation",
    "correlationPrefix",
    "notCorrelation",
    "notCorrelationPrefix",
    "causation",
    "causationPrefix",
    "notCausation",
    "notCausationPrefix",
    "user",
    "userPrefix",
    "notUser",
    "notUserPrefix",
    "organization",
    "organizationPrefix",
    "notOrganization",
    "notOrganizationPrefix",
    "day",
    "dayPrefix",
    "notDay",
    "notDayPrefix",
    "tag",
    "tagPrefix",
    "notTag",
    "notTagPrefix",
    "text",
    "since",
    "before",
    "until",
    "system",
];

/// Every operation.
pub(super) fn all(parts: Parts) -> Vec<Operation> {
    let mut all = appends();
    all.extend(streams());
    all.extend(changes());
    all.extend(queries());
    all.extend(tails());
    all.extend(summaries());
    all.extend(group_operations::groups());
    all.extend(group_operations::consumption());
    all.extend(group_operations::letters());
    all.extend(service());
    if parts.has_program {
        all.extend(program_operations::processors());
        all.push(program_operations::wait());
        all.extend(program_operations::dead_letters());
        all.extend(program_operations::messages());
        all.extend(program_operations::sagas());
        all.extend(program_operations::states());
    }
    if parts.has_test_api {
        all.extend(test_operations::namespaces());
        all.extend(test_operations::clocks());
        all.extend(test_operations::faults());
        all.extend(test_operations::observations());
    }
    all
}

fn appends() -> Vec<Operation> {
    vec![
        Operation {
            parameters: with(&[&[
                "aggregateId",
                "aggregateType",
                "expectedVersion",
                "durability",
                "ifMatch",
                "ifNoneMatch",
                "idempotencyKey",
            ]]),
            body: Some(Body::Events),
            replies: &[
                (201, "The events are stored.", Reply::Json("Appended")),
                (
                    200,
                    "The events were stored by an earlier request; this is its answer.",
                    Reply::Json("Appended"),
                ),
            ],
            problems: writing!(Precondition, EventKnown, KeyReused, NotDurable),
            ..of(
                "post",
                "/v1/streams/{aggregateId}/events",
                "append",
                "append",
                "Append events to an aggregate, all or none",
            )
        },
        Operation {
            parameters: with(&[&["durability", "idempotencyKey"]]),
            body: Some(Body::Json("NewAppends")),
            replies: &[
                (201, "The events are stored.", Reply::Json("AllAppended")),
                (
                    200,
                    "The events were stored by an earlier request; this is its answer.",
                    Reply::Json("AllAppended"),
                ),
            ],
            problems: writing!(ConditionFailed, EventKnown, KeyReused),
            ..of(
                "post",
                "/v1/appends",
                "appendAll",
                "append",
                "Append to several aggregates, all or none; on a condition if there is one",
            )
        },
        Operation {
            parameters: with(&[&["durability", "idempotencyKey"]]),
            body: Some(Body::Events),
            replies: &[
                (201, "The events are stored.", Reply::Json("AllAppended")),
                (
                    200,
                    "The events were stored by an earlier request; this is its answer.",
                    Reply::Json("AllAppended"),
                ),
            ],
            problems: writing!(EventKnown, KeyReused),
            ..of(
                "post",
                "/v1/events",
                "appendEvents",
                "append",
                "Append events of any aggregates, all or none; each names its aggregate, and positions are by aggregate",
            )
        },
    ]
}

fn streams() -> Vec<Operation> {
    vec![
        Operation {
            parameters: with(&[&["aggregateId"], WAITS]),
            replies: &[(
                200,
                "The state of the aggregate; ETag is its version.",
                Reply::Json("Stream"),
            )],
            problems: &[Kind::NotFound, Kind::NotVisible],
            ..get(
                "/v1/streams/{aggregateId}",
                "stream",
                "streams",
                "The state of an aggregate, without its events",
            )
        },
        Operation {
            parameters: with(&[
                &["aggregateId", "from", "versionOrder", "limit", "streamCursor", "asOf"],
                WAITS,
            ]),
            replies: &[(
                200,
                "A page of its events; ETag is its version.",
                Reply::Page("StreamPage"),
            )],
            problems: &[Kind::NotFound, Kind::NotAcceptable, Kind::NotVisible],
            ..get(
                "/v1/streams/{aggregateId}/events",
                "readStream",
                "streams",
                "The events of an aggregate",
            )
        },
    ]
}

fn changes() -> Vec<Operation> {
    vec![
        Operation {
            parameters: with(&[&["aggregateId", "snapshotVersion"], WAITS]),
            replies: &[(
                200,
                "The snapshot; read the events after its version.",
                Reply::Json("StreamSnapshot"),
            )],
            problems: &[Kind::NotFound, Kind::NotVisible],
            ..get(
                "/v1/streams/{aggregateId}/snapshot",
                "snapshot",
                "streams",
                "The latest snapshot of an aggregate, or the latest up to a version",
            )
        },
        Operation {
            parameters: with(&[&["aggregateId", "durability"]]),
            body: Some(Body::Json("NewSnapshot")),
            replies: &[(200, "The position of the snapshot.", Reply::Json("Changed"))],
            problems: writing!(NotFound),
            ..of(
                "put",
                "/v1/streams/{aggregateId}/snapshot",
                "saveSnapshot",
                "streams",
                "Save the state of an aggregate at a version",
            )
        },
        Operation {
            parameters: with(&[&["aggregateId", "expectedVersion", "tombstone", "ifMatch", "ifNoneMatch"]]),
            replies: &[(200, "The position of the change.", Reply::Json("Changed"))],
            problems: writing!(NotFound, Precondition),
            ..of(
                "delete",
                "/v1/streams/{aggregateId}",
                "delete",
                "streams",
                "Drop the events of an aggregate, and with `tombstone` refuse later ones",
            )
        },
        Operation {
            parameters: with(&[&["aggregateId", "version"]]),
            replies: &[(200, "The position of the change.", Reply::Json("Changed"))],
            problems: writing!(NotFound),
            ..of(
                "delete",
                "/v1/streams/{aggregateId}/events-before/{version}",
                "truncateBefore",
                "streams",
                "Drop the events of an aggregate before a version",
            )
        },
        Operation {
            parameters: with(&[&["aggregateId"]]),
            body: Some(Body::Json("StreamLimits")),
            replies: &[(200, "The position of the change.", Reply::Json("Changed"))],
            problems: writing!(NotFound),
            ..of(
                "put",
                "/v1/streams/{aggregateId}/limits",
                "setLimits",
                "streams",
                "Set how many events an aggregate keeps, and for how long",
            )
        },
    ]
}

fn queries() -> Vec<Operation> {
    vec![
        Operation {
            parameters: with(&[FILTERS, &["after", "order", "limit", "cursor", "asOf"], WAITS]),
            replies: &[(200, "A page of the matching events.", Reply::Page("Page"))],
            problems: &[Kind::NotAcceptable, Kind::NotVisible],
            ..get(
                "/v1/events",
                "events",
                "query",
                "The events that match every filter; without a filter, the log",
            )
        },
        Operation {
            parameters: with(&[&["event"], WAITS]),
            replies: &[(200, "The event.", Reply::Json("Event"))],
            problems: &[Kind::NotFound, Kind::NotVisible],
            ..get(
                "/v1/events/{event}",
                "event",
                "query",
                "One event, by its id or its position",
            )
        },
        Operation {
            body: Some(Body::Json("Query")),
            replies: &[(200, "A page of the matching events.", Reply::Page("Page"))],
            problems: &[Kind::NotAcceptable, Kind::NotVisible],
            ..of(
                "post",
                "/v1/query",
                "query",
                "query",
                "The events that match a query, with nested filters",
            )
        },
        Operation {
            parameters: with(&[FILTERS, &["after", "asOf"], WAITS]),
            replies: &[(200, "The number of matching events.", Reply::Json("Count"))],
            problems: &[Kind::NotVisible],
            ..get("/v1/count", "count", "query", "How many events match")
        },
        Operation {
            parameters: with(&[FILTERS, &["after", "asOf"], WAITS]),
            replies: &[(200, "How the query was run.", Reply::Json("Explanation"))],
            problems: &[Kind::NotVisible],
            ..get(
                "/v1/explain",
                "explain",
                "query",
                "How the matching events are found, and what that takes",
            )
        },
    ]
}

fn tails() -> Vec<Operation> {
    vec![
        Operation {
            parameters: with(&[FILTERS, &["tailAfter", "lastEventId"]]),
            replies: &[(
                200,
                "Frames `event` with an Event, `gap` with a Gap, and `reset` if the log is shorter than Last-Event-ID; their id is a position.",
                Reply::EventStream,
            )],
            ..get(
                "/v1/tail",
                "tail",
                "query",
                "The matching events after a position, and those that come, as server-sent events",
            )
        },
        Operation {
            replies: &[(
                101,
                "A WebSocket, with the protocol `annals.tail.v1` if it is offered. A browser sends its token as the protocol `annals.token.` and the token \
                 in Base64 for addresses. The first message subscribes; docs/server.md describes the messages.",
                Reply::Socket,
            )],
            ..get(
                "/v1/socket",
                "socket",
                "query",
                "The matching events after a position, and those that come, over a WebSocket, as far as the client grants credit",
            )
        },
    ]
}

fn summaries() -> Vec<Operation> {
    vec![
        Operation {
            parameters: with(&[&["field", "prefix", "listOrder", "limit", "listCursor"], WAITS]),
            replies: &[(200, "A page of the values.", Reply::Json("List"))],
            problems: &[Kind::NotFound, Kind::NotVisible],
            ..get(
                "/v1/lists/{field}",
                "list",
                "summaries",
                "The values of a field, such as all users, with their numbers of events",
            )
        },
        Operation {
            parameters: with(&[FILTERS, &["after", "asOf", "timeZone", "top"], WAITS]),
            replies: &[(200, "The statistics.", Reply::Json("Statistics"))],
            problems: &[Kind::NotVisible],
            ..get(
                "/v1/statistics",
                "statistics",
                "summaries",
                "Counts of the matching events by hour, day, type, organization and user",
            )
        },
        Operation {
            parameters: with(&[FILTERS, &["after", "asOf", "timeZone", "by", "fill"], WAITS]),
            replies: &[(200, "The rows.", Reply::Json("Trend"))],
            problems: &[Kind::NotVisible],
            ..get(
                "/v1/trend",
                "trend",
                "summaries",
                "The number of matching events over time",
            )
        },
        Operation {
            parameters: with(&[FILTERS, &["after", "asOf", "timeZone"], WAITS]),
            replies: &[(
                200,
                "The counts of 24 hours of each weekday, from Monday.",
                Reply::Json("Heatmap"),
            )],
            problems: &[Kind::NotVisible],
            ..get(
                "/v1/heatmap",
                "heatmap",
                "summaries",
                "The number of matching events by weekday and hour",
            )
        },
        Operation {
            parameters: with(&[&["correlationId", "limit"], WAITS]),
            replies: &[(
                200,
                "The first events of the conversation, and their tree.",
                Reply::Json("Trace"),
            )],
            problems: &[Kind::NotFound, Kind::NotVisible],
            ..get(
                "/v1/traces/{correlationId}",
                "trace",
                "summaries",
                "A conversation: what was caused by what",
            )
        },
    ]
}

fn service() -> Vec<Operation> {
    vec![
        Operation {
            replies: &[(200, "What the store holds.", Reply::Json("Store"))],
            ..get(
                "/v1/store",
                "store",
                "service",
                "Positions, durability and memory of the store",
            )
        },
        Operation {
            replies: &[(
                200,
                "The archives, by their first positions. `unnamedEvents` were dropped for reasons that the store does not keep apart any more: some may be in \
                 archives.",
                Reply::Json("Archives"),
            )],
            ..get(
                "/v1/archives",
                "archives",
                "service",
                "The archives that events of the store were moved to",
            )
        },
        Operation {
            replies: &[(200, "The metrics.", Reply::Metrics)],
            ..get(
                "/metrics",
                "metrics",
                "service",
                "Metrics, as OpenMetrics where Accept asks for it, or as the Prometheus text format",
            )
        },
        Operation {
            replies: &[(200, "What the server is.", Reply::Json("Home"))],
            ..get("/", "home", "service", "What the server is, and where its parts are")
        },
        Operation {
            replies: &[(200, "The server answers.", Reply::Json("Health"))],
            ..get("/healthz", "healthz", "service", "Whether the server answers")
        },
        Operation {
            replies: &[(200, "Every store takes appends.", Reply::Json("Health"))],
            problems: &[Kind::Unavailable],
            ..get("/readyz", "readyz", "service", "Whether every store takes appends")
        },
        Operation {
            replies: &[(200, "This document.", Reply::Json("Document"))],
            ..get("/openapi.json", "openapi", "service", "This document")
        },
        Operation {
            replies: &[(200, "Every type.", Reply::Json("ProblemTypes"))],
            ..get("/problems", "problems", "service", "The types of problem documents")
        },
        Operation {
            parameters: with(&[&["name"]]),
            replies: &[(200, "The type.", Reply::Json("ProblemType"))],
            problems: &[Kind::NotFound],
            ..get(
                "/problems/{name}",
                "problem",
                "service",
                "One type of problem documents",
            )
        },
    ]
}
