//! The folder of a result: `manifest.json`, `summary.json`, `summary.csv`, `timeseries.csv`, and a histogram log for each row.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{FORMAT, Figure, Manifest, Summary};
use crate::load::{Loaded, Samples};
use crate::plan::Row;
use crate::statistics::Estimate;
use crate::workload::{Kind, Mode};

/// The file that a folder has while its result is measured.
const CLAIM: &str = "running";

/// The most bytes of a file that is read.
const BYTES_MAX: u64 = 256 << 20;

/// Maximum number of rows of a result that is read.
const ROWS_MAX: usize = 10_000;

/// The reason why a result cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// A file cannot be written or read.
    #[error("cannot {verb} {}: {error}", path.display())]
    File {
        /// The attempted operation.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// A file is invalid.
    #[error("{} is no result of `annals bench`: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

/// The folder of a result.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Creates the folder, which must be empty or not exist, but not its parents, and claims it with a file `running` until [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// [`ResultsError::File`] if it cannot be created, holds files, or another process has claimed it.
    pub fn create(path: &Path) -> Result<Self, ResultsError> {
        let folder = Self { path: path.to_owned() };
        folder.claim().map_err(|error| ResultsError::File {
            verb: "create",
            path: path.to_owned(),
            error,
        })?;
        Ok(folder)
    }

    fn claim(&self) -> io::Result<()> {
        let taken = |text: &str| Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        let (claim, filled) = (self.claim_file(), "the folder holds files; name another one");
        annals::journal::file::Folder::create(&self.path)?;
        let claimed = "another run writes to it, or was killed; name another folder, or remove this one";
        if claim.exists() {
            return taken(claimed);
        }
        if fs::read_dir(&self.path)?.next().is_some() {
            return taken(filled);
        }
        // Of two processes that find the folder empty, one creates the file.
        match fs::File::create_new(&claim) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return taken(claimed),
            created => created?,
        };
        // A run that began before may have ended in the meantime.
        if fs::read_dir(&self.path)?.count() > 1 {
            self.release();
            return taken(filled);
        }
        Ok(())
    }

    /// The file that claims the folder.
    pub fn claim_file(&self) -> PathBuf {
        self.path.join(CLAIM)
    }

    /// Removes the claim: the result is written, or given up.
    pub fn release(&self) {
        // A file that cannot be removed is only untidy.
        drop(fs::remove_file(self.claim_file()));
    }

    /// The folder of a result that was written before.
    pub fn existing(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all files but the report.
    ///
    /// # Errors
    ///
    /// [`ResultsError::File`] if one cannot be written.
    pub fn write(&self, manifest: &Manifest, summary: &Summary, rows: &[Row]) -> Result<(), ResultsError> {
        self.file("manifest.json", |file| json(file, manifest))?;
        self.file("summary.json", |file| json(file, summary))?;
        self.file("summary.csv", |file| write_summary(file, summary))?;
        self.file("timeseries.csv", |file| write_timeseries(file, summary))?;
        for (number, row) in (1..).zip(rows) {
            self.file(&histogram_name(number, row), |file| {
                write_histograms(file, row, manifest)
            })?;
        }
        Ok(())
    }

    /// Writes a file of the folder.
    ///
    /// # Errors
    ///
    /// [`ResultsError::File`] if it cannot be written.
    pub fn file(&self, name: &str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), ResultsError> {
        let path = self.path.join(name);
        // A new file replaces the old one. If that is a link, its target is not written.
        let new = self.path.join(format!("{name}.{}.tmp", std::process::id()));
        let written = fs::File::create_new(&new).and_then(|file| {
            let mut file = io::BufWriter::new(file);
            write(&mut file)?;
            file.flush()?;
            fs::rename(&new, &path)
        });
        written.map_err(|error| {
            // What was written of it is of no use.
            drop(fs::remove_file(&new));
            ResultsError::File {
                verb: "write",
                path,
                error,
            }
        })
    }
}

/// Reads the manifest and the figures of the result in `folder`.
///
/// # Errors
///
/// [`ResultsError`] if a file is missing, or is none of a result.
pub fn read(folder: &Path) -> Result<(Manifest, Summary), ResultsError> {
    let manifest = read_checked(folder.join("manifest.json"), check_manifest)?;
    let summary = read_checked(folder.join("summary.json"), check_summary)?;
    Ok((manifest, summary))
}

