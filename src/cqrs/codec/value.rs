//! The data of an event as a value of `serde_json`, for changes of its schema.

use serde_json::Value;

use super::CodecError;

/// A number of this many digits or more may not fit in 64 bits.
const LONG: usize = 19;

/// JSON data as a value; missing data as null.
pub(super) fn of_json(data: &[u8]) -> Result<Value, CodecError> {
    if data.is_empty() {
        return Ok(Value::Null);
    }
    let value = serde_json::from_slice(data).map_err(|error| unreadable(&error))?;
    match long_integer(data) {
        Some(number) => Err(beyond_64_bits(&number)),
        None => Ok(value),
    }
}

/// A value as JSON data; null as missing data.
pub(super) fn to_json(value: &Value) -> Result<Vec<u8>, CodecError> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    serde_json::to_vec(value).map_err(|error| CodecError::Unwritable {
        message: error.to_string(),
    })
}

pub(super) fn unreadable(error: &dyn std::fmt::Display) -> CodecError {
    CodecError::Unreadable {
        path: ".".to_owned(),
        message: error.to_string(),
    }
}

/// A value would keep the nearest number with a fraction.
pub(super) fn beyond_64_bits(number: &dyn std::fmt::Display) -> CodecError {
    unreadable(&format!(
        "the integer {number} has more than 64 bits, and a JSON value would round it: write it as a string"
    ))
}

/// The first integer outside the strings of valid JSON that has more than 64 bits.
fn long_integer(json: &[u8]) -> Option<String> {
    let mut rest = json;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match byte {
            b'"' => after_string(tail),
            b'-' | b'0'..=b'9' => {
                let (number, after) = split_number(rest);
                if is_beyond_64_bits(number) {
                    return Some(number.to_owned());
                }
                after
            }
            _ => tail,
        };
    }
    None
}

/// What comes after a string, of which the first quotation mark was read.
fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return after,
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return rest,
        };
    }
}

fn split_number(json: &[u8]) -> (&str, &[u8]) {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let end = json.iter().position(|byte| !is_part(byte)).unwrap_or(json.len());
    let (number, after) = json.split_at(end);
    (std::str::from_utf8(number).unwrap_or_default(), after)
}

fn is_beyond_64_bits(number: &str) -> bool {
    number.len() >= LONG
        && !number.contains(['.', 'e', 'E'])
        && number.parse::<u64>().is_err()
        && number.parse::<i64>().is_err()
}
