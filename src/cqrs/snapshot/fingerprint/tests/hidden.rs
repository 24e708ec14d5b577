//! Types that look at the data before they say what they are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::super::fingerprint;
use super::{Placed, assert_all_differ, opaque, recursive};

/// An enum with some attribute, of which the second variant has a part.
macro_rules! tagged {
    ($($name:ident, #[$attribute:meta];)*) => { $(
        #[derive(Deserialize)]
        #[$attribute]
        enum $name<T> {
            First { a: u8 },
            Second { b: T },
            Third { c: Vec<Uuid> },
        }
    )* };
}

tagged! {
    External, #[serde(rename_all = "lowercase")];
    Adjacent, #[serde(tag = "t", content = "c")];
    Internal, #[serde(tag = "type")];
    Untagged, #[serde(untagged)];
}

#[derive(Deserialize)]
struct Flat<T> {
    id: u64,
    #[serde(flatten)]
    inner: Inner<T>,
}

#[derive(Deserialize)]
struct Inner<T> {
    name: String,
    value: T,
}

/// A struct that keeps what it does not know.
#[derive(Deserialize)]
struct Rest<T> {
    id: T,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[test]
fn types_that_look_at_the_data_first_are_explored() {
    macro_rules! prints {
        ($($name:ident),*) => { &[$(
            fingerprint::<$name<u32>>(),
            fingerprint::<$name<String>>(),
            fingerprint::<$name<Option<Vec<u8>>>>(),
            fingerprint::<(u8, $name<u32>)>(),
            fingerprint::<(u8, $name<u64>)>(),
        )*] };
    }
    assert_all_differ(prints!(External, Adjacent, Internal, Flat, Rest));
    assert_all_differ(&[fingerprint::<Untagged<u32>>(), fingerprint::<Untagged<String>>()]);
    assert_all_differ(&[
        fingerprint::<Value>(),
        fingerprint::<Inner<Value>>(),
        fingerprint::<Inner<u8>>(),
    ]);
}
/// What a second variant has more: a field that may be missing.
#[derive(Deserialize)]
#[serde(tag = "t", content = "c")]
enum AdjacentMaybe<T> {
    First { a: u8, more: Option<T> },
    Second { b: u8 },
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum InternalMaybe<T> {
    First { a: u8, more: Option<T> },
    Second { b: u8 },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UntaggedMaybe<T> {
    First { a: u8, more: Option<T> },
    Second { b: u8 },
}

#[test]
fn a_field_that_may_be_missing_was_not_seen() {
    assert_all_differ(&[
        fingerprint::<AdjacentMaybe<u8>>(),
        fingerprint::<AdjacentMaybe<u16>>(),
        fingerprint::<AdjacentMaybe<String>>(),
        fingerprint::<InternalMaybe<u16>>(),
        fingerprint::<InternalMaybe<u32>>(),
        fingerprint::<InternalMaybe<String>>(),
        fingerprint::<UntaggedMaybe<u16>>(),
        fingerprint::<UntaggedMaybe<u32>>(),
        fingerprint::<UntaggedMaybe<String>>(),
    ]);
    assert_all_differ(&[fingerprint::<more::Adjacent>(), fingerprint::<fewer::Adjacent>()]);
    assert_all_differ(&[fingerprint::<more::Internal>(), fingerprint::<fewer::Internal>()]);
}

types! {
    more {
        #[derive(Deserialize)]
        #[serde(tag = "t", content = "c")]
        pub(super) enum Adjacent { First { a: u8, b: Option<u8> } }
        #[derive(Deserialize)]
        #[serde(tag = "t")]
        pub(super) enum Internal { First { a: u8, b: Option<u8> } }
    }
    fewer {
        #[derive(Deserialize)]
        #[serde(tag = "t", content = "c")]
        pub(super) enum Adjacent { First { a: u8 } }
        #[derive(Deserialize)]
        #[serde(tag = "t")]
        pub(super) enum Internal { First { a: u8 } }
    }
}

/// A state of many parts.
#[derive(Deserialize)]
struct Large<T> {
    values: [Value; 8],
    internal: (Internal<u8>, Internal<u16>, Internal<String>, Internal<Uuid>),
    adjacent: (Adjacent<u8>, Adjacent<u16>, Adjacent<String>, Adjacent<Uuid>),
    external: (External<u8>, External<u16>, External<String>, External<Uuid>),
    untagged: (Untagged<u8>, Untagged<String>),
    flat: (Flat<u8>, Rest<String>, Flat<Placed<u8>>),
    recursive: (recursive::Forest, recursive::Tree, recursive::List),
    opaque: Option<opaque::State>,
    last: T,
}

#[test]
fn a_large_state_is_explored_to_its_end() {
    assert_all_differ(&[
        fingerprint::<Large<u8>>(),
        fingerprint::<Large<Option<Internal<u8>>>>(),
        fingerprint::<Large<Option<Internal<u16>>>>(),
    ]);
}
