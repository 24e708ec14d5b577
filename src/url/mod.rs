//! URLs of stores: `memory:`, `file:DIR?option=value` and `postgres://HOST/DATABASE?option=value`. Each option sets the setting of its name.

#[cfg(feature = "file")]
mod folder;
#[cfg(any(feature = "file", feature = "postgres"))]
mod options;
#[cfg(feature = "postgres")]
mod postgres;
mod scheme;

use std::fmt;
use std::path::Path;
#[cfg(feature = "file")]
use std::path::PathBuf;
use std::str::FromStr;

#[cfg(feature = "file")]
use self::folder::FolderUrl;
#[cfg(any(feature = "file", feature = "postgres"))]
use self::options::StoreOptions;
#[cfg(feature = "postgres")]
use self::postgres::PostgresUrl;
#[cfg(all(feature = "cqrs", feature = "postgres"))]
pub(crate) use self::postgres::database_at;
#[cfg(all(feature = "erasure", feature = "postgres"))]
pub(crate) use self::postgres::database_of;
use self::scheme::OtherUrl;
pub use self::scheme::{UrlScheme, register_scheme};
#[cfg(feature = "file")]
use crate::journal::file::{FileJournal, FileReader};
#[cfg(feature = "postgres")]
use crate::journal::postgres::cdc::{CaptureSettings, ChangeCapture};
#[cfg(feature = "postgres")]
use crate::journal::postgres::{PostgresJournal, follow_at};
#[cfg(feature = "file")]
use crate::journal::{JournalError, JournalErrorKind};
use crate::{Builder, Error, Result, Store};
#[cfg(any(feature = "file", feature = "postgres"))]
use crate::{Durability, WhenBehind};

/// The location and the options of a store, as [`Store::open_url`] parses them.
///
/// | URL | store |
/// |---|---|
/// | `memory:` | in memory, without a journal |
/// | `file:DIR`, `file:///DIR` | durable by a journal in the folder `DIR`; needs the feature `file` |
/// | `postgres://USER:PASSWORD@HOST:PORT/DATABASE` | durable by a journal in the database; needs the feature `postgres` |
/// | `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE` | the same on a server with standbys: the store uses the server that accepts writes |
/// | others | of another crate that has registered its scheme: see [`register_scheme`] |
///
/// `DIR` is relative to the current directory unless it begins with `/`. `%` and two hexadecimal digits encode a byte: `%20` a space, `%3F`
/// a `?`, `%25` a `%`. Options follow a `?`, separated by `&`; each sets the setting of its name:
///
/// | option of every durable store | value | setting |
/// |---|---|---|
/// | `durability` | `volatile`, `written`, `synced` (or `sync`) | [`Settings::durability`](crate::Settings::durability) |
/// | `write_within`, `sync_within`, `retry_for` | `20ms`, `1s`: up to 24 hours | [`FlushSettings`](crate::FlushSettings) |
/// | `enforce_write_within` | `true`, `false` | the same |
/// | `backlog_bytes` | `65536`, `64KiB`, `64MiB`, `1GiB` | [`FlushSettings`](crate::FlushSettings) |
/// | `when_behind` | `wait`, `refuse` | [`FlushSettings`](crate::FlushSettings) |
///
/// | option of `file:` | value | setting |
/// |---|---|---|
/// | `segment_bytes`, `preallocate_bytes` | as `backlog_bytes` | `FileSettings` |
/// | `compress` | `lz4` (needs the feature `lz4`), `none` | `FileSettings` |
///
/// | option of `postgres:` | value | setting |
/// |---|---|---|
/// | `schema` | the name of a schema | `PostgresSettings` |
/// | `lease`, `lease_wait`, `timeout` | as `write_within` | `PostgresSettings` |
/// | `partition` | `month` | `PostgresSettings` |
/// | `sslmode` | `disable`, `prefer`, `require`, `verify-ca`, `verify-full` | as for libpq |
/// | `sslrootcert` | a PEM file of certificate authorities, or `system` | as for libpq, with an `sslmode` that verifies the server; the system's authorities by default |
/// | `target_session_attrs` | `any`, `read-write`, `read-only` | the server that a following store reads from; writes go to the server that accepts them |
/// | `application_name`, `load_balance_hosts`, `channel_binding`, `connect_timeout` … | | as for libpq |
///
/// Neither `Debug` nor `Display` shows a password.
///
/// ```
/// use annals::StoreUrl;
///
/// # #[cfg(feature = "file")]
/// # {
/// let url: StoreUrl = "file:my%20orders?durability=synced&segment_bytes=256MiB".parse()?;
/// assert_eq!(url.folder(), Some("my orders".as_ref()));
///
/// let refusal = "file:orders?durability=forever".parse::<StoreUrl>().unwrap_err();
/// assert_eq!(refusal.to_string(), "the option durability is 'forever', but must be volatile, written or synced");
/// # }
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Memory,
    #[cfg(feature = "file")]
    Folder(Box<FolderUrl>),
    #[cfg(feature = "postgres")]
    Database(Box<PostgresUrl>),
    Other(Box<OtherUrl>),
}

