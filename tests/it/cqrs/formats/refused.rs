//! Events and values that a format cannot represent.

use std::collections::BTreeMap;

use annals::cqrs::{Aggregate, Aggregates, Bincode, Cbor, Codec, CodecError, CommandError};
use annals::{Position, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Adjacent, Event, Internal, Step};

/// Keeps its last event.
struct Keeper<E>(Option<E>);

impl<E: Event> Aggregate for Keeper<E> {
    const TYPE: &'static str = "Keeper";
    type Event = E;
    type Command = E;
    type Rejection = String;

    fn initial() -> Self {
        Self(None)
    }

    fn decide(&self, event: &E) -> Result<Vec<E>, String> {
        Ok(vec![event.clone()])
    }

    fn evolve(&mut self, event: E) {
        self.0 = Some(event);
    }
}

/// Stores the event and loads it again.
fn keep<E: Event>(codec: impl Codec, event: &E) {
    let store = Store::in_memory();
    let content_type = codec.content_type();
    let keepers = Aggregates::<Keeper<E>, _>::with_codec(&store, codec);
    keepers.execute("k", event).expect("it can be stored");
    assert_eq!(keepers.load("k").expect("it can be read").state.0.as_ref(), Some(event));
    let stored = store.event_at(Position(1)).expect("one event");
    assert_eq!(stored.data_type(), content_type);
}

/// The message with which a store refuses the event.
fn refuse<E: Event>(codec: impl Codec, event: &E) -> String {
    let store = Store::in_memory();
    let refused = Aggregates::<Keeper<E>, _>::with_codec(&store, codec).execute("k", event);
    assert!(matches!(refused, Err(CommandError::Unwritable { .. })), "{refused:?}");
    assert_eq!(store.visible(), Position(0));
    refused.expect_err("it is refused").to_string()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u8),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    step: BTreeMap<String, u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Wrapping {
    Tagged(Internal),
    Beside(Adjacent),
    Value(Value),
    Either(Either),
    Flat(Flat),
    Skipped {
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<()>,
        bytes: Vec<u8>,
    },
    Maybe(Option<Step>),
}

#[test]
fn bincode_refuses_what_it_never_decodes() {
    for message in [
        refuse(Bincode, &Internal::Closed),
        refuse(Bincode, &Internal::Emptied {}),
        refuse(Bincode, &Internal::Step(Step::Moved { by: 1 })),
        refuse(Bincode, &Adjacent::Closed),
        refuse(Bincode, &Adjacent::Moved(1, String::new())),
    ] {
        assert!(message.contains("its enum has a tag"), "{message}");
    }
    let flat = Flat {
        id: 1,
        step: BTreeMap::new(),
    };
    for event in [
        Wrapping::Tagged(Internal::Closed),
        Wrapping::Beside(Adjacent::Moved(1, "a".to_owned())),
        Wrapping::Value(json!(1)),
        Wrapping::Value(Value::Null),
        Wrapping::Either(Either::Number(7)),
        Wrapping::Either(Either::Text("a".to_owned())),
        Wrapping::Flat(flat),
    ] {
        refuse(Bincode, &event);
        keep(Cbor, &event);
    }
    // Read back, the byte of the length would be the note.
    let skipped = Wrapping::Skipped {
        note: None,
        bytes: vec![0],
    };
    let message = refuse(Bincode, &skipped);
    assert!(message.contains("'note' is skipped"), "{message}");
    keep(Cbor, &skipped);
    keep(Bincode, &Wrapping::Maybe(Some(Step::Pair(1, 2))));
}

#[test]
fn bincode_has_no_values() {
    let message = Bincode.to_value(&[1]).expect_err("no value").to_string();
    assert!(message.contains("does not describe itself"), "{message}");
    let message = Bincode.from_value(&json!({})).expect_err("no data").to_string();
    assert!(message.contains("cannot be upcast"), "{message}");
}

#[test]
fn a_value_that_json_has_no_form_for_was_changed_on_the_way() {
    // Not a number, infinity, an integer of 65 bits, one of 128, a tag.
    let large = [vec![0xc2, 0x50], vec![0xff; 16]].concat();
    let negative = [vec![0x3b], vec![0xff; 8]].concat();
    for data in [
        &[0xf9, 0x7e, 0x00][..],
        &[0xf9, 0x7c, 0x00],
        &negative,
        &large,
        &[0xc1, 0x00],
    ] {
        let error = Cbor.to_value(data).expect_err("no form");
        assert!(matches!(error, CodecError::Unreadable { .. }), "{error:?}");
    }
    for (value, bytes) in [
        (json!({"$bytes": "0aff"}), &[0x42, 0x0a, 0xff][..]),
        (json!({"$map": [[1, 2]]}), &[0xa1, 1, 2]),
        (
            json!({"$map": [["a", 1], ["a", 2]]}),
            &[0xa2, 0x61, b'a', 1, 0x61, b'a', 2],
        ),
        (json!({"$map": [["$map", 1]]}), b"\xa1\x64$map\x01"),
    ] {
        assert_eq!(Cbor.from_value(&value).as_deref(), Ok(bytes), "{value}");
        assert_eq!(Cbor.to_value(bytes), Ok(value));
    }
    for invalid in [
        json!({"$bytes": "0"}),
        json!({"$bytes": "0g"}),
        json!({"$bytes": 1}),
        json!({"$map": 1}),
        json!([{"$map": [[1]]}]),
    ] {
        let error = Cbor.from_value(&invalid).expect_err("it is invalid");
        assert!(matches!(error, CodecError::Unwritable { .. }), "{error:?}");
    }
    assert_eq!(Cbor.to_value(b""), Ok(Value::Null));
    assert_eq!(Cbor.from_value(&Value::Null), Ok(Vec::new()));
}
