//! The operations on groups of consumers.

use super::operation::{Body, Operation, Reply, get, of, with};
use crate::problem::Kind;

/// What an operation on a group can answer with, which may have to open the group or to store something.
const PROBLEMS: &[Kind] = &[
    Kind::NotFound,
    Kind::ReadOnly,
    Kind::VersionConflict,
    Kind::Gone,
    Kind::Full,
    Kind::Backlog,
    Kind::JournalFailed,
    Kind::Unsupported,
    Kind::Unavailable,
    Kind::GroupStopped,
];

/// The operations on groups as a whole.
pub(super) fn groups() -> Vec<Operation> {
    let group = &[(200, "The group.", Reply::Json("Group"))];
    vec![
        Operation {
            replies: &[(200, "Every group.", Reply::Json("Groups"))],
            ..get(
                "/v1/groups",
                "groups",
                "groups",
                "The groups of consumers of a namespace",
            )
        },
        Operation {
            parameters: with(&[&["group"]]),
            replies: group,
            problems: &[Kind::NotFound],
            ..get(
                "/v1/groups/{group}",
                "group",
                "groups",
                "Definition, place and lag of a group",
            )
        },
        Operation {
            parameters: with(&[&["group"]]),
            body: Some(Body::Json("NewGroup")),
            replies: &[
                (201, "The group is defined.", Reply::Json("Group")),
                (
                    200,
                    "The group was there. If its definition is another one now, what consumers hold is lost and delivered again.",
                    Reply::Json("Group"),
                ),
            ],
            problems: PROBLEMS,
            ..of(
                "put",
                "/v1/groups/{group}",
                "defineGroup",
                "groups",
                "Define a group of consumers",
            )
        },
        Operation {
            parameters: with(&[&["group"]]),
            replies: &[(200, "The group is deleted.", Reply::Json("GroupName"))],
            problems: PROBLEMS,
            ..of(
                "delete",
                "/v1/groups/{group}",
                "deleteGroup",
                "groups",
                "Delete a group with its place and its dead letters",
            )
        },
        Operation {
            parameters: with(&[&["group"]]),
            replies: group,
            problems: PROBLEMS,
            ..of(
                "post",
                "/v1/groups/{group}/resume",
                "resumeGroup",
                "groups",
                "Resume a group after its place; what consumers hold is delivered again",
            )
        },
    ]
}

/// The operations of consumers.
pub(super) fn consumption() -> Vec<Operation> {
    let settled = &[(
        200,
        "The leases are settled, but for those that have ended.",
        Reply::Json("Settled"),
    )];
    vec![
        Operation {
            parameters: with(&[&["group", "takeLimit", "wait"]]),
            replies: &[(200, "The events, each with its lease.", Reply::Json("TakenEvents"))],
            problems: PROBLEMS,
            ..of(
                "post",
                "/v1/groups/{group}/take",
                "takeEvents",
                "groups",
                "Take events, which no other consumer gets while the lease lasts",
            )
        },
        Operation {
            parameters: with(&[&["group"]]),
            body: Some(Body::Json("Ack")),
            replies: settled,
            problems: PROBLEMS,
            ..of(
                "post",
                "/v1/groups/{group}/ack",
                "ackEvents",
                "groups",
                "Acknowledge events",
            )
        },
        Operation {
            parameters: with(&[&["group"]]),
            body: Some(Body::Json("Nack")),
            replies: settled,
            problems: PROBLEMS,
            ..of(
                "post",
                "/v1/groups/{group}/nack",
                "nackEvents",
                "groups",
                "Give events back: to be delivered again, parked or skipped",
            )
        },
    ]
}

/// The operations on the dead letters of groups.
pub(super) fn letters() -> Vec<Operation> {
    vec![
        Operation {
            parameters: with(&[&["group", "limit", "letterCursor"]]),
            replies: &[(200, "A page, ascending by position.", Reply::Json("DeadLetters"))],
            problems: PROBLEMS,
            ..get(
                "/v1/groups/{group}/dead-letters",
                "groupDeadLetters",
                "groups",
                "The events that the consumers of a group could not handle",
            )
        },
        Operation {
            parameters: with(&[&["group", "replayAggregate"]]),
            replies: &[(200, "The letters will be delivered again.", Reply::Json("Replayed"))],
            problems: PROBLEMS,
            ..of(
                "post",
                "/v1/groups/{group}/dead-letters/replay",
                "replayGroupDeadLetters",
                "groups",
                "Deliver dead letters again: of one aggregate, or of aggregates until there are 1,000",
            )
        },
        Operation {
            parameters: with(&[&["group", "position"]]),
            replies: &[(200, "The letter is dropped.", Reply::Json("Discarded"))],
            problems: PROBLEMS,
            ..of(
                "post",
                "/v1/groups/{group}/dead-letters/{position}/discard",
                "discardGroupDeadLetter",
                "groups",
                "Drop a dead letter: its event is not delivered again",
            )
        },
    ]
}
