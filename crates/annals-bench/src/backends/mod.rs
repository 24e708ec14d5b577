//! The backends that come with the program, one file each.

mod annals;
mod naive;
mod null;

use std::path::Path;

use ::annals::Durability;

pub use self::annals::Annals;
pub use self::naive::Naive;
pub use self::null::Null;
use crate::store::Backend;

/// The names of the backends.
pub const NAMES: [&str; 6] = [
    "memory",
    "file-volatile",
    "file-written",
    "file-synced",
    "naive",
    "null",
];

/// The backend `name`, which keeps its files below `data`, if it has any.
pub fn named(name: &str, data: &Path) -> Option<Box<dyn Backend>> {
    let files = |durability| Some(Box::new(Annals::in_files(data, durability)) as Box<dyn Backend>);
    match name {
        "memory" => Some(Box::new(Annals::in_memory())),
        "file-volatile" => files(Durability::Volatile),
        "file-written" => files(Durability::Written),
        "file-synced" => files(Durability::Synced),
        "naive" => Some(Box::new(Naive)),
        "null" => Some(Box::new(Null)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_had_another_name() {
        for name in NAMES {
            let backend = named(name, Path::new("data")).unwrap();
            assert_eq!(backend.description().name, name);
        }
        assert!(named("memcached", Path::new("data")).is_none());
    }
}
