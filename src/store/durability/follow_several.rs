//! Appends to several aggregates, or under a condition, through the remote of a log.

use std::time::Instant;

use uuid::Uuid;

use crate::journal::{JournalError, JournalErrorKind, RemoteAppend};
use crate::store::Engine;
use crate::store::append::own_ids::OwnIds;
use crate::store::append::several::Watch;
use crate::store::durability::follow::{Following, check_acknowledged};
use crate::{Append, Appended, Condition, Conflict, Error, Position, Result};

/// The appends as a remote gets them.
struct Parts<'a>(Vec<RemoteAppend<'a>>);

impl Engine {
    /// Appends through the remote, and returns when the events are visible here.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the remote cannot make such an append.
    pub(crate) fn append_all_elsewhere(
        &self,
        following: &Following,
        appends: &[Append<'_>],
        condition: Option<&Condition>,
    ) -> Result<Vec<Appended>> {
        match (appends, condition) {
            ([], None) => return Ok(Vec::new()),
            ([part], None) => {
                let appended = self.append_elsewhere(following, &part.stream, part.expected, &part.events)?;
                return Ok(vec![appended]);
            }
            _ => {}
        }
        self.check_open()?;
        self.check_appends(appends)?;
        appends.iter().try_for_each(|part| OwnIds::of(&part.events).map(drop))?;
        let ids: Vec<_> = appends.iter().map(|part| self.ids_of(&part.events)).collect();
        let parts = Parts::of(appends, &ids);
        let appended = match condition {
            None => following.append_all(&parts, None)?,
            Some(condition) => self.append_if_elsewhere(following, &parts, condition)?,
        };
        self.await_parts(following, &parts, &appended)?;
        Ok(appended)
    }

    /// Evaluates the condition here, up to the last event that was read, and appends if the log still ends with that event. Otherwise repeats both.
    fn append_if_elsewhere(
        &self,
        following: &Following,
        parts: &Parts<'_>,
        condition: &Condition,
    ) -> Result<Vec<Appended>> {
        let watch = Watch::new(self, condition)?;
        let deadline = Instant::now().checked_add(following.remote.timeout());
        let mut seen = watch.after;
        loop {
            let last = self.core.log.published();
            let found = watch.first_match(self, seen, last)?;
            // The remote finds a repetition and a conflict of versions even if the condition does not hold.
            let unchanged_since = found.map_or(last, |found| found - 1);
            let later = match following.append_all(parts, Some(unchanged_since)) {
                Err(Error::Conflict(conflict)) if matches!(*conflict, Conflict::Condition { .. }) => {
                    conflict.wait_for()
                }
                result => return result,
            };
            if let Some(found) = found {
                let position = Position(found);
                return Err(Conflict::Condition { position }.into());
            }
            seen = last.max(seen);
            self.await_later(following, later.0, deadline)?;
        }
    }

    /// Waits until an event is followed that was appended since the condition was evaluated.
    fn await_later(&self, following: &Following, position: u64, deadline: Option<Instant>) -> Result<()> {
        let log = &self.core.log;
        log.visible_signal()
            .wait_while(deadline, || log.visible() < position && !log.is_closed());
        self.check_open()?;
        if deadline.is_none_or(|deadline| Instant::now() < deadline) {
            return Ok(());
        }
        let message = "other appends came between the evaluation of the condition and the append, at each attempt";
        let error = JournalError::new(JournalErrorKind::Retry, message);
        Err(Error::Unavailable {
            cause: match following.fault() {
                Some(fault) => error.caused_by(fault),
                None => error,
            },
        })
    }

    fn await_parts(&self, following: &Following, parts: &Parts<'_>, appended: &[Appended]) -> Result<()> {
        if parts.0.len() != appended.len() {
            let (wanted, found) = (parts.0.len(), appended.len());
            let message =
                format!("the remote acknowledged {found} appends of {wanted}: whether they were appended is not known");
            return Err(Error::Corrupt {
                cause: JournalError::corrupt(message),
            });
        }
        for (part, appended) in parts.0.iter().zip(appended) {
            if let Some(id) = part.ids().last() {
                check_acknowledged(appended, part.ids().len())?;
                self.await_followed(following, appended)?;
                self.check_followed(appended, *id)?;
            }
        }
        Ok(())
    }
}

impl Following {
    fn append_all(&self, parts: &Parts<'_>, unchanged_since: Option<u64>) -> Result<Vec<Appended>> {
        let appended = self.remote.append_all(&parts.0, unchanged_since.map(Position));
        // After a conflict the caller reads again, and needs the newest events.
        self.remote.wake();
        appended
    }
}

impl<'a> Parts<'a> {
    fn of(appends: &'a [Append<'_>], ids: &'a [Vec<Uuid>]) -> Self {
        let part = |(part, ids): (&'a Append<'_>, &'a Vec<Uuid>)| {
            let has_own_ids = part.events.iter().all(|event| event.id.is_some());
            RemoteAppend::new(&part.stream, part.expected, &part.events, ids, has_own_ids)
        };
        Self(appends.iter().zip(ids).map(part).collect())
    }
}
