//! `archive`: moves old events of a durable store to a directory or to a file of JSON lines.

use std::io::Write as _;
use std::path::Path;

use annals::journal::file::ArchiveWriter;
use annals::{ArchiveCandidates, EventRef, Store};

use crate::args::{Archive, Global};
use crate::commands::{filters, target};
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::feed::Kind;
use crate::load::progress::Progress;
use crate::load::{LINE_BYTES_MAX, Location, durable, jsonl};
use crate::output::Out;
use crate::output::payload::Fidelity;
use crate::output::sections::Sections;
use crate::output::sink::Sink;
use crate::output::text::{bytes, clean, counted};
use crate::output::wire::Wire;

pub(crate) fn run(global: &Global, archive: &Archive, out: &mut Out<'_>) -> Outcome {
    let Some(Location::Durable(url)) = &global.store else {
        let text = "events are archived from a durable store: name it with --store file:DIR";
        return Err(Failure::Usage(text.to_owned()));
    };
    let before = filters::time("before", &archive.before, out.times())?;
    check_target(&archive.to)?;
    let store = durable::open(url, out)?;
    let archived = store.archive(before, &name_of(&archive.to), |outdated| save(outdated, &archive.to))?;
    if archived.events > 0 {
        let safe = format!(
            "{} of {} moved to {}",
            counted(archived.events, "event"),
            counted(archived.aggregates, "aggregate"),
            archive.to.display()
        );
        out.hint(&clean(&safe))?;
    }
    give_room_back(&store, &archived, out)
}

fn give_room_back(store: &Store, archived: &annals::Archived, out: &mut Out<'_>) -> Outcome {
    let compaction = store.compact_journal()?;
    let freed = compaction.bytes_before.saturating_sub(compaction.bytes_after);
    store.close()?;
    let mut sections = Sections::default();
    sections.count("eventsArchived", "events archived", archived.events);
    sections.count("aggregates", "aggregates they are of", archived.aggregates);
    sections.figure("bytesFreed", "room given back", freed.into(), bytes(freed));
    sections.count("position", "last position", store.visible().0);
    sections.write(out)
}

/// The name of the archive in the store.
fn name_of(to: &Path) -> String {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    name.replace(['"', '\\'], "_")
}

/// Rejects an invalid target before any work is done.
fn check_target(to: &Path) -> Outcome {
    let is_taken = if is_file(to)? {
        to.exists()
    } else {
        std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some())
    };
    if is_taken {
        return Err(Failure::Usage(format!(
            "{} is there already: name another, so that no archive is lost",
            to.display()
        )));
    }
    Ok(())
}

/// Whether the archive is a file of JSON lines; otherwise it is a directory.
fn is_file(to: &Path) -> Outcome<bool> {
    match Kind::of(to) {
        Ok(Kind::JsonLines) if to != Path::new("-") => Ok(true),
        Ok(_) => Err(Failure::Usage(format!(
            "{} cannot hold everything: name a folder, or *.jsonl, also with .gz or .zst",
            to.display()
        ))),
        Err(_) => Ok(false),
    }
}

fn save(outdated: &ArchiveCandidates<'_>, to: &Path) -> Outcome {
    let total = outdated.len() as u64;
    let mut progress = Progress::of_events(&to.display().to_string());
    let mut done = 0;
    let mut step = || {
        done += 1;
        progress.show(done, total, || "archived".to_owned());
        interrupt::check(|| "the archive was not finished, and nothing was moved".to_owned())
    };
    if is_file(to)? {
        let mut sink = Sink::create(&target(to, false, Vec::new()))?;
        let mut line = Vec::new();
        outdated.try_for_each(|event| {
            write_line(event, &mut line)?;
            sink.write_all(&line)?;
            step()
        })?;
        return sink.keep();
    }
    save_folder(outdated, to, &mut step)
}

/// Writes the events to an archive in the directory `to`, and calls `step` after each event.
pub(crate) fn save_folder(outdated: &ArchiveCandidates<'_>, to: &Path, step: &mut dyn FnMut() -> Outcome) -> Outcome {
    let mut archive = ArchiveWriter::create(to).map_err(annals::Error::from)?;
    outdated.try_for_each(|event| {
        archive.push(event).map_err(annals::Error::from)?;
        step()
    })?;
    archive.finish().map_err(annals::Error::from)?;
    Ok(())
}

/// Formats an event as a line, and verifies that the line parses to the same event.
fn write_line(event: EventRef<'_>, line: &mut Vec<u8>) -> Outcome {
    line.clear();
    Wire::from(event).write_json(line, Fidelity::Exact)?;
    let kept = event.to_event();
    if line.len() > LINE_BYTES_MAX {
        return Err(Failure::Data(format!(
            "the event at position {} has a line of {} bytes, but a line can have at most {LINE_BYTES_MAX}; archive to a folder, which holds \
             every event",
            event.position(),
            line.len()
        )));
    }
    let read = jsonl::parse_entry(line).ok().filter(|read| {
        read.stream == kept.stream_id()
            && read.event == kept.to_new()
            && read.recorded_at == Some(kept.recorded_at())
            && read.place == Some((kept.position(), kept.version()))
    });
    if read.is_none() {
        return Err(Failure::Data(format!(
            "the event at position {} is not the same when it is read from a line of JSON; archive to a folder, which holds every event",
            kept.position()
        )));
    }
    line.push(b'\n');
    Ok(())
}
