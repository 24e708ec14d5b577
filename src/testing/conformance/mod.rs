//! The contracts of a [`Journal`] and of its [`Compactor`](crate::journal::Compactor) as tests: one line runs them all for an implementation.
//!
//! ```
//! # mod tests {
//! use annals::testing::storage::MemoryStorage;
//! use annals::Durability;
//!
//! annals::conformance!(memory, MemoryStorage::new(Durability::Synced));
//! # }
//! ```

#![expect(
    clippy::missing_panics_doc,
    reason = "every rule panics where it does not hold: that is what it is for"
)]

mod compactor;
pub mod feed;

use uuid::Uuid;

pub use self::compactor::{
    a_compacted_journal_accepts_the_next_batch, a_compaction_that_ends_early_loses_nothing,
    a_part_that_does_not_exist_is_refused, changes_of_aggregates_survive_compaction,
    parts_cover_every_event_after_a_seal, what_is_gone_is_skipped_and_the_rest_comes_back,
};
pub use self::feed::Log;
use crate::journal::{Batch, Journal, JournalError, JournalErrorKind, Mark, Record, Recover};
use crate::{Durability, Event, Position, Timestamp, Version};

/// The storage of a journal, which survives the journal.
pub trait Storage {
    /// Opens a journal on this storage.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Locked`] while another journal is open.
    fn open(&self) -> Result<Box<dyn Journal>, JournalError>;

    /// Ends the process without closing the journal; releases its locks and files.
    fn lose_process(&self) {}

    /// Ends the machine; an implementation that cannot simulate this ends the process.
    fn lose_machine(&self) {
        self.lose_process();
    }
}

/// Generates a module `$name` with a test for every rule of the contract; `$storage` is an expression for an empty
/// [`Storage`](crate::testing::conformance::Storage).
#[macro_export]
macro_rules! conformance {
    ($name:ident, $storage:expr) => {
        mod $name {
            use super::*;

            $crate::conformance! {
                @rules $storage;
                an_empty_journal_hands_back_nothing
                every_field_comes_back
                batches_come_back_in_order
                long_batches_come_back_whole
                it_goes_on_where_it_ended
                what_was_written_survives_the_process
                what_was_synced_survives_the_machine
                what_was_closed_survives_the_machine
                a_batch_out_of_order_is_refused
                a_sync_that_means_nothing_is_refused
                one_journal_at_a_time_has_it
                an_error_of_the_taker_ends_recovery
                what_is_gone_is_skipped_and_the_rest_comes_back
                parts_cover_every_event_after_a_seal
                changes_of_aggregates_survive_compaction
                a_compaction_that_ends_early_loses_nothing
                a_compacted_journal_accepts_the_next_batch
                a_part_that_does_not_exist_is_refused
            }
        }
    };
    (@rules $storage:expr; $($rule:ident)*) => {
        $(
            #[test]
            fn $rule() {
                let storage = $storage;
                $crate::testing::conformance::$rule(&storage);
            }
        )*
    };
}

/// Records everything that a journal returns during recovery.
#[derive(Debug, Default)]
struct Taker {
    events: Vec<Event>,
    skipped: u64,
    /// The number of events in the gaps.
    told: u64,
    marks: Vec<Mark>,
    refuses: bool,
}

impl Recover for Taker {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        if self.refuses {
            return Err(JournalError::corrupt("the taker does not like it"));
        }
        assert!(batch.is_whole(), "{batch:?} does not say what is at every position");
        self.events.extend(batch.events().map(crate::EventRef::to_event));
        self.skipped += batch.skipped();
        self.told += batch.gaps().iter().map(|gap| gap.count).sum::<u64>();
        self.marks.extend_from_slice(batch.marks());
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        assert!(done <= total, "{done} of {total}");
    }
}

#[expect(
    clippy::expect_used,
    reason = "a rule that does not hold fails the test that runs this"
)]
fn open(storage: &dyn Storage) -> (Box<dyn Journal>, Vec<Event>) {
    let mut journal = storage.open().expect("the journal opens");
    let mut taker = Taker::default();
    journal.recover(&mut taker).expect("the journal is recovered");
    (journal, taker.events)
}

#[expect(clippy::expect_used, reason = "as above")]
fn write(journal: &mut dyn Journal, batch: &Batch) {
    journal.write(batch).expect("the batch is written");
}

fn write_all(journal: &mut dyn Journal, batches: &[Batch]) {
    for batch in batches {
        write(journal, batch);
    }
}

