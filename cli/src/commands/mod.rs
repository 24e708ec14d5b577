//! The commands: one module each, from the arguments to the output.

mod archive;
mod audit;
mod backup;
#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "postgres")]
mod cdc;
mod completions;
#[cfg(feature = "serve")]
mod daily;
mod demo;
mod event;
pub(crate) mod events;
mod export;
mod filters;
mod gone;
mod heatmap;
mod import;
mod lanes;
mod list;
mod man;
mod nearest;
#[cfg(feature = "relay")]
mod relay;
mod repair;
#[cfg(feature = "serve")]
mod serve;
mod stats;
mod stream;
mod tail;
mod tour;
mod trace;
mod trends;
mod verify;
mod written;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals::Store;
use annals::analytics::TimeZone;

use crate::args::foreign::Input;
use crate::args::{Cli, Command, Global, Import};
use crate::exit::{Failure, Outcome};
#[cfg(not(feature = "postgres"))]
use crate::load::WITHOUT_POSTGRES;
use crate::load::feed::{Kind, is_unnamed};
use crate::load::loader::{Loader, Report};
#[cfg(feature = "serve")]
use crate::load::remote;
use crate::load::{Location, Options, durable};
use crate::mcp;
use crate::output::Out;
use crate::output::target::Target;
use crate::output::text::{clean, counted};

/// Runs the command of the command line.
pub(crate) fn run(cli: &Cli, out: &mut Out<'_>) -> Outcome {
    let global = &cli.global;
    check_sources(cli)?;
    let Some(command) = &cli.command else {
        return tour::give(global, out);
    };
    match command {
        Command::Events(_)
        | Command::Stream(_)
        | Command::Event { .. }
        | Command::Search { .. }
        | Command::List(_)
        | Command::Stats(_)
        | Command::Trends(_)
        | Command::Heatmap(_)
        | Command::Trace { .. } => answer(&open(global, out)?, command, out),
        Command::Tail(tail) => tail::run(global, tail, out),
        Command::Import(import) => import::run(global, import, out),
        Command::Export {
            filters,
            output,
            force,
            limit,
        } => {
            let target = target(output, *force, inputs(global, &[]));
            let which = (filters, limit.filter(|limit| *limit > 0));
            export::run(global, cli.format().map_err(Failure::Usage)?, which, &target, out)
        }
        #[cfg(feature = "serve")]
        Command::Serve(serve) => serve::run(global, serve, out),
        #[cfg(not(feature = "serve"))]
        Command::Serve(_) => Err(Failure::Usage(
            "this program was built without the server: build it again with `cargo install --path cli --features serve`".to_owned(),
        )),
        #[cfg(feature = "postgres")]
        Command::Cdc(cdc) => cdc::run(global, cdc, out),
        #[cfg(not(feature = "postgres"))]
        Command::Cdc(_) => Err(Failure::Usage(WITHOUT_POSTGRES.to_owned())),
        #[cfg(feature = "relay")]
        Command::Relay(relay) => relay::run(global, relay, out),
        #[cfg(not(feature = "relay"))]
        Command::Relay(_) => Err(Failure::Usage(
            "this program was built without relays: build it again with `cargo install --path cli --features relay`".to_owned(),
        )),
        Command::Mcp => mcp::serve(global, out),
        Command::Backup(backup) => backup::run(global, backup, out),
        Command::Archive(archive) => archive::run(global, archive, out),
        Command::Audit(asked) => audit::run(global, asked, cli.format().map_err(Failure::Usage)?, out),
        #[cfg(feature = "bench")]
        Command::Bench(asked) => bench::run(asked, out),
        Command::Verify { folder } => verify::run(&verify::folder(folder.as_deref(), &cli.global)?, out),
        Command::Repair { folder, to } => repair::run(&verify::folder(folder.as_deref(), &cli.global)?, to, out),
        Command::Demo(demo) => demo::run(demo, cli.format().map_err(Failure::Usage)?, out),
        Command::Completions { shell } => completions::write(*shell, out),
        Command::Man(man) => man::write(man, out),
    }
}

/// Runs a command that only reads a store.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other command writes, follows, or has no store"
)]
pub(crate) fn answer(store: &Store, command: &Command, out: &mut Out<'_>) -> Outcome {
    match command {
        Command::Events(events) => events::list(store, events, out),
        Command::Stream(stream) => stream::show(store, stream, out),
        Command::Event { event } => event::show(store, event, out),
        Command::Search { needle, events } => events::search(store, needle, events, out),
        Command::List(list) => list::show(store, list, out),
        Command::Stats(filters) => stats::show(store, filters, out),
        Command::Trends(trends) => trends::show(store, trends, out),
        Command::Heatmap(filters) => heatmap::show(store, filters, out),
        Command::Trace { correlation } => trace::show(store, correlation, out),
        _ => Err(Failure::Usage("the command does more than read a store".to_owned())),
    }
}

