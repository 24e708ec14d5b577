//! Percent-encoded text, in URLs and in cursors.

use crate::{Error, Result};

/// Decodes the percent-encoded bytes of `text`.
///
/// # Errors
///
/// [`Error::Invalid`] when a `%` is not followed by two hexadecimal digits, or the result is not UTF-8 or contains a zero byte.
pub(crate) fn decode(text: &str) -> Result<String> {
    let refuse = || {
        Error::invalid(format!(
            "'{text}' has a % that is not followed by two hexadecimal digits: write %25 for a % itself"
        ))
    };
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (high, low) = digit(bytes.next()).zip(digit(bytes.next())).ok_or_else(refuse)?;
        decoded.push((high << 4 | low) as u8);
    }
    match String::from_utf8(decoded) {
        Ok(decoded) if !decoded.contains('\0') => Ok(decoded),
        _ => Err(Error::invalid(format!(
            "'{text}' is invalid: its percent-encoded bytes are not UTF-8, or contain a zero byte"
        ))),
    }
}
