//! Where faults act: at the calls of a store's handle, and at the handlers of processors.

use smallvec::SmallVec;

use super::{Call, Effect, Fault, Faults, Operation};
#[cfg(feature = "cqrs")]
use crate::Event;
use crate::journal::{JournalError, JournalErrorKind};
use crate::{Append, Condition, Conflict, Error, Expected, NewEvent, Result, Store, StreamId, Version};

/// Waits as long as a fault says.
#[expect(clippy::disallowed_methods, reason = "the test asks for a delay")]
pub(super) fn pause(fault: &Fault) {
    std::thread::sleep(fault.delay());
}

fn unavailable(message: &'static str) -> Error {
    Error::Unavailable {
        cause: JournalError::new(JournalErrorKind::Retry, message),
    }
}

/// A fault that acts when a future appends.
#[derive(Debug)]
pub(crate) struct StagedFault {
    fault: Fault,
    error: Option<Error>,
}

impl StagedFault {
    /// The error before anything is written, or a delay.
    pub(crate) fn before(&mut self) -> Option<Error> {
        if self.fault.effect == Effect::Delay {
            pause(&self.fault);
        }
        self.error.clone()
    }

    /// The error after the events are stored.
    pub(crate) fn after(&self) -> Option<Error> {
        let is_lost = self.fault.effect == Effect::CommitThenTimeout;
        let message = "a fault of the test on this append: the events are stored, and the acknowledgement is lost";
        is_lost.then(|| unavailable(message))
    }
}

impl Store {
    /// A handle of the same store with faults: they act on its calls, and on those of aggregates, processors and groups that use this handle. It
    /// replaces the faults of this handle, if there are any.
    #[must_use]
    pub fn with_faults(&self, faults: &Faults) -> Self {
        let mut store = self.clone();
        store.faults = Some(faults.clone());
        store
    }

    /// Runs an append, subject to faults.
    pub(crate) fn append_with_faults<T>(
        &self,
        appends: &[Append<'_>],
        condition: Option<&Condition>,
        append: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        match self
            .faults
            .as_ref()
            .and_then(|faults| draw_append(faults, appends, condition))
        {
            None => append(),
            Some(fault) => self.act(&fault, appends, condition, append),
        }
    }

    fn act<T>(
        &self,
        fault: &Fault,
        appends: &[Append<'_>],
        condition: Option<&Condition>,
        append: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        match fault.effect {
            Effect::Fail => Err(unavailable("a fault of the test on this append: nothing was stored")),
            Effect::Conflict => Err(self.staged_conflict(appends, condition).into()),
            Effect::Delay => {
                pause(fault);
                append()
            }
            Effect::CommitThenTimeout => append().and_then(|_| {
                Err(unavailable(
                    "a fault of the test on this append: the events are stored, and the acknowledgement is lost",
                ))
            }),
        }
    }

    /// The fault of an append that is a future.
    pub(crate) fn stage_fault(
        &self,
        stream: &StreamId,
        expected: Expected,
        events: &[NewEvent<'_>],
    ) -> Option<StagedFault> {
        let appends = [Append::new(stream, expected, events)];
        let fault = draw_append(self.faults.as_ref()?, &appends, None)?;
        let error = match fault.effect {
            Effect::Fail => Some(unavailable("a fault of the test on this append: nothing was stored")),
            Effect::Conflict => Some(self.staged_conflict(&appends, None).into()),
            Effect::Delay | Effect::CommitThenTimeout => None,
        };
        Some(StagedFault { fault, error })
    }

    /// The conflict with an earlier writer, whose events do not exist.
    fn staged_conflict(&self, appends: &[Append<'_>], condition: Option<&Condition>) -> Conflict {
        let position = self.visible();
        let checked = appends.iter().find(|append| append.expected != Expected::Any);
        match (condition, checked) {
            (None, Some(append)) => Conflict::Version {
                stream: StreamId::clone(&append.stream),
                expected: append.expected,
                actual: self.version_after_another(&append.stream),
                position,
            },
            _ => Conflict::Condition { position },
        }
    }

    fn version_after_another(&self, stream: &StreamId) -> Version {
        let info = self.stream_info(&stream.aggregate_id);
        Version(info.map_or(0, |info| info.version.0) + 1)
    }

    /// Fails or waits if a fault acts on reads of this aggregate; with `None`, on reads of several.
    pub(crate) fn read_with_faults(&self, aggregate_id: Option<&str>) -> Result<()> {
        let Some(faults) = &self.faults else {
            return Ok(());
        };
        let fault = faults.draw(&Call {
            operation: Operation::Read,
            aggregates: aggregate_id.as_slice(),
            event_types: &[],
            processor: None,
            is_conditional: false,
        });
        match fault {
            Some(fault) if fault.effect == Effect::Delay => pause(&fault),
            Some(_) => return Err(unavailable("a fault of the test on this read")),
            None => {}
        }
        Ok(())
    }

    /// Fails with a reason, or waits, if there is a fault on handling this event.
    #[cfg(feature = "cqrs")]
    pub(crate) fn handle_with_faults(
        &self,
        operation: Operation,
        processor: &str,
        event: &Event,
    ) -> std::result::Result<(), &'static str> {
        let fault = self.faults.as_ref().and_then(|faults| {
            faults.draw(&Call {
                operation,
                aggregates: &[event.aggregate_id()],
                event_types: &[event.event_type()],
                processor: Some(processor),
                is_conditional: false,
            })
        });
        match fault {
            Some(fault) if fault.effect == Effect::Delay => pause(&fault),
            Some(_) => return Err("a fault of the test on this event"),
            None => {}
        }
        Ok(())
    }
}

fn draw_append(faults: &Faults, appends: &[Append<'_>], condition: Option<&Condition>) -> Option<Fault> {
    let aggregates: SmallVec<[&str; 4]> = appends
        .iter()
        .map(|append| append.stream.aggregate_id.as_str())
        .collect();
    let events = appends.iter().flat_map(|append| append.events.iter());
    let event_types: SmallVec<[&str; 8]> = events.map(|event| event.event_type.as_ref()).collect();
    faults.draw(&Call {
        operation: Operation::Append,
        aggregates: &aggregates,
        event_types: &event_types,
        processor: None,
        is_conditional: condition.is_some() || appends.iter().any(|append| append.expected != Expected::Any),
    })
}