/// Reads the file at `path`, whose format must be that of this program, and which `check` finds no fault with.
fn read_checked<T: DeserializeOwned>(
    path: PathBuf,
    check: impl FnOnce(&T) -> Result<(), String>,
) -> Result<T, ResultsError> {
    // Alone first: a file of another format may have other fields.
    #[derive(serde::Deserialize)]
    struct Formatted {
        format: u32,
    }
    let Formatted { format } = read_json(&path)?;
    let checked = if format == FORMAT {
        let read: T = read_json(&path)?;
        check(&read).map(|()| read)
    } else {
        Err(format!("its format is {format}, and this program reads {FORMAT}"))
    };
    checked.map_err(|reason| ResultsError::Invalid { path, reason })
}

/// Why the figures of a result cannot be used, if they cannot: they may have been changed.
fn check_summary(summary: &Summary) -> Result<(), String> {
    let count = summary.rows.len();
    if count == 0 || count > ROWS_MAX {
        return Err(format!("it has {count} rows, and must have 1 to {ROWS_MAX}"));
    }
    for row in &summary.rows {
        let mut seen = BTreeSet::new();
        for (figure, found) in &row.figures {
            let name = || format!("'{}' of {} on {}", figure.name(), row.workload, row.backend.name);
            if !seen.insert(figure.name()) {
                return Err(format!("{} is there twice", name()));
            }
            if !found.is_possible() {
                let Estimate { value, low, high } = found;
                return Err(format!("{} is {value}, from {low} to {high}", name()));
            }
        }
    }
    Ok(())
}

/// The reason why a manifest cannot be measured again, if any: it may have been changed.
fn check_manifest(manifest: &Manifest) -> Result<(), String> {
    if manifest.workloads.is_empty() || manifest.backends.is_empty() {
        return Err("it names no workload, or no backend".to_owned());
    }
    for workload in &manifest.workloads {
        let rows = workload.rows().map_err(|error| format!("{}: {error}", workload.name))?;
        for row in rows {
            row.checked().map_err(|error| format!("{}: {error}", workload.name))?;
        }
    }
    Ok(())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ResultsError> {
    let error = |error| ResultsError::File {
        verb: "read",
        path: path.to_owned(),
        error,
    };
    let invalid = |reason| ResultsError::Invalid {
        path: path.to_owned(),
        reason,
    };
    // A pipe would be waited for when it is opened, and a device has no end.
    let found = fs::metadata(path).map_err(error)?;
    if !found.is_file() {
        return Err(invalid("it is no file".to_owned()));
    }
    if found.len() > BYTES_MAX {
        return Err(invalid(format!("it has more than {BYTES_MAX} bytes")));
    }
    let file = fs::File::open(path).map_err(error)?.take(BYTES_MAX);
    serde_json::from_reader(io::BufReader::new(file)).map_err(|error| invalid(error.to_string()))
}

fn json(file: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *file, value)?;
    writeln!(file)
}

