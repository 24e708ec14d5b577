//! What the feed of a follower and its appending threads tell each other.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use uuid::Uuid;

/// The state that the feed and the appending threads share.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Triggers a poll.
    pub(super) heard: Arc<Notify>,
    /// The last position that was appended from here.
    pub(super) appended: AtomicU64,
    /// The last position of the log at the last poll.
    pub(super) read: AtomicU64,
    /// Stops the feed.
    pub(super) stop: Notify,
    /// The store that is followed; unset before the first poll.
    pub(super) store: OnceLock<Uuid>,
}
