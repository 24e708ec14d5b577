//! Which events are asked for.

use annals::JsonValue;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::when;

/// Which events: all conditions must hold. One that is given several times holds if one of its values fits; of `--where` and
/// `--metadata`, all must.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filters {
    /// What happened; several with commas or by repeating it
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_types)]
    pub(crate) event_type: Vec<String>,
    /// The aggregate's id
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) aggregate: Vec<String>,
    /// The aggregate's type
    #[arg(long, value_name = "TYPE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) aggregate_type: Vec<String>,
    /// The conversation
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) correlation: Vec<String>,
    /// The causing event or command
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) causation: Vec<String>,
    /// Who did it
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: Vec<String>,
    /// For which organization
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) organization: Vec<String>,
    /// A tag of the event
    #[arg(long, value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tag: Vec<String>,
    /// The UTC day, such as 2026-01-31
    #[arg(long, value_name = "DATE", value_parser = when::parse_day)]
    pub(crate) day: Vec<String>,
    /// What happened then or later: a time or a date
    #[arg(long, value_name = "TIME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) since: Option<String>,
    /// What happened before: a time or a date
    #[arg(long, value_name = "TIME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) before: Option<String>,
    /// After this position
    #[arg(long, value_name = "POSITION")]
    pub(crate) after: Option<u64>,
    /// Up to this position
    #[arg(long, value_name = "POSITION")]
    pub(crate) until: Option<u64>,
    /// What data have at a JSON pointer: /amount=250, /name=Anna, /name="250"
    #[arg(long = "where", value_name = "/POINTER=VALUE", value_parser = parse_pointer)]
    pub(crate) data: Vec<(String, JsonValue)>,
    /// What metadata have at a JSON pointer, beside the four ids that are filters of their own
    #[arg(long, value_name = "/POINTER=VALUE", value_parser = parse_pointer)]
    pub(crate) metadata: Vec<(String, JsonValue)>,
    /// What data or metadata contain, case-insensitive
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) text: Option<String>,
    /// As the log was: up to a position, or what was recorded up to a time
    #[arg(long, value_name = "POSITION|TIME", value_parser = when::parse_as_of)]
    pub(crate) as_of: Option<annals::AsOf>,
}

/// One or more types between commas, none of them empty.
fn parse_types(text: &str) -> Result<String, String> {
    if text.split(',').any(|name| name.trim().is_empty()) {
        return Err("a type is empty: name one, or several with commas between them".to_owned());
    }
    Ok(text.to_owned())
}

/// A JSON pointer and a value: JSON if it is JSON, else a text.
fn parse_pointer(text: &str) -> Result<(String, JsonValue), String> {
    let (pointer, value) = text.split_once('=').ok_or("write it as /pointer=value")?;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!("the pointer '{pointer}' must begin with '/'"));
    }
    if value.trim().is_empty() {
        return Err(format!(
            "the value is empty: an empty text is written as {pointer}='\"\"'"
        ));
    }
    let value = JsonValue::parse(value).unwrap_or_else(|_| value.into());
    Ok((pointer.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_have_values_of_json_or_text() {
        assert_eq!(parse_pointer("/a/b=250"), Ok(("/a/b".to_owned(), 250.into())));
        assert_eq!(parse_pointer("/a=x=y"), Ok(("/a".to_owned(), "x=y".into())));
        assert_eq!(parse_pointer("/a=\"250\""), Ok(("/a".to_owned(), "250".into())));
        assert!(parse_pointer("a=1").is_err());
        assert!(parse_pointer("/a").is_err());
    }
}
