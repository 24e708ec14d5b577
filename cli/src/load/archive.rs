//! Attached archives: directories, and files of JSON lines with positions and versions.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use annals::journal::file::FileJournal;
use annals::journal::{Archive, Batch, Record};
use annals::{Builder, Error};

use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::feed::{self, Kind};
use crate::load::progress::Progress;
use crate::load::{BadLine, Entry, Options};

/// Attaches the archives at `paths` to `builder`.
pub(crate) fn attach(mut builder: Builder, paths: &[PathBuf]) -> Outcome<Builder> {
    for path in paths {
        builder = builder.attach(read(path)?);
    }
    Ok(builder)
}

fn read(path: &Path) -> Outcome<Archive> {
    let archive = if path.is_dir() || Kind::of(path).is_err() {
        read_folder(path)?
    } else {
        read_lines(path)?
    };
    if archive.is_empty() {
        return Err(Failure::Data(format!(
            "{} has no events: it is no archive",
            path.display()
        )));
    }
    Ok(archive)
}

fn read_folder(path: &Path) -> Outcome<Archive> {
    let exists = FileJournal::exists(path);
    if !exists.map_err(|error| Failure::Runtime(format!("cannot read the archive {}: {error}", path.display())))? {
        return Err(Failure::NotFound(format!(
            "there is no archive at {}; check the path of --attach",
            path.display()
        )));
    }
    let mut journal = FileJournal::open(path).map_err(Error::from)?;
    Ok(Archive::read(&mut journal).map_err(Error::from)?)
}

fn read_lines(path: &Path) -> Outcome<Archive> {
    let feed = feed::start(path, &Options::default())?;
    let mut progress = Progress::new(path);
    let (mut batches, mut last) = (Vec::new(), 0);
    let check = || interrupt::check(|| format!("{} was not attached", path.display()));
    while let Some(lines) = feed.next(check)? {
        let mut batch = Batch::new();
        for (number, entry) in lines {
            let pushed = entry.and_then(|entry| push(&mut batch, &entry, &mut last));
            pushed.map_err(|reason| Failure::Data(format!("{}: line {number}: {reason}", path.display())))?;
        }
        batches.push(batch);
        progress.show(feed.read.load(Ordering::Relaxed), feed.total, || "attached".to_owned());
    }
    Ok(Archive::new(batches))
}

fn push(batch: &mut Batch, entry: &Entry, last: &mut u64) -> Result<(), BadLine> {
    let bad = |reason: &str| BadLine(reason.to_owned());
    let Entry {
        stream,
        event,
        recorded_at,
        place,
    } = entry;
    let (Some((position, version)), Some(id), Some(recorded_at)) = (*place, event.id, *recorded_at) else {
        return Err(bad(
            "an archive has eventId, position, version and recordedAt in every line",
        ));
    };
    if position.0 <= *last || version.0 == 0 || u32::try_from(version.0).is_err() {
        return Err(bad(
            "its position does not come after the one before, or its version cannot be one",
        ));
    }
    *last = position.0;
    let tags: Vec<&str> = event.tags.iter().map(|tag| &**tag).collect();
    let mut record = Record::new(position, version, id);
    record.timestamp = event.timestamp.unwrap_or(recorded_at);
    record.recorded_at = recorded_at;
    record.aggregate_id = &stream.aggregate_id;
    record.aggregate_type = &stream.aggregate_type;
    record.event_type = &event.event_type;
    record.schema_version = event.schema_version;
    record.correlation_id = event.correlation_id.as_deref();
    record.causation_id = event.causation_id.as_deref();
    record.user_id = event.user_id.as_deref();
    record.organization_id = event.organization_id.as_deref();
    record.tags = &tags;
    record.metadata_type = event.metadata_type.as_str();
    record.metadata = &event.metadata;
    record.data_type = event.data_type.as_str();
    record.data = &event.data;
    batch.push(&record);
    Ok(())
}
