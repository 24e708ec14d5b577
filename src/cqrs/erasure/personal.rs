//! Which fields of which events are personal, and whose they are.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::envelope::is_envelope;
use super::kind::Kind;
use super::vault::is_pseudonym;
use crate::cqrs::NameKind;

/// Where the name of the subject of an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(Source);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Field(String),
    Aggregate,
}

impl Subject {
    /// The subject is a field of the event's data: a text or a number at this JSON pointer (RFC 6901), such as `/customer`.
    pub fn field(pointer: impl Into<String>) -> Self {
        Self(Source::Field(pointer.into()))
    }

    /// The subject is the aggregate: its id is the subject's name; without the prefix, where a [prefix](Personal::name) is declared.
    pub fn aggregate() -> Self {
        Self(Source::Aggregate)
    }
}

/// The value of a personal field after an erasure.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Redacted {
    /// A default of the kind of the JSON value: `"[erased]"` for a text, 0 for a number, false, an empty list, an empty object, null for null.
    #[default]
    ByKind,
    /// Null, for fields of type `Option`.
    Null,
    /// This text.
    Text(String),
    /// This value, for fields of any other type.
    Value(Value),
}

impl Redacted {
    pub(super) fn value(&self, kind: Kind) -> Value {
        match self {
            Self::ByKind => kind.redacted(),
            Self::Null => Value::Null,
            Self::Text(text) => Value::String(text.clone()),
            Self::Value(value) => value.clone(),
        }
    }
}

/// The personal fields of event types.
///
/// A field is named by a JSON pointer (RFC 6901) into the event's data. A `*` in it stands for every element of a list and every member of an object.
/// A field that is missing is skipped. A field inside another personal field is encrypted with it.
///
/// ```
/// use annals::cqrs::erasure::{Personal, Redacted, Subject};
///
/// let personal = Personal::new()
///     .event("CustomerRegistered", Subject::field("/customer"), ["/name", "/contacts/*/email"])
///     .event("CustomerMoved", Subject::aggregate(), ["/address"])
///     .redacted("CustomerMoved", "/address", Redacted::Null);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Personal {
    events: Arc<HashMap<String, Vec<Fields>>>,
    redacted: Arc<HashMap<String, Vec<Redaction>>>,
    names: Arc<HashMap<NameKind, Vec<String>>>,
}

/// A pointer, and what its fields are after an erasure.
type Redaction = (Vec<String>, Redacted);

/// The fields of one subject in an event type.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    subject: Subject,
    pointers: Vec<Vec<String>>,
}

impl Personal {
    /// No personal field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares fields of an event type as personal data of a subject. Call it again for another subject of the same type.
    ///
    /// A pointer that does not begin with `/` names a field at the top: `name` is `/name`.
    #[must_use]
    pub fn event<'a>(mut self, event_type: &str, subject: Subject, fields: impl IntoIterator<Item = &'a str>) -> Self {
        let mut pointers: Vec<_> = fields.into_iter().map(segments).collect();
        // The outer field first: it takes the inner one with it.
        pointers.sort_by_key(Vec::len);
        let events = Arc::make_mut(&mut self.events);
        let declared = events.entry(event_type.to_owned()).or_default();
        declared.push(Fields { subject, pointers });
        self
    }

    /// Sets the value that a field has after an erasure; [`Redacted::ByKind`] by default. The typed event must decode with it.
    #[must_use]
    pub fn redacted(mut self, event_type: &str, field: &str, redacted: Redacted) -> Self {
        let all = Arc::make_mut(&mut self.redacted);
        all.entry(event_type.to_owned())
            .or_default()
            .push((segments(field), redacted));
        self
    }

    /// Declares names as personal: those of this kind that begin with `prefix`. What follows the prefix is the name of the subject.
    ///
    /// The toolkit stores a pseudonym instead: the prefix, `anon-` and 32 hexadecimal digits. Commands and loads by
    /// [`Aggregates`](crate::cqrs::Aggregates), and the contexts, queries, aggregates and tags of [`Decisions`](crate::cqrs::Decisions), accept the
    /// name or the pseudonym. [`TypedEvents`](crate::cqrs::TypedEvents) and processors replace the names in their queries. Where the store itself is
    /// read, pass [`Protected::name`](super::Protected::name) or [`Protected::query`](super::Protected::query). After the erasure of the subject
    /// nothing leads from the name to the pseudonym, and a command or load by the name fails.
    ///
    /// ```
    /// use annals::Store;
    /// use annals::cqrs::NameKind;
    /// use annals::cqrs::erasure::{MemoryKeys, Personal, Protected, Vault};
    ///
    /// let vault = Vault::open(&Store::in_memory(), MemoryKeys::new())?;
    /// let personal = Personal::new()
    ///     .name(NameKind::User, "")
    ///     .name(NameKind::Aggregate, "customer-")
    ///     .name(NameKind::Tag, "customer:");
    /// let codec = Protected::new(&vault, personal);
    /// assert!(codec.name(NameKind::Aggregate, "customer-anna")?.starts_with("customer-anon-"));
    /// assert_eq!(codec.name(NameKind::Aggregate, "order-7")?, "order-7");
    /// # Ok::<(), annals::cqrs::erasure::KeyError>(())
    /// ```
    #[must_use]
    pub fn name(mut self, kind: NameKind, prefix: &str) -> Self {
        let prefixes = Arc::make_mut(&mut self.names).entry(kind).or_default();
        prefixes.push(prefix.to_owned());
        // The longest one that fits counts.
        prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        self
    }

    /// The prefix of a name that is declared as personal, and the name of its subject.
    ///
    /// The longest prefix counts, except for a pseudonym: it stays one, even where a longer prefix fits.
    pub(super) fn subject_of<'a>(&self, kind: NameKind, name: &'a str) -> Option<(&'a str, &'a str)> {
        let prefixes = self.names.get(&kind)?;
        let is_of_pseudonym = |prefix: &&String| name.strip_prefix(prefix.as_str()).is_some_and(is_pseudonym);
        let longest = || prefixes.iter().find(|prefix| name.starts_with(prefix.as_str()));
        let prefix = prefixes.iter().find(is_of_pseudonym).or_else(longest)?;
        let (prefix, subject) = name.split_at(prefix.len());
        (!subject.is_empty()).then_some((prefix, subject))
    }

    pub(super) fn of(&self, event_type: &str) -> Option<&[Fields]> {
        self.events.get(event_type).map(Vec::as_slice)
    }

    /// The value that a field has after an erasure.
    pub(super) fn redaction(&self, event_type: &str, path: &str, kind: Kind) -> Value {
        let path = segments(path);
        let declared = self.redacted.get(event_type).into_iter().flatten();
        let last = declared.rev().find(|(pattern, _)| is_match(pattern, &path));
        last.map_or_else(|| kind.redacted(), |(_, redacted)| redacted.value(kind))
    }
}

