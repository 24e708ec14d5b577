//! Reads JSON values in any layout: the elements of arrays, values over several lines, and records that each
//! begin with a separator (RFC 7464).

use std::io::{self, BufRead, ErrorKind};

use crate::load::LINE_BYTES_MAX;
use crate::load::reader::Line;

/// The separator of a JSON text sequence.
pub(crate) const RECORD_SEPARATOR: u8 = 0x1e;
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// Reads values one by one; only one is in memory at a time.
pub(crate) struct Elements<R> {
    bytes: R,
    /// The line of the next byte.
    line: u64,
    is_after_return: bool,
    /// The first line of the array that is being read.
    array: Option<u64>,
    next: Next,
}

/// What may come next in an array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    ValueOrEnd,
    Value,
    CommaOrEnd,
}

/// The reason why reading cannot continue, with its line.
pub(crate) type Broken = (u64, String);

impl<R: BufRead> Elements<R> {
    pub(crate) fn new(bytes: R) -> Self {
        Self {
            bytes,
            line: 1,
            is_after_return: false,
            array: None,
            next: Next::ValueOrEnd,
        }
    }

    /// Reads the next value into `element`; returns the line in which it begins. `None` at the end.
    ///
    /// # Errors
    ///
    /// Fails when an array has invalid syntax or is not closed.
    pub(crate) fn next(&mut self, element: &mut Vec<u8>) -> Result<Option<(u64, Line)>, Broken> {
        loop {
            element.clear();
            let Some(byte) = self.peek_value(element)? else {
                return self.array.map_or(Ok(None), |begun| {
                    let text = format!("the array that begins in line {begun} is not closed: the file was cut short");
                    Err((self.line, text))
                });
            };
            let line = self.line;
            if element.is_empty() && self.punctuation(byte)? {
                continue;
            }
            let read = self.value(element).map_err(|error| (self.line, error.to_string()))?;
            self.next = Next::CommaOrEnd;
            return Ok(Some((line, read)));
        }
    }

    /// The first byte of the next value or mark of an array. Byte order marks between values are passed over; what only begins like one
    /// is put into `element`.
    fn peek_value(&mut self, element: &mut Vec<u8>) -> Result<Option<u8>, Broken> {
        loop {
            let next = self.peek().map_err(|error| (self.line, error.to_string()))?;
            match next {
                Some(byte) if byte.is_ascii_whitespace() || byte == RECORD_SEPARATOR => self.take(byte),
                Some(byte) if BYTE_ORDER_MARK.get(element.len()) == Some(&byte) => {
                    element.push(byte);
                    self.take(byte);
                    if element == BYTE_ORDER_MARK {
                        element.clear();
                    }
                }
                next => return Ok(next.or_else(|| element.first().copied())),
            }
            if !element.is_empty() && self.is_at_space().map_err(|error| (self.line, error.to_string()))? {
                return Ok(element.first().copied());
            }
        }
    }

    /// Takes a bracket or a comma of an array. Returns whether `byte` was one.
    fn punctuation(&mut self, byte: u8) -> Result<bool, Broken> {
        let Some(begun) = self.array else {
            if byte == b'[' {
                (self.array, self.next) = (Some(self.line), Next::ValueOrEnd);
                self.take(byte);
            }
            return Ok(self.array.is_some());
        };
        match (byte, self.next) {
            (b']', Next::ValueOrEnd | Next::CommaOrEnd) => self.array = None,
            (b',', Next::CommaOrEnd) => self.next = Next::Value,
            (b']' | b',' | b'}' | b':', _) | (_, Next::CommaOrEnd) => {
                let expected = match self.next {
                    Next::ValueOrEnd => "an element or ']'",
                    Next::Value => "an element",
                    Next::CommaOrEnd => "',' or ']'",
                };
                let text = format!("{expected} is expected in the array that begins in line {begun}");
                return Err((self.line, format!("{text}, not {:?}", char::from(byte))));
            }
            _ => return Ok(false),
        }
        self.take(byte);
        Ok(true)
    }