impl StoreUrl {
    /// The URL of the store in the directory at `path`, with default options.
    #[cfg(feature = "file")]
    pub fn of_folder(path: impl Into<PathBuf>) -> Self {
        Self(Place::Folder(Box::new(FolderUrl::of(path.into()))))
    }

    /// The directory of the store; `None` for a store that is not in files.
    pub fn folder(&self) -> Option<&Path> {
        match &self.0 {
            Place::Memory | Place::Other(_) => None,
            #[cfg(feature = "file")]
            Place::Folder(url) => Some(&url.folder),
            #[cfg(feature = "postgres")]
            Place::Database(_) => None,
        }
    }

    /// Replaces the durability of the URL. No effect on a store in memory or of another crate.
    #[must_use = "the URL with the durability is the result"]
    #[cfg(any(feature = "file", feature = "postgres"))]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        if let Some(options) = self.options() {
            options.durability = Some(durability);
        }
        self
    }

    /// Replaces the reaction to a slow journal of the URL. No effect on a store in memory or of another crate.
    #[must_use = "the URL with the reaction is the result"]
    #[cfg(any(feature = "file", feature = "postgres"))]
    pub fn with_when_behind(mut self, when_behind: WhenBehind) -> Self {
        if let Some(options) = self.options() {
            options.when_behind = Some(when_behind);
        }
        self
    }

    #[cfg(any(feature = "file", feature = "postgres"))]
    fn options(&mut self) -> Option<&mut StoreOptions> {
        match &mut self.0 {
            Place::Memory | Place::Other(_) => None,
            #[cfg(feature = "file")]
            Place::Folder(url) => Some(&mut url.options),
            #[cfg(feature = "postgres")]
            Place::Database(url) => Some(&mut url.options),
        }
    }

    /// Whether the store exists. Creates nothing and waits for no lock. A store in memory never exists.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](Error::Unavailable) when the directory or the server cannot be read now; [`Invalid`](Error::Invalid) when the path is
    /// empty.
    pub fn exists(&self) -> Result<bool> {
        match &self.0 {
            Place::Memory => Ok(false),
            #[cfg(feature = "file")]
            Place::Folder(url) => {
                let unreadable = |error: std::io::Error| {
                    let is_path = error.kind() == std::io::ErrorKind::InvalidInput;
                    let kind = [JournalErrorKind::Retry, JournalErrorKind::Unsupported][usize::from(is_path)];
                    let message = format!("the folder {} cannot be read", url.folder.display());
                    JournalError::new(kind, message).caused_by(error)
                };
                Ok(FileJournal::exists(&url.folder).map_err(unreadable)?)
            }
            #[cfg(feature = "postgres")]
            Place::Database(url) => PostgresJournal::exists_at(&url.address, url.journal.clone())
                .map_err(|error| Error::from(error).of_reader()),
            Place::Other(url) => url.scheme.exists(&url.url.0),
        }
    }

    /// Opens a change capture of the store.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the store is not in PostgreSQL; otherwise as
    /// [`ChangeCapture::open`](crate::journal::postgres::cdc::ChangeCapture::open).
    #[cfg(feature = "postgres")]
    pub fn capture(&self, settings: CaptureSettings) -> Result<ChangeCapture> {
        let Place::Database(url) = &self.0 else {
            return invalid("changes are captured of a store in PostgreSQL: postgres://USER@HOST/DATABASE");
        };
        let (address, postgres) = (&url.address, url.journal.clone());
        ChangeCapture::open_at(address, postgres, settings).map_err(|error| Error::from(error).of_reader())
    }

    /// The replication slot of the change capture, to query its status or to drop it. Creates nothing.
    ///
    /// # Errors
    ///
    /// As [`capture`](Self::capture), without the errors of the server.
    #[cfg(feature = "postgres")]
    pub fn slot(&self, settings: CaptureSettings) -> Result<ChangeCapture> {
        let Place::Database(url) = &self.0 else {
            return invalid("changes are captured of a store in PostgreSQL: postgres://USER@HOST/DATABASE");
        };
        let (address, postgres) = (&url.address, url.journal.clone());
        Ok(ChangeCapture::of_slot(address, postgres, settings)?)
    }

    /// Follows the store with the clock, ids, indexers and progress of `builder`. Other programs and other following stores can write to it.
    ///
    /// # Errors
    ///
    /// As [`Builder::follow`].
    pub fn follow(&self, mut builder: Builder) -> Result<Store> {
        builder.journal = None;
        match &self.0 {
            #[cfg(feature = "postgres")]
            Place::Database(url) => {
                url.options.adjust(&mut builder.settings);
                builder.settings.check()?;
                builder.follow_log(followed(url)?)
            }
            Place::Other(url) => url.scheme.follow(&url.url.0, builder),
            _ => {
                drop(builder);
                invalid(format!(
                    "{self} cannot be followed: it has one writer; a store in PostgreSQL has several"
                ))
            }
        }
    }

    /// Opens the store with `builder`. Options of the URL override the settings of the builder.
    ///
    /// # Errors
    ///
    /// As [`Builder::open_url`].
    pub fn open(&self, mut builder: Builder) -> Result<Store> {
        builder.journal = None;
        match &self.0 {
            Place::Memory => builder.open(),
            #[cfg(feature = "file")]
            Place::Folder(url) => {
                url.options.adjust(&mut builder.settings);
                builder.settings.check()?;
                if builder.read_only {
                    return builder.journal(FileReader::open(&url.folder)?).open();
                }
                let journal = FileJournal::open_with(&url.folder, url.journal.clone())?;
                builder.journal(journal).open()
            }
            #[cfg(feature = "postgres")]
            Place::Database(url) => {
                url.options.adjust(&mut builder.settings);
                builder.settings.check()?;
                if builder.is_read_alone() {
                    if !self.exists()? {
                        return invalid(format!(
                            "there is no store at {self}, in the schema of the URL, that could be read"
                        ));
                    }
                    return builder.read_log(followed(url)?.into_parts().0);
                }
                PostgresUrl::check_limits(&builder.settings.limits)?;
                let journal = PostgresJournal::open_at(&url.address, url.journal.clone())?;
                builder.journal(journal).open()
            }
            Place::Other(url) => url.scheme.open(&url.url.0, builder),
        }
    }
}

