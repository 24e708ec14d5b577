//! The erasure of a subject, and its receipt.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::entries::Subject;
use super::listener::{Erased, Listener};
use super::mark::{self, Mark};
use super::scan::find;
use super::{KeyError, Vault};
use crate::cqrs::HandlerError;
use crate::{EventRef, Name};

/// The most aggregates and positions that a receipt lists.
const LISTED_MAX: usize = 1_000;

/// What a listener did at an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Told {
    /// The name that the listener was registered with.
    pub name: String,
    /// Its error; `None` when it succeeded.
    pub error: Option<String>,
}

/// What an erasure touched, and what it could not. It does not contain the name of the subject, except where an aggregate's id is the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The id of the destroyed key; `None` when the subject had been erased before.
    pub key: Option<Uuid>,
    /// The erased generation.
    pub generation: u32,
    /// The position of the mark in the log, an event of type `annals.Erased`; `None` when the subject had been erased before.
    pub mark: Option<u64>,
    /// When the keys were destroyed, in microseconds since 1970 by the store's clock.
    pub at_micros: i64,
    /// The number of events with personal fields of the subject.
    pub events: u64,
    /// The positions of the first and the last such event.
    pub first_and_last: Option<(u64, u64)>,
    /// Their aggregates, at most 1,000.
    pub aggregates: Vec<String>,
    /// The key of the snapshots and dead letters' reasons until then, which is destroyed: they are unreadable, of all subjects.
    pub derived: Option<Uuid>,
    /// What each listener did.
    pub told: Vec<Told>,
    /// The number of events that have the subject's name in clear as a word of the aggregate id, user, organization, correlation, causation or a
    /// tag. Erasure does not change them: [declare](super::Personal::name) such names as personal.
    pub names_in_clear: u64,
    /// The first 1,000 positions of these.
    pub clear_positions: Vec<u64>,
    /// The number of stored states of sagas that had reacted to an event with personal fields of the subject, or that contain its name. They are in
    /// clear: erasure does not change them.
    pub saga_states: u64,
}

impl Receipt {
    /// Whether every listener succeeded, and nothing was found that erasure does not reach.
    pub fn is_complete(&self) -> bool {
        self.names_in_clear == 0 && self.saga_states == 0 && self.told.iter().all(|told| told.error.is_none())
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.told.iter().filter(|told| told.error.is_some()).count();
        write!(
            f,
            "generation {} erased: {} events in {} aggregates are redacted; {} listeners told, {failed} failed; {} events with the name in clear, {} \
             saga states not reached",
            self.generation,
            self.events,
            self.aggregates.len(),
            self.told.len(),
            self.names_in_clear,
            self.saga_states
        )
    }
}

/// What a pass over the log finds of a subject.
#[derive(Default)]
struct Touched {
    events: u64,
    first_and_last: Option<(u64, u64)>,
    aggregates: BTreeSet<String>,
    names_in_clear: u64,
    clear_positions: Vec<u64>,
    saga_states: u64,
    /// The ids of the events, and of the events that sagas wrote in reaction to them.
    caused: HashSet<Uuid>,
    /// The streams of the sagas that reacted.
    sagas: HashSet<Name>,
}

impl Touched {
    fn add(&mut self, event: EventRef<'_>, key: Option<&[u8]>, subject: &str) {
        let position = event.position().0;
        // The mark itself names the key, too.
        let is_value = event.aggregate_id() != mark::STREAM;
        if is_value && key.is_some_and(|key| find(event.data(), key).is_some()) {
            self.events += 1;
            self.caused.insert(event.id());
            let first = self.first_and_last.map_or(position, |(first, _)| first);
            self.first_and_last = Some((first, position));
            if self.aggregates.len() < LISTED_MAX {
                self.aggregates.insert(event.aggregate_id().to_owned());
            }
        }
        if has_name(event, subject) {
            self.names_in_clear += 1;
            if self.clear_positions.len() < LISTED_MAX {
                self.clear_positions.push(position);
            }
        }
        if event.event_type() == "annals.SagaReacted" {
            self.saga_states += u64::from(self.is_of_subject(event, subject));
        }
    }

    /// Whether the state of a saga may have data of the subject: from the event that it reacted to, or from an earlier one.
    fn is_of_subject(&mut self, state: EventRef<'_>, subject: &str) -> bool {
        let cause = state.causation_id().and_then(|cause| Uuid::try_parse(cause).ok());
        if cause.is_some_and(|cause| self.caused.contains(&cause)) {
            self.sagas.insert(state.aggregate_id().into());
        }
        self.sagas.contains(state.aggregate_id())
            || str::from_utf8(state.data()).is_ok_and(|data| has_word(data, subject))
    }
}

/// Whether a text contains a name that no letter or digit continues.
fn has_word(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
    })
}

