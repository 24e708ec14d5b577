//! Records the commands of a command bus: middleware.

use std::any::TypeId;
use std::fmt;

use hashbrown::HashMap;
use serde::Serialize;
use serde_json::value::RawValue;

use super::commands::{Asked, Became, CommandLog, CommandOutcome};
use crate::StreamId;
use crate::cqrs::middleware::{Dispatch, Middleware, Next, Outcome};
use crate::cqrs::{Executed, Message};

/// What a description takes from a message: its aggregate and its payload.
type Describe = dyn Fn(&Dispatch<'_>, &CommandLog) -> (Option<StreamId>, Option<Box<RawValue>>) + Send + Sync;

/// Whether an outcome is a rejection.
type IsRejection = dyn Fn(&Outcome) -> bool + Send + Sync;

/// Middleware that records the commands of a [`CommandBus`](crate::cqrs::CommandBus). See [`CommandLog::bus`].
pub struct BusLog {
    log: CommandLog,
    described: HashMap<TypeId, Described, foldhash::fast::RandomState>,
}

struct Described {
    name: &'static str,
    describe: Box<Describe>,
    is_rejection: Box<IsRejection>,
}

impl fmt::Debug for BusLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.described.values().map(|described| described.name).collect();
        f.debug_struct("BusLog")
            .field("log", &self.log)
            .field("described", &names)
            .finish()
    }
}

impl CommandLog {
    /// Middleware that records each dispatch: make it the outermost [layer](crate::cqrs::BusBuilder::layer), so that it sees what other middleware
    /// refuses.
    ///
    /// A message is recorded with its name, and, if it is [described](BusLog::describe), with its aggregate and payload. A reply of type
    /// [`Executed`] says which events the command led to. A message that middleware refuses is rejected. An error is failed, unless the
    /// description says that it is a rejection.
    ///
    /// Dispatches on a bus with this layer whose handlers use [audited aggregates](Self::aggregates) are recorded twice: use one of the two.
    pub fn bus(&self) -> BusLog {
        BusLog {
            log: self.clone(),
            described: HashMap::default(),
        }
    }
}

impl BusLog {
    /// Describes the messages of type `M`: the aggregate that they go to, and which errors of their handler are rejections. Their payload is
    /// recorded as JSON, unless the log is [without payloads](CommandLog::without_payloads).
    #[must_use]
    pub fn describe<M: Message + Serialize>(
        mut self,
        aggregate: impl Fn(&M) -> Option<StreamId> + Send + Sync + 'static,
        is_rejection: impl Fn(&M::Error) -> bool + Send + Sync + 'static,
    ) -> Self {
        let describe = move |dispatch: &Dispatch<'_>, log: &CommandLog| {
            let message = dispatch.message::<M>();
            let payload = message.and_then(|message| log.payload(message));
            (message.and_then(&aggregate), payload)
        };
        let described = Described {
            name: M::NAME,
            describe: Box::new(describe),
            is_rejection: Box::new(move |outcome| outcome.error::<M::Error>().is_some_and(&is_rejection)),
        };
        self.described.insert(TypeId::of::<M>(), described);
        self
    }

    /// The middleware.
    pub fn layer(self) -> impl Middleware {
        move |dispatch: &Dispatch<'_>, next: Next<'_>| self.run(dispatch, next)
    }

    fn run(&self, dispatch: &Dispatch<'_>, next: Next<'_>) -> Outcome {
        let begun = self.log.begin();
        let described = self.described.get(&dispatch.message_type());
        let (stream, payload) = described
            .map(|described| (described.describe)(dispatch, &self.log))
            .unwrap_or_default();
        let outcome = next.run(dispatch);
        let asked = Asked {
            name: dispatch.name().to_owned(),
            command_id: None,
            stream,
            context: Some(dispatch.context()),
            payload,
        };
        let is_rejection = described.is_some_and(|described| (described.is_rejection)(&outcome));
        self.log
            .record(&begun, &asked, Became::of_outcome(&outcome, is_rejection));
        outcome
    }
}

impl Became {
    fn of_outcome(outcome: &Outcome, is_rejection: bool) -> Self {
        let reason = match outcome {
            Outcome::Replied(reply) => {
                let executed = reply.downcast_ref::<Executed>();
                return Self {
                    outcome: CommandOutcome::Accepted,
                    reason: None,
                    appended: executed.and_then(|executed| executed.appended),
                };
            }
            Outcome::Failed(error) => error.to_string(),
            Outcome::Refused { .. } | Outcome::Panicked { .. } => outcome.to_string(),
        };
        let is_rejection = is_rejection || matches!(outcome, Outcome::Refused { .. });
        Self {
            outcome: if is_rejection {
                CommandOutcome::Rejected
            } else {
                CommandOutcome::Failed
            },
            reason: Some(reason),
            appended: None,
        }
    }
}
