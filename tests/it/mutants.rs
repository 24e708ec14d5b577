//! The conformance suites of feeds, remotes and compactors find logs and journals with a single defect.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other defect is the absence of this one"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use annals::journal::file::FileJournal;
use annals::journal::{
    Batch, CompactionStep, Compactor, Feed, Followed, Journal, JournalError, JournalErrorKind, Part, PurgeSet, Record,
    Recover, Recovered, Remote, RemoteAppend,
};
use annals::testing::conformance::{self, Log, Storage, feed};
use annals::testing::personality::Personality;
use annals::{
    Appended, Conflict, Durability, Error, Expected, Gap, GapReason, Position, Result, Store, StreamId, Version,
};
use uuid::Uuid;

use crate::support::TempFolder;

/// What is wrong with a feed or its remote.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Defect {
    None,
    LeavesOutTheFirst,
    PassesTheLastAgain,
    ReversesBatches,
    EndsWithinAnAppend,
    LosesTags,
    ChangesTimes,
    ChangesErrors,
    IgnoresExpectedVersions,
    TellsAnotherVersion,
    IgnoresTypes,
    ForgetsIds,
    AppendsInParts,
    RepeatsAlways,
    RepeatsNever,
    TellsAnotherPosition,
    TellsAnotherDurability,
}

/// A log in memory with a defect.
struct Altered(Store, Defect);

#[derive(Debug)]
struct AlteredFeed(Box<dyn Feed>, Defect);

#[derive(Debug)]
struct AlteredRemote(Box<dyn Remote>, Store, Defect);

impl Log for Altered {
    fn connect(&self) -> Result<Followed, JournalError> {
        let (feed, remote) = self.0.log_like(&Personality::none()).into_parts();
        let remote = AlteredRemote(remote, self.0.clone(), self.1);
        Ok(Followed::new(AlteredFeed(feed, self.1), remote))
    }
}

/// Collects the events of a call.
#[derive(Default)]
struct Collected(Batch);

impl Recover for Collected {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        batch.events().for_each(|event| self.0.push_ref(event));
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}
}

/// A batch for each event of `batch` that `keeps` holds for.
fn single(batch: &Batch, keeps: impl Fn(u64) -> bool) -> Vec<Batch> {
    let kept = batch.events().filter(|event| keeps(event.position().0));
    let one = kept.map(|event| {
        let mut one = Batch::new();
        one.push_ref(event);
        one
    });
    one.collect()
}

/// The events, as `alter` changes them.
fn altered(batch: &Batch, alter: impl Fn(&mut Record<'_>)) -> Batch {
    let mut changed = Batch::new();
    for event in batch.events() {
        let tags: Vec<_> = event.tags().collect();
        let (metadata_type, data_type) = (event.metadata_type(), event.data_type());
        let mut record = Record::new(event.position(), event.version(), event.id());
        record.timestamp = event.timestamp();
        record.recorded_at = event.recorded_at();
        record.aggregate_id = event.aggregate_id();
        record.aggregate_type = event.aggregate_type();
        record.event_type = event.event_type();
        record.schema_version = event.schema_version();
        record.correlation_id = event.correlation_id();
        record.causation_id = event.causation_id();
        record.user_id = event.user_id();
        record.organization_id = event.organization_id();
        record.tags = &tags;
        record.metadata_type = metadata_type.as_str();
        record.metadata = event.metadata();
        record.data_type = data_type.as_str();
        record.data = event.data();
        alter(&mut record);
        changed.push(&record);
    }
    changed
}

impl Feed for AlteredFeed {
    fn next(&mut self, after: Position, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        let from = match self.1 {
            Defect::PassesTheLastAgain => Position(after.0.saturating_sub(1)),
            _ => after,
        };
        let mut read = Collected::default();
        self.0.next(from, &mut read)?;
        let (first, last) = (read.0.first_position().0, read.0.last_position().0);
        let batches = match self.1 {
            Defect::LeavesOutTheFirst => single(&read.0, |position| position > first),
            Defect::ReversesBatches => single(&read.0, |_| true).into_iter().rev().collect(),
            Defect::EndsWithinAnAppend => single(&read.0, |position| position < last || last == first),
            Defect::LosesTags => vec![altered(&read.0, |record| record.tags = &[])],
            Defect::ChangesTimes => vec![altered(&read.0, |record| record.timestamp = record.recorded_at)],
            _ => vec![read.0],
        };
        for batch in batches {
            match (into.batch(batch), self.1) {
                (Err(error), Defect::ChangesErrors) => {
                    return Err(JournalError::new(JournalErrorKind::Retry, error.to_string()));
                }
                (taken, _) => taken?,
            }
        }
        Ok(Recovered::default())
    }

    fn wait(&mut self) {
        self.0.wait();
    }
}

impl AlteredRemote {
    fn append_altered(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        let kept = self.1.read_stream(&append.stream().aggregate_id).events();
        let stored_type = kept.first().map(|event| event.aggregate_type().to_owned());
        let stream = StreamId::new(
            stored_type.unwrap_or_else(|| append.stream().aggregate_type.to_string()),
            append.stream().aggregate_id.to_string(),
        );
        let new_ids: Vec<_> = append
            .ids()
            .iter()
            .map(|id| Uuid::from_u128(id.as_u128() + (1 << 64) * (1 + kept.len() as u128)))
            .collect();
        let with =
            |stream, expected, ids| RemoteAppend::new(stream, expected, append.events(), ids, append.has_own_ids());
        let (same, ids) = (append.stream(), append.ids());
        match self.2 {
            Defect::IgnoresExpectedVersions => self.0.append(&with(same, Expected::Any, ids)),
            Defect::IgnoresTypes => self.0.append(&with(&stream, append.expected(), ids)),
            Defect::ForgetsIds => self.0.append(&with(same, append.expected(), &new_ids)),
            Defect::AppendsInParts => self.append_in_parts(append),
            _ => self.0.append(append),
        }
    }

    fn append_in_parts(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        let (mut first, mut expected) = (None, append.expected());
        for (event, id) in append.events().iter().zip(append.ids()) {
            let (events, ids) = ([event.clone()], [*id]);
            let part = RemoteAppend::new(append.stream(), expected, &events, &ids, append.has_own_ids());
            let appended = self.0.append(&part)?;
            expected = Expected::Exactly(appended.last_version);
            let whole: &mut Appended = first.get_or_insert(appended);
            whole.last_version = appended.last_version;
            whole.last_position = appended.last_position;
        }
        Ok(first.expect("an append has events"))
    }
}

impl Remote for AlteredRemote {
    fn append(&self, append: &RemoteAppend<'_>) -> Result<Appended> {
        let appended = self.append_altered(append);
        if let (Err(error), Defect::TellsAnotherVersion) = (&appended, self.2)
            && let Some(Conflict::Version {
                stream,
                expected,
                position,
                ..
            }) = error.conflict()
        {
            return Err(Error::from(Conflict::Version {
                stream: stream.clone(),
                expected: *expected,
                actual: Version(77),
                position: *position,
            }));
        }
        let mut appended = appended?;
        match self.2 {
            Defect::RepeatsAlways => appended.repeated = true,
            Defect::RepeatsNever => appended.repeated = false,
            Defect::TellsAnotherPosition => appended.first_position.0 += 1,
            Defect::TellsAnotherDurability => appended.durability = Durability::Written,
            _ => {}
        }
        Ok(appended)
    }

    fn timeout(&self) -> Duration {
        self.0.timeout()
    }

    fn wake(&self) {
        self.0.wake();
    }

    fn stop(&self) {
        self.0.stop();
    }
}

/// Whether a rule accepts what it is called with.
fn is_accepted(rule: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(rule)).is_ok()
}

