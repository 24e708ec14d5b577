//! The operations of the test API.

use super::operation::{Body, Operation, Reply, get, of, with};
use crate::problem::Kind;

/// The operations for test suites.
pub(super) fn namespaces() -> Vec<Operation> {
    let done = &[(200, "Done.", Reply::Json("Namespace"))];
    vec![
        Operation {
            parameters: with(&[&["seed", "now"]]),
            replies: done,
            ..of(
                "post",
                "/v1/test/reset",
                "testReset",
                "test",
                "Empty a namespace, or make it",
            )
        },
        Operation {
            replies: done,
            ..of(
                "delete",
                "/v1/test",
                "testRemove",
                "test",
                "Remove a namespace, with its snapshots",
            )
        },
        Operation {
            replies: &[(201, "The copy is kept.", Reply::Json("Snapshot"))],
            ..of(
                "post",
                "/v1/test/snapshots",
                "testSnapshot",
                "test",
                "Keep a copy of a namespace as it is now",
            )
        },
        Operation {
            parameters: with(&[&["snapshot"]]),
            replies: done,
            problems: &[Kind::NotFound],
            ..of(
                "post",
                "/v1/test/snapshots/{snapshot}/restore",
                "testRestore",
                "test",
                "Make a namespace what it was when a copy was kept",
            )
        },
        Operation {
            parameters: with(&[&["forkName"]]),
            replies: &[(201, "The namespace is there.", Reply::Json("Namespace"))],
            ..of(
                "post",
                "/v1/test/fork/{name}",
                "testFork",
                "test",
                "Make a namespace of a copy of this one",
            )
        },
    ]
}

/// The operations on the clocks of namespaces.
pub(super) fn clocks() -> Vec<Operation> {
    vec![
        Operation {
            replies: &[(200, "The clock.", Reply::Json("Clock"))],
            ..get("/v1/test/clock", "testClock", "test", "The clock of a namespace")
        },
        Operation {
            body: Some(Body::Json("ClockTime")),
            replies: &[(200, "The clock.", Reply::Json("Clock"))],
            ..of(
                "put",
                "/v1/test/clock",
                "testSetClock",
                "test",
                "Set the clock of a namespace, which stands still from then on",
            )
        },
        Operation {
            body: Some(Body::Json("ClockStep")),
            replies: &[(200, "The clock.", Reply::Json("Clock"))],
            ..of(
                "post",
                "/v1/test/clock/advance",
                "testAdvanceClock",
                "test",
                "Move the clock of a namespace forwards",
            )
        },
    ]
}

/// The operations on the rules of faults.
pub(super) fn faults() -> Vec<Operation> {
    let done = &[(200, "Done.", Reply::Json("Namespace"))];
    vec![
        Operation {
            replies: &[(
                200,
                "The rules, in the order in which they are tried.",
                Reply::Json("FaultRules"),
            )],
            ..get(
                "/v1/test/faults",
                "testFaults",
                "test",
                "The rules by which requests fail",
            )
        },
        Operation {
            body: Some(Body::Json("NewFaultRule")),
            replies: &[(201, "The rule, with its number.", Reply::Json("FaultRule"))],
            ..of(
                "post",
                "/v1/test/faults",
                "testAddFault",
                "test",
                "Make the next requests to the namespace fail",
            )
        },
        Operation {
            replies: done,
            ..of(
                "delete",
                "/v1/test/faults",
                "testClearFaults",
                "test",
                "Delete every rule: no request fails any more",
            )
        },
        Operation {
            parameters: with(&[&["rule"]]),
            replies: done,
            problems: &[Kind::NotFound],
            ..of(
                "delete",
                "/v1/test/faults/{rule}",
                "testRemoveFault",
                "test",
                "Delete a rule",
            )
        },
    ]
}

/// The operations that wait, and that tell what happened.
pub(super) fn observations() -> Vec<Operation> {
    vec![
        Operation {
            parameters: with(&[&["waitPosition", "waitGroup", "waitTimeout"]]),
            replies: &[(200, "What was waited for is there.", Reply::Json("Reached"))],
            problems: &[
                Kind::NotFound,
                Kind::NotReached,
                Kind::ReadOnly,
                Kind::VersionConflict,
                Kind::Gone,
                Kind::Full,
                Kind::Backlog,
                Kind::JournalFailed,
                Kind::Unsupported,
                Kind::Unavailable,
                Kind::GroupStopped,
            ],
            ..get(
                "/v1/test/wait",
                "testWait",
                "test",
                "Wait until a position is visible, and until groups have handled their events",
            )
        },
        Operation {
            parameters: with(&[&["timelineAfter", "limit"]]),
            replies: &[(200, "The entries, in order.", Reply::Lines("Timeline", "TimelineEntry"))],
            problems: &[Kind::NotAcceptable],
            ..get(
                "/v1/test/timeline",
                "testTimeline",
                "test",
                "What happened in a namespace: the newest 1,000 entries",
            )
        },
    ]
}
