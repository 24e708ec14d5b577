//! Bearer tokens: rights to read, write and change aggregates, in all namespaces or in one.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use annals::Error;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use crate::problem::{Kind, Problem};

/// Characters of a token. A random token of the least length cannot be guessed.
const CHARACTERS: std::ops::RangeInclusive<usize> = 16..=512;
/// The prefix of a token among the protocols of a WebSocket. The token is in URL-safe Base64.
const OFFERED: &str = "annals.token.";
/// Bytes of a file of tokens, at most.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// The rights of a token. Each role has the rights of the roles before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Reads and live tails.
    Read,
    /// Appends.
    Write,
    /// Deletions, truncations and limits.
    Admin,
}

/// A bearer token of a [`Server`](crate::Server). `Debug` does not show it.
#[derive(Clone)]
pub struct Token {
    secret: Box<[u8]>,
    role: Role,
    namespace: Option<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("role", &self.role)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// A token of `role` in every namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the secret has fewer than 16 or more than 512 characters, or one that is not visible ASCII. The error does not
    /// show the secret.
    pub fn new(role: Role, secret: &str) -> Result<Self, Error> {
        if !CHARACTERS.contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid(
                "a token must have 16 to 512 visible ASCII characters".to_owned(),
            ));
        }
        Ok(Self {
            secret: secret.as_bytes().into(),
            role,
            namespace: None,
        })
    }

    /// Restricts the token to one namespace.
    #[must_use]
    pub fn in_namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// Reads tokens from a text: each line has a role (`read`, `write` or `admin`), a token, and optionally the name of a namespace. Empty lines
    /// and lines that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] that names the line, and does not show it, if a line is something else, or if there is no token.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, Error> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let tokens = lines.map(|(number, line)| {
            Self::parse(line).ok_or_else(|| {
                invalid(format!(
                    "line {number} of the tokens is invalid: write a role (read, write or admin), a token of 16 to 512 visible ASCII \
                     characters, and optionally a namespace"
                ))
            })
        });
        let tokens: Vec<Self> = tokens.collect::<Result<_, _>>()?;
        if tokens.is_empty() {
            return Err(invalid(
                "there is no token: without one no request would be permitted".to_owned(),
            ));
        }
        Ok(tokens)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let role = match words.next()? {
            "read" => Role::Read,
            "write" => Role::Write,
            "admin" => Role::Admin,
            _ => return None,
        };
        let token = Self::new(role, words.next()?).ok()?;
        match (words.next(), words.next()) {
            (None, _) => Some(token),
            (Some(namespace), None) => Some(token.in_namespace(namespace)),
            (Some(_), Some(_)) => None,
        }
    }

    /// Reads tokens from a file, as [`parse_all`](Self::parse_all) does.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the file cannot be read, others than its owner can read it (on Unix), it has more than 256 KiB, or its text is
    /// invalid.
    pub fn read_file(path: &Path) -> Result<Vec<Self>, Error> {
        let refused = |reason: String| invalid(format!("cannot read the tokens in {}: {reason}", path.display()));
        let file = File::open(path).map_err(|error| refused(error.to_string()))?;
        check_owner_only(&file).map_err(refused)?;
        let mut text = String::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
        read.map_err(|error| refused(error.to_string()))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(refused(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        Self::parse_all(&text)
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.secret.ct_eq(&other.secret).into()
    }
}

fn invalid(message: String) -> Error {
    Error::Invalid {
        message: message.into(),
    }
}

#[cfg(unix)]
fn check_owner_only(file: &File) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;

    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err("others than its owner can read it; run chmod 600".to_owned());
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owner_only(_: &File) -> Result<(), String> {
    Ok(())
}

/// Whether a request has the rights of `role` in `namespace`; `None` stands for all namespaces.
///
/// # Errors
///
/// [`Kind::Unauthorized`] without a known token, [`Kind::Forbidden`] if its role or namespace does not suffice.
pub(crate) fn permit(
    tokens: &[Token],
    headers: &HeaderMap,
    role: Role,
    namespace: Option<&str>,
) -> Result<(), Problem> {
    if tokens.is_empty() {
        return Ok(());
    }
    let unauthorized = |detail: &str| Problem::new(Kind::Unauthorized, detail);
    let given = bearer(headers).map(Cow::Borrowed).or_else(|| offered(headers));
    let given = given.ok_or_else(|| unauthorized("the request has no bearer token"))?;
    // Every token is compared, so that the time does not tell which one is similar.
    let fitting = tokens.iter().fold(None, |found, token| {
        let is_given: bool = token.secret.ct_eq(&given).into();
        if is_given { Some(token) } else { found }
    });
    let token = fitting.ok_or_else(|| unauthorized("the token is unknown"))?;
    if token.role < role {
        let detail = format!(
            "the request needs the role {role:?}, and the token has the role {:?}",
            token.role
        );
        return Err(Problem::new(Kind::Forbidden, detail.to_ascii_lowercase()));
    }
    if token.namespace.is_some() && token.namespace.as_deref() != namespace {
        return Err(Problem::new(Kind::Forbidden, "the token is of another namespace"));
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?.as_bytes(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// The token of a handshake of a WebSocket: a page can send it as a protocol alone, and an address would be logged by proxies.
fn offered(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let is_handshake = headers
        .get(UPGRADE)
        .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let mut offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let (value, None, true) = (offers.next()?.to_str().ok()?, offers.next(), is_handshake) else {
        return None;
    };
    let mut tokens = value.split(',').filter_map(|offer| offer.trim().strip_prefix(OFFERED));
    let (token, None) = (tokens.next()?, tokens.next()) else {
        return None;
    };
    URL_SAFE_NO_PAD.decode(token).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "correct-horse-battery";

    #[test]
    fn a_token_was_shown() {
        let token = Token::new(Role::Read, SECRET).unwrap();
        assert!(!format!("{token:?}").contains("horse"));
        let error = Token::parse_all(&format!("read {SECRET} a b")).unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("horse"), "{error}");
    }

    #[test]
    fn a_file_without_a_token_permitted_everything() {
        for text in ["", "# none\n\n"] {
            assert!(Token::parse_all(text).is_err());
        }
        let text = format!("# all\nread {SECRET}\n\n  admin {SECRET}-2 tenant-a\n");
        let tokens = Token::parse_all(&text).unwrap();
        assert_eq!((tokens[1].role, tokens[1].namespace()), (Role::Admin, Some("tenant-a")));
        for wrong in [
            "reed",
            "read",
            "read short",
            "read \u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(Token::parse_all(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_was_used() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, format!("read {SECRET}\n")).unwrap();
        for (mode, is_accepted) in [(0o600, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(Token::read_file(&path).is_ok(), is_accepted, "{mode:o}");
        }
        assert!(Token::read_file(&folder.path().join("none")).is_err());
    }
}
