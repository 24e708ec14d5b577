//! Output files: compressed if their name says so, and visible only when complete.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::exit::{Outcome, of_output};
use crate::output::target::{Found, Part, Target, named, open_through};

/// A file that has a temporary name until [`keep`](Self::keep); or a pipe, a device or a socket, which is written directly.
pub(crate) struct Sink {
    writer: Writer,
    part: Option<Part>,
    target: Target,
}

enum Writer {
    Plain(BufWriter<File>),
    Gzip(BufWriter<Box<GzEncoder<File>>>),
    Zstandard(Box<zstd::Encoder<'static, BufWriter<File>>>),
}

impl Writer {
    fn new(file: File, path: &Path) -> io::Result<Self> {
        let is_called = |name: &str| {
            path.extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case(name))
        };
        Ok(if is_called("gz") {
            Self::Gzip(BufWriter::with_capacity(
                64 << 10,
                Box::new(GzEncoder::new(file, Compression::default())),
            ))
        } else if is_called("zst") {
            let file = BufWriter::with_capacity(256 << 10, file);
            let mut packer = zstd::Encoder::new(file, 0)?;
            packer.include_checksum(true)?;
            Self::Zstandard(Box::new(packer))
        } else {
            Self::Plain(BufWriter::with_capacity(256 << 10, file))
        })
    }

    /// Ends the compressed data and passes everything to the operating system.
    fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(writer) => writer.flush(),
            Self::Gzip(writer) => {
                writer.flush()?;
                writer.get_mut().try_finish()
            }
            Self::Zstandard(writer) => {
                writer.do_finish()?;
                writer.get_mut().flush()
            }
        }
    }

    fn file(&self) -> &File {
        match self {
            Self::Plain(writer) => writer.get_ref(),
            Self::Gzip(writer) => writer.get_ref().get_ref(),
            Self::Zstandard(writer) => writer.get_ref().get_ref(),
        }
    }
}

impl Sink {
    /// Starts to write `target`.
    pub(crate) fn create(target: &Target) -> Outcome<Self> {
        let found = target.check()?;
        let path = &target.path;
        let opened = match &found {
            Found::Nothing => Part::create(path, target.force, None).map(|(part, file)| (Some(part), file)),
            Found::Regular(before) => {
                Part::create(path, target.force, Some(before)).map(|(part, file)| (Some(part), file))
            }
            Found::Other(data) => open_through(path, data).map(|file| (None, file)),
        };
        let (part, file) = opened.map_err(|error| named(path, &error))?;
        let writer = Writer::new(file, path).map_err(|error| named(path, &error))?;
        Ok(Self {
            writer,
            part,
            target: target.clone(),
        })
    }

    /// Completes, syncs and renames the file. Then it survives a crash of the machine.
    pub(crate) fn keep(mut self) -> Outcome {
        let ended = self.writer.end();
        let Some(part) = self.part.take() else {
            // A pipe or a device cannot be synced.
            return Ok(ended.map_err(|error| self.named(error))?);
        };
        ended
            .and_then(|()| self.writer.file().sync_all())
            .map_err(|error| named(&self.target.path, &error))?;
        part.keep()
    }
}

impl Sink {
    /// An error with the name of the file. A pipe without a reader is not an error.
    fn named(&self, error: io::Error) -> io::Error {
        if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) {
            return error;
        }
        io::Error::new(error.kind(), of_output(&self.target.path, &error))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.writer {
            Writer::Plain(writer) => writer.write(bytes),
            Writer::Gzip(writer) => writer.write(bytes),
            Writer::Zstandard(writer) => writer.write(bytes),
        };
        written.map_err(|error| self.named(error))
    }

    /// Does nothing: an incomplete file is not read, and a flush would end a block of gzip.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn to(path: &Path) -> Target {
        Target {
            path: path.to_owned(),
            ..Target::default()
        }
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("log.jsonl.gz");
        let mut sink = Sink::create(&to(&target)).unwrap();
        sink.write_all(b"half").unwrap();
        drop(sink);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let mut sink = Sink::create(&to(&target)).unwrap();
        sink.write_all(b"whole").unwrap();
        sink.keep().unwrap();
        let packed = fs::read(&target).unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*packed), &mut text).unwrap();
        assert_eq!(text, "whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
