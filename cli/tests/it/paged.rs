//! Long output on a terminal goes through a pager.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Folder, alone, on_terminal_of, program, run};

/// A pager that first writes its arguments, and then runs the script `keeps`.
fn pager(folder: &Folder, keeps: &str) -> PathBuf {
    let script = format!("#!/bin/sh\necho \"paged $*\"\n{keeps}\n");
    let path = folder.file("pager", script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The program on a terminal of 24 rows.
fn shown(store: &Path, pager: &Path, arguments: &[&str]) -> String {
    on_terminal_of(100, with(alone(), store, pager).args(arguments))
}

fn with(mut command: Command, store: &Path, pager: &Path) -> Command {
    command
        .arg("--store")
        .arg(store)
        .env("ANNALS_PAGER", pager)
        .env("TERM", "xterm");
    command
}

#[test]
fn an_answer_that_fits_has_no_pager() {
    let folder = Folder::new();
    let (store, pager) = (folder.demo(), pager(&folder, "cat"));
    for (arguments, is_paged) in [
        (&["events", "--limit", "100"][..], true),
        (&["events", "--limit", "5"], false),
        (&["events", "--limit", "100", "--no-pager"], false),
        (&["events", "--format", "csv"], true),
        (&["stream", "invoice-000003"], false),
        (&["list", "aggregates"], true),
        (&["stats"], true),
        (&["heatmap"], false),
        (&["export", "--output", "-"], false),
    ] {
        let text = shown(&store, &pager, arguments);
        assert_eq!(text.starts_with("paged"), is_paged, "{arguments:?}\n{text}");
        assert_eq!(text.matches("paged").count(), usize::from(is_paged), "{arguments:?}");
    }
    // A pipe has none either.
    let piped = run(with(program(), &store, &pager).args(["events", "--limit", "100"])).ok();
    assert!(!piped.contains("paged"));
}

#[test]
fn a_pager_has_all_of_the_answer_and_its_hints() {
    let folder = Folder::new();
    let (store, pager) = (folder.demo(), pager(&folder, "cat"));
    let text = shown(&store, &pager, &["list", "aggregates", "--limit", "300"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() > 302, "{text}");
    let plain = shown(&store, Path::new(""), &["list", "aggregates", "--limit", "300"]);
    assert_eq!(
        lines[1..303].join("\n"),
        plain.lines().collect::<Vec<_>>()[..302].join("\n")
    );
}

#[test]
fn a_pager_that_is_left_early_is_no_failure() {
    let folder = Folder::new();
    let (store, pager) = (folder.demo(), pager(&folder, "head -n 3"));
    // `on_terminal_of` expects success.
    let text = shown(&store, &pager, &["events", "--limit", "0", "--format", "jsonl"]);
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn a_pager_that_is_missing_is_not_missed() {
    let folder = Folder::new();
    let store = folder.demo();
    let text = shown(&store, Path::new("no-such-pager --quit"), &["events", "--limit", "100"]);
    assert_eq!(
        text.lines().filter(|line| line.contains("2026-")).count(),
        100,
        "{text}"
    );
}

#[test]
fn the_pager_is_named_by_variables() {
    let folder = Folder::new();
    let (store, pager) = (folder.demo(), pager(&folder, "cat >/dev/null; echo \"$LESS\""));
    let named = |own: Option<&str>, usual: Option<&str>| {
        let mut command = alone();
        command.arg("--store").arg(&store).args(["events", "--limit", "100"]);
        for (name, value) in [("ANNALS_PAGER", own), ("PAGER", usual)] {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env_remove("LESS");
        let text = on_terminal_of(100, &mut command).replace('\r', "");
        text.lines().take(2).collect::<Vec<_>>().join("|")
    };
    let path = pager.to_str().unwrap();
    let with_options = format!("{path} --one two");
    assert_eq!(named(None, Some(path)), "paged |FRX");
    assert_eq!(named(Some(&with_options), Some("no-such-pager")), "paged --one two|FRX");
    assert!(named(Some(""), Some(path)).starts_with("\u{1b}[1mposition"));
}