/// A batch of `count` plain events of one aggregate, from position `first`.
fn batch(first: u64, count: u64) -> Batch {
    let mut batch = Batch::new();
    for position in first..first + count {
        batch.push(&Record {
            position: Position(position),
            version: Version(position),
            id: Uuid::from_u64_pair(1, position),
            timestamp: Timestamp::from_micros(1_000_000 * position.cast_signed()),
            data: format!("{{\"position\":{position}}}").as_bytes(),
            ..plain()
        });
    }
    batch
}

fn plain() -> Record<'static> {
    Record {
        aggregate_id: "order-1",
        aggregate_type: "Order",
        event_type: "OrderPlaced",
        data: b"{}",
        ..Record::new(Position(1), Version(1), Uuid::nil())
    }
}

fn events(batches: &[Batch]) -> Vec<Event> {
    let all = batches.iter().flat_map(Batch::events);
    all.map(crate::EventRef::to_event).collect()
}

/// A new journal recovers nothing.
pub fn an_empty_journal_hands_back_nothing(storage: &dyn Storage) {
    let (_journal, events) = open(storage);
    assert!(events.is_empty());
}

/// Every field is recovered byte for byte, also at its limits.
pub fn every_field_comes_back(storage: &dyn Storage) {
    let long = "é".repeat(127);
    let tags: Vec<_> = (0..32).map(|number| format!("tag-{number}")).collect();
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let mut batch = Batch::new();
    batch.push(&Record {
        correlation_id: Some("c"),
        causation_id: Some(""),
        user_id: Some(&long),
        organization_id: Some("\u{1}\u{10ffff}"),
        tags: &tags,
        metadata: b"{ \"spaced\" : 1 }",
        recorded_at: Timestamp::MAX,
        timestamp: Timestamp::MIN,
        id: Uuid::max(),
        ..plain()
    });
    batch.push(&Record {
        position: Position(2),
        version: Version(u64::from(u32::MAX)),
        aggregate_id: &long,
        schema_version: u32::MAX,
        data_type: "application/octet-stream",
        data: &[0, 255, 0, 254],
        metadata_type: "text/plain",
        metadata: &[0xff],
        ..plain()
    });
    batch.push(&Record {
        position: Position(3),
        version: Version(2),
        data_type: "",
        data: &vec![7; 100_000],
        ..plain()
    });
    let want = events(std::slice::from_ref(&batch));
    let (mut journal, _) = open(storage);
    write(&mut *journal, &batch);
    close(journal);
    let (_journal, got) = open(storage);
    assert_eq!(got, want);
}

#[expect(clippy::expect_used, reason = "as above")]
fn close(journal: Box<dyn Journal>) {
    journal.close().expect("the journal closes");
}

/// Written batches are recovered in ascending order of positions.
pub fn batches_come_back_in_order(storage: &dyn Storage) {
    let mut batches = Vec::new();
    let mut first = 1;
    for count in [1, 2, 3, 500, 1, 1023, 1024, 1025, 1] {
        batches.push(batch(first, count));
        first += count;
    }
    let (mut journal, _) = open(storage);
    write_all(&mut *journal, &batches);
    close(journal);
    let (_journal, got) = open(storage);
    assert_eq!(got, events(&batches));
}

/// A batch of many events and a batch of many bytes are recovered whole.
pub fn long_batches_come_back_whole(storage: &dyn Storage) {
    let mut large = Batch::new();
    for position in 30_001..=30_005 {
        large.push(&Record {
            position: Position(position),
            version: Version(position),
            data: &vec![position as u8; 700_000],
            ..plain()
        });
    }
    let batches = [batch(1, 30_000), large];
    let (mut journal, _) = open(storage);
    write_all(&mut *journal, &batches);
    close(journal);
    let (_journal, got) = open(storage);
    assert!(got == events(&batches), "{} events came back", got.len());
}

/// A journal that was closed and opened again accepts the next batch.
pub fn it_goes_on_where_it_ended(storage: &dyn Storage) {
    let batches = [batch(1, 3), batch(4, 1), batch(5, 2)];
    for (count, batch) in batches.iter().enumerate() {
        let (mut journal, got) = open(storage);
        assert_eq!(got, events(&batches[..count]));
        write(&mut *journal, batch);
        close(journal);
    }
    let (_journal, got) = open(storage);
    assert_eq!(got, events(&batches));
}

