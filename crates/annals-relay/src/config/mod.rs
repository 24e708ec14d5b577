//! One file of settings, in TOML, for all relays of a program.
//!
//! ```toml
//! [[relay]]
//! name = "partners"                       # its checkpoint has this name
//! aggregate_types = ["Complaint"]         # all, if left out; so for event_types
//! envelope = "cloudevents"                # json (default), cloudevents, cloudevents-structured
//! source = "/complaints"                  # of CloudEvents
//! start = "beginning"                     # or "end": where a relay without a checkpoint begins
//! skip_gaps = false                       # whether to go on where events were dropped
//! max_in_flight = 256
//! attempts = 10                           # at a message that is not taken; then it is a dead letter
//! first_pause_ms = 1000
//! longest_pause_ms = 60000
//!
//! [relay.webhook]                         # or relay.redis, relay.nats, relay.rabbitmq: one of them
//! url = "https://example.com/hook"
//! secret = { file = "/run/secrets/hook" } # or { env = "HOOK_SECRET" }, or a text
//! ```
//!
//! A value that may be a secret is a text, `{ env = "NAME" }` or `{ file = "PATH" }`; line ends at its end are left out. Errors do not have such values.
//!
//! | `relay.webhook` | |
//! |---|---|
//! | `url` | `https://HOST/PATH`; may be a secret |
//! | `secret`, `old_secret` | sign every request |
//! | `headers` | a table of further headers, each of which may be a secret |
//! | `requests` | requests at once, by default 4 |
//! | `deadline_ms` | by default 10000 |
//!
//! | `relay.redis` | |
//! |---|---|
//! | `url` | `redis://[USER:PASSWORD@]HOST:PORT[/DATABASE]`; may be a secret |
//! | `key` | the stream, by default `annals` |
//! | `stream_per_type` | whether each aggregate type has a stream, `KEY:TYPE` |
//! | `max_entries` | drops older entries, [read or not](crate::redis#trimming) |
//! | `deadline_ms` | by default 5000 |
//!
//! | `relay.nats` | |
//! |---|---|
//! | `url` | `nats://[USER:PASSWORD@]HOST[:PORT]` or `tls://`; may be a secret |
//! | `stream` | its name |
//! | `prefix` | of the subjects, by default the name of the stream |
//! | `create` | whether to create the stream |
//! | `deadline_ms` | by default 5000 |
//!
//! | `relay.rabbitmq` | |
//! |---|---|
//! | `url` | `amqp://USER:PASSWORD@HOST:PORT/VHOST` or `amqps://`; may be a secret |
//! | `exchange` | of all types that `exchanges` does not have, by default `annals.events` |
//! | `exchanges` | a table from aggregate types to exchanges: `Complaint = "complaints.events"` |
//! | `message_bytes_max` | by default 16777216 |
//! | `deadline_ms` | by default 10000 |
//! | `[[relay.rabbitmq.queue]]` | a queue: `name`, `bindings` as a list of `{ exchange, key }`, `quorum`, `dead_letters` as the name of an exchange |

mod file;
mod secret;
mod targets;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{Retry, StartFrom};
use annals::{Field, Filter, Query, Store};

use self::file::{EnvelopeName, Settings, Start};
use crate::{Envelope, Relay, RelayError, Target};

/// Relays of one file, at most.
const RELAYS_MAX: usize = 64;
/// Names of a list, at most.
const NAMES_MAX: usize = 1_000;

/// The relays of a file, with their targets.
#[derive(Debug)]
pub struct Config {
    relays: Vec<RelayConfig>,
}

/// A relay of a file, which is not started.
#[derive(Debug)]
pub struct RelayConfig {
    settings: Settings,
    target: Arc<dyn Target>,
    target_name: &'static str,
    envelope: Envelope,
}

