//! Rules by which requests fail on purpose: which requests, how, and how often.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Rules of a namespace, at most.
const RULES_MAX: usize = 50;
/// Operations that a rule names, at most.
const OPERATIONS_MAX: usize = 20;
/// Bytes of a text of a rule, at most.
const TEXT_BYTES_MAX: usize = 1_024;
/// Milliseconds of a delay, at most.
const DELAY_MILLIS_MAX: u64 = 30_000;
/// The operations that append events, by one word.
const APPENDS: &str = "appends";
/// The operations that change nothing, by one word.
const READS: &str = "reads";
/// Every operation but those of the test API, by one word.
const ALL: &str = "all";

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Effect {
    /// An append conflicts, as if another writer had come first.
    Conflict,
    /// The store cannot be reached. Nothing is done.
    Unavailable,
    /// The store has no room, or the server no worker. Nothing is done.
    Overload,
    /// The request takes too long. Nothing is done.
    Timeout,
    /// The request is carried out, and its answer is lost.
    LostAnswer,
    /// The request is carried out after the delay.
    Delay,
}

/// A rule, as a client sends it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) fault: Effect,
    #[serde(default = "appends")]
    pub(crate) operations: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregate_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregate_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    /// The time for which a struck request waits.
    #[serde(default)]
    delay_millis: u64,
    /// Matching requests before the first that can be struck.
    #[serde(default)]
    skip: u64,
    /// Requests that are struck, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probability: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

fn appends() -> Vec<String> {
    vec![APPENDS.to_owned()]
}

/// An aggregate that a request names.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) id: String,
    /// `None` if it is not known.
    pub(crate) kind: Option<String>,
}

/// A request, as rules see it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) operation: &'static str,
    pub(crate) is_append: bool,
    pub(crate) is_read: bool,
    pub(crate) aggregates: Vec<Target>,
    pub(crate) event_types: Vec<String>,
}

/// A fault that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) rule: u64,
    pub(crate) effect: Effect,
    pub(crate) delay: Duration,
}

/// A rule, with what it has done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Active {
    number: u64,
    #[serde(flatten)]
    rule: Rule,
    /// Requests that matched, and those of them that it struck.
    matched: u64,
    struck: u64,
    #[serde(skip)]
    random: u64,
}

/// The rules of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Active>,
    last: u64,
}

impl Faults {
    /// Adds a rule. Returns it with its number.
    ///
    /// # Errors
    ///
    /// The reason for which the rule is invalid, or that there are too many.
    pub(crate) fn add(&mut self, mut rule: Rule) -> Result<Active, String> {
        rule.check()?;
        if self.rules.len() == RULES_MAX {
            return Err(format!(
                "the namespace has {RULES_MAX} rules, which is the limit: delete some"
            ));
        }
        if rule.times.is_none() && rule.every.is_none() && rule.probability.is_none() {
            rule.times = Some(1);
        }
        self.last += 1;
        let added = Active {
            number: self.last,
            random: rule.seed.unwrap_or_default(),
            rule,
            matched: 0,
            struck: 0,
        };
        self.rules.push(added.clone());
        Ok(added)
    }

    pub(crate) fn list(&self) -> &[Active] {
        &self.rules
    }

    /// Deletes a rule. Returns whether there was one.
    pub(crate) fn remove(&mut self, number: u64) -> bool {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.number != number);
        self.rules.len() < before
    }

    /// Deletes every rule. Later rules have later numbers.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule depends on more of a request than its operation.
    pub(crate) fn needs_body(&self) -> bool {
        self.rules.iter().any(|active| active.rule.names_events())
    }

    /// The fault that is due for a request: of the first rule that strikes.
    pub(crate) fn strike(&mut self, subject: &Subject) -> Option<Strike> {
        let mut matching = self.rules.iter_mut().filter(|active| active.rule.matches(subject));
        matching.find_map(Active::strike)
    }
}

impl Active {
    /// Counts a request that matches, and decides on it.
    fn strike(&mut self) -> Option<Strike> {
        self.matched += 1;
        let is_over = self.rule.times.is_some_and(|times| self.struck >= times);
        let ordinal = self
            .matched
            .checked_sub(self.rule.skip)
            .filter(|ordinal| *ordinal > 0)?;
        let is_turn = self.rule.every.is_none_or(|every| ordinal % every == 0);
        let is_drawn = self.rule.probability.is_none_or(|chance| self.draw() < chance);
        if is_over || !is_turn || !is_drawn {
            return None;
        }
        self.struck += 1;
        Some(Strike {
            rule: self.number,
            effect: self.rule.fault,
            delay: Duration::from_millis(self.rule.delay_millis),
        })
    }

