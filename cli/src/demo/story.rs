//! A conversation in the making: events in order, each caused by one before it.

use std::time::Duration;

use annals::{Name, NewEvent, StreamId, Timestamp};
use uuid::Uuid;

use crate::demo::random::Random;
use crate::load::Entry;

/// A place in a conversation to go on from: when, and caused by what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) time: Timestamp,
    pub(crate) cause: Option<Uuid>,
}

impl Moment {
    /// The same place a while later: from `min` to `max` seconds, to the millisecond.
    #[must_use]
    pub(crate) fn later(self, random: &mut Random, min: u64, max: u64) -> Self {
        let wait = Duration::from_millis(random.between(min * 1_000, max * 1_000));
        Self {
            time: self.time.after(wait),
            ..self
        }
    }
}

/// One step of a conversation.
pub(crate) struct Step<'a> {
    pub(crate) stream: StreamId,
    pub(crate) event_type: &'static str,
    /// Who did it; nobody where the system acts.
    pub(crate) user: Option<&'a str>,
    pub(crate) data: String,
    pub(crate) tag: Option<&'a str>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(stream: &StreamId, event_type: &'static str, data: String) -> Self {
        Self {
            stream: stream.clone(),
            event_type,
            user: None,
            data,
            tag: None,
        }
    }

    pub(crate) fn by(mut self, user: &'a str) -> Self {
        self.user = Some(user);
        self
    }

    pub(crate) fn tag(mut self, tag: &'a str) -> Self {
        self.tag = Some(tag);
        self
    }
}

/// A conversation: what it is called, for whom it is held, and its events. Some events belong to none.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) correlation: Option<Name>,
    pub(crate) organization: Option<Name>,
    pub(crate) metadata: String,
    pub(crate) entries: Vec<Entry>,
}

impl Story {
    /// Adds what happens at `moment`, and answers the moment that follows from it.
    pub(crate) fn tell(&mut self, random: &mut Random, moment: Moment, step: Step<'_>) -> Moment {
        let id = random.uuid(moment.time);
        let mut event = NewEvent::new(step.event_type);
        event.id = Some(id);
        event.timestamp = Some(moment.time);
        event.correlation_id = self.correlation.clone().map(Into::into);
        event.causation_id = moment.cause.map(|cause| cause.to_string().into());
        event.user_id = step.user.map(|user| user.to_owned().into());
        event.organization_id = self.organization.clone().map(Into::into);
        event.tags = step.tag.map(|tag| tag.to_owned().into()).into_iter().collect();
        event.metadata = self.metadata.clone().into_bytes().into();
        event.data = step.data.into_bytes().into();
        self.entries.push(Entry {
            stream: step.stream,
            event,
            recorded_at: None,
            place: None,
        });
        Moment {
            time: moment.time,
            cause: Some(id),
        }
    }
}
