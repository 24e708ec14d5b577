//! Relays: processors that publish the events of a store to webhooks and brokers, at least once, in order per aggregate.
//!
//! A [`Relay`] reads the store as a [`Group`](annals::cqrs::Group) with a checkpoint and dead letters in the store, writes each event in an [`Envelope`], and publishes it
//! to a [`Target`]. The crate uses the public calls of the library alone, so another crate can have a target of its own.
//!
//! # What a relay guarantees
//!
//! * **At least once.** The checkpoint passes an event only when the target has acknowledged it, or it is a dead letter in the store. After a crash, events
//!   after the last saved checkpoint are published again: it stands before the first event that is neither, so while one aggregate halts, all that the others have
//!   published since. A consumer must recognize a repeated event by its id.
//! * **In order per aggregate.** The next event of an aggregate is published when the one before it is acknowledged. If one fails, its lane halts, and other aggregates
//!   go on, until [`RelayBuilder::max_in_flight`] events wait. There is no order between aggregates, except where a target says so.
//! * **No event is given up silently.** A message that the target refuses, or does not take after the last attempt, becomes a dead letter, and later events of its
//!   aggregate are parked behind it: [`Relay::letters`], [`Relay::replay_letters`] and [`Relay::drop_letter`]. While the target is unavailable, or an outcome is unknown, the relay tries again
//!   without a limit.
//!
//! The store must be open for writing, because it has the checkpoint. Personal data that are encrypted in the store are published encrypted.
#![cfg_attr(
    feature = "webhook",
    doc = r#"
```no_run
use annals::Store;
use annals_relay::webhook::Webhook;
use annals_relay::{Envelope, Relay};

let store = Store::in_memory();
let target = Webhook::builder("https://example.com/hook").secret("at least 24 characters!!")?.build()?;
let source = "/complaints".to_owned();
let relay = Relay::builder(&store, "hook", target).envelope(Envelope::CloudEventsBinary { source });
let relay = relay.start()?;
// The program goes on, and ends the relay at its end.
println!("{}", relay.status());
# Ok::<(), annals_relay::RelayError>(())
```
"#
)]

mod backoff;
#[cfg(feature = "config")]
pub mod config;
mod envelope;
mod error;
mod lanes;
mod message;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
mod raw;
#[cfg(feature = "redis")]
pub mod redis;
mod relay;
mod status;
mod target;
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
mod tasks;
#[cfg(feature = "webhook")]
pub mod webhook;
mod work;

pub use self::envelope::Envelope;
pub use self::error::RelayError;
pub use self::message::Message;
#[cfg(feature = "metrics")]
pub use self::metrics::RelayMetrics;
pub use self::relay::{Relay, RelayBuilder};
pub use self::status::{RelayCounts, RelayState, RelayStatus};
pub use self::target::{Capacity, Outcome, Target};
