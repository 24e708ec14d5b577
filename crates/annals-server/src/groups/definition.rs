//! The definition of a group, in the form of requests and of its events in the store.

use std::time::Duration;

use annals::cqrs::{GroupBuilder, Retry, StartFrom};
use annals::{Field, Filter, Position, Query, Store};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::problem::{Kind, Problem};
use crate::wire::filter::WireFilter;

/// The aggregate type of the streams of definitions.
pub(super) const DEFINITIONS: &str = "annals.ServedGroup";
/// Seconds of a lease, at most.
const LEASE_SECONDS_MAX: u64 = 86_400;
/// Attempts at an event, at most.
const ATTEMPTS_MAX: u32 = 1_000;
/// Seconds of a pause between two attempts, at most.
const PAUSE_SECONDS_MAX: u64 = 86_400;
/// Events that are fetched and not acknowledged, at most.
const IN_FLIGHT_MAX: usize = 4_096;
/// Bytes of a definition, at most.
const BYTES_MAX: usize = 64 << 10;

/// The settings of a group.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Definition {
    /// The filter of its events; without one, all events. Its text is kept, digit by digit.
    filter: Option<Box<RawValue>>,
    pub(super) lease_seconds: u64,
    attempts: u32,
    first_pause_seconds: u64,
    longest_pause_seconds: u64,
    pub(super) max_in_flight: usize,
    start: Start,
    skip_gaps: bool,
}

/// The position at which a new group starts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum Start {
    #[default]
    Beginning,
    End,
    After(u64),
}

impl Default for Definition {
    fn default() -> Self {
        Self {
            filter: None,
            lease_seconds: 30,
            attempts: 5,
            first_pause_seconds: 1,
            longest_pause_seconds: 60,
            max_in_flight: 1_024,
            start: Start::default(),
            skip_gaps: false,
        }
    }
}

impl Definition {
    /// # Errors
    ///
    /// [`Kind::Invalid`] with the reason.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Problem> {
        if json.len() > BYTES_MAX {
            return Err(Problem::invalid(format!(
                "a definition has more than {BYTES_MAX} bytes"
            )));
        }
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(Problem::invalid("a definition is a JSON object"));
        }
        let parsed: Result<Self, _> = serde_json::from_slice(json);
        let definition = parsed.map_err(|error| Problem::invalid(format!("the body is invalid: {error}")))?;
        let limits = [
            ("leaseSeconds", definition.lease_seconds, 1, LEASE_SECONDS_MAX),
            ("attempts", definition.attempts.into(), 1, ATTEMPTS_MAX.into()),
            (
                "firstPauseSeconds",
                definition.first_pause_seconds,
                0,
                PAUSE_SECONDS_MAX,
            ),
            (
                "longestPauseSeconds",
                definition.longest_pause_seconds,
                0,
                PAUSE_SECONDS_MAX,
            ),
            ("maxInFlight", definition.max_in_flight as u64, 1, IN_FLIGHT_MAX as u64),
        ];
        let mut wrong = limits
            .iter()
            .filter(|(_, given, least, most)| given < least || given > most);
        if let Some((name, given, least, most)) = wrong.next() {
            return Err(Problem::invalid(format!(
                "{name} is {given}, but must be {least} to {most}"
            )));
        }
        Ok(definition)
    }

    /// # Errors
    ///
    /// [`Kind::Internal`], which does not occur: every member can be written.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec(self).map_err(|error| Problem::new(Kind::Internal, error.to_string()))
    }

    /// # Errors
    ///
    /// [`Kind::Invalid`] if the store cannot follow the filter.
    pub(super) fn check(&self, store: &Store) -> Result<(), Problem> {
        drop(store.tail(self.query()?, Position(0))?);
        Ok(())
    }

    /// The query of the events, without the definitions of groups.
    pub(super) fn query(&self) -> Result<Query, Problem> {
        let own = Filter::is(Field::AggregateType, DEFINITIONS);
        let query = Query::all().except(own);
        let Some(filter) = &self.filter else {
            return Ok(query);
        };
        let parsed: Result<WireFilter, _> = serde_json::from_str(filter.get());
        let filter = parsed.map_err(|error| Problem::invalid(format!("the filter is invalid: {error}")))?;
        Ok(query.filter(filter.into_filter().map_err(Problem::invalid)?))
    }

    /// A builder of a group with these settings.
    pub(super) fn apply<E: serde::de::DeserializeOwned + 'static>(&self, builder: GroupBuilder<E>) -> GroupBuilder<E> {
        let retry = Retry::default()
            .attempts(self.attempts)
            .first_pause(Duration::from_secs(self.first_pause_seconds))
            .longest_pause(Duration::from_secs(self.longest_pause_seconds));
        let builder = builder
            .lease(Duration::from_secs(self.lease_seconds))
            .retry(retry)
            .max_in_flight(self.max_in_flight)
            .start_from(match self.start {
                Start::Beginning => StartFrom::Beginning,
                Start::End => StartFrom::End,
                Start::After(position) => StartFrom::After(Position(position)),
            });
        if self.skip_gaps { builder.skip_gaps() } else { builder }
    }
}
