//! `repair`: creates a new store from the readable events of a damaged one.

use std::path::Path;

use annals::journal::file;

use crate::commands::verify::{check_store, describe, write};
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::sections::Sections;
use crate::output::text::{clean, counted};
use crate::watch::watch;

pub(crate) fn run(folder: &Path, to: &Path, out: &mut Out<'_>) -> Outcome {
    check_store(folder)?;
    let (path, target) = (folder.to_owned(), to.to_owned());
    // Compared by components: the path of a directory may end with a slash.
    let left = format!(
        "{}.part holds what was saved so far: remove it before you try again",
        to.components().as_path().display()
    );
    let repair = watch(folder, "saved", &left, move |progress| {
        file::repair(path, target, progress)
    })?;
    let mut sections = Sections::default();
    sections.count("eventsSaved", "events saved", repair.events_saved);
    describe(&mut sections, &repair.found);
    write(&mut sections, &repair.found, out)?;
    let lost = match repair.positions_lost {
        0 if repair.found.damage.is_empty() => "nothing was lost".to_owned(),
        0 => "no position is known to be lost".to_owned(),
        lost => format!("{} lost: gaps of the new store", counted(lost, "position")),
    };
    let text = format!(
        "{} saved to {}; {lost}",
        counted(repair.events_saved, "event"),
        to.display()
    );
    Ok(out.hint(&clean(&text))?)
}
