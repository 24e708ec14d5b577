//! Interrupted imports into a store in a directory, which are continued later.

#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use annals::{Event, Store};

use crate::support::{Folder, import, program, run};

/// The time limit for an import to write its input.
const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS: usize = 20_000;

/// The log, line by line.
fn log() -> Vec<String> {
    let text = run(program().args(["demo", "--seed", "3", "--events", &EVENTS.to_string()])).ok();
    // Half of the lines have no id of their own.
    text.lines()
        .enumerate()
        .map(|(number, line)| {
            let mut event: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
            if number % 2 == 0 {
                event.remove("eventId");
            }
            serde_json::to_string(&event).unwrap() + "\n"
        })
        .collect()
}

/// An import that has received a part of the log, has written some of it to the disk, and waits for the rest.
fn import_part(folder: &Folder, lines: &[String]) -> Child {
    let mut child = program()
        .arg("--store")
        .arg(folder.url("store"))
        .args(["import", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let stdin = child.stdin.as_mut().unwrap();
    let length = stored_bytes(folder);
    let written = stdin.write_all(lines.concat().as_bytes());
    let written = written.map_err(|error| (error, said(&mut child)));
    assert!(written.is_ok(), "the import ended by itself: {written:?}");
    let began = Instant::now();
    while stored_bytes(folder) <= length {
        assert!(began.elapsed() < PATIENCE, "nothing was written");
        std::thread::yield_now();
    }
    child
}

/// The output of a program that has ended.
fn said(child: &mut Child) -> String {
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    message
}

fn stored_bytes(folder: &Folder) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder.path("store")) else {
        return 0;
    };
    // The header of a segment is not an event.
    let bytes: u64 = entries
        .map(|entry| entry.unwrap().metadata().map_or(0, |data| data.len()))
        .sum();
    bytes.saturating_sub(4096)
}

fn send(signal: &str, child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

fn stored(store: &Path) -> Vec<Event> {
    Store::open_url(store.to_str().unwrap()).unwrap().read_all().events()
}

/// The report that must not depend on interruptions.
fn contents(events: &[Event]) -> Vec<(annals::NewEvent<'_>, annals::Version, annals::Position)> {
    events
        .iter()
        .map(|event| (event.to_new(), event.version(), event.position()))
        .collect()
}

/// Imports three quarters of a log in three parts, each ended by `signal`, and then all of it.
fn check(signal: &str, ended: impl Fn(Child, &Folder)) {
    let folder = Folder::new();
    let lines = log();
    for part in 1..=3 {
        let child = import_part(&folder, &lines[..EVENTS / 4 * part]);
        send(signal, &child);
        ended(child, &folder);
    }
    let whole = folder.file("log.jsonl", lines.concat());
    let report = import(&folder.url("store"), &whole);
    assert!(report["knownEvents"].as_u64().unwrap() > 0 && report["newEvents"].as_u64().unwrap() > 0);
    assert_eq!(report["total"], EVENTS);
    import(&folder.url("at once"), &whole);
    assert!(contents(&stored(&folder.url("store"))) == contents(&stored(&folder.url("at once"))));
}

/// The events that are reported as safe exist.
fn says_what_is_safe(mut child: Child, folder: &Folder) {
    let message = said(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{message}");
    let said = message.split("interrupted: ").nth(1).unwrap();
    assert!(
        said.contains(" events of - are safe on disk; run the same command again to go on"),
        "{message}"
    );
    let count: usize = said.split(' ').next().unwrap().replace(',', "").parse().unwrap();
    assert!(count > 0);
    assert_eq!(stored(&folder.url("store")).len(), count);
}

#[test]
fn an_import_ended_by_ctrl_c_goes_on() {
    check("-INT", says_what_is_safe);
}

#[test]
fn an_import_ended_by_the_system_goes_on() {
    check("-TERM", says_what_is_safe);
}

#[test]
fn an_import_that_was_killed_goes_on() {
    check("-KILL", |mut child, _| {
        assert_eq!(child.wait().unwrap().code(), None);
    });
}