    /// Reads one value up to its end. Its parser checks later whether it is valid JSON.
    fn value(&mut self, element: &mut Vec<u8>) -> io::Result<Line> {
        let mut shape = Shape::default();
        let mut bytes = element.len();
        loop {
            let buffer = fill(&mut self.bytes)?;
            let length = buffer.iter().position(|byte| shape.ends_before(*byte));
            let is_done = length.is_some() || buffer.is_empty();
            let part = &buffer[..length.unwrap_or(buffer.len())];
            for byte in part {
                count_line(&mut self.line, &mut self.is_after_return, *byte);
            }
            bytes += part.len();
            let room = (LINE_BYTES_MAX + 1).saturating_sub(element.len());
            element.extend(&part[..part.len().min(room)]);
            let taken = part.len();
            self.bytes.consume(taken);
            if is_done {
                break;
            }
        }
        Ok(if bytes > LINE_BYTES_MAX {
            Line::TooLong
        } else {
            Line::Whole
        })
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(fill(&mut self.bytes)?.first().copied())
    }

    fn is_at_space(&mut self) -> io::Result<bool> {
        Ok(self.peek()?.is_none_or(|byte| byte.is_ascii_whitespace()))
    }

    /// Takes the byte that was peeked at.
    fn take(&mut self, byte: u8) {
        count_line(&mut self.line, &mut self.is_after_return, byte);
        self.bytes.consume(1);
    }
}

/// Lines end with LF, CR LF or CR.
fn count_line(line: &mut u64, is_after_return: &mut bool, byte: u8) {
    *line += u64::from(byte == b'\r' || byte == b'\n' && !*is_after_return);
    *is_after_return = byte == b'\r';
}

