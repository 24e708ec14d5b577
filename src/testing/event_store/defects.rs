//! Stores with one defect each: a rule finds every one of them.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other defect is the absence of these"
)]

use std::cmp::Reverse;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use parking_lot::Mutex;

use super::rules::ALL;
use super::{Capabilities, EventStore, EventTail, Range};
use crate::{
    Append, Appended, Condition, Conflict, ContentType, Delivery, Error, Event, Expected, Field, Filter, Order,
    Position, Query, Result, Store, Timestamp, Version,
};

/// What is wrong with a store.
#[derive(Clone, Debug, PartialEq)]
enum Defect {
    None,
    // Appends.
    LosesTheLastOfABatch,
    LosesAfterTheHundredth,
    ReversesBatches,
    StoresWhatConflicts,
    ReportsTheExpectedVersion,
    ChecksVersionsWithoutALock,
    TakesStreamExistsForAny,
    FoldsCase,
    TrimsIds,
    ChecksTheFirstPartOnly,
    ChecksTheLastPartOnly,
    AppendsPartsInReverse,
    TakesEverythingForJson,
    CutsLongPayloads,
    SetsAbsentUsers,
    CutsTimesToMillis,
    LosesMetadata,
    LosesCausation,
    SetsSchemaToOne,
    NeverSaysRepeated,
    AlwaysSaysRepeated,
    AnswersInvalidAsClosed,
    StoresNothing,
    // Conditions.
    ChecksConditionsOnItsOwnAggregate,
    ForgetsThePositionOfConditions,
    ChecksConditionsWithout(Field),
    ChecksConditionsWithoutALock,
    IgnoresVersionsOfConditional,
    StoresDespiteTheCondition,
    // Reads.
    ReadsPagesOf1000,
    IgnoresStreamLimits,
    IgnoresStreamBegins,
    IgnoresLogLimits,
    IgnoresLogBegins,
    OrdersTheLogByAggregate,
    ReadsTheLogByTime,
    ReadsOneAppendLate,
    ReadsForwardsOnly,
    SkipsFirstBackwards,
    // Queries.
    QueriesWithout(Field),
    QueriesWithAnyFilter,
    QueriesWithoutLimit,
    QueriesWithoutOrder,
    QueriesWithoutSince,
    QueriesWithoutBefore,
    QueriesWithoutAfter,
    QueriesWithoutAsOf,
    QueriesIncludeBefore,
    // Tails.
    FollowsWithoutFilter,
    FollowsFromTheBegin,
    FollowsFromNow,
    FollowsOneTooLate,
    EndsAfterWhatWasThere,
    BuffersAHundred,
}

struct Defective {
    store: Store,
    defect: Defect,
    /// What reads of a stale store return: the number of events before the last append.
    before: Mutex<u64>,
}

impl Defective {
    fn new(defect: Defect) -> Self {
        Self {
            store: Store::in_memory(),
            defect,
            before: Mutex::new(0),
        }
    }

