//! Ids for events without an id: the same each time the same file is read, so that no event is stored twice.

use std::collections::HashMap;

use annals::{NewEvent, StreamId};
use uuid::Uuid;

/// The namespace of these ids. It must never change: ids in existing stores depend on it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f6c_1e0a_53c2_4b7d_9a0e_2d6b_84f1_37c5);

/// Derives the ids of the events of one file from their contents, and from the number of equal events before them.
///
/// UUIDs of version 5 (RFC 9562): SHA-1 over the fields, each preceded by its length.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The number of occurrences of each content.
    seen: HashMap<Uuid, u64>,
    bytes: Vec<u8>,
}

impl Identity {
    /// The id of the next event of the file: its own if it has one.
    pub(crate) fn next(&mut self, stream: &StreamId, event: &NewEvent<'_>) -> Uuid {
        if let Some(id) = event.id {
            return id;
        }
        self.write(stream, event);
        let content = Uuid::new_v5(&NAMESPACE, &self.bytes);
        let count = self.seen.entry(content).or_default();
        let before = std::mem::replace(count, *count + 1);
        if before == 0 {
            return content;
        }
        Uuid::new_v5(&content, &before.to_be_bytes())
    }

    /// Writes all fields of the event, so that two different events never give the same bytes.
    fn write(&mut self, stream: &StreamId, event: &NewEvent<'_>) {
        self.bytes.clear();
        self.bytes.extend(event.schema_version.to_be_bytes());
        self.number(event.timestamp.map(|time| time.as_micros()));
        for text in [&*stream.aggregate_type, &*stream.aggregate_id, &*event.event_type] {
            self.part(text.as_bytes());
        }
        for name in [
            &event.correlation_id,
            &event.causation_id,
            &event.user_id,
            &event.organization_id,
        ] {
            self.bytes.push(u8::from(name.is_some()));
            self.part(name.as_deref().unwrap_or_default().as_bytes());
        }
        self.bytes.extend((event.tags.len() as u64).to_be_bytes());
        for tag in &event.tags {
            self.part(tag.as_bytes());
        }
        for (kind, payload) in [(&event.metadata_type, &event.metadata), (&event.data_type, &event.data)] {
            self.part(kind.as_str().as_bytes());
            self.part(payload);
        }
    }

    fn number(&mut self, number: Option<i64>) {
        self.bytes.push(u8::from(number.is_some()));
        self.bytes.extend(number.unwrap_or_default().to_be_bytes());
    }

    fn part(&mut self, part: &[u8]) {
        self.bytes.extend((part.len() as u64).to_be_bytes());
        self.bytes.extend(part);
    }
}

#[cfg(test)]
mod tests {
    use annals::Timestamp;

    use super::*;

    fn event() -> NewEvent<'static> {
        NewEvent::new("T").timestamp(Timestamp::from_micros(1)).data("{}")
    }

    /// If these ids changed between versions of the program, an import would store every log again.
    #[test]
    fn ids_are_frozen() {
        let stream = StreamId::new("A", "a");
        let whole = event()
            .correlation("c")
            .causation("d")
            .user("u")
            .organization("o")
            .tag("x")
            .metadata(r#"{"y":1}"#);
        let mut identity = Identity::default();
        let ids = [event(), event(), whole].map(|event| identity.next(&stream, &event).to_string());
        let frozen = [
            "d39c228e-9474-5491-87f1-1b6cf041268d",
            "03153a4c-b74e-52df-8336-f896002d66c8",
            "533e3763-73d9-5897-9747-9162390dba25",
        ];
        assert_eq!(ids, frozen);
    }

    #[test]
    fn everything_an_event_says_is_in_its_id() {
        let stream = StreamId::new("A", "a");
        let mut identity = Identity::default();
        let other = |change: fn(&mut NewEvent<'_>)| {
            let mut event = event();
            change(&mut event);
            event
        };
        let mut ids = vec![
            identity.next(&stream, &event()),
            identity.next(&StreamId::new("B", "a"), &event()),
            identity.next(&StreamId::new("A", "b"), &event()),
            identity.next(&StreamId::new("Aa", ""), &event()),
        ];
        for event in [
            other(|event| event.event_type = "U".into()),
            other(|event| event.schema_version = 2),
            other(|event| event.timestamp = None),
            other(|event| event.timestamp = Some(Timestamp::from_micros(2))),
            other(|event| event.correlation_id = Some("x".into())),
            other(|event| event.causation_id = Some("x".into())),
            other(|event| event.user_id = Some("x".into())),
            other(|event| event.user_id = Some("".into())),
            other(|event| event.organization_id = Some("x".into())),
            other(|event| event.tags = vec!["x".into()]),
            other(|event| event.tags = vec!["x".into(), "y".into()]),
            other(|event| event.tags = vec!["xy".into()]),
            other(|event| event.metadata = b"{}".into()),
            other(|event| event.data = Vec::new().into()),
        ] {
            ids.push(identity.next(&stream, &event));
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn the_same_said_again_is_another_event() {
        let stream = StreamId::new("A", "a");
        let names = || {
            let mut identity = Identity::default();
            [(); 3].map(|()| identity.next(&stream, &event()))
        };
        let ids = names();
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        assert_eq!(names(), ids);
        let own = event().id(Uuid::from_u128(7));
        assert_eq!(Identity::default().next(&stream, &own), Uuid::from_u128(7));
    }
}