#[cfg(feature = "postgres")]
fn followed(url: &PostgresUrl) -> Result<crate::journal::Followed> {
    follow_at(&url.address, url.journal.clone()).map_err(|error| Error::from(error).of_reader())
}

impl Store {
    /// Opens the store at `url`, such as `memory:` or `file:orders?durability=synced`. A store in a directory or a database is created when it
    /// does not exist. [`StoreUrl`] describes the syntax and the options.
    ///
    /// ```
    /// use annals::{Expected, NewEvent, Store, StreamId};
    ///
    /// # #[cfg(feature = "file")]
    /// # {
    /// # let folder = std::env::temp_dir().join(format!("annals-doc-url-{}", std::process::id()));
    /// # let url = format!("file:{}?durability=synced", folder.display());
    /// # let url = url.as_str();
    /// let store = Store::open_url(url)?;
    /// store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced")])?;
    /// drop(store);
    ///
    /// assert_eq!(Store::open_url(url)?.read_stream("order-1").events().len(), 1);
    /// # std::fs::remove_dir_all(folder).ok();
    /// # }
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Builder::open_url`].
    pub fn open_url(url: &str) -> Result<Self> {
        Self::builder().open_url(url)
    }

    /// Opens a store in memory that follows the PostgreSQL store at `url`: it reads the existing events, and then those that its writer, other
    /// following stores and SQL append.
    ///
    /// An [append](Self::append) calls `append_events` in the database, and returns when this store has read the events. Appends to several
    /// aggregates or under a condition, and changes of an aggregate, need the locks of a store and fail with [`Invalid`](Error::Invalid).
    ///
    /// While the server is unreachable, reads return the events so far, and [`fault`](Self::fault) returns the error. No lease is needed.
    ///
    /// # Errors
    ///
    /// As [`Builder::follow`].
    pub fn follow(url: &str) -> Result<Self> {
        Self::builder().follow(url)
    }
}

impl Builder {
    /// Opens the store at `url` with the clock, ids, indexers and progress of this builder. Options of the URL override the settings, and its
    /// journal replaces the journal of the builder.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the URL does not have the syntax of [`StoreUrl`]; otherwise as [`open`](Self::open).
    pub fn open_url(self, url: &str) -> Result<Store> {
        url.parse::<StoreUrl>()?.open(self)
    }

    /// Opens a store that follows the store at `url`; see [`Store::follow`]. For appends, a URL of a replica must name the primary as well.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when the store at the URL cannot be followed, or the server rejects the connection;
    /// [`Unavailable`](Error::Unavailable) when it cannot be reached; [`Corrupt`](Error::Corrupt) when its tables are damaged;
    /// [`Unreadable`](Error::Unreadable) when the server refuses to read them.
    pub fn follow(self, url: &str) -> Result<Store> {
        url.parse::<StoreUrl>()?.follow(self)
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Self(Place::Memory)),
            Some(("memory", _)) => invalid("'memory:' has nothing behind it: no name, no options"),
            #[cfg(feature = "file")]
            Some(("file", rest)) => Ok(Self(Place::Folder(Box::new(FolderUrl::parse(rest)?)))),
            #[cfg(not(feature = "file"))]
            Some(("file", _)) => invalid("stores in files need the feature `file` of annals"),
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => Ok(Self(Place::Database(Box::new(PostgresUrl::parse(url)?)))),
            #[cfg(not(feature = "postgres"))]
            Some(("postgres" | "postgresql", _)) => {
                invalid("stores in PostgreSQL need the feature `postgres` of annals")
            }
            Some((scheme, _)) => match OtherUrl::parse(scheme, url)? {
                Some(other) => Ok(Self(Place::Other(Box::new(other)))),
                None => no_store(url),
            },
            None => no_store(url),
        }
    }
}

fn no_store(url: &str) -> Result<StoreUrl> {
    // The URL may contain a password.
    if url.contains('@') {
        return invalid(NO_STORE);
    }
    invalid(format!("'{url}' names no store: {NO_STORE}"))
}

const NO_STORE: &str =
    "write memory:, or file:DIR, such as file:orders?durability=synced, or postgres://user@host/database";

impl fmt::Display for StoreUrl {
    /// The location of the store, without options and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Memory => f.write_str("memory:"),
            #[cfg(feature = "file")]
            Place::Folder(url) => write!(f, "file:{}", url.folder.display()),
            #[cfg(feature = "postgres")]
            Place::Database(url) => url.address.fmt(f),
            Place::Other(url) => f.write_str(&url.shown),
        }
    }
}

fn invalid<T>(message: impl Into<Box<str>>) -> Result<T> {
    Err(Error::invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error message for an invalid URL.
    pub(super) fn refused(url: &str) -> String {
        match url.parse::<StoreUrl>() {
            Err(Error::Invalid { message }) => message.into(),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn what_is_no_url_of_a_store_is_refused() {
        for (url, part) in [
            ("", "write memory:, or file:DIR"),
            ("orders", "write memory:, or file:DIR"),
            ("mysql://host/orders", "'mysql://host/orders' names no store"),
            ("mysql://anna:secret@host/orders", "write memory:, or file:DIR"),
            ("MEMORY:", "names no store"),
            ("memory:x", "nothing behind it"),
            ("memory:?durability=volatile", "nothing behind it"),
        ] {
            assert!(refused(url).contains(part), "{url}: {}", refused(url));
        }
        assert_eq!("memory:".parse(), Ok(StoreUrl(Place::Memory)));
    }

    #[test]
    fn memory_needs_nothing() {
        let store = Store::open_url("memory:").expect("a store");
        assert_eq!(store.recovery().events, 0);
    }

    #[cfg(not(feature = "file"))]
    #[test]
    fn the_feature_that_is_missing_is_named() {
        assert!(refused("file:orders").contains("feature `file`"));
    }
}