    fn altered(&self, append: &mut Append<'_>) {
        match self.defect {
            Defect::FoldsCase => append.stream.to_mut().aggregate_id = append.stream.aggregate_id.to_lowercase().into(),
            Defect::TrimsIds => append.stream.to_mut().aggregate_id = append.stream.aggregate_id.trim().into(),
            Defect::TakesStreamExistsForAny if append.expected == Expected::StreamExists => {
                append.expected = Expected::Any;
            }
            _ => {}
        }
        let mut events = append.events.clone();
        match self.defect {
            Defect::LosesTheLastOfABatch if events.len() > 1 => _ = events.pop(),
            Defect::LosesAfterTheHundredth => events.truncate(100),
            Defect::ReversesBatches => events.reverse(),
            Defect::StoresNothing => events.clear(),
            _ => {}
        }
        for event in &mut events {
            match self.defect {
                Defect::TakesEverythingForJson => event.data_type = ContentType::Json,
                Defect::CutsLongPayloads if event.data.len() > 65_536 => {
                    event.data = event.data[..65_536].to_vec().into();
                }
                Defect::SetsAbsentUsers if event.user_id.is_none() => event.user_id = Some("system".into()),
                Defect::CutsTimesToMillis => {
                    let cut = |time: Timestamp| Timestamp::from_micros(time.as_micros() / 1_000 * 1_000);
                    event.timestamp = event.timestamp.map(cut);
                }
                Defect::LosesMetadata => event.metadata = Vec::new().into(),
                Defect::LosesCausation => event.causation_id = None,
                Defect::SetsSchemaToOne => event.schema_version = 1,
                _ => {}
            }
        }
        append.events = events;
    }

    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        *self.before.lock() = self.store.visible().0;
        self.store.append_all(appends)
    }

    /// Checks the version, waits, and appends whatever happened meanwhile.
    fn append_late(&self, appends: &mut [Append<'_>]) -> Result<Vec<Appended>> {
        for append in appends.iter_mut() {
            let info = self.store.stream_info(&append.stream.aggregate_id);
            let version = info.map_or(Version(0), |info| info.version);
            if append.expected == Expected::Exactly(version) {
                append.expected = Expected::Any;
            }
        }
        wait();
        self.append_all(appends)
    }

    fn query_of(&self, query: &Query) -> Query {
        let mut query = query.clone();
        match &self.defect {
            Defect::QueriesWithout(field) => forget(&mut query, field),
            Defect::QueriesWithAnyFilter if query.filters.len() > 1 => {
                query.filters = vec![Filter::Any(std::mem::take(&mut query.filters))];
            }
            Defect::QueriesWithoutLimit => query.limit = None,
            Defect::QueriesWithoutOrder => query.order = Order::Position,
            Defect::QueriesWithoutSince => query.since = None,
            Defect::QueriesWithoutBefore => query.before = None,
            Defect::QueriesWithoutAfter => query.after = Position(0),
            Defect::QueriesWithoutAsOf => query.as_of = None,
            Defect::QueriesIncludeBefore => {
                query.before = query
                    .before
                    .map(|before| Timestamp::from_micros(before.as_micros() + 1));
            }
            Defect::ReadsPagesOf1000 => query.limit = Some(query.limit.unwrap_or(usize::MAX).min(1_000)),
            _ => {}
        }
        query
    }
}

fn forget(query: &mut Query, field: &Field) {
    query
        .filters
        .retain(|filter| !matches!(filter, Filter::Is(other, _) if other == field));
}

#[expect(clippy::disallowed_methods, reason = "another writer is to come in between")]
fn wait() {
    std::thread::sleep(Duration::from_millis(2));
}

impl EventStore for Defective {
    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    fn append(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let mut appends = appends.to_vec();
        for append in &mut appends {
            self.altered(append);
        }
        let last = appends.len() - 1;
        for (place, append) in appends.iter_mut().enumerate() {
            let is_ignored = match self.defect {
                Defect::ChecksTheFirstPartOnly => place > 0,
                Defect::ChecksTheLastPartOnly => place < last,
                _ => false,
            };
            if is_ignored {
                append.expected = Expected::Any;
            }
        }
        let appended = match self.defect {
            Defect::ChecksVersionsWithoutALock => self.append_late(&mut appends),
            Defect::AppendsPartsInReverse => {
                appends.reverse();
                let appended = self.append_all(&appends);
                appended.map(|mut appended| {
                    appended.reverse();
                    appended
                })
            }
            _ => self.append_all(&appends),
        };
        self.reported(appended, &appends)
    }

    fn append_if(&self, condition: &Condition, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        let (mut condition, mut appends) = (condition.clone(), appends.to_vec());
        match &self.defect {
            Defect::ChecksConditionsOnItsOwnAggregate => {
                condition.query = condition.query.aggregate(appends[0].stream.aggregate_id.clone());
            }
            Defect::ForgetsThePositionOfConditions => condition.after = Position(0),
            Defect::ChecksConditionsWithout(field) => forget(&mut condition.query, field),
            Defect::IgnoresVersionsOfConditional => {
                for append in &mut appends {
                    append.expected = Expected::Any;
                }
            }
            Defect::StoresDespiteTheCondition => {
                let appended = self.store.append_if(&condition, &appends);
                if appended.is_err() {
                    _ = self.append_all(&appends);
                }
                return appended;
            }
            Defect::ChecksConditionsWithoutALock => {
                let query = condition.query.clone().after(condition.after);
                if EventStore::query(&self.store, &query)?.is_empty() {
                    wait();
                    return self.append_all(&appends);
                }
            }
            _ => {}
        }
        self.store.append_if(&condition, &appends)
    }

