//! Stores of Annals over one stream of NATS `JetStream`: a log that any number of processes append to at once.
//!
//! Each process reads the whole stream into its memory, and answers every query from there. An append to one aggregate is one message. It goes to the
//! subject of its aggregate, and names the last message that the writer knows there: when another process was faster, the server refuses it, and
//! the append conflicts, or is tried again if any version is expected. No process needs a lease, and all are equal.
//!
//! ```no_run
//! use annals::{Expected, NewEvent, StreamId};
//!
//! let store = annals_jetstream::open("nats://127.0.0.1:4222/orders")?;
//! let order = StreamId::new("Order", "order-1");
//! store.append(&order, Expected::NoStream, vec![NewEvent::new("OrderPlaced")])?;
//! assert_eq!(store.read_stream("order-1").events().len(), 1);
//! # Ok::<(), annals::Error>(())
//! ```
//!
//! # Order
//!
//! The order of the stream is the order of the store. A position is the number of the event in the stream, so all processes agree on
//! it. The stream forbids to delete and to purge messages, because later events would change their positions then. It can still be deleted as a whole.
//!
//! A store that has read a message ends following, with [`Error::Corrupt`], when the server no longer has it, for example after a loss of
//! power with one replica. It checks once a second: if the server loses messages and receives as many others in less time, the store notices only when the
//! versions of an aggregate do not follow each other. Open the store again then.
//!
//! # What an acknowledgement means
//!
//! The store reports an append as [synced](annals::Durability::Synced) when the server has acknowledged it. What this means depends on the stream:
//!
//! - With one replica (`?replicas=1`, the default), the message is in the files of one server. It survives the end of the server's process.
//! - With three replicas (`?replicas=3`), a majority of the servers has the message in its files. It survives the loss of one server: the others elect
//!   a leader within seconds, and appends go on. Without a majority, appends fail with [`Error::Unavailable`] after 30 seconds.
//!
//! In both cases a server syncs its files every two minutes by default, not before it acknowledges. So the machine of the only replica, or a majority of the
//! machines at once, may lose acknowledged events with their power. `sync_interval: always` in the configuration of the servers syncs each message
//! before it is acknowledged.
//!
//! Replicas need NATS 2.15 or later on every server, and so do batches, although only the server that the client is connected to is checked: a
//! cluster of 2.9.10 took two appends at once to one aggregate. The tests of this crate kill and stop the servers of a cluster of three under load,
//! on one machine. They check that the history of appends and conflicts is linearizable, and that of reads that wait until the last version, which a
//! conflict names, [is visible](Store::wait_visible). They do not cut the power of a machine. An ordinary read uses the memory of the process: it has
//! what this process has appended, and may lack what another process appended a moment ago.
//!
//! A server that led the stream, and was cut off, may report a stale end of it until it learns of the new leader. A conflict may then name a
//! version that is older than the last one. An append is never taken by such a server.
//!
//! When the answer to a publish is lost, the store reads the stream to learn whether the message arrived. The server stores a message only if the last
//! one of its aggregate is the one that the writer knows. So it refuses a second attempt if the first has arrived, and the ids of the events show whose message it is.
//!
//! # Several aggregates, and conditions
//!
//! [`append_all`](Store::append_all) publishes an atomic batch: one message for each aggregate, each with the last message that the writer knows
//! there. The server stores all or none, at consecutive places of the stream, and a reader shows a batch only when it has read all of it. The stream needs NATS
//! 2.15 or later: batches exist since 2.12, but up to 2.14.3 a server may mix up the expected sequences within a batch. On another server, and on a stream
//! that does not allow batches, such an append fails with [`Error::Unsupported`], and names what is missing. It has at most 1,000 aggregates.
//! A batch costs more than a message: the server makes and removes files for each. A batch must be published within 5 seconds, and read within 3: on a
//! slow link, keep batches small.
//!
//! [`append_if`](Store::append_if) evaluates the condition in the memory of the process, and publishes behind the last message of the whole stream. When any
//! other message was stored since, the server refuses it, and the store evaluates the condition again for the new events. So no append comes
//! between the condition and its append, and a writer does not need to know which conditions others have. The price is retries: while
//! other processes append without pause, a conditional append may take several attempts, and fails with [`Error::Unavailable`] after 30 seconds. With one
//! aggregate it needs no batch, and works with older servers.
//!
//! # TLS
//!
//! By default a connection is encrypted if the server demands it, and its certificate is checked against the authorities of the system. Parameters of the URL
//! change this:
//!
//! | parameter | meaning |
//! |---|---|
//! | `tls=required` | a server without TLS is refused |
//! | `ca=FILE` | the authorities, in PEM, that sign the certificate of the server, instead of those of the system; requires TLS |
//! | `cert=FILE&key=FILE` | the certificate of the client and its key, in PEM; requires TLS |
//!
//! Without TLS, the user and the password of the URL are sent in clear text. Errors and logs do not contain the password. Files of credentials (`NKeys`
//! and JWT) are not supported.
//!
//! # Limits
//!
//! Like all stores that follow a log, these neither truncate nor delete. A process needs 50 to 140 bytes
//! for each event and about 150 for each aggregate beside its store, to check versions and ids. It reads the stream from its beginning when it opens. The
//! rate of reads grows with the number of processes, which share nothing; the rate of appends is bounded by the stream.
//!
//! The time of recording is that of the clock of the process that appends: the clocks of the processes should agree.
//!
//! A message holds the events of one aggregate in an append, so they are bounded by `max_payload` of the server, 1 MB by default.

