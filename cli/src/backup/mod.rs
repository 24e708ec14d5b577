//! `backup`: a copy of a store in files that appears under its name when it is whole, synced and verified.

mod part;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::Error;
use annals::journal::file::{self, BackupEnd, BackupError, Folder, Verification};

use self::part::Part;
use crate::exit::{Failure, Outcome, of_output};
use crate::interrupt;
use crate::load::progress::Progress;
use crate::watch::watch;

/// What a backup holds.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) found: Verification,
    /// The last position of the store that was copied, when it was copied; where the backup ends is in `found`.
    pub(crate) reached: u64,
}

/// Copies the store in `from` to the new folder `to`, which appears when it is whole, synced and verified.
pub(crate) fn back_up(from: &Path, to: &Path, end: BackupEnd) -> Outcome<Backup> {
    let source = Folder::existing(from).map_err(|error| Failure::of_input(from, &error))?;
    let part = Part::create(from, to)?;
    let copied = copy(&source, from, &part, end)?;
    let path = part.path().to_owned();
    let found = watch(&path.clone(), "verified", "no backup was made", move |progress| {
        file::verify(path, progress)
    })?;
    if !found.damage.is_empty() || found.position != copied.last {
        return Err(Failure::Data(format!(
            "the copy of {0} is damaged, and no backup was made; `annals verify {0}` looks at the store when no process writes it",
            from.display()
        )));
    }
    part.keep()?;
    Ok(Backup {
        found,
        reached: copied.reached.0,
    })
}

fn copy(source: &Folder, from: &Path, part: &Part, end: BackupEnd) -> Outcome<file::Backup> {
    let target = Folder::existing(part.path()).map_err(|error| written(part.path(), &error))?;
    let (mut progress, mut interrupted) = (Progress::new(from), None);
    let mut show = |done, total| {
        if let Err(failure) = interrupt::check(|| "no backup was made".to_owned()) {
            interrupted = Some(failure);
            return ControlFlow::Break(());
        }
        progress.show(done, total, || "copied".to_owned());
        ControlFlow::Continue(())
    };
    let copied = file::back_up(source, Arc::new(target), end, &mut show);
    copied.map_err(|error| interrupted.unwrap_or_else(|| failure(from, error)))
}

/// Why no backup was made, and what to do.
fn failure(from: &Path, error: BackupError) -> Failure {
    let from = from.display();
    match error {
        BackupError::Read { path, source } => Failure::of_input(&path, &source),
        BackupError::Write { path, source } => written(&path, &source),
        BackupError::Damaged { what, .. } => Failure::Data(format!(
            "{from} is damaged: {what}; no backup was made: `annals verify {from}` lists the damage, and `annals repair {from} --to NEW` saves the rest"
        )),
        BackupError::Empty { .. } => Failure::NotFound(format!("{from} has no segment yet, and no backup was made")),
        BackupError::NothingBefore { .. } => Failure::NotFound(format!(
            "{from} has no whole batch of appends that ends at or before --until, and no backup was made; choose a later end"
        )),
        BackupError::Copy(error) => Failure::from(Error::from(error)),
        error @ (BackupError::Stopped | _) => Failure::Runtime(error.to_string()),
    }
}

fn written(path: &Path, error: &io::Error) -> Failure {
    Failure::Runtime(of_output(path, error))
}

/// The folder in which `to` is built.
fn part_of(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    to.with_file_name(name)
}
