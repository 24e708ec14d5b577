//! The shapes that types have.

#![expect(dead_code, reason = "only the shapes of types matter")]

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::fingerprint;

/// Types of one name in modules of their own.
macro_rules! types {
    ($($module:ident { $($item:item)* })*) => { $(
        mod $module {
            use super::*;
            $($item)*
        }
    )* };
}

mod hidden;

types! {
    original {
        #[derive(Deserialize)]
        pub(super) struct State { id: Uuid, lines: Vec<Line>, by_key: HashMap<Uuid, Line>, last: Option<Line>, status: Status }
        #[derive(Deserialize)]
        pub(super) struct Line { article: String, count: u32 }
        #[derive(Deserialize)]
        pub(super) enum Status { Open, Closed { by: String }, Failed(Option<Box<Failure>>, i64) }
        #[derive(Deserialize)]
        pub(super) struct Failure { code: u16 }
    }
    same {
        #[derive(Deserialize, Serialize)]
        pub(super) struct State { id: Uuid, lines: Vec<Line>, by_key: HashMap<Uuid, Line>, last: Option<Line>, status: Status }
        #[derive(Deserialize, Serialize)]
        pub(super) struct Line { article: String, count: u32 }
        #[derive(Deserialize, Serialize)]
        pub(super) enum Status { Open, Closed { by: String }, Failed(Option<Box<Failure>>, i64) }
        #[derive(Deserialize, Serialize)]
        pub(super) struct Failure { code: u16 }
    }
    renamed {
        #[derive(Deserialize)]
        pub(super) struct State { id: Uuid, rows: Vec<original::Line>, by_key: HashMap<Uuid, original::Line>, last: Option<original::Line>,
                                  status: original::Status }
    }
    more_in_enum {
        #[derive(Deserialize)]
        pub(super) enum Status { Open, Closed { by: String, at: u64 }, Failed(Option<Box<original::Failure>>, i64) }
    }
    more_in_box {
        #[derive(Deserialize)]
        pub(super) enum Status { Open, Closed { by: String }, Failed(Option<Box<Failure>>, i64) }
        #[derive(Deserialize)]
        pub(super) struct Failure { code: u16, retry: Option<bool> }
    }
    other_order {
        #[derive(Deserialize)]
        pub(super) enum Status { Closed { by: String }, Open, Failed(Option<Box<original::Failure>>, i64) }
    }
    other_tuple {
        #[derive(Deserialize)]
        pub(super) enum Status { Open, Closed { by: String }, Failed(Option<Box<original::Failure>>, u64) }
    }
    more_in_line {
        #[derive(Deserialize)]
        pub(super) struct Line { article: String, count: u32, price: Option<u64> }
    }
    other_type {
        #[derive(Deserialize)]
        pub(super) struct Line { article: String, count: u64 }
    }
    other_validation {
        #[derive(Deserialize)]
        pub(super) struct Line { article: Uuid, count: u32 }
    }
}

/// A struct with a part in the places that parts have.
#[derive(Deserialize)]
enum Placed<T> {
    None,
    Plain(T),
    Option { part: Option<T> },
    List { before: u8, parts: Vec<T> },
    Map(HashMap<String, T>),
    Keys(HashMap<Uuid, Vec<Option<T>>>),
    Tuple(u8, (T, u8)),
    Array([T; 3]),
}

#[track_caller]
fn assert_all_differ(prints: &[u32]) {
    for (place, print) in prints.iter().enumerate() {
        assert!((1..=i32::MAX.unsigned_abs()).contains(print));
        assert!(!prints[..place].contains(print), "{place} in {prints:?}");
    }
}

#[test]
fn a_shape_has_one_number() {
    assert_eq!(fingerprint::<original::State>(), fingerprint::<same::State>());
    assert_eq!(fingerprint::<Box<original::State>>(), fingerprint::<original::State>());
    let other = std::thread::spawn(fingerprint::<original::State>).join();
    assert_eq!(other.expect("no panic"), fingerprint::<original::State>());
    // It is the same in every process, on every machine, and with every compiler.
    assert_eq!(fingerprint::<u32>(), 410_252_387);
    assert_eq!(fingerprint::<original::Line>(), 990_348_022);
}

#[test]
fn every_change_of_a_shape_changes_the_number() {
    assert_all_differ(&[fingerprint::<original::State>(), fingerprint::<renamed::State>()]);
    assert_all_differ(&[
        fingerprint::<original::Status>(),
        fingerprint::<more_in_enum::Status>(),
        fingerprint::<more_in_box::Status>(),
        fingerprint::<other_order::Status>(),
        fingerprint::<other_tuple::Status>(),
    ]);
    assert_all_differ(&[
        fingerprint::<original::Line>(),
        fingerprint::<more_in_line::Line>(),
        fingerprint::<other_type::Line>(),
        fingerprint::<other_validation::Line>(),
    ]);
}

