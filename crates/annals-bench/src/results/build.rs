//! The build of the program, which tells two results of one version apart.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The most bytes of a program that is hashed.
const BYTES_MAX: u64 = 4 << 30;
/// Digits of a hash that are shown.
const SHOWN: usize = 12;

/// The build of the program; a field is empty if it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Build {
    /// The commit of the checkout, which the environment variable `ANNALS_COMMIT` names when the program is built.
    pub commit: String,
    /// The BLAKE3 hash of the file of the program.
    pub program: String,
}

impl Build {
    /// The build of this program.
    pub fn this() -> Self {
        let program = std::env::current_exe().and_then(|path| hash_of(&path));
        Self {
            commit: option_env!("ANNALS_COMMIT").unwrap_or_default().to_owned(),
            program: program.unwrap_or_default(),
        }
    }

    /// Whether both are known to be one build, or one of them is not known.
    pub(crate) fn may_be(&self, other: &Self) -> bool {
        let same = |one: &str, other: &str| one.is_empty() || other.is_empty() || one == other;
        same(&self.commit, &other.commit) && same(&self.program, &other.program)
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = (!self.commit.is_empty()).then(|| format!("commit {}", short(&self.commit)));
        let program = (!self.program.is_empty()).then(|| format!("program {}", short(&self.program)));
        let parts: Vec<String> = commit.into_iter().chain(program).collect();
        f.write_str(&parts.join(", "))
    }
}

/// The first digits of a hash.
pub(crate) fn short(hash: &str) -> &str {
    hash.get(..SHOWN).unwrap_or(hash)
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?.take(BYTES_MAX))?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_builds_of_one_version_were_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let program = |bytes: &[u8]| {
            let path = folder.path().join("program");
            std::fs::write(&path, bytes).unwrap();
            hash_of(&path).unwrap()
        };
        let build = |commit: &str, program: String| Build {
            commit: commit.to_owned(),
            program,
        };
        let (one, other) = (build("", program(b"one")), build("", program(b"other")));
        assert!(one.may_be(&build("", program(b"one"))) && !one.may_be(&other));
        assert!(one.may_be(&Build::default()));
        assert!(!build("abc", String::new()).may_be(&build("abd", String::new())));
        assert_eq!(
            build("0123456789abcdef", "ff".to_owned()).to_string(),
            "commit 0123456789ab, program ff"
        );
        // The program of the tests has a hash.
        assert_eq!(Build::this().program.len(), 64);
    }
}
