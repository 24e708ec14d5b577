//! The shapes that serde gives to enums, through a store: each comes back as it was, or is refused before it is stored.

use std::collections::BTreeMap;
use std::fmt::Debug;

use annals::cqrs::{Aggregate, Aggregates, Codec, CodecError, CommandError, Json};
use annals::{Position, Store};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Keeps its last event.
struct Keeper<E>(Option<E>);

impl<E: Clone + Serialize + DeserializeOwned> Aggregate for Keeper<E> {
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

trait Kept: Clone + Debug + PartialEq + Serialize + DeserializeOwned {}

impl<E: Clone + Debug + PartialEq + Serialize + DeserializeOwned> Kept for E {}

/// Stores the event and loads it again. Returns its type and data.
fn keep<E: Kept>(event: &E) -> (String, Value) {
    let store = Store::in_memory();
    let keepers = Aggregates::<Keeper<E>>::new(&store);
    keepers.execute("k", event).expect("it can be stored");
    assert_eq!(keepers.load("k").expect("it can be read").state.0.as_ref(), Some(event));
    let stored = store.event_at(Position(1)).expect("one event");
    let data = serde_json::from_slice(stored.data()).unwrap_or(Value::Null);
    (stored.event_type().to_owned(), data)
}

/// The message with which a store refuses the event.
fn refuse<E: Kept>(event: &E) -> String {
    let store = Store::in_memory();
    let refused = Aggregates::<Keeper<E>>::new(&store).execute("k", event);
    assert!(
        matches!(refused, Err(CommandError::Unwritable { .. })),
        "{event:?}: {refused:?}"
    );
    assert_eq!(store.visible(), Position(0));
    refused.expect_err("it is refused").to_string()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Typed {
    r#type: String,
    data: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
struct Named {
    account: String,
    details: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Unit {
    #[default]
    Plain,
    Other,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair {
    unit: Unit,
    body: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Triple {
    unit: Unit,
    body: Value,
    note: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Fields {
        #[serde(default)]
        unit: Unit,
        #[serde(default)]
        body: Value,
    },
    Typed(Typed),
    Tuple(u8, u8),
    Text(String),
    Nothing,
}

#[test]
fn a_struct_was_stored_as_an_event() {
    let (unit, body, note) = (Unit::Other, json!({"amount": 1}), String::new());
    let typed = Typed {
        r#type: "Deposited".to_owned(),
        data: body.clone(),
    };
    let named = Named {
        account: "a".to_owned(),
        details: body.clone(),
    };
    let pair = Pair {
        unit: unit.clone(),
        body: body.clone(),
    };
    let untagged = [
        Untagged::Fields {
            unit: unit.clone(),
            body: body.clone(),
        },
        Untagged::Typed(typed.clone()),
        Untagged::Tuple(1, 2),
        Untagged::Text("Deposited".to_owned()),
        Untagged::Nothing,
    ];
    let mut messages = vec![
        refuse(&typed),
        refuse(&named),
        refuse(&pair),
        refuse(&Triple { unit, body, note }),
        refuse(&Some(Unit::Other)),
        refuse(&BTreeMap::from([("type".to_owned(), "Deposited".to_owned())])),
    ];
    messages.extend(untagged.iter().map(refuse));
    for message in messages {
        assert!(
            message.contains("an event is a variant of an enum") || message.contains("an event is read as a variant"),
            "{message}"
        );
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Kinded {
    Opened { owner: String },
}

#[test]
fn a_tag_with_another_name_is_refused_with_the_name_to_use() {
    let message = refuse(&Kinded::Opened {
        owner: "anna".to_owned(),
    });
    assert!(
        message.contains("'kind'") && message.contains("tag = \"type\""),
        "{message}"
    );
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Audit {
    by: String,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Step {
    Begun,
    Moved { by: i32 },
    Ended(Option<bool>),
}

/// Variants that serde writes as maps where the tag stands among the fields.
macro_rules! maps {
    ($name:ident, $(#[$attribute:meta])?) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])?
        enum $name {
            Flat { id: u64, #[serde(flatten)] audit: Audit },
            Whole(Audit),
            Map(BTreeMap<String, u64>),
            Step(Step),
            Unit(()),
        }
    };
}

maps!(ExternalMaps,);
maps!(AdjacentMaps, #[serde(tag = "t", content = "c")]);
maps!(InternalMaps, #[serde(tag = "type")]);

macro_rules! keep_maps {
    ($name:ident) => {{
        let audit = Audit {
            by: "anna".to_owned(),
            more: BTreeMap::from([("why".to_owned(), json!([1, {"x": null}]))]),
        };
        let mut kept = vec![
            keep(&$name::Flat { id: 7, audit: audit.clone() }),
            keep(&$name::Whole(audit)),
            keep(&$name::Map(BTreeMap::from([("a".to_owned(), 1)]))),
            keep(&$name::Map(BTreeMap::new())),
        ];
        for step in [Step::Moved { by: -1 }, Step::Ended(None), Step::Ended(Some(true))] {
            kept.push(keep(&$name::Step(step)));
        }
        keep(&$name::Unit(()));
        kept
    }};
}

#[test]
fn a_variant_with_flattened_fields_or_a_map_was_refused_as_a_map() {
    let kept = keep_maps!(InternalMaps);
    assert_eq!(kept, keep_maps!(ExternalMaps));
    assert_eq!(kept, keep_maps!(AdjacentMaps));
    assert_eq!(
        kept[0],
        (
            "Flat".to_owned(),
            json!({"id": 7, "by": "anna", "why": [1, {"x": null}]})
        )
    );
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Measured {
    Measured { value: f64, others: Vec<f32> },
}

proptest! {
    #[test]
    fn a_number_came_back_as_its_neighbour(value: f64, others: Vec<f32>) {
        prop_assume!(value.is_finite() && others.iter().all(|other| other.is_finite()));
        keep(&Measured::Measured { value, others });
    }
}

#[test]
fn numbers_that_json_does_not_have_are_refused() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let message = refuse(&Measured::Measured { value, others: vec![] });
        assert!(message.contains("at 'value'"), "{message}");
    }
    keep(&Measured::Measured {
        value: 0.1 + 0.2,
        others: vec![f32::MIN_POSITIVE],
    });
}

/// The newer form of `Step`: a variant without fields has some, and one with fields has none.
macro_rules! newer {
    ($name:ident, $(#[$attribute:meta])?) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])?
        enum $name {
            Begun { #[serde(default)] reason: Option<String>, #[serde(default)] count: u32 },
        }
    };
}

newer!(NewerExternal,);
newer!(NewerAdjacent, #[serde(tag = "t", content = "c")]);
newer!(NewerInternal, #[serde(tag = "type")]);

#[test]
fn a_variant_that_got_fields_with_defaults_did_not_decode() {
    let reason = None;
    let begun = Json.decode::<NewerExternal>("Begun", b"");
    assert_eq!(begun, Ok(NewerExternal::Begun { reason, count: 0 }));
    let reason = None;
    let begun = Json.decode::<NewerAdjacent>("Begun", b"");
    assert_eq!(begun, Ok(NewerAdjacent::Begun { reason, count: 0 }));
    for data in [&b""[..], b"{}"] {
        let begun = Json.decode::<NewerInternal>("Begun", data);
        assert_eq!(begun, Ok(NewerInternal::Begun { reason: None, count: 0 }));
    }
    // A field without a default is missing.
    let error = Json.decode::<Step>("Moved", b"").expect_err("no field");
    assert!(error.to_string().contains("missing field `by`"), "{error}");
}

#[test]
fn a_variant_that_lost_its_fields_did_not_decode() {
    for data in ["", "null", "{}", r#"{"reason":"x"}"#] {
        assert_eq!(Json.decode::<Step>("Begun", data.as_bytes()), Ok(Step::Begun), "{data}");
    }
    // An option is not taken for missing where its value does not decode.
    for data in ["{}", r#""yes""#, "7"] {
        let ended = Json.decode::<Step>("Ended", data.as_bytes());
        assert!(matches!(ended, Err(CodecError::Unreadable { .. })), "{data}: {ended:?}");
    }
}

/// An enum that takes types it does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Open<T> {
    OrderPlaced {
        order_id: T,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gift_note: Option<String>,
        #[serde(skip)]
        cached: u32,
    },
    #[serde(other)]
    Unknown,
}

#[test]
fn attributes_of_serde_are_kept() {
    let placed = Open::OrderPlaced {
        order_id: vec![1_u8],
        gift_note: None,
        cached: 0,
    };
    assert_eq!(keep(&placed), ("order-placed".to_owned(), json!({"orderId": [1]})));
    let unknown = Json.decode::<Open<u8>>("order-lost", br#"{"orderId":1}"#);
    assert_eq!(unknown, Ok(Open::Unknown));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Extreme {
    Wide { least: i128, most: u128 },
    Nested(Box<Step>),
    Maybe(Option<()>),
    Characters { zero: char, text: String },
}

#[test]
fn extreme_values_come_back() {
    keep(&Extreme::Wide {
        least: i128::MIN,
        most: u128::MAX,
    });
    keep(&Extreme::Nested(Box::new(Step::Begun)));
    keep(&Extreme::Maybe(None));
    keep(&Extreme::Characters {
        zero: '\0',
        text: "\u{1f600}\u{7f}\"\\".to_owned(),
    });
    // JSON has one form for both, as the documentation of `Json` says.
    let some = Json.encode(&Extreme::Maybe(Some(()))).expect("it is an event");
    assert_eq!(Json.decode(&some.event_type, &some.data), Ok(Extreme::Maybe(None)));
}
