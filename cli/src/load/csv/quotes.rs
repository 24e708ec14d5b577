//! Filters the bytes of a CSV file before its parser: it unifies line ends, bounds records, and checks that quotes are closed.

use std::collections::VecDeque;
use std::io::{self, Read};

use crate::load::LINE_BYTES_MAX;

/// The state of the CSV parser at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    FieldStart,
    Field,
    Quoted,
    /// After a quote within a quoted field: the end of the field, or the first half of a doubled quote.
    QuoteEnd,
    /// After space that follows a quoted field.
    QuoteSpace,
}

/// A record of which at least the first byte was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Bytes that were passed on before it.
    offset: u64,
    /// The line in which it begins. The parser's own number is that of the first empty line before it.
    pub(crate) line: u64,
    /// The line of a quoted field that is followed by text: its quote is not closed, or a quote within it is not doubled.
    pub(crate) stray: Option<u64>,
}

/// Passes on the bytes of a CSV file.
pub(crate) struct Quotes<R> {
    inner: R,
    delimiter: u8,
    place: Place,
    is_after_return: bool,
    /// The line of the next byte.
    line: u64,
    /// The line in which the last quoted field begins.
    opened: u64,
    is_at_end: bool,
    /// Bytes since the last record.
    bytes: u64,
    /// Bytes that were passed on.
    offset: u64,
    /// Records that are still to be read.
    records: VecDeque<Begun>,
    is_in_record: bool,
}

impl<R> Quotes<R> {
    /// A filter for a file whose next line is `line`.
    pub(crate) fn new(inner: R, delimiter: u8, line: u64) -> Self {
        Self {
            inner,
            delimiter,
            place: Place::FieldStart,
            is_after_return: false,
            line,
            opened: line,
            is_at_end: false,
            bytes: 0,
            offset: 0,
            records: VecDeque::new(),
            is_in_record: false,
        }
    }

    /// Counts the bytes of the next record from here on.
    pub(crate) fn begin_record(&mut self) {
        self.bytes = 0;
    }

    /// The line of an open quote, if the file has ended: then the record that was just parsed is the last one,
    /// and contains everything after the quote.
    pub(crate) fn unclosed(&self) -> Option<u64> {
        (self.is_at_end && self.place == Place::Quoted).then_some(self.opened)
    }

    /// The record that was just parsed, which ends before the byte at `end`.
    pub(crate) fn record(&mut self, end: u64) -> Option<Begun> {
        let mut last = None;
        while let Some(record) = self.records.front().filter(|record| record.offset < end) {
            last = Some(*record);
            self.records.pop_front();
        }
        last
    }

    /// The byte to pass on for `byte`, if any: outside quotes, all line ends become LF.
    fn step(&mut self, byte: u8) -> Option<u8> {
        let was_after_return = std::mem::take(&mut self.is_after_return);
        let is_quoted = self.place == Place::Quoted;
        let byte = match byte {
            b'\n' if was_after_return => return None,
            b'\r' if !is_quoted => {
                self.is_after_return = true;
                b'\n'
            }
            byte => byte,
        };
        self.note_record(byte);
        self.place = match (self.place, byte) {
            (Place::Quoted, b'"') => Place::QuoteEnd,
            (Place::Quoted, _) | (Place::QuoteEnd, b'"') => Place::Quoted,
            (Place::FieldStart, b'"') => {
                self.opened = self.line;
                Place::Quoted
            }
            (_, b'\n') => Place::FieldStart,
            (_, byte) if byte == self.delimiter => Place::FieldStart,
            (Place::QuoteEnd | Place::QuoteSpace, b' ' | b'\t') => Place::QuoteSpace,
            (Place::QuoteEnd | Place::QuoteSpace, _) => {
                self.note_stray();
                Place::Field
            }
            (Place::FieldStart | Place::Field, _) => Place::Field,
        };
        self.line += u64::from(byte == b'\n');
        self.offset += 1;
        Some(byte)
    }

    fn note_stray(&mut self) {
        if let Some(record) = self.records.back_mut() {
            record.stray.get_or_insert(self.opened);
        }
    }

    /// Notes that a record begins with the next byte, unless it is within one, or ends an empty line.
    fn note_record(&mut self, byte: u8) {
        if byte == b'\n' {
            self.is_in_record &= self.place == Place::Quoted;
        } else if !std::mem::replace(&mut self.is_in_record, true) {
            self.records.push_back(Begun {
                offset: self.offset,
                line: self.line,
                stray: None,
            });
        }
    }

    fn too_long(&self) -> io::Error {
        let reason = if self.place == Place::Quoted {
            format!(": is a quote missing? One opens in line {}", self.opened)
        } else {
            String::new()
        };
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a record is longer than {} MiB{reason}", LINE_BYTES_MAX >> 20),
        )
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = self.inner.read(buffer)?;
            if bytes == 0 {
                self.is_at_end = !buffer.is_empty();
                return Ok(0);
            }
            let mut kept = 0;
            for at in 0..bytes {
                if let Some(byte) = self.step(buffer[at]) {
                    buffer[kept] = byte;
                    kept += 1;
                }
            }
            if self.bytes > LINE_BYTES_MAX as u64 {
                return Err(self.too_long());
            }
            self.bytes += bytes as u64;
            // A read of a line feed alone, of which nothing is left, is not the end.
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(text: &str, capacity: usize) -> (String, Option<u64>) {
        let mut quotes = Quotes::new(text.as_bytes(), b',', 1);
        let (mut all, mut buffer) = (Vec::new(), vec![0; capacity]);
        loop {
            let bytes = quotes.read(&mut buffer).unwrap();
            if bytes == 0 {
                return (String::from_utf8(all).unwrap(), quotes.unclosed());
            }
            all.extend(&buffer[..bytes]);
        }
    }

    #[test]
    fn lines_end_alike_but_within_quotes() {
        for capacity in [1, 2, 7, 100] {
            for (text, expected) in [
                ("a,b\r\nc\rd\r\n", "a,b\nc\nd\n"),
                ("\"a\r\nb\rc\",\"d\"\r\n\r\r\n", "\"a\r\nb\rc\",\"d\"\n\n\n"),
                ("a\"\r\"b\"\"\r\"\r", "a\"\n\"b\"\"\r\"\n"),
            ] {
                assert_eq!(pass(text, capacity), (expected.to_owned(), None));
            }
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_told() {
        for (text, opened) in [
            ("\"", Some(1)),
            ("a,\"b", Some(1)),
            ("a\n\"b\n\"\"\n", Some(2)),
            ("a\r\n\r\nb,\"", Some(3)),
            ("a\"\nb", None),
            ("\"a\"\"\"", None),
            ("\"a\"b\"", None),
            ("", None),
        ] {
            assert_eq!(pass(text, 3).1, opened, "{text:?}");
        }
    }
}
