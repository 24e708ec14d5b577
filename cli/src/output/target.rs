//! The target of an output file: what may exist there, and the temporary file until the new one is complete.

use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::exit::{Failure, Outcome, of_output};
use crate::interrupt;
use crate::load::feed::Kind;
use crate::output::Format;

/// Maximum length of a chain of symbolic links, as in the operating system.
const LINKS_MAX: usize = 40;
/// Number of names that are tried for a temporary file.
const NAMES_MAX: usize = 100;
/// Bytes of a target's name that the name of its temporary file repeats: file systems take 255 in all.
const NAME_BYTES_MAX: usize = 200;

/// A file that a command writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    /// Replace an existing file.
    pub(crate) force: bool,
    /// Files that the command reads, which it must not write.
    pub(crate) inputs: Vec<PathBuf>,
}

/// What exists at a target.
pub(crate) enum Found {
    Nothing,
    Regular(Metadata),
    /// A pipe, a device or a socket: written through, and never replaced.
    Other(Metadata),
}

impl Target {
    /// Whether it is standard output, which is not a file to replace.
    pub(crate) fn is_stdout(&self) -> Outcome<bool> {
        let is_stdout = self.path == Path::new("-");
        if is_stdout && self.force {
            let text = "--force replaces a file, and the standard output is none: leave it out";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(is_stdout)
    }

    /// Checks that the target may be written, and returns what exists there.
    pub(crate) fn check(&self) -> Outcome<Found> {
        let path = &self.path;
        let usage = |text: &str| Err(Failure::Usage(format!("{}: {text}", path.display())));
        let data = match fs::metadata(path) {
            Ok(data) => data,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(named(path, &behind_links(path).err().unwrap_or(error))),
        };
        if data.is_dir() {
            return usage("it is a directory: name a file in it");
        }
        if data.is_file() && self.inputs.iter().any(|input| is_same(input, path, &data)) {
            return usage("this command reads it, and would write it too: name another file");
        }
        if !self.force && (data.is_file() || is_block_device(&data)) {
            return usage("it is there already: --force replaces it, or name another file");
        }
        Ok(if data.is_file() {
            Found::Regular(data)
        } else {
            Found::Other(data)
        })
    }

    /// The format by the target's name, or `asked` if they do not contradict each other.
    pub(crate) fn format(&self, asked: Option<Format>) -> Outcome<Format> {
        let name = self.path.display();
        if asked == Some(Format::Table) {
            let text = "a file is no table: leave --format out, or write --format json, jsonl or csv";
            return Err(Failure::Usage(format!("{name}: {text}")));
        }
        match (Kind::of(&self.path).map(format_of), asked) {
            (Ok(format), Some(asked)) if format != asked => Err(Failure::Usage(format!(
                "{name}: its name says {}, but --format {}: change one of them",
                format.name(),
                asked.name()
            ))),
            (Ok(format), _) => Ok(format),
            // The name of a pipe or a device says nothing.
            (Err(_), asked) if matches!(self.check(), Ok(Found::Other(_))) => Ok(asked.unwrap_or(Format::Jsonl)),
            (Err(refusal), _) => Err(refusal),
        }
    }
}

fn format_of(kind: Kind) -> Format {
    match kind {
        Kind::Json => Format::Json,
        Kind::JsonLines => Format::Jsonl,
        Kind::Csv => Format::Csv,
    }
}

/// A temporary file beside a target. It gets the target's name when it is complete, and is removed if it is dropped before.
pub(crate) struct Part {
    path: PathBuf,
    target: PathBuf,
    replace: bool,
}

impl Part {
    /// Creates the file, with the owner and the permissions of `before`, which it will replace.
    pub(crate) fn create(target: &Path, replace: bool, before: Option<&Metadata>) -> io::Result<(Self, File)> {
        let target = behind_links(target)?;
        let (path, file) = interrupt::unfinished(|| create_beside(&target, before))?;
        let part = Self { path, target, replace };
        if let Some(before) = before {
            keep_access(&file, before)?;
        }
        Ok((part, file))
    }

