//! Times of foreign JSON: texts, and numbers since 1970.

use annals::Timestamp;
use serde_json::value::RawValue;

use super::value::expected;
use crate::when;

const FORMS: &str = "a time like 2026-01-31T12:00:00Z, or seconds, milliseconds or microseconds since 1970";

/// For each unit: the exclusive upper bound of its magnitudes, its microseconds, and how many of its decimals are within a microsecond.
///
/// 10^11 seconds are in the year 5138, 10^11 milliseconds in March 1973, and 10^14 microseconds too.
const UNITS: [(i128, i128, usize); 3] = [
    (100_000_000_000, 1_000_000, 6),
    (100_000_000_000_000, 1_000, 3),
    (100_000_000_000_000_000, 1, 0),
];

/// Parses a time, or a number since 1970 whose magnitude determines the unit.
pub(super) fn read(value: &RawValue) -> Result<Timestamp, String> {
    let json = value.get();
    if !json.starts_with('"') {
        return since_1970(json).ok_or_else(|| expected(json, FORMS))?;
    }
    let text: String = serde_json::from_str(json).map_err(|error| format!("is no text: {error}"))?;
    // A date without hyphens consists of digits too.
    if let Ok(time) = when::parse(&text) {
        return Ok(time);
    }
    since_1970(&text).ok_or_else(|| expected(json, FORMS))?
}

/// `None` if `text` is not a decimal number.
fn since_1970(text: &str) -> Option<Result<Timestamp, String>> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    Some(
        micros(whole, fraction)
            .ok_or_else(|| format!("is {text}, which is no time: expected {FORMS}"))
            .and_then(|micros| {
                let micros = i64::try_from(sign * micros).map_err(|error| error.to_string())?;
                Timestamp::try_from_micros(micros).map_err(|error| format!("is {text}: {error}"))
            }),
    )
}

/// The microseconds of a number in the unit that its magnitude determines. Digits beyond a microsecond are cut.
fn micros(whole: &str, fraction: &str) -> Option<i128> {
    let number: i128 = whole.parse().ok()?;
    let (_, unit, places) = UNITS.into_iter().find(|(end, _, _)| number < *end)?;
    let within: String = fraction.chars().chain(std::iter::repeat('0')).take(places).collect();
    let within = if within.is_empty() { 0 } else { within.parse().ok()? };
    Some(number * unit + within)
}
