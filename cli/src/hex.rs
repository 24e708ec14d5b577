//! Bytes as hexadecimal digits, two for each byte.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};

use crate::load::LINE_BYTES_MAX;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes `bytes` with lower-case digits.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
    text
}

/// Reads digits of either case.
///
/// # Errors
///
/// What is wrong with `text`: a character, the number of digits, or the number of bytes.
fn decode(text: &str) -> Result<Vec<u8>, String> {
    let wrong = |char: &char| !char.is_ascii_hexdigit();
    if let Some((place, char)) = (1_usize..).zip(text.chars()).find(|(_, char)| wrong(char)) {
        return Err(format!(
            "character {place} is {char:?}, which is not a hexadecimal digit: write 0-9 and a-f"
        ));
    }
    if !text.len().is_multiple_of(2) {
        return Err(format!(
            "{} is an odd number of hexadecimal digits: write two for each byte",
            text.len()
        ));
    }
    let bytes = text.len() / 2;
    if bytes > LINE_BYTES_MAX {
        return Err(format!("{bytes} bytes, but at most {LINE_BYTES_MAX} are allowed"));
    }
    let digits = text.as_bytes().chunks_exact(2);
    Ok(digits.map(|pair| value(pair[0]) << 4 | value(pair[1])).collect())
}

/// The value of a hexadecimal digit.
fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Reads the field `name`: hexadecimal digits as bytes, and `null` as none.
///
/// # Errors
///
/// Names the field, and what is wrong with it.
pub(crate) fn field<'de, D: Deserializer<'de>>(name: &'static str, field: D) -> Result<Option<Vec<u8>>, D::Error> {
    field.deserialize_option(Field(name))
}

struct Field(&'static str);

impl<'de> Visitor<'de> for Field {
    type Value = Option<Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string of hexadecimal digits as `{}`", self.0)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, text: D) -> Result<Self::Value, D::Error> {
        text.deserialize_str(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        let bytes = decode(text).map_err(|reason| E::custom(format_args!("{}: {reason}", self.0)))?;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = encode(&bytes);
        assert!(text.starts_with("000102") && text.ends_with("fdfeff"), "{text}");
        assert_eq!(decode(&text), Ok(bytes.clone()));
        assert_eq!(decode(&text.to_uppercase()), Ok(bytes));
        assert_eq!(decode(""), Ok(Vec::new()));
    }

    #[test]
    fn invalid_digits_are_refused() {
        for (text, reason) in [
            ("0", "1 is an odd number of hexadecimal digits: write two for each byte"),
            (
                "0g",
                "character 2 is 'g', which is not a hexadecimal digit: write 0-9 and a-f",
            ),
            (
                "00\u{e9}",
                "character 3 is '\u{e9}', which is not a hexadecimal digit: write 0-9 and a-f",
            ),
            (
                "0 0",
                "character 2 is ' ', which is not a hexadecimal digit: write 0-9 and a-f",
            ),
        ] {
            assert_eq!(decode(text), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn bytes_are_bounded() {
        let text = "00".repeat(LINE_BYTES_MAX);
        assert_eq!(decode(&text).map(|bytes| bytes.len()), Ok(LINE_BYTES_MAX));
        let reason = decode(&(text + "00")).unwrap_err();
        assert_eq!(reason, "16777217 bytes, but at most 16777216 are allowed");
    }
}