fn fill(bytes: &mut impl BufRead) -> io::Result<&[u8]> {
    // The loop of `read_until`: a signal is no failure. The borrow checker wants the second call.
    while let Err(error) = bytes.fill_buf() {
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    bytes.fill_buf()
}

/// The state within a value.
#[derive(Default)]
struct Shape {
    depth: u64,
    place: Place,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    /// Outside a string.
    Value,
    Text,
    /// After a backslash in a string.
    Escape,
    Whole,
}

impl Shape {
    /// Whether the value ends before `byte`; if not, `byte` is part of it.
    fn ends_before(&mut self, byte: u8) -> bool {
        let ends_scalar = self.place == Place::Value && self.depth == 0 && is_delimiter(byte);
        if byte == RECORD_SEPARATOR || self.place == Place::Whole || ends_scalar {
            return true;
        }
        self.place = match (self.place, byte) {
            (Place::Text, b'\\') => Place::Escape,
            (Place::Text, b'"') => self.closed(),
            (Place::Text | Place::Escape, _) | (Place::Start | Place::Value, b'"') => Place::Text,
            (Place::Start | Place::Value, b'{' | b'[') => {
                self.depth += 1;
                Place::Value
            }
            (Place::Start | Place::Value, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                self.closed()
            }
            (Place::Start | Place::Value, _) => Place::Value,
            (Place::Whole, _) => Place::Whole,
        };
        false
    }

    /// The state after the end of a string, an array or an object.
    fn closed(&self) -> Place {
        if self.depth == 0 { Place::Whole } else { Place::Value }
    }
}

fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b",]}[{\"".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `text` with their lines, read in buffers of `capacity`, and the end.
    fn read(text: &[u8], capacity: usize) -> (Vec<(u64, String)>, Option<Broken>) {
        let mut elements = Elements::new(io::BufReader::with_capacity(capacity, text));
        let (mut all, mut element) = (Vec::new(), Vec::new());
        loop {
            match elements.next(&mut element) {
                Ok(Some((line, Line::Whole))) => all.push((line, String::from_utf8_lossy(&element).into_owned())),
                Ok(Some((line, Line::TooLong))) => all.push((line, "too long".to_owned())),
                Ok(None) => return (all, None),
                Err(broken) => return (all, Some(broken)),
            }
        }
    }

    fn is_read(text: &str, expected: &[(u64, &str)], refusal: Option<(u64, &str)>) {
        for capacity in [1, 2, 3, 1024] {
            let (all, broken) = read(text.as_bytes(), capacity);
            let all: Vec<(u64, &str)> = all.iter().map(|(line, text)| (*line, text.as_str())).collect();
            assert_eq!(all, expected, "{text:?}");
            match (&broken, refusal) {
                (None, None) => {}
                (Some((line, text)), Some((at, expected))) => {
                    assert!(*line == at && text.contains(expected), "{line}: {text}");
                }
                _ => panic!("{text:?}: {broken:?}"),
            }
        }
    }

    #[test]
    fn arrays_are_read_element_by_element() {
        is_read("[]", &[], None);
        is_read(
            " [\n{\"a\":[1,{}]},\n{\"b\":\"]},\\\"\"}\n]\n",
            &[(2, "{\"a\":[1,{}]}"), (3, "{\"b\":\"]},\\\"\"}")],
            None,
        );
        is_read("[1,\"a\",null]", &[(1, "1"), (1, "\"a\""), (1, "null")], None);
        is_read("[{\r\n},\r{}]\r[{}]", &[(1, "{\r\n}"), (3, "{}"), (4, "{}")], None);
        is_read("[[{}]]", &[(1, "[{}]")], None);
    }

    #[test]
    fn values_stand_alone_too() {
        is_read(
            "{\n\"a\":\n1}\n{}{}",
            &[(1, "{\n\"a\":\n1}"), (4, "{}"), (4, "{}")],
            None,
        );
        is_read("\u{1e}{\"a\":\n1}\n\u{1e}{}\n", &[(1, "{\"a\":\n1}"), (3, "{}")], None);
        // A truncated record ends where the next one begins.
        is_read("\u{1e}{\"a\":\"\u{1e}{}\n", &[(1, "{\"a\":\""), (1, "{}")], None);
        is_read("\u{feff}{}\u{feff}\u{feff}\n{}", &[(1, "{}"), (2, "{}")], None);
        is_read("hello world", &[(1, "hello"), (1, "world")], None);
        is_read("", &[], None);
    }

    #[test]
    fn arrays_that_are_none_are_refused() {
        is_read("[{},", &[(1, "{}")], Some((1, "is not closed")));
        is_read("[{},\n]", &[(1, "{}")], Some((2, "an element is expected")));
        is_read("[{}\n{}]", &[(1, "{}")], Some((2, "',' or ']' is expected")));
        is_read("[,{}]", &[], Some((1, "an element or ']' is expected")));
        is_read("[{}\n", &[(1, "{}")], Some((2, "is not closed")));
    }

    #[test]
    fn garbage_ends() {
        for garbage in [
            &b"]"[..],
            b"}",
            b",",
            b"\xef",
            b"\xef\xbb",
            b"\xef\xbb{}",
            b"\xef {}",
            b":",
            b"]]]{",
        ] {
            for capacity in [1, 1024] {
                let (all, broken) = read(garbage, capacity);
                assert!(!all.is_empty() && broken.is_none(), "{garbage:?}");
            }
        }
    }

    #[test]
    fn a_value_that_is_too_long_does_not_fill_the_memory() {
        let text = format!("[{{\"a\":\"{}\"}},{{}}]", "x".repeat(LINE_BYTES_MAX + 10));
        let (all, broken) = read(text.as_bytes(), 1 << 16);
        assert_eq!(all, [(1, "too long".to_owned()), (1, "{}".to_owned())]);
        assert_eq!(broken, None);
    }
}
