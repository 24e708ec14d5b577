//! Snapshots: states of aggregates at a version, which spare reading all of their events.

use crate::event::system::{self, SNAPSHOTTED};
use crate::{ContentType, Event, Name, NewEvent, Position, Timestamp, Version};

/// A snapshot to save: the state of an aggregate at a version.
///
/// ```
/// use annals::{Expected, NewEvent, NewSnapshot, Store, StreamId, Version};
///
/// let store = Store::in_memory();
/// let account = StreamId::new("Account", "account-1");
/// store.append(&account, Expected::NoStream, vec![NewEvent::new("Deposited").data("250")])?;
/// store.save_snapshot("account-1", NewSnapshot::new(Version(1)).data(r#"{"balance":250}"#))?;
///
/// let snapshot = store.snapshot("account-1").expect("it was kept");
/// let since = store.read_stream("account-1").after(snapshot.version).events();
/// assert_eq!((snapshot.missing, since.len()), (0, 0));
/// assert_eq!(snapshot.data, br#"{"balance":250}"#);
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewSnapshot {
    /// The version of the last event that the state includes.
    pub version: Version,
    /// The version of the state's schema; 1 by default. A reader that finds another schema version than its own ignores the snapshot and reads the events.
    pub schema_version: u32,
    /// Number of snapshots of the aggregate that are retained, including this one: 1 by default, at most 64. Earlier ones serve reads of the past.
    pub keep: u32,
    /// The content type of `data`.
    pub data_type: ContentType,
    /// The state. The store returns the same bytes.
    pub data: Vec<u8>,
}

impl NewSnapshot {
    /// An empty snapshot of the events up to `version`.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            schema_version: 1,
            keep: 1,
            ..Self::default()
        }
    }

    /// A snapshot whose data is `value` as JSON.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid) when `value` cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn json(version: Version, value: &impl serde::Serialize) -> Result<Self, crate::Error> {
        let event = NewEvent::json(format!("a snapshot at version {version}"), value)?;
        Ok(Self::new(version).data(event.data))
    }

    /// With a schema version other than 1.
    #[must_use]
    pub fn schema_version(mut self, version: u32) -> Self {
        self.schema_version = version;
        self
    }

    /// Retains this many snapshots of the aggregate, this one included.
    #[must_use]
    pub fn keep(mut self, keep: u32) -> Self {
        self.keep = keep;
        self
    }

    /// With these bytes as data: JSON unless [`content_type`](Self::content_type) says otherwise.
    #[must_use]
    pub fn data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.data = data.into();
        self
    }

    /// With data that is not JSON.
    #[must_use]
    pub fn content_type(mut self, data_type: ContentType) -> Self {
        self.data_type = data_type;
        self
    }

    /// The system event that stores it.
    pub(crate) fn into_event(self) -> NewEvent<'static> {
        NewEvent::new(SNAPSHOTTED)
            .schema_version(self.schema_version)
            .metadata(system::snapshot_json(self.version, self.keep))
            .content_type(self.data_type)
            .data(self.data)
    }
}

/// A saved snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The aggregate.
    pub aggregate_id: Name,
    /// The version of the last event that the state includes.
    pub version: Version,
    /// Number of events after the snapshot that a limit or a truncation has dropped. If it is not 0, the current state cannot be computed from the
    /// snapshot and the remaining events.
    pub missing: u64,
    /// The version of the state's schema.
    pub schema_version: u32,
    /// When it was saved.
    pub taken_at: Timestamp,
    /// The position of its system event in the log.
    pub position: Position,
    /// The content type of `data`.
    pub data_type: ContentType,
    /// The saved bytes.
    pub data: Vec<u8>,
}

impl Snapshot {
    /// Deserializes the data from JSON.
    ///
    /// ```
    /// use annals::{Expected, NewEvent, NewSnapshot, Store, StreamId, Version};
    ///
    /// let store = Store::in_memory();
    /// store.append(&StreamId::new("Cart", "cart-1"), Expected::NoStream, vec![NewEvent::new("ItemAdded")])?;
    /// store.save_snapshot("cart-1", NewSnapshot::json(Version(1), &["apple"])?)?;
    ///
    /// let items: Vec<String> = store.snapshot("cart-1").expect("it was saved").json()?;
    /// assert_eq!(items, ["apple"]);
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid), which names the snapshot, if the data is not JSON or not a `T`.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, crate::Error> {
        crate::json::read(&self.data, || {
            format!("the snapshot of '{}' at version {}", self.aggregate_id, self.version)
        })
    }

    /// The snapshot of `aggregate_id` that a system's event is.
    pub(crate) fn of(aggregate_id: &str, event: &Event) -> Option<Self> {
        Some(Self {
            aggregate_id: aggregate_id.into(),
            version: system::snapshot_version(event.metadata())?,
            missing: 0,
            schema_version: event.schema_version(),
            taken_at: event.timestamp(),
            position: event.position(),
            data_type: event.data_type(),
            data: event.data().to_vec(),
        })
    }
}