type FeedRule = fn(&dyn Log);

#[test]
fn a_feed_or_remote_with_one_defect_was_found_by_no_rule() {
    let cases: &[(FeedRule, &[Defect])] = &[
        (
            feed::a_read_continues_after_a_position,
            &[
                Defect::LeavesOutTheFirst,
                Defect::PassesTheLastAgain,
                Defect::ReversesBatches,
            ],
        ),
        (feed::a_read_ends_with_a_whole_append, &[Defect::EndsWithinAnAppend]),
        (
            feed::every_field_of_an_append_is_read,
            &[Defect::LosesTags, Defect::ChangesTimes, Defect::ForgetsIds],
        ),
        (
            feed::a_read_that_its_receiver_ends_can_be_repeated,
            &[Defect::ChangesErrors],
        ),
        (
            feed::an_append_that_does_not_fit_stores_nothing,
            &[
                Defect::IgnoresExpectedVersions,
                Defect::TellsAnotherVersion,
                Defect::IgnoresTypes,
            ],
        ),
        (
            feed::an_append_with_the_same_ids_is_stored_once,
            &[Defect::RepeatsAlways, Defect::RepeatsNever, Defect::ForgetsIds],
        ),
        (
            feed::an_append_with_some_known_ids_stores_nothing,
            &[Defect::AppendsInParts],
        ),
        (
            feed::an_append_is_consecutive,
            &[Defect::TellsAnotherPosition, Defect::TellsAnotherDurability],
        ),
    ];
    for (place, (rule, defects)) in cases.iter().enumerate() {
        assert!(
            is_accepted(|| rule(&Altered(Store::in_memory(), Defect::None))),
            "rule {place}"
        );
        for defect in *defects {
            let log = Altered(Store::in_memory(), *defect);
            assert!(!is_accepted(|| rule(&log)), "{defect:?}");
        }
    }
}

/// What is wrong with a compactor.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    PurgesOneMore,
    PurgesNothing,
    LosesTheLastPart,
    OverlapsParts,
    ReversesParts,
    SealsNothing,
    CountsChanges,
    CountsTooFew,
    AcceptsUnknownParts,
    RefusesWithTheWrongKind,
    ForgetsToListGaps,
}

/// A journal in files with a flawed compactor.
struct Files(TempFolder, Flaw);

#[derive(Debug)]
struct Flawed(FileJournal, Flaw);

