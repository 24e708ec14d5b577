//! `import`: loads and checks files, appends them to a durable store, and reports their contents.

use std::path::{Path, PathBuf};

use annals::{Query, StoreUrl};

use crate::args::{Global, Import};
use crate::commands::{export, inputs, load, options, report_bad_lines, stats, target, written};
use crate::exit::{Failure, Outcome};
use crate::load::loader::{Loader, Report};
use crate::load::retrying::Watch;
#[cfg(feature = "serve")]
use crate::load::sending::Sending;
use crate::load::{Location, durable, feed};
use crate::output::Out;
use crate::output::sections::Sections;
use crate::output::target::Target;
use crate::output::text::{counted, grouped};

pub(crate) fn run(global: &Global, import: &Import, out: &mut Out<'_>) -> Outcome {
    let files = &import.files;
    let into = import.into.as_ref();
    let into = into.map(|path| target(path, import.force, inputs(global, files)));
    let into = into.as_ref();
    if let Some(target) = into {
        if target.path == Path::new("-") {
            let text = "the report goes to the standard output: name a file with --into";
            return Err(Failure::Usage(text.to_owned()));
        }
        target.format(None)?;
        target.check()?;
    }
    if let Some(Location::Durable(url)) = &global.store {
        return into_store(url, global, import, into, out);
    }
    if let Some(Location::Server(url)) = &global.store {
        return into_server(url, global, import, out);
    }
    if import.include_dropped {
        let text = "--include-dropped is for durable stores and servers: name one with --store file:DIR";
        return Err(Failure::Usage(text.to_owned()));
    }
    let mut loader = Loader::new()?;
    if let Some(store @ Location::File(_)) = &global.store {
        load(&mut loader, store, global, out)?;
    }
    load_files(&mut loader, global, files, into, out)?;
    let mut sections = stats::of_store(&loader.store, out)?;
    sections.show_only("byType");
    add_report(&mut sections, &loader.report);
    sections.write(out)
}

/// Appends `files` to a durable store.
fn into_store(url: &StoreUrl, global: &Global, import: &Import, into: Option<&Target>, out: &mut Out<'_>) -> Outcome {
    let options = options(global)?;
    for file in &import.files {
        // A missing log must not create a store.
        feed::check(file, &options)?;
    }
    let store = durable::open_to_import(url, out)?;
    let watch = Watch::start(store.clone());
    let mut loader = Loader::into_durable(store, durable::place_of(url), import.include_dropped);
    load_files(&mut loader, global, &import.files, into, out)?;
    drop(watch);
    let report = &loader.report;
    out.hint(&told(report, durable::place_of(url)))?;
    if report.dropped > 0 {
        out.hint(&format!(
            "{} left out: the store has dropped events of their aggregates (archived, truncated, deleted, or past a limit), and these may be \
             among them; --include-dropped imports them",
            counted(report.dropped, "event")
        ))?;
    }
    let mut sections = stats::of_store(&loader.store, out)?;
    sections.show_only("byType");
    sections.count("newEvents", "new events", report.events);
    sections.count("knownEvents", "events there already", report.known);
    sections.count("droppedEvents", "events dropped before, left out", report.dropped);
    add_report(&mut sections, report);
    sections.write(out)
}

/// Without the feature `serve`, no URL names a server.
#[cfg(not(feature = "serve"))]
fn into_server(url: &str, _: &Global, _: &Import, _: &mut Out<'_>) -> Outcome {
    Err(Failure::Usage(format!(
        "this program was built without servers, and {url} is one"
    )))
}

/// Sends `files` to a server.
#[cfg(feature = "serve")]
fn into_server(url: &str, global: &Global, import: &Import, out: &mut Out<'_>) -> Outcome {
    if import.into.is_some() {
        return Err(Failure::Usage(format!(
            "--into writes the store that was loaded: use `annals --store {url} export` after the import"
        )));
    }
    let options = options(global)?;
    for file in &import.files {
        feed::check(file, &options)?;
    }
    let mut sending = Sending::to(url, import.include_dropped)?;
    for file in &import.files {
        sending.load(file, &options)?;
    }
    report_bad_lines(&sending.report, out)?;
    let after = sending.client.state()?;
    let kept = if after.ephemeral {
        "in the memory of the server, and gone when it stops"
    } else {
        "safe on the server"
    };
    out.hint(&told(&sending.report, kept))?;
    let mut sections = Sections::default();
    sections.count("events", "events", after.stats.events);
    sections.count("aggregates", "aggregates", after.stats.aggregates);
    sections.count("newEvents", "new events", sending.report.events);
    sections.count("knownEvents", "events there already", sending.report.known);
    add_report(&mut sections, &sending.report);
    sections.write(out)
}

/// The number of the files' events in the store; a repeated event counts once.
fn told(report: &Report, kept: &str) -> String {
    let stored = report.stored();
    let repeated = match report.repeated {
        0 => String::new(),
        repeated => format!("; {} left out", counted(repeated, "repeated line")),
    };
    format!(
        "{} {} {kept}: {} new, {} there already{repeated}",
        counted(stored, "event"),
        if stored == 1 { "is" } else { "are" },
        grouped(report.events),
        grouped(report.known)
    )
}

/// Loads `files`, reports bad lines, and writes the events to `into`.
fn load_files(
    loader: &mut Loader,
    global: &Global,
    files: &[PathBuf],
    into: Option<&Target>,
    out: &mut Out<'_>,
) -> Outcome {
    let options = options(global)?;
    for file in files {
        loader.load(file, &options)?;
    }
    report_bad_lines(&loader.report, out)?;
    if let Some(target) = into {
        let written = export::to_file(&loader.store, Query::all(), target, target.format(None)?, out)?;
        written::tell(written, target, out)?;
    }
    Ok(())
}

fn add_report(sections: &mut Sections, report: &Report) {
    let seconds = report.elapsed.as_secs_f64();
    sections.count("repeatedEvents", "repeated events, left out", report.repeated);
    sections.count("badLines", "bad lines, left out", report.bad);
    sections.figure("seconds", "time taken", seconds.into(), format!("{seconds:.2} s"));
    let (rate, shown) = (rate(report), format!("{} events a second", grouped(rate(report))));
    sections.figure("eventsPerSecond", "rate", rate.into(), shown);
}

/// Events per second.
pub(crate) fn rate(report: &Report) -> u64 {
    let micros = report.elapsed.as_micros().max(1);
    u64::try_from(u128::from(report.taken()) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

/// The duration of loading, in words.
pub(crate) fn pace(report: &Report) -> String {
    let events = counted(report.events, "event");
    format!(
        "{events} loaded in {:.2} s: {} a second",
        report.elapsed.as_secs_f64(),
        grouped(rate(report))
    )
}
