//! Stores keep the contract of `EventStore`, and its rules find those that do not.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other flaw is the absence of this one"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use annals::testing::event_store::rules::ALL;
use annals::testing::event_store::{Capabilities, Capability, EventStore, EventTail, Guarded, Range, unsupported};
use annals::{
    Append, Appended, Condition, Conflict, Durability, Error, Event, Expected, Position, Query, Result, Store, Version,
};

use crate::support::TempFolder;

fn on_files(durability: Durability) -> Guarded<Store, TempFolder> {
    let guard = TempFolder::new();
    let store = Store::open_url(&format!("file:{}", guard.path().display())).expect("the folder is empty");
    let store = store.with_durability(durability).expect("files have it");
    Guarded { store, guard }
}

annals::event_store_conformance!(memory, Store::in_memory());
annals::event_store_conformance!(a_fork, Store::in_memory().fork());
annals::event_store_conformance!(files_synced, on_files(Durability::Synced));
annals::event_store_conformance!(files_volatile, on_files(Durability::Volatile));
annals::event_store_conformance!(a_store_with_no_capability, Altered::new(Flaw::OnlyAppendsAndReads));

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    OnlyAppendsAndReads,
    IgnoresExpectedVersions,
    AppendsInParts,
    IgnoresConditions,
    ForgetsIds,
    SkipsThePosition,
    ReadsOneTooFew,
    LosesTags,
    DeliversTwice,
    RefusesWithTheWrongError,
    AnswersQueriesItDeniesToHave,
}

/// A store in memory with a flaw.
struct Altered {
    store: Store,
    flaw: Flaw,
}

impl Altered {
    fn new(flaw: Flaw) -> Self {
        let store = Store::in_memory();
        Self { store, flaw }
    }

    fn lacks(&self, capability: Capability) -> Result<()> {
        match self.flaw {
            Flaw::OnlyAppendsAndReads => Err(unsupported(capability)),
            Flaw::RefusesWithTheWrongError => Err(Error::Closed),
            _ => Ok(()),
        }
    }

    fn alter(&self, append: &mut Append<'_>) -> Result<()> {
        let events = self.store.read_stream(&append.stream.aggregate_id).events();
        match self.flaw {
            Flaw::IgnoresExpectedVersions => append.expected = Expected::Any,
            Flaw::ForgetsIds => append.events.iter_mut().for_each(|event| event.id = None),
            Flaw::LosesTags => append.events.iter_mut().for_each(|event| event.tags.clear()),
            // The store below would recognize the ids of a repetition.
            Flaw::OnlyAppendsAndReads if append.expected == Expected::NoStream && !events.is_empty() => {
                return Err(Error::from(Conflict::Version {
                    stream: append.stream.clone().into_owned(),
                    expected: append.expected,
                    actual: Version(events.len() as u64),
                    position: Position(0),
                }));
            }
            _ => {}
        }
        Ok(())
    }

    fn altered(&self, mut events: Vec<Event>) -> Vec<Event> {
        if self.flaw == Flaw::ReadsOneTooFew && events.len() > 3 {
            events.pop();
        }
        events
    }
}

impl EventStore for Altered {
    fn capabilities(&self) -> Capabilities {
        match self.flaw {
            Flaw::OnlyAppendsAndReads | Flaw::RefusesWithTheWrongError => Capabilities::none().with(Capability::Fields),
            Flaw::AnswersQueriesItDeniesToHave => Capabilities::all().without(Capability::Query),
            _ => Capabilities::all(),
        }
    }

    fn append(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        if appends.len() > 1 {
            self.lacks(Capability::AppendAll)?;
        }
        let mut appends = appends.to_vec();
        for append in &mut appends {
            self.alter(append)?;
        }
        if self.flaw == Flaw::AppendsInParts {
            return appends
                .iter()
                .map(|append| Ok(self.store.append_all([append.clone()])?[0]))
                .collect();
        }
        self.store.append_all(appends)
    }

    fn append_if(&self, condition: &Condition, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.lacks(Capability::AppendIf)?;
        if self.flaw == Flaw::IgnoresConditions {
            return self.store.append_all(appends);
        }
        self.store.append_if(condition, appends)
    }

    fn read_stream(&self, aggregate_id: &str, range: Range<Version>) -> Result<Vec<Event>> {
        if range.is_backwards {
            self.lacks(Capability::Backwards)?;
        }
        let events = EventStore::read_stream(&self.store, aggregate_id, range);
        events.map(|events| self.altered(events))
    }

    fn read_all(&self, mut range: Range<Position>) -> Result<Vec<Event>> {
        if range.is_backwards {
            self.lacks(Capability::Backwards)?;
        }
        if let Some(from) = &mut range.from
            && self.flaw == Flaw::SkipsThePosition
        {
            from.0 += 1;
        }
        EventStore::read_all(&self.store, range).map(|events| self.altered(events))
    }

    fn query(&self, query: &Query) -> Result<Vec<Event>> {
        self.lacks(Capability::Query)?;
        EventStore::query(&self.store, query)
    }

    fn tail(&self, query: &Query, after: Position) -> Result<Box<dyn EventTail>> {
        self.lacks(Capability::Tail)?;
        let after = if self.flaw == Flaw::DeliversTwice {
            Position(after.0.saturating_sub(1))
        } else {
            after
        };
        EventStore::tail(&self.store, query, after)
    }
}

fn is_broken(flaw: Flaw, name: &str) -> bool {
    let (_, rule) = ALL
        .iter()
        .find(|(other, _)| *other == name)
        .expect("there is such a rule");
    let store = Altered::new(flaw);
    catch_unwind(AssertUnwindSafe(|| rule(&store))).is_err()
}

#[test]
fn a_broken_store_passed_for_one_that_keeps_the_contract() {
    for (flaw, rule) in [
        (Flaw::IgnoresExpectedVersions, "a_conflict_changes_nothing"),
        (Flaw::AppendsInParts, "appends_to_several_aggregates_are_all_or_none"),
        (Flaw::IgnoresConditions, "a_condition_is_checked_against_the_whole_log"),
        (Flaw::ForgetsIds, "a_repeated_append_is_acknowledged_once"),
        (Flaw::SkipsThePosition, "the_log_is_read_in_parts"),
        (Flaw::ReadsOneTooFew, "streams_are_read_in_parts"),
        (Flaw::LosesTags, "every_field_is_read_as_it_was_appended"),
        (Flaw::DeliversTwice, "a_tail_delivers_each_event_once"),
        (
            Flaw::RefusesWithTheWrongError,
            "a_condition_is_checked_against_the_whole_log",
        ),
        (Flaw::AnswersQueriesItDeniesToHave, "queries_find_what_they_ask_for"),
    ] {
        assert!(is_broken(flaw, rule), "{rule} did not find that a store {flaw:?}");
    }
}
