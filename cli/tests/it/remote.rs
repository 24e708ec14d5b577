//! `--store http://…`: the commands give the same output for a store behind a server as for the store itself.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::{program, run};

/// A server with a log. It stops at the end of the test.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut server = program();
        server
            .args(["serve", "--port", "0", "--format", "json"])
            .args(arguments);
        let mut child = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        let url = said["url"].as_str().unwrap().to_owned();
        Self { child, url }
    }

    /// The program with the store of the server.
    fn asked(&self, arguments: &[&str]) -> Command {
        let mut program = program();
        program.args(["--store", &self.url]).args(arguments);
        program
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A log with an aggregate, two conversations and a user.
fn log(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("log.jsonl").display().to_string();
    run(program().args(["demo", "--events", "1500", "--seed", "7", "--output", &path])).ok();
    path
}

/// The output without the memory of the store: a copy is made page by page, with other capacities.
fn without_memory(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| !line.starts_with("memory ")).collect()
}

#[test]
fn every_command_that_reads_answers_alike() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder);
    let served = Served::start(&["--store", &log]);
    for arguments in [
        &["stats"][..],
        &["events", "--limit", "20", "--descending"],
        &["events", "--type", "Invoice*", "--format", "jsonl", "--limit", "0"],
        &["event", "700"],
        &["list", "users"],
        &["trends", "--by", "week"],
        &["heatmap"],
        &["search", "invoice", "--limit", "3"],
        &["tail", "--lines", "5"],
        &["export", "--output", "-"],
    ] {
        let own = run(program().args(["--store", &log]).args(arguments)).ok();
        assert!(!own.is_empty(), "{arguments:?}");
        let copied = run(&mut served.asked(arguments)).ok();
        assert_eq!(without_memory(&copied), without_memory(&own), "{arguments:?}");
    }
}

#[test]
fn commands_that_need_files_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(&[]);
    let to = folder.path().join("to").display().to_string();
    for (arguments, reason) in [
        (&["serve", "--port", "0"][..], "is served already"),
        (&["backup", "--to", &to], "only a store in files is backed up"),
        (
            &["archive", "--before", "2026-01-01", "--to", &to],
            "events are archived from a durable store",
        ),
    ] {
        let said = run(&mut served.asked(arguments)).failed(2);
        assert!(said.contains(reason), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

#[test]
fn a_token_comes_from_the_environment() {
    const SECRET: &str = "a-token-of-the-tests-alone";
    let folder = tempfile::tempdir().unwrap();
    let (tokens, own) = (folder.path().join("tokens"), folder.path().join("own"));
    std::fs::write(&tokens, format!("read {SECRET}\n")).unwrap();
    std::fs::write(&own, format!("{SECRET}\n")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let served = Served::start(&["--token-file", &tokens.display().to_string()]);
    let count = ["events", "--limit", "0", "--format", "json"];
    let refused = run(&mut served.asked(&count)).failed(1);
    assert!(refused.contains("ANNALS_TOKEN"), "{refused}");
    run(served.asked(&count).env("ANNALS_TOKEN", SECRET)).ok();
    run(served.asked(&count).env("ANNALS_TOKEN_FILE", &own)).ok();
    let wrong = run(served.asked(&count).env("ANNALS_TOKEN", "another-token-of-tests")).failed(1);
    assert!(!wrong.contains("another-token-of-tests"), "{wrong}");
    let both = run(served
        .asked(&count)
        .env("ANNALS_TOKEN", SECRET)
        .env("ANNALS_TOKEN_FILE", &own));
    assert!(both.failed(2).contains("both set"));
    run(served
        .asked(&count)
        .env("ANNALS_TOKEN_FILE", folder.path().join("absent")))
    .failed(4);
    // The server would reject a truncated token without a reason.
    let long = folder.path().join("long");
    std::fs::write(&long, "x".repeat(5000)).unwrap();
    let refused = run(served.asked(&count).env("ANNALS_TOKEN_FILE", &long)).failed(2);
    assert!(refused.contains("long") && refused.contains("4096 bytes"), "{refused}");
}

#[test]
fn a_server_is_followed_until_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder);
    let served = Served::start(&["--store", &log]);
    let mut tail = served.asked(&["tail", "--lines", "2", "--follow", "--format", "jsonl"]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["position"].as_u64()
    };
    assert_eq!([next(), next()], [Some(1499), Some(1500)]);
    let client = annals_server::Client::new(&served.url).unwrap();
    let (order, placed) = (annals::StreamId::new("Order", "new"), [annals::NewEvent::new("Placed")]);
    client.append(&order, annals::Expected::Any, &placed).unwrap();
    assert_eq!(next(), Some(1501));
    drop(served);
    let ended = tail.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
}

#[test]
fn an_address_that_is_none_is_refused() {
    for (url, reason) in [
        ("http://user:secret@127.0.0.1:1", "without a user"),
        ("http://127.0.0.1:1/v1/ns/", "a namespace has no"),
        ("http://", "http://HOST:PORT"),
    ] {
        let said = run(program().args(["--store", url, "stats"])).failed(2);
        assert!(said.contains(reason), "{url}: {said}");
    }
    let said = run(program().args(["--store", "http://127.0.0.1:1", "stats"])).failed(1);
    assert!(said.contains("http://127.0.0.1:1 does not answer"), "{said}");
}

#[test]
fn a_namespace_of_a_server_is_read() {
    let served = Served::start(&["--test-api"]);
    let client = annals_server::Client::new(&served.url).unwrap().namespace("tenant-a");
    let (order, placed) = (annals::StreamId::new("Order", "new"), [annals::NewEvent::new("Placed")]);
    client.append(&order, annals::Expected::Any, &placed).unwrap();
    let events = ["events", "--format", "jsonl"];
    assert_eq!(run(&mut served.asked(&events)).ok(), "");
    let named = run(served.asked(&events).args(["--namespace", "tenant-a"])).ok();
    assert_eq!((named.lines().count(), named.contains("Placed")), (1, true), "{named}");
    let mut of_environment = program();
    of_environment
        .env("ANNALS_STORE", format!("{}/", served.url))
        .args(events);
    assert_eq!(run(of_environment.args(["--namespace", "tenant-a"])).ok(), named);
    let unknown = run(served.asked(&events).args(["--namespace", "tenant-b"])).failed(1);
    assert!(unknown.contains("no namespace"), "{unknown}");
    for wrong in ["", "a/b", "a?b"] {
        let refused = run(served.asked(&events).args(["--namespace", wrong])).failed(2);
        assert!(refused.contains("a namespace has no"), "{wrong}: {refused}");
    }
    let twice = format!("{}/v1/ns/tenant-a", served.url);
    for (store, reason) in [
        (twice.as_str(), "has a namespace already"),
        ("memory:", "only a server has namespaces"),
    ] {
        let refused = run(program().args(["--store", store, "--namespace", "tenant-b", "stats"])).failed(2);
        assert!(refused.contains(reason), "{refused}");
    }
    let command = run(&mut served.asked(&["serve", "--namespace", "tenant-a"])).failed(2);
    assert!(command.contains("--namespace"), "{command}");
}
