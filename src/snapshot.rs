//! Snapshots: what aggregates had become, kept so that not every event need be read again.

use crate::event::system::{self, SNAPSHOTTED};
use crate::{ContentType, Event, Name, NewEvent, Position, Timestamp, Version};

/// A snapshot to keep: what an aggregate had become with the event of a version.
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
    /// The version of the last event that is in it.
    pub version: Version,
    /// The version of its schema; 1 unless told otherwise. Whoever reads a snapshot of another schema than his own reads the events instead.
    pub schema_version: u32,
    /// How many snapshots of the aggregate are retained, this one included: 1 unless told otherwise, at most 64. Earlier ones serve reads of the past.
    pub keep: u32,
    /// What the bytes of `data` are.
    pub data_type: ContentType,
    /// Kept to the byte.
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

    /// The system's event that it is kept as.
    pub(crate) fn into_event(self) -> NewEvent<'static> {
        NewEvent::new(SNAPSHOTTED)
            .schema_version(self.schema_version)
            .metadata(system::snapshot_json(self.version, self.keep))
            .content_type(self.data_type)
            .data(self.data)
    }
}

/// A snapshot that the store has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its aggregate.
    pub aggregate_id: Name,
    /// The version of the last event that is in it.
    pub version: Version,
    /// Events after it that are gone: a limit or a truncation has dropped them, and no snapshot was taken of them. Where it is not 0, neither
    /// the snapshot nor the events that are left tell what the aggregate has become.
    pub missing: u64,
    /// The version of its schema.
    pub schema_version: u32,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Its place in the log.
    pub position: Position,
    /// What the bytes of `data` are.
    pub data_type: ContentType,
    /// The bytes that were handed in.
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
