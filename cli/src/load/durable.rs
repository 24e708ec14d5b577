//! Durable stores: opened with progress, and with errors that say what to do.

use std::path::Path;

use annals::journal::file::FileJournal;
use annals::{Durability, Error, Settings, Store, StoreUrl, WhenBehind};

use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::LINE_BYTES_MAX;
use crate::load::progress::Progress;
use crate::output::Out;
use crate::output::text::{clean, counted};

/// Opens the store at `url`, to be read. One that is not there is not made.
pub(crate) fn open(url: &StoreUrl, out: &mut Out<'_>) -> Outcome<Store> {
    let folder = folder_of(url);
    let exists = FileJournal::exists(folder)
        .map_err(|error| Failure::Runtime(format!("the folder {} cannot be read: {error}", folder.display())))?;
    if !exists {
        let folder = folder.display();
        return Err(Failure::NotFound(format!(
            "there is no store at {folder}: `annals import --store file:{folder} LOG` makes one"
        )));
    }
    open_or_make(url, out)
}

/// Opens the store at `url`, to append a whole log: nobody else reads it, so no event is waited for but the last.
pub(crate) fn open_to_import(url: &StoreUrl, out: &mut Out<'_>) -> Outcome<Store> {
    let url = url.clone().with_durability(Durability::Volatile);
    open_or_make(&url.with_when_behind(WhenBehind::Wait), out)
}

fn open_or_make(url: &StoreUrl, out: &mut Out<'_>) -> Outcome<Store> {
    let folder = folder_of(url);
    let mut settings = Settings::default();
    settings.limits.payload_bytes_max = LINE_BYTES_MAX;
    let mut progress = Progress::new(folder);
    let builder = Store::builder()
        .settings(settings)
        .on_progress(move |done, total| progress.show(done, total, || "opening".to_owned()));
    let store = url.open(builder).map_err(|error| refusal(error, folder))?;
    let torn = store.recovery().torn_tail_bytes;
    if torn > 0 {
        out.hint(&clean(&format!(
            "{}: {} at the end, written while the machine or the process died, {} cut off",
            folder.display(),
            counted(torn, "byte"),
            if torn == 1 { "was" } else { "were" }
        )))?;
    }
    interrupt::check(|| format!("{} was opened, and nothing else done", folder.display()))?;
    Ok(store)
}

fn folder_of(url: &StoreUrl) -> &Path {
    url.folder().unwrap_or(Path::new(""))
}

fn refusal(error: Error, folder: &Path) -> Failure {
    if matches!(error, Error::Corrupt(_)) {
        return Failure::Data(format!(
            "{error} (`annals verify {}` looks at all of it)",
            folder.display()
        ));
    }
    error.into()
}
