//! The backends that come with the program, one file each.

mod annals;
#[cfg(feature = "eventually")]
mod eventually;
mod naive;
mod null;
#[cfg(feature = "postgres")]
mod postgres;

use std::path::Path;

use ::annals::Durability;

pub use self::annals::Annals;
#[cfg(feature = "eventually")]
pub use self::eventually::Eventually;
pub use self::naive::Naive;
pub use self::null::Null;
#[cfg(feature = "postgres")]
pub use self::postgres::Postgres;
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
    "null",
];

/// The backend `name`, which keeps its files below `data`, if it has any. With the feature `postgres`, a name can be the URL of a
/// database.
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
        "null" => Ok(Box::new(Null)),
        url => by_url(url),
    }
}

/// Whether `name` is a backend, as far as that can be said without its server.
pub fn is_named(name: &str) -> bool {
    NAMES.contains(&name) || is_url(name)
}

#[cfg(feature = "postgres")]
fn is_url(name: &str) -> bool {
    postgres::SCHEMES.iter().any(|scheme| name.starts_with(scheme))
}

#[cfg(not(feature = "postgres"))]
fn is_url(_: &str) -> bool {
    false
}

#[cfg(feature = "postgres")]
fn by_url(url: &str) -> Result<Box<dyn Backend>> {
    if is_url(url) {
        Ok(Box::new(Postgres::connect(url)?))
    } else {
        Err(UNKNOWN)
    }
}

#[cfg(not(feature = "postgres"))]
fn by_url(_: &str) -> Result<Box<dyn Backend>> {
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
}
