//! What changes of a schema need of a codec: data as values, and the event types of an enum.

use std::collections::BTreeMap;

use annals::cqrs::{Codec, CodecError, Json};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Any value of JSON, up to some depth.
pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_of_json_comes_back(value in any_value()) {
        let data = Json.from_value(&value).expect("JSON");
        prop_assert_eq!(Json.to_value(&data), Ok(value));
    }

    #[test]
    fn hostile_json_is_an_error_or_a_value(data in ".{0,40}") {
        // Whatever the text is, nothing panics; what is a value comes back.
        if let Ok(value) = Json.to_value(data.as_bytes()) {
            let data = Json.from_value(&value).expect("JSON");
            prop_assert_eq!(Json.to_value(&data), Ok(value));
        }
    }
}

#[test]
fn missing_data_is_null() {
    assert_eq!(Json.to_value(b""), Ok(Value::Null));
    assert_eq!(Json.to_value(b" null "), Ok(Value::Null));
    assert_eq!(Json.from_value(&Value::Null), Ok(Vec::new()));
    let deep = "[".repeat(100_000);
    for data in ["{", "nul", "{} {}", "\"", "\"\\", deep.as_str()] {
        let error = Json.to_value(data.as_bytes()).expect_err("it is no JSON");
        assert!(matches!(error, CodecError::Unreadable { .. }), "{error:?}");
    }
}

#[test]
fn a_long_integer_was_rounded() {
    for number in [
        "18446744073709551616",
        "-9223372036854775809",
        "340282366920938463463374607431768211455",
    ] {
        let data = format!(r#"{{"text":"\\\"18446744073709551616\\","list":[1,{number}]}}"#);
        let error = Json.to_value(data.as_bytes()).expect_err("it would be rounded");
        assert!(error.to_string().contains(number), "{error}");
    }
    for number in [
        "18446744073709551615",
        "-9223372036854775808",
        "18446744073709551616.0",
        "1E30",
    ] {
        let data = format!(r#"{{"a":{number}}}"#);
        let value = Json.to_value(data.as_bytes()).expect("it is a value");
        assert!(value["a"].is_number(), "{value}");
    }
    let text = json!(["18446744073709551616", "\"18446744073709551616"]);
    assert_eq!(Json.to_value(text.to_string().as_bytes()), Ok(text));
}

macro_rules! orders {
    ($($name:ident $(, #[$attribute:meta])?;)*) => { $(
        #[derive(Debug, Serialize, Deserialize)]
        $(#[$attribute])?
        enum $name {
            Placed { count: u32 },
            #[serde(rename = "order.paid", alias = "paid")]
            Paid(Inner),
            Closed,
        }
    )* };
}

orders! {
    External;
    Adjacent, #[serde(tag = "kind", content = "body")];
    Internal, #[serde(tag = "type")];
    Untagged, #[serde(untagged)];
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Inner {
    color: Option<Color>,
    list: Vec<Color>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Color {
    Red,
}

#[derive(Debug, Serialize, Deserialize)]
struct Pair {
    color: Color,
    body: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct Wrapped(External);

#[derive(Debug, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Debug, Serialize, Deserialize)]
enum Nothing {}

#[derive(Debug, Serialize, Deserialize)]
enum Open {
    Known,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type")]
enum OpenInternal {
    Known,
    #[serde(other)]
    Unknown,
}

#[test]
fn event_types_are_the_variants_of_an_enum() {
    let all = ["Placed", "order.paid", "paid", "Closed"];
    assert_eq!(Json.event_types::<External>(), all);
    assert_eq!(Json.event_types::<Adjacent>(), all);
    assert_eq!(Json.event_types::<Internal>(), all);
    assert_eq!(Json.event_types::<Box<External>>(), all);
    assert_eq!(Json.event_types::<Wrapped>(), all);
    assert_eq!(Json.event_types::<Open>(), ["Known", "Unknown"]);
    let without = [
        Json.event_types::<Untagged>(),
        Json.event_types::<Inner>(),
        Json.event_types::<Pair>(),
        Json.event_types::<Flat>(),
        Json.event_types::<Nothing>(),
        Json.event_types::<OpenInternal>(),
        Json.event_types::<Value>(),
        Json.event_types::<Option<External>>(),
        Json.event_types::<Vec<External>>(),
        Json.event_types::<BTreeMap<String, External>>(),
        Json.event_types::<String>(),
        Json.event_types::<()>(),
    ];
    for names in without {
        assert!(names.is_empty(), "{names:?}");
    }
}
