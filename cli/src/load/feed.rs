//! Reads a file ahead of the store: one thread reads and cuts it, others parse the pieces. Batches arrive in the order of the file.

use std::fs::File;
use std::io::{self, BufRead, Cursor, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use annals::{NewEvent, StreamId};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::exit::{Failure, Outcome};
use crate::load::csv;
use crate::load::elements::{Elements, RECORD_SEPARATOR};
use crate::load::encoding::without_marks;
use crate::load::foreign::Mapping;
use crate::load::packing::Packing;
use crate::load::parsers::{Parsers, Spent, Step, Unwanted};
use crate::load::pieces::{Batch, Pieces, of_element};
use crate::load::reader::{self, Line};
use crate::load::{BadLine, Options, jsonl};

/// How long the store waits for lines before it checks for Ctrl-C.
const POLL: Duration = Duration::from_millis(100);

/// A file being read.
pub(crate) struct Feed {
    steps: Receiver<Step>,
    spent: Spent,
    path: PathBuf,
    /// Bytes of the file read so far.
    pub(crate) read: Arc<AtomicU64>,
    /// Bytes of the file; 0 if unknown.
    pub(crate) total: u64,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One event per line; or an array, if it begins like one.
    JsonLines,
    /// An array of events.
    Json,
    Csv,
}

impl Kind {
    /// The format by the name of the file, with or without `.gz` or `.zst`; JSON for standard input.
    pub(crate) fn of(path: &Path) -> Outcome<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let packed = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst"));
        let bare = packed.unwrap_or(&name);
        match bare.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines),
            Some("json") => Ok(Self::Json),
            None if bare == "-" => Ok(Self::JsonLines),
            _ => Err(Failure::Usage(format!(
                "{}: its name must say what it holds: *.jsonl, *.ndjson, *.json or *.csv, also with .gz or .zst",
                path.display()
            ))),
        }
    }
}

/// Whether `path` is a log that can be opened.
pub(crate) fn check(path: &Path, options: &Options) -> Outcome {
    kind_of_file(path, options.input)?;
    if path == Path::new("-") {
        return Ok(());
    }
    let is_file = std::fs::metadata(path).map(|data| data.is_file());
    // A pipe that is opened and closed again has lost its writer.
    let opened = is_file.and_then(|is_file| if is_file { File::open(path).map(drop) } else { Ok(()) });
    opened.map_err(|error| Failure::of_input(path, &error))
}

/// The format of the file at `path`, by its name. JSON for a pipe or a device without a known ending.
///
/// `input` is the format of standard input, and of a file without a known ending.
fn kind_of_file(path: &Path, input: Option<Kind>) -> Outcome<Kind> {
    let kind = Kind::of(path);
    if let (true, Some(input)) = (is_unnamed(path), input)
        && !path.is_dir()
    {
        return Ok(input);
    }
    if kind.is_ok() {
        return kind;
    }
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Failure::NotFound(format!(
            "cannot open {0}: there is no such file or folder; check the path (`annals import --store file:{0} LOG` creates a store there)",
            path.display()
        ))),
        Ok(data) if data.is_dir() => Err(Failure::Usage(format!(
            "{0}: it is a folder, not a log file: name a store with --store {0}",
            path.display()
        ))),
        Ok(data) if !data.is_file() => Ok(Kind::JsonLines),
        Ok(_) | Err(_) => kind,
    }
}

/// Whether the name of `path` does not show its format: standard input, and names without a known ending.
pub(crate) fn is_unnamed(path: &Path) -> bool {
    path == Path::new("-") || Kind::of(path).is_err()
}

/// Opens `path` and begins to read it.
pub(crate) fn start(path: &Path, options: &Options) -> Outcome<Feed> {
    let kind = kind_of_file(path, options.input)?;
    let source = reader::open(path).map_err(|error| Failure::of_input(path, &error))?;
    let (parsers, steps, spent) = Parsers::start()?;
    let feed = Feed {
        steps,
        spent,
        path: path.to_owned(),
        read: Arc::clone(&source.read),
        total: source.total,
    };
    let (columns, mapping) = (options.columns.clone(), options.mapping.clone());
    std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
        let mut out = Batches::new(mapping, |pieces| {
            parsers.parse(pieces).map_err(|Unwanted| End::Unwanted)
        });
        let end = read(kind, source.bytes, &columns, &mut out);
        let end = out.finish(end);
        parsers.finish(match end {
            Err(End::Broken(reason)) => Step::Broken(reason),
            Ok(()) | Err(End::Unwanted) => Step::End,
        });
    })?;
    Ok(feed)
}

