//! The operations of the test API.

use super::operations::{Body, Operation, Reply, get, of, with};
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
