//! Signatures of webhooks, as the Standard Webhooks have them: HMAC-SHA256 over the id, the time and the body.

use std::fmt;

use annals::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use uuid::Uuid;

use crate::RelayError;

const PREFIX: &str = "whsec_";
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 256;

/// A key that signs requests.
#[derive(Clone)]
pub(super) struct Secret(hmac::Key);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Reads `whsec_` and base64, or any other text, whose bytes are the key.
    pub(super) fn parse(text: &str) -> Result<Self, RelayError> {
        let key = match text.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).unwrap_or_default(),
            None => text.as_bytes().to_vec(),
        };
        if !(BYTES_MIN..=BYTES_MAX).contains(&key.len()) {
            return Err(RelayError::invalid(format!(
                "a secret of webhooks has {BYTES_MIN} to {BYTES_MAX} bytes, as text or as {PREFIX} and base64: generate one with `openssl rand -hex 32`"
            )));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    fn sign(&self, signed: &[u8]) -> String {
        let tag = hmac::sign(&self.0, signed);
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    }
}

/// The seconds since 1970 that are signed.
pub(super) fn seconds(now: Timestamp) -> i64 {
    now.as_micros().div_euclid(1_000_000)
}

/// The header with a signature for each secret, separated by spaces.
pub(super) fn header(secrets: &[Secret], id: Uuid, seconds: i64, body: &[u8]) -> String {
    let mut signed = format!("{id}.{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    let signatures: Vec<_> = secrets.iter().map(|secret| secret.sign(&signed)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_was_taken_or_shown() {
        for text in [
            "",
            "short",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_no base64 of a length that would do",
        ] {
            assert!(Secret::parse(text).is_err(), "{text}");
        }
        let text = "a secret of more than 24 bytes";
        let secret = Secret::parse(text).unwrap();
        assert!(!format!("{secret:?}").contains("24"));
        // Both forms of a key sign alike.
        let encoded = Secret::parse(&format!("whsec_{}", STANDARD.encode(text))).unwrap();
        assert_eq!(secret.sign(b"x"), encoded.sign(b"x"));
    }
}
