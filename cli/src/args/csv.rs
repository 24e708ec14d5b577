//! The columns of a CSV file.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::load::csv::Columns;

/// The columns of a CSV file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading CSV (columns with usual names are found without these)")]
pub(crate) struct Csv {
    /// The column with the aggregate's id
    #[arg(
        id = "csv_aggregate",
        long = "csv-aggregate",
        global = true,
        value_name = "COLUMN",
        hide_short_help = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    aggregate: Option<String>,
    /// The column with the event's type
    #[arg(
        id = "csv_type",
        long = "csv-type",
        global = true,
        value_name = "COLUMN",
        hide_short_help = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    event_type: Option<String>,
    /// The column with the time; without an offset, it is UTC
    #[arg(
        id = "csv_time",
        long = "csv-time",
        global = true,
        value_name = "COLUMN",
        hide_short_help = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    time: Option<String>,
    /// The column with the user
    #[arg(
        id = "csv_user",
        long = "csv-user",
        global = true,
        value_name = "COLUMN",
        hide_short_help = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    user: Option<String>,
    /// The column with the organization
    #[arg(
        id = "csv_organization",
        long = "csv-organization",
        global = true,
        value_name = "COLUMN",
        hide_short_help = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    organization: Option<String>,
    /// The column with the correlation
    #[arg(
        id = "csv_correlation",
        long = "csv-correlation",
        global = true,
        value_name = "COLUMN",
        hide_short_help = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    correlation: Option<String>,
    /// The column with the causation
    #[arg(
        id = "csv_causation",
        long = "csv-causation",
        global = true,
        value_name = "COLUMN",
        hide_short_help = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    causation: Option<String>,
    /// The column with the aggregate's type
    #[arg(
        id = "csv_aggregate_type_column",
        long = "csv-aggregate-type-column",
        global = true,
        value_name = "COLUMN",
        hide_short_help = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    aggregate_type: Option<String>,
    /// The type of all aggregates where no column says it [default: Case]
    #[arg(
        id = "csv_aggregate_type",
        long = "csv-aggregate-type",
        global = true,
        value_name = "NAME",
        hide_short_help = true,
        value_parser = NonEmptyStringValueParser::new()
    )]
    aggregate_type_default: Option<String>,
}

impl Csv {
    /// Whether any of them is given.
    pub(crate) fn is_given(&self) -> bool {
        self.columns() != Columns::default()
    }

    pub(crate) fn columns(&self) -> Columns {
        Columns {
            aggregate: self.aggregate.clone(),
            aggregate_type: self.aggregate_type.clone(),
            aggregate_type_default: self.aggregate_type_default.clone(),
            event_type: self.event_type.clone(),
            time: self.time.clone(),
            user: self.user.clone(),
            organization: self.organization.clone(),
            correlation: self.correlation.clone(),
            causation: self.causation.clone(),
        }
    }
}
