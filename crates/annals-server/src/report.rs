//! The final report of a server.

use annals::{Error, Position};

/// The final report of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Connections that were cut off because they did not finish in time.
    pub cut_off: usize,
    /// The stores that the server was made with, by the names of their namespaces.
    pub namespaces: Vec<NamespaceReport>,
}

/// The final state of a namespace.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NamespaceReport {
    /// The name.
    pub name: String,
    /// The last visible position.
    pub visible: Position,
    /// The position up to which every event is synced; `None` without a journal.
    pub synced: Option<Position>,
    /// The reason why the journal did not sync all events, if any.
    pub error: Option<Error>,
}
