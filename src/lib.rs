//! An event store that lives in memory.

#[cfg(feature = "analytics")]
pub mod analytics;
mod error;
mod event;
mod id;
mod name;
mod query;
mod settings;
mod store;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod time;

pub use error::{Conflict, Error};
pub use event::{ContentType, Event, EventRef, NewEvent};
pub use id::{IdSource, RandomIds, SeededIds};
pub use name::Name;
pub use query::{AsOf, Cursor, Field, Filter, Order, Query};
pub use settings::{Budget, CacheSettings, Limits, Settings, WhenFull};
pub use store::answer::{Answer, CacheState, Explanation, Page};
#[cfg(feature = "cache")]
pub use store::cache::CacheStats;
pub use store::gaps::{Gap, GapReason};
pub use store::names::Tags;
pub use store::read::{LogRead, StreamRead};
pub use store::retention::Compaction;
pub use store::stats::StoreStats;
pub use store::tail::{Delivery, Tail};
pub use store::{Builder, Store};
pub use stream::{
    Append, Appended, Condition, Durability, Expected, Position, StreamId, StreamInfo, StreamLimits, Version,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};

/// The result of a call to the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;
