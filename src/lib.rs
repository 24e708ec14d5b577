//! An event store that lives in memory: a log behind sharded locks, an inverted index that follows it, a query cache that is never stale,
//! live tails, and a journal in files or in PostgreSQL where it is to be durable.
//!
//! ```
//! use annals::{Expected, IntoBytes, IntoText, NewEvent, Order, Position, Query, Store, StreamId};
//!
//! let store = Store::in_memory();
//! let order = StreamId::new("Order", "order-1");
//! store.append(&order, Expected::NoStream, vec![
//!     NewEvent::new("OrderPlaced").data(r#"{"total": 250}"#).correlation("checkout-9").user("anna"),
//! ])?;
//! let placed = store.append(&order, Expected::exactly(1), vec![
//!     NewEvent::new("OrderPaid").correlation("checkout-9").user("anna"),
//! ])?;
//! assert_eq!(placed.last_position, Position(2));
//!
//! // By any field, alone or together, in any order.
//! let latest = store.query(Query::all().user("anna").order(Order::PositionDescending).limit(1)).events()?;
//! assert_eq!(latest[0].event_type(), "OrderPaid");
//!
//! // In place, without a copy and without a lock.
//! let bytes = store.read_stream("order-1").fold(0, |sum, event| sum + event.data().len());
//! assert_eq!(bytes, 14);
//! # Ok::<(), annals::Error>(())
//! ```
//!
//! # The types you will meet
//!
//! * [`Store`] is the handle; [`Builder`] sets one up with [`Settings`], a [`Clock`], an [`IdSource`] and indexers. A [`StoreUrl`] says
//!   the same in one line of configuration.
//! * [`NewEvent`] is handed in, to a [`StreamId`], with what the writer [`Expected`]; [`Appended`] comes back, or an [`Error`] that says
//!   what to do next. [`Condition`] makes an append depend on a query.
//! * [`Event`] is kept, [`EventRef`] is looked at in place. [`Store::read_stream`], [`Store::read_all`] and [`Store::query`] lead to them;
//!   [`Tail`] follows what comes. A [`Snapshot`] spares reading the beginning of a long stream.
//! * [`Query`] says what to find. [`Store::query`] answers it as events, pages, counts, positions, folds, or an [`Explanation`].
//!   [`Store::list`] lists the values of a field, such as all users.
//! * [`journal`] makes a store durable: [`Store::open`] and [`Store::open_url`] fill it with what a journal holds, and
//!   [`Durability`] says what an append waits for; [`Ticket`] waits later. Without one a store is as durable as its memory. Where
//!   files are damaged, `journal::file::verify` says what, and `journal::file::repair` saves the rest.
//! * [`cqrs`] builds on it: aggregates and commands, projections, subscriptions and sagas, on typed events.
//! * [`analytics`] has statistics, trends, a heatmap, and the causation tree.
//! * [`testing`] has scenarios, faults on demand and recorded expectations for tests of programs, and the contracts of stores and journals as tests.
//!
//! # What it does not do
//!
//! It serves no network, and one process at a time has a journal; a store in PostgreSQL can be [followed](Store::follow) by others.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | event | a fact that happened; immutable |
//! | aggregate | the entity whose history a run of events is: an id and a type; its events are its *stream* |
//! | version | the place of an event in its stream: 1, 2, 3 … without gaps, unless events between were lost; 0 means "no event yet" |
//! | position | the place of an event in the whole store: 1, 2, 3 … without gaps, never reused |
//! | expected version | what the writer believes: any, no stream, stream exists, exactly N |
//! | append | one atomic batch: all events or none, consecutive versions and positions |
//! | command, decision, rejection | what an aggregate is asked to do; the events that it decides on; why it refuses |
//! | bus | dispatches a command or a query to the handler of its type |
//! | middleware | a function around all handlers of a bus: it calls them, refuses, or retries |
//! | typed event, upcaster | an event as a variant of a serde enum; what converts an event of an older schema when it is read |
//! | codec | what writes typed events as bytes, and reads them |
//! | correlation, causation | the conversation an event belongs to; the event or command that caused it |
//! | schema version | the version of an event type's payload |
//! | visible | the last position that reads see; everything up to it is there, without a hole |
//! | journal | what makes appends durable: none, files, PostgreSQL, yours |
//! | durability | how safe an event is: volatile (in memory), written (survives the process), synced (survives the machine) |
//! | batch | whole appends on their way to the journal |
//! | lease, epoch | the right to write to a journal that several processes can reach, for a time; the number of leases, or of starts of a processor, so far |
//! | segment, frame | a file of the journal; a batch, or part of one, in it |
//! | follower | a store in memory that reads on as others write one in PostgreSQL |
//! | recovery | filling a store with what its journal holds |
//! | damage, torn end | what was safe once and cannot be read; what a crash has left of what never was |
//! | term | a field and a value that events can be found by |
//! | snapshot | what an aggregate had become with the event of a version, kept so that not every event need be read again |
//! | tail | a reader that goes on with what comes |
//! | gap | events that were dropped, moved to an archive, or lost with a damaged file, with their number and the reason |
//! | compaction | giving back what dropped events take: memory, or room of the journal, which keeps of them their gap and, of an aggregate's last, a *mark* |
//! | archive | old events of a store, moved out of it; *attached*, they are in their places again, to be read |
//! | projection, read model | what folds events of many aggregates into a state for queries; the state |
//! | processor | a named thread that follows the log: a projection, a subscription or a saga |
//! | checkpoint | the position up to which a processor has handled everything |
//! | subscription, consumer group | a handler that gets every event; consumers that compete for events |
//! | dead letter | an event that could not be handled, parked until it is replayed or dropped: in the store, or beside the rows of a read model in PostgreSQL |
//! | saga, compensation | a process over several aggregates, which sends commands and sets timers; what undoes one of its steps |
//! | audit trail | who did what and when: events, and the records of commands with their outcome |
//! | hash chain, link, head | a hash of every event, each block with that of the one before; the hash at a position; a signed link, which is kept outside of the store |
//! | anchor | a signed statement that events may be missing, with what the chain needs in their place |
//! | migration | rows of a table that become the first events of aggregates, each once |
//! | scenario | a test in the form given, when, then, of an aggregate, a decision, a projection or a saga |
//! | fault | a failure that a test injects into the calls that it describes: an append that fails, conflicts or loses its acknowledgement. |
//! | personality, anomaly | a store in memory that behaves as a store in PostgreSQL does; something that a program meets there and not in memory, such as a stale read |
//! | saga matrix, incident | a saga that runs once for each of its steps and each incident; a crash, a lost acknowledgement or a failure at a step |
//! | seed | the number that decides everything random in a test; the same seed repeats the run |
//! | golden history | the events of a test as a file, which later runs are compared with |
//! | capability | an operation that not every event store has; a store that lacks one rejects it |
//! | subject, erasure | the person that personal fields belong to; destroying the key that encrypts them |
//! | vault, key store | the keys of subjects; where they are kept |
//! | change capture | the changes that all programs make to a store in PostgreSQL, as a stream, at least once |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `json` | yes | filters on fields inside metadata and data, [`NewEvent::json`]; serde_json |
//! | `cache` | yes | answers kept and extended from the tail; moka |
//! | `cqrs` | yes | [`cqrs`]: aggregates, commands, projections, subscriptions, sagas; serde_path_to_error |
//! | `audit` | no | `cqrs::audit`: records of commands, the audit trail, a hash chain with signed heads; blake3, ed25519-dalek |
//! | `migration` | no | `cqrs::migration`: rows of a table as the first events of aggregates; csv |
//! | `cbor` | no | typed events as CBOR; ciborium |
//! | `bincode-codec` | no | typed events as bincode; bincode |
//! | `erasure` | no | `cqrs::erasure`: personal fields encrypted, and erased with their key; chacha20poly1305, blake3, getrandom, zeroize, base64 |
//! | `analytics` | yes | statistics, trends, heatmap, causation tree, in any time zone |
//! | `file` | yes | [`journal::file`], and `file:` URLs; bincode, crc32fast, crossbeam-channel |
//! | `lz4` | no | frames of the journal compressed; lz4_flex |
//! | `postgres` | no | `journal::postgres`, and `postgres:` URLs; tokio-postgres, tokio, rustls |
//! | `testing` | no | [`testing`]: scenarios, faults on demand, one seed, golden histories; the contracts of stores and journals as tests, the reference model |

