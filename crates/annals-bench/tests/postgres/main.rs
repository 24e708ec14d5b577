//! The backend in PostgreSQL, against a real server.

#![cfg(unix)]
#![expect(clippy::expect_used, reason = "a test fails where what it expects does not hold")]

#[expect(dead_code, reason = "there are standbys in the library's tests alone")]
#[path = "../../../../tests/postgres/cluster.rs"]
mod cluster;

use annals_bench::backends::Postgres;
use annals_bench::child::child;
use annals_bench::crash::Program;
use annals_bench::processes::run_shared;
use annals_bench::run::run;
use annals_bench::workload::Workload;
use annals_bench::{Backend as _, DurabilityClass};
use cluster::Cluster;

#[test]
fn a_run_in_postgresql_is_verified_and_leaves_no_schema() {
    let backend = Postgres::connect(&cluster::url()).unwrap();
    let text = "name = \"x\"\n[data]\nstreams = 5\nevents_per_stream = 120\n[load]\nworkers = 3\n[phases]\nwarmup_ms = 50\n\
                measure_ms = 200\noperations_max = 2000\n[mix]\ncreate = 1\ncycle = 1\nappend = 1\nby_type = 1\ncatch_up = 1";
    let run = run(&backend, &Workload::parse(text).unwrap(), 3, &mut |_, _| true).unwrap();
    assert!(run.loaded.recording.accepted > 0);
    assert_eq!(run.loaded.recording.failed, 0, "{:?}", run.loaded.recording.failure);
    assert!(run.verdict.is_checked && run.verdict.is_clean(), "{:?}", run.verdict);
    // A schema that is there is used; one that was left would hold events.
    assert_eq!(
        backend
            .open()
            .unwrap()
            .read_log(annals::Position(0), 1, &mut |_| panic!("an event was left")),
        Ok(())
    );
    backend.wipe().unwrap();
}

#[test]
fn a_server_that_does_not_sync_was_called_power_safe() {
    let lazy = Cluster::start(&["fsync = off"], &[]);
    let backend = Postgres::connect(&lazy.url()).unwrap();
    assert_eq!(backend.description().durability, DurabilityClass::ProcessCrashSafe);
    assert!(backend.description().settings.contains("fsync=off"));
    let safe = Cluster::start(&["fsync = on"], &[]);
    let backend = Postgres::connect(&safe.url()).unwrap();
    assert_eq!(backend.description().durability, DurabilityClass::PowerSafe);
}

#[test]
fn a_password_or_a_schema_in_the_url_was_taken() {
    for url in [
        "postgres://user:secret@127.0.0.1:1/x",
        "postgres://user@127.0.0.1:1/x?schema=mine",
        "postgres://[",
    ] {
        let error = Postgres::connect(url).unwrap_err().to_string();
        assert!(error.contains("cannot measure") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn processes_share_a_store_in_postgresql() {
    let backend = Postgres::connect(&cluster::url()).unwrap();
    let text = "name = \"x\"\n[data]\nstreams = 20\nevents_per_stream = 5\n[load]\nworkers = 2\nprocesses = 2\n[readers]\ntails = 1\n[phases]\n\
                warmup_ms = 100\nmeasure_ms = 300\noperations_max = 2000\n[mix]\ncreate = 1\ncycle = 1\nappend = 1";
    let workload = Workload::parse(text).unwrap();
    let run = run_shared(&backend, &workload, 3, &program(), &mut |_, _| true).unwrap();
    let recording = &run.loaded.recording;
    assert_eq!(recording.failed, 0, "{:?}", recording.failure);
    assert!(run.verdict.is_checked && run.verdict.is_clean(), "{:?}", run.verdict);
    assert!(recording.accepted > 0 && run.seen.unwrap().after.count() > 0);
}

/// This file of tests, as a process that shares a load.
fn program() -> Program {
    let arguments = ["--ignored", "--exact", "--nocapture", "child_that_appends"];
    Program {
        path: std::env::current_exe().expect("this program has a path"),
        arguments: arguments.map(Into::into).to_vec(),
    }
}

#[test]
#[ignore = "another test starts it"]
fn child_that_appends() {
    let input = std::io::BufReader::new(std::io::stdin());
    // Without a job there is nothing to do.
    drop(child(input, std::io::stdout()));
}
