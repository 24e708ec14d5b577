//! Events that another process has stored.

use std::sync::Arc;

use super::names::{Names, PART_BYTES_MAX, write_tags};
use super::{ABSENT, Event, NewEvent, PARTS, SchemaRef};
use crate::{Error, Position, StreamId, Timestamp, Version};

impl Event {
    /// Makes an event that a store in another process has stored, for clients of that store: at a version and a position, recorded at a time.
    /// An event without a time of its own happened when it was recorded.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) if no store can have such an event: it has no id, its version does not fit into 32 bits, or a name, its tags or its
    /// metadata are too long.
    pub fn received(
        stream: &StreamId,
        version: Version,
        position: Position,
        recorded_at: Timestamp,
        event: &NewEvent<'_>,
    ) -> Result<Self, Error> {
        let id = event.id.ok_or_else(|| Error::invalid("a stored event has an id"))?;
        let tags = joined(event)?;
        let names = Names {
            aggregate_id: &stream.aggregate_id,
            correlation_id: event.correlation_id.as_deref(),
            causation_id: event.causation_id.as_deref(),
            user_id: event.user_id.as_deref(),
            organization_id: event.organization_id.as_deref(),
            tags: tags.as_deref(),
        };
        let (name_bytes, bytes) = packed(&names, event)?;
        Ok(Self {
            position: position.0,
            time: event.timestamp.unwrap_or(recorded_at).as_micros(),
            recorded: recorded_at.as_micros(),
            id,
            version: fits(version.0, "the version of an event")?,
            name_bytes,
            metadata_bytes: fits(event.metadata.len(), "the length of metadata")?,
            kind: Arc::new(SchemaRef::of(stream, event).to_schema()),
            bytes,
        })
    }
}

fn joined(event: &NewEvent<'_>) -> Result<Option<String>, Error> {
    if event.tags.iter().any(|tag| tag.len() > PART_BYTES_MAX) {
        return Err(Error::invalid(format!("a tag has more than {PART_BYTES_MAX} bytes")));
    }
    let tags = || write_tags(event.tags.iter().map(AsRef::as_ref));
    Ok((!event.tags.is_empty()).then(tags))
}

/// The length of each name; and names, metadata and data in one allocation.
fn packed(names: &Names<'_>, event: &NewEvent<'_>) -> Result<([u32; PARTS], Box<[u8]>), Error> {
    let mut name_bytes = [ABSENT; PARTS];
    let mut bytes = Vec::new();
    for (length, name) in name_bytes.iter_mut().zip(names.parts()) {
        let Some(name) = name else { continue };
        if name.len() > PART_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a name, or tags together, have more than {PART_BYTES_MAX} bytes"
            )));
        }
        *length = fits(name.len(), "the length of a name")?;
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes.extend_from_slice(&event.metadata);
    bytes.extend_from_slice(&event.data);
    Ok((name_bytes, bytes.into_boxed_slice()))
}

fn fits(number: impl TryInto<u32>, what: &str) -> Result<u32, Error> {
    number
        .try_into()
        .map_err(|_| Error::invalid(format!("{what} does not fit into 32 bits")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expected, Store};

    #[test]
    fn a_received_event_equals_the_stored_one() {
        let store = Store::in_memory();
        let stream = StreamId::new("Order", "order-1");
        let full = NewEvent::new("OrderPlaced")
            .schema_version(3)
            .timestamp(Timestamp::from_micros(7))
            .correlation("c")
            .causation("d")
            .user("anna")
            .organization("o")
            .tag("a")
            .tag("b")
            .metadata(r#"{"ip":"::1"}"#)
            .data([0_u8, 255].to_vec())
            .content_type("text/csv".into());
        store
            .append(&stream, Expected::Any, vec![full, NewEvent::new("OrderPaid")])
            .unwrap();
        for event in store.read_all().events() {
            let received = Event::received(
                &stream,
                event.version(),
                event.position(),
                event.recorded_at(),
                &event.to_new(),
            );
            assert_eq!(received.unwrap(), event);
        }
    }

    #[test]
    fn an_event_that_no_store_has_is_refused() {
        let (stream, now) = (StreamId::new("A", "a"), Timestamp::from_micros(0));
        let refused = |version, event: NewEvent<'_>| {
            let received = Event::received(&stream, Version(version), Position(1), now, &event);
            matches!(received, Err(Error::Invalid { .. }))
        };
        let event = || NewEvent::new("X").id(uuid::Uuid::nil());
        let long = "x".repeat(PART_BYTES_MAX + 1);
        assert!(refused(1, NewEvent::new("X")));
        assert!(refused(u64::from(u32::MAX) + 1, event()));
        assert!(refused(1, event().user(&long)));
        assert!(refused(1, event().tag(&long)));
        assert!(refused(1, event().tag(&long[2..]).tag("y")));
        assert!(!refused(1, event()));
    }
}
