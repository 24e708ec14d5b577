//! Loading aggregates: folding their events in place, from the nearest snapshot on.

use uuid::Uuid;

use super::codec::DerivedData;
use super::snapshot::Since;
use super::until::Until;
use super::{Aggregate, Aggregates, Codec, LoadError, Loaded};
use crate::{EventRef, StreamInfo, Version};

impl<A: Aggregate, C: Codec> Aggregates<A, C> {
    /// Loads an aggregate, with what came since its last snapshot.
    pub(super) fn load_with(&self, id: &str, until: Until) -> Result<(Loaded<A>, Since), LoadError> {
        #[cfg(feature = "testing")]
        self.store.read_with_faults(Some(id))?;
        let derived = self.snapshots.as_ref().and_then(|_| self.events.derived_data());
        let derived = derived.as_deref();
        loop {
            // Before anything is decrypted.
            let epoch = derived.and_then(|derived| derived.epoch().ok());
            // An aggregate that the store does not know is not read: the first command of each would set up a read for nothing.
            let Some(info) = self.store.stream_info(id) else {
                return Ok((Loaded::initial(), Since::of_epoch(epoch)));
            };
            let begin = self.begin(id, until, &info, derived);
            let from = begin.version;
            let (loaded, since) = self.fold(id, until, begin, epoch)?;
            if !self.has_changed(id, from, loaded.version) {
                return Ok((loaded, since));
            }
        }
    }

    /// The state to begin at: that of the nearest snapshot, or the initial one.
    fn begin(&self, id: &str, until: Until, info: &StreamInfo, derived: Option<&dyn DerivedData>) -> Loaded<A> {
        let from_snapshot = || {
            let snapshots = self.snapshots.as_ref()?;
            let is_own = info.stream.aggregate_type == A::TYPE && !info.tombstoned;
            let last = until.last_of_snapshot(&self.store, id);
            is_own.then(|| snapshots.load(&self.store, id, last, derived)).flatten()
        };
        from_snapshot().unwrap_or_else(Loaded::initial)
    }

    /// Whether the events that were folded, after version `from` up to `last`, are not the aggregate's any more. Then they are folded again;
    /// each repetition needs another drop.
    fn has_changed(&self, id: &str, from: Version, last: Version) -> bool {
        if last.0 == 0 {
            return false;
        }
        let Some(info) = self.store.stream_info(id) else {
            return false;
        };
        // Events after `last` were dropped while those before were read: a fold does not miss them, as none follows.
        let has_lost_last = info.dropped_to > last;
        // The aggregate was deleted after its snapshot was read, and began again.
        let has_lost_snapshot = from.0 > 0 && info.deleted_to >= from;
        has_lost_last || has_lost_snapshot
    }

    fn fold(
        &self,
        id: &str,
        until: Until,
        begin: Loaded<A>,
        epoch: Option<Uuid>,
    ) -> Result<(Loaded<A>, Since), LoadError> {
        let read = until.read(&self.store, id, begin.version);
        let (mut loaded, mut since) = (begin, Since::of_epoch(epoch));
        let mut folded = Ok(());
        read.for_each(|event| {
            if folded.is_ok() && until.includes(event.version()) {
                folded = self.fold_one(id, &mut loaded, event);
                since.add(event.data().len(), event.recorded_at());
            }
        });
        folded?;
        if loaded.version.0 == 0 {
            self.check_none(id, until)?;
        }
        Ok((loaded, since))
    }

    fn fold_one(&self, id: &str, loaded: &mut Loaded<A>, event: EventRef<'_>) -> Result<(), LoadError> {
        self.check_next(id, loaded.version, event)?;
        self.events.each(event, |decoded| loaded.state.evolve(decoded))?;
        loaded.version = event.version();
        loaded.folded += 1;
        Ok(())
    }

    /// # Errors
    ///
    /// [`LoadError::Incomplete`] when events are gone between version `last` and the event; [`LoadError::OtherType`].
    fn check_next(&self, id: &str, last: Version, event: EventRef<'_>) -> Result<(), LoadError> {
        if last.0 == 0 {
            return self.check_first(id, event);
        }
        if event.version().0 == last.0 + 1 {
            return Ok(());
        }
        Err(incomplete(id, last.0 + 1, event.version().0 - 1))
    }

    /// The first event that is there. What was deleted before it does not count: the aggregate began again.
    ///
    /// # Errors
    ///
    /// [`LoadError::Incomplete`] when events before it are gone for another reason; [`LoadError::OtherType`].
    fn check_first(&self, id: &str, event: EventRef<'_>) -> Result<(), LoadError> {
        check_type::<A>(id, event.aggregate_type())?;
        let before = event.version().0 - 1;
        if before == 0 {
            return Ok(());
        }
        // A budget may have dropped the aggregate since its event was read: then it is not known.
        let info = self.store.stream_info(id);
        let deleted_to = info.map_or(0, |info| info.deleted_to.0);
        if before > deleted_to {
            return Err(incomplete(id, deleted_to + 1, before));
        }
        Ok(())
    }

    /// No event is there.
    ///
    /// # Errors
    ///
    /// [`LoadError::Incomplete`] when there were events at that time; [`LoadError::Deleted`]; [`LoadError::OtherType`].
    fn check_none(&self, id: &str, until: Until) -> Result<(), LoadError> {
        let Some(info) = self.store.stream_info(id) else {
            return Ok(());
        };
        check_type::<A>(id, &info.stream.aggregate_type)?;
        if info.tombstoned {
            let aggregate_id = id.into();
            return Err(LoadError::Deleted { aggregate_id });
        }
        let is_before_deletion = info.deleted_to.0 > 0 && until.is_before_deletion(&self.store, id, info.deleted_to);
        let begin = if is_before_deletion { 0 } else { info.deleted_to.0 };
        if info.dropped_to.0 > begin {
            return Err(incomplete(id, begin + 1, info.dropped_to.0));
        }
        Ok(())
    }
}

/// # Errors
///
/// [`LoadError::OtherType`] when `actual` is not the type of `A`.
fn check_type<A: Aggregate>(id: &str, actual: &str) -> Result<(), LoadError> {
    if actual == A::TYPE {
        return Ok(());
    }
    Err(LoadError::OtherType {
        aggregate_id: id.into(),
        wanted: A::TYPE.into(),
        actual: actual.into(),
    })
}

fn incomplete(id: &str, first: u64, last: u64) -> LoadError {
    LoadError::Incomplete {
        aggregate_id: id.into(),
        first: Version(first),
        last: Version(last),
    }
}
