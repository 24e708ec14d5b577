//! The audit trail, and a hash chain that makes a change of the log evident. Feature `audit`.
//!
//! # Who did what
//!
//! [`CommandLog`] records every command, accepted, rejected or failed: of [aggregates](CommandLog::aggregates) that it wraps, and as the outermost layer of a
//! [command bus](CommandLog::bus). Commands of `Together`, `Decisions` and sagas are recorded where a bus dispatches them, or by their targets.
//! [`Trail`] writes the events and commands of an aggregate, a user, a correlation or a period, in the order of the log.
//!
//! # Heads, step by step
//!
//! 1. Make a key where the store's administrators cannot read it: [`AuditKey::generate`] and [`AuditKey::write_new`], or `annals audit key`.
//! 2. Regularly sign a [`Head`] and send it to another place: [`AuditChain::head`], or `annals audit head`. A store that dropped events before begins with
//!    [`AuditChain::of_what_is_left`].
//! 3. Before events are dropped, or from an archive, make an [`Anchor`]: [`AuditChain::anchor`], [`Anchor::of_events`], or `annals audit anchor`.
//! 4. [`Verify`] with a head, the public key and the anchors, or `annals audit verify`.
//!
//! # What is evident
//!
//! [`AuditChain`] reads the log and hashes every event, each block of 1,024 positions with the hash of the block before it. A [`Head`] is the result
//! at a position, signed with an [`AuditKey`], and kept elsewhere. [`Verify`] reads the log again. It finds an event that was changed, removed,
//! inserted or moved, a log whose beginning or end was cut off, and a log that was replaced, and says between which positions.
//!
//! * The chain is made by a reader. Appends do not wait for it, and no key is on the path of an append. Events that were appended since the last head
//!   are not protected yet: make heads as often as the loss of evidence must be short.
//! * It hashes what every journal returns, byte for byte: times are microseconds, and JSON is the text that was appended. So a log verifies after
//!   a restart, on a follower, and after a move to another journal that keeps positions.
//! * [Snapshots](crate::Snapshot) are not part of the chain; every other event of a user, of the toolkit and of the store is. `$archived` is the exception
//!   of the store's: a store with the archive attached has the archived events in its place.
//! * Events that retention or archiving drops are missing, which is a fault, unless an [`Anchor`] has them.
//! * A head proves nothing about the time before it was made, and nothing to a reader who does not trust the key.

mod aggregates;
mod anchor;
mod bus;
mod chain;
mod commands;
mod entry;
mod fault;
mod head;
mod hex;
mod key;
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
pub use fault::{Fault, Verified};
pub use head::Head;
pub use key::{AuditKey, PublicKey};
pub use reader::AuditChain;
pub use trail::{Trail, TrailError};
pub use verify::Verify;
