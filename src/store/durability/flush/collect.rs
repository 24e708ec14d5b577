//! Copies events from memory for the journal: whole appends in the order of positions, including dropped events.

use crate::journal::Batch;
use crate::settings::FlushSettings;
use crate::store::core::Core;
use crate::store::log::directory::PageCache;
use crate::store::log::lane::Snapshot;

/// Events copied per lock acquisition of a lane; bounds how long writers wait.
const BATCH: u64 = 64;

/// Copies events into batches.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    pages: PageCache,
    spare: Batch,
}

impl Collector {
    /// Copies the appends from position `from` on, up to `published` and the settings' limits of a batch; at least one.
    pub(crate) fn collect(&mut self, core: &Core, from: u64, published: u64, settings: &FlushSettings) -> Batch {
        let mut batch = std::mem::take(&mut self.spare);
        let mut snapshots = vec![None; core.lane_count()];
        let mut next = from;
        while next <= published
            && (batch.is_empty() || (batch.len() < settings.events && batch.bytes() < settings.bytes))
        {
            let end = core.log.end_of_append(next, &mut self.pages).unwrap_or(next);
            // Short appends are copied together.
            let end = if end < next + BATCH {
                let room = settings.events.saturating_sub(batch.len()) as u64;
                self.whole_appends(core, end, published.min(next + BATCH.min(room) - 1))
            } else {
                end
            };
            self.copy(core, next, end, &mut snapshots, &mut batch);
            next = end + 1;
        }
        self.pages = PageCache::default();
        batch
    }

    /// The end of the last append that ends at or before `limit`, given the end of one.
    fn whole_appends(&mut self, core: &Core, mut end: u64, limit: u64) -> u64 {
        while let Some(next) = core
            .log
            .end_of_append(end + 1, &mut self.pages)
            .filter(|next| *next <= limit)
        {
            end = next;
        }
        end
    }

    fn copy(&mut self, core: &Core, from: u64, to: u64, snapshots: &mut [Option<Snapshot>], batch: &mut Batch) {
        let mut next = from;
        while next <= to {
            let Some(place) = core.log.place(next, &mut self.pages) else {
                next += 1;
                continue;
            };
            let sealed = snapshots[place.lane]
                .as_ref()
                .and_then(|snapshot| snapshot.raw(place.slot));
            if let Some((chunk, index)) = sealed {
                batch.push_copy(chunk, index);
                next += 1;
            } else {
                let own = core.read_lane(place.lane);
                snapshots[place.lane] = Some(own.lane.snapshot());
                let until = to.min(next + BATCH - 1);
                next = own.lane.copy_run(next, until, place.slot, batch);
            }
        }
    }

    /// Takes back a written batch, to reuse its capacity.
    pub(crate) fn take_back(&mut self, mut batch: Batch) {
        batch.clear();
        self.spare = batch;
    }
}
