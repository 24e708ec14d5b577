//! Compressed files: gzip and zstd, with the semantics of their own tools.

use std::io::{self, BufRead, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

/// 2 to the power of this many bytes are kept to unpack zstd, at most: 128 MiB, what its own tool takes.
const ZSTANDARD_WINDOW_LOG_MAX: u32 = 27;
/// What the decoder says of data that take more.
const WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTANDARD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The first byte of the magic number of a skippable frame is any of sixteen (RFC 8878, 3.1.2); these follow it.
const SKIPPABLE_MAGIC_REST: [u8; 3] = [0x2a, 0x4d, 0x18];

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstandard,
}

impl Packing {
    /// The format by the name of a file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        [Self::Gzip, Self::Zstandard]
            .into_iter()
            .find(|packing| extension.eq_ignore_ascii_case(packing.extension()))
    }

    /// The format by the first bytes.
    pub(crate) fn begins(start: &[u8]) -> Option<Self> {
        if start.starts_with(&GZIP_MAGIC) {
            return Some(Self::Gzip);
        }
        let is_skippable = matches!(start, [0x50..=0x5f, rest @ ..] if rest.starts_with(&SKIPPABLE_MAGIC_REST));
        (is_skippable || start.starts_with(&ZSTANDARD_MAGIC)).then_some(Self::Zstandard)
    }

    fn magic_bytes(self) -> usize {
        match self {
            Self::Gzip => GZIP_MAGIC.len(),
            Self::Zstandard => ZSTANDARD_MAGIC.len(),
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstandard => "zst",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstandard => "zstd",
        }
    }

    pub(crate) fn unpack(self, packed: impl BufRead + Send + 'static) -> io::Result<Unpacked> {
        let inner: Box<dyn Read + Send> = match self {
            Self::Gzip => Box::new(Members::new(packed)),
            Self::Zstandard => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTANDARD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        };
        Ok(Unpacked(inner, self))
    }

    /// The error for a file whose name is that of the format `called`, but which begins with `start`.
    pub(crate) fn refusal(self, start: &[u8]) -> io::Error {
        let (extension, name) = (self.extension(), self.name());
        let text = if start.len() < self.magic_bytes() {
            format!("it is called .{extension} but holds nothing: make it or copy it again")
        } else if let Some(other) = Self::begins(start) {
            format!(
                "it is called .{extension} but is {}: call it .{}",
                other.name(),
                other.extension()
            )
        } else {
            format!(
                "it is called .{extension} but is not {name}: take .{extension} off its name if it is not packed, or pack it"
            )
        };
        io::Error::new(ErrorKind::InvalidData, text)
    }
}

/// A decoder whose errors say what is wrong with the file and what to do.
pub(crate) struct Unpacked(Box<dyn Read + Send>, Packing);

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| told(&error, self.1).unwrap_or(error))
    }
}

/// A decoder's error with what to do about it; `None` for an error that says it already, or is not the decoder's own.
fn told(error: &io::Error, packing: Packing) -> Option<io::Error> {
    let (kind, name) = (error.kind(), packing.name());
    if error.get_ref().is_some_and(|inner| inner.is::<TrailingBytes>()) {
        return None;
    }
    if kind == ErrorKind::UnexpectedEof {
        let text = format!("the file ends before its {name} data do: it was cut short, so make it or copy it again");
        return Some(io::Error::new(kind, text));
    }
    let is_decoders = matches!(kind, ErrorKind::InvalidInput | ErrorKind::InvalidData)
        || (packing == Packing::Zstandard && kind == ErrorKind::Other);
    is_decoders.then(|| {
        let reason = error.to_string();
        let text = if reason == WINDOW_TOO_LARGE {
            let window = 1 << (ZSTANDARD_WINDOW_LOG_MAX - 20);
            format!("its {name} data take a window of more than {window} MiB: pack it with --long={ZSTANDARD_WINDOW_LOG_MAX} at most")
        } else {
            format!("its {name} data are damaged ({reason}): make it or copy it again")
        };
        io::Error::new(ErrorKind::InvalidData, text)
    })
}

/// Bytes after the last member of a gzip file that are neither zeros nor another member.
#[derive(Debug, thiserror::Error)]
#[error(
    "its gzip data are whole, but other bytes follow them (the first is {0:#04x}): remove them, or make or copy the file again"
)]
struct TrailingBytes(u8);

/// The members of a gzip file in order; zeros after a member are padding.
struct Members<R> {
    member: Option<GzDecoder<R>>,
    is_at_end: bool,
}

impl<R: BufRead> Members<R> {
    fn new(packed: R) -> Self {
        Self {
            member: Some(GzDecoder::new(packed)),
            is_at_end: false,
        }
    }

    /// Begins the next member. Returns whether there is one.
    fn begin_next(&mut self) -> io::Result<bool> {
        let Some(mut packed) = self.member.take().map(GzDecoder::into_inner) else {
            return Ok(false);
        };
        match skip_zeros(&mut packed)? {
            None => return Ok(false),
            Some(byte) if byte == GZIP_MAGIC[0] => self.member = Some(GzDecoder::new(packed)),
            Some(byte) => return Err(io::Error::new(ErrorKind::InvalidData, TrailingBytes(byte))),
        }
        Ok(true)
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() && !self.is_at_end {
            let bytes = match &mut self.member {
                Some(member) => member.read(buffer)?,
                None => 0,
            };
            if bytes > 0 {
                return Ok(bytes);
            }
            self.is_at_end = !self.begin_next()?;
        }
        Ok(0)
    }
}

/// The first byte that is not zero, which stays where it is.
fn skip_zeros(packed: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = match packed.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let (next, is_empty) = (buffer.get(zeros).copied(), buffer.is_empty());
        packed.consume(zeros);
        if next.is_some() || is_empty {
            return Ok(next);
        }
    }
}
