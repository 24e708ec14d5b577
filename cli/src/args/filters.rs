//! Which events are asked for.

use annals::{Field, JsonValue};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::pattern::{Pattern, Types, parse_types};
use crate::when::{self, Moment};

/// Which events: all conditions must hold. One that is given several times holds if one of its values fits; of `--where` and
/// `--metadata`, all must. A value with a `*` at its end is a prefix.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filters {
    /// What happened; several with commas or by repeating it; 'Order*' for those that begin with Order, as in the next ones
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_types)]
    pub(crate) event_type: Vec<Types>,
    /// The aggregate's id
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) aggregate: Vec<Pattern>,
    /// The aggregate's type
    #[arg(long, value_name = "TYPE", value_parser = Pattern::parse)]
    pub(crate) aggregate_type: Vec<Pattern>,
    /// The conversation
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) correlation: Vec<Pattern>,
    /// The causing event or command
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) causation: Vec<Pattern>,
    /// Who did it
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) user: Vec<Pattern>,
    /// For which organization
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) organization: Vec<Pattern>,
    /// A tag of the event
    #[arg(long, value_name = "TAG", value_parser = Pattern::parse)]
    pub(crate) tag: Vec<Pattern>,
    /// The UTC day, such as 2026-01-31
    #[arg(long, value_name = "DATE", value_parser = when::parse_day)]
    pub(crate) day: Vec<String>,
    /// What happened then or later: a time, a date, or how long ago by the clock of this machine: 90s, 15m, 3h, 2d, 1w (a day is 24 hours)
    #[arg(long, value_name = "TIME", value_parser = NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// What happened before: as --since
    #[arg(long, value_name = "TIME", value_parser = NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
    pub(crate) before: Option<String>,
    /// After this position
    #[arg(long, value_name = "POSITION")]
    pub(crate) after: Option<u64>,
    /// Up to this position; or what happened up to this time, inclusive
    #[arg(long, value_name = "POSITION|TIME", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub(crate) until: Option<Moment>,
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
    #[arg(long, value_name = "POSITION|TIME", value_parser = Moment::parse, allow_hyphen_values = true)]
    pub(crate) as_of: Option<Moment>,
    #[command(flatten)]
    pub(crate) except: Exceptions,
}

/// Which events not: those of which one of these conditions holds.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Exceptions")]
#[expect(
    clippy::struct_field_names,
    reason = "clap takes the names of the flags from the fields"
)]
pub(crate) struct Exceptions {
    /// Not what happened; several with commas or by repeating it
    #[arg(long, value_name = "TYPE", value_parser = parse_types)]
    pub(crate) not_type: Vec<Types>,
    /// Not of this aggregate
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) not_aggregate: Vec<Pattern>,
    /// Not of aggregates of this type
    #[arg(long, value_name = "TYPE", value_parser = Pattern::parse)]
    pub(crate) not_aggregate_type: Vec<Pattern>,
    /// Not of this conversation
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) not_correlation: Vec<Pattern>,
    /// Not caused by this event or command
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) not_causation: Vec<Pattern>,
    /// Not by this user; '*' for events without a user
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) not_user: Vec<Pattern>,
    /// Not for this organization
    #[arg(long, value_name = "ID", value_parser = Pattern::parse)]
    pub(crate) not_organization: Vec<Pattern>,
    /// Not with this tag
    #[arg(long, value_name = "TAG", value_parser = Pattern::parse)]
    pub(crate) not_tag: Vec<Pattern>,
}

/// Fields, each with the patterns of it that are given.
pub(crate) type Terms = [(Field, Vec<Pattern>); 8];

impl Filters {
    pub(crate) fn terms(&self) -> Terms {
        [
            (Field::EventType, types(&self.event_type)),
            (Field::AggregateType, self.aggregate_type.clone()),
            (Field::Aggregate, self.aggregate.clone()),
            (Field::Correlation, self.correlation.clone()),
            (Field::Causation, self.causation.clone()),
            (Field::User, self.user.clone()),
            (Field::Organization, self.organization.clone()),
            (Field::Tag, self.tag.clone()),
        ]
    }
}

impl Exceptions {
    pub(crate) fn terms(&self) -> Terms {
        [
            (Field::EventType, types(&self.not_type)),
            (Field::AggregateType, self.not_aggregate_type.clone()),
            (Field::Aggregate, self.not_aggregate.clone()),
            (Field::Correlation, self.not_correlation.clone()),
            (Field::Causation, self.not_causation.clone()),
            (Field::User, self.not_user.clone()),
            (Field::Organization, self.not_organization.clone()),
            (Field::Tag, self.not_tag.clone()),
        ]
    }
}

fn types(given: &[Types]) -> Vec<Pattern> {
    given.iter().flat_map(|types| types.0.clone()).collect()
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
