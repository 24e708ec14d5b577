//! What every codec writes and reads back.

use std::collections::BTreeMap;
use std::fmt::Debug;

use annals::cqrs::{Codec, CodecError, Json};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    article: String,
    count: Option<i64>,
}

/// The same variants in the three representations that serde has.
macro_rules! events {
    ($name:ident $(, #[$attribute:meta])? { $($more:tt)* }) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])?
        enum $name {
            Placed { lines: Vec<Line>, note: String },
            #[serde(rename = "order.paid")]
            Paid(Line),
            Closed,
            $($more)*
        }
    };
}

events!(External { Moved(i32, String), Weighed(f64), Counted(BTreeMap<i64, u128>), });
events!(Adjacent, #[serde(tag = "kind", content = "body")] { Moved(i32, String), Weighed(f64), Counted(BTreeMap<i64, u128>), });
events!(
    Internal,
    #[serde(tag = "type")]
    {}
);

fn round_trip<E: Serialize + DeserializeOwned + PartialEq + Debug>(event: &E) -> (String, String) {
    let encoded = Json.encode(event).expect("it is an event");
    let decoded: E = Json.decode(&encoded.event_type, &encoded.data).expect("it decodes");
    assert_eq!(decoded, *event);
    let data = String::from_utf8(encoded.data).expect("JSON is text");
    (encoded.event_type.into_owned(), data)
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let line = (".{0,8}", any::<Option<i64>>()).prop_map(|(article, count)| Line { article, count });
    proptest::collection::vec(line, 0..4)
}

proptest! {
    #[test]
    fn every_representation_is_stored_alike(lines in lines(), note in ".{0,8}") {
        let line = Line { article: note.clone(), count: None };
        let placed = [
            round_trip(&External::Placed { lines: lines.clone(), note: note.clone() }),
            round_trip(&Adjacent::Placed { lines: lines.clone(), note: note.clone() }),
            round_trip(&Internal::Placed { lines: lines.clone(), note: note.clone() }),
        ];
        let data = serde_json::to_string(&serde_json::json!({ "lines": lines, "note": note })).expect("JSON");
        prop_assert!(placed.iter().all(|stored| *stored == ("Placed".to_owned(), data.clone())), "{placed:?}");
        let paid = [
            round_trip(&External::Paid(line.clone())),
            round_trip(&Adjacent::Paid(line.clone())),
            round_trip(&Internal::Paid(line)),
        ];
        prop_assert!(paid.iter().all(|stored| stored.0 == "order.paid" && *stored == paid[0]), "{paid:?}");
    }

    #[test]
    fn tuples_and_maps_with_keys_that_are_numbers_come_back(number: i32, text in ".{0,8}", counts: BTreeMap<i64, u128>) {
        prop_assert_eq!(round_trip(&External::Moved(number, text.clone())), round_trip(&Adjacent::Moved(number, text)));
        prop_assert_eq!(round_trip(&External::Counted(counts.clone())), round_trip(&Adjacent::Counted(counts)));
        prop_assert_eq!(round_trip(&External::Weighed(f64::from(number))), round_trip(&Adjacent::Weighed(f64::from(number))));
    }

    #[test]
    fn hostile_data_is_an_error(event_type in "(Placed|order.paid|Closed|Moved|Counted)", data in proptest::collection::vec(any::<u8>(), 0..40)) {
        // Whatever the bytes are, nothing panics; what decodes can be encoded.
        if let Ok(event) = Json.decode::<External>(&event_type, &data) {
            round_trip(&event);
        }
        drop(Json.decode::<Adjacent>(&event_type, &data));
        drop(Json.decode::<Internal>(&event_type, &data));
    }
}

#[test]
fn a_variant_without_fields_has_no_data() {
    let closed = ("Closed".to_owned(), String::new());
    assert_eq!(round_trip(&External::Closed), closed);
    assert_eq!(round_trip(&Adjacent::Closed), closed);
    let (event_type, data) = round_trip(&Internal::Closed);
    assert_eq!((event_type.as_str(), data.as_str()), ("Closed", "{}"));
    // Either form is read: another program may have written it.
    for data in [&b""[..], b"{}"] {
        assert_eq!(Json.decode::<Internal>("Closed", data), Ok(Internal::Closed));
    }
    for data in [&b""[..], b"null"] {
        assert_eq!(Json.decode::<External>("Closed", data), Ok(External::Closed));
        assert_eq!(Json.decode::<Adjacent>("Closed", data), Ok(Adjacent::Closed));
    }
}

#[derive(Debug, PartialEq, Deserialize)]
enum Color {
    Red,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Painted {
    Painted { color: Color },
}

#[test]
fn an_unknown_type_is_told_from_data_that_does_not_decode() {
    fn unknown<E: DeserializeOwned + Debug + PartialEq>() {
        match Json.decode::<E>("Shipped", b"{}") {
            Err(CodecError::UnknownType { event_type, known }) => {
                assert_eq!(event_type, "Shipped");
                assert!(known.starts_with("Placed, order.paid, Closed"), "{known}");
            }
            other => panic!("{other:?}"),
        }
        let data = br#"{"lines":[{"article":"a","count":1},{"article":"b","count":"many"}],"note":""}"#;
        let error = Json.decode::<E>("Placed", data).expect_err("a count is a number");
        assert!(matches!(error, CodecError::Unreadable { .. }), "{error:?}");
        assert!(error.to_string().contains("invalid type: string \"many\""), "{error}");
    }
    unknown::<External>();
    unknown::<Adjacent>();
    unknown::<Internal>();
    // A variant of an enum inside the data is no event type.
    let error = Json
        .decode::<Painted>("Painted", br#"{"color":"Blue"}"#)
        .expect_err("no such color");
    assert!(
        matches!(&error, CodecError::Unreadable { path, .. } if path == "color"),
        "{error:?}"
    );
    assert!(Json.decode::<Painted>("Painted", br#"{"color":"Red"}"#).is_ok());
}

#[test]
fn the_path_leads_to_what_does_not_decode() {
    let data = br#"{"lines":[{"article":"a","count":1},{"article":"b","count":"many"}],"note":""}"#;
    for error in [
        Json.decode::<External>("Placed", data)
            .expect_err("a count is a number"),
        Json.decode::<Adjacent>("Placed", data)
            .expect_err("a count is a number"),
    ] {
        assert!(
            matches!(&error, CodecError::Unreadable { path, .. } if path == "lines[1].count"),
            "{error:?}"
        );
    }
    let trailing = Json.decode::<External>("Closed", b"null null").expect_err("two values");
    assert!(trailing.to_string().contains("trailing characters"), "{trailing}");
}

#[test]
fn what_is_no_variant_is_refused() {
    let line = Line {
        article: "a".to_owned(),
        count: None,
    };
    let refused = [
        Json.encode(&7),
        Json.encode(&"Placed"),
        Json.encode(&["Placed"]),
        Json.encode(&("Placed", 1)),
        Json.encode(&Some(line.clone())),
        Json.encode(&line),
        Json.encode(&BTreeMap::from([("type", "Placed")])),
        Json.encode(&()),
    ];
    for result in refused {
        assert!(matches!(result, Err(CodecError::Unwritable { .. })), "{result:?}");
    }
}

#[test]
fn bytes_that_are_no_text_made_an_event_undecodable_in_a_field_that_is_skipped() {
    let line = Line {
        article: "a".to_owned(),
        count: Some(1),
    };
    for skipped in [&b"\xff"[..], b"\xc3(", b"a\xed\xa0\x80"] {
        let data = [br#"{"old":""#, skipped, br#"","article":"a","count":1}"#].concat();
        assert_eq!(Json.decode("order.paid", &data), Ok(External::Paid(line.clone())));
        let data = [br#"{"article":""#, skipped, br#"","count":1}"#].concat();
        match Json.decode::<External>("order.paid", &data) {
            Err(CodecError::Unreadable { path, message }) => {
                assert_eq!(path, "article");
                assert!(message.starts_with("invalid unicode code point"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}
