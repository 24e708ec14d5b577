//! Files that are written: packed if their name says so, and there only when they are whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::exit::{Failure, Outcome};
use crate::load::feed::Kind;
use crate::output::Format;

/// Symbolic links that are followed one after the other: as many as the operating system follows.
const LINKS_MAX: usize = 40;

/// A file being written under another name, until [`keep`](Self::keep).
pub(crate) struct Sink {
    writer: Writer,
    target: PathBuf,
    part: PathBuf,
    is_kept: bool,
}

enum Writer {
    Plain(BufWriter<File>),
    Gzip(BufWriter<Box<GzEncoder<File>>>),
    Zstandard(Box<zstd::Encoder<'static, BufWriter<File>>>),
}

/// What the name of a file says that it is to hold.
pub(crate) fn format_of(path: &Path) -> Outcome<Format> {
    Kind::of(path).map(|kind| match kind {
        Kind::Json => Format::Json,
        Kind::JsonLines => Format::Jsonl,
        Kind::Csv => Format::Csv,
    })
}

impl Sink {
    /// Begins to write what will be `target`.
    pub(crate) fn create(target: &Path) -> Outcome<Self> {
        let named = |error: io::Error| Failure::Runtime(format!("{}: {error}", target.display()));
        if target.is_dir() {
            return Err(Failure::Usage(format!("{} is a directory", target.display())));
        }
        let is_called = |name: &str| {
            target
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case(name))
        };
        let file_path = behind_links(target).map_err(named)?;
        let mut part = file_path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(named)?;
        let writer = if is_called("gz") {
            Writer::Gzip(BufWriter::with_capacity(
                64 << 10,
                Box::new(GzEncoder::new(file, Compression::default())),
            ))
        } else if is_called("zst") {
            let file = BufWriter::with_capacity(256 << 10, file);
            let mut packer = zstd::Encoder::new(file, 0).map_err(named)?;
            packer.include_checksum(true).map_err(named)?;
            Writer::Zstandard(Box::new(packer))
        } else {
            Writer::Plain(BufWriter::with_capacity(256 << 10, file))
        };
        Ok(Self {
            writer,
            target: file_path,
            part,
            is_kept: false,
        })
    }

    /// Ends the file and gives it its name; what had this name before is replaced. Then it survives the end of the machine.
    pub(crate) fn keep(mut self) -> Outcome {
        let renamed = self.end().and_then(|()| fs::rename(&self.part, &self.target));
        let ended = renamed.and_then(|()| sync_names_beside(&self.target));
        self.is_kept = ended.is_ok();
        ended.map_err(|error| Failure::Runtime(format!("{}: {error}", self.target.display())))
    }

    fn end(&mut self) -> io::Result<()> {
        match &mut self.writer {
            Writer::Plain(writer) => writer.flush()?,
            Writer::Gzip(writer) => {
                writer.flush()?;
                writer.get_mut().try_finish()?;
            }
            Writer::Zstandard(writer) => {
                writer.do_finish()?;
                writer.get_mut().flush()?;
            }
        }
        self.file().sync_all()
    }

    fn file(&self) -> &File {
        match &self.writer {
            Writer::Plain(writer) => writer.get_ref(),
            Writer::Gzip(writer) => writer.get_ref().get_ref(),
            Writer::Zstandard(writer) => writer.get_ref().get_ref(),
        }
    }
}

/// Makes the name of a file survive the end of the machine.
#[cfg(unix)]
fn sync_names_beside(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Other systems keep names without being asked, and cannot open a folder as a file.
#[cfg(not(unix))]
fn sync_names_beside(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The file that `path` stands for: a symbolic link stays, and what it leads to is written, there already or not.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(next) = fs::read_link(&path) else {
            return Ok(path);
        };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    Err(io::Error::other("its symbolic links lead nowhere"))
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Writer::Plain(writer) => writer.write(bytes),
            Writer::Gzip(writer) => writer.write(bytes),
            Writer::Zstandard(writer) => writer.write(bytes),
        }
    }

    /// Does nothing: a file that is not whole is nobody's to read, and a flush would end a block of gzip.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.is_kept {
            // Whatever went wrong has been reported; a part that cannot be removed is only untidy.
            drop(fs::remove_file(&self.part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("log.jsonl.gz");
        let mut sink = Sink::create(&target).unwrap();
        sink.write_all(b"half").unwrap();
        drop(sink);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let mut sink = Sink::create(&target).unwrap();
        sink.write_all(b"whole").unwrap();
        sink.keep().unwrap();
        let packed = fs::read(&target).unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*packed), &mut text).unwrap();
        assert_eq!(text, "whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