/// A cell of CSV: quoted where it must be, and no formula.
fn cell(text: &str) -> String {
    let guarded = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if guarded.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

fn write_summary(file: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let mut header =
        "workload,backend,durability,batch unit,batch,mode,rate,workers,processes,repeats,status".to_owned();
    for figure in Figure::ALL {
        let name = figure.name();
        // Writing to a text does not fail.
        write!(header, ",{name},{name} low,{name} high").unwrap_or_default();
    }
    writeln!(
        file,
        "{header},max ms,operations,conflicts,failed,unanswered,memory bytes,disk bytes"
    )?;
    for row in &summary.rows {
        let status = crate::status(row).name();
        let rate = row.rate.map_or_else(String::new, |rate| rate.to_string());
        let names = [&row.workload, &row.backend.name].map(|text| cell(text)).join(",");
        let (durability, unit) = (row.backend.durability.name(), row.backend.batch_unit.name());
        let (batch, mode, workers) = (row.batch, row.mode.name(), row.workers);
        write!(
            file,
            "{names},{durability},{unit},{batch},{mode},{rate},{workers},{},{},{status}",
            row.processes, row.repeats
        )?;
        for figure in Figure::ALL {
            match row.figure(figure) {
                Some(found) => write!(file, ",{},{},{}", found.value, found.low, found.high)?,
                None => write!(file, ",,,")?,
            }
        }
        let bytes = [row.usage.memory_bytes, row.usage.disk_bytes];
        let [memory, disk] = bytes.map(|bytes| bytes.map_or_else(String::new, |bytes| bytes.to_string()));
        let (operations, conflicts, failed, censored) = (row.operations, row.conflicts, row.failed, row.censored);
        writeln!(
            file,
            ",{},{operations},{conflicts},{failed},{censored},{memory},{disk}",
            row.max_ms
        )?;
    }
    Ok(())
}

fn write_timeseries(file: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    writeln!(
        file,
        "workload,backend,repeat,second,operations/s,events/s,failed,p50 ms,p90 ms"
    )?;
    for row in &summary.rows {
        let names = [&row.workload, &row.backend.name].map(|text| cell(text)).join(",");
        for part in &row.timeline {
            let [p50, p90] =
                [part.p50_ms, part.p90_ms].map(|time| time.map_or_else(String::new, |time| time.to_string()));
            let (operations, events) = (part.operations_per_second, part.events_per_second);
            writeln!(
                file,
                "{names},{},{},{operations},{events},{},{p50},{p90}",
                part.repeat, part.second, part.failed
            )?;
        }
    }
    Ok(())
}

fn histogram_name(number: usize, row: &Row) -> String {
    let safe = |text: &str| -> String {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        text.chars().map(letter).collect()
    };
    format!(
        "{number:02}-{}-{}.hlog",
        safe(&row.workload.name),
        safe(&row.backend.name)
    )
}

/// The times of a repeat, by name: those since an operation was due are of an open loop alone.
fn times(loaded: &Loaded, mode: Mode) -> Vec<(String, &Samples)> {
    let recording = &loaded.recording;
    let mut times = Vec::new();
    for kind in Kind::ALL {
        let of_kind = recording.kind(kind);
        times.push((format!("service-{}", kind.name()), &of_kind.service));
        if mode == Mode::Open {
            times.push((format!("response-{}", kind.name()), &of_kind.response));
        }
    }
    if mode == Mode::Open {
        times.push(("wait".to_owned(), &recording.wait));
        times.push(("lag".to_owned(), &recording.lag));
    }
    times
}

/// One interval for each repeat and kind of times, in nanoseconds.
fn write_histograms(mut file: &mut dyn Write, row: &Row, manifest: &Manifest) -> io::Result<()> {
    let mut serializer = V2Serializer::new();
    let started = UNIX_EPOCH + Duration::from_micros(manifest.started_micros.unsigned_abs());
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!(
            "{} on {}, in nanoseconds",
            row.workload.name, row.backend.name
        ))
        .with_base_time(started)
        .begin_log_with(&mut file, &mut serializer)?;
    let mut begin = Duration::ZERO;
    for run in &row.runs {
        let times = times(&run.loaded, row.workload.load.mode).into_iter();
        for (tag, samples) in times.filter(|(_, samples)| samples.count() > 0) {
            log.write_histogram(samples.histogram(), begin, run.loaded.time, Tag::new(&tag))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        begin += run.loaded.time;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_was_a_formula() {
        assert_eq!(cell("=1+1"), "'=1+1");
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("append-small/open"), "append-small/open");
        assert_eq!(cell("\t1"), "'\t1");
    }

    #[test]
    fn an_empty_or_foreign_file_was_a_result() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("manifest.json"), "{missing}");
        for text in ["", "{}", "[]"] {
            fs::write(folder.path().join("manifest.json"), text).unwrap();
            let error = read(folder.path()).unwrap_err();
            assert!(matches!(error, ResultsError::Invalid { .. }), "{error}");
        }
    }

    #[test]
    fn two_runs_claimed_one_empty_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        fs::create_dir(&path).unwrap();
        let start = std::sync::Barrier::new(8);
        let claim = || {
            start.wait();
            Folder::create(&path).is_ok()
        };
        let claimed = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(claim));
            threads
                .map(|thread| usize::from(thread.join().unwrap()))
                .iter()
                .sum::<usize>()
        });
        assert_eq!(claimed, 1);
        let refused = Folder::create(&path).unwrap_err().to_string();
        assert!(refused.contains("another run"), "{refused}");
        Folder::existing(&path).release();
        assert!(Folder::create(&path).is_ok());
    }

    #[test]
    fn a_file_that_was_not_written_left_a_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let result = Folder::existing(folder.path());
        fs::create_dir(folder.path().join("report.html")).unwrap();
        result.file("report.html", |file| file.write_all(b"x")).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_manifest_of_another_format_was_called_a_summary_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("manifest.json"), "{\"format\": 2, \"new\": []}").unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("manifest.json") && error.contains("its format is 2"),
            "{error}"
        );
    }
}
