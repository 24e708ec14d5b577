//! The program and stores over a stream of NATS: imported by one process, read by others.

#![cfg(unix)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails where what it expects does not hold"
)]

#[expect(dead_code, reason = "there are standbys in the library's tests alone")]
#[path = "../../../tests/postgres/cluster.rs"]
mod cluster;
#[path = "../../../crates/annals-bench/tests/servers/process.rs"]
mod process;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use process::Process;
use serde_json::Value;

fn program(store: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    command
        .env_remove("ANNALS_STORE")
        .args(["--store", store])
        .stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn answer(command: &mut Command) -> Value {
    let output = command.args(["--format", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn start() -> Process {
    Process::start("nats-server", |port, folder| {
        let arguments = ["-a", "127.0.0.1", "-p", port, "-js", "-sd", folder];
        arguments.map(str::to_owned).to_vec()
    })
}

fn export(store: &str) -> Vec<u8> {
    let output = program(store).args(["export", "--output", "-"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    output.stdout
}

/// Generates a log with this number of events.
fn make_demo(log: &Path, events: &str) {
    let made = Command::new(env!("CARGO_BIN_EXE_annals"))
        .args(["demo", "--events", events, "--output"])
        .arg(log)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
}

#[test]
fn a_stream_was_no_store_of_the_program() {
    let (server, folder) = (start(), tempfile::tempdir().unwrap());
    let store = format!("{}/orders", server.url("nats"));
    let absent = program(&store).arg("stats").output().unwrap();
    assert_eq!(absent.status.code(), Some(4), "{}", said(&absent));
    let log = folder.path().join("log.jsonl");
    make_demo(&log, "300");
    let import = |expected: [u64; 2]| {
        let report = answer(program(&store).arg("import").arg(&log));
        assert_eq!(
            [&report["newEvents"], &report["knownEvents"]],
            expected.map(Value::from).each_ref()
        );
    };
    import([300, 0]);
    import([0, 300]);
    let read = answer(program(&store).arg("stats"));
    let loaded = answer(program(&log.to_string_lossy()).arg("stats"));
    for figure in ["total", "aggregates", "byType", "byUser", "payloadBytes"] {
        assert_eq!(read[figure], loaded[figure], "{figure}");
    }
    assert_eq!(String::from_utf8(export(&store)).unwrap().lines().count(), 300);
}
