//! The other thread: reads and parses a file ahead of the store, in batches, in order.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::exit::{Failure, Outcome};
use crate::load::reader::{self, Budget, Line, Source};
use crate::load::{BadLine, Entry, LINE_BYTES_MAX, csv, jsonl};

const BATCH_LINES: usize = 512;
/// Bytes of lines after which a batch is handed over, however few they are.
const BATCH_BYTES: usize = 1 << 20;
const BATCHES_AHEAD: usize = 8;
/// How long the store waits for lines before it looks whether Ctrl-C was pressed.
const PATIENCE: Duration = Duration::from_millis(100);

/// Lines by number, each an event or the reason why it is none.
pub(crate) type Batch = Vec<(u64, Result<Entry, BadLine>)>;

/// A file being read.
pub(crate) struct Feed {
    batches: Receiver<Result<Batch, String>>,
    path: PathBuf,
    /// Bytes of the file read so far.
    pub(crate) read: Arc<AtomicU64>,
    /// Bytes of the file; 0 when nobody knows.
    pub(crate) total: u64,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    JsonLines,
    Csv,
}

impl Kind {
    /// By the name of the file, with or without `.gz` or `.zst`; the standard input holds JSON lines.
    pub(crate) fn of(path: &Path) -> Outcome<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let packed = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst"));
        let bare = packed.unwrap_or(&name);
        match bare.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines),
            None if bare == "-" => Ok(Self::JsonLines),
            _ => Err(Failure::Usage(format!(
                "{}: what it holds must show in its name: *.jsonl, *.ndjson or *.csv, also with .gz or .zst",
                path.display()
            ))),
        }
    }
}

/// Whether `path` is a log that can be opened.
pub(crate) fn check(path: &Path) -> Outcome {
    Kind::of(path)?;
    if path == Path::new("-") {
        return Ok(());
    }
    std::fs::File::open(path)
        .map(drop)
        .map_err(|error| Failure::Runtime(format!("{}: {error}", path.display())))
}

/// Opens `path` and begins to read it.
pub(crate) fn start(path: &Path, columns: &csv::Columns) -> Outcome<Feed> {
    let kind = Kind::of(path)?;
    let source = reader::open(path).map_err(|error| {
        let text = format!("{}: {error}", path.display());
        if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) {
            Failure::Data(text)
        } else {
            Failure::Runtime(text)
        }
    })?;
    let (sender, batches) = crossbeam_channel::bounded(BATCHES_AHEAD);
    let feed = Feed {
        batches,
        path: path.to_owned(),
        read: Arc::clone(&source.read),
        total: source.total,
    };
    let columns = columns.clone();
    std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
        let mut out = Batches {
            batch: Vec::with_capacity(BATCH_LINES),
            bytes: 0,
            sender,
        };
        let end = match kind {
            Kind::JsonLines => read_json_lines(source, &mut out),
            Kind::Csv => read_csv(source, &columns, &mut out),
        };
        out.finish(end);
    })?;
    Ok(feed)
}

impl Feed {
    /// The next lines; `None` at the end of the file.
    pub(crate) fn next(&self, check: impl Fn() -> Outcome) -> Outcome<Option<Batch>> {
        loop {
            match self.batches.recv_timeout(PATIENCE) {
                Ok(Ok(batch)) => return Ok(Some(batch)),
                Ok(Err(reason)) => return Err(Failure::Data(format!("{}: {reason}", self.path.display()))),
                Err(RecvTimeoutError::Timeout) => check()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

/// Why reading ended early.
enum End {
    /// The file cannot be read on from here, whatever is skipped.
    Broken(String),
    /// Nobody waits for more.
    Unwanted,
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// The batch being filled.
struct Batches {
    batch: Batch,
    bytes: usize,
    sender: Sender<Result<Batch, String>>,
}

impl Batches {
    fn push(&mut self, line: u64, entry: Result<Entry, BadLine>, bytes: usize) -> Result<(), End> {
        self.batch.push((line, entry));
        self.bytes += bytes;
        if self.batch.len() >= BATCH_LINES || self.bytes >= BATCH_BYTES {
            self.bytes = 0;
            let full = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_LINES));
            self.sender.send(Ok(full)).map_err(|_| End::Unwanted)?;
        }
        Ok(())
    }

    fn finish(mut self, end: Result<(), End>) {
        let last = std::mem::take(&mut self.batch);
        // A receiver that is gone wants no more: that is how an interrupted load ends.
        drop(self.sender.send(Ok(last)));
        if let Err(End::Broken(reason)) = end {
            drop(self.sender.send(Err(reason)));
        }
    }
}

fn read_json_lines(mut source: Source, out: &mut Batches) -> Result<(), End> {
    let (mut number, mut line) = (0, Vec::new());
    loop {
        number += 1;
        let read = reader::read_line(&mut source.bytes, &mut line)
            .map_err(|error| End::Broken(format!("line {number}: {error}")))?;
        let entry = match read {
            None => return Ok(()),
            Some(Line::TooLong) => Err(BadLine(format!("longer than {} MiB", LINE_BYTES_MAX >> 20))),
            Some(Line::Whole) if line.trim_ascii().is_empty() => continue,
            Some(Line::Whole) => jsonl::parse_entry(&line),
        };
        out.push(number, entry, line.len())?;
    }
}

fn read_csv(source: Source, columns: &csv::Columns, out: &mut Batches) -> Result<(), End> {
    let budget = Budget::default();
    let mut reader = csv::reader(budget.guard(source.bytes));
    let header = reader
        .headers()
        .map_err(|error| End::Broken(format!("line 1: {error}")))?;
    let mapping = csv::Mapping::new(header, columns).map_err(|reason| End::Broken(format!("line 1: {reason}")))?;
    let mut record = ::csv::ByteRecord::new();
    loop {
        budget.reset();
        let line = reader.position().line();
        let entry = match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => mapping.entry(&record),
            Err(error) if error.is_io_error() => return Err(End::Broken(format!("line {line}: {error}"))),
            Err(error) => Err(csv::bad_record(&error)),
        };
        out.push(
            record.position().map_or(line, ::csv::Position::line),
            entry,
            record.as_slice().len(),
        )?;
    }
}
