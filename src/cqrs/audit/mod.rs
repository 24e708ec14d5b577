//! The audit trail, and a hash chain that makes a change of the log evident. Feature `audit`.
//!
//! # Who did what
//!
//! [`CommandLog`] records every command, whether it is accepted, rejected or fails: either wrap [aggregates](CommandLog::aggregates), or make it the
//! outermost layer of a [command bus](CommandLog::bus). Commands of `Together`, `Decisions` and sagas are recorded only if a bus dispatches them, or if the
//! aggregates that they call are wrapped. [`Trail`] writes the events and commands of an aggregate, a user, a correlation or a period, ascending by
//! position.
//!
//! ```
//! use annals::Store;
//! use annals::cqrs::audit::{AuditChain, AuditKey, CommandLog, Trail, Verify};
//! use annals::cqrs::{Aggregates, Context};
//! # mod domain { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cqrs/guide.rs")); }
//! # use domain::*;
//!
//! let store = Store::in_memory();
//! let accounts = CommandLog::new(&store).aggregates(&Aggregates::<Account>::new(&store));
//! let accounts = accounts.with_context(Context::new().user("anna"));
//! accounts.execute("account-1", &AccountCommand::Open { owner: "anna".into() })?;
//!
//! let mut jsonl = Vec::new();
//! assert_eq!(Trail::new().user("anna").write_jsonl(&store, &mut jsonl)?, 2); // the event and the command
//!
//! let key = AuditKey::generate()?; // the auditor keeps the key and the head
//! let head = AuditChain::of(&store)?.head(&key, store.now());
//! Verify::new(&head, &key.public()).run(&store)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Heads, step by step
//!
//! 1. Make a key where the store's administrators cannot read it: [`AuditKey::generate`] and [`AuditKey::write_new`], or `annals audit key`.
//! 2. Sign a [`Head`] regularly, and send it to another place: [`AuditChain::head`], or `annals audit head`. For a store that has dropped events, the first
//!    head is one of [`AuditChain::of_remaining`].
//! 3. Before events are dropped, or from an archive, make an [`Anchor`]: [`AuditChain::anchor`], [`Anchor::of_events`], or `annals audit anchor`.
//! 4. [`Verify`] the store with a head, the public key and the anchors, or run `annals audit verify`.
//!
//! # What a head proves
//!
//! [`AuditChain`] reads the log and hashes every event, each block of 1,024 positions with the hash of the block before it. A [`Head`] is the result
//! at a position, signed with an [`AuditKey`], and kept elsewhere. [`Verify`] reads the log again. It finds an event that was changed, removed,
//! inserted or moved, a log whose beginning or end was cut off, and a log that was replaced, and says between which positions.
//!
//! * The chain is made by a reader. Appends do not wait for it, and need no key. Events after the last head are not protected yet, so the interval between
//!   heads bounds what can be changed without evidence.
//! * It hashes what every journal returns, byte for byte: times are microseconds, and JSON is the text that was appended. So a log verifies after
//!   a restart, on a follower, and after a move to another journal that keeps positions.
//! * The chain contains every event of the program, the toolkit and the store, with two exceptions: [snapshots](crate::Snapshot), and `$archived`, because
//!   a store with the archive attached has the archived events in its place.
//! * Events that retention or archiving dropped are missing, which verification reports, unless an [`Anchor`] contains them.
//! * A head does not prove that the log was unchanged before the head was made. It proves nothing to a reader who does not trust the key.

mod aggregates;
mod anchor;
mod bus;
mod chain;
mod commands;
mod entry;
mod error;
mod head;
mod hex;
mod key;
mod name;
mod reader;
mod row;
mod scan;
mod trail;
mod verify;
mod walk;

pub use aggregates::AuditedAggregates;
pub use anchor::Anchor;
pub use bus::BusLog;
pub use chain::{Checkpoint, Link};
pub use commands::{CommandLog, CommandOutcome, CommandRecord};
pub use entry::ChainEntry;
pub use error::{Verified, VerifyError};
pub use head::Head;
pub use key::{AuditKey, PublicKey};
pub use reader::AuditChain;
pub use trail::{Trail, TrailError};
pub use verify::Verify;
