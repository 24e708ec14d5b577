//! JSON objects that are read whole or refused: nothing in them is lost.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::RowError;

/// Digits that a float holds, whatever they are.
const DIGITS_OF_A_FLOAT: usize = 15;

/// Reads an object, unless it has a field twice, or a number with more digits than 64 bits hold.
pub(in crate::cqrs::migration) fn object(json: &[u8]) -> Result<Value, RowError> {
    let refused = |error: serde_json::Error| RowError::Row {
        message: format!("it is not JSON: {error}"),
    };
    let Whole(value) = serde_json::from_slice(json).map_err(refused)?;
    if !value.is_object() {
        return Err(RowError::Row {
            message: "it is not a JSON object".to_owned(),
        });
    }
    match inexact_number(json) {
        None => Ok(value),
        Some(number) => Err(RowError::Row {
            message: format!("the number {number} has more digits than are kept: make it a string"),
        }),
    }
}

/// A value whose objects have each field once.
struct Whole(Value);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor).map(Self)
    }
}

struct WholeVisitor;

impl<'de> Visitor<'de> for WholeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Whole(value)) = values.next_element()? {
            array.push(value);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Whole(value))) = fields.next_entry::<String, _>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("field '{name}' is there twice")));
            }
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

/// The first number of valid JSON that a 64-bit integer or float does not hold exactly.
fn inexact_number(json: &[u8]) -> Option<&str> {
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'"' => at = end_of_string(json, at + 1),
            b'-' | b'0'..=b'9' => {
                let is_within = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let rest = &json[at..];
                let length = rest.iter().position(|byte| !is_within(byte)).unwrap_or(rest.len());
                let number = str::from_utf8(&rest[..length]).unwrap_or_default();
                if !is_exact(number) {
                    return Some(number);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

/// The place after the quote that ends a string.
fn end_of_string(json: &[u8], mut at: usize) -> usize {
    while at < json.len() && json[at] != b'"' {
        at += if json[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn is_exact(number: &str) -> bool {
    let is_short = number.len() <= DIGITS_OF_A_FLOAT && !number.contains(['e', 'E']);
    if is_short || number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let held = number.parse::<f64>().unwrap_or(f64::NAN);
    decimal(number).is_some_and(|decimal| Some(decimal) == self::decimal(&format!("{held:e}")))
}

/// The digits of a number without zeros around them, and the power of ten of the last one.
fn decimal(number: &str) -> Option<(String, i64)> {
    let (mantissa, power) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return Some((String::new(), 0));
    }
    let power = power.parse::<i64>().ok()?;
    let dropped = i64::try_from(digits.len() - kept.len()).ok()?;
    let power = power
        .checked_add(dropped)?
        .checked_sub(i64::try_from(fraction.len()).ok()?)?;
    Some((kept.trim_start_matches('0').to_owned(), power))
}

#[cfg(test)]
mod tests {
    use super::{decimal, inexact_number, is_exact};

    #[test]
    fn numbers_that_64_bits_hold() {
        for number in [
            "0",
            "-0",
            "0.0",
            "-0.000",
            "7",
            "1.50",
            "0.1",
            "1e3",
            "1E+3",
            "1.5e-7",
            "18446744073709551615",
            "-9223372036854775808",
            "100000000000000000000000",
            "1e300",
            "0.30000000000000004",
            "12345678901234.50",
        ] {
            assert!(is_exact(number), "{number}");
        }
        for number in [
            "18446744073709551617",
            "-9223372036854775809",
            "12345678901234567.89",
            "0.1000000000000000055511151231257827",
            "1e-400",
            "123456789012345678901234567890",
        ] {
            assert!(!is_exact(number), "{number}");
        }
        assert_eq!(decimal("-0012.300e2"), Some(("123".to_owned(), 1)));
    }

    #[test]
    fn digits_in_strings_are_no_numbers() {
        let json = r#"{"18446744073709551617": "\"12345678901234567.89\\", "a": [1, {"b": 18446744073709551617}]}"#;
        assert_eq!(inexact_number(json.as_bytes()), Some("18446744073709551617"));
        assert_eq!(inexact_number(br#"{"a": "18446744073709551617"}"#), None);
    }
}