/// Rejects options of log files when none is read, and of durable stores when none is opened.
fn check_sources(cli: &Cli) -> Outcome {
    let global = &cli.global;
    let mut logs: Vec<&Path> = Vec::new();
    if let Some(Location::File(path)) = &global.store {
        logs.push(path);
    }
    if let Some(Command::Import(Import { files, .. })) = &cli.command {
        logs.extend(files.iter().map(PathBuf::as_path));
    }
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    if matches!(&cli.command, Some(Command::Demo(demo)) if !demo.summary) && global.time_zone.is_some() {
        return usage("a log has its times in UTC: give --time-zone to the command that reads it, or with --summary");
    }
    if logs.iter().filter(|path| **path == Path::new("-")).count() > 1 {
        return usage("the standard input is named twice, and can be read once: name it once");
    }
    if global.skip_bad && logs.is_empty() {
        return usage("--skip-bad skips lines of a log file, and none is read: leave it out");
    }
    check_readers(global, &logs).map_err(Failure::Usage)?;
    if !global.attach.is_empty() && !matches!(global.store, Some(Location::Durable(_))) {
        return usage(
            "archives are attached to the durable store that they were taken from: name it with --store file:DIR",
        );
    }
    Ok(())
}

/// Rejects options for reading logs if no log of that format is read.
fn check_readers(global: &Global, logs: &[&Path]) -> Result<(), String> {
    let input = global.foreign.input.map(Input::kind);
    if input.is_some() && !logs.iter().any(|path| is_unnamed(path)) {
        return Err(
            "--input says what the standard input holds, or a file whose name does not say it, and none is read: leave it out".to_owned(),
        );
    }
    let is_csv = |path: &&Path| match input {
        Some(input) if is_unnamed(path) => input == Kind::Csv,
        Some(_) | None => matches!(Kind::of(path), Ok(Kind::Csv)),
    };
    if global.csv.is_given() && !logs.iter().any(is_csv) {
        return Err("the options --csv-* name columns of a CSV file, and none is read: leave them out".to_owned());
    }
    if global.foreign.mapping()?.is_some() && logs.iter().all(is_csv) {
        return Err(
            "--map leads to fields of JSON, and none is read: leave it out; the options --csv-* name columns of CSV"
                .to_owned(),
        );
    }
    Ok(())
}

/// The output file of a command that reads `inputs`.
fn target(path: &Path, force: bool, inputs: Vec<PathBuf>) -> Target {
    Target {
        path: path.to_owned(),
        force,
        inputs,
    }
}

/// The files that a command reads: the log of `--store` or the files of its folder, archives, and `files`.
fn inputs(global: &Global, files: &[PathBuf]) -> Vec<PathBuf> {
    let log = match &global.store {
        Some(Location::File(path)) => vec![path.clone()],
        Some(Location::Durable(url)) => url.folder().map(files_of).unwrap_or_default(),
        Some(Location::Memory | Location::Server(_)) | None => Vec::new(),
    };
    log.into_iter()
        .chain(global.attach.iter().chain(files).cloned())
        .collect()
}

/// The files of a folder; none where it cannot be read, which opening the store reports.
pub(crate) fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Opens the store that `--store` names, or loads the log.
pub(crate) fn open(global: &Global, out: &mut Out<'_>) -> Outcome<Store> {
    let Some(location) = &global.store else {
        let text = "no store is named: name one with --store FILE or in ANNALS_STORE; `annals demo --output demo.jsonl.gz` generates a log";
        return Err(Failure::Usage(text.to_owned()));
    };
    if let Location::Durable(url) = location {
        return durable::open_to_read(url, &global.attach, out);
    }
    #[cfg(feature = "serve")]
    if let Location::Server(url) = location {
        return remote::copy(url);
    }
    let mut loader = Loader::new()?;
    load(&mut loader, location, global, out)?;
    Ok(loader.store)
}

/// Loads `location` after the events of `loader`, and reports bad lines.
fn load(loader: &mut Loader, location: &Location, global: &Global, out: &mut Out<'_>) -> Outcome {
    if let Location::File(path) = location {
        loader.load(path, &options(global)?)?;
    }
    report_bad_lines(&loader.report, out)?;
    match loader.report.repeated {
        0 => Ok(()),
        repeated => Ok(out.hint(&format!(
            "{} left out: an earlier line has the event, with the same eventId",
            counted(repeated, "repeated line")
        ))?),
    }
}

/// The time zone of the output.
fn time_zone(out: &Out<'_>) -> Outcome<TimeZone> {
    Ok(out.zone_name().parse()?)
}

fn options(global: &Global) -> Outcome<Options> {
    let mapping = global.foreign.mapping().map_err(Failure::Usage)?;
    Ok(Options {
        skip_bad: global.skip_bad,
        columns: global.csv.columns(),
        mapping: mapping.map(Arc::new),
        input: global.foreign.input.map(Input::kind),
    })
}

/// Writes the first bad lines and their number to standard error.
fn report_bad_lines(report: &Report, out: &mut Out<'_>) -> Outcome {
    for line in &report.bad_shown {
        out.warn(&clean(line))?;
    }
    if report.bad > 0 {
        out.warn(&format!("{} left out", counted(report.bad, "bad line")))?;
    }
    Ok(())
}
