//! Loading: parses log files and builds a store from them.

pub(crate) mod archive;
pub(crate) mod clock;
pub mod csv;
mod dropped;
pub(crate) mod durable;
mod elements;
mod encoding;
pub(crate) mod feed;
pub(crate) mod foreign;
mod gathered;
pub(crate) mod growing;
pub(crate) mod identity;
pub(crate) mod json_text;
pub mod jsonl;
pub(crate) mod loader;
pub(crate) mod metadata;
mod packing;
mod parsers;
pub(crate) mod pieces;
mod positions;
pub(crate) mod progress;
pub(crate) mod reader;
#[cfg(feature = "serve")]
pub(crate) mod remote;
#[cfg(feature = "serve")]
mod repeated;
pub(crate) mod retrying;
#[cfg(feature = "serve")]
pub(crate) mod sending;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::{NewEvent, Position, StoreUrl, StreamId, Timestamp, Version};

use crate::load::feed::Kind;
pub use crate::load::feed::{ParsedLine, parse_file};
use crate::load::foreign::Mapping;

/// Maximum bytes of a line: 16 MiB.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// Maximum nesting depth of JSON.
pub const JSON_DEPTH_MAX: usize = 128;

/// An event read from a log file, with the fields that a [`NewEvent`] does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The aggregate it happened to.
    pub stream: StreamId,
    /// The event.
    pub event: NewEvent<'static>,
    /// When the store that wrote the file recorded it.
    pub recorded_at: Option<Timestamp>,
    /// Its position and version in that store.
    pub place: Option<(Position, Version)>,
}

/// The error message of a program without PostgreSQL for a URL of PostgreSQL.
#[cfg(not(feature = "postgres"))]
pub(crate) const WITHOUT_POSTGRES: &str =
    "this program was built without PostgreSQL: build it again with `cargo install --path cli --features postgres`";

/// The reason why a line is not a valid event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine(pub(crate) String);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadLine {}

/// Options for reading logs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Count bad lines instead of stopping at the first.
    pub skip_bad: bool,
    /// The columns of a CSV file.
    pub columns: csv::Columns,
    /// The mapping of foreign JSON.
    pub(crate) mapping: Option<Arc<Mapping>>,
    /// The format of standard input, and of a file without a known ending.
    pub(crate) input: Option<Kind>,
}

/// The store that `--store` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An empty store.
    Memory,
    /// A log file, or `-` for the standard input.
    File(PathBuf),
    /// A durable store: in a folder, in PostgreSQL, in MongoDB, or over a stream of NATS.
    Durable(StoreUrl),
    /// A store behind a server, at `http://HOST:PORT`.
    Server(String),
}

/// A store over a stream of NATS.
#[cfg(feature = "jetstream")]
fn stream(url: &str) -> Result<Location, String> {
    let parsed = annals_jetstream::register().and_then(|()| url.parse());
    parsed.map(Location::Durable).map_err(|error| error.to_string())
}

#[cfg(not(feature = "jetstream"))]
fn stream(_: &str) -> Result<Location, String> {
    Err(
        "this program was built without NATS JetStream: build it again with `cargo install --path cli --features jetstream`"
            .to_owned(),
    )
}

/// A store in MongoDB.
#[cfg(feature = "mongodb")]
fn mongo(url: &str) -> Result<Location, String> {
    let parsed = annals_mongodb::register().and_then(|()| url.parse());
    parsed.map(Location::Durable).map_err(|error| error.to_string())
}

#[cfg(not(feature = "mongodb"))]
fn mongo(_: &str) -> Result<Location, String> {
    Err(
        "this program was built without MongoDB: build it again with `cargo install --path cli --features mongodb`"
            .to_owned(),
    )
}

/// A store behind a server.
#[cfg(feature = "serve")]
fn server(url: &str) -> Result<Location, String> {
    remote::client(url)?;
    Ok(Location::Server(url.to_owned()))
}

#[cfg(not(feature = "serve"))]
fn server(_: &str) -> Result<Location, String> {
    Err(
        "this program was built without servers: build it again with `cargo install --path cli --features serve`"
            .to_owned(),
    )
}

impl std::str::FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("memory", _)) => Err("write 'memory:' with nothing behind it".to_owned()),
            Some(("file", path)) => {
                let path = Path::new(path.trim_start_matches("//"));
                if Kind::of(path).is_ok() && !path.is_dir() {
                    return Ok(Self::File(path.into()));
                }
                text.parse()
                    .map(Self::Durable)
                    .map_err(|error: annals::Error| error.to_string())
            }
            #[cfg(not(feature = "postgres"))]
            Some(("postgres" | "postgresql", _)) => Err(WITHOUT_POSTGRES.to_owned()),
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", _)) => text
                .parse()
                .map(Self::Durable)
                .map_err(|error: annals::Error| error.to_string()),
            Some(("nats", _)) => stream(text),
            Some(("mongodb", _)) => mongo(text),
            Some(("http" | "https", _)) => server(text),
            _ if text.is_empty() => Err("name a log file, 'memory:', 'file:DIR', 'postgres://…' or 'http://…'".to_owned()),
            _ if text.contains("://") => {
                Err("that is neither 'memory:', 'file:DIR', 'postgres://USER@HOST/DATABASE', 'nats://HOST/STREAM', 'mongodb://HOST/DATABASE', 'http://HOST:PORT' nor a log file".to_owned())
            }
            _ if Path::new(text).is_dir() => Ok(Self::Durable(StoreUrl::of_folder(text))),
            _ => Ok(Self::File(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_memory_or_a_file() {
        assert_eq!("memory:".parse(), Ok(Location::Memory));
        assert_eq!("a/b.jsonl".parse(), Ok(Location::File("a/b.jsonl".into())));
        assert_eq!("file:///a/b.jsonl".parse(), Ok(Location::File("/a/b.jsonl".into())));
        assert_eq!("file:a.csv.gz".parse(), Ok(Location::File("a.csv.gz".into())));
        assert_eq!("file:-".parse(), Ok(Location::File("-".into())));
        for (text, folder) in [
            ("file:a/b", "a/b"),
            ("file:///a/b", "/a/b"),
            ("file:a%20b?durability=synced", "a b"),
            ("file:a.jsonl?compress=none", "a.jsonl"),
            ("src", "src"),
            ("file:src", "src"),
        ] {
            let Ok(Location::Durable(url)) = text.parse() else {
                panic!("{text} is no folder");
            };
            assert_eq!(url.folder(), Some(Path::new(folder)));
        }
        assert!("file:".parse::<Location>().is_err());
        assert!(
            "file:a?fast=1"
                .parse::<Location>()
                .unwrap_err()
                .contains("'fast' is no option")
        );
        let database = "postgres://host/db".parse::<Location>();
        if cfg!(feature = "postgres") {
            assert!(matches!(database, Ok(Location::Durable(_))));
        } else {
            assert!(database.unwrap_err().contains("without PostgreSQL"));
        }
        assert!("mysql://host/db".parse::<Location>().is_err());
        assert!("".parse::<Location>().is_err());
    }
}
