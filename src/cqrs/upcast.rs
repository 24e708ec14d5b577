//! Upcasters: convert events of older schema versions on every read. Stored events never change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::CodecError;
use crate::{EventRef, Position};

/// The most conversions of one event, splits included; more are taken for a cycle.
const STEPS_MAX: usize = 256;

/// The longest path of conversions that the check follows; a longer one is taken for a cycle.
const DEPTH_MAX: usize = 64;

/// An event of an intermediate or the newest schema: what a conversion returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Upcast {
    /// The event type.
    pub event_type: String,
    /// The version of its schema, from 1.
    pub schema_version: u32,
    /// The data.
    pub data: Value,
}

impl Upcast {
    /// An event of this type and schema version.
    pub fn new(event_type: impl Into<String>, schema_version: u32, data: Value) -> Self {
        Self {
            event_type: event_type.into(),
            schema_version,
            data,
        }
    }
}

type Convert = dyn Fn(Value) -> Result<Vec<Upcast>, String> + Send + Sync;

/// The conversion of one type and schema version.
#[derive(Clone)]
struct Step {
    to: Vec<(String, u32)>,
    convert: Arc<Convert>,
}

/// Conversions of events from one schema version to the next: one to one, one to many, under another name, or to nothing.
///
/// A conversion is registered for an event type and a schema version. Its results are converted further until they have the newest schema, with at
/// most 256 conversions per stored event. The newest version of a type is the highest that a conversion leads to, and 1 if none does. New events
/// get the newest version.
///
/// Conversions take and return the data as a JSON value, with every codec. Every typed read applies them: loading an aggregate, projections,
/// subscriptions, groups, sagas and queries. An aggregate's version counts stored events: an event that is split or dropped counts once. A later
/// registration for the same type and version replaces an earlier one.
///
/// ```
/// use annals::cqrs::{Upcast, Upcasters};
/// use serde_json::json;
///
/// let upcasters = Upcasters::new()
///     // Version 2 of InvoiceIssued has a currency.
///     .change("InvoiceIssued", 1, |data| {
///         data["currency"] = json!("EUR");
///         Ok(())
///     })
///     .rename("InvoicePayed", 1, ("InvoicePaid", 1))
///     .split("AddressAndNameChanged", 1, &[("AddressChanged", 1), ("NameChanged", 1)], |data| {
///         Ok(vec![
///             Upcast::new("AddressChanged", 1, json!({ "address": data["address"] })),
///             Upcast::new("NameChanged", 1, json!({ "name": data["name"] })),
///         ])
///     })
///     .drop("InvoicePrinted", 1);
/// assert_eq!(upcasters.newest("InvoiceIssued"), 2);
/// ```
#[derive(Clone, Default)]
pub struct Upcasters {
    types: Arc<HashMap<String, BTreeMap<u32, Step>>>,
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: BTreeMap<_, Vec<_>> = self
            .types
            .iter()
            .map(|(event_type, steps)| {
                (
                    event_type,
                    steps.iter().map(|(version, step)| (version, &step.to)).collect(),
                )
            })
            .collect();
        f.debug_tuple("Upcasters").field(&steps).finish()
    }
}

