//! Events as they are handed in.

use uuid::Uuid;

use crate::{Name, Timestamp};

/// What the bytes of `data` or `metadata` are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`.
    #[default]
    Json,
    /// `application/octet-stream`.
    Bytes,
    /// Any other media type.
    Other(Name),
}

impl ContentType {
    /// The media type.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Json => "application/json",
            Self::Bytes => "application/octet-stream",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for ContentType {
    fn from(text: &str) -> Self {
        match text {
            "application/json" => Self::Json,
            "application/octet-stream" => Self::Bytes,
            other => Self::Other(other.into()),
        }
    }
}

/// What many events have in common, kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) aggregate_type: Name,
    pub(crate) event_type: Name,
    pub(crate) schema_version: u32,
    pub(crate) data_type: ContentType,
    pub(crate) metadata_type: ContentType,
}

/// An event to append. What is left out, the store fills in: an id, and the time.
///
/// ```
/// use annals::NewEvent;
///
/// let event = NewEvent::new("PaymentReceived")
///     .data(r#"{"amount": 250}"#)
///     .correlation("order-17")
///     .user("anna")
///     .tag("card");
/// assert_eq!(event.event_type, "PaymentReceived");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewEvent {
    /// The caller's id, if it brings one: a UUID that stands for this event alone. Appending it again is then recognised.
    pub id: Option<Uuid>,
    /// What happened.
    pub event_type: Name,
    /// The version of the payload's schema; 1 unless told otherwise.
    pub schema_version: u32,
    /// When it happened; when it is recorded unless told otherwise.
    pub timestamp: Option<Timestamp>,
    /// The conversation it belongs to.
    pub correlation_id: Option<Name>,
    /// The event or command that caused it.
    pub causation_id: Option<Name>,
    /// Who did it.
    pub user_id: Option<Name>,
    /// For which organization.
    pub organization_id: Option<Name>,
    /// Words to find it by.
    pub tags: Vec<Name>,
    /// What the bytes of `metadata` are.
    pub metadata_type: ContentType,
    /// Kept to the byte; empty for none.
    pub metadata: Vec<u8>,
    /// What the bytes of `data` are.
    pub data_type: ContentType,
    /// Kept to the byte; empty for none.
    pub data: Vec<u8>,
}

impl NewEvent {
    /// An event of type `event_type` and nothing else.
    pub fn new(event_type: impl Into<Name>) -> Self {
        Self {
            event_type: event_type.into(),
            schema_version: 1,
            ..Self::default()
        }
    }

    /// An event whose data is `value` as JSON.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid) when `value` cannot be written as JSON, such as a map whose keys are not texts.
    #[cfg(feature = "json")]
    pub fn json(event_type: impl Into<Name>, value: &impl serde::Serialize) -> Result<Self, crate::Error> {
        let data = serde_json::to_vec(value)
            .map_err(|error| crate::Error::invalid(format!("the data cannot be written as JSON: {error}")))?;
        Ok(Self::new(event_type).data(data))
    }

    /// With the caller's own id, which makes the append [idempotent](crate::Store::append).
    #[must_use]
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// With a schema version other than 1.
    #[must_use]
    pub fn schema_version(mut self, version: u32) -> Self {
        self.schema_version = version;
        self
    }

    /// Having happened at `timestamp`.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// As part of the conversation `id`.
    #[must_use]
    pub fn correlation(mut self, id: impl Into<Name>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Caused by the event or command `id`.
    #[must_use]
    pub fn causation(mut self, id: impl Into<Name>) -> Self {
        self.causation_id = Some(id.into());
        self
    }

    /// Done by `id`.
    #[must_use]
    pub fn user(mut self, id: impl Into<Name>) -> Self {
        self.user_id = Some(id.into());
        self
    }

    /// Done for `id`.
    #[must_use]
    pub fn organization(mut self, id: impl Into<Name>) -> Self {
        self.organization_id = Some(id.into());
        self
    }

    /// With one more tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<Name>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// With these bytes as metadata: a JSON object unless [`metadata_type`](Self::metadata_type) says otherwise.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Vec<u8>>) -> Self {
        self.metadata = metadata.into();
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
}