    fn read_stream(&self, aggregate_id: &str, mut range: Range<Version>) -> Result<Vec<Event>> {
        let folded = match self.defect {
            Defect::FoldsCase => aggregate_id.to_lowercase(),
            Defect::TrimsIds => aggregate_id.trim().to_owned(),
            _ => aggregate_id.to_owned(),
        };
        match self.defect {
            Defect::ReadsPagesOf1000 => range.limit = range.limit.min(1_000),
            Defect::IgnoresStreamLimits => range.limit = usize::MAX,
            Defect::IgnoresStreamBegins => range.from = None,
            Defect::ReadsForwardsOnly => range.is_backwards = false,
            _ => {}
        }
        EventStore::read_stream(&self.store, &folded, range)
    }

    fn read_all(&self, mut range: Range<Position>) -> Result<Vec<Event>> {
        match self.defect {
            Defect::ReadsPagesOf1000 => range.limit = range.limit.min(1_000),
            Defect::IgnoresLogLimits => range.limit = usize::MAX,
            Defect::IgnoresLogBegins => range.from = None,
            Defect::ReadsForwardsOnly => range.is_backwards = false,
            Defect::SkipsFirstBackwards if range.is_backwards => {
                range.from = range.from.map(|from| Position(from.0.saturating_sub(1)));
            }
            _ => {}
        }
        let mut events = EventStore::read_all(&self.store, range)?;
        match self.defect {
            Defect::OrdersTheLogByAggregate => events.sort_by_key(|event| event.aggregate_id().to_owned()),
            Defect::ReadsTheLogByTime => events.sort_by_key(|event| Reverse(event.timestamp())),
            Defect::ReadsOneAppendLate => {
                let mut before = self.before.lock();
                events.retain(|event| event.position().0 <= *before);
                *before = self.store.visible().0;
            }
            _ => {}
        }
        Ok(events)
    }

    fn query(&self, query: &Query) -> Result<Vec<Event>> {
        EventStore::query(&self.store, &self.query_of(query))
    }

    fn tail(&self, query: &Query, after: Position) -> Result<Box<dyn EventTail>> {
        let (query, after) = match self.defect {
            Defect::FollowsWithoutFilter => (Query::all(), after),
            Defect::FollowsFromTheBegin => (query.clone(), Position(0)),
            Defect::FollowsFromNow => (query.clone(), self.store.visible()),
            Defect::FollowsOneTooLate => (query.clone(), Position(after.0 + 1)),
            Defect::EndsAfterWhatWasThere => (query.clone().until(self.store.visible()), after),
            Defect::BuffersAHundred => {
                let pending = self.store.visible().0.saturating_sub(after.0);
                let lost = pending.saturating_sub(100);
                (query.clone(), Position(after.0 + lost))
            }
            _ => (query.clone(), after),
        };
        let inner = EventStore::tail(&self.store, &query, after)?;
        Ok(Box::new(DefectiveTail { inner }))
    }
}

impl Defective {
    fn reported(&self, appended: Result<Vec<Appended>>, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        match (&self.defect, appended) {
            (Defect::NeverSaysRepeated, Ok(mut appended)) => {
                for one in &mut appended {
                    one.repeated = false;
                }
                Ok(appended)
            }
            (Defect::AlwaysSaysRepeated, Ok(mut appended)) => {
                for one in &mut appended {
                    one.repeated = true;
                }
                Ok(appended)
            }
            (Defect::StoresWhatConflicts, Err(error)) if error.conflict().is_some() => {
                let any = appends.iter().map(|append| Append {
                    expected: Expected::Any,
                    ..append.clone()
                });
                _ = self.append_all(&any.collect::<Vec<_>>());
                Err(error)
            }
            (Defect::ReportsTheExpectedVersion, Err(error)) => Err(with_expected_as_actual(error)),
            (Defect::AnswersInvalidAsClosed, Err(Error::Invalid { .. })) => Err(Error::Closed),
            (_, appended) => appended,
        }
    }
}

fn with_expected_as_actual(error: Error) -> Error {
    match error.conflict() {
        Some(Conflict::Version {
            stream,
            expected,
            position,
            ..
        }) => Error::from(Conflict::Version {
            stream: stream.clone(),
            expected: *expected,
            actual: Version(0),
            position: *position,
        }),
        _ => error,
    }
}

struct DefectiveTail {
    inner: Box<dyn EventTail>,
}

