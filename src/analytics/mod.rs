//! Summaries of many events: statistics, trends, heatmaps and causation trees.
//!
//! All but the tree are plain values: they are created empty, count events, and can be merged. Merging the summary of the first events of
//! a store with that of the rest gives the summary of all, so a cached summary can be extended with the events that were appended since.
//! A summary borrows neither the store nor its events.
//!
//! ```
//! use annals::analytics::{Bucket, Empty, TimeZone, Trend};
//!
//! let mut trend = Trend::new(Bucket::IsoWeek, "Europe/Amsterdam".parse()?);
//! trend.add_at("2026-12-31T12:00:00Z".parse()?);
//! trend.add_at("2027-01-03T23:30:00Z".parse()?);
//! let rows = trend.rows(Empty::Leave)?;
//! assert_eq!(rows[0].label, "2026-W53");
//! assert_eq!(rows[1].label, "2027-W01");
//! # Ok::<(), annals::Error>(())
//! ```

mod ask;
mod bucket;
mod causation;
mod counts;
mod date;
mod heatmap;
mod local;
#[cfg(feature = "json")]
mod measure;
#[cfg(test)]
mod sample;
mod statistics;
mod trend;
mod zone;

pub use bucket::Bucket;
pub use causation::{CausationTree, Node, Walk};
pub use counts::Counts;
pub use date::Date;
pub use heatmap::Heatmap;
#[cfg(feature = "json")]
pub use measure::{Measure, MeasuredRow, RollupRows, Values};
pub use statistics::Statistics;
pub use trend::{Empty, Trend, TrendRow};
pub use zone::TimeZone;
