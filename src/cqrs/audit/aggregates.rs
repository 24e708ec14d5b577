//! Aggregates whose commands are recorded.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use serde::Serialize;
use uuid::Uuid;

use super::commands::{Asked, Became, CommandLog, CommandOutcome};
use super::name;
use crate::cqrs::process::panic_text;
use crate::cqrs::{Aggregate, Aggregates, Codec, CommandError, Context, Executed, Json, Pending};
use crate::{Durability, StreamId};

/// [`Aggregates`] whose commands are recorded in a [`CommandLog`]: accepted, rejected and failed ones.
///
/// It executes commands only; for reads, use the wrapped [`aggregates`](Self::aggregates).
pub struct AuditedAggregates<A: Aggregate, C = Json> {
    aggregates: Aggregates<A, C>,
    log: CommandLog,
}

impl<A: Aggregate, C: Clone> Clone for AuditedAggregates<A, C> {
    fn clone(&self) -> Self {
        Self {
            aggregates: self.aggregates.clone(),
            log: self.log.clone(),
        }
    }
}

impl<A: Aggregate, C: Codec> fmt::Debug for AuditedAggregates<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditedAggregates")
            .field("aggregates", &self.aggregates)
            .field("log", &self.log)
            .finish()
    }
}

impl CommandLog {
    /// Wraps aggregates, so that their commands are recorded.
    pub fn aggregates<A: Aggregate, C: Codec>(&self, aggregates: &Aggregates<A, C>) -> AuditedAggregates<A, C> {
        AuditedAggregates {
            aggregates: aggregates.clone(),
            log: self.clone(),
        }
    }
}

type Result<T, A> = std::result::Result<T, CommandError<<A as Aggregate>::Rejection>>;

impl<A: Aggregate, C: Codec> AuditedAggregates<A, C>
where
    A::Command: Serialize,
    A::Rejection: fmt::Display,
{
    /// The wrapped aggregates, whose commands are not recorded.
    pub fn aggregates(&self) -> &Aggregates<A, C> {
        &self.aggregates
    }

    /// A handle whose commands have this context; see [`Aggregates::with_context`].
    #[must_use]
    pub fn with_context(&self, context: Context) -> Self {
        Self {
            aggregates: self.aggregates.with_context(context),
            log: self.log.clone(),
        }
    }

    /// Executes a command and records it; see [`Aggregates::execute`].
    ///
    /// # Errors
    ///
    /// As [`Aggregates::execute`]. A record that cannot be written does not fail the command; see [`CommandLog`].
    ///
    /// # Panics
    ///
    /// As [`Aggregates::execute`]; the command is recorded as failed.
    pub fn execute(&self, id: &str, command: &A::Command) -> Result<Executed, A> {
        self.recorded(None, id, command, |aggregates| {
            let executed = aggregates.execute(id, command)?;
            Ok((executed, executed))
        })
    }

    /// Executes a command at most once and records it; see [`Aggregates::execute_once`]. A repetition is recorded as such.
    ///
    /// # Errors
    ///
    /// As [`Aggregates::execute_once`].
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute).
    pub fn execute_once(&self, command_id: Uuid, id: &str, command: &A::Command) -> Result<Executed, A> {
        self.recorded(Some(command_id), id, command, |aggregates| {
            let executed = aggregates.execute_once(command_id, id, command)?;
            Ok((executed, executed))
        })
    }

    /// Executes a command without waiting until its events are durable, and records it; see [`Aggregates::execute_async`]. The record is written
    /// when the events are readable.
    ///
    /// # Errors
    ///
    /// As [`Aggregates::execute_async`].
    ///
    /// # Panics
    ///
    /// As [`execute`](Self::execute).
    pub fn execute_async(&self, id: &str, command: &A::Command, durability: Durability) -> Result<Pending, A> {
        self.recorded(None, id, command, |aggregates| {
            let pending = aggregates.execute_async(id, command, durability)?;
            Ok((pending.executed, pending))
        })
    }

    fn recorded<T>(
        &self,
        command_id: Option<Uuid>,
        id: &str,
        command: &A::Command,
        execute: impl FnOnce(&Aggregates<A, C>) -> Result<(Executed, T), A>,
    ) -> Result<T, A> {
        let begun = self.log.begin();
        let executed = catch_unwind(AssertUnwindSafe(|| execute(&self.aggregates)));
        let became = match &executed {
            Ok(Ok((executed, _))) => Became {
                outcome: CommandOutcome::Accepted,
                reason: None,
                appended: executed.appended,
            },
            Ok(Err(error)) => Became::of_error(error),
            Err(panic) => Became::of_panic(&**panic),
        };
        // Without a pseudonym, the record has no name rather than a personal one.
        let stored_id = self.aggregates.stored_id(id).ok();
        let context = self.aggregates.events.stored_context(&self.aggregates.context).ok();
        let asked = Asked {
            name: name::of(command),
            command_id,
            stream: stored_id.map(|id| StreamId::new(A::TYPE, &*id)),
            context: context.as_deref(),
            payload: self.log.payload(command),
        };
        self.log.record(&begun, &asked, became);
        let executed = executed.unwrap_or_else(|panic| resume_unwind(panic));
        executed.map(|(_, value)| value)
    }
}

impl Became {
    fn of_panic(panic: &(dyn Any + Send)) -> Self {
        Self {
            outcome: CommandOutcome::Failed,
            reason: Some(format!("the command panicked: {}", panic_text(panic))),
            appended: None,
        }
    }

    fn of_error<R: fmt::Display>(error: &CommandError<R>) -> Self {
        let (outcome, reason) = match error {
            CommandError::Rejected(rejection) => (CommandOutcome::Rejected, rejection.to_string()),
            CommandError::Inline { reason } => (CommandOutcome::Rejected, reason.clone()),
            CommandError::Load(_)
            | CommandError::Unwritable { .. }
            | CommandError::Reused { .. }
            | CommandError::Contended { .. }
            | CommandError::Store(_) => (CommandOutcome::Failed, error.to_string()),
        };
        Self {
            outcome,
            reason: Some(reason),
            appended: None,
        }
    }
}
