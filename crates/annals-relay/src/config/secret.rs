//! Values that may be secrets: a text, or where one is.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use serde::Deserialize;

use crate::RelayError;

/// Bytes of a secret, at most.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A text, or the name of a variable or file that has it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, { env = \"NAME\" } or { file = \"PATH\" }")]
pub(super) enum Secret {
    Text(String),
    Env(InEnv),
    File(InFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InEnv {
    env: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InFile {
    file: PathBuf,
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
            Self::Env(InEnv { env }) => std::env::var(env)
                .map_err(|_| RelayError::invalid(format!("the variable {env} is not set, or is no UTF-8")))?,
            Self::File(InFile { file }) => {
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
