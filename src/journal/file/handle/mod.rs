//! A directory of the file system: on Unix an open handle that every call is relative to, elsewhere its path.

#[cfg_attr(not(unix), path = "portable.rs")]
#[cfg_attr(unix, path = "unix.rs")]
mod system;

pub(super) use self::system::{FolderHandle, Identity, is_alive};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// For reading and writing.
    Write,
    /// For reading and writing; the file is created if it does not exist.
    Create,
    /// For reading and writing; fails when the file exists.
    CreateNew,
}

fn no_file() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::IsADirectory,
        "not a regular file, but a directory, a pipe, a device or a link to itself",
    )
}
