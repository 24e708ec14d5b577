//! `umadb://HOST:PORT`: `UmaDB`, whose appends depend on a query. Each event has the tag of its aggregate, and an append fails if another event with that tag
//! was added after the last one that was read.
//!
//! The tags of a run have a prefix of their own, and its log begins where that of the server ended: no event of `UmaDB` can be removed.

use std::sync::Arc;
use std::time::Duration;

use annals::{Expected, Position, Version};

use super::remote::dcb::{Append, Condition, Dcb, Event, Query, Read, Sequenced, Subscription};
use super::remote::{Since, append_after_read, described, runtime};
use crate::crash::owner;
use crate::store::{
    Backend, Description, DurabilityClass, EventStore, Follow, Look, NewEvent, Place, Result, StoredEvent,
};

/// The beginning of the URLs of this backend.
pub(super) const SCHEME: &str = "umadb://";
/// The most events of a part of an answer.
const PAGE: u32 = 1_000;

/// A server.
#[derive(Debug)]
pub struct UmaDb {
    dcb: Dcb,
    place: Since,
}

impl UmaDb {
    /// Connects to the server at `url`. A number after `#` is the position before the run.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`](crate::StoreError::Failed) if the URL has a password, or the server cannot be reached.
    pub fn connect(url: &str) -> Result<Self> {
        let place = Since::of(url)?;
        let address = place
            .url
            .strip_prefix(SCHEME)
            .unwrap_or(&place.url)
            .trim_end_matches('/');
        let dcb = Dcb::connect(runtime(2)?, address)?;
        // A server that is not UmaDB fails here.
        dcb.head()?;
        Ok(Self { dcb, place })
    }
}

impl Backend for UmaDb {
    fn description(&self) -> Description {
        let software = "UmaDB, over gRPC".to_owned();
        let settings = "one connection; an append after others reads the last event of its aggregate first".to_owned();
        Description {
            has_queries: false,
            ..described("umadb", software, settings, DurabilityClass::PowerSafe)
        }
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        let base = self.place.position();
        Ok(Arc::new(Boundaries {
            dcb: self.dcb.clone(),
            base,
            prefix: format!("bench-{}-{base}-", owner()),
        }))
    }

    fn wipe(&self) -> Result<()> {
        self.place.set(self.dcb.head()?);
        Ok(())
    }

    fn unshared(&self) -> Option<&'static str> {
        None
    }

    fn place(&self) -> Option<Place> {
        Some(self.place.place())
    }
}

/// The part of a server that a run has.
struct Boundaries {
    dcb: Dcb,
    base: u64,
    prefix: String,
}

impl Boundaries {
    fn tag(&self, stream: &str) -> String {
        format!("{}{stream}", self.prefix)
    }

    /// Shows an event, and returns whether it is of this run.
    fn show(&self, found: &Sequenced, look: Look<'_>) -> Result<bool> {
        let Some(event) = &found.event else {
            return Ok(false);
        };
        let Some(stream) = event.tags.iter().find_map(|tag| tag.strip_prefix(&self.prefix)) else {
            return Ok(false);
        };
        look(StoredEvent {
            stream,
            version: Version(event.version()?),
            position: Some(Position(found.position)),
            data: &event.data,
        });
        Ok(true)
    }
}

impl EventStore for Boundaries {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let tag = self.tag(stream);
        let last = || match expected {
            Expected::NoStream => Ok((0, 0)),
            Expected::Any | Expected::StreamExists | Expected::Exactly(_) => self.dcb.last(&tag),
        };
        append_after_read(expected, last, |position, version| {
            let numbered = events.iter().zip(version + 1..);
            self.dcb.append(Append {
                events: numbered
                    .map(|(event, version)| Event::new(event, &tag, version))
                    .collect(),
                condition: Some(Condition {
                    query: Some(Query::of_tag(&tag)),
                    after: (position > 0).then_some(position),
                }),
            })?;
            Ok(Version(version + 1))
        })
    }

    /// A part of a stream is read from its end: `UmaDB` does not find events by version.
    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        let mut later = Vec::new();
        let is_part = after.0 > 0;
        let read = Read {
            query: Some(Query::of_tag(&self.tag(stream))),
            backwards: Some(is_part),
            page: Some(PAGE),
            ..Read::default()
        };
        self.dcb.read(read, &mut |found| {
            if !is_part {
                return self.show(&found, look).map(|_| true);
            }
            let is_later = found.version()? > after.0;
            later.extend(is_later.then_some(found));
            Ok(is_later)
        })?;
        later
            .iter()
            .rev()
            .try_for_each(|found| self.show(found, look).map(drop))
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let mut left = limit;
        let read = Read {
            start: Some(after.0.max(self.base) + 1),
            page: Some(u32::try_from(limit).unwrap_or(PAGE).clamp(1, PAGE)),
            ..Read::default()
        };
        self.dcb.read(read, &mut |found| {
            left -= usize::from(left > 0 && self.show(&found, look)?);
            Ok(left > 0)
        })
    }

    fn follow(&self, after: Position) -> Result<Option<Box<dyn Follow + '_>>> {
        Ok(Some(Box::new(Subscribed {
            subscription: self.dcb.subscribe(after.0.max(self.base))?,
            store: self,
        })))
    }
}

/// A reader that the server wakes.
struct Subscribed<'a> {
    subscription: Subscription,
    store: &'a Boundaries,
}

impl Follow for Subscribed<'_> {
    fn next(&mut self, limit: usize, wait: Duration, look: Look<'_>) -> Result<()> {
        let found = self.subscription.next(limit, wait)?;
        found
            .iter()
            .try_for_each(|found| self.store.show(found, look).map(drop))
    }
}
