//! `export`: events written to a file, in the order of the log.

use std::path::Path;

use annals::{Query, Store};

use crate::args::Filters;
use crate::commands::{events, filters};
use crate::exit::Outcome;
use crate::output::events::EventWriter;
use crate::output::sink::{self, Sink};
use crate::output::text::{clean, counted};
use crate::output::{Format, Out};

pub(crate) fn run(store: &Store, filters: &Filters, path: &Path, out: &mut Out<'_>) -> Outcome {
    let query = filters::query(filters, &out.zone)?;
    if path == Path::new("-") {
        out.format = if out.is_table() { Format::Jsonl } else { out.format };
        return events::write_whole(store, query, out);
    }
    let written = to_file(store, query, path, out)?;
    Ok(out.hint(&clean(&format!(
        "{} written to {}",
        counted(written, "event"),
        path.display()
    )))?)
}

/// Writes what `query` finds to the file `path`; answers how many events there were.
pub(crate) fn to_file(store: &Store, query: Query, path: &Path, out: &Out<'_>) -> Outcome<u64> {
    let format = sink::format_of(path)?;
    let mut sink = Sink::create(path)?;
    let mut writer = EventWriter::new(format, &mut sink, &out.zone)?;
    events::copy(store, query, &mut writer)?;
    let written = writer.finish()?;
    sink.keep()?;
    Ok(written)
}
