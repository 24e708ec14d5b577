//! Follows a log that another program writes: a file of JSON lines, or a pipe.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::exit::{Failure, Outcome};
use crate::load::encoding::without_marks;
use crate::load::feed::{Kind, is_unnamed};
use crate::load::foreign::Mapping;
use crate::load::packing::Packing;
use crate::load::pieces::parse_json;
use crate::load::reader::{self, Line};
use crate::load::{BadLine, Entry, Options, jsonl};

/// Lines read ahead of the store.
const AHEAD: usize = 256;
/// The pause before a file is read again after its end.
const PAUSE: Duration = Duration::from_millis(100);

/// The next item of the log.
pub(crate) enum Step {
    /// The number of a line, and its event.
    Line(u64, Box<Result<Entry, BadLine>>),
    /// All initial contents of a file have been read. A pipe has no such item.
    CaughtUp,
    /// The file has become shorter: it is read from its beginning, and its lines are numbered from 1 again.
    Truncated,
    /// The pipe has ended.
    End,
    /// The log cannot be read.
    Failed(io::Error),
}

/// A log being followed. Its thread ends when this is dropped, unless it waits for a pipe.
pub(crate) struct Growing {
    pub(crate) steps: Receiver<Step>,
    /// Dropping it ends the pauses of the thread.
    _is_wanted: Sender<()>,
    /// Whether the log is a pipe, whose contents are all new.
    pub(crate) is_pipe: bool,
}

/// Starts to follow the log at `path`, or standard input for `-`.
///
/// # Errors
///
/// [`Failure::Usage`] for a log that cannot grow line by line.
pub(crate) fn follow(path: &Path, options: &Options) -> Outcome<Growing> {
    let refused = |reason: &str| {
        Err(Failure::Usage(format!(
            "{}: {reason}; follow JSON lines (*.jsonl, *.ndjson), a pipe, or a store in PostgreSQL",
            path.display()
        )))
    };
    if Packing::of(path).is_some() {
        return refused("a compressed file cannot be followed");
    }
    let open = || File::open(path).map_err(|error| Failure::of_input(path, &error));
    if matches!(options.input, Some(Kind::Csv)) && is_unnamed(path) {
        return refused("CSV cannot be followed");
    }
    let start = |bytes| start(bytes, options.mapping.clone());
    if path == Path::new("-") {
        return start(Bytes::Pipe(Box::new(io::stdin())));
    }
    let is_lines = matches!(Kind::of(path), Ok(Kind::JsonLines));
    let file = open()?;
    let is_file = file.metadata().is_ok_and(|data| data.is_file());
    match (is_file, is_lines) {
        (true, true) => start(Bytes::File(file)),
        (true, false) => refused("only a file of JSON lines can be followed"),
        (false, _) => start(Bytes::Pipe(Box::new(file))),
    }
}

enum Bytes {
    File(File),
    Pipe(Box<dyn Read + Send>),
}

fn start(bytes: Bytes, mapping: Option<Arc<Mapping>>) -> Outcome<Growing> {
    let (steps, received) = bounded(AHEAD);
    let (is_wanted, wanted) = bounded(0);
    let is_pipe = matches!(bytes, Bytes::Pipe(_));
    let reader: Box<dyn Read + Send> = match bytes {
        Bytes::Pipe(pipe) => pipe,
        Bytes::File(file) => Box::new(Endless {
            file,
            position: 0,
            is_caught_up: false,
            steps: steps.clone(),
            wanted,
        }),
    };
    thread::Builder::new()
        .name("follower".to_owned())
        .spawn(move || read(reader, mapping.as_deref(), &steps))?;
    Ok(Growing {
        steps: received,
        _is_wanted: is_wanted,
        is_pipe,
    })
}

/// Sends every line, until the end or until no receiver is left.
fn read(bytes: Box<dyn Read + Send>, mapping: Option<&Mapping>, steps: &Sender<Step>) {
    let mut bytes = BufReader::new(bytes);
    let (mut number, mut line) = (0, Vec::new());
    loop {
        number += 1;
        let step = match reader::read_line(&mut bytes, &mut line) {
            Ok(None) => Step::End,
            Ok(Some(Line::TooLong)) => Step::Line(number, Box::new(Err(jsonl::too_long()))),
            Ok(Some(Line::Whole)) => {
                let text = without_marks(&line);
                if text.trim_ascii().is_empty() {
                    continue;
                }
                Step::Line(number, Box::new(parse_json(text, mapping)))
            }
            Err(error) => Step::Failed(error),
        };
        let is_last = matches!(step, Step::End | Step::Failed(_));
        if steps.send(step).is_err() || is_last {
            return;
        }
    }
}

/// A file that is read as it grows.
struct Endless {
    file: File,
    position: u64,
    is_caught_up: bool,
    steps: Sender<Step>,
    wanted: Receiver<()>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = self.file.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                self.position += bytes as u64;
                return Ok(bytes);
            }
            if !std::mem::replace(&mut self.is_caught_up, true) && self.steps.send(Step::CaughtUp).is_err() {
                return Ok(0);
            }
            if self.file.metadata()?.len() < self.position {
                return self.begin_again(buffer);
            }
            if self.wanted.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
                return Ok(0);
            }
        }
    }
}

impl Endless {
    /// Returns to the beginning of the file. An incomplete line is ended.
    fn begin_again(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.rewind()?;
        self.position = 0;
        if self.steps.send(Step::Truncated).is_err() {
            return Ok(0);
        }
        buffer[0] = b'\n';
        Ok(1)
    }
}
