//! Finds quotes of CSV that RFC 4180 forbids: the parser takes what follows them for text, and joins rows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

/// What was seen of a source so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    state: State,
    /// The bytes that were read.
    bytes: u64,
    /// The offsets of text that follows a closing quote: at most one a line.
    misplaced: VecDeque<u64>,
    is_line_noted: bool,
    /// Reading fails at this offset.
    pub(super) end: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote in a quoted field: the end of it, or the first of two.
    Closing,
}

impl Seen {
    /// Whether the source ended within quotes.
    pub(super) fn is_unclosed(&self) -> bool {
        self.state == State::Quoted
    }

    /// Whether text follows a closing quote before this offset. Forgets what is before it.
    pub(super) fn is_misplaced_before(&mut self, offset: u64) -> bool {
        let before = self.misplaced.partition_point(|at| *at < offset);
        self.misplaced.drain(..before).count() > 0
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let is_of_mark = self.bytes < 3 && "\u{feff}".as_bytes().contains(byte);
            if !is_of_mark {
                self.step(*byte);
            }
            self.bytes += 1;
        }
    }

    fn step(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Quoted, b'"') => State::Closing,
            (State::FieldStart | State::Closing, b'"') | (State::Quoted, _) => State::Quoted,
            (_, b',') => State::FieldStart,
            (_, b'\n' | b'\r') => {
                self.is_line_noted = false;
                State::FieldStart
            }
            (State::Closing, _) => {
                self.note();
                State::Unquoted
            }
            _ => State::Unquoted,
        };
    }

    fn note(&mut self) {
        if !std::mem::replace(&mut self.is_line_noted, true) {
            self.misplaced.push_back(self.bytes);
        }
    }
}

/// A source whose bytes are looked at as they are read.
pub(super) struct Watched<R> {
    pub(super) source: R,
    pub(super) seen: Rc<RefCell<Seen>>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut seen = self.seen.borrow_mut();
        if seen.bytes >= seen.end {
            let text = "a record is longer than 33554432 bytes: a quote may not be closed";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let read = self.source.read(buffer)?;
        seen.take(&buffer[..read]);
        Ok(read)
    }
}