/// A journal that promises [`Written`](Durability::Written) retains written batches when the process ends; any other retains a prefix.
pub fn what_was_written_survives_the_process(storage: &dyn Storage) {
    let batches = [batch(1, 3), batch(4, 300)];
    let (mut journal, _) = open(storage);
    write_all(&mut *journal, &batches);
    let promised = journal.durability();
    storage.lose_process();
    drop(journal);
    let (_journal, got) = open(storage);
    check_prefix(&got, &batches, if promised >= Durability::Written { 303 } else { 0 });
}

/// Asserts that the recovered events are whole batches from the first on, with at least `least` events.
fn check_prefix(got: &[Event], batches: &[Batch], least: usize) {
    let all = events(batches);
    assert!(got.len() >= least, "{} of {least} promised events came back", got.len());
    assert!(all.starts_with(got), "what came back is not what was written first");
    let ends: Vec<_> = batches.iter().map(|batch| batch.last_position().0 as usize).collect();
    assert!(
        got.is_empty() || ends.contains(&got.len()),
        "{} events are no whole batches",
        got.len()
    );
}

/// A journal that promises [`Synced`](Durability::Synced) retains synced batches when the machine ends.
pub fn what_was_synced_survives_the_machine(storage: &dyn Storage) {
    let batches = [batch(1, 10), batch(11, 20), batch(31, 5)];
    let (mut journal, _) = open(storage);
    let promised = journal.durability();
    write(&mut *journal, &batches[0]);
    write(&mut *journal, &batches[1]);
    assert_eq!(journal.sync().is_ok(), promised == Durability::Synced);
    if promised == Durability::Synced {
        write(&mut *journal, &batches[2]);
    }
    storage.lose_machine();
    drop(journal);
    let (_journal, got) = open(storage);
    check_prefix(&got, &batches, if promised == Durability::Synced { 30 } else { 0 });
}

/// Closing makes every batch as durable as the journal promises.
pub fn what_was_closed_survives_the_machine(storage: &dyn Storage) {
    let batches = [batch(1, 10)];
    let (mut journal, _) = open(storage);
    let promised = journal.durability();
    write(&mut *journal, &batches[0]);
    close(journal);
    storage.lose_machine();
    let (_journal, got) = open(storage);
    check_prefix(&got, &batches, if promised == Durability::Synced { 10 } else { 0 });
}

/// A batch that skips or repeats positions is rejected, and none of it is stored.
pub fn a_batch_out_of_order_is_refused(storage: &dyn Storage) {
    for wrong in [batch(5, 1), batch(3, 1), batch(1, 9)] {
        let (mut journal, before) = open(storage);
        if before.is_empty() {
            write(&mut *journal, &batch(1, 3));
        }
        let refused = journal.write(&wrong);
        let kind = refused.as_ref().err().map(JournalError::kind);
        assert_eq!(kind, Some(JournalErrorKind::Failed), "{refused:?}");
        storage.lose_process();
        drop(journal);
        let (journal, got) = open(storage);
        check_prefix(&got, &[batch(1, 3)], 0);
        close(journal);
    }
}

/// A journal that does not promise [`Synced`](Durability::Synced) returns an error from `sync`.
pub fn a_sync_that_means_nothing_is_refused(storage: &dyn Storage) {
    let (mut journal, _) = open(storage);
    write(&mut *journal, &batch(1, 1));
    let kind = journal.sync().err().map(|error| error.kind());
    let refused = (journal.durability() < Durability::Synced).then_some(JournalErrorKind::Unsupported);
    assert_eq!(kind, refused);
}

/// A second journal cannot be opened while the first is open.
pub fn one_journal_at_a_time_has_it(storage: &dyn Storage) {
    let (journal, _) = open(storage);
    let second = storage.open().map(drop);
    let kind = second.as_ref().err().map(JournalError::kind);
    assert_eq!(kind, Some(JournalErrorKind::Locked), "{second:?}");
    close(journal);
    let _third = open(storage);
}

/// Recovery returns the error of the receiver unchanged.
pub fn an_error_of_the_taker_ends_recovery(storage: &dyn Storage) {
    let (mut journal, _) = open(storage);
    write(&mut *journal, &batch(1, 3000));
    close(journal);
    let mut taker = Taker {
        refuses: true,
        ..Taker::default()
    };
    let recovered = storage.open().and_then(|mut journal| journal.recover(&mut taker));
    let kind = recovered.err().map(|error| error.kind());
    // A journal that stores nothing passes nothing to the receiver.
    assert!(taker.events.is_empty());
    assert!(matches!(kind, None | Some(JournalErrorKind::Corrupt)), "{kind:?}");
}