impl EventTail for DefectiveTail {
    fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery>> {
        // A store in memory delivers at once.
        self.inner.next_timeout(timeout.min(Duration::from_millis(500)))
    }
}

/// The first rule that a store with this defect breaks.
fn broken(defect: &Defect) -> Option<&'static str> {
    let breaks = |rule: &super::rules::Rule| {
        let store = Defective::new(defect.clone());
        catch_unwind(AssertUnwindSafe(|| rule(&store))).is_err()
    };
    ALL.iter().find(|(_, rule)| breaks(rule)).map(|(name, _)| *name)
}

/// Defects of appends and of conditions.
fn of_writing() -> Vec<Defect> {
    vec![
        Defect::LosesTheLastOfABatch,
        Defect::LosesAfterTheHundredth,
        Defect::ReversesBatches,
        Defect::StoresWhatConflicts,
        Defect::ReportsTheExpectedVersion,
        Defect::ChecksVersionsWithoutALock,
        Defect::TakesStreamExistsForAny,
        Defect::FoldsCase,
        Defect::TrimsIds,
        Defect::ChecksTheFirstPartOnly,
        Defect::ChecksTheLastPartOnly,
        Defect::AppendsPartsInReverse,
        Defect::TakesEverythingForJson,
        Defect::CutsLongPayloads,
        Defect::SetsAbsentUsers,
        Defect::CutsTimesToMillis,
        Defect::LosesMetadata,
        Defect::LosesCausation,
        Defect::SetsSchemaToOne,
        Defect::NeverSaysRepeated,
        Defect::AlwaysSaysRepeated,
        Defect::AnswersInvalidAsClosed,
        Defect::StoresNothing,
        Defect::ChecksConditionsOnItsOwnAggregate,
        Defect::ForgetsThePositionOfConditions,
        Defect::ChecksConditionsWithoutALock,
        Defect::IgnoresVersionsOfConditional,
        Defect::StoresDespiteTheCondition,
    ]
}

/// Defects of reads, queries and tails.
fn of_reading() -> Vec<Defect> {
    vec![
        Defect::ReadsPagesOf1000,
        Defect::IgnoresStreamLimits,
        Defect::IgnoresStreamBegins,
        Defect::IgnoresLogLimits,
        Defect::IgnoresLogBegins,
        Defect::OrdersTheLogByAggregate,
        Defect::ReadsTheLogByTime,
        Defect::ReadsOneAppendLate,
        Defect::ReadsForwardsOnly,
        Defect::SkipsFirstBackwards,
        Defect::QueriesWithAnyFilter,
        Defect::QueriesWithoutLimit,
        Defect::QueriesWithoutOrder,
        Defect::QueriesWithoutSince,
        Defect::QueriesWithoutBefore,
        Defect::QueriesWithoutAfter,
        Defect::QueriesWithoutAsOf,
        Defect::QueriesIncludeBefore,
        Defect::FollowsWithoutFilter,
        Defect::FollowsFromTheBegin,
        Defect::FollowsFromNow,
        Defect::FollowsOneTooLate,
        Defect::EndsAfterWhatWasThere,
        Defect::BuffersAHundred,
    ]
}

/// Defects that leave out a filter.
fn of_fields() -> Vec<Defect> {
    let of_both = [
        Field::EventType,
        Field::AggregateType,
        Field::Aggregate,
        Field::User,
        Field::Tag,
    ];
    let of_queries = [Field::Correlation, Field::Organization];
    let queries = of_both.iter().chain(&of_queries).cloned().map(Defect::QueriesWithout);
    queries
        .chain(of_both.iter().cloned().map(Defect::ChecksConditionsWithout))
        .collect()
}

#[test]
fn a_store_with_an_obvious_defect_passed_the_suite() {
    assert_eq!(
        broken(&Defect::None),
        None,
        "a store without a defect keeps the contract"
    );
    let defects = [of_writing(), of_reading(), of_fields()].concat();
    let passed: Vec<_> = std::thread::scope(|scope| {
        let tried: Vec<_> = defects.iter().map(|defect| scope.spawn(|| broken(defect))).collect();
        let tried = tried.into_iter().map(|tried| tried.join().expect("panics are caught"));
        let passed = tried.zip(&defects).filter(|(broken, _)| broken.is_none());
        passed.map(|(_, defect)| defect).collect()
    });
    assert!(passed.is_empty(), "no rule finds {passed:?}");
}
