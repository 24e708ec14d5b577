//! The operations on the parts of a mounted program.

use super::operation::{Body, Operation, Reply, WAITS, get, of, with};
use crate::problem::Kind;

/// The operations on processors.
pub(super) fn processors() -> Vec<Operation> {
    let missing = &[Kind::NotFound];
    vec![
        Operation {
            replies: &[(200, "Every processor.", Reply::Json("Processors"))],
            problems: missing,
            ..get(
                "/v1/processors",
                "processors",
                "processors",
                "The processors of the program",
            )
        },
        Operation {
            parameters: with(&[&["processor"]]),
            replies: &[(200, "The processor.", Reply::Json("Processor"))],
            problems: missing,
            ..get(
                "/v1/processors/{processor}",
                "processor",
                "processors",
                "State, position, lag and last failure of a processor",
            )
        },
        Operation {
            parameters: with(&[&["processor", "pauseTimeout"]]),
            replies: &[
                (200, "The processor does not run.", Reply::Json("Processor")),
                (
                    202,
                    "The processor pauses when its handler has finished the current batch.",
                    Reply::Json("Processor"),
                ),
            ],
            problems: missing,
            ..of(
                "post",
                "/v1/processors/{processor}/pause",
                "pauseProcessor",
                "processors",
                "Pause a processor after its current batch",
            )
        },
        Operation {
            parameters: with(&[&["processor"]]),
            replies: &[(200, "The processor runs.", Reply::Json("Processor"))],
            problems: &[Kind::NotFound, Kind::ProcessorEnded],
            ..of(
                "post",
                "/v1/processors/{processor}/resume",
                "resumeProcessor",
                "processors",
                "Resume a processor that is paused or stopped, after its checkpoint",
            )
        },
    ]
}

/// The operation that waits for a processor.
pub(super) fn wait() -> Operation {
    Operation {
        parameters: with(&[&["processor", "waitPosition", "waitTimeout"]]),
        replies: &[(200, "It has handled its events.", Reply::Json("Processor"))],
        problems: &[Kind::NotFound, Kind::NotReached],
        ..get(
            "/v1/processors/{processor}/wait",
            "waitForProcessor",
            "processors",
            "Wait until a processor has handled the events up to a position, or all that are visible",
        )
    }
}

/// The operations on dead letters.
pub(super) fn dead_letters() -> Vec<Operation> {
    let problems = &[Kind::NotFound, Kind::Unavailable];
    vec![
        Operation {
            parameters: with(&[&["processor", "limit", "letterCursor"]]),
            replies: &[(200, "A page, ascending by position.", Reply::Json("DeadLetters"))],
            problems,
            ..get(
                "/v1/processors/{processor}/dead-letters",
                "deadLetters",
                "processors",
                "The events that a processor could not handle",
            )
        },
        Operation {
            parameters: with(&[&["processor"]]),
            replies: &[(200, "The letters were retried.", Reply::Json("Retried"))],
            problems,
            ..of(
                "post",
                "/v1/processors/{processor}/dead-letters/retry",
                "retryDeadLetters",
                "processors",
                "Call the handler with all dead letters, for at most 20 seconds and the aggregate that is retried then",
            )
        },
        Operation {
            parameters: with(&[&["processor", "position"]]),
            replies: &[(
                200,
                "The letters of the aggregate were retried.",
                Reply::Json("Retried"),
            )],
            problems,
            ..of(
                "post",
                "/v1/processors/{processor}/dead-letters/{position}/retry",
                "retryDeadLetter",
                "processors",
                "Call the handler with the dead letters of this letter's aggregate, in order",
            )
        },
        Operation {
            parameters: with(&[&["processor", "position"]]),
            replies: &[(200, "The letter is dropped.", Reply::Json("Discarded"))],
            problems,
            ..of(
                "post",
                "/v1/processors/{processor}/dead-letters/{position}/discard",
                "discardDeadLetter",
                "processors",
                "Drop a dead letter: its event is not handled",
            )
        },
    ]
}

