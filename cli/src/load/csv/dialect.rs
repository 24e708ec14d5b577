//! Detects the separator of a CSV file: from its `sep=` line, or by the header that contains known columns.

use std::io::{self, BufRead, Cursor, ErrorKind, Read};

use csv::StringRecord;

use crate::load::csv::columns::Columns;
use crate::load::csv::mapping::Mapping;
use crate::load::csv::quotes::Quotes;

/// Bytes of the first line that are examined.
const HEADER_BYTES_MAX: u64 = 64 << 10;
/// The separators that are tried, the usual one first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The reader of a CSV file.
pub(crate) type Reader<R> = csv::Reader<Quotes<io::Chain<Cursor<Vec<u8>>, R>>>;

/// The start of a CSV file.
pub(crate) struct Dialect<R> {
    pub(crate) reader: Reader<R>,
    /// Lines before the header.
    pub(crate) lines_before: u64,
}

impl<R: BufRead> Dialect<R> {
    /// Looks at the first line of `bytes`.
    pub(crate) fn open(mut bytes: R, columns: &Columns) -> io::Result<Self> {
        let first = first_line(&mut bytes)?;
        if let Some(delimiter) = separator(&first) {
            if first.ends_with(b"\r") && fill(&mut bytes)?.first() == Some(&b'\n') {
                bytes.consume(1);
            }
            return Ok(Self {
                reader: reader(Cursor::new(Vec::new()).chain(bytes), delimiter, 2),
                lines_before: 1,
            });
        }
        let delimiter = of_header(&first, columns).unwrap_or_else(|| most_frequent(&first));
        Ok(Self {
            reader: reader(Cursor::new(first).chain(bytes), delimiter, 1),
            lines_before: 0,
        })
    }
}

/// A CSV reader with the settings of the program.
fn reader<R: Read>(bytes: R, delimiter: u8, line: u64) -> csv::Reader<Quotes<R>> {
    csv::ReaderBuilder::new()
        .buffer_capacity(64 << 10)
        .delimiter(delimiter)
        // Extra cells are checked with the other cells of their line.
        .flexible(true)
        .from_reader(Quotes::new(bytes, delimiter, line))
}

/// The first line with its line end, or its examined part.
fn first_line(bytes: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut bytes = bytes.take(HEADER_BYTES_MAX);
    loop {
        let buffer = fill(&mut bytes)?;
        let end = buffer.iter().position(|byte| b"\r\n".contains(byte));
        let length = end.map_or(buffer.len(), |end| end + 1);
        line.extend(&buffer[..length]);
        bytes.consume(length);
        if end.is_some() || length == 0 {
            return Ok(line);
        }
    }
}

fn fill(bytes: &mut impl BufRead) -> io::Result<&[u8]> {
    while let Err(error) = bytes.fill_buf() {
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    bytes.fill_buf()
}

/// The separator in a line `sep=;`, as spreadsheets write it.
fn separator(line: &[u8]) -> Option<u8> {
    let line = line.strip_suffix(b"\r").or_else(|| line.strip_suffix(b"\n"))?;
    let bare = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\""));
    match bare.unwrap_or(line).split_at_checked(4)? {
        (b"sep=" | b"SEP=" | b"Sep=", [byte]) if is_separator(*byte) => Some(*byte),
        _ => None,
    }
}

fn is_separator(byte: u8) -> bool {
    byte == b'\t' || (byte.is_ascii_punctuation() && byte != b'"') || byte == b' '
}

/// The separator for which `line` is the header of a log.
pub(crate) fn of_header(line: &[u8], columns: &Columns) -> Option<u8> {
    DELIMITERS.into_iter().find(|delimiter| {
        let mut header = StringRecord::new();
        let mut reader = csv::ReaderBuilder::new();
        let reader = reader.has_headers(false).delimiter(*delimiter);
        reader
            .from_reader(line)
            .read_record(&mut header)
            .is_ok_and(|is_there| is_there)
            && Mapping::new(&header, columns).is_ok()
    })
}

fn most_frequent(line: &[u8]) -> u8 {
    let parts = |delimiter: &u8| line.split(|byte| byte == delimiter).count();
    // Of separators that occur equally often, the usual one.
    DELIMITERS.into_iter().rev().max_by_key(parts).unwrap_or(b',')
}
