//! The parameters of a query string: decoded once, each used or refused.

use std::str::FromStr;

use annals::{AsOf, Position, Timestamp};
use percent_encoding::percent_decode_str;

use crate::problem::Problem;

/// The most parameters of a request.
const PARAMETERS_MAX: usize = 256;

/// The parameters that a request has and no call has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// # Errors
    ///
    /// A [`Problem`] if there are too many, or the decoded bytes are not UTF-8.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let mut params = Vec::new();
        for pair in pairs {
            if params.len() == PARAMETERS_MAX {
                return Err(Problem::invalid(format!(
                    "the request has more than {PARAMETERS_MAX} parameters: send the query as the body of POST /v1/query"
                )));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            params.push((decode(name)?, decode(value)?));
        }
        Ok(Self(params))
    }

    /// Takes every value of `name`.
    pub(crate) fn many(&mut self, name: &str) -> Vec<String> {
        let taken = self.0.extract_if(.., |(given, _)| given == name);
        taken.map(|(_, value)| value).collect()
    }

    /// Takes every parameter whose name begins with `prefix`, without it.
    pub(crate) fn prefixed(&mut self, prefix: &str) -> Vec<(String, String)> {
        let taken = self.0.extract_if(.., |(given, _)| given.starts_with(prefix));
        taken
            .map(|(name, value)| (name[prefix.len()..].to_owned(), value))
            .collect()
    }

    /// Takes the value of `name`.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if there are several.
    pub(crate) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.many(name);
        if values.len() > 1 {
            return Err(Problem::invalid(format!(
                "the parameter {name} is given twice: leave one out"
            )));
        }
        Ok(values.pop())
    }

    /// Takes and parses the value of `name`; `form` describes the accepted values.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if there are several, or the value does not parse.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str, form: &str) -> Result<Option<T>, Problem> {
        let value = self.one(name)?;
        let parsed = value.map(|value| value.parse().map_err(|_| invalid(name, &value, form)));
        parsed.transpose()
    }

    /// Takes a flag: present and empty, `true` or `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.one(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => Err(invalid(name, other, "true or false")),
        }
    }

    /// # Errors
    ///
    /// A [`Problem`] that names a parameter which no call has taken.
    pub(crate) fn finish(&self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid(format!(
                "this resource has no parameter '{name}': /openapi.json lists those that it has"
            ))),
        }
    }
}

pub(crate) fn invalid(name: &str, value: &str, form: &str) -> Problem {
    Problem::invalid(format!("the parameter {name} is '{value}', but must be {form}"))
}

pub(crate) fn parse_as_of(text: &str) -> Option<AsOf> {
    if let Ok(position) = text.parse::<u64>() {
        return Some(Position(position).into());
    }
    parse_time(text).map(AsOf::from)
}

/// A time. The `+` of an offset may have been sent as it is, and is a space then.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    text.replace(' ', "+").parse().ok()
}

/// Decodes a name or a value: `+` is a space, `%` and two digits a byte.
fn decode(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| {
        Problem::invalid(format!(
            "the query string has '{text}', whose percent-encoded bytes are not UTF-8"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_was_decoded_twice() {
        let mut params = Params::parse(Some("user=a%2520b&tag=x+y&tag=%C3%BC&flag")).unwrap();
        assert_eq!(params.one("user").unwrap().as_deref(), Some("a%20b"));
        assert_eq!(params.many("tag"), ["x y", "ü"]);
        assert!(params.flag("flag").unwrap());
        assert!(params.finish().is_ok());
    }

    #[test]
    fn a_misspelt_parameter_was_ignored() {
        let mut params = Params::parse(Some("limt=5")).unwrap();
        assert_eq!(params.one("limit").unwrap(), None);
        assert!(params.finish().is_err());
    }

    #[test]
    fn invalid_utf8_was_replaced() {
        assert!(Params::parse(Some("user=%FF")).is_err());
        assert!(Params::parse(Some("%FF=1")).is_err());
    }

    #[test]
    fn one_of_two_values_was_ignored() {
        assert!(Params::parse(Some("limit=1&limit=2")).unwrap().one("limit").is_err());
    }
}
