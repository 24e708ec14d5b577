//! Values that may be secrets: a text, or where one is.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::RelayError;

/// Bytes of a secret, at most.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A text, or the name of a variable or file that has it.
pub(super) enum Secret {
    Text(String),
    Env(String),
    File(PathBuf),
}

/// Reads a text or a table. Derived code would take a list, too, and an error would show its text as the name of a variable.
struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, { env = \"NAME\" } or { file = \"PATH\" }")
    }

    fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Secret, A::Error> {
        let refused = || A::Error::custom("expected a text, { env = \"NAME\" } or { file = \"PATH\" }");
        let (name, value): (String, String) = table.next_entry()?.ok_or_else(refused)?;
        if table.next_key::<IgnoredAny>()?.is_some() {
            return Err(refused());
        }
        match name.as_str() {
            "env" => Ok(Secret::Env(value)),
            "file" => Ok(Secret::File(value.into())),
            _ => Err(refused()),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(SecretVisitor)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// The text, without line ends at its end.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] with the name of the variable or the file.
    pub(super) fn read(&self) -> Result<String, RelayError> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Env(env) => std::env::var(env)
                .map_err(|_| RelayError::invalid(format!("the variable {env} is not set, or is no UTF-8")))?,
            Self::File(file) => {
                let mut text = String::new();
                let opened =
                    fs::File::open(file).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text));
                opened.map_err(|error| RelayError::invalid(format!("cannot read {}: {error}", file.display())))?;
                text
            }
        };
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}
