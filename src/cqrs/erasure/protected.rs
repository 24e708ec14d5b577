//! A codec that encrypts personal fields before the store sees them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::entries::Entry;
use super::envelope::{Envelope, MEMBER, associated, is_envelope};
use super::kind::Kind;
use super::personal::{Fields, Personal, within};
use super::vault::is_pseudonym;
use super::{KeyError, Vault};
use crate::cqrs::names::stored_query;
use crate::cqrs::{Codec, CodecError, DerivedData, Encoded, Json, NameKind, NewEventId};
use crate::{ContentType, Query};

/// A codec that encrypts the personal fields of events with the keys of a [`Vault`], around a codec that writes the rest.
///
/// Use it wherever a codec is accepted: [`Aggregates::with_codec`](crate::cqrs::Aggregates::with_codec),
/// [`TypedEvents::with_codec`](crate::cqrs::TypedEvents::with_codec), [`Decisions::with_codec`](crate::cqrs::Decisions::with_codec). The payload is
/// encrypted before the store gets it. After an erasure, the fields decode as their [redacted](super::Redacted) values.
///
/// The format must describe itself: JSON or CBOR, not bincode. Each encrypted value is bound to its key, its event and its place in the data. An event
/// that was changed, or whose key is missing, fails to decode; the error contains no personal data.
///
/// ```
/// use annals::Store;
/// use annals::cqrs::erasure::{MemoryKeys, Personal, Protected, Subject, Vault};
/// use annals::cqrs::Aggregates;
/// # mod domain { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cqrs/guide.rs")); }
/// # use domain::*;
///
/// let store = Store::in_memory();
/// let vault = Vault::open(&store, MemoryKeys::new())?;
/// let personal = Personal::new().event("Opened", Subject::aggregate(), ["/owner"]);
/// let accounts = Aggregates::<Account, _>::with_codec(&store, Protected::new(&vault, personal));
/// accounts.execute("account-1", &AccountCommand::Open { owner: "anna".into() })?;
/// assert_eq!(accounts.load("account-1")?.state.owner.as_deref(), Some("anna"));
///
/// vault.erase("account-1")?;
/// assert_eq!(accounts.load("account-1")?.state.owner.as_deref(), Some("[erased]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Protected<C = Json> {
    vault: Vault,
    personal: Personal,
    codec: C,
}

impl<C: fmt::Debug> fmt::Debug for Protected<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protected")
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl Protected {
    /// Events as JSON, with the personal fields encrypted by `vault`.
    pub fn new(vault: &Vault, personal: Personal) -> Self {
        Self::around(Json, vault, personal)
    }
}

/// Where an event is read: it decides what its encrypted values are bound to.
#[derive(Clone, Copy)]
struct Place<'a> {
    event_type: &'a str,
    event_id: Uuid,
    /// Reads as if every subject was erased.
    is_redacted: bool,
}

impl<C: Codec> Protected<C> {
    /// Events in the format of `codec`, with the personal fields encrypted by `vault`.
    pub fn around(codec: C, vault: &Vault, personal: Personal) -> Self {
        Self {
            vault: vault.clone(),
            personal,
            codec,
        }
    }

    /// Returns whether a field was encrypted.
    fn encrypt(
        &self,
        fields: &[Fields],
        event_type: &str,
        data: &mut Value,
        event: NewEventId<'_>,
    ) -> Result<bool, CodecError> {
        if has_envelope(data) {
            return Err(CodecError::Unwritable {
                message: format!("its data has a field '{MEMBER}', which marks encrypted values: rename the field"),
            });
        }
        // Every subject first: its name may be in a field that is encrypted.
        let aggregate = self.subject_of_aggregate(event.aggregate_id);
        let subjects: Result<Vec<_>, _> = fields.iter().map(|fields| fields.subject(data, aggregate)).collect();
        let mut any = false;
        for (fields, subject) in fields
            .iter()
            .zip(subjects.map_err(|message| CodecError::Unwritable { message })?)
        {
            fields.each(data, &mut |path, value| {
                let place = Place {
                    event_type,
                    event_id: event.id,
                    is_redacted: false,
                };
                *value = self
                    .seal(&subject, place, path, value)
                    .map_err(|error| unwritable(&error))?;
                any = true;
                Ok(())
            })?;
        }
        Ok(any)
    }

