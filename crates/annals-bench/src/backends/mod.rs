//! The backends that come with the program, one file each.

mod annals;
mod annals_store;
#[cfg(feature = "cqrs-es")]
mod cqrs_es;
#[cfg(feature = "eventually")]
mod eventually;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "jetstream")]
mod jetstream;
#[cfg(feature = "kurrentdb")]
mod kurrentdb;
mod naive;
#[cfg(feature = "nats")]
mod nats;
mod null;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_listen;
#[cfg(feature = "postgres")]
mod postgres_table;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(
    feature = "http",
    feature = "kurrentdb",
    feature = "nats",
    feature = "postgres",
    feature = "redis",
    feature = "umadb"
))]
mod remote;
mod servers;
#[cfg(feature = "cqrs-es")]
mod silence;
#[cfg(feature = "umadb")]
mod umadb;

use std::path::Path;

use ::annals::Durability;

pub use self::annals::Annals;
#[cfg(feature = "cqrs-es")]
pub use self::cqrs_es::CqrsEs;
#[cfg(feature = "eventually")]
pub use self::eventually::Eventually;
#[cfg(feature = "http")]
pub use self::http::Http;
#[cfg(feature = "jetstream")]
pub use self::jetstream::JetStream;
#[cfg(feature = "kurrentdb")]
pub use self::kurrentdb::KurrentDb;
pub use self::naive::Naive;
#[cfg(feature = "nats")]
pub use self::nats::Nats;
pub use self::null::Null;
#[cfg(feature = "postgres")]
pub use self::postgres::Postgres;
#[cfg(feature = "postgres")]
pub use self::postgres_table::PostgresTable;
#[cfg(feature = "redis")]
pub use self::redis::Redis;
pub use self::servers::{SERVERS, Server};
#[cfg(feature = "umadb")]
pub use self::umadb::UmaDb;
use crate::store::{Backend, Result, StoreError};

/// The names of the backends.
pub const NAMES: &[&str] = &[
    "memory",
    "file-volatile",
    "file-written",
    "file-synced",
    "naive",
    #[cfg(feature = "eventually")]
    "eventually",
    #[cfg(feature = "cqrs-es")]
    "cqrs-es",
    "null",
];

/// The backend `name`, which keeps its files below `data`, if it has any. A name can be the URL of one of [`SERVERS`]
/// that this build has.
///
/// # Errors
///
/// [`StoreError::Unsupported`] if there is no such backend, and [`StoreError::Failed`] if its server cannot be reached.
pub fn named(name: &str, data: &Path) -> Result<Box<dyn Backend>> {
    let files = |durability| Ok(Box::new(Annals::in_files(data, durability)) as Box<dyn Backend>);
    match name {
        "memory" => Ok(Box::new(Annals::in_memory())),
        "file-volatile" => files(Durability::Volatile),
        "file-written" => files(Durability::Written),
        "file-synced" => files(Durability::Synced),
        "naive" => Ok(Box::new(Naive)),
        #[cfg(feature = "eventually")]
        "eventually" => Ok(Box::new(Eventually)),
        #[cfg(feature = "cqrs-es")]
        "cqrs-es" => Ok(Box::new(CqrsEs)),
        "null" => Ok(Box::new(Null)),
        url => by_url(url).map_err(|error| of_server(url, error)),
    }
}

/// Whether `name` is a backend, as far as that can be said without its server.
pub fn is_named(name: &str) -> bool {
    NAMES.contains(&name) || is_url(name)
}

fn is_url(name: &str) -> bool {
    let begins = |server: &&Server| server.schemes.iter().any(|scheme| name.starts_with(scheme));
    SERVERS.iter().find(begins).is_some_and(|server| server.is_built_in)
}

/// Says which server failed. The user and the password of its URL are left out.
fn of_server(url: &str, error: StoreError) -> StoreError {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let server = rest.rsplit_once('@').map_or(rest, |(_, server)| server);
    match error {
        StoreError::Failed(reason) => StoreError::Failed(format!(
            "cannot measure on {scheme}://{server}: {reason}; is the server running, and is it one of this kind?"
        )),
        StoreError::Conflict | StoreError::Unsupported(_) => error,
    }
}

fn by_url(url: &str) -> Result<Box<dyn Backend>> {
    #[cfg(feature = "postgres")]
    if postgres::SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(Box::new(Postgres::connect(url)?));
    }
    #[cfg(feature = "postgres")]
    if url.starts_with(postgres_table::PREFIX) {
        return Ok(Box::new(PostgresTable::connect(url)?));
    }
    #[cfg(feature = "http")]
    if url.starts_with(http::SCHEME) {
        return Ok(Box::new(Http::connect(url)?));
    }
    #[cfg(feature = "redis")]
    if url.starts_with(redis::SCHEME) {
        return Ok(Box::new(Redis::connect(url)?));
    }
    #[cfg(feature = "nats")]
    if url.starts_with(nats::SCHEME) {
        return Ok(Box::new(Nats::connect(url)?));
    }
    #[cfg(feature = "jetstream")]
    if url.starts_with(jetstream::PREFIX) {
        return Ok(Box::new(JetStream::connect(url)?));
    }
    #[cfg(feature = "umadb")]
    if url.starts_with(umadb::SCHEME) {
        return Ok(Box::new(UmaDb::connect(url)?));
    }
    #[cfg(feature = "kurrentdb")]
    if kurrentdb::SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(Box::new(KurrentDb::connect(url)?));
    }
    let _ = url;
    Err(UNKNOWN)
}

/// There is no backend of a name.
const UNKNOWN: StoreError = StoreError::Unsupported("be found: it has another name");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_had_another_name() {
        for name in NAMES {
            let backend = named(name, Path::new("data")).unwrap();
            assert_eq!(backend.description().name, *name);
        }
        assert!(named("memcached", Path::new("data")).is_err());
        assert!(!is_named("memcached") && is_named("null"));
    }

    /// The files below `folder`, with the lines before their tests.
    fn lines_of(folder: &Path) -> Vec<(std::path::PathBuf, usize)> {
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let of = |path: std::path::PathBuf| {
            if path.is_dir() {
                return lines_of(&path);
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
            vec![(path, lines)]
        };
        paths.flat_map(of).collect()
    }

    #[test]
    fn a_backend_had_200_lines() {
        let files = lines_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backends"));
        assert!(files.len() > 20, "{files:?}");
        for (path, lines) in files {
            assert!(lines < 200, "{} has {lines} lines without its tests", path.display());
        }
    }

    #[test]
    fn a_failure_did_not_say_of_which_server() {
        let failed = StoreError::Failed("refused".to_owned());
        let told = of_server("postgres://me:secret@localhost:1/x", failed).to_string();
        assert!(
            told.starts_with("cannot measure on postgres://localhost:1/x: refused; "),
            "{told}"
        );
    }

    #[test]
    fn a_server_that_says_nothing_was_waited_for_for_ever() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let urls = SERVERS.iter().filter(|server| server.is_built_in).map(|server| {
            let url = server.url.replace("HOST:PORT", &address.to_string());
            url.replace("HOST", &address.to_string())
                .replace("USER", "postgres")
                .replace("DATABASE", "postgres")
        });
        let connect = |url: String| std::thread::spawn(move || named(&url, Path::new("data")).map(drop));
        for connecting in urls.map(connect).collect::<Vec<_>>() {
            let error = connecting.join().unwrap().unwrap_err().to_string();
            // The words of the clients for a server that is late.
            assert!(
                !error.contains("os error 11") && !error.contains("timeout: global"),
                "{error}"
            );
        }
    }
}
