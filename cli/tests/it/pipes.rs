//! Closed readers, and Ctrl-C.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use crate::support::{Folder, program};

/// Starts the program and reads its first line.
fn begin(command: &mut Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(!line.is_empty());
    (child, stdout)
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let folder = Folder::new();
    let store = folder.demo();
    for arguments in [
        &["events", "--format", "jsonl"][..],
        &["events", "--limit", "0"],
        &["events", "--format", "csv"],
    ] {
        let (mut child, stdout) = begin(program().arg("--store").arg(&store).args(arguments));
        drop(stdout);
        assert_eq!(stderr(&mut child), "");
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
    let (mut child, stdout) = begin(program().args(["demo", "--events", "1000000"]));
    drop(stdout);
    assert_eq!(stderr(&mut child), "");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn an_interrupted_program_says_how_far_it_got() {
    let (mut child, mut stdout) = begin(program().args(["demo", "--events", "100000000"]));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let message = stderr(&mut child);
    assert!(
        message.contains("interrupted: ") && message.contains("events had been written"),
        "{message}"
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
