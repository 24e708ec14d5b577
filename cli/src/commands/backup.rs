//! `backup`: copies a store in files, also one that another process writes.

use annals::journal::file::BackupEnd;

use crate::args::{Backup, Global};
use crate::backup::back_up;
use crate::commands::filters;
use crate::exit::{Failure, Outcome};
use crate::load::{Location, durable};
use crate::output::Out;
use crate::output::sections::Sections;
use crate::output::text::{bytes, clean, counted};
use crate::when::Moment;

pub(crate) fn run(global: &Global, asked: &Backup, out: &mut Out<'_>) -> Outcome {
    let store = match &global.store {
        Some(Location::Durable(url)) => url.folder().map(|folder| (url, folder)),
        Some(Location::File(_) | Location::Memory | Location::Server(_)) | None => None,
    };
    let Some((url, folder)) = store else {
        let text = "only a store in files is backed up: name it with --store file:DIR; copy a log file as any file, and a database with pg_dump";
        return Err(Failure::Usage(text.to_owned()));
    };
    let end = match &asked.until {
        None => BackupEnd::Store,
        Some(Moment::Position(position)) => BackupEnd::Position(*position),
        Some(Moment::Time(time)) => BackupEnd::Time(filters::time("until", time, out.times())?),
    };
    durable::check_exists(url)?;
    let backup = back_up(folder, &asked.to, end)?;
    let found = &backup.found;
    let events = found.events - found.events_system;
    let safe = format!("{} safe in {}, verified", counted(events, "event"), asked.to.display());
    out.hint(&clean(&safe))?;
    if let BackupEnd::Position(position) = end
        && found.position < position
    {
        let text = match backup.reached.cmp(&position.0) {
            std::cmp::Ordering::Less => format!("the store ends at position {}", backup.reached),
            std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => format!(
                "the batch behind position {} ends after position {position}, and is left out whole",
                found.position
            ),
        };
        out.hint(&text)?;
    }
    let mut sections = Sections::default();
    sections.count("segments", "segments", found.segments);
    sections.figure("bytes", "bytes", found.bytes.into(), bytes(found.bytes));
    sections.count("events", "events", events);
    sections.count("eventsSystem", "events of the store itself", found.events_system);
    sections.count("position", "last position", found.position.0);
    sections.write(out)
}
