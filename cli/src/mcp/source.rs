//! The store that questions are asked about, read again when its files have changed.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use annals::Store;

use crate::args::Global;
use crate::commands;
use crate::exit::{Failure, Outcome};
#[cfg(feature = "serve")]
use crate::load::remote;
use crate::load::{Location, durable};
use crate::output::Out;
use crate::output::text::clean;

/// The store, and what its files were when it was read.
pub(super) struct Source<'a> {
    global: &'a Global,
    location: &'a Location,
    store: Store,
    stamps: Vec<Stamp>,
}

/// A file: its name, its length and when it was changed. A server: its URL and its last position.
type Stamp = (String, u64, Option<SystemTime>);

impl<'a> Source<'a> {
    pub(super) fn open(global: &'a Global, out: &mut Out<'_>) -> Outcome<Self> {
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        let location = match &global.store {
            None | Some(Location::Memory) => {
                return usage("no store is named: name one with --store FILE, --store file:DIR or in ANNALS_STORE");
            }
            Some(Location::File(path)) if path == Path::new("-") => {
                return usage("the standard input is for messages: name a file with --store");
            }
            Some(location) => location,
        };
        let stamps = stamps(location);
        let store = read(global, location, out)?;
        Ok(Self {
            global,
            location,
            store,
            stamps,
        })
    }

    /// What the store is called, without a password.
    pub(super) fn name(&self) -> String {
        match self.location {
            Location::Durable(url) => clean(&durable::name(url)).into_owned(),
            Location::File(path) => clean(&path.display().to_string()).into_owned(),
            Location::Server(url) => clean(url).into_owned(),
            Location::Memory => String::new(),
        }
    }

    /// The store as it is now. While another process writes its files it is what it was; `out` is told.
    pub(super) fn store(&mut self, out: &mut Out<'_>) -> Outcome<Store> {
        let stamps = stamps(self.location);
        if stamps != self.stamps {
            match read(self.global, self.location, out) {
                Ok(store) => (self.store, self.stamps) = (store, stamps),
                Err(failure @ Failure::Interrupted(_)) => return Err(failure),
                Err(failure) => out.hint(&format!(
                    "answered from what was read earlier, up to position {}: {failure}",
                    self.store.visible()
                ))?,
            }
        }
        Ok(self.store.clone())
    }
}

/// Reads a store into memory. One in files is not held: other processes can write to it.
fn read(global: &Global, location: &Location, out: &mut Out<'_>) -> Outcome<Store> {
    match location {
        Location::Durable(url) if url.folder().is_none() && global.attach.is_empty() => durable::follow(url),
        Location::Durable(_) | Location::Server(_) | Location::File(_) | Location::Memory => {
            Ok(commands::open(global, out)?.fork())
        }
    }
}

/// The files of a store, or the last position of a server; none of a database, which is followed.
fn stamps(location: &Location) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok();
        let changed = found.as_ref().and_then(|found| found.modified().ok());
        (
            path.display().to_string(),
            found.map_or(0, |found| found.len()),
            changed,
        )
    };
    match location {
        Location::File(path) => vec![stamp(path)],
        Location::Durable(url) => {
            let files = url.folder().map(commands::files_of).unwrap_or_default();
            let mut stamps: Vec<_> = files.iter().map(|path| stamp(path)).collect();
            stamps.sort_unstable();
            stamps
        }
        #[cfg(feature = "serve")]
        Location::Server(url) => {
            let state = remote::open(url).ok().and_then(|client| client.state().ok());
            vec![(url.clone(), state.map_or(0, |state| state.visible.0), None)]
        }
        #[cfg(not(feature = "serve"))]
        Location::Server(_) => Vec::new(),
        Location::Memory => Vec::new(),
    }
}
