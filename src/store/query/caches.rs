//! The caches of a store, which are made at first use.

use crate::store::query::cache::{CacheStats, Lazy, QueryCache};
#[cfg(feature = "analytics")]
use crate::store::query::summary::cached::SummaryCache;

/// The caches of a store.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    pub(in crate::store) queries: Lazy<QueryCache>,
    #[cfg(feature = "analytics")]
    pub(in crate::store) summaries: Lazy<SummaryCache>,
}

impl Caches {
    /// Statistics of all caches together.
    pub(in crate::store) fn stats(&self) -> CacheStats {
        let stats = self.queries.stats();
        #[cfg(feature = "analytics")]
        let stats = stats + self.summaries.stats();
        stats
    }
}