// docs.rs says which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "analytics")]
pub mod analytics;
#[cfg(feature = "cqrs")]
pub mod cqrs;
mod error;
mod event;
mod filter;
mod gap;
mod id;
pub mod journal;
#[cfg(feature = "json")]
mod json;
mod list;
mod name;
mod percent;
mod query;
mod settings;
mod snapshot;
mod store;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod url;

pub use error::{Conflict, Error};
pub use event::{ContentType, Event, EventRef, IntoBytes, IntoText, MediaType, NewEvent, Tags};
pub use filter::{Between, Discrete, Field, Filter};
pub use gap::{Gap, GapReason};
pub use id::{IdSource, RandomIds, SeededIds};
pub use journal::{JournalError, RecoveryReport};
#[cfg(feature = "json")]
pub use json::JsonValue;
pub use list::{ListCursor, ListItem, ListOrder, ListPage, ListQuery};
pub use name::Name;
pub use query::{AsOf, Cursor, Order, Query};
pub use settings::{Budget, CacheSettings, FlushSettings, Limits, Settings, WhenBehind, WhenFull};
pub use snapshot::{NewSnapshot, Snapshot};
pub use store::Store;
pub use store::append::future::{AppendFuture, PendingAppend};
pub use store::append::transact::Transaction;
pub use store::builder::Builder;
pub use store::durability::ticket::Ticket;
pub use store::durability::visible::Visible;
#[cfg(feature = "cache")]
pub use store::query::cache::CacheStats;
pub use store::query::explain::{ExplainedTerm, Explanation};
pub use store::query::run::{CacheState, Page, QueryRun};
pub use store::read::{LogRead, StreamRead};
pub use store::retention::archive::{ArchiveCandidates, Archived};
pub use store::retention::dropping::Compaction;
pub use store::retention::journal::JournalCompaction;
pub use store::stats::StoreStats;
pub use store::tail::{Delivery, Tail, TailCancel, TailStream};
pub use stream::{
    Append, Appended, Condition, Durability, Expected, Position, StreamId, StreamInfo, StreamLimits, Version,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use url::StoreUrl;

/// The result of a call to the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The examples of the README, and of what it points to, are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/postgresql.md")]
#[doc = include_str!("../docs/durability.md")]
#[doc = include_str!("../docs/tracking.md")]
struct Readme;

/// The examples of the guide.
#[cfg(all(doctest, feature = "cqrs"))]
#[doc = include_str!("../docs/guide.md")]
struct Guide;

/// The examples of the guides to testing, which need the features that they describe.
#[cfg(all(doctest, feature = "testing", feature = "cqrs", feature = "json"))]
#[doc = include_str!("../docs/testing.md")]
#[doc = include_str!("../docs/limits-of-the-memory-store.md")]
struct TestingGuides;
