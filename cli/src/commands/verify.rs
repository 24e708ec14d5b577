//! `verify`: reads every byte of a store in files, and lists what is damaged.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use annals::journal::file::{self, Damage, Verification};
use annals::journal::{JournalError, JournalErrorKind};
use crossbeam_channel::{RecvTimeoutError, bounded};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::output::records::Records;
use crate::output::sections::Sections;
use crate::output::text::{bytes, clean, counted};
use crate::output::{Format, Out};

/// How often somebody who waits is shown how far it has come.
const GLANCE: Duration = Duration::from_millis(100);
/// How long nobody is shown anything.
const PATIENCE: Duration = Duration::from_secs(1);
const TEMPLATE: &str = "{msg} [{wide_bar}] {bytes} of {total_bytes}, {eta} left";

pub(crate) fn run(folder: &Path, out: &mut Out<'_>) -> Outcome {
    check_folder(folder)?;
    let path = folder.to_owned();
    let found = watch(
        "verified",
        move |progress| file::verify(path, progress),
        "nothing was changed",
    )?;
    if found.segments == 0 {
        return Err(Failure::NotFound(format!(
            "{} holds no store: it has no segment",
            folder.display()
        )));
    }
    let mut sections = Sections::default();
    describe(&mut sections, &found);
    write(&mut sections, &found, out)?;
    if found.damage.is_empty() {
        return Ok(());
    }
    let all = found.damage.len() as u64 + found.damage_not_listed;
    Err(Failure::Data(format!(
        "{} in {}: `annals repair {} --to NEW` saves the rest",
        counted(all, "damaged place"),
        folder.display(),
        folder.display()
    )))
}

/// A folder that is not there is asked for in vain.
pub(crate) fn check_folder(folder: &Path) -> Outcome {
    if folder.is_dir() {
        return Ok(());
    }
    Err(Failure::NotFound(format!("there is no folder {}", folder.display())))
}

/// Does long work, shows how far it has come, and stops waiting when it is interrupted; `left` says what there is then.
pub(crate) fn watch<T: Send + 'static>(
    name: &str,
    work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> Result<T, JournalError> + Send + 'static,
    left: &str,
) -> Outcome<T> {
    let (answer_in, answer) = bounded(1);
    let state = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let told = Arc::clone(&state);
    thread::spawn(move || {
        let mut progress = |done, total| {
            told.0.store(done, Ordering::Relaxed);
            told.1.store(total, Ordering::Relaxed);
        };
        // Nobody waits for the answer when the program has been interrupted.
        drop(answer_in.send(work(&mut progress)));
    });
    let (began, mut bar) = (Instant::now(), None);
    let answer = loop {
        match answer.recv_timeout(GLANCE) {
            Ok(answer) => break answer,
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::Runtime("the work ended early".to_owned())),
            Err(RecvTimeoutError::Timeout) => {}
        }
        interrupt::check(|| left.to_owned())?;
        if began.elapsed() >= PATIENCE {
            let bar = bar.get_or_insert_with(|| draw(name));
            bar.set_length(state.1.load(Ordering::Relaxed));
            bar.set_position(state.0.load(Ordering::Relaxed));
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    answer.map_err(|error| failure(&error))
}

fn draw(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style).with_elapsed(PATIENCE);
    bar.set_message(name.to_owned());
    bar
}

fn failure(error: &JournalError) -> Failure {
    if error.kind() == JournalErrorKind::Unsupported {
        return Failure::Usage(error.to_string());
    }
    Failure::Runtime(error.to_string())
}

/// What a folder holds, in figures.
pub(crate) fn describe(sections: &mut Sections, found: &Verification) {
    sections.count("segments", "segments", found.segments);
    sections.figure("bytes", "bytes", found.bytes.into(), bytes(found.bytes));
    sections.count("events", "events that can be read", found.events);
    sections.count("position", "last position", found.position.0);
    sections.count(
        "tornTailBytes",
        "bytes torn off by a crash, no damage",
        found.torn_tail_bytes,
    );
    sections.count("positionsLost", "positions lost", found.positions_lost);
    let places = found.damage.len() as u64 + found.damage_not_listed;
    sections.count("damagedPlaces", "damaged places", places);
}

/// Writes figures, and what is damaged: as a list where there are only rows.
pub(crate) fn write(sections: &mut Sections, found: &Verification, out: &mut Out<'_>) -> Outcome {
    let mut records = Records::new(&["file", "offset", "first", "last", "what"]);
    found.damage.iter().for_each(|damage| records.push(row(damage)));
    match out.format {
        Format::Csv => return records.write(out),
        Format::Table => sections.write(out)?,
        Format::Json | Format::Jsonl => {
            let list = serde_json::to_value(&found.damage)?;
            sections.figure("damage", "damage", list, String::new());
            return sections.write(out);
        }
    }
    if !found.damage.is_empty() {
        records.write(out)?;
    }
    if found.damage_not_listed > 0 {
        out.hint(&clean(&format!(
            "and {}",
            counted(found.damage_not_listed, "more damaged place")
        )))?;
    }
    Ok(())
}

fn row(damage: &Damage) -> Vec<Value> {
    let position = |position: Option<annals::Position>| position.map_or(Value::Null, |position| position.0.into());
    vec![
        damage.file.display().to_string().into(),
        damage.offset.into(),
        position(damage.first),
        position(damage.last),
        damage.what.clone().into(),
    ]
}
