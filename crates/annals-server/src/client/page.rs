//! A page of events.

use annals::{Event, Gap, Position};

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The events.
    pub events: Vec<Event>,
    /// The position as of which the page is complete.
    pub as_of: Position,
    /// Events that were dropped from the range of the page.
    pub gaps: Vec<Gap>,
    /// The start of the next page; `None` at the end. For a query, this is the text of a [`Cursor`](annals::Cursor).
    pub next: Option<String>,
}
