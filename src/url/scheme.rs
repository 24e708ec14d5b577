//! Schemes of URLs that other crates implement, and register.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use super::invalid;
use crate::{Builder, Result, Store};

/// Schemes of this crate, of the program, and of the web.
const RESERVED: [&str; 6] = ["memory", "file", "postgres", "postgresql", "http", "https"];

static SCHEMES: RwLock<Vec<(String, Arc<dyn UrlScheme>)>> = RwLock::new(Vec::new());

/// Opens the stores of another crate by their URLs, once [`register_scheme`] has its name.
///
/// A URL is passed whole. Other options than those of the scheme are its own business.
pub trait UrlScheme: Send + Sync + fmt::Debug {
    /// Checks the syntax of `url`, and returns it as it may be shown and logged: without passwords and options.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid), with a message without passwords.
    fn parse(&self, url: &str) -> Result<String>;

    /// Whether the store exists. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::Error::Unavailable) when this cannot be told now.
    fn exists(&self, url: &str) -> Result<bool>;

    /// Opens the store with `builder`, and creates it if there is none.
    ///
    /// # Errors
    ///
    /// Those of the store.
    fn open(&self, url: &str, builder: Builder) -> Result<Store>;

    /// Follows the store, which other programs write, with `builder`.
    ///
    /// # Errors
    ///
    /// Those of the store; [`Invalid`](crate::Error::Invalid) when it cannot be followed.
    fn follow(&self, url: &str, builder: Builder) -> Result<Store>;
}

/// Makes URLs that begin with `name` and a colon name stores of `scheme`: for [`Store::open_url`] and [`Store::follow`], and for the program, which
/// calls this for the crates that it is built with.
///
/// # Errors
///
/// [`Invalid`](crate::Error::Invalid) when `name` is no name of a scheme in lower case, or is taken.
pub fn register_scheme(name: &str, scheme: impl UrlScheme + 'static) -> Result<()> {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.');
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(is_allowed) {
        return invalid(format!(
            "'{name}' is no name of a scheme: it begins with a letter in lower case, and has such letters, digits, '+', '-' and '.'"
        ));
    }
    let mut schemes = SCHEMES.write();
    if RESERVED.contains(&name) || schemes.iter().any(|(known, _)| known == name) {
        return invalid(format!("the scheme '{name}:' is taken: register another name"));
    }
    schemes.push((name.to_owned(), Arc::new(scheme)));
    Ok(())
}

/// The URL of a store of another crate.
#[derive(Clone, Debug)]
pub(super) struct OtherUrl {
    pub(super) scheme: Arc<dyn UrlScheme>,
    /// May contain a password.
    pub(super) url: Secret,
    /// The URL as it may be shown.
    pub(super) shown: String,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl PartialEq for OtherUrl {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Eq for OtherUrl {}

impl OtherUrl {
    /// The URL, if its scheme is registered.
    ///
    /// # Errors
    ///
    /// Those of [`UrlScheme::parse`].
    pub(super) fn parse(name: &str, url: &str) -> Result<Option<Self>> {
        let found = SCHEMES.read().iter().find(|(known, _)| known == name).cloned();
        let Some((_, scheme)) = found else { return Ok(None) };
        let shown = scheme.parse(url)?;
        let url = Secret(url.to_owned());
        Ok(Some(Self { scheme, url, shown }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, StoreUrl};

    /// Stores in memory, for URLs such as `test-memory:name`.
    #[derive(Debug)]
    struct Named;

    impl UrlScheme for Named {
        fn parse(&self, url: &str) -> Result<String> {
            let (shown, _) = url.split_once('@').unwrap_or((url, ""));
            if shown.ends_with(':') {
                return invalid("it has no name");
            }
            Ok(shown.to_owned())
        }

        fn exists(&self, url: &str) -> Result<bool> {
            Ok(url.contains("old"))
        }

        fn open(&self, _: &str, builder: Builder) -> Result<Store> {
            builder.open()
        }

        fn follow(&self, url: &str, _: Builder) -> Result<Store> {
            invalid(format!("{} cannot be followed", self.parse(url)?))
        }
    }

    #[test]
    fn a_url_of_another_crate_opened_nothing() {
        register_scheme("test-memory", Named).expect("the name is free");
        let url: StoreUrl = "test-memory:old@secret".parse().expect("it has a name");
        assert_eq!(url.to_string(), "test-memory:old");
        assert!(!format!("{url:?}").contains("secret"));
        assert_eq!(url.exists(), Ok(true));
        assert!(Store::open_url("test-memory:new").is_ok());
        let refused = [
            Store::open_url("test-memory:").err(),
            Store::follow("test-memory:a").err(),
        ];
        assert!(
            matches!(&refused, [Some(Error::Invalid { .. }), Some(Error::Invalid { message })] if message.contains("test-memory:a"))
        );
    }

    #[test]
    fn a_scheme_took_the_name_of_another() {
        register_scheme("test-taken", Named).expect("the name is free");
        for name in [
            "test-taken",
            "memory",
            "file",
            "postgres",
            "http",
            "",
            "Nats",
            "1a",
            "a:b",
            "a b",
        ] {
            assert!(
                matches!(register_scheme(name, Named), Err(Error::Invalid { .. })),
                "{name}"
            );
        }
    }
}
