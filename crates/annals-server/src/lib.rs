//! The event store Annals over HTTP: JSON, live tails as server-sent events and over WebSocket, and an `OpenAPI` document.
//!
//! A [`Server`] answers for one [`Store`](annals::Store) or several, each in a *namespace* of its own. `annals serve` is this library behind
//! a command line. A program that has a store already can serve it too:
//!
//! ```
//! use annals::Store;
//! use annals_server::{Server, stop_signal};
//!
//! let server = Server::builder(Store::in_memory()).build()?;
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let (stop, stopped) = stop_signal();
//! println!("http://{}", listener.local_addr()?);
//! # stop.stop();
//! let report = server.run(listener, stopped, std::time::Duration::from_secs(5))?;
//! assert_eq!(report.cut_off, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! * [`Server::run`] blocks its thread, with a runtime of its own. [`Server::serve`] is the same on the runtime of the caller.
//! * [`Server::router`] is an [`axum::Router`] to mount in another server. It has all checks and limits except those of connections.
//! * [`Limits`] bounds everything that a client can make the server hold or do.
//! * [`Program`] lets clients control the processors of the program that has the server, and send it commands and queries.
//! * `Client`, with the feature `client`, has the calls of a store for the server of another process.
//!
//! # Shape
//!
//! ```text
//!  socket ─► connection.rs   accepts, bounds, drains; one task a connection, with TLS by tls.rs
//!              └► guard.rs   request id, host, origin, time, panics; the headers of every answer
//!                 routes/gate.rs  the token, by the role that the route needs
//!                   └► routes/   from a request to a call of the store, and from its result to an answer
//!                        ├ call.rs, params.rs, body.rs, wire/   what a request says; all of it is read before anything is done
//!                        ├ work.rs      calls that may block: on a bounded number of threads
//!                        └ problem.rs   every refusal, as a problem document (RFC 9457)
//!                 test_state/   with the test API: faults that requests meet, and the timeline of a namespace
//!                 metrics/, logs.rs   told of every request by guard.rs, and never of what it carried
//! ```
//!
//! What must hold:
//!
//! 1. **No call that can block runs on an asynchronous thread.** An append to one aggregate begins by
//!    [`try_append`](annals::Store::try_append), which never waits, and is awaited; everything else runs in `work.rs`.
//! 2. **Everything is bounded** by [`Limits`]: connections, headers, bodies, pages, workers, tails, and each of their times.
//! 3. **A request is read as a whole before anything is stored.** A bad line in a batch stores nothing.
//! 4. **A live tail holds no events.** Its backlog is the log itself: a slow reader costs writers nothing, and learns by a gap what was dropped.
//! 5. **Every path, parameter and status is in the `OpenAPI` document.** The client of the tests refuses an answer that is not.
//! 6. **Text of a client enters an answer as JSON, or percent-encoded.** Frames of a tail are one line of JSON, with a constant event name.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod builder;
mod call;
#[cfg(feature = "client")]
mod client;
mod connection;

mod groups;
mod guard;
mod limits;
mod logs;
mod metrics;
mod names;
mod namespaces;
mod openapi;
mod params;
mod problem;
mod program;
mod report;
mod routes;
mod server;
mod setters;
mod shared;
mod test_state;
mod tls;
mod tokens;
mod wire;
mod work;

pub use annals::metrics::ToolkitMetrics;
pub use builder::Builder;
#[cfg(feature = "client")]
pub use client::{
    Client, ClientError, Events, GroupSettings, GroupStart, Instances, Letters, MessageOptions, Page, Refusal,
    RemoteFailure, RemoteGroup, RemoteGroupStatus, RemoteInstance, RemoteLetter, RemoteProcessor, RemoteSaga,
    RemoteState, Retried, SavedSnapshot, StoreCounts, StoreState, Tail, TakenEvent,
};
pub use limits::Limits;
pub use metrics::DailyWork;
pub use program::{Failure, Program};
pub use report::{NamespaceReport, Report};
pub use server::{Server, Stop, Stopped, stop_signal};
pub use tls::Tls;
pub use tokens::{Role, Token};
