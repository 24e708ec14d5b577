//! Expected versions: `any`, `none`, `exists` or a number, in JSON, in a parameter, and in `If-Match`.

use annals::Expected;
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue};
use serde::de::{Deserializer, Error, Visitor};
use serde_json::Value;

/// The accepted forms of an expected version.
pub(crate) const FORM: &str = "any, none, exists or a version";

pub(crate) fn parse(text: &str) -> Option<Expected> {
    match text {
        "any" => Some(Expected::Any),
        "none" => Some(Expected::NoStream),
        "exists" => Some(Expected::StreamExists),
        number => number.parse().ok().map(Expected::exactly),
    }
}

pub(crate) fn to_json(expected: Expected) -> Value {
    match expected {
        Expected::Any => "any".into(),
        Expected::NoStream => "none".into(),
        Expected::StreamExists => "exists".into(),
        Expected::Exactly(version) => version.0.into(),
    }
}

/// Reads `"any"`, `"none"`, `"exists"` or a number.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expected, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Expected;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(FORM)
        }

        fn visit_u64<E: Error>(self, version: u64) -> Result<Expected, E> {
            Ok(Expected::exactly(version))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Expected, E> {
            parse(text).ok_or_else(|| E::custom(format_args!("'{text}' is no expected version: write {FORM}")))
        }
    }
    deserializer.deserialize_any(Text)
}

/// The tag of an aggregate at a version.
pub(crate) fn tag(version: u64) -> HeaderValue {
    // A version and quotes are visible ASCII.
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// The expected version that `If-Match` or `If-None-Match` asks for.
///
/// # Errors
///
/// What is wrong, if a header has another form than one tag or `*`, or both are there.
pub(crate) fn of_headers(headers: &HeaderMap) -> Result<Option<Expected>, String> {
    let (matches, excludes) = (one(headers, &IF_MATCH)?, one(headers, &IF_NONE_MATCH)?);
    match (matches, excludes) {
        (None, None) => Ok(None),
        (Some("*"), None) => Ok(Some(Expected::StreamExists)),
        (Some(tag), None) => parse_tag(tag).map(Some),
        (None, Some("*")) => Ok(Some(Expected::NoStream)),
        (None, Some(_)) => Err("If-None-Match of an append can only be *".to_owned()),
        (Some(_), Some(_)) => Err("If-Match and If-None-Match are both there: leave one out".to_owned()),
    }
}

fn one<'a>(headers: &'a HeaderMap, name: &axum::http::HeaderName) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(format!("{name} is there twice: leave one out"));
    }
    let text = first.map(|value| value.to_str().map(str::trim));
    text.transpose().map_err(|_| format!("{name} is not visible ASCII"))
}

/// The version is the tag. Proxies that compress turn a strong tag into a weak one, which is equivalent here.
fn parse_tag(text: &str) -> Result<Expected, String> {
    let strong = text.strip_prefix("W/").unwrap_or(text);
    let version = strong.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // Tags are compared character by character: `"01"` is the tag of no version.
    let version = version.and_then(|text| text.parse::<u64>().ok().filter(|version| version.to_string() == text));
    version
        .map(Expected::exactly)
        .ok_or_else(|| format!("If-Match is '{text}', but must be * or one tag, as ETag has it, such as \"7\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &'static str) -> Result<Option<Expected>, String> {
        of_headers(&HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_static(value))]))
    }

    #[test]
    fn a_weak_tag_never_matched() {
        assert_eq!(header("W/\"7\"").unwrap(), Some(Expected::exactly(7)));
        assert_eq!(header("\"7\"").unwrap(), Some(Expected::exactly(7)));
        assert_eq!(header("*").unwrap(), Some(Expected::StreamExists));
        for wrong in ["7", "\"x\"", "\"1\", \"2\"", "", "w/\"7\""] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_version_is_written_as_it_is_read() {
        for text in ["any", "none", "exists"] {
            assert_eq!(to_json(parse(text).unwrap()), text);
        }
        assert_eq!(to_json(parse("7").unwrap()), 7);
        assert_eq!(parse("-1"), None);
    }
}
