//! Messages, and the kinds of buses that dispatch them.

use std::fmt;

/// A command or a query, which a [`Bus`](super::Bus) dispatches to the handler of its type.
///
/// A struct or an enum of the user. [`Bus`](super::Bus) has an example. A query does not compile on the command bus:
///
/// ```compile_fail,E0271
/// # use annals::cqrs::{CommandBus, LoadError, Message, QueryBus};
/// struct Balance;
///
/// impl Message for Balance {
///     type Bus = QueryBus;
///     type Reply = u64;
///     type Error = LoadError;
///     const NAME: &'static str = "Balance";
/// }
///
/// CommandBus::builder().handle(|_: &Balance, _| Ok(3)).build();
/// ```
pub trait Message: 'static {
    /// The bus of the message: [`CommandBus`](super::CommandBus) or [`QueryBus`](super::QueryBus). A dispatch on the other one does not compile.
    type Bus;

    /// What the handler returns.
    type Reply: 'static;

    /// The error of the handler. One of a command is often [`CommandError`](crate::cqrs::CommandError).
    type Error: fmt::Display + 'static;

    /// The name in log lines and errors, such as `Deposit`. Each message type of a bus has a different name.
    const NAME: &'static str;
}

/// The kind of a bus. A message is dispatched on a bus of one kind.
pub trait BusKind: 'static {
    /// The name of the bus in errors, such as `command bus`.
    const NAME: &'static str;
}

/// The kind of the [`CommandBus`](super::CommandBus).
#[derive(Debug)]
pub enum Commands {}

impl BusKind for Commands {
    const NAME: &'static str = "command bus";
}

/// The kind of the [`QueryBus`](super::QueryBus).
#[derive(Debug)]
pub enum Queries {}

impl BusKind for Queries {
    const NAME: &'static str = "query bus";
}
