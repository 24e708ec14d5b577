//! New events, before they are appended.

use std::borrow::Cow;

use uuid::Uuid;

use crate::{Name, Timestamp};

/// The content type of `data` or `metadata`, made from a text by `ContentType::from`.
///
/// ```
/// use annals::ContentType;
///
/// assert_eq!(ContentType::from("application/json"), ContentType::Json);
/// assert_eq!(ContentType::from("text/csv").as_str(), "text/csv");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContentType {
    /// `application/json`.
    #[default]
    Json,
    /// `application/octet-stream`.
    Bytes,
    /// Any other media type.
    Other(MediaType),
}

/// A media type that is no other variant of [`ContentType`], so two equal types compare equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MediaType(Name);

impl std::ops::Deref for MediaType {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl ContentType {
    /// Returns the media type.
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
            other => Self::Other(MediaType(other.into())),
        }
    }
}

/// A text that an event borrows or owns. [`NewEvent`] accepts it as a name.
pub trait IntoText<'a> {
    /// Returns the text, borrowed if possible.
    fn into_text(self) -> Cow<'a, str>;
}

/// Bytes that an event borrows or owns. [`NewEvent`] accepts them as data and metadata.
pub trait IntoBytes<'a> {
    /// Returns the bytes, borrowed if possible.
    fn into_bytes(self) -> Cow<'a, [u8]>;
}

macro_rules! into_text {
    ($($type:ty => |$value:ident| $text:expr),* $(,)?) => { $(
        impl<'a> IntoText<'a> for $type {
            fn into_text(self) -> Cow<'a, str> {
                let $value = self;
                $text
            }
        }
    )* };
}

into_text! {
    &'a str => |text| Cow::Borrowed(text),
    &'a String => |text| Cow::Borrowed(text),
    &'a Name => |name| Cow::Borrowed(name.as_str()),
    &'a Cow<'_, str> => |text| Cow::Borrowed(&**text),
    String => |text| Cow::Owned(text),
    Name => |name| name.into(),
    Uuid => |id| Cow::Owned(id.hyphenated().to_string()),
    Cow<'a, str> => |text| text,
}

macro_rules! into_bytes {
    ($([$($generics:tt)*] $type:ty => |$value:ident| $bytes:expr),* $(,)?) => { $(
        impl<'a, $($generics)*> IntoBytes<'a> for $type {
            fn into_bytes(self) -> Cow<'a, [u8]> {
                let $value = self;
                $bytes
            }
        }
    )* };
}

into_bytes! {
    [] &'a str => |text| Cow::Borrowed(text.as_bytes()),
    [] &'a String => |text| Cow::Borrowed(text.as_bytes()),
    [] String => |text| Cow::Owned(text.into()),
    [] Cow<'a, str> => |text| match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into()),
    },
    [] &'a [u8] => |bytes| Cow::Borrowed(bytes),
    [] &'a Vec<u8> => |bytes| Cow::Borrowed(bytes),
    [] Vec<u8> => |bytes| Cow::Owned(bytes),
    [] Box<[u8]> => |bytes| Cow::Owned(bytes.into()),
    [] Cow<'a, [u8]> => |bytes| bytes,
    [const N: usize] &'a [u8; N] => |bytes| Cow::Borrowed(bytes),
    [const N: usize] [u8; N] => |bytes| Cow::Owned(bytes.into()),
}

/// An event to append. The store adds an id and a time if the event has none.
///
/// An event can borrow its texts and bytes, which are copied once, into the store. [`into_owned`](Self::into_owned) makes it independent of
/// the borrowed values.
///
/// ```
/// use annals::NewEvent;
///
/// let order = String::from("order-17");
/// let event = NewEvent::new("PaymentReceived")
///     .data(r#"{"amount": 250}"#)
///     .correlation(&order)
///     .user("anna")
///     .tag("card");
/// assert_eq!(event.event_type, "PaymentReceived");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NewEvent<'a> {
    /// The caller's unique id of the event, if any. It makes the append [idempotent](crate::Store::append).
    pub id: Option<Uuid>,
    /// The type of the event.
    pub event_type: Cow<'a, str>,
    /// The version of the payload's schema; 1 by default.
    pub schema_version: u32,
    /// When the event happened; by default, when it is recorded.
    pub timestamp: Option<Timestamp>,
    /// The correlation id: the conversation of the event.
    pub correlation_id: Option<Cow<'a, str>>,
    /// The causation id: the event or command that caused the event.
    pub causation_id: Option<Cow<'a, str>>,
    /// The id of the user who caused the event.
    pub user_id: Option<Cow<'a, str>>,
    /// The id of the organization of the event.
    pub organization_id: Option<Cow<'a, str>>,
    /// The tags of the event.
    pub tags: Vec<Cow<'a, str>>,
    /// The content type of `metadata`.
    pub metadata_type: ContentType,
    /// The metadata, stored byte for byte; empty for none.
    pub metadata: Cow<'a, [u8]>,
    /// The content type of `data`.
    pub data_type: ContentType,
    /// The data, stored byte for byte; empty for none.
    pub data: Cow<'a, [u8]>,
}

