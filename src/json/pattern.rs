//! Finding one value in a JSON text and comparing it, without reading the others.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::JsonValue;
use super::decimal::Decimal;
use crate::{Error, Result};

/// Values within values of a pattern, at most.
const DEPTH_MAX: usize = 128;

/// A value to compare others with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pattern {
    Null,
    Bool(bool),
    /// `None` for one that equals no number, not even itself: its exponent is absurd.
    Number(Option<Decimal>),
    Text(String),
    Array(Vec<Pattern>),
    Object(BTreeMap<String, Pattern>),
}

impl Pattern {
    /// # Errors
    ///
    /// [`Error::Invalid`] when the value cannot be read: it is nested deeper than 128 times, or has a text that is no Unicode.
    pub(crate) fn new(value: &JsonValue) -> Result<Self> {
        serde_json::from_str::<&RawValue>(value.as_str())
            .and_then(|raw| Self::of(raw, 0))
            .map_err(|error| Error::invalid(format!("'{value}' cannot be compared with: {error}")))
    }

    fn of(raw: &RawValue, depth: usize) -> serde_json::Result<Self> {
        if depth > DEPTH_MAX {
            return Err(serde::de::Error::custom(format!(
                "values are nested more than {DEPTH_MAX} deep"
            )));
        }
        let (text, inner) = (raw.get(), |raw| Self::of(raw, depth + 1));
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                let fields = fields.into_iter().map(|(name, raw)| Ok((name, inner(raw)?)));
                Self::Object(fields.collect::<serde_json::Result<_>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                Self::Array(items.into_iter().map(inner).collect::<serde_json::Result<_>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(text)?),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') | None => Self::Null,
            Some(_) => Self::Number(Decimal::parse(text)),
        })
    }

    /// Whether a JSON value equals this one: numbers by value, objects whatever the order of their fields.
    pub(crate) fn equals(&self, raw: &RawValue) -> bool {
        let text = raw.get();
        match self {
            Self::Null => text == "null",
            Self::Bool(value) => text == if *value { "true" } else { "false" },
            Self::Number(number) => number.is_some() && Decimal::parse(text) == *number,
            Self::Text(value) => text.starts_with('"') && string(raw).as_deref() == Some(value),
            Self::Array(values) => {
                let items: serde_json::Result<Vec<&RawValue>> = serde_json::from_str(text);
                items.is_ok_and(|items| {
                    items.len() == values.len() && values.iter().zip(items).all(|(value, raw)| value.equals(raw))
                })
            }
            Self::Object(fields) => {
                let found: serde_json::Result<Fields<'_>> = serde_json::from_str(text);
                found.is_ok_and(|Fields(found)| {
                    found.len() == fields.len()
                        && fields
                            .iter()
                            .all(|(name, value)| found.get(name).is_some_and(|raw| value.equals(raw)))
                })
            }
        }
    }
}

/// The text that a JSON string stands for; `None` for one that is no Unicode, as when an emoji was cut in two.
fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The fields of an object, of which the last counts where several have one name. A name that is no Unicode is none that was asked for, and
/// counts as a field.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let name = string(name).unwrap_or_else(|| name.get().to_owned());
            fields.insert(name, value);
        }
        Ok(Fields(fields))
    }
}

/// The value at a JSON pointer (RFC 6901) of a JSON text; `None` if there is none, or the text is no JSON.
pub(crate) fn at<'a>(bytes: &'a [u8], pointer: &str) -> Option<&'a RawValue> {
    let mut value: &RawValue = serde_json::from_slice(bytes).ok()?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let mut deserializer = serde_json::Deserializer::from_str(value.get());
        value = Step(&token).deserialize(&mut deserializer).ok()??;
    }
    Some(value)
}

