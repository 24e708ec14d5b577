//! Logs that lost their beginning or their end, empty logs, forks, and logs that are written while they are verified.

use std::ops::ControlFlow;

use annals::cqrs::audit::{AuditChain, Verify, VerifyError};
use annals::{Expected, Position, Store};

use super::{entries, head, key, log, rich, verify, verify_entries};
use crate::support::{events, fill, keeping, stream};

#[test]
fn a_log_without_its_end_passed() {
    let store = Store::in_memory();
    rich(&store, 2_500);
    let (head, whole) = (head(&store), entries(&log(&store)));
    for left in [2_499, 2_100, 2_048, 2_047, 1_024, 500, 1, 0] {
        let fault = verify_entries(&whole[..left], &head).expect_err("the end is gone");
        let expected = VerifyError::CutAtEnd {
            last: Position(left as u64),
            expected: Position(2_500),
        };
        assert_eq!(fault, expected);
    }
    // A store that was restored from an earlier copy, and one that went on after that.
    let copy = Store::in_memory();
    rich(&copy, 10);
    let fault = verify(&copy, &head).expect_err("another store");
    assert!(matches!(fault, VerifyError::OtherStore { .. }), "{fault}");
}

#[test]
fn a_log_without_its_beginning_passed() {
    let store = Store::in_memory();
    rich(&store, 2_500);
    let (head, whole) = (head(&store), entries(&log(&store)));
    for gone in [1, 2, 1_023, 1_024, 1_025, 2_048, 2_499] {
        let fault = verify_entries(&whole[gone..], &head).expect_err("the beginning is gone");
        let expected = VerifyError::CutAtStart {
            first: Position(gone as u64 + 1),
            expected: Position(1),
        };
        assert_eq!(fault, expected);
    }
}

#[test]
fn dropping_the_oldest_events_without_an_anchor_passed() {
    let store = keeping(1_500);
    fill(&store, "a", 1_400);
    let head = head(&store);
    verify(&store, &head).expect("all is there");
    fill(&store, "a", 700);
    let fault = verify(&store, &head).expect_err("the beginning is gone");
    assert!(matches!(fault, VerifyError::CutAtStart { .. }), "{fault}");
}

#[test]
fn a_log_that_ends_before_the_head_and_went_on_passed() {
    let store = Store::in_memory();
    rich(&store, 100);
    let fork = store.fork();
    rich(&store, 50);
    let head = head(&store);
    verify(&store, &head).expect("it is this log");
    let fault = verify(&fork, &head).expect_err("the fork has 100 events");
    assert!(matches!(fault, VerifyError::CutAtEnd { .. }), "{fault}");
    // The fork goes its own way past the head.
    rich(&fork, 60);
    let fault = verify(&fork, &head).expect_err("the fork has other events");
    assert_eq!(
        fault,
        VerifyError::Changed {
            first: Position(1),
            last: Position(150)
        }
    );
}

#[test]
fn an_empty_log_and_one_event_are_logs() {
    let store = Store::in_memory();
    let empty = head(&store);
    assert_eq!(
        (empty.store, empty.tip.count, empty.tip.position),
        (None, 0, Position(0))
    );
    let verified = verify(&store, &empty).expect("nothing is there");
    assert_eq!((verified.count, verified.last), (0, Position(0)));

    fill(&store, "a", 1);
    let one = head(&store);
    assert_eq!(verify(&store, &one).expect("one event").count, 1);
    // The empty head says nothing of later events.
    assert_eq!(verify(&store, &empty).expect("nothing was there").visible, Position(1));
    let fault = verify(&Store::in_memory(), &one).expect_err("the event is gone");
    assert!(matches!(fault, VerifyError::CutAtEnd { .. }), "{fault}");
}

#[test]
fn events_that_are_appended_meanwhile_changed_the_result() {
    let store = Store::in_memory();
    for _ in 0..4 {
        fill(&store, "a", 10_000);
    }
    let head = head(&store);
    let mut reports = Vec::new();
    let key = key().public();
    let verified = Verify::new(&head, &key)
        .on_progress(|done, total| {
            fill(&store, "b", 100);
            reports.push((done.0, total.0));
            ControlFlow::Continue(())
        })
        .run(&store)
        .expect("the log is whole");
    assert_eq!((verified.last, verified.count), (Position(40_000), 40_000));
    assert_eq!(reports, [(16_384, 40_000), (32_768, 40_000)]);
    let stopped = Verify::new(&head, &key)
        .on_progress(|_, _| ControlFlow::Break(()))
        .run(&store);
    assert_eq!(
        stopped,
        Err(VerifyError::Stopped {
            after: Position(16_384)
        })
    );
}

#[test]
fn a_follower_crossed_a_gap_without_a_word() {
    let store = keeping(100);
    fill(&store, "a", 80);
    let mut chain = AuditChain::of(&store).expect("nothing is dropped");
    fill(&store, "a", 80);
    // It has read 1 to 80, and 61 to 160 are there.
    chain.read(&store).expect("it saw every event");
    assert_eq!((chain.count(), chain.position()), (160, Position(160)));
    let before = chain.head(&key(), store.now());

    fill(&store, "a", 150);
    let fault = chain.read(&store).expect_err("161 to 210 are gone");
    let VerifyError::Crossed { after, gap } = &fault else {
        panic!("{fault}");
    };
    assert_eq!((*after, gap.last), (Position(160), Position(210)));
    // It stays where it was, and so does a new one.
    assert_eq!(chain.position(), Position(160));
    assert_eq!(chain.head(&key(), store.now()).tip, before.tip);
    assert!(matches!(AuditChain::of(&store), Err(VerifyError::Crossed { .. })));

    // Truncation and deletion are gaps too.
    for drop in [true, false] {
        let store = Store::in_memory();
        let appended = store.append(&stream("a"), Expected::Any, events(10)).expect("appended");
        if drop {
            store.truncate_before("a", annals::Version(6)).expect("truncated");
        } else {
            store.delete("a", Expected::Any).expect("deleted");
        }
        assert_eq!(appended.last_position, Position(10));
        assert!(
            matches!(AuditChain::of(&store), Err(VerifyError::Crossed { .. })),
            "{drop}"
        );
    }
}
