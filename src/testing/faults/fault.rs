//! A fault as data: the calls that it acts on, and its effect.

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

/// A fault: the calls on which it acts, and its effect on them.
///
/// A fault without patterns acts on every call of its [`Operation`]. Only matching calls count for `nth` and `times`. In a pattern, `*` stands for any
/// characters and `?` for one. In JSON, only `on` and `do` are required:
///
/// ```json
/// {"on": "append", "do": "conflict", "aggregate": "order-*", "type": "OrderPaid", "nth": 3, "times": 2}
/// {"on": "handler", "do": "fail", "processor": "mailer", "chance": 0.25}
/// {"on": "flush", "do": "delay", "ms": 250}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Fault {
    /// The operation that fails.
    pub on: Operation,
    /// What happens to a call; `do` in JSON.
    #[serde(rename = "do")]
    pub effect: Effect,
    /// Only calls about an aggregate whose id matches this pattern, of at most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<String>,
    /// Only calls about an event whose type matches this pattern; `type` in JSON.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Only calls of a processor whose name matches this pattern; for [`Operation::Projection`] and [`Operation::Handler`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<String>,
    /// The first matching call that it acts on, counted from 1, which is the default.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many calls it acts on. By default 1, or no limit if there is a `chance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The probability that it acts on a matching call, from 0 to 1. By default it acts on every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<f64>,
    /// The length of an [`Effect::Delay`] in milliseconds, at most 60,000; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

fn one() -> u64 {
    1
}

/// A kind of call that faults act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// An append of any kind, also of a command or a saga.
    Append,
    /// A query, a load of an aggregate by the toolkit, and every read through [`EventStore`](crate::testing::event_store::EventStore).
    /// [`Store::read_stream`](crate::Store::read_stream) and [`Store::read_all`](crate::Store::read_all) themselves cannot fail.
    Read,
    /// A write or a sync of a [journal](super::Faults::journal).
    Flush,
    /// The application of an event by a projection that runs as a processor, in memory or in PostgreSQL.
    Projection,
    /// The call of a subscription's handler with an event.
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

/// What a fault does to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// The call fails, and nothing is changed. Appends and reads fail with [`Error::Unavailable`](crate::Error::Unavailable), projections and handlers with
    /// a transient error. A failed flush is permanent: the store rejects appends from then on.
    Fail,
    /// The append fails with [`Error::Conflict`](crate::Error::Conflict), and nothing is changed. Acts only on appends with an expected version or a
    /// condition.
    Conflict,
    /// The call waits, and then succeeds.
    Delay,
    /// The append is stored, and fails with [`Error::Unavailable`](crate::Error::Unavailable), as if the acknowledgement had been lost.
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
    /// A fault that acts once, on the first call of the operation.
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

    /// Acts only on calls about an aggregate whose id matches this pattern.
    #[must_use]
    pub fn aggregate(mut self, pattern: impl Into<String>) -> Self {
        self.aggregate = Some(pattern.into());
        self
    }

    /// Acts only on calls about an event whose type matches this pattern.
    #[must_use]
    pub fn event_type(mut self, pattern: impl Into<String>) -> Self {
        self.event_type = Some(pattern.into());
        self
    }

    /// Acts only on calls of a processor whose name matches this pattern.
    #[must_use]
    pub fn processor(mut self, pattern: impl Into<String>) -> Self {
        self.processor = Some(pattern.into());
        self
    }

    /// Acts first on the `nth` matching call, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// Acts on this number of calls.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Acts on a matching call with this probability, from 0 to 1.
    #[must_use]
    pub fn chance(mut self, chance: f64) -> Self {
        self.chance = Some(chance);
        self
    }

    /// Sets the length of an [`Effect::Delay`], rounded down to milliseconds.
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
                "'ms' is the length of a delay, and 'do' is '{}': leave 'ms' out",
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
        if self.on == Operation::Read && self.event_type.is_some() {
            return Err("a read is of no type of event: leave 'type' out".to_owned());
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
