//! Changes of aggregates, and the system events that record them.

use crate::StreamLimits;

/// A change of an aggregate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// Its events before this version are dropped.
    TruncateBefore(u64),
    /// It is deleted softly.
    Delete,
    /// It is tombstoned.
    Tombstone,
    /// It gets limits.
    Limit(StreamLimits),
}

impl Change {
    pub(super) fn event_type(&self) -> &'static str {
        match self {
            Self::TruncateBefore(_) => "$truncated",
            Self::Delete => "$deleted",
            Self::Tombstone => "$tombstoned",
            Self::Limit(_) => "$limited",
        }
    }

    pub(super) fn data(&self, gone_to: Option<u64>) -> String {
        let own = match self {
            Self::TruncateBefore(version) => Some(format!("\"toVersion\":{}", version.saturating_sub(1))),
            Self::Limit(StreamLimits {
                max_count: Some(count), ..
            }) => Some(format!("\"maxCount\":{count}")),
            Self::Limit(StreamLimits { max_age: Some(age), .. }) => {
                Some(format!("\"maxAgeSeconds\":{}", age.as_secs_f64()))
            }
            Self::Delete | Self::Tombstone | Self::Limit(_) => None,
        };
        let gone_to = gone_to.map(|version| format!("\"goneTo\":{version}"));
        let parts: Vec<_> = own.into_iter().chain(gone_to).collect();
        format!("{{{}}}", parts.join(","))
    }
}
