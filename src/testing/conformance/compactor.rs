//! The rules for a compactor. A journal without a compactor must retain every event; the other rules do not concern it.

use uuid::Uuid;

use super::{Storage, Taker, batch, close, events, open, plain, write, write_all};
use crate::journal::{Batch, CompactionStep, Compactor, Journal, JournalErrorKind, Part, PurgeSet, Record};
use crate::{Durability, Gap, GapReason, Position, Version};

/// The events of `part` whose positions are no multiples of three.
fn two_of_three(part: &Part) -> PurgeSet {
    let there = (part.first.0..=part.last.0).filter(|position| position.is_multiple_of(3));
    let why = Gap {
        first: part.first,
        last: part.last,
        count: 1,
        reason: GapReason::Budget,
    };
    PurgeSet::new((part.first, part.last), there.map(Position), [why])
}

#[expect(
    clippy::expect_used,
    reason = "a rule that does not hold fails the test that runs this"
)]
fn compact(compactor: &mut dyn Compactor, part: &Part) {
    let purge = two_of_three(part);
    while compactor.compact(part, &purge).expect("a part is compacted") == CompactionStep::More {}
}

#[expect(clippy::expect_used, reason = "as above")]
fn seal(compactor: &mut dyn Compactor) -> Vec<Part> {
    compactor.seal().expect("the open part is sealed");
    compactor.parts()
}

/// Seals and compacts everything; whether there is a compactor.
fn compact_all(journal: &mut dyn Journal) -> bool {
    let Some(compactor) = journal.compactor() else {
        return false;
    };
    for part in seal(compactor) {
        compact(compactor, &part);
    }
    true
}

#[expect(clippy::expect_used, reason = "as above")]
fn recover(storage: &dyn Storage) -> (Box<dyn Journal>, Taker) {
    let mut journal = storage.open().expect("the journal opens");
    let mut taker = Taker::default();
    journal.recover(&mut taker).expect("the journal is recovered");
    (journal, taker)
}

fn positions(taker: &Taker) -> Vec<u64> {
    taker.events.iter().map(|event| event.position().0).collect()
}

/// Compaction purges dropped events: recovery skips them, with the reason and with the version of their aggregate. A journal without a
/// compactor retains everything.
#[expect(clippy::expect_used, reason = "as above")]
pub fn what_is_gone_is_skipped_and_the_rest_comes_back(storage: &dyn Storage) {
    let batches = [batch(1, 100), batch(101, 51)];
    let (mut journal, _) = open(storage);
    write_all(&mut *journal, &batches);
    let is_compacted = compact_all(&mut *journal);
    close(journal);
    storage.lose_machine();
    let (journal, taker) = recover(storage);
    let mut expected = events(&batches);
    expected.retain(|event| !is_compacted || event.position().0.is_multiple_of(3));
    let kept = journal.durability() == Durability::Synced;
    assert!(expected.starts_with(&taker.events) && (taker.events.len() == expected.len() || !kept));
    assert_eq!(taker.told, taker.skipped, "the gaps count as many events as are gone");
    if is_compacted {
        assert_eq!((taker.skipped, taker.events.len()), (101, 50));
        let last = taker.marks.last().expect("what is left of the last event");
        assert_eq!((last.position, last.version), (Position(151), Version(151)));
        assert_eq!(last.aggregate_id, "order-1");
    }
}

/// After a seal the parts are in order, do not overlap, and cover every written event.
pub fn parts_cover_every_event_after_a_seal(storage: &dyn Storage) {
    let (mut journal, _) = open(storage);
    let Some(compactor) = journal.compactor() else { return };
    assert_eq!(seal(compactor), [], "an empty journal has no part with an event");
    for last in [1, 700, 9_000] {
        let first = written(&mut *journal) + 1;
        write(&mut *journal, &batch(first, last + 1 - first));
        let Some(compactor) = journal.compactor() else { return };
        let parts = seal(compactor);
        assert!(
            parts.iter().all(|part| part.first <= part.last && part.bytes > 0),
            "{parts:?}"
        );
        assert!(parts.windows(2).all(|two| two[0].last < two[1].first), "{parts:?}");
        let covers = |position| {
            parts
                .iter()
                .any(|part| (part.first.0..=part.last.0).contains(&position))
        };
        assert!((1..=last).all(covers), "{parts:?} do not cover positions 1 to {last}");
        assert_eq!(parts.iter().map(|part| part.events).sum::<u64>(), last, "{parts:?}");
    }
}