impl Fields {
    /// The name of the subject in this event.
    ///
    /// # Errors
    ///
    /// The place where a name is expected and there is none.
    pub(super) fn subject(&self, data: &Value, aggregate: Result<&str, &str>) -> Result<String, String> {
        let Source::Field(pointer) = &self.subject.0 else {
            return aggregate.map(str::to_owned).map_err(str::to_owned);
        };
        match data.pointer(pointer) {
            Some(Value::String(name)) if !name.is_empty() => Ok(name.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(format!(
                "the field '{pointer}' has no text or number that names the subject of its personal fields"
            )),
        }
    }

    /// Calls `change` with each declared field that is there, and its place.
    pub(super) fn each<E>(
        &self,
        data: &mut Value,
        change: &mut impl FnMut(&str, &mut Value) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut path = String::new();
        self.pointers
            .iter()
            .try_for_each(|pointer| descend(data, pointer, &mut path, change))
    }
}

fn descend<E>(
    value: &mut Value,
    pointer: &[String],
    path: &mut String,
    change: &mut impl FnMut(&str, &mut Value) -> Result<(), E>,
) -> Result<(), E> {
    // A field inside an encrypted one is encrypted already.
    if is_envelope(value) {
        return Ok(());
    }
    let Some((first, rest)) = pointer.split_first() else {
        return change(path, value);
    };
    match value {
        Value::Object(members) => {
            let chosen = members.iter_mut().filter(|(key, _)| first == "*" || *key == first);
            for (key, value) in chosen {
                within(path, key, |path| descend(value, rest, path, change))?;
            }
        }
        Value::Array(elements) => {
            let place: Option<usize> = first.parse().ok();
            let chosen = elements
                .iter_mut()
                .enumerate()
                .filter(|(at, _)| first == "*" || place == Some(*at));
            for (at, value) in chosen {
                within(path, &at.to_string(), |path| descend(value, rest, path, change))?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

/// Calls `work` with the path lengthened by a segment.
pub(super) fn within<T>(path: &mut String, segment: &str, work: impl FnOnce(&mut String) -> T) -> T {
    let len = path.len();
    path.push('/');
    path.push_str(&segment.replace('~', "~0").replace('/', "~1"));
    let result = work(path);
    path.truncate(len);
    result
}

fn segments(pointer: &str) -> Vec<String> {
    let pointer = pointer.strip_prefix('/').unwrap_or(pointer);
    pointer
        .split('/')
        .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
        .collect()
}

fn is_match(pattern: &[String], path: &[String]) -> bool {
    pattern.len() == path.len()
        && pattern
            .iter()
            .zip(path)
            .all(|(pattern, segment)| pattern == "*" || pattern == segment)
}