/// One token of a pointer: the value that it leads to.
struct Step<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<&RawValue>()? {
            if string(name).as_deref() == Some(self.0) {
                // Of several fields with one name the last counts, as in PostgreSQL.
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Self::Value, A::Error> {
        let Some(index) = index(self.0) else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        for _ in 0..index {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = items.next_element()?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// A place in an array, without leading zeros.
fn index(token: &str) -> Option<usize> {
    let is_plain = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    is_plain.then(|| token.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn has(bytes: &[u8], pointer: &str, value: impl Into<JsonValue>) -> bool {
        let pattern = Pattern::new(&value.into()).expect("it is JSON");
        at(bytes, pointer).is_some_and(|raw| pattern.equals(raw))
    }

    #[test]
    fn a_field_was_missed_because_of_other_fields() {
        for text in [
            r#"{"a":1,"s":"cut \ud83d"}"#,
            r#"{"s":"cut \ud83d","a":1}"#,
            r#"{"cut \ud83d":2,"a":1}"#,
            r#"{"a":1,"b":1e400}"#,
            r#"{"b":-1e999999999999,"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":10e-1}"#,
            r#"{"a":2,"a":1}"#,
            r#"{ "a" : 1 , "b" : 123456789012345678901234567890 }"#,
            &format!(r#"{{"deep":{}{},"a":1}}"#, "[".repeat(5000), "]".repeat(5000)),
            r#"{"\u0061":1}"#,
        ] {
            assert!(has(text.as_bytes(), "/a", 1), "{text}");
        }
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":"1"}"#,
            r#"{"a":true}"#,
            r#"{"a":[1]}"#,
            r#"{"b":{"a":1}}"#,
            r#"{"a":1"#,
            r#"{"a":1} x"#,
            r#"{"a":1.0000000001}"#,
            "",
            "1",
            "null",
        ] {
            assert!(!has(text.as_bytes(), "/a", 1), "{text}");
        }
        assert!(
            !has(b"{\"a\":1,\"b\":\"\xff\"}", "/a", 1),
            "bytes that are no UTF-8 are no JSON"
        );
    }

    #[test]
    fn numbers_of_any_size_are_compared_by_their_digits() {
        let big = "123456789012345678901234567890";
        let text = format!(r#"{{"a":{big},"e":1e400,"f":0.1}}"#);
        let number = |text: &str| JsonValue::parse(text).expect("a number");
        assert!(has(text.as_bytes(), "/a", number(big)));
        assert!(!has(text.as_bytes(), "/a", number("123456789012345678901234567891")));
        assert!(has(text.as_bytes(), "/e", number("10e399")));
        assert!(has(text.as_bytes(), "/f", 0.1));
        assert!(has(br#"{"a":18446744073709551615}"#, "/a", u64::MAX));
        assert!(has(br#"{"a":-9223372036854775808.0}"#, "/a", i64::MIN));
    }

    #[test]
    fn pointers_lead_where_the_standard_says() {
        let text = br#"{"":1,"a/b":2,"m~n":3,"l":[{"x":4},5,[6]],"0":7,"~1":8}"#;
        for (pointer, value) in [
            ("/", 1),
            ("/a~1b", 2),
            ("/m~0n", 3),
            ("/l/0/x", 4),
            ("/l/1", 5),
            ("/l/2/0", 6),
            ("/0", 7),
            ("/~01", 8),
        ] {
            assert!(has(text, pointer, value), "{pointer}");
        }
        for pointer in ["/l/3", "/l/00", "/l/-", "/l/01", "/l/x", "/x", "/a/b", "/l/0/x/y"] {
            assert!(at(text, pointer).is_none(), "{pointer}");
        }
        assert!(has(b" [1, 2.0] ", "", json!([1, 2])));
    }

    #[test]
    fn whole_values_are_compared() {
        let text = br#"{"o":{"b":[1.0,null],"a":"\u0041"},"n":null,"t":true}"#;
        assert!(has(text, "/o", json!({"a": "A", "b": [1, null]})));
        assert!(!has(text, "/o", json!({"a": "A"})));
        assert!(!has(text, "/o", json!({"a": "A", "b": [1]})));
        assert!(has(text, "/n", ()) && has(text, "/t", true) && !has(text, "/t", false));
        assert!(!has(br#"{"o":{"cut \ud83d":1,"a":2}}"#, "/o", json!({"a": 2})));
        assert!(Pattern::new(&JsonValue::parse(r#""\ud83d""#).expect("JSON")).is_err());
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        assert!(JsonValue::parse(&deep).and_then(|deep| Pattern::new(&deep)).is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // With a fraction: that 1.0 equals 1 is not what whole values say.
            (-1e9_f64..1e9).prop_map(|number| Value::from(number.trunc() + 0.5)),
            "[a-b~/\"\\\\é]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-b~/]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_whole_values(value in values(), other in values(), pointer in "(/[a-b0-2~/]{0,2}){0,3}") {
            let text = value.to_string();
            let expected = value.pointer(&pointer);
            let found = at(text.as_bytes(), &pointer).map(|raw| raw.get().to_owned());
            prop_assert_eq!(found, expected.map(Value::to_string));
            if let Some(expected) = expected {
                prop_assert!(has(text.as_bytes(), &pointer, expected.clone()));
                prop_assert_eq!(has(text.as_bytes(), &pointer, other.clone()), *expected == other);
            }
        }
    }
}
