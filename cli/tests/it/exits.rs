//! Each exit code that `--help` documents, with its message: what failed, on what, why, and what to do.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::support::{Folder, ask, import, line, program, run};

#[test]
fn help_documents_the_exit_codes() {
    let help = run(program().arg("--help")).ok();
    let codes = help.split("Exit codes:").nth(1).unwrap().split("\n\n").next().unwrap();
    let words = codes
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let codes: Vec<&str> = words.filter(|word| word.parse::<u8>().is_ok()).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "6", "7", "130"]);
}

#[test]
fn success_is_0() {
    let folder = Folder::new();
    let store = folder.file("log.jsonl", line("a", "T", ""));
    assert_eq!(ask(&store, &["events"]).code, 0);
    // An empty result is a success too.
    assert_eq!(ask(&store, &["events", "--type", "U"]).code, 0);
}

#[test]
fn a_failure_outside_of_the_command_line_is_1() {
    let folder = Folder::new();
    let store = folder.file("log.jsonl", line("a", "T", ""));
    let target = folder.path("absent/copy.jsonl");
    let message = ask(&store, &["export", "--output", target.to_str().unwrap()]).failed(1);
    let expected = format!(
        "error: cannot write {}: the folder {} does not exist; create it, or name another file\n",
        target.display(),
        folder.path("absent").display()
    );
    assert_eq!(message, expected);
}

#[test]
fn an_invalid_command_line_is_2() {
    let folder = Folder::new();
    let store = folder.file("log.jsonl", line("a", "T", ""));
    for (arguments, told) in [
        (&["evnts"][..], "unrecognized subcommand 'evnts'"),
        (
            &["events", "--since", "soon"],
            "invalid value of --since: 'soon' is neither a time",
        ),
        (
            &["events", "--before", "soon"],
            "invalid value of --before: 'soon' is neither a time",
        ),
        (&["events", "--cursor", "x"], "'x' is not a cursor"),
        (
            &["event", "abc"],
            "'abc' is neither a position nor the id of an event; `annals events`",
        ),
        (
            &["archive", "--before", "2026-01-01", "--to", "old"],
            "name it with --store file:DIR",
        ),
    ] {
        let message = ask(&store, arguments).failed(2);
        assert!(message.starts_with("error: ") && message.contains(told), "{message}");
    }
    assert!(
        run(program().arg("stats"))
            .failed(2)
            .contains("no store is named: name one with --store FILE")
    );
}

#[test]
fn invalid_data_is_3() {
    let folder = Folder::new();
    let store = folder.file("log.jsonl", line("a", "T", "") + "\n{\"aggregateId\":1}\n");
    let message = ask(&store, &["stats"]).failed(3);
    assert!(
        message.contains("log.jsonl: line 2: column 16: invalid type")
            && message.contains("; fix the line, or skip invalid lines with --skip-bad"),
        "{message}"
    );
}

#[test]
fn what_is_not_there_is_4_whatever_it_is() {
    let folder = Folder::new();
    let store = folder.file("log.jsonl", line("a", "T", r#","metadata":{"correlationId":"c"}"#));
    for (arguments, told) in [
        (&["event", "9"][..], "there is no event 9; the last position is 1"),
        (
            &["stream", "zzzz"],
            "there is no aggregate 'zzzz'; `annals list aggregates` shows those",
        ),
        (
            &["trace", "zzzz"],
            "there is no conversation 'zzzz'; `annals list correlations` shows those",
        ),
    ] {
        let message = ask(&store, arguments).failed(4);
        assert!(message.contains(told), "{message}");
    }
    let absent = folder.path("absent");
    let log = folder.path("absent.jsonl");
    let folder_of_store = folder.url("absent");
    for (store, told) in [
        (&absent, "there is no such file or folder; check the path"),
        (&log, "there is no such file; check the path"),
        (&folder_of_store, "there is no store at "),
    ] {
        for arguments in [&["stats"][..], &["events"], &[]] {
            let message = ask(store, arguments).failed(4);
            assert!(message.contains(told), "{message}");
        }
    }
    let verify = run(program().arg("verify").arg(&absent)).failed(4);
    assert!(
        verify.contains("there is no folder") && verify.contains("check the path"),
        "{verify}"
    );
    let import_of = |log: &std::path::Path| run(program().arg("import").arg(log)).failed(4);
    assert!(import_of(&log).contains("there is no such file; check the path"));
    import(&folder.url("store"), &store);
    let attached = run(program()
        .arg("--store")
        .arg(folder.url("store"))
        .args(["stats", "--attach"])
        .arg(&absent))
    .failed(4);
    assert!(attached.contains("there is no archive at"), "{attached}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_is_130() {
    let mut child = program()
        .args(["--store", "-", "stats"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than the capacity of a pipe, so the program has started to read and waits for more.
    let mut stdin = child.stdin.take().unwrap();
    let text = (line("a", "T", "") + "\n").repeat(10_000);
    stdin.write_all(text.as_bytes()).unwrap();
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{message}");
    assert!(message.contains("error: interrupted: "), "{message}");
}
