//! `export`: writes events to a file, ascending by position.

use annals::{Query, Store};

use crate::args::{Filters, Global};
use crate::commands::written::tell;
use crate::commands::{events, filters, nearest, open};
use crate::exit::{Failure, Outcome};
use crate::output::events::{EventWriter, Written};
use crate::output::payload::Fidelity;
use crate::output::sink::Sink;
use crate::output::target::Target;
use crate::output::{Format, Out};

/// Exports to `target` in the requested format, or in the format of the target's file name.
pub(crate) fn run(
    global: &Global,
    asked: Option<Format>,
    (filters, limit): (&Filters, Option<usize>),
    target: &Target,
    out: &mut Out<'_>,
) -> Outcome {
    let query = filters::query(filters, out.times())?;
    let query = match limit {
        Some(limit) => query.limit(limit),
        None => query,
    };
    if target.is_stdout()? {
        out.format = of_stdout(asked)?;
        let store = open(global, out)?;
        nearest::hint(&store, filters, out)?;
        return events::write_whole(&store, query, Fidelity::Exact, out);
    }
    let format = target.format(asked)?;
    // Before the log is loaded, which can take long.
    target.check()?;
    let store = open(global, out)?;
    nearest::hint(&store, filters, out)?;
    let written = to_file(&store, query, target, format, out)?;
    tell(written, target, out)
}

/// The format of standard output: lines of JSON, unless another format is requested.
pub(crate) fn of_stdout(asked: Option<Format>) -> Outcome<Format> {
    match asked {
        Some(Format::Table) => Err(Failure::Usage(
            "a log is no table: leave --format out, or write --format json, jsonl or csv".to_owned(),
        )),
        asked => Ok(asked.unwrap_or(Format::Jsonl)),
    }
}

/// Writes the events that match `query` to `target`; returns their number.
pub(crate) fn to_file(store: &Store, query: Query, target: &Target, format: Format, out: &Out<'_>) -> Outcome<Written> {
    let mut sink = Sink::create(target)?;
    let mut writer = EventWriter::new(format, Fidelity::Exact, &mut sink, &out.zone, out.screen)?;
    events::copy(store, query, &mut writer)?;
    let written = writer.finish()?;
    sink.keep()?;
    Ok(written)
}
