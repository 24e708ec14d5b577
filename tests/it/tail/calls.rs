//! The calls of a tail: with deadlines, by the batch, and cancelled.

use std::time::Instant;

use annals::{Delivery, Position, Query, Store, Tail, TailStream};
use futures_util::StreamExt;

use super::{LONG, follow, position};
use crate::support::fill;

fn positions(batch: Vec<Delivery>) -> Vec<u64> {
    batch
        .into_iter()
        .filter_map(|delivery| position(Some(delivery)))
        .collect()
}

#[test]
fn a_deadline_in_the_past_does_not_wait() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0);
    let past = Instant::now();
    assert_eq!(tail.next_before(past), None);
    fill(&store, "a", 2);
    assert_eq!(position(tail.next_before(past)), Some(1));
    assert_eq!(position(tail.next_before(past + LONG)), Some(2));
    assert_eq!(tail.next_before(past), None);
    assert_eq!(tail.position(), Position(2));
}

#[test]
fn a_deadline_is_met_by_an_append() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| fill(&store, "a", 1));
        assert_eq!(position(tail.next_before(Instant::now() + LONG)), Some(1));
    });
}

#[test]
fn a_batch_of_none_is_empty_at_once() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0);
    assert_eq!((tail.next_batch(0), tail.try_batch(0)), (vec![], vec![]));
    fill(&store, "a", 1);
    assert_eq!((tail.next_batch(0), tail.try_batch(0)), (vec![], vec![]));
    assert_eq!(position(tail.next()), Some(1));
}

type Take = fn(&mut Tail, usize) -> Vec<Delivery>;

#[test]
fn batches_hold_everything_once_and_in_order() {
    let store = Store::in_memory();
    fill(&store, "a", 10_000);
    let calls: [(&str, Take); 2] = [("next", Tail::next_batch), ("try", Tail::try_batch)];
    for (name, take) in calls {
        for max in [1, 3, 255, 256, 257, 4_096, 4_097, usize::MAX] {
            let mut tail = follow(&store, if max == 1 { 9_000 } else { 0 });
            let (mut seen, first) = (Vec::new(), tail.position().0 + 1);
            while !tail.is_caught_up() {
                let batch = positions(take(&mut tail, max));
                assert!(
                    (1..=max.min(4_096)).contains(&batch.len()),
                    "{name} {max}: {}",
                    batch.len()
                );
                seen.extend(batch);
                assert_eq!(tail.position().0, seen[seen.len() - 1], "{name} {max}");
            }
            assert_eq!(seen, (first..=10_000).collect::<Vec<_>>(), "{name} {max}");
            assert_eq!(tail.try_batch(max), []);
        }
    }
}

#[test]
fn a_batch_begins_with_what_single_calls_left() {
    let store = Store::in_memory();
    fill(&store, "a", 400);
    let mut tail = follow(&store, 0);
    assert_eq!(position(tail.next()), Some(1));
    assert_eq!(positions(tail.try_batch(300)), (2..=301).collect::<Vec<_>>());
    assert_eq!(position(tail.try_next()), Some(302));
    assert_eq!(positions(tail.next_batch(usize::MAX)), (303..=400).collect::<Vec<_>>());
}

#[test]
fn a_batch_waits_for_one_delivery_and_for_no_more() {
    let store = Store::in_memory();
    let mut tail = follow(&store, 0);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| positions(tail.next_batch(usize::MAX)));
        fill(&store, "a", 1);
        assert_eq!(waiter.join().expect("it ends"), [1]);
    });
    store.close().expect("closed");
    assert_eq!(tail.next_batch(usize::MAX), []);
}

#[test]
fn batches_have_gaps_too() {
    let store = crate::support::keeping(10);
    fill(&store, "a", 100);
    let batch = follow(&store, 0).try_batch(100);
    assert!(matches!(batch[0], Delivery::Gap(_)));
    let Delivery::Gap(gap) = &batch[0] else { return };
    assert_eq!(gap.count + positions(batch.clone()).len() as u64, 100);
}

type Wait = fn(&mut Tail) -> Option<Delivery>;

/// Every call that waits, by its name.
const WAITING: [(&str, Wait); 4] = [
    ("next", Iterator::next),
    ("next_timeout", |tail| tail.next_timeout(LONG)),
    ("next_before", |tail| tail.next_before(Instant::now() + LONG)),
    ("next_batch", |tail| tail.next_batch(10).pop()),
];

#[test]
fn a_tail_is_cancelled_from_another_thread() {
    let store = Store::in_memory();
    fill(&store, "a", 1);
    for ((name, wait), round) in WAITING.into_iter().cycle().zip(0..200) {
        let mut tail = follow(&store, 0);
        let cancel = tail.cancel_handle();
        let (started, waits) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            started.send(position(wait(&mut tail))).expect("the test listens");
            (wait(&mut tail), wait(&mut tail), tail.position())
        });
        assert_eq!(waits.recv(), Ok(Some(1)), "{name}");
        // From hardly blocked to blocked for certain.
        (0..round).for_each(|_| std::thread::yield_now());
        cancel.clone().cancel();
        cancel.cancel();
        assert_eq!(waiter.join().expect("it ends"), (None, None, Position(1)), "{name}");
    }
}