/// What a handler can answer with, beside what every operation can.
const OF_HANDLERS: &[Kind] = &[
    Kind::NotFound,
    Kind::ReadOnly,
    Kind::VersionConflict,
    Kind::ConditionFailed,
    Kind::EventKnown,
    Kind::MessageConflict,
    Kind::Gone,
    Kind::KeyReused,
    Kind::MessageRefused,
    Kind::Full,
    Kind::Backlog,
    Kind::JournalFailed,
    Kind::Unsupported,
    Kind::Unavailable,
];

/// The operations on buses.
pub(super) fn messages() -> Vec<Operation> {
    vec![
        Operation {
            replies: &[(200, "Every command.", Reply::Json("Commands"))],
            problems: &[Kind::NotFound],
            ..get("/v1/commands", "commands", "messages", "The commands of the program")
        },
        Operation {
            parameters: with(&[&["command", "messageKey", "correlationHeader", "causationHeader"]]),
            body: Some(Body::Json("Message")),
            replies: &[(200, "The reply of the handler.", Reply::Json("MessageReply"))],
            problems: OF_HANDLERS,
            ..of(
                "post",
                "/v1/commands/{command}",
                "command",
                "messages",
                "Send a command to its handler",
            )
        },
        Operation {
            replies: &[(200, "Every query.", Reply::Json("Queries"))],
            problems: &[Kind::NotFound],
            ..get("/v1/queries", "queries", "messages", "The queries of the program")
        },
        Operation {
            parameters: with(&[&["messageQuery", "correlationHeader", "causationHeader"]]),
            body: Some(Body::Json("Message")),
            replies: &[(200, "The reply of the handler.", Reply::Json("MessageReply"))],
            problems: OF_HANDLERS,
            ..of(
                "post",
                "/v1/queries/{query}",
                "messageQuery",
                "messages",
                "Send a query to its handler",
            )
        },
    ]
}

/// The operations on the states of aggregates.
pub(super) fn states() -> Vec<Operation> {
    vec![Operation {
        parameters: with(&[&["aggregateId", "stateVersion"], WAITS]),
        replies: &[(200, "The state.", Reply::Json("AggregateState"))],
        problems: &[
            Kind::NotFound,
            Kind::NotVisible,
            Kind::NoState,
            Kind::Gone,
            Kind::Unavailable,
        ],
        ..get(
            "/v1/streams/{aggregateId}/state",
            "state",
            "streams",
            "The state that the program folds from the events of an aggregate",
        )
    }]
}

/// The operations on sagas.
pub(super) fn sagas() -> Vec<Operation> {
    let problems = &[Kind::NotFound, Kind::Unavailable];
    let changing = &[Kind::NotFound, Kind::Unavailable, Kind::SagaNotRunning];
    let changed = &[(
        200,
        "The instance, and whether it was changed.",
        Reply::Json("ChangedSaga"),
    )];
    vec![
        Operation {
            replies: &[(200, "Every saga.", Reply::Json("Sagas"))],
            problems: &[Kind::NotFound],
            ..get("/v1/sagas", "sagas", "sagas", "The sagas of the program")
        },
        Operation {
            parameters: with(&[&["saga", "stuck", "limit", "sagaCursor"]]),
            replies: &[(200, "A page, ascending by key.", Reply::Json("SagaInstances"))],
            problems,
            ..get(
                "/v1/sagas/{saga}/instances",
                "sagaInstances",
                "sagas",
                "The instances of a saga that have not ended",
            )
        },
        Operation {
            parameters: with(&[&["saga", "sagaKey"]]),
            replies: &[(200, "The instance.", Reply::Json("SagaInstance"))],
            problems,
            ..get(
                "/v1/sagas/{saga}/instances/{key}",
                "sagaInstance",
                "sagas",
                "The last run of an instance, also one that has ended",
            )
        },
        Operation {
            parameters: with(&[&["saga", "sagaKey"]]),
            replies: changed,
            problems: changing,
            ..of(
                "post",
                "/v1/sagas/{saga}/instances/{key}/retry",
                "retrySaga",
                "sagas",
                "Make a stuck instance send its command again",
            )
        },
        Operation {
            parameters: with(&[&["saga", "sagaKey"]]),
            body: Some(Body::Json("Reason")),
            replies: changed,
            problems: changing,
            ..of(
                "post",
                "/v1/sagas/{saga}/instances/{key}/abandon",
                "abandonSaga",
                "sagas",
                "End an instance without sending or compensating anything more",
            )
        },
    ]
}