    /// Renames the file to its target. The new name survives a crash of the machine.
    pub(crate) fn keep(self) -> Outcome {
        let placed = if self.replace {
            fs::rename(&self.path, &self.target)
        } else {
            rename_new(&self.path, &self.target)
        };
        match placed.and_then(|()| sync_names_beside(&self.target)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Failure::Runtime(format!(
                "{}: another process has made it meanwhile, and it is left as it is: --force replaces it",
                self.target.display()
            ))),
            placed => placed.map_err(|error| named(&self.target, &error)),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After `keep` nothing has this name. A file that cannot be removed is only untidy, and the failure has been reported.
        drop(fs::remove_file(&self.path));
        interrupt::finished(&self.path);
    }
}

pub(crate) fn named(path: &Path, error: &io::Error) -> Failure {
    Failure::Runtime(of_output(path, error))
}

/// Opens a target that is not a regular file.
pub(crate) fn open_through(path: &Path, data: &Metadata) -> io::Result<File> {
    if is_socket(data) {
        return connect(path);
    }
    OpenOptions::new().write(true).open(path)
}

fn create_beside(target: &Path, before: Option<&Metadata>) -> io::Result<(PathBuf, File)> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let fits = |(at, character): &(usize, char)| at + character.len_utf8() <= NAME_BYTES_MAX;
    let name: String = name
        .char_indices()
        .take_while(fits)
        .map(|(_, character)| character)
        .collect();
    for attempt in 0..NAMES_MAX {
        let unique = RandomState::new().hash_one((std::process::id(), attempt));
        let path = target.with_file_name(format!("{name}.{unique:016x}.part"));
        match options(before).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            file => return Ok((path, file?)),
        }
    }
    Err(io::Error::other("no name is free for a temporary file beside it"))
}

/// A file that replaces another is its owner's alone until it has the other's permissions.
fn options(before: Option<&Metadata>) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if before.is_some() {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    options
}

/// Renames a file, unless the target exists.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => Err(error),
        Err(_) => rename_to_claimed(from, to),
    }
}

/// Renames a file, unless the target exists, on a file system without hard links: the name is claimed first, then replaced.
fn rename_to_claimed(from: &Path, to: &Path) -> io::Result<()> {
    drop(File::create_new(to)?);
    fs::rename(from, to).inspect_err(|_| drop(fs::remove_file(to)))
}

/// The file to which `path` resolves. A symbolic link is kept, and its target is written, whether it exists or not.
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

#[cfg(unix)]
fn is_same(input: &Path, _: &Path, target: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let input = if input == Path::new("-") {
        Path::new("/dev/stdin")
    } else {
        input
    };
    fs::metadata(input).is_ok_and(|input| (input.dev(), input.ino()) == (target.dev(), target.ino()))
}

#[cfg(not(unix))]
fn is_same(input: &Path, target: &Path, _: &Metadata) -> bool {
    matches!((input.canonicalize(), target.canonicalize()), (Ok(input), Ok(target)) if input == target)
}

#[cfg(unix)]
fn is_block_device(data: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(&data.file_type())
}

#[cfg(not(unix))]
fn is_block_device(_: &Metadata) -> bool {
    false
}

#[cfg(unix)]
fn is_socket(data: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&data.file_type())
}

#[cfg(not(unix))]
fn is_socket(_: &Metadata) -> bool {
    false
}

#[cfg(unix)]
fn connect(path: &Path) -> io::Result<File> {
    let socket = std::os::unix::net::UnixStream::connect(path)?;
    Ok(File::from(std::os::fd::OwnedFd::from(socket)))
}

#[cfg(not(unix))]
fn connect(_: &Path) -> io::Result<File> {
    Err(ErrorKind::Unsupported.into())
}

/// Gives `file` the owner, the group and the permissions of the file that it will replace.
#[cfg(unix)]
fn keep_access(file: &File, before: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};

    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        fchown(file, Some(before.uid()), Some(before.gid())).map_err(|error| {
            let text = format!("cannot keep its owner and group ({error}): write to a new file");
            io::Error::new(error.kind(), text)
        })?;
    }
    file.set_permissions(before.permissions())
}

#[cfg(not(unix))]
fn keep_access(file: &File, before: &Metadata) -> io::Result<()> {
    file.set_permissions(before.permissions())
}

/// Syncs the name of a file, so that it survives a crash of the machine.
#[cfg(unix)]
fn sync_names_beside(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Other systems sync names themselves, and cannot open a directory as a file.
#[cfg(not(unix))]
fn sync_names_beside(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_made_meanwhile_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for rename in [rename_new, rename_to_claimed] {
            fs::write(&from, "new").unwrap();
            fs::write(&to, "precious").unwrap();
            assert_eq!(rename(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&to).unwrap(), "precious");
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(
                (fs::read_to_string(&to).unwrap().as_str(), from.exists()),
                ("new", false)
            );
            // The claim is removed if the rename fails.
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap_err();
            assert!(!to.exists());
        }
    }

    #[test]
    fn temporary_files_have_names_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["log.jsonl".to_owned(), "x".repeat(255), "日".repeat(85)] {
            let target = folder.path().join(name);
            let (first, _) = Part::create(&target, false, None).unwrap();
            let (second, _) = Part::create(&target, false, None).unwrap();
            assert_ne!(first.path, second.path);
            first.keep().unwrap();
            assert!(second.keep().is_err());
            fs::remove_file(target).unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