impl Feed {
    /// The next lines; `None` at the end of the file.
    pub(crate) fn next(&self, check: impl Fn() -> Outcome) -> Outcome<Option<Batch>> {
        match receive(&self.steps, &check)? {
            Some(Step::Batch(slot)) => receive(&slot, &check)?.map(Some).ok_or_else(|| self.stopped()),
            Some(Step::Broken(reason)) => Err(Failure::Data(format!("{}: {reason}", self.path.display()))),
            Some(Step::End) => Ok(None),
            None => Err(self.stopped()),
        }
    }

    /// Returns a used batch for reuse.
    pub(crate) fn dispose(&self, batch: Batch) {
        self.spent.dispose(batch);
    }

    /// A thread panicked, so the rest of the file is not read.
    fn stopped(&self) -> Failure {
        Failure::Runtime(format!(
            "{}: reading stopped before the end of the file, by a fault of this program",
            self.path.display()
        ))
    }
}

/// Waits for the next message; `None` after the last one.
fn receive<T>(from: &Receiver<T>, check: &impl Fn() -> Outcome) -> Outcome<Option<T>> {
    loop {
        match from.recv_timeout(POLL) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => check()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// The reason why reading ended early.
enum End {
    /// The file cannot be read from here on, even if lines are skipped.
    Broken(String),
    /// The receiver is gone.
    Unwanted,
}

impl End {
    fn broken(line: u64, reason: &str) -> Self {
        Self::Broken(format!("line {line}: {reason}"))
    }
}

/// The batch being filled, and the receiver of full ones.
struct Batches<F> {
    pieces: Pieces,
    mapping: Option<Arc<Mapping>>,
    take: F,
}

impl<F: FnMut(Pieces) -> Result<(), End>> Batches<F> {
    fn new(mapping: Option<Arc<Mapping>>, take: F) -> Self {
        Self {
            pieces: Pieces::of(mapping.clone()),
            mapping,
            take,
        }
    }

    fn push(&mut self, push: impl FnOnce(&mut Pieces)) -> Result<(), End> {
        push(&mut self.pieces);
        if self.pieces.is_full() {
            let next = Pieces::of(self.mapping.clone());
            (self.take)(std::mem::replace(&mut self.pieces, next))?;
        }
        Ok(())
    }

    /// Sends the last batch, and then how reading ended.
    fn finish(mut self, end: Result<(), End>) -> Result<(), End> {
        (self.take)(self.pieces)?;
        end
    }
}

/// Parses a whole file with this `name` and these `bytes`, compressed or not, as its name and its first bytes show. The result contains bad lines too.
///
/// # Errors
///
/// A [`BadLine`] when the file cannot be read to its end.
pub fn parse_file(name: &Path, bytes: Vec<u8>, columns: &csv::Columns) -> Result<Vec<ParsedLine>, BadLine> {
    let bad = |reason: String| BadLine(reason);
    let kind = Kind::of(name).map_err(|failure| bad(failure.to_string()))?;
    let text = reader::decode(Cursor::new(bytes), Packing::of(name)).map_err(|error| bad(error.to_string()))?;
    let mut lines = Vec::new();
    let mut out = Batches::new(None, |pieces: Pieces| {
        let entries = pieces.parse().into_iter();
        lines.extend(entries.map(|(line, entry)| (line, entry.map(|entry| (entry.stream, entry.event)))));
        Ok(())
    });
    let end = read(kind, text, columns, &mut out);
    match out.finish(end) {
        Ok(()) | Err(End::Unwanted) => Ok(lines),
        Err(End::Broken(reason)) => Err(bad(reason)),
    }
}

/// The number of a line, and its event.
pub type ParsedLine = (u64, Result<(StreamId, NewEvent<'static>), BadLine>);

fn read<F: FnMut(Pieces) -> Result<(), End>>(
    kind: Kind,
    bytes: impl BufRead,
    columns: &csv::Columns,
    out: &mut Batches<F>,
) -> Result<(), End> {
    match kind {
        Kind::JsonLines => read_json(bytes, false, out),
        Kind::Json => read_json(bytes, true, out),
        Kind::Csv => read_csv(bytes, columns, out),
    }
}

fn read_json<F: FnMut(Pieces) -> Result<(), End>>(
    mut bytes: impl BufRead,
    is_array: bool,
    out: &mut Batches<F>,
) -> Result<(), End> {
    let line_end = |error: io::Error| End::broken(1, &error.to_string());
    let (space, first) = reader::leading_space(&mut bytes).map_err(line_end)?;
    let bytes = Cursor::new(space).chain(bytes);
    if is_array || matches!(first, Some(b'[' | RECORD_SEPARATOR)) {
        return read_elements(bytes, out);
    }
    read_lines(bytes, out)
}

fn read_lines<F: FnMut(Pieces) -> Result<(), End>>(mut bytes: impl BufRead, out: &mut Batches<F>) -> Result<(), End> {
    let (mut number, mut line) = (0, Vec::new());
    loop {
        number += 1;
        let read = reader::read_line(&mut bytes, &mut line).map_err(|error| End::broken(number, &error.to_string()))?;
        let text = without_marks(&line);
        match read {
            None => return Ok(()),
            Some(Line::TooLong) => out.push(|pieces| pieces.read(number, Err(jsonl::too_long()), line.len()))?,
            Some(Line::Whole) if text.trim_ascii().is_empty() => {}
            Some(Line::Whole) if number == 1 && text.trim_ascii().contains(&b'\r') => {
                // Lines that end with CR alone look like one.
                return read_elements(Cursor::new(line).chain(&b"\n"[..]).chain(bytes), out);
            }
            Some(Line::Whole) => out.push(|pieces| pieces.line(number, text))?,
        }
    }
}

/// Reads JSON values in any layout: arrays of events, events over several lines, records with separators.
fn read_elements<F: FnMut(Pieces) -> Result<(), End>>(bytes: impl BufRead, out: &mut Batches<F>) -> Result<(), End> {
    let mut elements = Elements::new(bytes);
    let (mut number, mut element) = (0, Vec::new());
    while let Some((line, read)) = elements
        .next(&mut element)
        .map_err(|(line, reason)| End::broken(line, &reason))?
    {
        number += 1;
        match read {
            Line::TooLong => {
                let reason = of_element(number, &jsonl::too_long());
                out.push(|pieces| pieces.read(line, Err(reason), element.len()))?;
            }
            Line::Whole => out.push(|pieces| pieces.element(line, number, &element))?,
        }
    }
    Ok(())
}

fn read_csv<F: FnMut(Pieces) -> Result<(), End>>(
    bytes: impl BufRead,
    columns: &csv::Columns,
    out: &mut Batches<F>,
) -> Result<(), End> {
    let broken = |(line, reason): (u64, String)| End::broken(line, &reason);
    let mut records = csv::open(bytes, columns).map_err(broken)?;
    let mut record = ::csv::ByteRecord::new();
    while let Some((line, entry)) = records.next(&mut record).map_err(broken)? {
        out.push(|pieces| pieces.read(line, entry, record.as_slice().len()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use crossbeam_channel::bounded;

    use super::*;

    /// The result of a load in which a thread ends after these steps, as after a panic.
    fn after(steps: Vec<Step>) -> Outcome<Option<Batch>> {
        let (sender, received) = bounded(steps.len());
        for step in steps {
            sender.send(step).expect("there is room");
        }
        drop(sender);
        let (parsers, _, spent) = Parsers::start().expect("threads");
        drop(parsers);
        let feed = Feed {
            steps: received,
            spent,
            path: PathBuf::from("log.jsonl"),
            read: Arc::new(AtomicU64::new(0)),
            total: 0,
        };
        feed.next(|| Ok(()))
    }

    #[test]
    fn a_thread_that_panicked_looked_like_the_end_of_the_file() {
        let is_stopped =
            |outcome| matches!(outcome, Err(Failure::Runtime(text)) if text.contains("log.jsonl: reading stopped"));
        assert!(is_stopped(after(Vec::new())), "the reader");
        let (parsed, slot) = bounded::<Batch>(1);
        drop(parsed);
        assert!(is_stopped(after(vec![Step::Batch(slot)])), "a parser");

        assert!(matches!(after(vec![Step::End]), Ok(None)), "the end");
        assert!(
            matches!(
                after(vec![Step::Broken("line 3: cut".to_owned())]),
                Err(Failure::Data(_))
            ),
            "a broken file"
        );
    }
}