impl Storage for Files {
    fn open(&self) -> Result<Box<dyn Journal>, JournalError> {
        Ok(Box::new(Flawed(FileJournal::open(self.0.path())?, self.1)))
    }
}

/// Takes the gaps out of what is recovered.
struct WithoutGaps<'a>(&'a mut dyn Recover);

impl Recover for WithoutGaps<'_> {
    fn batch(&mut self, batch: Batch) -> Result<(), JournalError> {
        let (mut plain, mut next) = (Batch::new(), batch.first_position().0);
        for event in batch.events() {
            if next < event.position().0 {
                plain.skip(Position(next), Position(event.position().0 - 1));
            }
            plain.push_ref(event);
            next = event.position().0 + 1;
        }
        if next <= batch.last_position().0 {
            plain.skip(Position(next), batch.last_position());
        }
        self.0.batch(plain)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.0.progress(done, total);
    }
}

impl Journal for Flawed {
    fn durability(&self) -> Durability {
        self.0.durability()
    }

    fn recover(&mut self, into: &mut dyn Recover) -> Result<Recovered, JournalError> {
        match self.1 {
            Flaw::ForgetsToListGaps => self.0.recover(&mut WithoutGaps(into)),
            _ => self.0.recover(into),
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), JournalError> {
        self.0.write(batch)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.0.sync()
    }

    fn compactor(&mut self) -> Option<&mut dyn Compactor> {
        Some(self)
    }

    fn close(self: Box<Self>) -> Result<(), JournalError> {
        Box::new(self.0).close()
    }
}

impl Compactor for Flawed {
    fn parts(&self) -> Vec<Part> {
        let mut parts = self.0.parts();
        match (self.1, parts.last_mut()) {
            (Flaw::LosesTheLastPart, Some(_)) => drop(parts.pop()),
            (Flaw::OverlapsParts, Some(last)) => last.first = Position(1),
            (Flaw::ReversesParts, Some(_)) => parts.reverse(),
            (Flaw::CountsChanges, Some(last)) => last.events = last.last.0 - last.first.0 + 1,
            (Flaw::CountsTooFew, Some(last)) => last.events -= 1,
            _ => {}
        }
        parts
    }

    fn seal(&mut self) -> Result<(), JournalError> {
        match self.1 {
            Flaw::SealsNothing => Ok(()),
            _ => self.0.seal(),
        }
    }

    fn should_compact(&self, part: &Part, dropped: u64) -> bool {
        self.0.should_compact(part, dropped)
    }

    fn compact(&mut self, part: &Part, purge: &PurgeSet) -> Result<CompactionStep, JournalError> {
        let all = Gap::new(part.first, part.last, 1, GapReason::Budget);
        match self.1 {
            Flaw::PurgesNothing => return Ok(CompactionStep::Done { bytes: part.bytes }),
            Flaw::PurgesOneMore => {
                let kept = (part.first.0..=part.last.0).filter(|at| at.is_multiple_of(3) && *at != 3);
                return self
                    .0
                    .compact(part, &PurgeSet::new((part.first, part.last), kept.map(Position), [all]));
            }
            _ => {}
        }
        match (self.0.compact(part, purge), self.1) {
            (Err(_), Flaw::AcceptsUnknownParts) => Ok(CompactionStep::Done { bytes: 0 }),
            (Err(_), Flaw::RefusesWithTheWrongKind) => Err(JournalError::new(JournalErrorKind::Failed, "no such part")),
            (step, _) => step,
        }
    }
}

type JournalRule = fn(&dyn Storage);

#[test]
fn a_compactor_with_one_flaw_was_found_by_no_rule() {
    let cases: &[(JournalRule, &[Flaw])] = &[
        (
            conformance::what_is_gone_is_skipped_and_the_rest_comes_back,
            &[Flaw::PurgesOneMore, Flaw::PurgesNothing, Flaw::ForgetsToListGaps],
        ),
        (
            conformance::parts_cover_every_event_after_a_seal,
            &[
                Flaw::LosesTheLastPart,
                Flaw::OverlapsParts,
                Flaw::ReversesParts,
                Flaw::SealsNothing,
                Flaw::CountsTooFew,
            ],
        ),
        (
            conformance::changes_of_aggregates_survive_compaction,
            &[Flaw::CountsChanges],
        ),
        (
            conformance::a_part_that_does_not_exist_is_refused,
            &[Flaw::AcceptsUnknownParts, Flaw::RefusesWithTheWrongKind],
        ),
        (
            conformance::a_compaction_that_ends_early_loses_nothing,
            &[Flaw::PurgesOneMore, Flaw::PurgesNothing],
        ),
        (
            conformance::a_compacted_journal_accepts_the_next_batch,
            &[Flaw::PurgesOneMore, Flaw::SealsNothing],
        ),
    ];
    for (place, (rule, flaws)) in cases.iter().enumerate() {
        assert!(
            is_accepted(|| rule(&Files(TempFolder::new(), Flaw::None))),
            "rule {place}"
        );
        for flaw in *flaws {
            let storage = Files(TempFolder::new(), *flaw);
            assert!(!is_accepted(|| rule(&storage)), "{flaw:?}, rule {place}");
        }
    }
}
