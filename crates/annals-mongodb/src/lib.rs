//! Stores of Annals in MongoDB, without transactions: a document for each event, one writer, and any number of processes that follow.
//!
//! ```no_run
//! use annals::{Durability, Expected, NewEvent, StreamId};
//!
//! let store = annals_mongodb::open("mongodb://127.0.0.1:27017/shop")?.with_durability(Durability::Synced)?;
//! let order = StreamId::new("Order", "order-1");
//! store.append(&order, Expected::NoStream, NewEvent::new("OrderPlaced"))?;
//! # Ok::<(), annals::Error>(())
//! ```
//!
//! # Order
//!
//! The document `head` of the collection `head` has the last position of the store. A writer inserts the events of a batch behind it, in order, and then
//! moves it by one compare-and-set. So a batch is visible as a whole or not at all: readers never read positions after the head, and the next writer removes
//! what a crash has left there. The position, as 20 digits, is the `_id` of an event, so no position is there twice.
//!
//! One process writes. Its name is in the head, and each move of the head demands it. A process that opens the store waits while the head changes, and takes
//! over when it has not changed for the lease of its writer (10 seconds, or `?lease=2s`). A writer that was paused, and wakes up later, cannot move the head any more:
//! its appends fail, and the documents that it still inserts are never read. No clocks are compared.
//!
//! # What an acknowledgement means
//!
//! Every write asks for the write concern `majority` with `j: true`, and reads of a replica set have the read concern `majority`. Parameters of
//! the URL that would weaken this (`w`, `journal`, `readConcernLevel`, `readPreference`) are refused, and so is a storage engine that is not persistent. An append
//! is [synced](annals::Durability::Synced) when the head has been moved over it:
//!
//! - On a replica set, a majority of the servers has it in their journals. It survives the loss of a minority, with their disks.
//! - On a single server, its journal has it. It survives a crash of the server and of the machine, but not the loss of the disk.
//!
//! The tests of this crate run with an emulator that ignores write concerns: see `docs/mongodb.md` for what that leaves unproved.
//!
//! # Documents
//!
//! An event has the fields `aggregateId`, `aggregateType`, `eventType`, `eventVersion`, `eventData`, `metadata`, `timestamp` and `sequenceNumber`, as stores on
//! document databases do, so other programs can query it by its indexes. `eventData` and `metadata.data` are bytes, unchanged: a document could not have every key. `timestamp`
//! has milliseconds; `timestampMicros` is exact. The data of snapshots are in `snapshots`. With `?archive=true`, events that are purged and were not deleted are
//! copied to `events_archive` first.
//!
//! Other programs must not write to these collections. [`import_collection`] appends the events of another program's collection.
//!
//! # Limits
//!
//! A document has at most 16 MiB, so the limit of an event (`limits.payload_bytes_max`, 1 MiB by default) must be at most 15 MiB. The journal refuses a
//! larger document before it inserts any event of the batch, and the store accepts no appends after that.
//!
//! A store that [follows](annals::Builder::follow_log) polls the head 10 times a second, and cannot append. Transactions and change streams are not used. The
//! collections must not be sharded.

mod address;
mod compact;
mod document;
mod errors;
mod feed;
mod head;
mod import;
mod insert;
mod journal;
mod json;
mod parts;
mod purged;
mod read;
mod schema;
mod server;

use std::sync::Arc;

use annals::journal::{Followed, JournalError, JournalErrorKind};
use annals::{Builder, Error, Result, Store, UrlScheme};
use parking_lot::Mutex;

use address::{Address, invalid};
use feed::{MongoFeed, NoRemote, Signal};
pub use import::{Imported, import_collection};
pub use journal::MongoJournal;
use server::Server;

/// Opens the store at `mongodb://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]/DATABASE` for writing, and creates it if there is none.
///
/// # Errors
///
/// [`Error::Invalid`] for another URL; [`Error::Unavailable`] when the server cannot be reached, or another process has the store open for
/// writing; [`Error::Unreadable`] when the server refuses the login, and when the database belongs to another program.
pub fn open(url: &str) -> Result<Store> {
    open_with(url, Store::builder())
}

/// As [`open`], with the settings of a builder.
///
/// # Errors
///
/// As of [`open`].
pub fn open_with(url: &str, builder: Builder) -> Result<Store> {
    let journal = MongoJournal::open_at(&Address::parse(url)?).map_err(of_reader)?;
    builder.journal(journal).open()
}

/// Connects to the store at a URL like that of [`open`], for a store that [follows](annals::Builder::follow_log) it. Its appends fail with
/// [`Error::Invalid`].
///
/// # Errors
///
/// As of [`open`].
pub fn connect(url: &str) -> Result<Followed> {
    let (address, signal) = (Address::parse(url)?, Arc::new(Signal::default()));
    let feed = MongoFeed::open(&address, Arc::clone(&signal)).map_err(of_reader)?;
    Ok(Followed::new(feed, NoRemote::new(address, signal)))
}

/// Makes URLs of MongoDB name stores for [`Store::open_url`] and [`Store::follow`]. Later calls do nothing.
///
/// # Errors
///
/// [`Error::Invalid`] when another crate has registered `mongodb:`.
pub fn register() -> Result<()> {
    static IS_REGISTERED: Mutex<bool> = Mutex::new(false);
    let mut is_registered = IS_REGISTERED.lock();
    if !*is_registered {
        annals::register_scheme("mongodb", Mongo)?;
        *is_registered = true;
    }
    Ok(())
}

/// The scheme of the URLs.
#[derive(Debug)]
struct Mongo;

impl UrlScheme for Mongo {
    fn parse(&self, url: &str) -> Result<String> {
        Address::parse(url).map(|address| address.to_string())
    }

    fn exists(&self, url: &str) -> Result<bool> {
        let server = Server::connect(&Address::parse(url)?).map_err(of_reader)?;
        let head = server.run("read the head of", |data| async move { head::read(&data).await });
        Ok(head.map_err(of_reader)?.is_some())
    }

    fn open(&self, url: &str, builder: Builder) -> Result<Store> {
        if !builder.is_read_only() {
            return open_with(url, builder);
        }
        self.check_exists(url)?;
        builder.read_log(connect(url)?.into_parts().0)
    }

    fn follow(&self, url: &str, builder: Builder) -> Result<Store> {
        self.check_exists(url)?;
        builder.follow_log(connect(url)?)
    }
}

impl Mongo {
    fn check_exists(&self, url: &str) -> Result<()> {
        if self.exists(url)? {
            return Ok(());
        }
        let shown = self.parse(url)?;
        Err(invalid(format!(
            "there is no store at {shown}: open it for writing first"
        )))
    }
}

/// A failed connection has changed nothing.
pub(crate) fn of_reader(error: JournalError) -> Error {
    if matches!(error.kind(), JournalErrorKind::Retry | JournalErrorKind::Locked) {
        return Error::Unavailable { cause: error };
    }
    Error::Unreadable { cause: error }
}
