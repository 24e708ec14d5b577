//! Fills of an empty store with a million events or more.

use std::time::{Duration, Instant};

use annals::Store;
use criterion::Criterion;
use parking_lot::Mutex;

use crate::naive::{FiveMaps, Naive};
use crate::work::{Ids, Log, Work, interleaved};
use crate::{child, long};

/// The stores that are filled, by their names in the report and in tasks.
pub(crate) const STORES: [&str; 3] = ["annals", "naive", "naive with five maps"];

/// How a store is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    Single,
    TwoThreads,
    Batches,
    Uuids,
    MoreAggregates,
    SingleMadeBefore,
    BatchesMadeBefore,
}

impl Fill {
    const ALL: [Self; 7] = [
        Self::Single,
        Self::TwoThreads,
        Self::Batches,
        Self::Uuids,
        Self::MoreAggregates,
        Self::SingleMadeBefore,
        Self::BatchesMadeBefore,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Single => "append, 100k aggregates x 10",
            Self::TwoThreads => "append, 2 threads",
            Self::Batches => "append, batches of 10",
            Self::Uuids => "append, ids of 36 characters",
            Self::MoreAggregates => "append, 110k aggregates x 10",
            Self::SingleMadeBefore => "append, events made before",
            Self::BatchesMadeBefore => "append, batches of 10 made before",
        }
    }

    /// Rows that differ in one input from a row that is measured cold are measured warm only: that bounds the time of a run.
    fn is_measured_cold(self) -> bool {
        matches!(self, Self::Single | Self::TwoThreads | Self::Batches | Self::Uuids)
    }

    fn events(self) -> usize {
        if self == Self::MoreAggregates {
            1_100_000
        } else {
            1_000_000
        }
    }

    fn work(self) -> Work {
        let ids = if self == Self::Uuids { Ids::Uuid } else { Ids::Short };
        Work::new(ids, self.events() / 10, self.events())
    }

    /// Fills one of [`STORES`], and returns how long that took.
    fn fill(self, store: &str, work: &Work) -> Duration {
        match store {
            "annals" => self.fill_log::<Store>(work),
            "naive" => self.fill_log::<Mutex<Naive>>(work),
            _ => self.fill_log::<Mutex<FiveMaps>>(work),
        }
    }

    fn fill_log<L: Log>(self, work: &Work) -> Duration {
        let start = Instant::now();
        let log = L::empty();
        match self {
            Self::Single | Self::Uuids => work.fill(&log, interleaved(100_000, 10, 1)),
            Self::MoreAggregates => work.fill(&log, interleaved(110_000, 10, 1)),
            Self::TwoThreads => work.fill_with_two_threads(&log, 100_000, 10),
            Self::Batches => work.fill(&log, interleaved(10_000, 10, 10)),
            Self::SingleMadeBefore => return work.fill_made_before(&log, interleaved(100_000, 10, 1)),
            Self::BatchesMadeBefore => return work.fill_made_before(&log, interleaved(10_000, 10, 10)),
        }
        start.elapsed()
    }

    fn task(self, store: &str) -> String {
        format!("{self:?} {store}")
    }
}

/// Runs `task` if it is a fill.
pub(crate) fn run(task: &str) -> Option<Duration> {
    let (name, store) = task.split_once(' ')?;
    let fill = Fill::ALL.into_iter().find(|fill| format!("{fill:?}") == name)?;
    Some(fill.fill(store, &fill.work()))
}

pub(crate) fn fills(criterion: &mut Criterion) {
    for fill in Fill::ALL {
        let mut group = long(criterion, fill.title(), fill.events() as u64);
        for store in STORES.into_iter().filter(|_| fill.is_measured_cold()) {
            let task = fill.task(store);
            group.bench_function(format!("{store}, cold"), |bencher| {
                bencher.iter_custom(|times| (0..times).flat_map(|_| child::measure(&task)).sum());
            });
        }
        let work = fill.work();
        for store in STORES {
            group.bench_function(format!("{store}, warm"), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| fill.fill(store, &work)).sum());
            });
        }
        group.finish();
    }
}
