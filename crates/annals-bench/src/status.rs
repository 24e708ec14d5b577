//! The status of a row, in a word.

use crate::results::RowSummary;

/// The status of a row; the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The oracle found a broken rule: the figures are invalid.
    Wrong,
    /// It has no figures, or fewer repeats than it should.
    Failed,
    /// Less was accepted than was offered.
    Overloaded,
    /// A goal was missed.
    Missed,
    /// Operations failed.
    Errors,
    /// Everything is as it should be.
    Good,
    /// The same for a backend that stores no events.
    Unchecked,
}

impl Status {
    /// Its name in tables and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wrong => "WRONG",
            Self::Failed => "failed",
            Self::Overloaded => "OVERLOADED",
            Self::Missed => "missed",
            Self::Errors => "errors",
            Self::Good => "verified",
            Self::Unchecked => "unchecked",
        }
    }
}

/// The status of `row`.
pub fn status(row: &RowSummary) -> Status {
    if row.is_red() {
        Status::Wrong
    } else if row.failure.is_some() || row.repeats == 0 {
        Status::Failed
    } else if row.is_overloaded {
        Status::Overloaded
    } else if row.goals.iter().any(|goal| goal.is_reached == Some(false)) {
        Status::Missed
    } else if row.failed > 0 {
        Status::Errors
    } else if row.is_checked {
        Status::Good
    } else {
        Status::Unchecked
    }
}