    /// The subject that an aggregate is named after.
    ///
    /// # Errors
    ///
    /// What to do about a pseudonym: nothing leads from it to its subject.
    fn subject_of_aggregate<'a>(&self, id: &'a str) -> Result<&'a str, &'static str> {
        let subject = self.personal.subject_of(NameKind::Aggregate, id);
        let subject = subject.map_or(id, |(_, subject)| subject);
        if is_pseudonym(subject) {
            return Err(
                "its aggregate is named by a pseudonym, which does not lead to the subject of its personal fields: \
                 execute the command with the name, or declare a field as the subject",
            );
        }
        Ok(subject)
    }

    /// The name that is stored instead of `name`, where it is [declared](Personal::name) as personal: to read the store by it.
    ///
    /// # Errors
    ///
    /// [`KeyError::Erased`] when its subject is erased; [`KeyError::Storage`].
    pub fn name(&self, kind: NameKind, name: &str) -> Result<String, KeyError> {
        match self.personal.subject_of(kind, name) {
            Some((prefix, subject)) if !is_pseudonym(subject) => {
                let pseudonym = self.vault.pseudonym(subject, kind, subject)?;
                Ok(format!("{prefix}{pseudonym}"))
            }
            _ => Ok(name.to_owned()),
        }
    }

    /// The query with the names that are stored, where they are [declared](Personal::name) as personal.
    ///
    /// # Errors
    ///
    /// [`CodecError::Unwritable`] when a subject is erased, or the key store cannot be read.
    pub fn query(&self, query: Query) -> Result<Query, CodecError> {
        stored_query(self, query)
    }

    fn seal(&self, subject: &str, place: Place<'_>, path: &str, value: &Value) -> Result<Value, KeyError> {
        let live = self.vault.inner.live(subject)?;
        let erased = || KeyError::Erased {
            generation: live.generation,
        };
        let Entry::Alive(keys) = &*live.keys else {
            return Err(erased());
        };
        let key = keys.values.last().ok_or_else(erased)?;
        let mut envelope = Envelope {
            key: live.key,
            generation: live.generation,
            rotation: (keys.values.len() - 1) as u32,
            kind: Kind::of(value),
            nonce: Vec::new(),
            data: Vec::new(),
        };
        let plain = Zeroizing::new(value.to_string().into_bytes());
        let (nonce, data) = key.seal(&plain, &associated(&envelope, place.event_id, place.event_type, path))?;
        (envelope.nonce, envelope.data) = (nonce.to_vec(), data);
        Ok(envelope.to_value())
    }

    /// Decrypts every encrypted value in the data.
    fn decrypt(&self, value: &mut Value, path: &mut String, place: Place<'_>) -> Result<(), CodecError> {
        if is_envelope(value) {
            *value = self.open(value, path, place)?;
            return Ok(());
        }
        match value {
            Value::Object(members) => members
                .iter_mut()
                .try_for_each(|(key, value)| within(path, key, |path| self.decrypt(value, path, place))),
            Value::Array(elements) => elements
                .iter_mut()
                .enumerate()
                .try_for_each(|(at, value)| within(path, &at.to_string(), |path| self.decrypt(value, path, place))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn open(&self, value: &Value, path: &str, place: Place<'_>) -> Result<Value, CodecError> {
        let unreadable = |message: String| CodecError::Unreadable {
            path: path.to_owned(),
            message,
        };
        let envelope = Envelope::parse(value).map_err(|member| {
            unreadable(format!(
                "the encrypted value has an invalid member {member}; restore the event from a backup"
            ))
        })?;
        let entry = if place.is_redacted {
            None
        } else {
            let opened = self.vault.inner.opening(envelope.key);
            opened.map_err(|error| unreadable(error.to_string()))?
        };
        let Some(Entry::Alive(keys)) = entry.as_deref() else {
            return Ok(self.personal.redaction(place.event_type, path, envelope.kind));
        };
        let associated = associated(&envelope, place.event_id, place.event_type, path);
        let key = keys.values.get(envelope.rotation as usize);
        let plain = key.and_then(|key| key.open(&envelope.nonce, &envelope.data, &associated));
        let damaged = || {
            let error = KeyError::Damaged {
                key: envelope.key,
                path: path.to_owned(),
            };
            unreadable(error.to_string())
        };
        let plain = Zeroizing::new(plain.ok_or_else(damaged)?);
        serde_json::from_slice(&plain).map_err(|_| damaged())
    }

    /// The data with every encrypted value decrypted, or replaced by its redacted value; the data itself when there is none.
    fn plain<'a>(&self, data: &'a [u8], place: Place<'_>) -> Result<Cow<'a, [u8]>, CodecError> {
        if !mentions_envelope(data) {
            return Ok(Cow::Borrowed(data));
        }
        let mut value = self.codec.to_value(data)?;
        self.decrypt(&mut value, &mut String::new(), place)?;
        self.codec.from_value(&value).map(Cow::Owned)
    }

    fn decode_at<E: DeserializeOwned>(&self, data: &[u8], place: Place<'_>) -> Result<E, CodecError> {
        let plain = self.plain(data, place)?;
        let decoded = self.codec.decode(place.event_type, &plain);
        if matches!(plain, Cow::Borrowed(_)) {
            return decoded;
        }
        decoded.map_err(withhold)
    }
}

/// An error of serde may quote the data.
fn withhold(error: CodecError) -> CodecError {
    match error {
        CodecError::Unreadable { path, .. } => CodecError::Unreadable {
            path,
            message: "the value is not what the event's type expects (withheld: the event has personal data)"
                .to_owned(),
        },
        CodecError::UnknownType { .. }
        | CodecError::NotUpcast { .. }
        | CodecError::HiddenNames { .. }
        | CodecError::Unwritable { .. } => error,
    }
}

fn no_pseudonym(kind: NameKind, error: &KeyError) -> CodecError {
    CodecError::Unwritable {
        message: format!("a name of kind {} has no pseudonym: {error}", kind.as_str()),
    }
}

fn unwritable(error: &KeyError) -> CodecError {
    CodecError::Unwritable {
        message: error.to_string(),
    }
}

fn has_envelope(value: &Value) -> bool {
    match value {
        Value::Object(members) => is_envelope(value) || members.values().any(has_envelope),
        Value::Array(elements) => elements.iter().any(has_envelope),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether the bytes may have an encrypted value: every format writes the name of its member as it is.
fn mentions_envelope(data: &[u8]) -> bool {
    let member = MEMBER.as_bytes();
    let mut rest = data;
    while let Some(at) = rest.iter().position(|byte| *byte == member[0]) {
        if rest[at..].starts_with(member) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

impl<C: Codec> Codec for Protected<C> {
    const BINDS_ID: bool = true;
    const HIDES_NAMES: bool = true;

    fn content_type(&self) -> ContentType {
        self.codec.content_type()
    }

    /// # Errors
    ///
    /// [`CodecError::Unwritable`] when the event has personal fields: their values are bound to the event's id.
    fn encode<E: Serialize>(&self, event: &E) -> Result<Encoded, CodecError> {
        let encoded = self.codec.encode(event)?;
        if self.personal.of(&encoded.event_type).is_some() {
            let what = format!(
                "the event '{}' has personal fields, which are bound to the id of their event: encode it with `encode_new`",
                encoded.event_type
            );
            return Err(CodecError::Unwritable { message: what });
        }
        Ok(encoded)
    }

    fn encode_new<E: Serialize>(&self, event: &E, new: NewEventId<'_>) -> Result<Encoded, CodecError> {
        let mut encoded = self.codec.encode(event)?;
        let Some(fields) = self.personal.of(&encoded.event_type) else {
            return Ok(encoded);
        };
        let mut value = self.codec.to_value(&encoded.data)?;
        // Where every declared field is missing, the data stays as it is.
        if !self.encrypt(fields, &encoded.event_type, &mut value, new)? {
            return Ok(encoded);
        }
        zeroize::Zeroize::zeroize(&mut encoded.data);
        encoded.data = self.codec.from_value(&value)?;
        Ok(encoded)
    }

    fn decode<E: DeserializeOwned>(&self, event_type: &str, data: &[u8]) -> Result<E, CodecError> {
        self.decode_of(event_type, data, Uuid::nil())
    }

    fn decode_of<E: DeserializeOwned>(&self, event_type: &str, data: &[u8], event_id: Uuid) -> Result<E, CodecError> {
        let place = Place {
            event_type,
            event_id,
            is_redacted: false,
        };
        self.decode_at(data, place)
    }

    fn check_new<E: DeserializeOwned>(&self, encoded: &Encoded, event_id: Uuid) -> Result<(), CodecError> {
        let place = Place {
            event_type: &encoded.event_type,
            event_id,
            is_redacted: true,
        };
        let redacted = self.decode_at::<E>(&encoded.data, place);
        redacted.map(drop).map_err(|error| {
            let why = "it would not decode after an erasure of its subject: declare a redacted value with `Personal::redacted`";
            CodecError::Unwritable {
                message: format!("{why}: {error}"),
            }
        })
    }

    fn to_value(&self, data: &[u8]) -> Result<Value, CodecError> {
        self.codec.to_value(data)
    }

    fn to_value_of(&self, event_type: &str, data: &[u8], event_id: Uuid) -> Result<Value, CodecError> {
        let mut value = self.codec.to_value(data)?;
        let place = Place {
            event_type,
            event_id,
            is_redacted: false,
        };
        self.decrypt(&mut value, &mut String::new(), place)?;
        Ok(value)
    }

    fn from_value(&self, value: &Value) -> Result<Vec<u8>, CodecError> {
        self.codec.from_value(value)
    }

    fn event_types<E: DeserializeOwned>(&self) -> &'static [&'static str] {
        self.codec.event_types::<E>()
    }

    fn stored_name<'a>(&self, kind: NameKind, name: &'a str) -> Result<Cow<'a, str>, CodecError> {
        if self.personal.subject_of(kind, name).is_none() {
            return Ok(Cow::Borrowed(name));
        }
        let stored = self.name(kind, name);
        stored.map(Cow::Owned).map_err(|error| no_pseudonym(kind, &error))
    }

    fn knows_name(&self, kind: NameKind, name: &str) -> Result<bool, CodecError> {
        match self.personal.subject_of(kind, name) {
            Some((_, subject)) if !is_pseudonym(subject) => {
                self.vault.knows(subject).map_err(|error| no_pseudonym(kind, &error))
            }
            _ => Ok(true),
        }
    }

    fn derived_data(&self) -> Option<Arc<dyn DerivedData>> {
        Some(Arc::new(self.vault.clone()))
    }
}
