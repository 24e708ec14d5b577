//! A fault as data.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Call;
use super::pattern::is_match;
use crate::{Error, Result};

/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// The longest pattern, in bytes: that of a name.
const PATTERN_BYTES_MAX: usize = 255;

/// A fault: the calls on which it acts, and what happens then.
///
/// As JSON, for example `{"on": "append", "aggregate": "order-*", "nth": 3, "do": "conflict", "times": 2}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Fault {
    /// The operation.
    pub on: Operation,
    /// What happens.
    #[serde(rename = "do")]
    pub effect: Effect,
    /// Only calls about an aggregate whose id matches; `*` stands for any characters, `?` for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<String>,
    /// Only calls about an event whose type matches.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Only calls of a processor whose name matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// The first call that it acts on, of those that match; counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many times it acts. Once by default, without end with a chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The chance with which it acts on a call, 0 to 1. Without one it acts on each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<f64>,
    /// The length of a delay in milliseconds, at most 60,000; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

fn one() -> u64 {
    1
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// An append of any kind.
    Append,
    /// A query, a load of an aggregate by the toolkit, and every read through [`EventStore`](crate::testing::event_store::EventStore).
    /// [`Store::read_stream`](crate::Store::read_stream) and [`Store::read_all`](crate::Store::read_all) themselves cannot fail.
    Read,
    /// A write or a sync of a [journal](super::Faults::journal).
    Flush,
    /// An event that a projection applies on its own thread, in memory or in PostgreSQL.
    Projection,
    /// An event that the handler of a subscription gets.
    Handler,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append => "append",
            Self::Read => "read",
            Self::Flush => "flush",
            Self::Projection => "projection",
            Self::Handler => "handler",
        })
    }
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// The call fails, and nothing is changed: with [`Error::Unavailable`](crate::Error::Unavailable); in a projection or a handler with a transient
    /// error. A flush fails for good: the store rejects appends from then on.
    Fail,
    /// The append fails with a conflict, and nothing is changed. Acts on appends with an expected version or a condition.
    Conflict,
    /// The call waits first.
    Delay,
    /// The append is stored, and its caller gets [`Error::Unavailable`](crate::Error::Unavailable), as if the acknowledgement had been lost.
    CommitThenTimeout,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail => "fail",
            Self::Conflict => "conflict",
            Self::Delay => "delay",
            Self::CommitThenTimeout => "commit_then_timeout",
        })
    }
}

impl Fault {
    /// A fault that acts on the first call, once.
    pub fn new(on: Operation, effect: Effect) -> Self {
        Self {
            on,
            effect,
            aggregate: None,
            event_type: None,
            processor: None,
            nth: 1,
            times: None,
            chance: None,
            ms: None,
        }
    }

    /// Acts on calls about an aggregate whose id matches; `*` stands for any characters, `?` for one.
    #[must_use]
    pub fn aggregate(mut self, pattern: impl Into<String>) -> Self {
        self.aggregate = Some(pattern.into());
        self
    }

    /// Acts on calls about an event whose type matches.
    #[must_use]
    pub fn event_type(mut self, pattern: impl Into<String>) -> Self {
        self.event_type = Some(pattern.into());
        self
    }

    /// Acts on calls of a processor whose name matches.
    #[must_use]
    pub fn processor(mut self, pattern: impl Into<String>) -> Self {
        self.processor = Some(pattern.into());
        self
    }

    /// Acts on this call of those that match, counted from 1, and on later ones.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// Acts this number of times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Acts on a call with this chance, 0 to 1.
    #[must_use]
    pub fn chance(mut self, chance: f64) -> Self {
        self.chance = Some(chance);
        self
    }

    /// Sets the length of a delay: whole milliseconds.
    #[must_use]
    pub fn lasting(mut self, delay: Duration) -> Self {
        self.ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.ms.unwrap_or(100))
    }

    pub(super) fn times_or_default(&self) -> u64 {
        let default = if self.chance.is_some() { u64::MAX } else { 1 };
        self.times.unwrap_or(default)
    }

    pub(super) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::invalid(format!("a fault on {}: {what}", self.on)));
        let may_delay = self.effect == Effect::Delay;
        if matches!(self.effect, Effect::Conflict | Effect::CommitThenTimeout) && self.on != Operation::Append {
            return refuse(format!("only an append can {}", self.effect));
        }
        if self.ms.is_some() && !may_delay {
            return refuse(format!(
                "'ms' is the length of a delay, and this one does '{}'",
                self.effect
            ));
        }
        if self.delay() > DELAY_MAX {
            return refuse(format!(
                "a delay of {} ms is longer than {} ms",
                self.delay().as_millis(),
                DELAY_MAX.as_millis()
            ));
        }
        if self.nth == 0 || self.times == Some(0) {
            return refuse("'nth' and 'times' count from 1".to_owned());
        }
        if self.chance.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
            return refuse("'chance' is a number from 0 to 1".to_owned());
        }
        self.check_patterns().or_else(refuse)
    }

    fn check_patterns(&self) -> std::result::Result<(), String> {
        for (name, pattern) in [
            ("aggregate", &self.aggregate),
            ("type", &self.event_type),
            ("processor", &self.processor),
        ] {
            if pattern
                .as_ref()
                .is_some_and(|pattern| pattern.len() > PATTERN_BYTES_MAX)
            {
                return Err(format!("'{name}' is longer than {PATTERN_BYTES_MAX} bytes"));
            }
        }
        let has_processor = matches!(self.on, Operation::Projection | Operation::Handler);
        if self.processor.is_some() && !has_processor {
            return Err("only projections and handlers have a 'processor'".to_owned());
        }
        if self.on == Operation::Flush && (self.aggregate.is_some() || self.event_type.is_some()) {
            return Err("a flush has the events of many aggregates: leave 'aggregate' and 'type' out".to_owned());
        }
        Ok(())
    }

    pub(super) fn matches(&self, call: &Call<'_>) -> bool {
        let any = |pattern: &Option<String>, names: &[&str]| {
            let matches = |pattern: &String| names.iter().any(|name| is_match(pattern, name));
            pattern.as_ref().is_none_or(matches)
        };
        self.on == call.operation
            && (self.effect != Effect::Conflict || call.is_conditional)
            && any(&self.aggregate, call.aggregates)
            && any(&self.event_type, call.event_types)
            && any(&self.processor, call.processor.as_slice())
    }
}
