//! Durable stores: opened with progress, and with errors that say what to do.

use std::path::PathBuf;

use annals::{Durability, Error, Settings, Store, StoreUrl, WhenBehind};

use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::progress::Progress;
use crate::load::{LINE_BYTES_MAX, archive};
use crate::output::Out;
use crate::output::text::{clean, counted};

/// Opens the store at `url`, to be read. One that is not there is not made.
pub(crate) fn open(url: &StoreUrl, out: &mut Out<'_>) -> Outcome<Store> {
    open_with(url, &[], out)
}

/// The same with archives attached.
pub(crate) fn open_with(url: &StoreUrl, archives: &[PathBuf], out: &mut Out<'_>) -> Outcome<Store> {
    if !url.exists()? {
        return Err(Failure::NotFound(format!(
            "there is no store at {}: `annals import --store {url} LOG` makes one",
            name(url)
        )));
    }
    open_or_make(url, archives, out)
}

/// Opens the store at `url`, to append a whole log: nobody else reads it, so no event is waited for but the last.
pub(crate) fn open_to_import(url: &StoreUrl, out: &mut Out<'_>) -> Outcome<Store> {
    let url = url.clone().with_durability(Durability::Volatile);
    open_or_make(&url.with_when_behind(WhenBehind::Wait), &[], out)
}

fn open_or_make(url: &StoreUrl, archives: &[PathBuf], out: &mut Out<'_>) -> Outcome<Store> {
    let name = name(url);
    let mut settings = Settings::default();
    settings.limits.payload_bytes_max = LINE_BYTES_MAX;
    let mut progress = url.folder().map_or_else(|| Progress::of_events(&name), Progress::new);
    let builder = Store::builder()
        .settings(settings)
        .on_progress(move |done, total| progress.show(done, total, || "opening".to_owned()));
    let builder = archive::attach(builder, archives)?;
    let store = url.open(builder).map_err(|error| refusal(error, url))?;
    let torn = store.recovery().torn_tail_bytes;
    if torn > 0 {
        out.hint(&clean(&format!(
            "{name}: {} at the end, written while the machine or the process died, {} cut off",
            counted(torn, "byte"),
            if torn == 1 { "was" } else { "were" }
        )))?;
    }
    interrupt::check(|| format!("{name} was opened, and nothing else done"))?;
    Ok(store)
}

/// What a store is called in messages: its folder, or its URL without a password.
pub(crate) fn name(url: &StoreUrl) -> String {
    url.folder()
        .map_or_else(|| url.to_string(), |folder| folder.display().to_string())
}

fn refusal(error: Error, url: &StoreUrl) -> Failure {
    match (&error, url.folder()) {
        (Error::Corrupt(_), Some(folder)) => Failure::Data(format!(
            "{error} (`annals verify {}` looks at all of it)",
            folder.display()
        )),
        _ => error.into(),
    }
}
