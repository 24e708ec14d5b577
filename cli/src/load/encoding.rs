//! Detects by the first bytes of a file whether it is text in UTF-8 or UTF-16, or another kind of file.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

/// Number of bytes that are examined.
pub(crate) const START_BYTES: u64 = 16;
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
/// Bytes of UTF-16 that are decoded at once.
const CHUNK_BYTES: u64 = 64 << 10;

/// The first bytes of files that are not text, and the names of their formats.
const BINARY: [(&[u8], &str); 11] = [
    (b"SQLite format 3", "an SQLite database"),
    (b"PK\x03\x04", "a zip archive, as *.xlsx and *.ods are"),
    (b"\x1f\x8b", "gzip data, packed twice"),
    (b"\x28\xb5\x2f\xfd", "zstd data, packed twice"),
    (b"\xfd7zXZ", "xz data"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Obj\x01", "an Avro file"),
    (b"ARROW1\0", "an Arrow file"),
    (b"\x7fELF", "a program"),
    (b"%PDF-", "a PDF document"),
];
/// The first bytes of formats that start with letters: not text if other bytes follow.
const BINARY_AFTER_LETTERS: [(&[u8], &str); 3] = [
    (b"PAR1", "a Parquet file"),
    (b"ORC", "an ORC file"),
    (b"BZh", "bzip2 data"),
];
const MARKUP: [(&[u8], &str); 4] = [
    (b"<?xml", "XML, as an XES log is"),
    (b"<log", "XML, as an XES log is"),
    (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"),
];

/// The text of `bytes` in UTF-8, without byte order marks.
///
/// # Errors
///
/// Fails when the first bytes are those of another format, which the error names.
pub(crate) fn text(mut bytes: impl BufRead + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let start = start(&mut bytes)?;
    match seems(&start) {
        Seems::Text => behind_marks(Cursor::new(start).chain(bytes)),
        Seems::Utf16 { is_big_endian } => {
            let utf16 = Utf16::new(Cursor::new(start).chain(bytes), is_big_endian);
            Ok(Box::new(BufReader::with_capacity(64 << 10, utf16)))
        }
        Seems::Other(kind) => {
            let text = format!("it seems to be {kind}: convert it to JSON lines or CSV in UTF-8 first");
            Err(io::Error::new(ErrorKind::InvalidData, text))
        }
    }
}

/// `bytes` without leading byte order marks.
fn behind_marks(mut bytes: impl BufRead + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    loop {
        let mut start = Vec::new();
        bytes
            .by_ref()
            .take(BYTE_ORDER_MARK.len() as u64)
            .read_to_end(&mut start)?;
        if start != BYTE_ORDER_MARK {
            return Ok(Box::new(Cursor::new(start).chain(bytes)));
        }
    }
}

/// The first bytes of `reader`.
pub(crate) fn start(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    reader.take(START_BYTES).read_to_end(&mut start)?;
    Ok(start)
}

/// `start` without leading byte order marks.
pub(crate) fn without_marks(mut start: &[u8]) -> &[u8] {
    while let Some(rest) = start.strip_prefix(BYTE_ORDER_MARK) {
        start = rest;
    }
    start
}

#[derive(Debug, PartialEq, Eq)]
enum Seems {
    Text,
    Utf16 { is_big_endian: bool },
    Other(&'static str),
}

fn seems(start: &[u8]) -> Seems {
    match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [1..=0xff, 0, 0, 0, ..] | [0, 0, 0, 1..=0xff, ..] => {
            return Seems::Other("text in UTF-32");
        }
        [0xff, 0xfe, ..] | [1..=0xff, 0, 1..=0xff, 0, ..] => return Seems::Utf16 { is_big_endian: false },
        [0xfe, 0xff, ..] | [0, 1..=0xff, 0, 1..=0xff, ..] => return Seems::Utf16 { is_big_endian: true },
        _ => {}
    }
    let begins = |(magic, _): &&(&[u8], &'static str)| start.starts_with(magic);
    let is_binary = start.iter().any(|byte| *byte < 0x20 && !b"\t\n\r\x1e".contains(byte));
    let found = BINARY.iter().find(begins).or_else(|| MARKUP.iter().find(begins));
    let found = found.or_else(|| {
        BINARY_AFTER_LETTERS
            .iter()
            .find(begins)
            .filter(|_| is_binary || !start.is_ascii())
    });
    match found {
        Some((_, kind)) => Seems::Other(kind),
        None if start.contains(&0) => Seems::Other("a binary file"),
        None => Seems::Text,
    }
}

/// Converts UTF-16 to UTF-8, without leading byte order marks.
struct Utf16<R> {
    inner: R,
    is_big_endian: bool,
    /// The first half of a surrogate pair, whose second half is in the next bytes.
    half: Option<u16>,
    is_begun: bool,
    decoded: VecDeque<u8>,
}

impl<R: Read> Utf16<R> {
    fn new(inner: R, is_big_endian: bool) -> Self {
        Self {
            inner,
            is_big_endian,
            half: None,
            is_begun: false,
            decoded: VecDeque::new(),
        }
    }

    /// Decodes the next bytes. Returns whether there were any.
    fn decode(&mut self) -> io::Result<bool> {
        let invalid = |text: &str| io::Error::new(ErrorKind::InvalidData, text);
        let mut bytes = Vec::new();
        self.inner.by_ref().take(CHUNK_BYTES).read_to_end(&mut bytes)?;
        let mut units: Vec<u16> = self.half.take().into_iter().collect();
        let (pairs, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(invalid("its UTF-16 text ends within a character: it was cut short"));
        }
        units.extend(pairs.iter().map(|pair| self.unit(*pair)));
        if !bytes.is_empty() {
            self.half = units.pop_if(|unit| (0xd800..0xdc00).contains(unit));
        }
        for character in char::decode_utf16(units) {
            let character =
                character.map_err(|_| invalid("its text is not valid UTF-16: half of a character is missing"))?;
            self.is_begun |= character != '\u{feff}';
            if self.is_begun {
                self.decoded.extend(character.encode_utf8(&mut [0; 4]).bytes());
            }
        }
        Ok(!bytes.is_empty())
    }

    fn unit(&self, pair: [u8; 2]) -> u16 {
        if self.is_big_endian {
            u16::from_be_bytes(pair)
        } else {
            u16::from_le_bytes(pair)
        }
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoded.is_empty() && self.decode()? {}
        self.decoded.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: Vec<u8>) -> Result<String, String> {
        let mut read = String::new();
        let mut reader = text(Cursor::new(bytes)).map_err(|error| error.to_string())?;
        reader.read_to_string(&mut read).map_err(|error| error.to_string())?;
        Ok(read)
    }

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    #[test]
    fn utf_16_is_read_with_and_without_a_mark() {
        let long = "äß日😀\r\n".repeat(20_000);
        for text in ["{\"a\": 1}\n", "aggregateId,eventType\nä,😀\n", &format!("ab{long}")] {
            for mark in ["", "\u{feff}", "\u{feff}\u{feff}", &"\u{feff}".repeat(7)] {
                let marked = format!("{mark}{text}");
                assert_eq!(read(utf16(&marked, u16::to_le_bytes)).as_deref(), Ok(text));
                assert_eq!(read(utf16(&marked, u16::to_be_bytes)).as_deref(), Ok(text));
                assert_eq!(read(marked.into_bytes()).as_deref(), Ok(text));
            }
        }
    }

    #[test]
    fn half_a_character_is_an_error() {
        let mut cut = utf16("abcd", u16::to_le_bytes);
        cut.pop();
        assert!(read(cut).unwrap_err().contains("cut short"));
        let mut half = utf16("abcd", u16::to_le_bytes);
        half.extend(0xd83d_u16.to_le_bytes());
        assert!(read(half.clone()).unwrap_err().contains("half of a character"));
        half.extend(u16::from(b'x').to_le_bytes());
        assert!(read(half).unwrap_err().contains("half of a character"));
    }

    #[test]
    fn what_is_no_text_is_named() {
        for (bytes, kind) in [
            (&b"PAR1\x15\x04\x15"[..], "a Parquet file"),
            (b"SQLite format 3\0", "an SQLite database"),
            (b"PK\x03\x04\x14\0", "a zip archive"),
            (b"<?xml version=\"1", "XML, as an XES log is"),
            (b"\xff\xfe\0\0{\0\0\0", "text in UTF-32"),
            (b"{\0\0\0", "text in UTF-32"),
            (b"ab\0\0\0cdef", "a binary file"),
        ] {
            let message = read(bytes.to_vec()).unwrap_err();
            assert!(message.contains(&format!("it seems to be {kind}")), "{message}");
        }
        for text in [
            "PAR1,PAR2,aggregateId\n",
            "ORCID,b\n",
            "",
            "a",
            "ab",
            "\u{1e}{}\n",
            "<a>,b\n",
        ] {
            assert_eq!(read(text.into()).as_deref(), Ok(text));
        }
    }
}
