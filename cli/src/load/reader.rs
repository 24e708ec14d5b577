//! Reads files line by line, decompresses them, and counts the bytes. No file is read into memory as a whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::load::packing::Packing;
use crate::load::{LINE_BYTES_MAX, encoding};

const BUFFER_BYTES: usize = 256 << 10;
/// The maximum number of leading space characters that are skipped to find the first character of a file.
const SPACE_BYTES_MAX: usize = 64 << 10;

/// A file opened for reading.
pub(crate) struct Source {
    /// The decompressed bytes, without a byte order mark.
    pub(crate) bytes: Box<dyn BufRead + Send>,
    /// Bytes of the file read so far, before decompression.
    pub(crate) read: Arc<AtomicU64>,
    /// The size of the file before decompression; 0 if unknown.
    pub(crate) total: u64,
}

/// Opens `path`, or the standard input for `-`.
pub(crate) fn open(path: &Path) -> io::Result<Source> {
    let read = Arc::new(AtomicU64::new(0));
    let (raw, total): (Box<dyn Read + Send>, u64) = if path == Path::new("-") {
        (Box::new(io::stdin()), 0)
    } else {
        let file = File::open(path)?;
        let total = file.metadata()?.len();
        (Box::new(file), total)
    };
    let counted = Counted {
        inner: raw,
        count: Arc::clone(&read),
    };
    Ok(Source {
        bytes: decode(counted, Packing::of(path))?,
        read,
        total,
    })
}

/// Decompresses a file that begins like a compressed one, whatever its name; a file with the name of a compressed one must be one. Returns
/// UTF-8 without a byte order mark.
pub(crate) fn decode(raw: impl Read + Send + 'static, called: Option<Packing>) -> io::Result<Box<dyn BufRead + Send>> {
    let mut raw = BufReader::with_capacity(BUFFER_BYTES, raw);
    let start = encoding::start(&mut raw)?;
    let packing = Packing::begins(&start);
    if let Some(called) = called.filter(|called| packing != Some(*called)) {
        return Err(called.refusal(&start));
    }
    let whole = Cursor::new(start).chain(raw);
    match packing {
        Some(packing) => encoding::text(BufReader::with_capacity(BUFFER_BYTES, packing.unpack(whole)?)),
        None => encoding::text(whole),
    }
}

/// Takes leading space, at most [`SPACE_BYTES_MAX`] bytes. Returns it, and the character after it.
pub(crate) fn leading_space(reader: &mut impl BufRead) -> io::Result<(Vec<u8>, Option<u8>)> {
    let mut space = Vec::new();
    while space.len() < SPACE_BYTES_MAX {
        let buffer = reader.fill_buf()?;
        let length = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let next = buffer.get(length).copied();
        space.extend(&buffer[..length]);
        reader.consume(length);
        if next.is_some() || length == 0 {
            return Ok((space, next));
        }
    }
    Ok((space, None))
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.count.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Its bytes are in the buffer, without the end of the line.
    Whole,
    /// It is longer than [`LINE_BYTES_MAX`] and was skipped.
    TooLong,
}

/// Reads the next line into `line`; `None` at the end.
pub(crate) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<Line>> {
    line.clear();
    let bound = LINE_BYTES_MAX as u64 + 2;
    reader.by_ref().take(bound).read_until(b'\n', line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 == bound {
        reader.skip_until(b'\n')?;
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(if line.len() > LINE_BYTES_MAX {
        Line::TooLong
    } else {
        Line::Whole
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn lines(mut reader: impl BufRead) -> io::Result<Vec<String>> {
        let (mut all, mut line) = (Vec::new(), Vec::new());
        while read_line(&mut reader, &mut line)?.is_some() {
            all.push(String::from_utf8_lossy(&line).into_owned());
        }
        Ok(all)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn ends_of_lines_and_byte_order_marks_are_left_out() {
        let read = lines(decode("\u{feff}a\r\nb\n\nc".as_bytes(), None).unwrap()).unwrap();
        assert_eq!(read, ["a", "b", "", "c"]);
    }

    #[test]
    fn short_files_are_whole() {
        for text in ["", "a", "ab", "abc", "abcd"] {
            assert_eq!(lines(decode(text.as_bytes(), None).unwrap()).unwrap().concat(), text);
        }
    }

    #[test]
    fn gzip_is_known_by_its_content() {
        let packed = [gzip("\u{feff}a\n".as_bytes()), gzip(b"b\n")].concat();
        let read = lines(decode(Cursor::new(packed), None).unwrap()).unwrap();
        assert_eq!(read, ["a", "b"]);
    }

    #[test]
    fn truncated_gzip_is_an_error() {
        let packed = gzip(&b"a line\n".repeat(1000));
        for length in [2, 9, 20, packed.len() - 1] {
            let cut = Cursor::new(packed[..length].to_vec());
            assert!(decode(cut, None).and_then(lines).is_err(), "{length}");
        }
    }

    #[test]
    fn long_lines_are_passed_over() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 10];
        text.extend(b"\nshort\n");
        let (mut reader, mut line) = (Cursor::new(text), Vec::new());
        assert_eq!(read_line(&mut reader, &mut line).unwrap(), Some(Line::TooLong));
        assert_eq!(read_line(&mut reader, &mut line).unwrap(), Some(Line::Whole));
        assert_eq!(line, b"short");
    }

    #[test]
    fn the_longest_line_is_whole() {
        for end in ["", "\n", "\r\n"] {
            let mut text = vec![b'x'; LINE_BYTES_MAX];
            text.extend(end.as_bytes());
            let (mut reader, mut line) = (Cursor::new(text), Vec::new());
            assert_eq!(read_line(&mut reader, &mut line).unwrap(), Some(Line::Whole), "{end:?}");
            assert_eq!(read_line(&mut reader, &mut line).unwrap(), None, "{end:?}");
        }
    }
}
