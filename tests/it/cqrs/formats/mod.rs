//! Codecs besides JSON: what they write comes back.

mod hostile;
mod refused;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;

use annals::cqrs::{Bincode, Cbor, Codec, Json};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::values::any_value;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    article: Uuid,
    count: Option<i64>,
    weight: f64,
    parts: Vec<Line>,
}

/// The same variants in the three representations that serde has.
macro_rules! events {
    ($name:ident $(, #[$attribute:meta])? { $($more:tt)* }) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])?
        enum $name {
            Placed { lines: Vec<Line>, note: String, by: BTreeMap<i64, String> },
            #[serde(rename = "order.paid")]
            Paid(Line),
            Step(Step),
            Closed,
            Emptied {},
            $($more)*
        }
    };
}

events!(External { Moved(i32, String), Weighed(f64), Counted(BTreeMap<i64, u128>), Maybe(Option<Step>), At(IpAddr), });
events!(
    Adjacent,
    #[serde(tag = "kind", content = "body")]
    { Moved(i32, String), Weighed(f64), Counted(BTreeMap<i64, u128>), Maybe(Option<Step>), At(IpAddr), }
);
events!(
    Internal,
    #[serde(tag = "type")]
    {}
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Step {
    Begun,
    Moved { by: i32 },
    Ended(Option<bool>),
    Pair(u8, u8),
}

trait Event: Clone + Debug + PartialEq + Serialize + DeserializeOwned {}

impl<E: Clone + Debug + PartialEq + Serialize + DeserializeOwned> Event for E {}

fn round_trip<E: Event>(codec: &impl Codec, event: &E) -> (String, Vec<u8>) {
    let encoded = codec.encode(event).expect("it is an event");
    let decoded: E = codec.decode(&encoded.event_type, &encoded.data).expect("it decodes");
    assert_eq!(decoded, *event);
    (encoded.event_type.into_owned(), encoded.data)
}

/// A round trip by way of a value, as an event takes that is upcast.
fn by_value<E: Event>(codec: &impl Codec, event: &E) {
    let (event_type, data) = round_trip(codec, event);
    let value = codec.to_value(&data).expect("it is a value");
    let data = codec.from_value(&value).expect("it is data");
    assert_eq!(codec.decode(&event_type, &data).as_ref(), Ok(event), "{value}");
}

fn line() -> impl Strategy<Value = Line> {
    let leaf = (any::<u128>(), any::<Option<i64>>(), -1e9..1e9).prop_map(|(article, count, weight)| Line {
        article: Uuid::from_u128(article),
        count,
        weight,
        parts: vec![],
    });
    leaf.prop_recursive(3, 8, 3, |inner| {
        (inner.clone(), proptest::collection::vec(inner, 0..3)).prop_map(|(line, parts)| Line { parts, ..line })
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Begun),
        any::<i32>().prop_map(|by| Step::Moved { by }),
        any::<Option<bool>>().prop_map(Step::Ended),
        any::<(u8, u8)>().prop_map(|(a, b)| Step::Pair(a, b)),
    ]
}

/// Events that every representation has.
macro_rules! common {
    ($name:ident) => {
        prop_oneof![
            (
                proptest::collection::vec(line(), 0..3),
                ".{0,8}",
                any::<BTreeMap<i64, String>>()
            )
                .prop_map(|(lines, note, by)| $name::Placed { lines, note, by }),
            line().prop_map($name::Paid),
            step()
                .prop_filter("fields", |step| matches!(step, Step::Moved { .. }))
                .prop_map($name::Step),
            Just($name::Closed),
            Just($name::Emptied {}),
        ]
    };
}

/// Events that have no names for their fields.
macro_rules! unnamed {
    ($name:ident) => {
        prop_oneof![
            step().prop_map($name::Step),
            (any::<i32>(), ".{0,8}").prop_map(|(by, note)| $name::Moved(by, note)),
            any::<f64>()
                .prop_filter("a number", |value| value.is_finite())
                .prop_map($name::Weighed),
            any::<BTreeMap<i64, u64>>()
                .prop_map(|map| { $name::Counted(map.into_iter().map(|(key, value)| (key, value.into())).collect()) }),
            proptest::option::of(step()).prop_map($name::Maybe),
            any::<IpAddr>().prop_map($name::At),
        ]
    };
}

fn external() -> impl Strategy<Value = External> {
    prop_oneof![common!(External), unnamed!(External)]
}

proptest! {
    #[test]
    fn cbor_comes_back_in_every_representation(
        external in external(),
        adjacent in prop_oneof![common!(Adjacent), unnamed!(Adjacent)],
        internal in common!(Internal),
    ) {
        by_value(&Cbor, &external);
        by_value(&Cbor, &adjacent);
        by_value(&Cbor, &internal);
    }

    #[test]
    fn bincode_comes_back(event in external(), wide: BTreeMap<i64, u128>) {
        round_trip(&Bincode, &event);
        round_trip(&Bincode, &External::Counted(wide.clone()));
        round_trip(&Cbor, &External::Counted(wide));
    }

    #[test]
    fn a_value_comes_back_as_cbor(value in any_value()) {
        let data = Cbor.from_value(&value).expect("CBOR");
        prop_assert_eq!(Cbor.to_value(&data), Ok(value));
    }
}

#[test]
fn every_representation_is_stored_alike() {
    let line = Line {
        article: Uuid::from_u128(7),
        count: None,
        weight: 0.5,
        parts: vec![],
    };
    let stored = round_trip(&Cbor, &External::Paid(line.clone()));
    assert_eq!(round_trip(&Cbor, &Adjacent::Paid(line.clone())), stored);
    let (event_type, data) = round_trip(&Cbor, &Internal::Paid(line));
    assert_eq!(event_type, stored.0);
    assert_eq!(Cbor.to_value(&data), Cbor.to_value(&stored.1));
    for closed in [
        round_trip(&Cbor, &External::Closed),
        round_trip(&Cbor, &Adjacent::Closed),
        round_trip(&Bincode, &External::Closed),
        round_trip(&Bincode, &External::Emptied {}),
    ] {
        assert!(closed.1.is_empty(), "{closed:?}");
    }
    assert_eq!(Cbor.decode("Closed", b""), Ok(Internal::Closed));
    assert_eq!(Cbor.decode("Closed", b"\xf6"), Ok(External::Closed));
    assert_eq!(Cbor.content_type().as_str(), "application/cbor");
    assert_eq!(Bincode.content_type().as_str(), "application/x-bincode");
    assert_eq!(Cbor.event_types::<Internal>(), Json.event_types::<Internal>());
    assert_eq!(Bincode.event_types::<External>(), Json.event_types::<External>());
}