impl Config {
    /// Reads a file, and the files and variables that it names for secrets. Does not connect.
    ///
    /// # Errors
    ///
    /// [`RelayError::Invalid`] with the line, or the relay, and what is wrong there.
    pub fn read(path: &Path) -> Result<Self, RelayError> {
        let file = file::read(path)?;
        let invalid = |what: String| RelayError::invalid(format!("{}: {what}", path.display()));
        if file.relay.is_empty() || file.relay.len() > RELAYS_MAX {
            return Err(invalid(format!(
                "it has {} relays; write 1 to {RELAYS_MAX} sections [[relay]]",
                file.relay.len()
            )));
        }
        let mut names = BTreeSet::new();
        let mut relays = Vec::with_capacity(file.relay.len());
        for settings in file.relay {
            let name = settings.name.clone();
            if !names.insert(name.clone()) {
                return Err(invalid(format!(
                    "two relays have the name '{name}': a checkpoint is of one"
                )));
            }
            let relay = RelayConfig::of(settings);
            relays.push(relay.map_err(|error| invalid(format!("relay '{name}': {error}")))?);
        }
        Ok(Self { relays })
    }

    /// The relays, in the order of the file.
    pub fn into_relays(self) -> Vec<RelayConfig> {
        self.relays
    }
}

impl RelayConfig {
    fn of(mut settings: Settings) -> Result<Self, RelayError> {
        let lists = [&settings.aggregate_types, &settings.event_types];
        if lists.iter().any(|list| list.len() > NAMES_MAX) {
            return Err(RelayError::invalid(format!(
                "a list of types has more than {NAMES_MAX}"
            )));
        }
        let envelope = envelope(&settings)?;
        envelope.check()?;
        let (target_name, target) = targets::build(&mut settings)?;
        Ok(Self {
            settings,
            target,
            target_name,
            envelope,
        })
    }

    /// The name of the relay.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The kind of its target: `webhook`, `redis`, `nats` or `rabbitmq`.
    pub fn target_name(&self) -> &'static str {
        self.target_name
    }

    /// Starts the relay on a store that is open for writing.
    ///
    /// # Errors
    ///
    /// As [`RelayBuilder::start`](crate::RelayBuilder::start).
    pub fn start(self, store: &Store) -> Result<Relay, RelayError> {
        let settings = self.settings;
        let mut query = Query::all();
        for (field, names) in [
            (Field::AggregateType, settings.aggregate_types),
            (Field::EventType, settings.event_types),
        ] {
            if !names.is_empty() {
                query = query.filter(Filter::one_of(field, names));
            }
        }
        let mut builder = Relay::builder_of(store, settings.name, self.target)
            .envelope(self.envelope)
            .query(query)
            .retry(retry(
                settings.attempts,
                settings.first_pause_ms,
                settings.longest_pause_ms,
            ))
            .start_from(match settings.start {
                Start::Beginning => StartFrom::Beginning,
                Start::End => StartFrom::End,
            });
        if let Some(events) = settings.max_in_flight {
            builder = builder.max_in_flight(events);
        }
        if settings.skip_gaps {
            builder = builder.skip_gaps();
        }
        builder.start()
    }
}

fn envelope(settings: &Settings) -> Result<Envelope, RelayError> {
    let source = settings.source.clone();
    match (settings.envelope, source) {
        (EnvelopeName::Json, None) => Ok(Envelope::Json),
        (EnvelopeName::Json, Some(_)) => Err(RelayError::invalid(
            "`source` is of CloudEvents: leave it out, or set envelope = \"cloudevents\"",
        )),
        (_, None) => Err(RelayError::invalid("CloudEvents have a source: add source = \"/NAME\"")),
        (EnvelopeName::Cloudevents, Some(source)) => Ok(Envelope::CloudEventsBinary { source }),
        (EnvelopeName::CloudeventsStructured, Some(source)) => Ok(Envelope::CloudEventsStructured { source }),
    }
}

fn retry(attempts: Option<u32>, first_pause_ms: Option<u64>, longest_pause_ms: Option<u64>) -> Retry {
    let pause = |ms: Option<u64>, default: u64| Duration::from_millis(ms.unwrap_or(default));
    Retry::default()
        .attempts(attempts.unwrap_or(10))
        .first_pause(pause(first_pause_ms, 1_000))
        .longest_pause(pause(longest_pause_ms, 60_000))
}