#[test]
fn a_change_is_seen_in_every_place() {
    /// Each place alone.
    macro_rules! places {
        ($($type:ty),*) => { $(
            assert_all_differ(&[
                fingerprint::<Wrapped<$type, original::Line>>(),
                fingerprint::<Wrapped<$type, more_in_line::Line>>(),
                fingerprint::<Wrapped<$type, other_type::Line>>(),
                fingerprint::<Wrapped<$type, other_validation::Line>>(),
            ]);
        )* };
    }
    trait Place {
        type Of<T>;
    }
    type Wrapped<P, T> = <P as Place>::Of<T>;
    macro_rules! place {
        ($($name:ident => $type:ty;)*) => { $(
            struct $name;
            impl Place for $name { type Of<T> = $type; }
        )* };
    }
    place! {
        Optional => Option<T>; List => Vec<T>; Values => HashMap<String, T>; Sorted => BTreeMap<u64, T>; Keyed => HashMap<Uuid, Vec<T>>;
        Pair => (u8, T); Three => [T; 3]; Deep => Option<Vec<HashMap<String, Option<Box<T>>>>>; Enum => Placed<T>; Twice => Placed<Placed<T>>;
    }
    places!(Optional, List, Values, Sorted, Keyed, Pair, Three, Deep, Enum, Twice);
}

#[test]
fn primitives_differ() {
    assert_all_differ(&[
        fingerprint::<u8>(),
        fingerprint::<i8>(),
        fingerprint::<u64>(),
        fingerprint::<i64>(),
        fingerprint::<u128>(),
        fingerprint::<f64>(),
        fingerprint::<bool>(),
        fingerprint::<char>(),
        fingerprint::<String>(),
        fingerprint::<Uuid>(),
        fingerprint::<IpAddr>(),
        fingerprint::<()>(),
        fingerprint::<(u8,)>(),
        fingerprint::<(u8, u8)>(),
        fingerprint::<Vec<u8>>(),
        fingerprint::<Option<u8>>(),
        fingerprint::<HashMap<String, u8>>(),
        fingerprint::<HashMap<Uuid, u8>>(),
        fingerprint::<Value>(),
    ]);
    assert_eq!(fingerprint::<[u64; 0]>(), fingerprint::<[u8; 0]>());
}

/// A type whose values are never read.
#[derive(Debug)]
struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("never"))
    }
}

/// A text that is refused by what it says.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Email;

impl TryFrom<String> for Email {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('@') { Ok(Self) } else { Err(text) }
    }
}

types! {
    recursive {
        #[derive(Deserialize)]
        pub(super) enum Tree { Node(Box<Tree>, Box<Tree>), Leaf(u32) }
        #[derive(Deserialize)]
        pub(super) struct List { value: u32, next: Option<Box<List>> }
        #[derive(Deserialize)]
        pub(super) struct Nested(Vec<Nested>);
        #[derive(Deserialize)]
        pub(super) struct Forest { trees: HashMap<String, Forest>, other: Vec<Forest>, tree: Tree }
        #[derive(Deserialize)]
        pub(super) struct Endless { inner: Box<Endless> }
    }
    recursive_other {
        #[derive(Deserialize)]
        pub(super) enum Tree { Node(Box<Tree>, Box<Tree>), Leaf(u64) }
        #[derive(Deserialize)]
        pub(super) struct List { value: u64, next: Option<Box<List>> }
        #[derive(Deserialize)]
        pub(super) struct Forest { trees: HashMap<String, Forest>, other: Vec<Forest>, tree: Tree }
    }
    opaque {
        #[derive(Deserialize)]
        pub(super) struct State { never: Never, list: Vec<Never>, email: Email, kind: Kind, count: u32 }
        #[derive(Deserialize)]
        pub(super) enum Kind { Never(Never), Maybe(Option<Never>), Some { value: u8 } }
    }
    opaque_other {
        #[derive(Deserialize)]
        pub(super) struct State { never: Never, list: Vec<Never>, email: Email, kind: opaque::Kind, count: u64 }
    }
    opaque_kind {
        #[derive(Deserialize)]
        pub(super) struct State { never: Never, list: Vec<Never>, email: Email, kind: Kind, count: u32 }
        #[derive(Deserialize)]
        pub(super) enum Kind { Never(Never), Maybe(Option<Never>), Some { value: u16 } }
    }
}

#[test]
fn recursive_types_end() {
    assert_all_differ(&[
        fingerprint::<recursive::Tree>(),
        fingerprint::<recursive_other::Tree>(),
        fingerprint::<recursive::List>(),
        fingerprint::<recursive_other::List>(),
        fingerprint::<recursive::Nested>(),
        fingerprint::<recursive::Forest>(),
        fingerprint::<recursive_other::Forest>(),
        fingerprint::<recursive::Endless>(),
    ]);
}

#[test]
fn what_is_beside_a_type_that_is_never_read_is_seen() {
    assert_all_differ(&[
        fingerprint::<Never>(),
        fingerprint::<Vec<Never>>(),
        fingerprint::<opaque::State>(),
        fingerprint::<opaque_other::State>(),
        fingerprint::<opaque_kind::State>(),
    ]);
}
