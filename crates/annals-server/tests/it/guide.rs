//! The examples of `docs/server.md` run, and answer as the guide shows.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::php;
use crate::support::Running;

const GUIDE: &str = include_str!("../../../../docs/server.md");

/// Stops the test where a program is missing that runs the examples.
#[track_caller]
fn need(program: &str) {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    assert!(is_there, "install {program}: it runs examples of docs/server.md");
}

/// The commands of the guide, each with the answer that is shown below it.
fn commands() -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut is_answer = false;
    for line in GUIDE.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), String::new()));
            is_answer = true;
        } else if line.starts_with("```") {
            is_answer = false;
        } else if let Some((_, answer)) = commands.last_mut().filter(|_| is_answer) {
            answer.push_str(line);
        }
    }
    commands
}

/// The answer without what differs from run to run.
fn steady(answer: &str) -> String {
    let mut text = answer.to_owned();
    for name in ["eventId", "timestamp", "recordedAt", "lease", "leaseEndsAt", "key"] {
        let opening = format!("\"{name}\":\"");
        let parts: Vec<&str> = text.split(&opening).collect();
        let rest = parts[1..]
            .iter()
            .map(|part| format!("{opening}…{}", &part[part.find('"').unwrap()..]));
        text = std::iter::once(parts[0].to_owned()).chain(rest).collect();
    }
    text
}

#[test]
fn a_command_of_the_guide_answered_otherwise() {
    need("curl");
    let server = Running::new();
    let commands = commands();
    assert!(commands.len() >= 7, "{}", commands.len());
    for (command, shown) in commands {
        let command = command.replace("localhost:4280", &server.address.to_string());
        let ran = Command::new("sh").args(["-c", &command]).output().unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{command} needs curl 7.82 or later: {errors}");
        assert_eq!(steady(std::str::from_utf8(&ran.stdout).unwrap()), shown, "{command}");
    }
}

/// The program of the guide in this language.
fn program(language: &str) -> &'static str {
    let (_, rest) = GUIDE.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// Runs a program that is given on the standard input.
fn run(mut command: Command, program: &str) -> Output {
    let server = Running::for_tests();
    let url = format!("http://{}", server.address);
    command.env("ANNALS_URL", url).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn the_program_in_python_failed() {
    need("python3");
    let mut python = Command::new("python3");
    python.arg("-");
    let ran = run(python, program("python"));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_program_in_node_failed() {
    need("node");
    let mut node = Command::new("node");
    node.args(["--input-type=module", "-"]);
    let ran = run(node, program("js"));
    assert!(
        ran.status.success(),
        "needs Node 18 or later: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn the_program_in_php_failed() {
    let php = php::program();
    // It reads the program from the standard input.
    let ran = run(Command::new(php), &format!("<?php\n{}", program("php")));
    assert!(
        ran.status.success(),
        "needs PHP 8.2 or later: {}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}