fn has_name(event: EventRef<'_>, name: &str) -> bool {
    let names = [
        event.user_id(),
        event.organization_id(),
        event.correlation_id(),
        event.causation_id(),
    ];
    let names = names.into_iter().flatten().chain([event.aggregate_id()]);
    names.chain(event.tags()).any(|text| has_word(text, name))
}

impl Vault {
    /// Registers a function that this vault and its clones call at each erasure, after the keys are destroyed: it rebuilds a read model, or
    /// clears a cache. Its errors stand in the receipt; [`erase`](Self::erase) calls it again.
    ///
    /// A vault of another process does not call it: handle the event `annals.Erased` there.
    /// The function must not call [`erase`](Self::erase), which would wait for itself.
    pub fn on_erase(
        &self,
        name: impl Into<String>,
        tell: impl Fn(&Erased<'_>) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) {
        let listener = Listener {
            name: name.into(),
            tell: Arc::new(tell),
        };
        self.inner.listeners.lock().push(listener);
    }

    /// Erases a subject: destroys its keys and those of all snapshots and dead letters' reasons, and tells the listeners.
    ///
    /// The mark of the erasure is appended to the log first, with the durability of the store's handle; a key that comes back later is destroyed again.
    /// When this returns, no vault decrypts values of the subject, and writes of its personal data fail until [`reopen`](Self::reopen). It reads the
    /// whole log for the receipt. An erased subject can be erased again, for example when a listener had failed; the receipt then counts no events,
    /// because nothing links the subject to its former key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Storage`] when the mark cannot be appended, or the key store not be written; erase again. If the mark was appended, the values are
    /// unreadable already.
    pub fn erase(&self, subject: &str) -> Result<Receipt, KeyError> {
        let inner = &self.inner;
        let _erasing = inner.erasing.lock();
        let before = self.before(subject)?;
        let mut marked = None;
        if let Some(key) = before.key {
            marked = Some(self.destroy(subject, key, before.generation)?);
        }
        let touched = self.touched(before.key, subject);
        let aggregates: Vec<String> = touched.aggregates.into_iter().collect();
        let told = self.tell(&Erased {
            subject,
            aggregates: &aggregates,
        });
        Ok(Receipt {
            key: before.key,
            generation: before.generation,
            mark: marked.map(|(_, position)| position),
            at_micros: inner.store.now().as_micros(),
            events: touched.events,
            first_and_last: touched.first_and_last,
            aggregates,
            derived: marked.map(|(derived, _)| derived),
            told,
            names_in_clear: touched.names_in_clear,
            clear_positions: touched.clear_positions,
            saga_states: touched.saga_states,
        })
    }

    /// The key of a subject before its erasure. A key that is lost or damaged is destroyed, too.
    fn before(&self, subject: &str) -> Result<Subject, KeyError> {
        let inner = &self.inner;
        let error = match inner.live(subject) {
            Ok(live) => {
                return Ok(Subject {
                    generation: live.generation,
                    key: Some(live.key),
                });
            }
            Err(error) => error,
        };
        // The key may be destroyed and still linked, after a crash or a restored key store.
        let linked = inner.subject_now(subject)?;
        match (&error, linked) {
            (KeyError::Erased { generation }, None) => Ok(Subject {
                generation: *generation,
                key: None,
            }),
            (KeyError::Erased { .. } | KeyError::NoKey { .. }, Some(linked)) => Ok(linked),
            (KeyError::Storage { .. }, Some(linked @ Subject { key: Some(key), .. })) if inner.is_damaged(key)? => {
                Ok(linked)
            }
            _ => Err(error),
        }
    }

    /// Marks the keys as destroyed, and destroys them.
    fn destroy(&self, subject: &str, key: Uuid, generation: u32) -> Result<(Uuid, u64), KeyError> {
        let inner = &self.inner;
        let derived = inner.derived()?;
        let mark = Mark {
            key,
            generation,
            derived,
        };
        let position = mark::append(&inner.store, mark)?;
        inner.destroy(key)?;
        inner.destroy(derived)?;
        inner.unlink(subject, key)?;
        inner.replace_derived(Some(derived))?;
        Ok((derived, position.0))
    }

    fn touched(&self, key: Option<Uuid>, subject: &str) -> Touched {
        let key = key.map(|key| key.to_string());
        let mut touched = Touched::default();
        let read = self.inner.store.read_all().include_system();
        read.for_each(|event| touched.add(event, key.as_deref().map(str::as_bytes), subject));
        touched
    }

    fn tell(&self, erased: &Erased<'_>) -> Vec<Told> {
        let listeners = self.inner.listeners.lock().clone();
        let told = listeners.iter().map(|listener| Told {
            name: listener.name.clone(),
            error: (listener.tell)(erased).err().map(|error| error.to_string()),
        });
        told.collect()
    }
}
