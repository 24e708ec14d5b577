//! The ids that a caller sets.

use smallvec::SmallVec;
use uuid::Uuid;

use crate::{Error, NewEvent, Result};

/// The ids set by the caller in a part of an append, each with the index of its event, sorted by id.
#[derive(Debug, Default)]
pub(crate) struct OwnIds(pub(in crate::store) SmallVec<[(Uuid, usize); 1]>);

impl OwnIds {
    /// # Errors
    ///
    /// [`Error::Invalid`] if two events have the same id.
    pub(crate) fn of(events: &[NewEvent<'_>]) -> Result<Self> {
        if events.iter().all(|event| event.id.is_none()) {
            return Ok(Self::default());
        }
        let own = events.iter().enumerate();
        let mut ids: SmallVec<[_; 1]> = own.filter_map(|(place, event)| Some((event.id?, place))).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(Error::invalid(format!(
                "events {} and {} of the append have the same id, {}: give each event an id of its own",
                pair[0].1 + 1,
                pair[1].1 + 1,
                pair[0].0
            ))),
            None => Ok(Self(ids)),
        }
    }

    pub(in crate::store) fn place_of(&self, id: Uuid) -> Option<usize> {
        let index = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.0[index].1)
    }
}
