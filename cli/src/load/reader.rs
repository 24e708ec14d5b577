//! Files as lines: opened, decompressed while reading, counted, and never read whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::load::LINE_BYTES_MAX;

const BUFFER_BYTES: usize = 256 << 10;
/// Bytes by which it shows what a file is.
const MAGIC_BYTES: u64 = 4;
/// 2 to the power of this many bytes are kept to unpack zstd, at most: 128 MiB, what its own tool takes.
const ZSTANDARD_WINDOW_LOG_MAX: u32 = 27;
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A file opened for reading.
pub(crate) struct Source {
    /// Its bytes, decompressed and without a byte order mark.
    pub(crate) bytes: Box<dyn BufRead + Send>,
    /// Bytes of the file as it is, read so far.
    pub(crate) read: Arc<AtomicU64>,
    /// Bytes of the file as it is; 0 when nobody knows.
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

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstandard,
}

impl Packing {
    /// What the name of a file says.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        [Self::Gzip, Self::Zstandard]
            .into_iter()
            .find(|packing| extension.eq_ignore_ascii_case(packing.extension()))
    }

    /// What bytes begin like.
    fn begins(start: &[u8]) -> Option<Self> {
        [Self::Gzip, Self::Zstandard]
            .into_iter()
            .find(|packing| start.starts_with(packing.magic()))
    }

    fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => &[0x1f, 0x8b],
            Self::Zstandard => &[0x28, 0xb5, 0x2f, 0xfd],
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstandard => "zst",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstandard => "zstd",
        }
    }

    fn unpack(self, packed: impl BufRead + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Zstandard => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTANDARD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// Decompresses what begins like it, whatever the file is called; what is called packed must be.
pub(crate) fn decode(raw: impl Read + Send + 'static, called: Option<Packing>) -> io::Result<Box<dyn BufRead + Send>> {
    let (start, rest) = without_prefix(BufReader::with_capacity(BUFFER_BYTES, raw), &[])?;
    let packing = Packing::begins(&start);
    if let Some(called) = called.filter(|called| packing != Some(*called)) {
        return Err(not_packed(&start, called));
    }
    if let Some(packing) = packing {
        let decoder = Unpacked(packing.unpack(Cursor::new(start).chain(rest))?, packing);
        let (start, rest) = without_prefix(BufReader::with_capacity(BUFFER_BYTES, decoder), &BYTE_ORDER_MARK)?;
        return Ok(Box::new(Cursor::new(start).chain(rest)));
    }
    let start = start
        .strip_prefix(&BYTE_ORDER_MARK)
        .map_or(start.clone(), <[u8]>::to_vec);
    Ok(Box::new(Cursor::new(start).chain(rest)))
}

fn not_packed(start: &[u8], called: Packing) -> io::Error {
    let (extension, name) = (called.extension(), called.name());
    let text = if start.len() < called.magic().len() {
        format!("it is called .{extension} but holds nothing: make it or copy it again")
    } else {
        format!(
            "it is called .{extension} but is not {name}: take .{extension} off its name if it is not packed, or pack it"
        )
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// What a decoder unpacks; its errors say what is wrong with the file, and what to do.
struct Unpacked(Box<dyn Read + Send>, Packing);

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| told(&error, self.1).unwrap_or(error))
    }
}

/// What a decoder's error says of the file; nothing of errors that are not the decoder's own.
fn told(error: &io::Error, packing: Packing) -> Option<io::Error> {
    let (kind, name) = (error.kind(), packing.name());
    if kind == io::ErrorKind::UnexpectedEof {
        let text = format!("the file ends before its {name} data do: it was cut short, so make it or copy it again");
        return Some(io::Error::new(kind, text));
    }
    let is_decoders = matches!(kind, io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
        || (packing == Packing::Zstandard && kind == io::ErrorKind::Other);
    is_decoders.then(|| {
        let text = format!("its {name} data are damaged ({error}): make it or copy it again");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// The first bytes of `reader`, without `prefix` if they are just that, and what follows them.
fn without_prefix<R: BufRead>(mut reader: R, prefix: &[u8]) -> io::Result<(Vec<u8>, R)> {
    let length = if prefix.is_empty() {
        MAGIC_BYTES
    } else {
        prefix.len() as u64
    };
    let mut start = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut start)?;
    if !prefix.is_empty() && start == prefix {
        start.clear();
    }
    Ok((start, reader))
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
    /// It is longer than [`LINE_BYTES_MAX`], and was passed over.
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

/// Fails when more than [`LINE_BYTES_MAX`] were read since the last [`reset`](Budget::reset): one record must not fill the memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<AtomicU64>);

impl Budget {
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub(crate) fn guard<R: Read>(&self, inner: R) -> Guarded<R> {
        Guarded {
            inner,
            budget: self.clone(),
        }
    }
}

pub(crate) struct Guarded<R> {
    inner: R,
    budget: Budget,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        let used = self.budget.0.fetch_add(bytes as u64, Ordering::Relaxed);
        if used > LINE_BYTES_MAX as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a record is longer than 16 MiB: is a quote missing?",
            ));
        }
        Ok(bytes)
    }
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
