//! Atomic commands to several aggregates.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::part::{CommandId, Part};
use super::projection::{Batch, Inline, add_inline, with_inline};
use super::retry::with_retry;
use super::{Aggregate, Aggregates, Codec, CommandError, Retry};
use crate::{Append, Appended, Error, Store};

/// Executes commands on several aggregates, of one type or of several, as one atomic append.
///
/// ```
/// use annals::Store;
/// use annals::cqrs::{Aggregate, Aggregates, CommandError, Together};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum AccountEvent { Deposited { amount: u64 }, Withdrawn { amount: u64 } }
/// # enum AccountCommand { Deposit { amount: u64 }, Withdraw { amount: u64 } }
/// # #[derive(Default)] struct Account { balance: u64 }
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "Account";
/// #     type Event = AccountEvent;
/// #     type Command = AccountCommand;
/// #     type Rejection = &'static str;
/// #     fn initial() -> Self { Self::default() }
/// #     fn decide(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, &'static str> {
/// #         match *command {
/// #             AccountCommand::Deposit { amount } => Ok(vec![AccountEvent::Deposited { amount }]),
/// #             AccountCommand::Withdraw { amount } if amount > self.balance => Err("not covered"),
/// #             AccountCommand::Withdraw { amount } => Ok(vec![AccountEvent::Withdrawn { amount }]),
/// #         }
/// #     }
/// #     fn evolve(&mut self, event: AccountEvent) {
/// #         match event {
/// #             AccountEvent::Deposited { amount } => self.balance += amount,
/// #             AccountEvent::Withdrawn { amount } => self.balance -= amount,
/// #         }
/// #     }
/// # }
///
/// let store = Store::in_memory();
/// let accounts = Aggregates::<Account>::new(&store);
/// accounts.execute("anna", &AccountCommand::Deposit { amount: 100 })?;
///
/// let transfer = |amount| {
///     Together::new(&store).execute(|work| {
///         work.execute(&accounts, "anna", &AccountCommand::Withdraw { amount })?;
///         work.execute(&accounts, "bert", &AccountCommand::Deposit { amount })
///     })
/// };
/// transfer(60)?;
/// assert!(matches!(transfer(60), Err(CommandError::Rejected("not covered"))));
/// assert_eq!(accounts.load("bert")?.state.balance, 60);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Together {
    store: Store,
    retry: Retry,
}

impl Together {
    /// Atomic commands on aggregates of `store`. Events have the durability of this handle when they are acknowledged.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            retry: Retry::default(),
        }
    }

    /// Sets the number of attempts and the pauses between them; see [`Retry`] for the defaults.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Calls `work`, which executes commands on a [`Work`], and appends all their events atomically.
    ///
    /// After a conflict in one of the aggregates, it calls `work` again, so `work` must have no other effects. Returns one acknowledgement per
    /// aggregate with events, in the order of the commands.
    ///
    /// # Errors
    ///
    /// The first error that `work` returns; otherwise as [`Aggregates::execute`]; [`Error::Invalid`] when `work` executes two commands on
    /// one aggregate.
    ///
    /// # Panics
    ///
    /// When `work` or an aggregate's functions panic. Nothing was appended, and the store is unaffected.
    pub fn execute<R>(
        &self,
        mut work: impl FnMut(&mut Work<'_>) -> Result<(), CommandError<R>>,
    ) -> Result<Vec<Appended>, CommandError<R>> {
        with_retry(&self.store, self.retry, |_| {
            let mut commands = Work {
                store: &self.store,
                parts: Vec::new(),
                inline: Vec::new(),
                settles: Vec::new(),
            };
            work(&mut commands)?;
            commands.append()
        })
    }
}

/// The commands of one atomic append. See [`Together`].
pub struct Work<'a> {
    store: &'a Store,
    parts: Vec<Part>,
    /// The inline projections of all aggregates, ascending by address.
    inline: Vec<Arc<dyn Inline>>,
    /// What each aggregate type has to do after the append.
    settles: Vec<Box<dyn FnOnce()>>,
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl Work<'_> {
    /// Decides a command on the current state of an aggregate. Its events are appended with those of the other commands, not by this call.
    ///
    /// # Errors
    ///
    /// As [`Aggregates::execute`]; [`Error::Invalid`] when `aggregates` belongs to another store. Use [`CommandError::map_rejection`] where the
    /// aggregates have different rejections.
    pub fn execute<A: Aggregate + 'static, C: Codec>(
        &mut self,
        aggregates: &Aggregates<A, C>,
        id: &str,
        command: &A::Command,
    ) -> Result<(), CommandError<A::Rejection>> {
        self.decide(aggregates, None, id, command)
    }

    /// Decides a command at most once, like [`Aggregates::execute_once`]. Commands on different aggregates may share the id.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute) and [`Aggregates::execute_once`].
    pub fn execute_once<A: Aggregate + 'static, C: Codec>(
        &mut self,
        command_id: Uuid,
        aggregates: &Aggregates<A, C>,
        id: &str,
        command: &A::Command,
    ) -> Result<(), CommandError<A::Rejection>>
    where
        A::Command: Serialize,
    {
        let command_id = CommandId::new(command_id, command)?.blinded(aggregates.events.derived_data().as_deref());
        self.decide(aggregates, Some(&command_id), id, command)
    }

    fn decide<A: Aggregate + 'static, C: Codec>(
        &mut self,
        aggregates: &Aggregates<A, C>,
        command_id: Option<&CommandId>,
        id: &str,
        command: &A::Command,
    ) -> Result<(), CommandError<A::Rejection>> {
        let mut part = aggregates.part(id)?;
        if !aggregates.store.is_same(self.store) {
            let error = Error::invalid(format!(
                "aggregate '{}' is of another store than the others: one append goes to one store",
                part.stream.aggregate_id
            ));
            return Err(CommandError::Store(error));
        }
        let settle = aggregates.decide(command_id, command, &mut part)?;
        if !part.is_empty() {
            add_inline(&mut self.inline, aggregates.inline.iter().cloned());
            let (aggregates, id) = (aggregates.clone(), part.stream.aggregate_id.clone());
            self.parts.push(part);
            self.settles.push(Box::new(move || aggregates.settle(&id, settle)));
        }
        Ok(())
    }

    fn append<R>(self) -> Result<Vec<Appended>, CommandError<R>> {
        if self.parts.is_empty() {
            return Ok(Vec::new());
        }
        let events: Vec<_> = self.parts.iter().flat_map(Part::events).cloned().collect();
        let appends: Vec<Append<'_>> = self.parts.into_iter().map(Part::into_append).collect();
        let refused = |reason| CommandError::Inline { reason };
        let append = || self.store.append_all(appends).map_err(CommandError::Store);
        let appended = with_inline(self.store, &self.inline, Batch::new(&events), refused, append)?;
        for settle in self.settles {
            settle();
        }
        Ok(appended)
    }
}
