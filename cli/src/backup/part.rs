//! The folder in which a backup is built: it gets its name when the backup is whole, and is removed if it never is.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{part_of, written};
use crate::exit::{Failure, Outcome};

/// A folder that is not whole yet.
pub(super) struct Part {
    path: PathBuf,
    to: PathBuf,
}

impl Part {
    /// Makes the folder beside `to`, where there must be nothing yet.
    pub(super) fn create(from: &Path, to: &Path) -> Outcome<Self> {
        // Without a slash at its end.
        let to: PathBuf = to.components().collect();
        check_free(&to)?;
        check_apart(from, &to)?;
        let path = part_of(&to);
        fs::create_dir(&path).map_err(|error| {
            if error.kind() != ErrorKind::AlreadyExists {
                return written(&path, &error);
            }
            Failure::Usage(format!(
                "{} exists already: another process is writing to it, or was killed; if it was killed, remove the directory",
                path.display()
            ))
        })?;
        Ok(Self { path, to })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its name. Then it survives the end of the machine.
    pub(super) fn keep(self) -> Outcome {
        check_free(&self.to)?;
        let renamed = fs::rename(&self.path, &self.to).and_then(|()| sync_above(&self.to));
        renamed.map_err(|error| written(&self.to, &error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After a rename there is nothing to remove. What cannot be removed is named by the next backup.
        drop(fs::remove_dir_all(&self.path));
    }
}

fn check_free(to: &Path) -> Outcome {
    if to.file_name().is_none() {
        return Err(Failure::Usage(format!(
            "{} is no name for a new folder: choose another",
            to.display()
        )));
    }
    match fs::symlink_metadata(to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(written(to, &error)),
        Ok(_) => Err(Failure::Usage(format!(
            "{} is there already: name another, so that no backup is lost",
            to.display()
        ))),
    }
}

/// Refuses a target within the store.
fn check_apart(from: &Path, to: &Path) -> Outcome {
    let from = fs::canonicalize(from).map_err(|error| Failure::of_input(from, &error))?;
    let above = to.parent().filter(|above| !above.as_os_str().is_empty());
    let above = fs::canonicalize(above.unwrap_or(Path::new("."))).map_err(|error| written(to, &error))?;
    if above.starts_with(from) {
        return Err(Failure::Usage(format!(
            "{} is within the store: choose another folder",
            to.display()
        )));
    }
    Ok(())
}

/// Syncs the name of `path` in its folder.
#[cfg(unix)]
fn sync_above(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    fs::File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_above(_: &Path) -> io::Result<()> {
    Ok(())
}
