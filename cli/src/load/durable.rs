//! Opens durable stores, with progress and with errors that say what to do.

use std::path::PathBuf;

use annals::{Builder, Durability, Error, Settings, Store, StoreUrl, WhenBehind};

use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::progress::Progress;
use crate::load::{LINE_BYTES_MAX, archive};
use crate::output::Out;
use crate::output::text::{clean, counted};

/// Opens the existing store at `url` for changes.
pub(crate) fn open(url: &StoreUrl, out: &mut Out<'_>) -> Outcome<Store> {
    check_exists(url)?;
    open_or_make(url, builder(url), out)
}

/// Opens the store at `url` to read its current state, with archives attached. A store in a database may be written meanwhile, unless it has
/// archives: then this program takes the lease of a writer.
pub(crate) fn open_to_read(url: &StoreUrl, archives: &[PathBuf], out: &mut Out<'_>) -> Outcome<Store> {
    check_exists(url)?;
    if url.folder().is_some() || !archives.is_empty() {
        let builder = archive::attach(builder(url).read_only(), archives)?;
        return open_or_make(url, builder, out);
    }
    let store = url.follow(builder(url))?;
    store.close()?;
    interrupt::check(|| format!("{url} was read, and nothing else done"))?;
    Ok(store)
}

/// Opens the store at `url`, in a database, and follows other programs that write it.
pub(crate) fn follow(url: &StoreUrl) -> Outcome<Store> {
    check_exists(url)?;
    Ok(url.follow(builder(url))?)
}

/// # Errors
///
/// [`Failure::NotFound`] when there is no store.
pub(crate) fn check_exists(url: &StoreUrl) -> Outcome {
    if url.exists()? {
        return Ok(());
    }
    Err(Failure::NotFound(format!(
        "there is no store at {}; check the path (`annals import LOG` with the same --store creates one)",
        name(url)
    )))
}

/// Opens or creates the store at `url` for a server, with the limits of the library.
#[cfg(any(feature = "relay", feature = "serve"))]
pub(crate) fn open_to_serve(url: &StoreUrl, out: &mut Out<'_>) -> Outcome<Store> {
    open_or_make(url, builder(url).settings(Settings::default()), out)
}

/// Follows the store at `url` for a server, with the limits of the library.
#[cfg(feature = "serve")]
pub(crate) fn follow_to_serve(url: &StoreUrl) -> Outcome<Store> {
    check_exists(url)?;
    Ok(url.follow(builder(url).settings(Settings::default()))?)
}

/// Opens the store at `url` to append a whole log. There are no other readers, so only the last event is waited for.
pub(crate) fn open_to_import(url: &StoreUrl, out: &mut Out<'_>) -> Outcome<Store> {
    let url = url.clone().with_durability(Durability::Volatile);
    let url = url.with_when_behind(WhenBehind::Wait);
    open_or_make(&url, builder(&url), out)
}

fn open_or_make(url: &StoreUrl, builder: Builder, out: &mut Out<'_>) -> Outcome<Store> {
    let name = name(url);
    let store = url.open(builder).map_err(|error| refusal(error, url))?;
    let torn = store.recovery().torn_tail_bytes;
    if torn > 0 {
        out.hint(&clean(&format!(
            "{name}: {} at the end, written while the machine or the process died, left out",
            counted(torn, "byte"),
        )))?;
    }
    interrupt::check(|| format!("{name} was opened, and nothing else done"))?;
    Ok(store)
}

fn builder(url: &StoreUrl) -> Builder {
    let mut settings = Settings::default();
    settings.limits.payload_bytes_max = LINE_BYTES_MAX;
    let mut progress = url
        .folder()
        .map_or_else(|| Progress::of_events(&name(url)), Progress::new);
    Store::builder()
        .settings(settings)
        .on_progress(move |done, total| progress.show(done, total, || "opening".to_owned()))
}

/// The name of a store in messages: its directory, or its URL without a password.
pub(crate) fn name(url: &StoreUrl) -> String {
    url.folder()
        .map_or_else(|| url.to_string(), |folder| folder.display().to_string())
}

fn refusal(error: Error, url: &StoreUrl) -> Failure {
    match (&error, url.folder()) {
        (Error::Corrupt { .. }, Some(folder)) => Failure::Data(format!(
            "{error} (`annals verify {}` looks at all of it)",
            folder.display()
        )),
        _ => error.into(),
    }
}

/// How a report calls events that the store at `url` has synced.
pub(crate) fn place_of(url: &StoreUrl) -> &'static str {
    if url.folder().is_some() {
        "safe on disk"
    } else {
        "safe in the store"
    }
}
