//! CBOR data as a value of `serde_json`, and back, without a loss.

use ciborium::value::{Integer, Value as CborValue};
use serde_json::{Number, Value};

use super::CodecError;
use super::value::{beyond_64_bits, unreadable};

/// The number of arrays, maps, tags and enums that may be nested in each other. More would need too much of the stack.
pub(super) const DEPTH: usize = 128;

/// The key of an object that represents bytes.
const BYTES: &str = "$bytes";
/// The key of an object that represents a map that is no object.
const MAP: &str = "$map";

/// Tags of integers of any size, in RFC 8949.
const LARGE_INTEGERS: [u64; 2] = [2, 3];

pub(super) fn to_json(value: CborValue) -> Result<Value, CodecError> {
    Ok(match value {
        CborValue::Null => Value::Null,
        CborValue::Bool(value) => value.into(),
        CborValue::Integer(value) => Value::Number(integer_to_json(value)?),
        CborValue::Float(value) => match Number::from_f64(value) {
            Some(number) => number.into(),
            None => return Err(unreadable(&format!("a JSON value cannot represent the number {value}"))),
        },
        CborValue::Text(text) => text.into(),
        CborValue::Bytes(bytes) => object(BYTES, hex(&bytes).into()),
        CborValue::Array(list) => list.into_iter().map(to_json).collect::<Result<Vec<_>, _>>()?.into(),
        CborValue::Map(entries) => map_to_json(entries)?,
        CborValue::Tag(tag, _) if LARGE_INTEGERS.contains(&tag) => return Err(beyond_64_bits(&"with a CBOR tag")),
        CborValue::Tag(tag, _) => {
            return Err(unreadable(&format!(
                "a JSON value cannot represent a value with the CBOR tag {tag}"
            )));
        }
        _ => {
            return Err(unreadable(
                &"a JSON value cannot represent a value of this kind of CBOR",
            ));
        }
    })
}

fn integer_to_json(integer: Integer) -> Result<Number, CodecError> {
    if let Ok(positive) = u64::try_from(integer) {
        return Ok(positive.into());
    }
    match i64::try_from(integer) {
        Ok(negative) => Ok(negative.into()),
        Err(_) => Err(beyond_64_bits(&i128::from(integer))),
    }
}

/// An object when every key is a text that occurs once, and the object does not look like one of ours.
fn map_to_json(entries: Vec<(CborValue, CborValue)>) -> Result<Value, CodecError> {
    let is_ours = matches!(entries.as_slice(), [(CborValue::Text(key), _)] if key == BYTES || key == MAP);
    let mut keys: Vec<_> = entries.iter().map_while(|(key, _)| key.as_text()).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.len() < entries.len() || is_ours {
        let pair = |(key, value)| Ok(Value::Array(vec![to_json(key)?, to_json(value)?]));
        let pairs: Vec<_> = entries.into_iter().map(pair).collect::<Result<_, _>>()?;
        return Ok(object(MAP, pairs.into()));
    }
    let named = |(key, value): (CborValue, _)| match key.into_text() {
        Ok(key) => Ok((key, to_json(value)?)),
        Err(key) => Err(unreadable(&format!("a map has the key {key:?}"))),
    };
    entries.into_iter().map(named).collect()
}

fn object(key: &str, value: Value) -> Value {
    Value::Object([(key.to_owned(), value)].into_iter().collect())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

pub(super) fn of_json(value: &Value) -> Result<CborValue, CodecError> {
    value_of_json(value, DEPTH)
}

fn value_of_json(value: &Value, depth: usize) -> Result<CborValue, CodecError> {
    let Some(depth) = depth.checked_sub(1) else {
        let message = format!("the value is nested deeper than {DEPTH} levels");
        return Err(CodecError::Unwritable { message });
    };
    Ok(match value {
        Value::Null => CborValue::Null,
        Value::Bool(value) => CborValue::Bool(*value),
        Value::Number(number) => number_of_json(number),
        Value::String(text) => CborValue::Text(text.clone()),
        Value::Array(list) => {
            let list = list.iter().map(|value| value_of_json(value, depth));
            CborValue::Array(list.collect::<Result<_, _>>()?)
        }
        Value::Object(object) => match (object.len(), object.get(BYTES), object.get(MAP)) {
            (1, Some(bytes), _) => bytes_of_json(bytes)?,
            (1, _, Some(pairs)) => map_of_json(pairs, depth)?,
            _ => {
                let entry = |(key, value): (&String, _)| Ok((key.as_str().into(), value_of_json(value, depth)?));
                CborValue::Map(object.iter().map(entry).collect::<Result<_, _>>()?)
            }
        },
    })
}

fn number_of_json(number: &Number) -> CborValue {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(positive), _, _) => positive.into(),
        (_, Some(negative), _) => negative.into(),
        (_, _, fraction) => fraction.unwrap_or(f64::NAN).into(),
    }
}

fn bytes_of_json(hex: &Value) -> Result<CborValue, CodecError> {
    hex.as_str()
        .and_then(bytes_of_hex)
        .map(CborValue::Bytes)
        .ok_or_else(|| CodecError::Unwritable {
            message: format!("the value of '{BYTES}' is {hex}: expected pairs of hex digits"),
        })
}

fn bytes_of_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = hex.as_bytes().as_chunks();
    let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

fn map_of_json(pairs: &Value, depth: usize) -> Result<CborValue, CodecError> {
    let refused = || CodecError::Unwritable {
        message: format!("the value of '{MAP}' is {pairs}: expected an array of pairs"),
    };
    let pair = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
        Some([key, value]) => Ok((value_of_json(key, depth)?, value_of_json(value, depth)?)),
        _ => Err(refused()),
    };
    let pairs = pairs.as_array().ok_or_else(refused)?;
    Ok(CborValue::Map(pairs.iter().map(pair).collect::<Result<_, _>>()?))
}