/// The last position that the parts of a sealed journal cover.
fn written(journal: &mut dyn Journal) -> u64 {
    let parts = journal.compactor().map(|compactor| compactor.parts());
    parts
        .and_then(|parts| parts.last().map(|part| part.last.0))
        .unwrap_or(0)
}

/// A change of an aggregate is retained, although the set does not list it, and is not counted by its part.
pub fn changes_of_aggregates_survive_compaction(storage: &dyn Storage) {
    let mut changed = Batch::new();
    for position in 1..=6 {
        let is_change = position == 2 || position == 5;
        changed.push(&Record {
            position: Position(position),
            version: Version(position),
            id: Uuid::from_u64_pair(2, position),
            event_type: if is_change { "$truncated" } else { "OrderPlaced" },
            aggregate_id: if is_change { "$order-1" } else { "order-1" },
            data: b"{\"toVersion\":1}",
            ..plain()
        });
    }
    let (mut journal, _) = open(storage);
    write(&mut *journal, &changed);
    let counted = journal
        .compactor()
        .map(|compactor| seal(compactor).iter().map(|part| part.events).sum());
    let is_compacted = compact_all(&mut *journal);
    close(journal);
    let (_journal, taker) = recover(storage);
    if is_compacted {
        assert_eq!(counted, Some(4_u64), "the events of the part that can be purged");
        assert_eq!(positions(&taker), [2, 3, 5, 6]);
    }
}

/// A compaction that a crash ends has lost no retained event, tells every purged one by a gap, and can be repeated.
#[expect(clippy::expect_used, reason = "as above")]
pub fn a_compaction_that_ends_early_loses_nothing(storage: &dyn Storage) {
    let batches: Vec<_> = (0..40).map(|number| batch(1 + number * 250, 250)).collect();
    let (mut journal, _) = open(storage);
    write_all(&mut *journal, &batches);
    let Some(compactor) = journal.compactor() else { return };
    let parts = seal(compactor);
    let first = parts.first().expect("a part");
    compactor.compact(first, &two_of_three(first)).expect("a step");
    storage.lose_process();
    drop(journal);
    let (mut journal, taker) = recover(storage);
    check_retained(first, &positions(&taker));
    assert_eq!(taker.told, taker.skipped, "the gaps count as many events as are gone");
    compact_all(&mut *journal);
    close(journal);
    let (_journal, taker) = recover(storage);
    assert!(positions(&taker).into_iter().eq((3..=10_000).step_by(3)));
    assert_eq!(taker.told, taker.skipped);
}

/// Asserts that everything is there except events of the first part that were to be purged.
fn check_retained(first: &Part, there: &[u64]) {
    let may_lack = |at: u64| at <= first.last.0 && !at.is_multiple_of(3);
    let lost: Vec<_> = (1..=10_000)
        .filter(|at| !there.contains(at) && !may_lack(*at))
        .collect();
    assert!(lost.is_empty(), "retained events are lost: {lost:?}");
}

/// A compacted journal accepts the next batch, also after it was opened again.
pub fn a_compacted_journal_accepts_the_next_batch(storage: &dyn Storage) {
    let (mut journal, _) = open(storage);
    write(&mut *journal, &batch(1, 10));
    let is_compacted = compact_all(&mut *journal);
    write(&mut *journal, &batch(11, 1));
    close(journal);
    let (mut journal, _) = recover(storage);
    write(&mut *journal, &batch(12, 1));
    close(journal);
    let (_journal, taker) = recover(storage);
    if is_compacted {
        assert_eq!(positions(&taker), [3, 6, 9, 11, 12]);
    }
}

/// A part that the journal does not have is rejected, and nothing changes.
pub fn a_part_that_does_not_exist_is_refused(storage: &dyn Storage) {
    let (mut journal, _) = open(storage);
    write(&mut *journal, &batch(1, 10));
    let Some(compactor) = journal.compactor() else { return };
    seal(compactor);
    let unknown = Part::new(Position(1_000_000), Position(1_000_001), 2, 100);
    let refused = compactor.compact(&unknown, &two_of_three(&unknown));
    let kind = refused.as_ref().err().map(crate::journal::JournalError::kind);
    assert_eq!(kind, Some(JournalErrorKind::Unsupported), "{refused:?}");
    close(journal);
    let (_journal, taker) = recover(storage);
    assert_eq!(taker.events.len(), 10);
}
