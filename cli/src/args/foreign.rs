//! How logs of other programs are read.

use clap::{Args, ValueEnum};

use crate::load::feed::Kind;
use crate::load::foreign::{Mapped, Mapping};

/// How logs of other programs are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading logs of other programs")]
pub(crate) struct Foreign {
    /// What the standard input holds, or a file whose name does not say it [default: json]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", hide_short_help = true)]
    pub(crate) input: Option<Input>,
    /// Where a field of an event is in JSON: a JSON pointer, such as aggregateId=/case/id, or a text for every event, such as
    /// aggregateType='"Case"'; may be repeated. A field without a --map has its own name; fields without a place are left out
    ///
    /// The fields are aggregateId, aggregateType, eventType, timestamp, eventId, eventVersion, eventData (`eventData=` for the whole object), metadata,
    /// correlationId, causationId, userId, organizationId, tags and recordedAt. Integers are names too. A time is a text, or a number since 1970: seconds
    /// below 10^11, milliseconds below 10^14, microseconds below 10^17.
    #[arg(long, global = true, value_name = "FIELD=/POINTER", value_parser = Mapped::parse, hide_short_help = true)]
    pub(crate) map: Vec<Mapped>,
    /// With --map: keep what no pointer leads to in the metadata
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) keep_unknown: bool,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Input {
    /// One event a line, or an array of events
    Json,
    /// A header, and one event a line
    Csv,
}

impl Input {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Json => Kind::JsonLines,
            Self::Csv => Kind::Csv,
        }
    }
}

impl Foreign {
    /// How JSON of another program is read; `None` for JSON of this one.
    ///
    /// # Errors
    ///
    /// Why the options cannot be given together.
    pub(crate) fn mapping(&self) -> Result<Option<Mapping>, String> {
        if self.map.is_empty() && self.keep_unknown {
            return Err("--keep-unknown keeps what no --map leads to, and none is given: leave it out".to_owned());
        }
        if self.map.is_empty() {
            return Ok(None);
        }
        let mapping = Mapping::new(&self.map, self.keep_unknown);
        mapping
            .map(Some)
            .map_err(|field| format!("--map {field}=… is given twice: leave one out"))
    }
}