#[test]
fn a_tail_is_cancelled_before_it_is_read() {
    let store = Store::in_memory();
    fill(&store, "a", 3);
    for (name, wait) in WAITING {
        let mut tail = follow(&store, 0);
        let cancel = tail.cancel_handle();
        assert!(!cancel.is_cancelled());
        cancel.cancel();
        assert!(cancel.is_cancelled());
        assert_eq!(
            (wait(&mut tail), tail.try_next(), tail.try_batch(5)),
            (None, None, vec![]),
            "{name}"
        );
        assert_eq!(tail.position(), Position(0), "{name}");
    }
}

#[test]
fn what_was_ready_is_not_delivered_after_a_cancellation() {
    let store = Store::in_memory();
    fill(&store, "a", 10);
    let mut tail = follow(&store, 0);
    assert_eq!(position(tail.next()), Some(1));
    tail.cancel_handle().cancel();
    assert_eq!((tail.next(), tail.position()), (None, Position(1)));
    // Another goes on from there.
    assert_eq!(position(follow(&store, tail.position().0).next()), Some(2));
}

#[test]
fn a_cancel_handle_outlives_its_tail_and_store() {
    let store = Store::in_memory();
    let tail = store.tail(Query::all(), Position(0)).expect("valid");
    let (first, second) = (tail.cancel_handle(), tail.cancel_handle());
    drop(tail);
    first.cancel();
    drop(store);
    second.cancel();
    assert!(second.is_cancelled());
}

#[test]
fn a_cancelled_tail_disturbs_no_other() {
    let store = Store::in_memory();
    let mut other = follow(&store, 0);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| position(other.next()));
        for _ in 0..100 {
            follow(&store, 0).cancel_handle().cancel();
        }
        fill(&store, "a", 1);
        assert_eq!(waiter.join().expect("it ends"), Some(1));
    });
}

#[test]
fn tails_cancelled_while_the_store_closes_all_end() {
    for round in 0..40 {
        let store = Store::in_memory();
        fill(&store, "a", 300);
        let mut tails: Vec<_> = (0..4)
            .map(|_| follow(&store, if round % 2 == 0 { 300 } else { 0 }))
            .collect();
        let streams: Vec<_> = (0..4).map(|_| follow(&store, 300).into_stream()).collect();
        let handles: Vec<_> = tails.iter().map(Tail::cancel_handle).collect();
        let of_streams: Vec<_> = streams.iter().map(TailStream::cancel_handle).collect();
        std::thread::scope(|scope| {
            for tail in &mut tails {
                scope.spawn(move || tail.by_ref().count());
            }
            for stream in streams {
                scope.spawn(move || futures_executor::block_on(stream.count()));
            }
            for cancel in handles.iter().chain(&of_streams) {
                scope.spawn(move || cancel.cancel());
            }
            scope.spawn(|| store.close());
        });
        assert!(
            tails
                .iter_mut()
                .all(|tail| tail.next().is_none() && tail.next_batch(9).is_empty())
        );
        drop((tails, store));
        for cancel in &handles {
            cancel.cancel();
            assert!(cancel.is_cancelled());
        }
    }
}

#[test]
fn odd_positions_and_sizes_end_no_tail_with_a_panic() {
    let store = Store::in_memory();
    fill(&store, "a", 3);
    for after in [0, 3, 4, 1 << 40, u64::MAX - 1, u64::MAX] {
        for until in [0, 1, 3, u64::MAX] {
            let query = Query::all().until(Position(until));
            let mut tail = store.tail(query, Position(after)).expect("the query is valid");
            let count = tail.try_batch(usize::MAX).len() as u64;
            assert_eq!(count, until.min(3).saturating_sub(after));
            assert_eq!(tail.try_next(), None);
            assert_eq!(tail.next_before(Instant::now()), None);
            assert!(tail.position().0 >= after);
            tail.cancel_handle().cancel();
            assert_eq!(tail.next_timeout(std::time::Duration::MAX), None);
        }
    }
}

#[test]
fn a_tail_that_skips_delivers_what_comes_after() {
    let store = Store::in_memory();
    fill(&store, "a", 600);
    // Before the tail has taken events, with events at hand, to where it is, and beyond the log.
    for (delivered, to, next) in [
        (0, 5, 6),
        (3, 10, 11),
        (3, 400, 401),
        (7, 3, 8),
        (7, 7, 8),
        (0, 599, 600),
    ] {
        let mut tail = follow(&store, 0);
        assert_eq!((&mut tail).take(delivered).count(), delivered);
        tail.skip_to(Position(to));
        assert_eq!(tail.position(), Position(next - 1), "{delivered} {to}");
        assert_eq!(position(tail.try_next()), Some(next), "{delivered} {to}");
    }
    let mut tail = follow(&store, 0);
    tail.skip_to(Position(601));
    fill(&store, "b", 2);
    assert_eq!(position(tail.next()), Some(602));
    tail.skip_to(Position(u64::MAX));
    assert_eq!((tail.try_next(), tail.is_caught_up()), (None, true));
}
