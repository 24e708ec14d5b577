//! `tail`: the last events, and those that are appended while it follows.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::{Folder, ask, import, line, program, run};

/// The event types of lines of JSON.
fn types(lines: &str) -> Vec<String> {
    lines.lines().map(event_type).collect()
}

fn event_type(line: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    event["eventType"].as_str().unwrap().to_owned()
}

fn log(folder: &Folder, count: usize) -> std::path::PathBuf {
    let lines: Vec<String> = (1..=count).map(|number| line("a", &format!("T{number}"), "")).collect();
    folder.file("log.jsonl", lines.join("\n") + "\n")
}

/// A following program and its output.
struct Following {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Following {
    fn new(store: &Path, arguments: &[&str]) -> Self {
        let mut command = program();
        command
            .arg("--store")
            .arg(store)
            .args(["tail", "--follow"])
            .args(arguments);
        Self::of(&mut command)
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Waits for the next line.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{}", self.ended().1);
        line
    }

    /// The exit code and the standard error.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }

    #[cfg(unix)]
    fn interrupt(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let (code, text) = self.ended();
        assert_eq!(code, Some(130), "{text}");
        text
    }
}

fn append(log: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(log).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_last_events_come_in_their_order() {
    let folder = Folder::new();
    let log = log(&folder, 12);
    let tail = |arguments: &[&str]| types(&ask(&log, &[&["tail", "--format", "jsonl"], arguments].concat()).ok());
    assert_eq!(tail(&["-n", "2"]), ["T11", "T12"]);
    assert_eq!(tail(&[]).len(), 10);
    assert_eq!(tail(&["--lines", "99"]).len(), 12);
    assert!(tail(&["--lines", "0"]).is_empty());
    assert_eq!(tail(&["--lines", "2", "--until", "5"]), ["T4", "T5"]);
    assert_eq!(tail(&["--lines", "1", "--not-type", "T12"]), ["T11"]);
    assert_eq!(ask(&log, &["tail", "--type", "None"]).ok(), "no events\n");
    let csv = ask(&log, &["tail", "-n", "1", "--format", "csv"]).ok();
    assert!(csv.starts_with("position,") && csv.lines().count() == 2, "{csv}");
    let json: Vec<serde_json::Value> = serde_json::from_str(&ask(&log, &["tail", "--format", "json"]).ok()).unwrap();
    assert_eq!(json.len(), 10);
    // A store in a folder has last events too.
    import(&folder.url("store"), &log);
    let lines = ask(&folder.url("store"), &["tail", "-n", "1"]).ok();
    assert_eq!(lines, "12  2026-01-31 12:00:00.000  T12  a #12\n");
}

#[cfg(unix)]
#[test]
fn a_file_is_followed_as_it_grows() {
    let folder = Folder::new();
    let log = log(&folder, 3);
    let mut tail = Following::new(&log, &["-n", "2", "--format", "jsonl", "--not-type", "Hidden"]);
    assert_eq!(event_type(&tail.line()), "T2");
    assert_eq!(event_type(&tail.line()), "T3");
    append(&log, &(line("a", "Hidden", "") + "\n" + &line("b", "T4", "") + "\n\n"));
    assert_eq!(event_type(&tail.line()), "T4");
    // A line is an event once it has its line end.
    let half = line("a", "T5", "");
    append(&log, &half[..40]);
    append(&log, &half[40..]);
    append(&log, "\n");
    let event: serde_json::Value = serde_json::from_str(&tail.line()).unwrap();
    assert_eq!((&event["position"], &event["version"]), (&6.into(), &5.into()));
    assert!(tail.interrupt().contains("interrupted: 4 events written"));
}

#[cfg(unix)]
#[test]
fn a_truncated_file_is_followed_from_its_beginning() {
    let folder = Folder::new();
    let log = log(&folder, 3);
    let mut tail = Following::new(&log, &["-n", "1"]);
    assert!(tail.line().contains("T3"));
    std::fs::write(&log, line("a", "New", "") + "\n").unwrap();
    assert!(tail.line().contains("New"));
    assert!(tail.interrupt().contains("was truncated"));
}

#[test]
fn a_pipe_is_followed_to_its_end() {
    let mut tail = Following::of(
        program()
            .args(["--store", "-", "tail", "-f", "--format", "csv", "--type", "T*"])
            .stdin(Stdio::piped()),
    );
    let mut stdin = tail.child.stdin.take().unwrap();
    writeln!(stdin, "{}", line("a", "T1", "")).unwrap();
    assert!(tail.line().starts_with("position,eventId"));
    assert!(tail.line().starts_with("1,"));
    writeln!(stdin, "{}\n{}", line("a", "U", ""), line("a", "T2", "")).unwrap();
    assert!(tail.line().starts_with("3,"));
    write!(stdin, "{}", line("a", "T3", "")).unwrap();
    drop(stdin);
    assert!(tail.line().starts_with("4,"));
    assert_eq!(tail.ended(), (Some(0), String::new()));
}

#[test]
fn a_reader_that_leaves_ends_it() {
    let mut tail = Following::of(program().args(["--store", "-", "tail", "-f"]).stdin(Stdio::piped()));
    let mut stdin = tail.child.stdin.take().unwrap();
    writeln!(stdin, "{}", line("a", "T1", "")).unwrap();
    tail.line();
    let Following { mut child, stdout } = tail;
    drop(stdout);
    writeln!(stdin, "{}", line("a", "T2", "")).unwrap();
    // The pipe is still open: the reader that left ends the program.
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_bad_line_ends_it_unless_it_is_skipped() {
    for (arguments, code) in [(&[][..], 3), (&["--skip-bad"], 0)] {
        let mut tail = Following::of(
            program()
                .args(["--store", "-", "tail", "-f"])
                .args(arguments)
                .stdin(Stdio::piped()),
        );
        let mut stdin = tail.child.stdin.take().unwrap();
        // The program ends at the second line, without a delay.
        let lines = format!("{}\n17\n{}\n", line("a", "T1", ""), line("a", "T3", ""));
        stdin.write_all(lines.as_bytes()).unwrap();
        drop(stdin);
        let mut shown = String::new();
        tail.stdout.read_to_string(&mut shown).unwrap();
        let (ended, message) = tail.ended();
        assert_eq!(ended, Some(code), "{message}");
        assert!(message.contains("-: line 2"), "{message}");
        assert_eq!(shown.contains("T3"), code == 0, "{shown}");
    }
}

#[test]
fn what_cannot_be_followed_is_said_in_a_line() {
    let folder = Folder::new();
    let log = log(&folder, 1);
    import(&folder.url("store"), &log);
    let text = line("a", "T", "");
    let of = |name: &str, content: &str| folder.file(name, content);
    for (store, told) in [
        (folder.url("store"), "a store in a folder cannot be followed"),
        ("memory:".into(), "a store in memory has no other writer"),
        (of("log.jsonl.gz", &text), "a compressed file cannot be followed"),
        (of("log.json", &text), "only a file of JSON lines can be followed"),
        (of("log.csv", "a,b"), "only a file of JSON lines can be followed"),
    ] {
        let message = ask(&store, &["tail", "--follow"]).failed(2);
        assert!(message.contains(told) && message.contains("a pipe"), "{message}");
    }
    for arguments in [
        &["--format", "json"][..],
        &["--until", "5"],
        &["--before", "1d"],
        &["--as-of", "5"],
    ] {
        ask(&log, &[&["tail", "--follow"], arguments].concat()).failed(2);
    }
    ask(&folder.path("absent.jsonl"), &["tail", "--follow"]).failed(4);
    run(program().args(["tail", "-f"])).failed(2);
}
