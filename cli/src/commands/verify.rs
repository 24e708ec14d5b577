//! `verify`: reads every byte of a store in files, and lists the damage.

use std::path::{Path, PathBuf};

use annals::Position;
use annals::journal::file::{self, Damage, FileJournal, Verification};
use serde_json::Value;

use crate::args::Global;
use crate::exit::{Failure, Outcome};
use crate::load::Location;
use crate::output::records::Records;
use crate::output::sections::Sections;
use crate::output::text::{bytes, clean, counted};
use crate::output::{Format, Out};
use crate::watch::watch;

pub(crate) fn run(folder: &Path, out: &mut Out<'_>) -> Outcome {
    check_store(folder)?;
    let path = folder.to_owned();
    let found = watch(folder, "verified", "nothing was changed", move |progress| {
        file::verify(path, progress)
    })?;
    let mut sections = Sections::default();
    describe(&mut sections, &found);
    write(&mut sections, &found, out)?;
    if found.damage.is_empty() {
        let text = format!(
            "no damage: all {} were read and are what was written",
            bytes(found.bytes)
        );
        return if out.is_table() {
            out.line(&format!("\n{text}"))
        } else {
            Ok(())
        };
    }
    let all = found.damage.len() as u64 + found.damage_not_listed;
    Err(Failure::Data(format!(
        "{} in {}: `annals repair {} --to NEW` saves the rest",
        counted(all, "damaged place"),
        folder.display(),
        folder.display()
    )))
}

/// The folder that the argument names, or else the store.
pub(crate) fn folder(argument: Option<&Path>, global: &Global) -> Outcome<PathBuf> {
    let of_store = match &global.store {
        Some(Location::Durable(url)) => url.folder().map(Path::to_owned),
        Some(Location::File(path)) => Some(path.clone()),
        Some(Location::Memory | Location::Server(_)) | None => None,
    };
    let named = argument.map(Path::to_owned).or(of_store);
    named.ok_or_else(|| {
        Failure::Usage(
            "only stores in files are verified and repaired: name the folder of one, or --store file:DIR".to_owned(),
        )
    })
}

/// Rejects a path that is not a directory, or a directory that contains no store.
pub(crate) fn check_store(folder: &Path) -> Outcome {
    let name = folder.display();
    if folder.is_dir() {
        return match FileJournal::exists(folder) {
            Ok(false) => Err(Failure::NotFound(format!(
                "{name} contains no store: there is no segment in it; name the folder of a store"
            ))),
            // Reading meets and reports the error.
            Ok(true) | Err(_) => Ok(()),
        };
    }
    if folder.to_string_lossy().contains("://") {
        return Err(Failure::Usage(format!(
            "{name} is no folder: only stores in files are verified and repaired; name the folder of one"
        )));
    }
    Err(Failure::NotFound(format!("there is no folder {name}; check the path")))
}

/// The figures of a directory.
pub(crate) fn describe(sections: &mut Sections, found: &Verification) {
    sections.count("segments", "segments", found.segments);
    sections.figure("bytes", "bytes", found.bytes.into(), bytes(found.bytes));
    sections.count("events", "events that can be read", found.events - found.events_system);
    let own = found.events_system - found.events_lost_before;
    sections.count("eventsSystem", "events of the store itself", own);
    sections.count(
        "eventsLostBefore",
        "events lost before, and filled by a repair",
        found.events_lost_before,
    );
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

/// Writes the figures and the damage, as a list in formats that have only rows.
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
        out.line("")?;
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
    let position = |position: Option<Position>| position.map_or(Value::Null, |position| position.0.into());
    vec![
        damage.file.display().to_string().into(),
        damage.offset.into(),
        position(damage.first),
        position(damage.last),
        damage.what.clone().into(),
    ]
}
