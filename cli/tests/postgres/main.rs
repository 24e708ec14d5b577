//! The program and stores in PostgreSQL: imported by one process, read by another.

#![cfg(unix)]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails where what it expects does not hold"
)]

#[expect(dead_code, reason = "there are standbys in the library's tests alone")]
#[path = "../../../tests/postgres/cluster.rs"]
mod cluster;
#[cfg(feature = "serve")]
mod replicas;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cluster::Cluster;
use serde_json::Value;

fn program(store: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
    for name in ["ANNALS_STORE", "PGPASSWORD", "PGPASSFILE", "HOME"] {
        command.env_remove(name);
    }
    command.args(["--store", store]).stdin(Stdio::null());
    command
}

fn answer(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
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

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn statistics(store: &str) -> Value {
    answer(program(store).args(["stats", "--format", "json"]))
}

fn import(store: &str, log: &Path) -> Value {
    answer(program(store).args(["import", "--format", "json"]).arg(log))
}

/// Imports the log twice, reads it back, and compares it with the log loaded without a database.
fn check(name: &str, log: &Path, events: u64) {
    let url = cluster::url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let schema = format!("program_{name}_{}", std::process::id());
    let store = format!("{url}{sign}schema={schema}");
    let absent = program(&store).arg("stats").output().unwrap();
    assert_eq!(absent.status.code(), Some(4), "{}", said(&absent));
    let first = import(&store, log);
    assert_eq!(
        (&first["newEvents"], &first["knownEvents"]),
        (&events.into(), &0.into())
    );
    let second = import(&store, log);
    assert_eq!(
        (&second["newEvents"], &second["knownEvents"]),
        (&0.into(), &events.into())
    );
    let kept = statistics(&store);
    let mut loaded = statistics(log.to_str().unwrap());
    // Sizes differ between stores.
    loaded["memoryBytes"] = kept["memoryBytes"].clone();
    assert_eq!(kept, loaded);
}

#[test]
fn a_log_is_imported_by_one_process_and_read_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("demo.jsonl.gz");
    make_demo(&log, "3000");
    check("demo", &log, 3000);
}

#[test]
fn old_events_move_from_a_database_to_an_archive_and_are_read_with_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("demo.jsonl.gz");
    make_demo(&log, "3000");
    let url = cluster::url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let store = format!(
        "{url}{sign}partition=month&schema=program_archive_{}",
        std::process::id()
    );
    import(&store, &log);
    let before = statistics(&store);
    let old = folder.path().join("old.jsonl.zst");
    let archive = ["archive", "--before", "2026-01-12", "--format", "json", "--to"];
    let archived = answer(program(&store).args(archive).arg(&old));
    let (moved, freed) = (archived["eventsArchived"].as_u64(), archived["bytesFreed"].as_u64());
    assert!(moved > Some(100) && freed > Some(10_000), "{archived}");
    let left = statistics(&store)["total"].as_u64();
    assert_eq!(left.zip(moved).map(|(left, moved)| left + moved), Some(3000));
    let mut attached = program(&store);
    attached.arg("--attach").arg(&old);
    let mut whole = answer(attached.args(["stats", "--format", "json"]));
    whole["memoryBytes"] = before["memoryBytes"].clone();
    assert_eq!(whole, before);
}

