//! `Idempotency-Key`: the ids of events without one follow from the key, so that the store itself recognises a repetition, also after a
//! restart.

use annals::{Appended, Error, Event, NewEvent, Store, Version};
use uuid::Uuid;

use crate::call::Call;
use crate::problem::{Kind, Problem};

/// The namespace of the ids, which separates them from version 5 UUIDs of others.
const NAMESPACE: Uuid = Uuid::from_u128(0x3c5d_7a4e_92b1_4f0c_8a66_1d2f_e07b_5349);
/// The namespace of the ids of messages.
const MESSAGES: Uuid = Uuid::from_u128(0x6f0b_1c93_5d27_4e8a_b1f4_27c0_93ad_e865);
/// Bytes of a key, at most.
const KEY_BYTES_MAX: usize = 255;

/// The key of a request.
#[derive(Clone, Debug)]
pub(crate) struct Key(String);

impl Key {
    /// # Errors
    ///
    /// A [`Problem`] if the key is empty, too long, or no visible ASCII.
    pub(crate) fn of(call: &Call) -> Result<Option<Self>, Problem> {
        let Some(key) = call.header("idempotency-key")? else {
            return Ok(None);
        };
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Problem::invalid(format!(
                "Idempotency-Key must have 1 to {KEY_BYTES_MAX} characters"
            )));
        }
        Ok(Some(Self(key.to_owned())))
    }

    fn id(&self, aggregate_id: &str, index: usize) -> Uuid {
        let name = format!("{}\0{aggregate_id}\0{index}", self.0);
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }

    /// The id of the message that the request sends.
    pub(crate) fn message_id(&self, name: &str) -> Uuid {
        Uuid::new_v5(&MESSAGES, format!("{name}\0{}", self.0).as_bytes())
    }

    /// Gives ids to the events of an aggregate that have none.
    pub(crate) fn apply(&self, aggregate_id: &str, events: &mut [NewEvent<'_>]) {
        for (index, event) in events.iter_mut().enumerate() {
            event.id.get_or_insert_with(|| self.id(aggregate_id, index));
        }
    }

    /// Checks that a repetition has the events of the first append.
    ///
    /// # Errors
    ///
    /// [`Kind::KeyReused`] if it has others, or fewer.
    pub(crate) fn check(
        &self,
        store: &Store,
        aggregate_id: &str,
        events: &[NewEvent<'_>],
        appended: &Appended,
    ) -> Result<(), Problem> {
        if !appended.repeated {
            return Ok(());
        }
        let read = store.read_stream(aggregate_id).from(appended.first_version);
        let stored = read.limit(events.len() + 1).events();
        let is_more = stored.get(events.len()).is_some_and(|next| {
            next.version() == Version(appended.last_version.0 + 1) && next.id() == self.id(aggregate_id, events.len())
        });
        let is_same = !is_more
            && events
                .iter()
                .zip(&stored)
                .all(|(event, stored)| says_the_same(event, stored));
        if is_same { Ok(()) } else { Err(reused()) }
    }

    /// An append of which some events are known repeats a key with more events.
    pub(crate) fn refusal(error: Error) -> Problem {
        match error.conflict() {
            Some(annals::Conflict::EventKnown { .. }) => reused(),
            _ => error.into(),
        }
    }
}

fn reused() -> Problem {
    Problem::new(
        Kind::KeyReused,
        "an append with this Idempotency-Key has stored other events",
    )
}

fn says_the_same(event: &NewEvent<'_>, stored: &Event) -> bool {
    event.event_type == stored.event_type()
        && event.schema_version == stored.schema_version()
        && *event.data == *stored.data()
        && *event.metadata == *stored.metadata()
        && event.correlation_id.as_deref() == stored.correlation_id()
        && event.causation_id.as_deref() == stored.causation_id()
        && event.user_id.as_deref() == stored.user_id()
        && event.organization_id.as_deref() == stored.organization_id()
        && event.tags.iter().map(AsRef::as_ref).eq(stored.tags())
        && event.timestamp.is_none_or(|time| time == stored.timestamp())
}
