//! The columns of a CSV file, as a caller names them.

/// The columns of a CSV file. Those that are `None` are found by the usual names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The column with the id of the aggregate.
    pub aggregate: Option<String>,
    /// The column with the type of the aggregate.
    pub aggregate_type: Option<String>,
    /// The type of every aggregate if there is no such column.
    pub aggregate_type_default: Option<String>,
    /// The column with the type of the event.
    pub event_type: Option<String>,
    /// The column with the time at which it happened.
    pub time: Option<String>,
    /// The column with the user.
    pub user: Option<String>,
    /// The column with the organization.
    pub organization: Option<String>,
    /// The column with the conversation.
    pub correlation: Option<String>,
    /// The column with the cause.
    pub causation: Option<String>,
}