impl Upcasters {
    /// No conversions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the data of `event_type` from schema version `version` to the next.
    ///
    /// An error of `change` makes the event [`Undecodable`](super::Undecodable), with the error as the reason.
    #[must_use]
    pub fn change(
        self,
        event_type: &str,
        version: u32,
        change: impl Fn(&mut Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let to = (event_type, version.saturating_add(1));
        self.convert(event_type, version, to, change)
    }

    /// Renames `event_type` of schema version `version` to the type and schema version `to`; the data stays the same.
    #[must_use]
    pub fn rename(self, event_type: &str, version: u32, to: (&str, u32)) -> Self {
        self.convert(event_type, version, to, |_| Ok(()))
    }

    /// Drops `event_type` of schema version `version`: readers do not see it.
    #[must_use]
    pub fn drop(self, event_type: &str, version: u32) -> Self {
        self.split(event_type, version, &[], |_| Ok(Vec::new()))
    }

    /// Replaces `event_type` of schema version `version` by any number of events, whose types and schema versions must be among `to`.
    ///
    /// An error of `split`, or an event that is not among `to`, makes the stored event [`Undecodable`](super::Undecodable).
    #[must_use]
    pub fn split(
        mut self,
        event_type: &str,
        version: u32,
        to: &[(&str, u32)],
        split: impl Fn(Value) -> Result<Vec<Upcast>, String> + Send + Sync + 'static,
    ) -> Self {
        let step = Step {
            to: to
                .iter()
                .map(|(name, version)| ((*name).to_owned(), *version))
                .collect(),
            convert: Arc::new(split),
        };
        let types = Arc::make_mut(&mut self.types);
        types.entry(event_type.to_owned()).or_default().insert(version, step);
        self
    }

    fn convert(
        self,
        event_type: &str,
        version: u32,
        to: (&str, u32),
        change: impl Fn(&mut Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let (name, next) = (to.0.to_owned(), to.1);
        self.split(event_type, version, &[to], move |mut data| {
            change(&mut data)?;
            Ok(vec![Upcast::new(name.clone(), next, data)])
        })
    }

    /// Returns the newest schema version of a type: the highest that a conversion leads to, or 1.
    pub fn newest(&self, event_type: &str) -> u32 {
        if self.types.is_empty() {
            return 1;
        }
        let targets = self.types.values().flat_map(BTreeMap::values).flat_map(|step| &step.to);
        let versions = targets
            .filter(|(name, _)| name == event_type)
            .map(|(_, version)| *version);
        versions.max().unwrap_or(1)
    }

    /// Whether events of a type may need a conversion.
    pub(super) fn concern(&self, event_type: &str) -> bool {
        !self.types.is_empty() && self.types.contains_key(event_type)
    }

    /// Whether a type that has conversions has none for its newest version, and this is it.
    pub(super) fn is_newest(&self, event_type: &str, version: u32) -> bool {
        let last = self.types.get(event_type).and_then(|steps| steps.last_key_value());
        last.is_some_and(|(last, step)| {
            let leads_on = step
                .to
                .iter()
                .any(|(name, next)| name == event_type && *next == version);
            leads_on && version > *last
        })
    }

    /// The types from which conversions lead to one of `known`.
    pub(super) fn leading_to(&self, known: &[&str]) -> BTreeSet<String> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        loop {
            let before = found.len();
            for (event_type, steps) in self.types.iter() {
                let mut targets = steps.values().flat_map(|step| &step.to);
                let leads = targets.any(|(name, _)| known.contains(&name.as_str()) || found.contains(name));
                if leads && !known.contains(&event_type.as_str()) {
                    found.insert(event_type.clone());
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// The events of the newest schemas that an event becomes, in order.
    pub(super) fn upcast(&self, event_type: &str, version: u32, data: Value) -> Result<Vec<Upcast>, CodecError> {
        let mut newest = Vec::new();
        let mut open = vec![Upcast::new(event_type, version, data)];
        let mut steps = 0;
        while let Some(event) = open.pop() {
            if !self.concern(&event.event_type) || self.is_newest(&event.event_type, event.schema_version) {
                newest.push(event);
                continue;
            }
            steps += 1;
            if steps > STEPS_MAX {
                return Err(not_upcast(&event, "its conversions go in a circle"));
            }
            // The last first: they are taken from the end.
            open.extend(self.convert_one(event)?.into_iter().rev());
        }
        Ok(newest)
    }

    fn convert_one(&self, event: Upcast) -> Result<Vec<Upcast>, CodecError> {
        let steps = self.types.get(&event.event_type);
        let Some(step) = steps.and_then(|steps| steps.get(&event.schema_version)) else {
            return Err(not_upcast(&event, "no upcaster is registered for this schema version"));
        };
        let from = Upcast::new(event.event_type, event.schema_version, Value::Null);
        let converted = (step.convert)(event.data).map_err(|error| not_upcast(&from, &error))?;
        for result in &converted {
            let kind = (result.event_type.as_str(), result.schema_version);
            if !step.to.iter().any(|(name, version)| (name.as_str(), *version) == kind) {
                let what = format!(
                    "its upcaster returned type '{}' in schema version {}, which it does not declare: add it to the upcaster's `to`",
                    kind.0, kind.1
                );
                return Err(not_upcast(&from, &what));
            }
        }
        Ok(converted)
    }

    /// Why an event of this type and version does not become events of the types `known`; `None` when it does.
    fn missing(&self, event_type: &str, version: u32, known: &[&str], depth: usize) -> Option<String> {
        if depth > DEPTH_MAX {
            return Some("its conversions go in a circle".to_owned());
        }
        let steps = self.types.get(event_type);
        if steps.is_none() || self.is_newest(event_type, version) {
            return (!known.contains(&event_type)).then(|| format!("the enum has no variant '{event_type}'"));
        }
        let Some(step) = steps.and_then(|steps| steps.get(&version)) else {
            return Some(format!("no upcaster leads from version {version} of '{event_type}'"));
        };
        let mut targets = step.to.iter();
        targets.find_map(|(name, version)| self.missing(name, *version, known, depth + 1))
    }
}

fn not_upcast(event: &Upcast, why: &str) -> CodecError {
    CodecError::NotUpcast {
        event_type: event.event_type.clone(),
        schema_version: event.schema_version,
        why: why.to_owned(),
    }
}

/// A stored type and schema version without a path to the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingPath {
    /// The event type.
    pub event_type: String,
    /// The stored schema version.
    pub schema_version: u32,
    /// The number of such events.
    pub events: u64,
    /// The position of the first such event.
    pub first: Position,
    /// What is missing.
    pub why: String,
}

/// The stored types and schema versions without a path to the newest: register upcasters for them, or add variants to the enum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingPaths {
    /// Ascending by type and version.
    pub paths: Vec<MissingPath>,
    /// The types and versions that were seen, with their places in `paths`.
    seen: BTreeMap<String, BTreeMap<u32, Option<usize>>>,
}

impl MissingPaths {
    pub(super) fn count(&mut self, upcasters: &Upcasters, known: &[&str], skip: bool, event: EventRef<'_>) {
        let (event_type, version) = (event.event_type(), event.schema_version());
        if let Some(place) = self.seen.get(event_type).and_then(|versions| versions.get(&version)) {
            if let Some(path) = place.and_then(|place| self.paths.get_mut(place)) {
                path.events += 1;
            }
            return;
        }
        let is_skipped = skip && !upcasters.concern(event_type);
        let why = upcasters.missing(event_type, version, known, 0).filter(|_| !is_skipped);
        let place = why.as_ref().map(|_| self.paths.len());
        self.seen
            .entry(event_type.to_owned())
            .or_default()
            .insert(version, place);
        self.paths.extend(why.map(|why| MissingPath {
            event_type: event_type.to_owned(),
            schema_version: version,
            events: 1,
            first: event.position(),
            why,
        }));
    }

    pub(super) fn into_result(mut self) -> Result<(), Self> {
        if self.paths.is_empty() {
            return Ok(());
        }
        self.seen.clear();
        self.paths
            .sort_by(|a, b| (&a.event_type, a.schema_version).cmp(&(&b.event_type, b.schema_version)));
        Err(self)
    }
}

impl fmt::Display for MissingPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stored events have no path to the newest schema:")?;
        for path in &self.paths {
            write!(
                f,
                " '{}' version {} ({} events from position {}: {});",
                path.event_type, path.schema_version, path.events, path.first, path.why
            )?;
        }
        f.write_str(" register an upcaster, or add a variant to the enum")
    }
}

impl std::error::Error for MissingPaths {}
