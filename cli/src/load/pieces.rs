//! Pieces of a file: one thread cuts them in order, and any thread parses them.

use std::ops::Range;
use std::sync::Arc;

use crate::load::csv::{self, dialect};
use crate::load::foreign::Mapping;
use crate::load::{BadLine, Entry, jsonl};

/// Pieces of a batch.
const PIECES: usize = 512;
/// Size in bytes at which a batch is sent, whatever the number of its pieces.
const BYTES: usize = 1 << 20;

/// The number of a line, with its event or the reason why it is invalid.
pub(crate) type NumberedLine = (u64, Result<Entry, BadLine>);

/// Consecutive lines.
pub(crate) type Batch = Vec<NumberedLine>;

/// A piece of a file.
#[derive(Debug)]
enum Piece {
    /// A line of JSON, in the bytes of the batch.
    Line(Range<usize>),
    /// An element of JSON, with its number.
    Element(u64, Range<usize>),
    /// A piece that needs no parsing.
    Read(Box<Result<Entry, BadLine>>),
}

/// Consecutive pieces, each with its line number.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    all: Vec<(u64, Piece)>,
    /// Bytes of the pieces that need no parsing.
    read_bytes: usize,
    /// The mapping of foreign JSON.
    mapping: Option<Arc<Mapping>>,
}

impl Pieces {
    pub(crate) fn of(mapping: Option<Arc<Mapping>>) -> Self {
        Self {
            mapping,
            ..Self::default()
        }
    }

    pub(crate) fn line(&mut self, line: u64, text: &[u8]) {
        let range = self.keep(text);
        self.all.push((line, Piece::Line(range)));
    }

    pub(crate) fn element(&mut self, line: u64, number: u64, text: &[u8]) {
        let range = self.keep(text);
        self.all.push((line, Piece::Element(number, range)));
    }

    pub(crate) fn read(&mut self, line: u64, entry: Result<Entry, BadLine>, bytes: usize) {
        self.read_bytes += bytes;
        self.all.push((line, Piece::Read(Box::new(entry))));
    }

    fn keep(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        start..self.bytes.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.all.len() >= PIECES || self.bytes.len() + self.read_bytes >= BYTES
    }

    /// Parses every piece.
    pub(crate) fn parse(self) -> Batch {
        let Self {
            bytes, all, mapping, ..
        } = self;
        let mapping = mapping.as_deref();
        let parsed = all
            .into_iter()
            .map(|(line, piece)| (line, piece.parse(line, &bytes, mapping)));
        parsed.collect()
    }
}

impl Piece {
    fn parse(self, line: u64, bytes: &[u8], mapping: Option<&Mapping>) -> Result<Entry, BadLine> {
        match self {
            Self::Line(range) => {
                let text = &bytes[range];
                parse_json(text, mapping).map_err(|reason| seems(reason, text, line, mapping))
            }
            Self::Element(number, range) => {
                parse_json(&bytes[range], mapping).map_err(|reason| of_element(number, &reason))
            }
            Self::Read(entry) => *entry,
        }
    }
}

/// Parses a line or an element, of this program or, with a mapping, of another.
pub(crate) fn parse_json(text: &[u8], mapping: Option<&Mapping>) -> Result<Entry, BadLine> {
    match mapping {
        Some(mapping) => mapping.entry(text),
        None => jsonl::parse_entry(text),
    }
}

/// The error message for an invalid element.
pub(crate) fn of_element(number: u64, reason: &BadLine) -> BadLine {
    BadLine(format!("element {number}: {reason}"))
}

/// Adds to `reason` the probable kind of the file, if its first line is not an event.
fn seems(reason: BadLine, text: &[u8], line: u64, mapping: Option<&Mapping>) -> BadLine {
    let hint = if line > 1 {
        return reason;
    } else if dialect::of_header(text, &csv::Columns::default()).is_some() {
        "the line is the header of a CSV file, so call the file *.csv"
    } else if text.trim_ascii() == b"{" {
        "an event over several lines is read from a file that is called *.json"
    } else if mapping.is_none() && reason.0.contains("unknown field `") && reason.0.contains("expected one of") {
        "JSON of another program is read with --map FIELD=/POINTER, such as --map eventType=/activity"
    } else {
        return reason;
    };
    BadLine(format!("{reason}: {hint}"))
}