    /// The next number of the rule, from 0 to below 1: `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let upper = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(upper) / (f64::from(u32::MAX) + 1.0)
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let texts = [&self.aggregate_id, &self.aggregate_type, &self.event_type];
        let given = texts.into_iter().flatten().chain(&self.operations);
        if given.into_iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(format!("a text of the rule has more than {TEXT_BYTES_MAX} bytes"));
        }
        if self.operations.is_empty() || self.operations.len() > OPERATIONS_MAX {
            return Err(format!("operations must have 1 to {OPERATIONS_MAX} members"));
        }
        if self.times == Some(0) || self.every == Some(0) {
            return Err("times and every must be 1 or more".to_owned());
        }
        if self.probability.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
            return Err("probability must be 0 to 1".to_owned());
        }
        if self.delay_millis > DELAY_MILLIS_MAX {
            return Err(format!("delayMillis must be 0 to {DELAY_MILLIS_MAX}"));
        }
        if self.fault == Effect::Delay && self.delay_millis == 0 {
            return Err("a delay needs delayMillis".to_owned());
        }
        Ok(())
    }

    /// Whether the rule names a word for several operations, rather than an operation.
    pub(crate) fn is_word(operation: &str) -> bool {
        [APPENDS, READS, ALL].contains(&operation)
    }

    fn names_events(&self) -> bool {
        self.aggregate_id.is_some() || self.aggregate_type.is_some() || self.event_type.is_some()
    }

    fn matches(&self, subject: &Subject) -> bool {
        let is_named = |name: &String| match name.as_str() {
            ALL => true,
            APPENDS => subject.is_append,
            READS => subject.is_read,
            operation => operation == subject.operation,
        };
        // What conflicts is an append.
        let can_strike = self.fault != Effect::Conflict || subject.is_append;
        can_strike
            && self.operations.iter().any(is_named)
            && self.matches_aggregate(subject)
            && self
                .event_type
                .as_ref()
                .is_none_or(|name| subject.event_types.contains(name))
    }

    fn matches_aggregate(&self, subject: &Subject) -> bool {
        if self.aggregate_id.is_none() && self.aggregate_type.is_none() {
            return true;
        }
        subject.aggregates.iter().any(|target| {
            self.aggregate_id.as_ref().is_none_or(|id| *id == target.id)
                && (self.aggregate_type.is_none() || self.aggregate_type == target.kind)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append() -> Subject {
        let target = Target {
            id: "order-1".to_owned(),
            kind: Some("Order".to_owned()),
        };
        Subject {
            operation: "append",
            is_append: true,
            is_read: false,
            aggregates: vec![target],
            event_types: vec!["OrderPaid".to_owned()],
        }
    }

    /// Which of the first `count` appends a rule strikes.
    fn struck(rule: &str, count: usize) -> Vec<usize> {
        let mut faults = Faults::default();
        faults.add(serde_json::from_str(rule).unwrap()).unwrap();
        (1..=count).filter(|_| faults.strike(&append()).is_some()).collect()
    }

    #[test]
    fn a_rule_struck_other_requests_than_it_says() {
        assert_eq!(struck(r#"{"fault":"conflict"}"#, 4), [1]);
        assert_eq!(struck(r#"{"fault":"conflict","skip":1,"times":2}"#, 5), [2, 3]);
        assert_eq!(struck(r#"{"fault":"conflict","every":2}"#, 6), [2, 4, 6]);
        assert_eq!(struck(r#"{"fault":"conflict","skip":1,"every":2,"times":1}"#, 6), [3]);
        for matching in [
            r#""aggregateId":"order-1""#,
            r#""aggregateType":"Order""#,
            r#""eventType":"OrderPaid""#,
            r#""operations":["all"]"#,
            r#""operations":["reads","append"]"#,
        ] {
            assert_eq!(
                struck(&format!(r#"{{"fault":"timeout",{matching}}}"#), 1),
                [1],
                "{matching}"
            );
        }
        for other in [
            r#""aggregateId":"order""#,
            r#""aggregateId":"order-1","aggregateType":"Seat""#,
            r#""eventType":"Paid""#,
            r#""operations":["reads"]"#,
            r#""operations":["appendAll"]"#,
        ] {
            assert!(
                struck(&format!(r#"{{"fault":"timeout",{other}}}"#), 1).is_empty(),
                "{other}"
            );
        }
    }

    #[test]
    fn a_seed_did_not_repeat_the_faults() {
        let rule = |seed: u64| format!(r#"{{"fault":"unavailable","probability":0.3,"seed":{seed}}}"#);
        let first = struck(&rule(7), 1_000);
        assert_eq!(first, struck(&rule(7), 1_000));
        assert_ne!(first, struck(&rule(8), 1_000));
        assert!((250..350).contains(&first.len()), "{}", first.len());
        assert!(struck(r#"{"fault":"unavailable","probability":0}"#, 100).is_empty());
        assert_eq!(struck(r#"{"fault":"unavailable","probability":1}"#, 100).len(), 100);
    }

    #[test]
    fn the_second_rule_counted_what_the_first_had_struck() {
        let mut faults = Faults::default();
        for rule in [r#"{"fault":"unavailable"}"#, r#"{"fault":"overload"}"#] {
            faults.add(serde_json::from_str(rule).unwrap()).unwrap();
        }
        let effects: Vec<_> = (0..3)
            .map(|_| faults.strike(&append()).map(|strike| strike.effect))
            .collect();
        assert_eq!(effects, [Some(Effect::Unavailable), Some(Effect::Overload), None]);
        assert!(faults.remove(1) && !faults.remove(1));
        assert_eq!(faults.list().len(), 1);
    }
}
