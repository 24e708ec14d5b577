//! A folder of the file system: on Unix an open handle that every call is relative to, elsewhere its path.

#[cfg_attr(not(unix), path = "portable.rs")]
#[cfg_attr(unix, path = "unix.rs")]
mod system;

pub(super) use self::system::{FolderHandle, Identity};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// To read and write it.
    Write,
    /// The same; it is made if it is not there.
    Create,
    /// The same; it is an error if it is there.
    CreateNew,
}

fn no_file() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::IsADirectory,
        "it is no file, but a directory, a pipe, a device or a link to itself",
    )
}
