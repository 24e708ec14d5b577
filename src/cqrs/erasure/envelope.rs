//! The stored form of an encrypted value: a JSON object.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde_json::{Value, json};
use uuid::Uuid;

use super::kind::Kind;

/// The member that tells an encrypted value from others; its value is the version of the form.
pub(super) const MEMBER: &str = "$erasable";

const VERSION: u64 = 1;

/// An encrypted value with what is needed to decrypt it, except the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) key: Uuid,
    pub(super) generation: u32,
    /// Which key of the generation, from 0.
    pub(super) rotation: u32,
    pub(super) kind: Kind,
    pub(super) nonce: Vec<u8>,
    pub(super) data: Vec<u8>,
}

pub(super) fn is_envelope(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.contains_key(MEMBER))
}

impl Envelope {
    pub(super) fn to_value(&self) -> Value {
        json!({
            MEMBER: VERSION,
            "key": self.key.to_string(),
            "generation": self.generation,
            "rotation": self.rotation,
            "kind": self.kind.name(),
            "nonce": BASE64.encode(&self.nonce),
            "data": BASE64.encode(&self.data),
        })
    }

    /// # Errors
    ///
    /// The member that is missing or invalid.
    pub(super) fn parse(value: &Value) -> Result<Self, &'static str> {
        let number = |member: &str| value.get(member).and_then(Value::as_u64);
        let text = |member: &str| value.get(member).and_then(Value::as_str);
        let bytes = |member: &str| text(member).and_then(|text| BASE64.decode(text).ok());
        let small = |member: &str| number(member).and_then(|number| u32::try_from(number).ok());
        if number(MEMBER) != Some(VERSION) {
            return Err("$erasable (this version reads 1)");
        }
        Ok(Self {
            key: text("key").and_then(|key| Uuid::try_parse(key).ok()).ok_or("key")?,
            generation: small("generation").ok_or("generation")?,
            rotation: small("rotation").ok_or("rotation")?,
            kind: text("kind").and_then(Kind::parse).ok_or("kind")?,
            nonce: bytes("nonce").ok_or("nonce")?,
            data: bytes("data").ok_or("data")?,
        })
    }
}

/// The data that an encrypted value is bound to: it opens in no other event, at no other place, and under no other key.
pub(super) fn associated(envelope: &Envelope, event_id: Uuid, event_type: &str, path: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + event_type.len() + path.len());
    bytes.extend_from_slice(b"annals.erasable.1");
    bytes.extend_from_slice(envelope.key.as_bytes());
    bytes.extend_from_slice(&envelope.generation.to_le_bytes());
    bytes.extend_from_slice(&envelope.rotation.to_le_bytes());
    bytes.push(envelope.kind as u8);
    bytes.extend_from_slice(event_id.as_bytes());
    bytes.extend_from_slice(&(event_type.len() as u64).to_le_bytes());
    bytes.extend_from_slice(event_type.as_bytes());
    bytes.extend_from_slice(path.as_bytes());
    bytes
}
