//! The client in Rust returns events byte by byte as the store behind the server has them.

use std::collections::HashSet;

use annals::{Event, Expected, NewEvent, Position, Store, StreamId, Timestamp, Version};
use proptest::prelude::*;

use crate::remote::{client_of, events};
use crate::support::Running;

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/?#%&=+ .\"\\\\üλ🙂]{1,12}".prop_filter("names do not begin with a space", |text| text.trim() == text)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        Just(b"{\"a\":[1,2.50,1e400]}".to_vec()),
        Just(b"null".to_vec()),
        Just(b" 1".to_vec()),
        text().prop_map(|text| serde_json::to_vec(&text).unwrap()),
    ]
}

prop_compose! {
    fn new_event()(
        names in (text(), text(), text(), text(), text()),
        has in any::<[bool; 6]>(),
        data in bytes(),
        metadata in bytes(),
        tags in proptest::collection::hash_set(text(), 0..3),
        time in 0_i64..4_000_000_000_000_000,
        schema in 1_u32..,
    ) -> NewEvent<'static> {
        let mut event = NewEvent::new(names.0).schema_version(schema).data(data).metadata(metadata);
        event.correlation_id = has[0].then_some(names.1.into());
        event.causation_id = has[1].then_some(names.2.into());
        event.user_id = has[2].then_some(names.3.into());
        event.organization_id = has[3].then_some(names.4.into());
        event.timestamp = has[4].then_some(Timestamp::from_micros(time));
        event.data_type = if has[5] { "a/b".into() } else { event.data_type };
        event.tags = tags.into_iter().collect::<HashSet<String>>().into_iter().map(Into::into).collect();
        event
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_appended_is_stored_and_read_byte_by_byte(list in proptest::collection::vec(new_event(), 1..5), id in text()) {
        let store = Store::in_memory();
        let server = Running::of(store.clone());
        let client = client_of(&server);
        let stream = StreamId::new("Thing", &*id);
        client.append(&stream, Expected::NoStream, &list).unwrap();
        let stored = store.read_all().events();
        for (event, new) in stored.iter().zip(&list) {
            let mut found = event.to_new();
            found.id = None;
            found.timestamp = new.timestamp.and(found.timestamp);
            prop_assert_eq!(&found, new);
        }
        let read = events(client.read_stream(&id, Version(0)));
        let by_position: Vec<Event> = (1..=stored.len() as u64)
            .map(|position| client.event_at(Position(position)).unwrap().unwrap())
            .collect();
        prop_assert_eq!(&by_position, &read);
        for (read, stored) in read.iter().zip(&stored) {
            // JSON is returned without spaces around it.
            let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(stored.data()).is_ok();
            let stored_data = if is_json { stored.data().trim_ascii() } else { stored.data() };
            prop_assert_eq!(read.data(), stored_data);
            prop_assert_eq!(read.stream_id(), stored.stream_id());
            prop_assert_eq!((read.id(), read.recorded_at()), (stored.id(), stored.recorded_at()));
        }
    }
}
