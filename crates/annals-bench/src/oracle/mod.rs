//! The oracle: compares the stored events of a backend with its acknowledgements.

mod check;
mod found;
mod probe;

use serde::{Deserialize, Serialize};

pub(crate) use self::check::least_age;
pub use self::check::{Expiry, verify, verify_expiring};
pub use self::probe::{Probed, probe, simulate_probe};

/// Examples that are kept of one rule.
const EXAMPLES_MAX: usize = 5;

/// The rules that a backend must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Every acknowledged event is stored.
    NothingLost,
    /// Either all events of an append are stored or none, and with the bytes that were sent.
    NothingTorn,
    /// Every event is stored once.
    NothingDoubled,
    /// No event is stored that was rejected or never sent.
    NothingInvented,
    /// Events have the versions that were acknowledged, and positions in the order of their appends.
    InOrder,
    /// The versions of a stream are 1, 2, 3 … without gaps.
    NoGaps,
    /// Only one append to a version of a stream is acknowledged.
    OneWinner,
    /// A worker reads its own appends.
    ReadYourWrites,
    /// Every reader that follows the log sees every event once, in order.
    EveryReader,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NothingLost,
        Self::NothingTorn,
        Self::NothingDoubled,
        Self::NothingInvented,
        Self::InOrder,
        Self::NoGaps,
        Self::OneWinner,
        Self::ReadYourWrites,
        Self::EveryReader,
    ];

    /// Its text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NothingLost => "nothing acknowledged is lost",
            Self::NothingTorn => "appends are whole",
            Self::NothingDoubled => "nothing is stored twice",
            Self::NothingInvented => "nothing is stored that was refused",
            Self::InOrder => "order",
            Self::NoGaps => "versions without gaps",
            Self::OneWinner => "one winner for each version",
            Self::ReadYourWrites => "reads see own writes",
            Self::EveryReader => "every reader sees everything once",
        }
    }
}

/// The number of times that a rule was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The number of times.
    pub count: u64,
    /// The first few.
    pub examples: Vec<String>,
}

/// The result of the oracle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether there was anything to check: `null` stores no events.
    pub is_checked: bool,
    /// Events that were acknowledged.
    pub acknowledged: u64,
    /// Of these, events that were found.
    pub found: u64,
    /// Events that were acknowledged, are not there, and had expired; they are not in the number above.
    #[serde(default)]
    pub expired: u64,
    /// Broken rules.
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// Whether no rule was broken.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// The number of times that `rule` was broken.
    pub fn count(&self, rule: Rule) -> u64 {
        self.of(rule).map_or(0, |violation| violation.count)
    }

    fn of(&self, rule: Rule) -> Option<&Violation> {
        self.violations.iter().find(|violation| violation.rule == rule)
    }

    /// Notes that `rule` was broken.
    pub(crate) fn note(&mut self, rule: Rule, example: impl FnOnce() -> String) {
        let index = self.violations.iter().position(|violation| violation.rule == rule);
        let index = index.unwrap_or_else(|| {
            self.violations.push(Violation {
                rule,
                count: 0,
                examples: Vec::new(),
            });
            self.violations.len() - 1
        });
        if let Some(violation) = self.violations.get_mut(index) {
            violation.count += 1;
            if violation.examples.len() < EXAMPLES_MAX {
                violation.examples.push(example());
            }
        }
    }

    /// Forgets that `rule` was broken: the backend does not promise it.
    pub(crate) fn forgive(&mut self, rule: Rule) {
        self.violations.retain(|violation| violation.rule != rule);
    }

    /// Adds the result of another check.
    pub fn merge(&mut self, other: Self) {
        self.is_checked |= other.is_checked;
        self.acknowledged += other.acknowledged;
        self.found += other.found;
        self.expired += other.expired;
        for violation in other.violations {
            let Violation { rule, count, examples } = violation;
            let mut examples = examples.into_iter();
            for _ in 0..count {
                self.note(rule, || examples.next().unwrap_or_default());
            }
        }
    }
}