impl NewEvent<'_> {
    /// Returns the same event with the texts and bytes of this one, for an [`Append`](crate::Append) of events that are kept.
    ///
    /// ```
    /// use annals::{Append, Expected, NewEvent, Store, StreamId};
    ///
    /// let event = NewEvent::new("OrderPlaced").data(r#"{"total":7}"#.to_owned());
    /// let orders = [StreamId::new("Order", "order-1"), StreamId::new("Order", "order-2")];
    /// let copies = orders.iter().map(|order| Append::new(order, Expected::NoStream, event.borrowed()));
    /// Store::in_memory().append_all(&copies.collect::<Vec<_>>())?;
    /// # Ok::<(), annals::Error>(())
    /// ```
    pub fn borrowed(&self) -> NewEvent<'_> {
        NewEvent {
            id: self.id,
            event_type: Cow::Borrowed(&self.event_type),
            schema_version: self.schema_version,
            timestamp: self.timestamp,
            correlation_id: self.correlation_id.as_deref().map(Cow::Borrowed),
            causation_id: self.causation_id.as_deref().map(Cow::Borrowed),
            user_id: self.user_id.as_deref().map(Cow::Borrowed),
            organization_id: self.organization_id.as_deref().map(Cow::Borrowed),
            tags: self.tags.iter().map(|tag| Cow::Borrowed(&**tag)).collect(),
            metadata_type: self.metadata_type.clone(),
            metadata: Cow::Borrowed(&self.metadata),
            data_type: self.data_type.clone(),
            data: Cow::Borrowed(&self.data),
        }
    }

    /// Returns the same event with owned texts and bytes.
    pub fn into_owned(self) -> NewEvent<'static> {
        let owned = |name: Option<Cow<'_, str>>| name.map(|name| Cow::Owned(name.into_owned()));
        NewEvent {
            id: self.id,
            event_type: Cow::Owned(self.event_type.into_owned()),
            schema_version: self.schema_version,
            timestamp: self.timestamp,
            correlation_id: owned(self.correlation_id),
            causation_id: owned(self.causation_id),
            user_id: owned(self.user_id),
            organization_id: owned(self.organization_id),
            tags: self.tags.into_iter().map(|tag| Cow::Owned(tag.into_owned())).collect(),
            metadata_type: self.metadata_type,
            metadata: Cow::Owned(self.metadata.into_owned()),
            data_type: self.data_type,
            data: Cow::Owned(self.data.into_owned()),
        }
    }
}

// Each method moves the unchanged fields rather than the whole event: the compiler then omits most of the copies.
impl<'a> NewEvent<'a> {
    /// Creates an event of type `event_type` without other fields.
    pub fn new(event_type: impl IntoText<'a>) -> Self {
        Self {
            event_type: event_type.into_text(),
            schema_version: 1,
            ..Self::default()
        }
    }

    /// Creates an event whose data is `value` as JSON.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid) if `value` cannot be serialized as JSON, such as a map whose keys are not texts.
    #[cfg(feature = "json")]
    pub fn json(event_type: impl IntoText<'a>, value: &impl serde::Serialize) -> Result<Self, crate::Error> {
        let event_type = event_type.into_text();
        match serde_json::to_vec(value) {
            Ok(data) => Ok(Self::new(event_type).data(data)),
            Err(error) => Err(crate::Error::invalid(format!(
                "the data of {event_type} cannot be written as JSON: {error}"
            ))),
        }
    }

    /// Sets the caller's id, which makes the append [idempotent](crate::Store::append).
    #[must_use]
    #[inline]
    pub fn id(self, id: Uuid) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Sets the schema version.
    #[must_use]
    #[inline]
    pub fn schema_version(self, version: u32) -> Self {
        Self {
            schema_version: version,
            ..self
        }
    }

    /// Sets the time at which the event happened.
    #[must_use]
    #[inline]
    pub fn timestamp(self, timestamp: Timestamp) -> Self {
        Self {
            timestamp: Some(timestamp),
            ..self
        }
    }

    /// Sets the correlation id.
    #[must_use]
    #[inline]
    pub fn correlation(self, id: impl IntoText<'a>) -> Self {
        Self {
            correlation_id: Some(id.into_text()),
            ..self
        }
    }

    /// Sets the causation id.
    #[must_use]
    #[inline]
    pub fn causation(self, id: impl IntoText<'a>) -> Self {
        Self {
            causation_id: Some(id.into_text()),
            ..self
        }
    }

    /// Sets the user id.
    #[must_use]
    #[inline]
    pub fn user(self, id: impl IntoText<'a>) -> Self {
        Self {
            user_id: Some(id.into_text()),
            ..self
        }
    }

    /// Sets the organization id.
    #[must_use]
    #[inline]
    pub fn organization(self, id: impl IntoText<'a>) -> Self {
        Self {
            organization_id: Some(id.into_text()),
            ..self
        }
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl IntoText<'a>) -> Self {
        self.tags.push(tag.into_text());
        self
    }

    /// Sets the metadata: a JSON object, unless [`metadata_type`](Self::metadata_type) is another type.
    #[must_use]
    #[inline]
    pub fn metadata(self, metadata: impl IntoBytes<'a>) -> Self {
        Self {
            metadata: metadata.into_bytes(),
            ..self
        }
    }

    /// Sets the data: JSON, unless [`content_type`](Self::content_type) sets another type.
    #[must_use]
    #[inline]
    pub fn data(self, data: impl IntoBytes<'a>) -> Self {
        Self {
            data: data.into_bytes(),
            ..self
        }
    }

    /// Sets the content type of the data.
    #[must_use]
    #[inline]
    pub fn content_type(self, data_type: ContentType) -> Self {
        Self { data_type, ..self }
    }
}

/// An event is a slice of one event, so that it can be appended directly.
impl<'a> AsRef<[NewEvent<'a>]> for NewEvent<'a> {
    fn as_ref(&self) -> &[NewEvent<'a>] {
        std::slice::from_ref(self)
    }
}
