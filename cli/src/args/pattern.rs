//! A value of a filter: a name, or the text that names begin with.

use annals::{Field, Filter};

/// A name, or a prefix of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// This name.
    Is(String),
    /// Names that begin with this text.
    Prefix(String),
}

impl Pattern {
    /// Reads a name, or a prefix with a `*` behind it. `**` stands for a star of the name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty: name a value, or a prefix with * behind it".to_owned());
        }
        let mut parts = text.split("**").peekable();
        let mut name = String::with_capacity(text.len());
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            match part.split_once('*') {
                None => name.push_str(part),
                Some((before, "")) if is_last => return Ok(Self::Prefix(name + before)),
                Some(_) => return Err(misplaced(text)),
            }
            if !is_last {
                name.push('*');
            }
        }
        Ok(Self::Is(name))
    }

    /// The filter for events of which one of `patterns` describes the field.
    pub(crate) fn any(field: &Field, patterns: &[Self]) -> Filter {
        let mut names = Vec::new();
        let mut filters = Vec::new();
        for pattern in patterns {
            match pattern {
                Self::Is(name) => names.push(name.as_str()),
                Self::Prefix(prefix) => filters.push(Filter::prefix(field.clone(), prefix.as_str())),
            }
        }
        if !names.is_empty() {
            filters.push(Filter::one_of(field.clone(), names));
        }
        if filters.len() == 1 {
            filters.swap_remove(0)
        } else {
            Filter::Any(filters)
        }
    }
}

fn misplaced(text: &str) -> String {
    format!(
        "'{text}' has a * before its end: only a prefix can be searched, such as '{}'; write ** for a * of the name itself",
        text.split('*')
            .next()
            .filter(|prefix| !prefix.is_empty())
            .unwrap_or("Order")
            .to_owned()
            + "*"
    )
}

/// Reads the patterns of types: several have commas between them. A name can contain a comma, or spaces at its ends: the whole text is a pattern
/// too if it is valid.
pub(crate) fn parse_types(text: &str) -> Result<Types, String> {
    if text.split(',').any(|name| name.trim().is_empty()) {
        return Err("a type is empty: name one, or several with commas between them".to_owned());
    }
    let parts = text.split(',').map(|part| Pattern::parse(part.trim()));
    let mut types = parts.collect::<Result<Vec<_>, _>>()?;
    if let Ok(whole) = Pattern::parse(text)
        && !types.contains(&whole)
    {
        types.push(whole);
    }
    Ok(Types(types))
}

/// The patterns of one `--type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Types(pub(crate) Vec<Pattern>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_the_end_is_a_prefix_and_two_are_a_star() {
        let is = |name: &str| Ok(Pattern::Is(name.to_owned()));
        let prefix = |name: &str| Ok(Pattern::Prefix(name.to_owned()));
        for (text, pattern) in [
            ("Order", is("Order")),
            ("Order*", prefix("Order")),
            ("*", prefix("")),
            ("a**b", is("a*b")),
            ("a**", is("a*")),
            ("a***", prefix("a*")),
            ("****", is("**")),
            ("DOMAIN\\*", prefix("DOMAIN\\")),
        ] {
            assert_eq!(Pattern::parse(text), pattern, "{text}");
        }
    }

    #[test]
    fn a_star_elsewhere_is_refused_with_what_to_write() {
        for (text, told) in [
            ("*x", "such as 'Order*'"),
            ("a*b", "such as 'a*'"),
            ("a*b*", "such as 'a*'"),
            ("*x**", "** for a *"),
            ("a***b", "** for a *"),
            ("x* ", "such as 'x*'"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(
                error.starts_with(&format!("'{text}' has a *")) && error.contains(told),
                "{error}"
            );
        }
        assert!(Pattern::parse("").is_err());
    }

    #[test]
    fn a_type_with_a_comma_and_a_star_or_a_space_before_it_was_not_found() {
        let is = |name: &str| Pattern::Is(name.to_owned());
        let prefix = |name: &str| Pattern::Prefix(name.to_owned());
        for (text, patterns) in [
            ("A,B**", vec![is("A"), is("B*"), is("A,B*")]),
            ("A,B*", vec![is("A"), prefix("B"), prefix("A,B")]),
            (" lead", vec![is("lead"), is(" lead")]),
            ("tail ", vec![is("tail"), is("tail ")]),
            (" lead*", vec![prefix("lead"), prefix(" lead")]),
            ("A", vec![is("A")]),
            ("*", vec![prefix("")]),
        ] {
            assert_eq!(parse_types(text).unwrap().0, patterns, "{text}");
        }
    }

    #[test]
    fn types_are_split_at_commas_and_kept_whole() {
        let is = |name: &str| Pattern::Is(name.to_owned());
        assert_eq!(parse_types("A, B").unwrap().0, [is("A"), is("B"), is("A, B")]);
        let with_prefix = [Pattern::Prefix("A".to_owned()), is("B")];
        assert_eq!(parse_types("A*,B").unwrap().0, with_prefix);
        for text in ["", " ", "A,", "A,*x", "A*, B*C"] {
            assert!(parse_types(text).is_err(), "{text}");
        }
    }
}