mod address;
mod connection;
mod feed;
mod heads;
mod judge;
mod message;
mod publish;
mod reader;
mod remote;
mod shared;
mod subject;
mod tls;

use std::sync::Arc;

use annals::journal::{Followed, JournalError, JournalErrorKind};
use annals::{Builder, Error, Result, Store, UrlScheme};
use parking_lot::Mutex;

use address::Address;
use connection::Connection;
use feed::StreamFeed;
use remote::StreamRemote;
use shared::Shared;

/// Opens the store at `nats://[USER:PASSWORD@]HOST[:PORT]/STREAM[?replicas=N]`, and creates the stream if there is none. [More
/// parameters](crate#tls) set TLS.
///
/// # Errors
///
/// [`Error::Invalid`] for another URL; [`Error::Unavailable`] when the server cannot be
/// reached; [`Error::Unreadable`] when it refuses the login or TLS, and when the stream has settings that lose events, or messages of another program.
pub fn open(url: &str) -> Result<Store> {
    Store::builder().follow_log(connect(url)?)
}

/// Connects to the log at a URL like that of [`open`], for a store of a [builder](annals::Builder::follow_log) with settings of its own.
///
/// # Errors
///
/// As of [`open`].
pub fn connect(url: &str) -> Result<Followed> {
    let connection = Connection::open(&Address::parse(url)?).map_err(of_reader)?;
    let (connection, shared) = (Arc::new(connection), Arc::new(Shared::default()));
    let feed = StreamFeed::new(Arc::clone(&connection), Arc::clone(&shared));
    Ok(Followed::new(feed, StreamRemote::new(connection, shared)))
}

/// Makes URLs of NATS name stores for [`Store::open_url`] and [`Store::follow`]. Both open the same: all
/// processes append. Later calls do nothing.
///
/// # Errors
///
/// [`Error::Invalid`] when another crate has registered `nats:`.
pub fn register() -> Result<()> {
    static IS_REGISTERED: Mutex<bool> = Mutex::new(false);
    let mut is_registered = IS_REGISTERED.lock();
    if !*is_registered {
        annals::register_scheme("nats", Nats)?;
        *is_registered = true;
    }
    Ok(())
}

/// The scheme of the URLs.
#[derive(Debug)]
struct Nats;

impl UrlScheme for Nats {
    fn parse(&self, url: &str) -> Result<String> {
        Address::parse(url).map(|address| address.to_string())
    }

    fn exists(&self, url: &str) -> Result<bool> {
        connection::exists(&Address::parse(url)?).map_err(of_reader)
    }

    fn open(&self, url: &str, builder: Builder) -> Result<Store> {
        if !builder.is_read_only() {
            return builder.follow_log(connect(url)?);
        }
        if !self.exists(url)? {
            let message = format!("there is no store at {} that could be read", self.parse(url)?).into();
            return Err(Error::Invalid { message });
        }
        builder.read_log(connect(url)?.into_parts().0)
    }

    fn follow(&self, url: &str, builder: Builder) -> Result<Store> {
        self.open(url, builder)
    }
}

/// A failed connection has changed nothing.
fn of_reader(error: JournalError) -> Error {
    if error.kind() == JournalErrorKind::Retry {
        return Error::Unavailable { cause: error };
    }
    Error::Unreadable { cause: error }
}
