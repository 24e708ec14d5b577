//! Summaries of a query's result: values fed with its events, cached and extended by the tail of the log.

use std::any::Any;

use crate::store::query::run::QueryRun;
use crate::{EventRef, Result};

/// A value fed with events, in any order.
pub(crate) trait Summary: Any + Clone + Send + Sync {
    /// Adds an event.
    fn take(&mut self, event: EventRef<'_>);

    /// Bytes of the value.
    #[cfg(feature = "cache")]
    fn weight(&self) -> usize;
}

impl QueryRun<'_> {
    /// Computes the summary of the result, starting with `empty`. Its key in the cache is the query and `name`.
    #[cfg_attr(
        not(feature = "cache"),
        expect(unused_variables, reason = "the name is for the cache")
    )]
    pub(crate) fn summary<S: Summary>(&self, name: &str, empty: &S) -> Result<S> {
        #[cfg(feature = "cache")]
        if self.query.limit.is_none()
            && self.query.cursor.is_none()
            && let Some(cache) = self
                .engine()
                .caches
                .summaries
                .get(&self.engine().settings.cache)
                .filter(|_| self.may_be_cached())
        {
            let visible = self.engine().visible();
            let mut source = cached::SummarySource { answer: self, empty };
            let key = (self.query.clone(), name.to_owned());
            let (value, _, _) = cache.get(self.engine(), &key, visible, &mut source)?;
            if let Some(summary) = value.downcast_ref::<S>() {
                return Ok(summary.clone());
            }
        }
        self.fold(empty.clone(), |mut summary, event| {
            summary.take(event);
            summary
        })
    }

    /// Adds the events above `after`, up to `visible`, to `summary`; returns whether there were any.
    #[cfg(feature = "cache")]
    fn feed<S: Summary>(&self, summary: &mut S, after: u64, visible: u64) -> Result<bool> {
        let mut bounds = self.query_bounds(visible)?;
        bounds.after = bounds.after.max(after);
        let engine = self.engine();
        let mut scan = crate::store::query::select::Scan::new(
            engine,
            &self.query,
            bounds,
            crate::store::query::select::Direction::Ascending,
        )?;
        let mut reader = crate::store::reader::EventReader::new(&engine.core);
        let mut any = false;
        while let Some(positions) = scan.next()? {
            let mut events = reader.each(positions.iter().copied());
            while let Some(event) = events.next() {
                if let Some(event) = event {
                    summary.take(event);
                    any = true;
                }
            }
        }
        Ok(any)
    }
}

#[cfg(feature = "cache")]
pub(crate) mod cached {
    use std::any::Any;

    use super::{QueryRun, Summary};
    use crate::Result;
    use crate::query::Query;
    use crate::store::query::cache::{Prefixes, Source, query_bytes};

    /// Summaries by query and name.
    pub(crate) type SummaryCache = Prefixes<(Query, String), Box<dyn Any + Send + Sync>>;

    /// Computes a summary, or extends one.
    pub(in crate::store) struct SummarySource<'a, S> {
        pub(in crate::store) answer: &'a QueryRun<'a>,
        pub(in crate::store) empty: &'a S,
    }

    impl<S: Summary> Source<Box<dyn Any + Send + Sync>> for SummarySource<'_, S> {
        fn whole(&mut self, visible: u64) -> Result<Box<dyn Any + Send + Sync>> {
            let mut summary = self.empty.clone();
            self.answer.feed(&mut summary, 0, visible)?;
            Ok(Box::new(summary))
        }

        fn extended(
            &mut self,
            value: &Box<dyn Any + Send + Sync>,
            complete_to: u64,
            visible: u64,
        ) -> Result<Option<Box<dyn Any + Send + Sync>>> {
            let Some(summary) = value.downcast_ref::<S>() else {
                return self.whole(visible).map(Some);
            };
            let mut summary = summary.clone();
            let any = self.answer.feed(&mut summary, complete_to, visible)?;
            Ok(any.then(|| Box::new(summary) as Box<dyn Any + Send + Sync>))
        }

        fn bytes(&self, value: &Box<dyn Any + Send + Sync>) -> u64 {
            let weight = value.downcast_ref::<S>().map_or(0, Summary::weight);
            weight as u64 + query_bytes(&self.answer.query) + 256
        }
    }
}
