//! Data that no codec wrote.

use annals::cqrs::{Bincode, Cbor, Codec, CodecError};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Adjacent, Event, External, Internal, Step, external, round_trip};

proptest! {
    #[test]
    fn hostile_data_is_an_error(
        event_type in "(Placed|order.paid|Step|Closed|Emptied|Moved|Counted|Maybe|At)",
        data in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        attack(&event_type, &data);
    }

    #[test]
    fn damaged_data_is_an_error(
        event in external(),
        place: proptest::sample::Index,
        byte: u8,
        end: proptest::sample::Index,
    ) {
        for encoded in [Cbor.encode(&event).expect("CBOR"), Bincode.encode(&event).expect("bincode")] {
            let mut data = encoded.data;
            data.push(0);
            let (place, end) = (place.index(data.len()), end.index(data.len()));
            data[place] = byte;
            attack(&encoded.event_type, &data);
            attack(&encoded.event_type, &data[..end]);
        }
    }
}

/// Whatever the bytes are, nothing panics; what decodes can be encoded.
fn attack(event_type: &str, data: &[u8]) {
    if let Ok(event) = Cbor.decode::<External>(event_type, data) {
        Cbor.encode(&event).expect("CBOR");
    }
    drop(Cbor.decode::<Adjacent>(event_type, data));
    drop(Cbor.decode::<Internal>(event_type, data));
    if let Ok(value) = Cbor.to_value(data) {
        let data = Cbor.from_value(&value).expect("CBOR");
        assert_eq!(Cbor.to_value(&data), Ok(value));
    }
    if let Ok(event) = Bincode.decode::<External>(event_type, data) {
        Bincode.encode(&event).expect("bincode");
    }
    drop(Bincode.decode::<Adjacent>(event_type, data));
    drop(Bincode.decode::<Internal>(event_type, data));
}

/// The message of an error about data.
fn unreadable<E: Event>(codec: &impl Codec, event_type: &str, data: &[u8]) -> (String, String) {
    match codec.decode::<E>(event_type, data) {
        Err(CodecError::Unreadable { path, message }) => (path, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_path_leads_to_what_does_not_decode() {
    let lines = json!([{"article": {"$bytes": "00".repeat(16)}, "count": "many", "weight": 1.0, "parts": []}]);
    let data = Cbor
        .from_value(&json!({"lines": lines, "note": "", "by": {}}))
        .expect("CBOR");
    for (path, message) in [
        unreadable::<External>(&Cbor, "Placed", &data),
        unreadable::<Adjacent>(&Cbor, "Placed", &data),
    ] {
        assert_eq!(path, "lines[0].count");
        assert!(message.starts_with("invalid type: string"), "{message}");
    }
    let (_, message) = unreadable::<Internal>(&Cbor, "Placed", &data);
    assert!(message.contains("\"many\""), "{message}");
    let (path, message) = unreadable::<External>(&Bincode, "Moved", &[4, 2, b'a']);
    assert_eq!(
        (path.as_str(), message.as_str()),
        ("[1]", "the data ends 1 bytes too early")
    );
    let unknown = Bincode.decode::<External>("Shipped", b"");
    assert!(matches!(unknown, Err(CodecError::UnknownType { .. })), "{unknown:?}");
    for unknown in [
        Cbor.decode::<Internal>("Shipped", b"\xa0").map(drop),
        Cbor.decode::<Adjacent>("Shipped", b"\xa0").map(drop),
        Cbor.decode::<External>("Shipped", b"").map(drop),
    ] {
        match unknown {
            Err(CodecError::UnknownType { event_type, known }) => {
                assert_eq!(event_type, "Shipped");
                assert!(known.starts_with("Placed, order.paid"), "{known}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn trailing_bytes_are_an_error() {
    let step = External::Step(Step::Moved { by: 3 });
    let (event_type, mut data) = round_trip(&Cbor, &step);
    data.push(0xf6);
    let (_, message) = unreadable::<External>(&Cbor, &event_type, &data);
    assert!(message.contains("trailing bytes: 1"), "{message}");
    let (event_type, mut data) = round_trip(&Bincode, &step);
    data.push(0);
    let (_, message) = unreadable::<External>(&Bincode, &event_type, &data);
    assert!(message.contains("trailing bytes: 1"), "{message}");
    let (_, message) = unreadable::<External>(&Bincode, "Closed", &[0, 0]);
    assert!(message.contains("trailing bytes: 2"), "{message}");
    assert!(Cbor.to_value(&[0xf6, 0xf6]).is_err());
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Nested {
    Deep(Tree),
    Wide(Vec<()>),
    Texts(Vec<String>),
    Chain(Chain),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tree(Vec<Tree>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Chain(Option<Box<Chain>>);

#[test]
fn deep_data_does_not_overflow_the_stack() {
    for depth in [200, 10_000, 1_000_000] {
        let (_, message) = unreadable::<Nested>(&Cbor, "Deep", &vec![0x81; depth]);
        assert!(message.contains("deeper than 128"), "{message}");
        // A variant without fields ignores its data, at any depth.
        let (_, message) = unreadable::<External>(&Cbor, "Closed", &vec![0xc1; depth]);
        assert!(message.contains("deeper than 128"), "{message}");
        assert!(Cbor.to_value(&vec![0x9f; depth]).is_err());
        for event_type in ["Deep", "Chain"] {
            let (_, message) = unreadable::<Nested>(&Bincode, event_type, &vec![1; depth + 200]);
            assert!(message.contains("deeper than 256"), "{message}");
        }
    }
    let deep = (0..100).fold(Tree::default(), |tree, _| Tree(vec![tree]));
    round_trip(&Cbor, &Nested::Deep(deep.clone()));
    round_trip(&Bincode, &Nested::Deep(deep));
    let value = (0..1_000).fold(Value::Null, |value, _| json!([value]));
    assert!(Cbor.from_value(&value).is_err());
}

#[test]
fn a_length_that_is_not_there_is_not_allocated() {
    let long = |lead: u8| [vec![lead], vec![0xff; 8], vec![0; 20]].concat();
    // A list of texts, a text, and a list of nothing, each of 2^64 - 1.
    for data in [long(0x9b), [vec![0x81], long(0x7b)].concat(), long(0xbb)] {
        unreadable::<Nested>(&Cbor, "Texts", &data);
    }
    let nearly = [vec![1, 0xfc], (1_u32 << 29).to_le_bytes().to_vec(), vec![b'a'; 9]].concat();
    for data in [long(0xfd), [vec![1], long(0xfd)].concat(), nearly] {
        unreadable::<Nested>(&Bincode, "Texts", &data);
    }
    let (_, message) = unreadable::<Nested>(&Bincode, "Wide", &[vec![0xfd], vec![0xff; 8]].concat());
    assert!(message.contains("more elements than its size allows"), "{message}");
    round_trip(&Bincode, &Nested::Wide(vec![(); 60_000]));
}