#[test]
fn a_store_is_read_while_another_process_writes_it() {
    let url = cluster::url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let store = format!("{url}{sign}schema=program_writer_{}", std::process::id());
    let writer = annals::Store::open_url(&store).unwrap();
    let note = annals::StreamId::new("Note", "note-1");
    for events in 1..=3_u64 {
        let appended = writer.append(&note, annals::Expected::Any, vec![annals::NewEvent::new("Noted")]);
        writer.wait_durable(appended.unwrap().last_position).unwrap();
        assert_eq!(statistics(&store)["total"], events);
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    fs::write(&log, "").unwrap();
    let refused = program(&format!("{store}&lease_wait=0s"))
        .arg("import")
        .arg(log)
        .output()
        .unwrap();
    assert!(
        said(&refused).contains("held by annals (process "),
        "{}",
        said(&refused)
    );
}

#[test]
fn a_store_is_followed_while_another_process_writes_it() {
    use std::io::{BufRead as _, BufReader};

    let url = cluster::url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let store = format!("{url}{sign}schema=program_tail_{}", std::process::id());
    let writer = annals::Store::open_url(&store).unwrap();
    let note = annals::StreamId::new("Note", "note-1");
    let append = |event_type| {
        let appended = writer.append(&note, annals::Expected::Any, vec![annals::NewEvent::new(event_type)]);
        writer.wait_durable(appended.unwrap().last_position).unwrap();
    };
    for event_type in ["First", "Second", "Other"] {
        append(event_type);
    }
    let mut child = program(&store)
        .args(["tail", "--follow", "-n", "1", "--not-type", "Other"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("Second"));
    for event_type in ["Third", "Other", "Fourth"] {
        append(event_type);
        if event_type != "Other" {
            assert!(lines.next().unwrap().unwrap().contains(event_type));
        }
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(
        said(&output).contains("interrupted: 3 events written"),
        "{}",
        said(&output)
    );
}

/// A real log, if it exists in `ANNALS_REAL_DATA` or beside the workspace.
#[test]
fn loans() {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("ANNALS_REAL_DATA").map_or(beside, PathBuf::from);
    let log = folder.join("bpic2012.jsonl.gz");
    if !log.exists() {
        return;
    }
    check("loans", &log, 262_200);
    // The query of docs/postgresql.md. The figures are counted by another program from the log.
    let query = DECISIONS.replace("annals.", &format!("program_loans_{}.", std::process::id()));
    let answer = Command::new("psql")
        .args(["-qAtc", &query])
        .arg(cluster::url())
        .output()
        .unwrap();
    let expected = "A_DECLINED|7635|12191|2.0\nA_CANCELLED|2807|15163|18.6\nA_APPROVED|2246|15713|16.7\n";
    assert_eq!(String::from_utf8_lossy(&answer.stdout), expected, "{}", said(&answer));
}

const DECISIONS: &str = "
SELECT last.event_type AS decision, count(*) AS loans, round(avg((first.data ->> 'case.AMOUNT_REQ')::numeric)) AS asked,
       round(avg(extract(epoch FROM last.occurred_at - first.occurred_at) / 86400), 1) AS days
FROM annals.live_events AS first JOIN annals.live_events AS last USING (aggregate_id)
WHERE first.event_type = 'A_SUBMITTED' AND last.event_type IN ('A_APPROVED', 'A_CANCELLED', 'A_DECLINED')
GROUP BY 1 ORDER BY 2 DESC";

#[test]
fn passwords_come_from_the_url_the_environment_or_a_private_file() {
    let cluster = Cluster::start(&["fsync = off"], &["host all anna 127.0.0.1/32 scram-sha-256"]);
    let role = "CREATE ROLE anna LOGIN PASSWORD 's3:cr\\3t'";
    let made = Command::new("psql").args(["-qc", role]).arg(cluster.url()).status();
    assert!(made.unwrap().success());
    let store = cluster.url().replace("postgres@", "anna@");
    let refused = |command: &mut Command, part: &str| {
        let output = command.arg("stats").output().unwrap();
        let said = said(&output);
        assert!(said.contains(part) && !said.contains("s3"), "{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
    };
    // The server accepted the command, which reports that there is no store.
    let let_in = |command: &mut Command| {
        let output = command.arg("stats").output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    };
    refused(&mut program(&store), "password missing");
    refused(
        &mut program(&store.replace("anna@", "anna:s3wrong@")),
        "password authentication failed",
    );
    refused(
        program(&store).env("PGPASSWORD", "s3wrong"),
        "password authentication failed",
    );
    let_in(&mut program(&store.replace("anna@", "anna:s3%3Acr%5C3t@")));
    let_in(program(&store).env("PGPASSWORD", "s3:cr\\3t"));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    fs::write(&file, "*:*:*:anna:s3\\:cr\\\\3t\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    refused(
        program(&store).env("HOME", home.path()),
        "is readable by other users: restrict it with chmod 0600",
    );
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let_in(program(&store).env("HOME", home.path()));
    let_in(program(&store).env("PGPASSFILE", &file));
}

/// A killed process blocks no other: the server notices its end and frees its lease.
#[test]
fn an_import_that_was_killed_goes_on_when_it_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("demo.jsonl.gz");
    make_demo(&log, "20000");
    let url = cluster::url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let schema = format!("killed_{}", std::process::id());
    let store = format!("{url}{sign}schema={schema}&write_within=0ms&lease=1000s&lease_wait=10s");
    let stored = || {
        let count = format!("SELECT position FROM {schema}.head");
        let answer = Command::new("psql").args(["-qAtc", &count]).arg(&url).output().unwrap();
        String::from_utf8(answer.stdout)
            .unwrap()
            .trim()
            .parse::<u64>()
            .unwrap_or(0)
    };
    let mut before = 0;
    for _ in 0..4 {
        let mut import = program(&store)
            .arg("import")
            .arg(&log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while stored() <= before && import.try_wait().unwrap().is_none() {}
        drop(import.kill());
        import.wait().unwrap();
        before = stored();
    }
    assert_eq!(import(&store, &log)["total"], 20_000);
    assert_eq!(stored(), 20_000);
}

/// A slot belongs to the server, so the test drops it.
struct Slot<'a> {
    store: &'a str,
    name: String,
}

impl Slot<'_> {
    fn cdc(&self, arguments: &[&str]) -> Output {
        let mut command = program(self.store);
        command
            .args(["cdc", "--slot", &self.name])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.cdc(arguments);
        assert!(output.status.success(), "{}", said(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        drop(self.cdc(&["--drop-slot"]));
    }
}

/// A log of numbered events.
fn write_log(path: &Path, first: u32, last: u32) -> PathBuf {
    let line = |number: u32| {
        format!(
            "{{\"aggregateId\":\"a-{number}\",\"aggregateType\":\"A\",\"eventType\":\"Noted\",\
             \"timestamp\":\"2026-01-31T12:00:00Z\",\"eventData\":{{\"number\":{number}}},\
             \"metadata\":{{\"correlationId\":\"c-1\"}}}}\n"
        )
    };
    fs::write(path, (first..=last).map(line).collect::<String>()).unwrap();
    path.to_owned()
}

#[test]
fn changes_come_in_every_envelope_and_each_goes_on_where_it_was() {
    let url = cluster::url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let store = format!("{url}{sign}schema=cdc_{}", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let log = |name: &str, first: u32, last: u32| write_log(&folder.path().join(name), first, last);
    let slot = |name: &str| Slot {
        store: &store,
        name: format!("cli_{}_{name}", std::process::id()),
    };
    let refused = slot("none").cdc(&["--once"]);
    assert!(said(&refused).contains("there is no store"), "{}", said(&refused));
    import(&store, &log("one.jsonl", 1, 30));
    let (plain, cloud, debezium) = (slot("json"), slot("cloud"), slot("debezium"));
    let positions = |lines: &[Value]| {
        lines
            .iter()
            .map(|line| line["position"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(positions(&plain.lines(&["--once"])), (1..=30).collect::<Vec<_>>());
    assert_eq!(cloud.lines(&["--once", "--format", "cloudevents"]).len(), 30);
    assert_eq!(
        debezium.lines(&["--once", "--format", "debezium", "--new-only"]).len(),
        0
    );

    import(&store, &log("two.jsonl", 31, 40));
    assert_eq!(
        positions(&plain.lines(&["--once", "--format", "json"])),
        (31..=40).collect::<Vec<_>>()
    );
    let cloud = cloud.lines(&["--once", "--format", "cloudevents"]);
    let first = &cloud[0];
    assert_eq!(
        (cloud.len(), first["specversion"].as_str(), first["sequence"].as_str()),
        (10, Some("1.0"), Some("31"))
    );
    assert_eq!(
        (first["subject"].as_str(), first["data"]["number"].as_u64()),
        (Some("a-31"), Some(31))
    );
    let changed = debezium.lines(&["--once", "--format", "debezium"]);
    let first = &changed[0];
    assert_eq!(
        (changed.len(), first["op"].as_str(), first["before"].is_null()),
        (10, Some("c"), true)
    );
    assert_eq!(first["after"]["data"].as_str(), Some("{\"number\":31}"));
    assert_eq!(first["after"]["correlation_id"].as_str(), Some("c-1"));
    assert!(first["source"]["lsn"].as_u64().unwrap() > 0);

    let status = plain.cdc(&["--status", "--format", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["position"].as_u64(), Some(40));
    assert!(plain.cdc(&["--drop-slot"]).status.success());
    // The query creates no slot.
    for _ in 0..2 {
        let status = plain.cdc(&["--status", "--format", "json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        assert!(status["lagBytes"].is_null(), "{status}");
    }
    import(&store, &log("three.jsonl", 41, 45));
    assert_eq!(positions(&plain.lines(&["--once"])), (41..=45).collect::<Vec<_>>());
    let refused = program(&store)
        .args(["stats", "--format", "debezium"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

/// A separate schema with three events.
fn imported(name: &str) -> (String, String) {
    let url = cluster::url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let schema = format!("{name}_{}", std::process::id());
    let store = format!("{url}{sign}schema={schema}");
    let folder = tempfile::tempdir().unwrap();
    import(&store, &write_log(&folder.path().join("log.jsonl"), 1, 3));
    (store, schema)
}

fn sql(text: &str) {
    let output = Command::new("psql")
        .args(["-XqAtc", text])
        .arg(cluster::url())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn errors_of_readers_spoke_of_appends() {
    let (store, schema) = imported("readers");
    let slot = Slot {
        store: &store,
        name: format!("cli_{}_readers", std::process::id()),
    };
    assert_eq!(slot.lines(&["--once"]).len(), 3);
    let commands: [&[&str]; 5] = [
        &["stats"],
        &["events"],
        &["trends"],
        &["cdc", "--once", "--slot", &slot.name],
        &["cdc", "--status", "--slot", &slot.name],
    ];
    for table in ["head", "checkpoints", "events"] {
        sql(&format!("ALTER TABLE {schema}.{table} RENAME TO away"));
        for command in commands {
            let output = program(&store).args(command).output().unwrap();
            let said = said(&output);
            // Each reads some of the tables.
            if output.status.success() {
                continue;
            }
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            assert!(
                said.contains("42P01") && said.contains("cannot be read"),
                "{command:?}: {said}"
            );
            assert!(
                !said.contains("append") && !said.contains("until it is reopened"),
                "{command:?}: {said}"
            );
        }
        sql(&format!("ALTER TABLE {schema}.away RENAME TO {table}"));
    }
    assert_eq!(slot.lines(&["--once"]).len(), 0);
}

#[test]
fn a_server_that_was_reached_was_said_not_to_be() {
    let (store, _) = imported("reached");
    let folder = tempfile::tempdir().unwrap();
    write_log(&folder.path().join("log.jsonl"), 1, 3);
    for (from, to, state) in [
        ("postgres@", "nobody_at_all@", "28000"),
        ("/postgres?", "/no_such_database?", "3D000"),
    ] {
        let url = store.replacen(from, to, 1);
        for command in [&["stats"][..], &["cdc", "--once"], &["import", "log.jsonl"]] {
            let output = program(&url).args(command).current_dir(folder.path()).output().unwrap();
            let said = said(&output);
            // The command line names the role and the database.
            assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
            assert!(
                said.contains("PostgreSQL refuses the connection") && said.contains(state),
                "{command:?}: {said}"
            );
        }
    }
    let nowhere = "postgres://postgres@127.0.0.1:1/postgres";
    let output = program(nowhere).arg("stats").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("PostgreSQL cannot be reached"),
        "{}",
        said(&output)
    );
    let absent = format!("{store}_absent");
    for command in [
        &["stats"][..],
        &["cdc", "--once"],
        &["cdc", "--status"],
        &["cdc", "--drop-slot"],
    ] {
        let output = program(&absent).args(command).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{command:?}: {}", said(&output));
    }
}

#[test]
fn a_store_in_a_database_is_verified_against_a_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    make_demo(&path("demo.jsonl.gz"), "2500");
    let url = cluster::url();
    let sign = if url.contains('?') { '&' } else { '?' };
    let store = format!("{url}{sign}schema=program_audit_{}", std::process::id());
    import(&store, &path("demo.jsonl.gz"));
    let made = Command::new(env!("CARGO_BIN_EXE_annals"))
        .args(["audit", "key", "--output"])
        .arg(path("audit.key"))
        .output()
        .unwrap();
    fs::write(path("public"), &made.stdout).unwrap();
    let mut signed = program(&store);
    signed.args(["audit", "head", "--key"]).arg(path("audit.key"));
    let signed = signed.arg("--output").arg(path("head.json")).output().unwrap();
    assert!(signed.status.success(), "{}", said(&signed));
    let verify = || {
        let mut verify = program(&store);
        verify.args(["audit", "verify", "--format", "json", "--head"]);
        verify.arg(path("head.json")).arg("--public-key").arg(path("public"));
        verify
    };
    assert_eq!(answer(&mut verify())["events"], 2_500);
    let trail = program(&store).args(["audit", "trail"]).output().unwrap();
    assert_eq!(String::from_utf8(trail.stdout).unwrap().lines().count(), 2_500);
}
