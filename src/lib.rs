//! An event store in memory that is durable when you ask for it: a lock-sharded log with an inverted index, a query cache that is never stale,
//! live tails, and a journal in files or in PostgreSQL.
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
//! # The main types
//!
//! * [`Store`] is the handle. [`Builder`] configures it with [`Settings`], a [`Clock`], an [`IdSource`] and indexers. A [`StoreUrl`] is the
//!   same configuration in one line.
//! * [`NewEvent`] is appended to a [`StreamId`] with an [`Expected`] version. The result is [`Appended`], or an [`Error`] that says
//!   what to do next. A [`Condition`] makes an append depend on a query.
//! * [`Event`] is an owned copy, [`EventRef`] a view in place. [`Store::read_stream`], [`Store::read_all`] and [`Store::query`] return them;
//!   [`Tail`] follows the log. A [`Snapshot`] spares reading the beginning of a long stream.
//! * [`Query`] selects events. [`Store::query`] runs it and returns events, pages, counts, positions, folds, or an [`Explanation`].
//!   [`Store::list`] lists the values of a field, such as all users.
//! * [`journal`] makes a store durable: [`Store::open`] and [`Store::open_url`] recover it from a journal. [`Durability`] is what an append
//!   waits for; [`Ticket`] waits later. For damaged files there are `journal::file::verify` and `journal::file::repair`.
//! * [`cqrs`] is the event-sourcing toolkit: aggregates and commands, projections, subscriptions and sagas, on typed events.
//! * [`analytics`] has statistics, measurements, trends, a heatmap, and the causation tree.
//! * `metrics`, with the feature of that name, exports the figures of stores and of the toolkit as `OpenMetrics` text.
//! * [`testing`] has scenarios, faults on demand and recorded expectations for tests of programs, and the contracts of stores and journals as tests.
//!
//! # What it does not do
//!
//! It has no network interface. One process at a time writes to a journal; other processes can [follow](Store::follow) a store in PostgreSQL.
//!
//! # Glossary
//!
//! | term | meaning |
//! |---|---|
//! | event | an immutable fact |
//! | aggregate, stream | an entity with an id and a type; the sequence of its events |
//! | version | the number of an event in its stream: 1, 2, 3 … without gaps, unless events were lost; 0 means that there is no event |
//! | position | the number of an event in the whole store: 1, 2, 3 … without gaps, never reused |
//! | expected version | the version check of an append: any, no stream, stream exists, exactly N |
//! | append | one atomic batch: all events or none, with consecutive versions and positions |
//! | command, decision, rejection | a request to an aggregate; the events that it returns; the reason why it returns none |
//! | bus | dispatches a command or a query to the handler of its type |
//! | middleware | a function around all handlers of a bus: it calls them, rejects, or retries |
//! | typed event, upcaster | an event as a variant of a serde enum; the conversion of an event of an older schema when it is read |
//! | codec | encodes and decodes typed events |
//! | correlation, causation | the conversation that an event belongs to; the event or command that caused it |
//! | schema version | the version of an event type's payload |
//! | visible | the last position that reads return; every position up to it is complete |
//! | journal | what makes appends durable: files, PostgreSQL, or your own |
//! | durability | what an event survives: volatile (in memory), written (the end of the process), synced (the end of the machine) |
//! | batch | whole appends on their way to the journal |
//! | backlog | events that the journal has not written yet |
//! | lease, epoch | the right to write to a shared journal for a limited time; the number of leases, or of starts of a processor, so far |
//! | segment, frame | a file of the journal; a batch, or part of one, in it |
//! | follower | a store in memory that reads the events that other processes write |
//! | recovery | filling a store from its journal |
//! | damage, torn end | synced data that cannot be read; the incomplete end that a crash leaves |
//! | term | a field and a value that the index has |
//! | snapshot | the state of an aggregate at a version |
//! | tail | a reader that follows the log |
//! | gap | dropped, archived or lost events, with their number and the reason |
//! | drop, compact, purge | to remove events from every read; to rewrite memory or the journal without them; to remove their bytes |
//! | mark | the version of an aggregate whose last event was purged from the journal |
//! | archive | old events of a store, moved out of it; *attached*, they are readable at their positions again |
//! | projection, read model | folds events of many aggregates into a state for queries; that state |
//! | processor | a named thread that follows the log: a projection, a subscription or a saga |
//! | checkpoint | the position up to which a processor has handled all events |
//! | subscription, consumer group | a handler that gets every event; consumers that compete for events |
//! | dead letter | an event that a handler failed at, parked until it is replayed or dropped |
//! | saga, compensation | a process over several aggregates, which sends commands and sets timers; the command that undoes one of its steps |
//! | audit trail | who did what and when: events, and the records of commands with their outcome |
//! | hash chain, link, head | a hash of every event, each block with the hash of the block before; the hash at a position; a signed link, kept outside of the store |
//! | anchor | a signed statement that events may be missing, with what the chain needs in their place |
//! | migration | makes the rows of a table the first events of aggregates, each once |
//! | scenario | a test in the form given, when, then |
//! | fault | a failure that a test injects into the calls that it describes: an append that fails, conflicts or loses its acknowledgement |
//! | personality, anomaly | a store in memory that behaves like a store in PostgreSQL; a behaviour that a program meets only there, such as a stale read |
//! | saga matrix, incident | runs a saga once for each of its steps and each incident; a crash, a lost acknowledgement or a failure at a step |
//! | seed | the number that decides everything random in a test; the same seed repeats the run |
//! | golden history | the events of a test as a file, which later runs are compared with |
//! | capability | an operation that not every event store has; a store that lacks one rejects it |
//! | subject, erasure | the person that personal fields belong to; destroying the key that encrypts them |
//! | vault, key store | the keys of subjects; where they are kept |
//! | change capture | the changes of a store in PostgreSQL as a stream, at least once |
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
//! | `metrics` | no | `metrics`: stores, buses, processors, sagas and groups as OpenMetrics text; prometheus-client |
//! | `tracing` | no | spans and events for the crate tracing, without what events carry; tracing |
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
#[cfg(feature = "metrics")]
pub mod metrics;
mod name;
mod percent;
mod query;
mod setters;
mod settings;
mod snapshot;
mod store;
mod stream;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod url;
mod worker;

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
pub use query::{AsOf, Cursor, Order, Query, QueryParts};
pub use settings::{Budget, CacheSettings, FlushSettings, Limits, Settings, WhenBehind, WhenFull};
pub use snapshot::{NewSnapshot, Snapshot};
pub use store::Store;
pub use store::append::future::{AppendFuture, PendingAppend};
pub use store::append::transact::Transaction;
pub use store::builder::Builder;
pub use store::durability::flush::retrying::Retrying;
pub use store::durability::ticket::Ticket;
pub use store::durability::visible::Visible;
#[cfg(feature = "cache")]
pub use store::query::cache::CacheStats;
pub use store::query::explain::{ExplainedTerm, Explanation};
pub use store::query::run::{CacheState, Page, QueryRun};
pub use store::read::{LogRead, StreamRead};
pub use store::retention::archive::{ArchiveCandidates, Archived};
pub use store::retention::dropping::Compaction;
pub use store::retention::requests::JournalCompaction;
pub use store::stats::StoreStats;
pub use store::tail::{Delivery, Tail, TailCancel, TailStream};
pub use stream::{
    Append, Appended, Condition, Durability, Expected, Position, StreamId, StreamInfo, StreamLimits, Version,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use url::{StoreUrl, UrlScheme, register_scheme};

/// The result of a call to the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The examples of the README, and of what it points to, are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/postgresql.md")]
#[doc = include_str!("../docs/durability.md")]
#[doc = include_str!("../docs/tracking.md")]
struct Readme;

/// The examples of the guides to the toolkit.
#[cfg(all(doctest, feature = "cqrs"))]
#[doc = include_str!("../docs/guide.md")]
#[doc = include_str!("../docs/processing.md")]
struct Guide;

/// The examples of the guides to testing, which need the features that they describe.
#[cfg(all(doctest, feature = "testing", feature = "cqrs", feature = "json"))]
#[doc = include_str!("../docs/testing.md")]
#[doc = include_str!("../docs/limits-of-the-memory-store.md")]
struct TestingGuides;
