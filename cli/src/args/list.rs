//! What `list` lists.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

/// Which values, and how many of them.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// What to list
    #[arg(value_enum, value_name = "WHAT")]
    pub(crate) what: Listed,
    /// Only those that begin with this text
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) prefix: Option<String>,
    /// In which order
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    pub(crate) sort: Sort,
    /// At most this many, 0 for all [default: 50 in a table, all in other formats]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Go on where the page before ended
    #[arg(long, value_name = "CURSOR", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) cursor: Option<String>,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listed {
    /// Ids of aggregates, with their types
    Aggregates,
    /// Types of aggregates
    AggregateTypes,
    /// Conversations
    Correlations,
    /// Organizations
    Organizations,
    /// Tags
    Tags,
    /// Types of events
    Types,
    /// Users
    Users,
}

/// What values are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// By name
    #[default]
    Name,
    /// By number of events, the largest first
    Events,
    /// By the position of the last event, the latest first
    Last,
}
