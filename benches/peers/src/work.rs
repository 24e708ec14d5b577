//! The work that every store does: which events go where, in which order. Nothing here knows a store.

/// Types of events.
pub const TYPES: [&str; 20] = [
    "AccountOpened",
    "AccountClosed",
    "MoneyDeposited",
    "MoneyWithdrawn",
    "MoneyTransferred",
    "CardIssued",
    "CardBlocked",
    "CardReplaced",
    "LimitRaised",
    "LimitLowered",
    "InterestPaid",
    "FeeCharged",
    "FeeRefunded",
    "OwnerAdded",
    "OwnerRemoved",
    "AddressChanged",
    "StatementSent",
    "LoanGranted",
    "LoanRepaid",
    "AccountFlagged",
];

/// Users; a hundred events apart.
const USERS: usize = 1_000;
/// Organizations.
const ORGANIZATIONS: usize = 100;
/// Consecutive events with one correlation.
pub const CONVERSATION_EVENTS: usize = 10;

/// 128 bytes of JSON.
pub const PAYLOAD: &str = r#"{"amount":1250,"currency":"EUR","reference":"2026-01-31/0004711","channel":"mobile","note":"a payment like the others, in time"}"#;

/// The names in the events, made before the clock starts.
#[derive(Debug)]
pub struct Content {
    aggregates: Vec<String>,
    correlations: Vec<String>,
    users: Vec<String>,
    organizations: Vec<String>,
}

/// What one event says, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// One of [`TYPES`].
    pub event_type: &'static str,
    /// The same for ten consecutive events.
    pub correlation: &'a str,
    /// One of a thousand.
    pub user: &'a str,
    /// One of a hundred.
    pub organization: &'a str,
    /// 128 bytes of JSON.
    pub data: &'static str,
}

/// Consecutive events for one aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The number of the aggregate.
    pub aggregate: usize,
    /// The version that it has before.
    pub version: usize,
    /// The number of the first event.
    pub first: usize,
    /// How many events.
    pub count: usize,
}

impl Content {
    /// Names for `events` events of `aggregates` aggregates.
    pub fn new(aggregates: usize, events: usize) -> Self {
        let names = |kind: &str, count: usize| (0..count).map(|number| format!("{kind}-{number:07}")).collect();
        Self {
            aggregates: names("account", aggregates),
            correlations: names("request", events.div_ceil(CONVERSATION_EVENTS)),
            users: names("user", USERS),
            organizations: names("org", ORGANIZATIONS),
        }
    }

    /// The id of an aggregate.
    pub fn aggregate(&self, number: usize) -> &str {
        &self.aggregates[number % self.aggregates.len()]
    }

    /// The id of a conversation.
    pub fn correlation(&self, number: usize) -> &str {
        &self.correlations[number % self.correlations.len()]
    }

    /// What event `number` says.
    pub fn facts(&self, number: usize) -> Facts<'_> {
        // Types and users are mixed, so that an aggregate has several.
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        Facts {
            event_type: TYPES[mixed % TYPES.len()],
            correlation: self.correlation(number / CONVERSATION_EVENTS),
            user: &self.users[mixed % USERS],
            organization: &self.organizations[mixed % ORGANIZATIONS],
            data: PAYLOAD,
        }
    }

    /// What the events of `batch` say.
    pub fn batch(&self, batch: &Batch) -> impl ExactSizeIterator<Item = Facts<'_>> {
        (batch.first..batch.first + batch.count).map(|number| self.facts(number))
    }
}

/// `rounds` batches of `count` events for each of `aggregates` aggregates, one round after the other.
pub fn interleaved(aggregates: usize, rounds: usize, count: usize) -> impl Iterator<Item = Batch> {
    (0..aggregates * rounds).map(move |number| Batch {
        aggregate: number % aggregates,
        version: number / aggregates * count,
        first: number * count,
        count,
    })
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// One event an append, ten rounds over many aggregates.
    Single,
    /// Ten events an append, ten rounds over a tenth of the aggregates.
    Batches,
    /// One event an append, all to one aggregate.
    Hot,
    /// The 100 events of one aggregate, as values to keep.
    Load,
    /// Every event of one type in the order of the store, as values to keep.
    ByType,
    /// The ten events of a conversation, as values to keep.
    Conversation,
}

impl Work {
    /// Every kind of work.
    pub const ALL: [Self; 6] = [
        Self::Single,
        Self::Batches,
        Self::Hot,
        Self::Load,
        Self::ByType,
        Self::Conversation,
    ];

    /// Whether it reads what was appended before.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Load | Self::ByType | Self::Conversation)
    }

    /// Its name in the report and between processes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Batches => "batches",
            Self::Hot => "hot",
            Self::Load => "load",
            Self::ByType => "by-type",
            Self::Conversation => "conversation",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_has_128_bytes() {
        assert_eq!(PAYLOAD.len(), 128);
    }

    #[test]
    fn versions_follow_each_other() {
        let versions: Vec<_> = interleaved(2, 3, 5)
            .map(|batch| (batch.aggregate, batch.version, batch.first))
            .collect();
        assert_eq!(
            versions,
            [(0, 0, 0), (1, 0, 5), (0, 5, 10), (1, 5, 15), (0, 10, 20), (1, 10, 25)]
        );
    }
}
