//! Backends on servers, against real ones: a table in PostgreSQL, HTTP, Redis, NATS, `UmaDB`, and a `KurrentDB` where one is given.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[expect(dead_code, reason = "there are standbys in the library's tests alone")]
#[path = "../../../../tests/postgres/cluster.rs"]
mod cluster;
mod process;
mod python;

use std::time::Duration;

use annals::{Expected, Position, Store, Version};
use annals_bench::backends::{Http, JetStream, KurrentDb, Nats, PostgresTable, Redis, SERVERS, UmaDb, is_named, named};
use annals_bench::child::child;
use annals_bench::crash::Program;
use annals_bench::processes::run_shared;
use annals_bench::run::{Phase, RunError, run, run_and_kill};
use annals_bench::workload::{Log, Logged, Workload, built_in, with_settings};
use annals_bench::{Backend, BatchUnit, ConsistencyCheck, DurabilityClass, EventStore, Follow, NewEvent, StoreError};
use parking_lot::{Mutex, MutexGuard};
use process::Process;

fn small(name: &str, more: &[&str]) -> Workload {
    let size = [
        "phases.warmup_ms=0",
        "phases.measure_ms=250",
        "phases.operations_max=400",
        "load.workers=4",
    ];
    let settings = size.iter().chain(more).map(|text| text.parse().unwrap());
    let workload = with_settings(built_in(name).unwrap(), &settings.collect::<Vec<_>>()).unwrap();
    workload.rows().unwrap().swap_remove(0)
}

/// Runs `workload`, and expects that nothing is wrong.
fn verified(backend: &dyn Backend, workload: &Workload) {
    let run = run(backend, workload, 5, &mut |_, _| true).unwrap();
    let recording = &run.loaded.recording;
    assert_eq!(recording.failed, 0, "{}: {:?}", workload.name, recording.failure);
    assert!(
        run.verdict.is_checked && run.verdict.is_clean(),
        "{}: {:?}",
        workload.name,
        run.verdict
    );
    assert!(recording.accepted > 0 && run.stored > 0, "{}", workload.name);
}

fn verified_in_all(backend: &dyn Backend) {
    verified(backend, &small("append-small", &[]));
    verified(backend, &small("aggregate-cycle", &["data.streams=40"]));
    verified(backend, &small("hot-stream", &[]));
    verified(
        backend,
        &small("append-small", &["data.batch=7", "mix.append=1", "data.streams=30"]),
    );
    verified(
        backend,
        &small("fan-out", &["readers.tails=3", "load.workers=1", "load.rate=400"]),
    );
    verified_in_processes(backend);
    if backend.expires() {
        verified_when_events_expire(backend);
    }
    if backend.description().has_queries {
        verified(backend, &small("query-mix", &["data.streams=40"]));
        verified_traces(backend);
    }
    // A child opens the place of its parent, and nothing that it was told is lost with it.
    let killed = small("recover", &["data.streams=5", "recover.kill_after_ms=100"]);
    let run = run_and_kill(backend, &killed, 5, &program(), &mut |_, _| true).unwrap();
    assert!(run.verdict.is_clean(), "{:?}", run.verdict);
    let recovery = run.recovery.unwrap();
    assert!(recovery.acknowledged > 100 && recovery.lost == 0, "{recovery:?}");
}

/// Correlations and causes come back, and lead to the beginning of a conversation.
fn verified_traces(backend: &dyn Backend) {
    let workload = small("reference", &["data.streams=40", "load.rate=500", "readers.tails=0"]);
    let run = run(backend, &workload, 5, &mut |_, _| true).unwrap();
    let traced = run.traced.unwrap();
    assert!(traced.events > 50 && traced.traced == traced.events, "{traced:?}");
}

/// Events that expire are gone, and the versions of streams that still have some go on.
fn verified_when_events_expire(backend: &dyn Backend) {
    for processes in ["load.processes=0", "load.processes=2"] {
        let settings = [
            "data.time_to_live_ms=150",
            "data.streams=40",
            "load.rate=600",
            "phases.measure_ms=500",
            processes,
        ];
        let workload = small("session-burst", &settings);
        let run = match workload.load.processes {
            0 => run(backend, &workload, 5, &mut |_, _| true),
            _ => run_shared(backend, &workload, 5, &program(), &mut |_, _| true),
        };
        let run = run.unwrap();
        assert_eq!(run.loaded.recording.failed, 0, "{:?}", run.loaded.recording.failure);
        assert!(run.verdict.is_checked && run.verdict.is_clean(), "{:?}", run.verdict);
        assert!(run.expired.unwrap() > 50, "{:?}", run.expired);
    }
}

/// Two processes append at the same time, and a reader beside them sees the events of both.
fn verified_in_processes(backend: &dyn Backend) {
    // A reader of the table beside several writers can miss an event.
    let tails = u64::from(backend.description().name != "postgres-table");
    let readers = format!("readers.tails={tails}");
    for mode in ["saturate", "open"] {
        let load = format!("load.mode={mode}");
        let settings = [
            "data.streams=40",
            "load.processes=2",
            "load.rate=300",
            &readers,
            "phases.warmup_ms=100",
            &load,
        ];
        let run = run_shared(
            backend,
            &small("aggregate-cycle", &settings),
            5,
            &program(),
            &mut |_, _| true,
        )
        .unwrap();
        let recording = &run.loaded.recording;
        assert_eq!(recording.failed, 0, "{:?}", recording.failure);
        assert!(run.verdict.is_checked && run.verdict.is_clean(), "{:?}", run.verdict);
        assert!(recording.accepted > 0 && run.loaded.offered >= recording.ended);
        assert_eq!(recording.all().service.count(), recording.ended);
        let phases: Vec<Phase> = run.phases.iter().map(|(phase, _)| *phase).collect();
        assert_eq!(phases, Phase::ALL);
        // The measured times of both processes are in it.
        let appends = run.seen.map(|seen| seen.after.count());
        assert!(appends.is_none_or(|appends| appends > 0 && appends <= recording.ended));
        assert_eq!(appends.is_some(), tails > 0);
    }
}

fn program() -> Program {
    let arguments = ["--ignored", "--exact", "--nocapture", "child_that_is_killed"];
    Program {
        path: std::env::current_exe().unwrap(),
        arguments: arguments.map(Into::into).to_vec(),
    }
}

#[test]
#[ignore = "other tests start it and kill it"]
fn child_that_is_killed() {
    let input = std::io::BufReader::new(std::io::stdin());
    // Without a job there is nothing to do.
    drop(child(input, std::io::stdout()));
}

#[test]
fn a_table_by_hand_is_verified() {
    let (_turn, backend) = table();
    verified_in_all(&backend);
    backend.wipe().unwrap();
}

/// The table of this process, for one test at a time.
fn table() -> (MutexGuard<'static, ()>, PostgresTable) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock();
    let url = format!("table+{}", cluster::url());
    (turn, PostgresTable::connect(&url).expect("a server is there"))
}

#[test]
fn a_log_could_not_be_imported_into_the_table() {
    let payloads = [
        r#"{"z":1,"amount":2.50,"a":{"y":[1e3,-0.0,null],"x":"é \u00e9"}}"#,
        r#"{"id":"own","amount":7,"token":"t","note":"n"}"#,
        r#"[ 1,  "two" ]"#,
        r#""a text""#,
        "",
    ];
    let logged = |(number, data): (i64, &&str)| Logged {
        stream: format!("order-{}", number % 2),
        event_type: "Placed".to_owned(),
        correlation: if number % 2 == 0 { String::new() } else { "c".to_owned() },
        micros: 1_700_000_000_000_000 + number,
        data: data.as_bytes().to_vec(),
    };
    let events: Vec<Logged> = (0..).zip(payloads.iter().cycle().take(200)).map(logged).collect();
    let log = Log {
        path: "orders.jsonl".to_owned(),
        events: std::sync::Arc::new(events),
    };
    let (_turn, backend) = table();
    let run = run(&backend, &Workload::import(log).unwrap(), 5, &mut |_, _| true).unwrap();
    assert_eq!(run.loaded.recording.failed, 0, "{:?}", run.loaded.recording.failure);
    assert!(run.verdict.is_checked && run.verdict.is_clean(), "{:?}", run.verdict);
    assert_eq!(run.loaded.recording.ended, 200);
}

/// Appends an event to a stream of its own.
fn append_one(store: &dyn EventStore, stream: &str) {
    let event = NewEvent {
        event_type: "Placed",
        correlation: "",
        causation: "",
        micros: 0,
        data: br#"{"id":"x","amount":1,"token":"","note":""}"#,
    };
    store
        .append(stream, annals::Expected::NoStream, &[event])
        .expect("an event is appended");
}

/// The positions of the next events.
fn next(tail: &mut dyn Follow, wait: Duration) -> Vec<u64> {
    let mut positions = Vec::new();
    tail.next(10, wait, &mut |event| {
        positions.extend(event.position.map(|position| position.0));
    })
    .expect("the table can be read");
    positions
}

#[test]
fn a_reader_of_the_table_was_not_woken_by_its_trigger() {
    let (_turn, backend) = table();
    backend.wipe().unwrap();
    let store = backend.open().unwrap();
    let mut tail = store.follow(annals::Position(0)).unwrap().unwrap();
    assert_eq!(next(tail.as_mut(), Duration::ZERO), [0; 0]);
    std::thread::scope(|scope| {
        scope.spawn(|| append_one(store.as_ref(), "one"));
        // Far longer than a test may take.
        assert_eq!(next(tail.as_mut(), Duration::from_secs(3_600)), [1]);
    });
    drop(tail);
    backend.wipe().unwrap();
}

/// Ends the connections that listen.
fn end_listeners() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let work = async {
        let (client, connection) = tokio_postgres::connect(&cluster::url(), tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'";
        client.query(end, &[]).await
    };
    let ended = runtime.expect("a runtime starts").block_on(work);
    assert!(!ended.expect("the server answers").is_empty());
}

#[test]
fn events_were_missed_when_the_connection_that_listens_broke() {
    let (_turn, backend) = table();
    backend.wipe().unwrap();
    let store = backend.open().unwrap();
    let mut tail = store.follow(annals::Position(0)).unwrap().unwrap();
    end_listeners();
    append_one(store.as_ref(), "one");
    append_one(store.as_ref(), "two");
    assert_eq!(next(tail.as_mut(), Duration::from_millis(5)), [1, 2]);
    assert_eq!(next(tail.as_mut(), Duration::from_millis(5)), [0; 0]);
    append_one(store.as_ref(), "three");
    assert_eq!(next(tail.as_mut(), Duration::from_millis(5)), [3]);
    drop(tail);
    backend.wipe().unwrap();
}

fn redis(settings: &[&str]) -> Process {
    Process::start("redis-server", |port, folder| {
        let fixed = ["--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", ""];
        fixed.iter().chain(settings).map(ToString::to_string).collect()
    })
}

#[test]
fn redis_streams_are_verified() {
    let server = redis(&["--appendonly", "yes", "--appendfsync", "always"]);
    let backend = Redis::connect(&server.url("redis")).unwrap();
    assert_eq!(backend.description().durability, DurabilityClass::PowerSafe);
    verified_in_all(&backend);
}

/// What becomes of a run whose server is killed while it measures.
fn killed(server: Process, backend: &dyn Backend) -> String {
    let mut server = Some(server);
    let run = run(backend, &small("fan-out", &["readers.tails=1"]), 5, &mut |phase, _| {
        if phase == Phase::Measure {
            drop(server.take());
        }
        true
    });
    run.unwrap_err().to_string()
}

#[test]
fn redis_that_was_killed_was_a_store_that_loses_events() {
    let server = redis(&["--appendonly", "yes", "--appendfsync", "always"]);
    let backend = Redis::connect(&server.url("redis")).unwrap();
    let error = killed(server, &backend);
    assert!(error.contains("a reader that followed the log: "), "{error}");
}

#[test]
fn redis_that_does_not_wait_for_its_disk_was_called_safe() {
    for (settings, durability) in [
        (["--appendonly", "no"].as_slice(), DurabilityClass::Volatile),
        (
            &["--appendonly", "yes", "--appendfsync", "everysec"],
            DurabilityClass::Volatile,
        ),
        (
            &["--appendonly", "yes", "--appendfsync", "no"],
            DurabilityClass::ProcessCrashSafe,
        ),
    ] {
        let server = redis(settings);
        let description = Redis::connect(&server.url("redis")).unwrap().description();
        assert_eq!(description.durability, durability, "{settings:?}");
        assert!(
            description.settings.contains(settings.last().unwrap()),
            "{}",
            description.settings
        );
    }
}

fn nats_arguments(port: &str, folder: &str) -> Vec<String> {
    let arguments = ["-a", "127.0.0.1", "-p", port, "-js", "-sd", folder];
    arguments.map(str::to_owned).to_vec()
}

#[test]
fn nats_jetstream_is_verified_and_is_not_called_power_safe() {
    let server = Process::start("nats-server", nats_arguments);
    let backend = Nats::connect(&server.url("nats")).unwrap();
    assert_eq!(backend.description().durability, DurabilityClass::ProcessCrashSafe);
    verified_in_all(&backend);
    wholes_alone_are_stored(&backend);
}

#[test]
fn a_newer_nats_is_verified_with_batches_and_without() {
    let server = Process::start_at(&python::program("nats-server"), nats_arguments);
    let whole = Nats::connect(&format!("{}?append=message", server.url("nats"))).unwrap();
    assert!(whole.description().settings.ends_with("an append is a message"));
    verified_in_all(&whole);
    let backend = Nats::connect(&server.url("nats")).unwrap();
    assert!(backend.description().settings.ends_with("an append is a batch"));
    whole.wipe().unwrap();
    // Each batch costs the server about 20 ms, so these are few.
    verified(&backend, &small("append-small", &["data.batch=7", "data.streams=30"]));
    verified(&backend, &small("hot-stream", &["data.batch=2"]));
    wholes_alone_are_stored(&backend);
}

#[test]
fn annals_over_nats_jetstream_is_verified() {
    let server = Process::start_at(&python::program("nats-server"), nats_arguments);
    let backend = JetStream::connect(&server.url("annals+nats")).unwrap();
    assert_eq!(backend.description().durability, DurabilityClass::ProcessCrashSafe);
    verified_in_all(&backend);
    wholes_alone_are_stored(&backend);
}

/// Appends `count` events to the stream `s`.
fn append(store: &dyn EventStore, expected: Expected, count: usize) -> Result<Version, StoreError> {
    let event = NewEvent {
        event_type: "Counted",
        correlation: "",
        causation: "",
        micros: 0,
        data: br#"{"number":1}"#,
    };
    store.append("s", expected, &vec![event; count])
}

/// An append of several events that is refused, or is too large for a batch, is stored as none or all.
fn wholes_alone_are_stored(backend: &dyn Backend) {
    backend.wipe().unwrap();
    let store = backend.open().unwrap();
    let store = store.as_ref();
    assert_eq!(append(store, Expected::NoStream, 3), Ok(Version(1)));
    for stale in [
        Expected::NoStream,
        Expected::Exactly(Version(1)),
        Expected::Exactly(Version(4)),
    ] {
        assert_eq!(append(store, stale, 2), Err(StoreError::Conflict), "{stale:?}");
    }
    assert_eq!(append(store, Expected::Exactly(Version(3)), 2), Ok(Version(4)));
    assert_eq!(append(store, Expected::StreamExists, 1_001), Ok(Version(6)));
    let mut versions = Vec::new();
    store
        .read_stream("s", Version(0), &mut |event| versions.push(event.version.0))
        .unwrap();
    assert_eq!(versions, (1..=1_006).collect::<Vec<_>>());
    let mut later = Vec::new();
    store
        .read_stream("s", Version(1_004), &mut |event| later.push(event.version.0))
        .unwrap();
    assert_eq!(later, [1_005, 1_006]);
    let (mut count, mut last) = (0, Position(0));
    let mut look = |event: annals_bench::StoredEvent<'_>| {
        count += 1;
        assert!(event.position > Some(last));
        last = event.position.unwrap();
    };
    store.read_log(Position(0), 2_000, &mut look).unwrap();
    assert_eq!(count, 1_006);
    drop(backend.wipe());
}

#[test]
fn umadb_is_verified() {
    let server = Process::start_at(&python::program("umadb"), |port, folder| {
        let (listen, file) = (format!("127.0.0.1:{port}"), format!("{folder}/uma.db"));
        let arguments = ["--listen", &listen, "--db-path", &file];
        arguments.map(str::to_owned).to_vec()
    });
    let backend = UmaDb::connect(&server.url("umadb")).unwrap();
    let description = backend.description();
    assert_eq!(
        (description.durability, description.batch_unit, description.check),
        (
            DurabilityClass::PowerSafe,
            BatchUnit::Append,
            ConsistencyCheck::StreamVersion
        )
    );
    verified_in_all(&backend);
    wholes_alone_are_stored(&backend);
}

/// No `KurrentDB` can be installed from the package indexes that these tests use.
#[test]
fn a_given_kurrentdb_is_verified() {
    if let Ok(url) = std::env::var("ANNALS_TEST_KURRENTDB_URL") {
        let backend = KurrentDb::connect(&url).unwrap();
        verified_in_all(&backend);
        wholes_alone_are_stored(&backend);
    }
}

/// A server of the HTTP API, on a thread that ends with the process of the test.
fn http(store: Store) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = annals_server::Server::builder(store).build().unwrap();
    std::thread::spawn(move || {
        let (_stop, stopped) = annals_server::stop_signal();
        server.run(listener, stopped, std::time::Duration::ZERO)
    });
    url
}

#[test]
fn a_server_of_the_http_api_is_verified() {
    let backend = Http::connect(&http(Store::in_memory())).unwrap();
    assert_eq!(backend.description().durability, DurabilityClass::Volatile);
    verified_in_all(&backend);
}

#[test]
fn a_durable_server_is_asked_to_sync_and_its_other_events_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = annals::StoreUrl::of_folder(folder.path())
        .open(Store::builder())
        .unwrap();
    let event = annals::NewEvent::new("Kept");
    store
        .append(
            &annals::StreamId::new("Other", "other-1"),
            annals::Expected::NoStream,
            vec![event],
        )
        .unwrap();
    let backend = Http::connect(&http(store.clone())).unwrap();
    assert_eq!(backend.description().durability, DurabilityClass::PowerSafe);
    verified(&backend, &small("append-small", &["phases.operations_max=100"]));
    let mut count = 0;
    store.read_stream("other-1").for_each(|_| count += 1);
    assert_eq!(count, 1);
}

/// Appends `count` events that are of no run.
fn append_foreign(store: &Store, count: u32) {
    let events: Vec<_> = (0..count).map(|_| annals::NewEvent::new("Foreign")).collect();
    let stream = annals::StreamId::new("Other", "other-1");
    store.append(&stream, annals::Expected::Any, events).unwrap();
}

#[test]
fn a_thousand_foreign_events_stopped_a_reader() {
    let store = Store::in_memory();
    let backend = Http::connect(&http(store.clone())).unwrap();
    append_foreign(&store, 1_500);
    let workload = small("fan-out", &["readers.tails=2", "load.workers=1", "load.rate=400"]);
    let mut phases = 0;
    let run = run(&backend, &workload, 5, &mut |phase, _| {
        if phase == Phase::Measure && phases < 2 {
            append_foreign(&store, 1_100);
            phases += 1;
        }
        true
    })
    .unwrap();
    assert!(run.verdict.is_clean(), "{:?}", run.verdict);
    let seen = run.seen.unwrap();
    assert_eq!(seen.after.count(), 2 * run.loaded.recording.ended);
    // Those from before the run are in no page of it.
    assert_eq!(seen.foreign, 1_100 * phases);
}

#[test]
fn what_a_server_had_before_was_lost_when_a_client_was_killed() {
    let store = Store::in_memory();
    append_foreign(&store, 10);
    let backend = Http::connect(&http(store)).unwrap();
    let killed = small("recover", &["data.streams=5", "recover.kill_after_ms=100"]);
    let run = run_and_kill(&backend, &killed, 5, &program(), &mut |_, _| true).unwrap();
    assert!(run.verdict.is_clean(), "{:?}", run.verdict);
    assert_eq!(run.recovery.unwrap().lost, 0);
}

#[test]
fn a_password_was_kept_in_a_result() {
    for url in [
        "redis://:secret@127.0.0.1:1",
        "nats://user:secret@127.0.0.1:1",
        "umadb://user:secret@127.0.0.1:1",
        "kurrentdb://user:secret@127.0.0.1:1",
        "table+postgres://user:secret@127.0.0.1:1/x",
    ] {
        let error = named(url, std::path::Path::new("")).unwrap_err().to_string();
        assert!(error.contains("password") && !error.contains("secret"), "{error}");
    }
    assert!(SERVERS.iter().all(|server| server.is_built_in && is_named(server.url)));
    assert!(!is_named("memcached://x"));
}

#[test]
fn a_process_that_cannot_open_the_store_was_waited_for() {
    let backend = Http::connect(&http(Store::in_memory())).unwrap();
    let workload = small("append-small", &["load.processes=2"]);
    let missing = Program {
        path: "/nowhere/annals".into(),
        arguments: Vec::new(),
    };
    // A program that says nothing and ends.
    let silent = Program {
        path: "/bin/true".into(),
        arguments: Vec::new(),
    };
    for program in [missing, silent] {
        let failed = run_shared(&backend, &workload, 5, &program, &mut |_, _| true);
        let error = failed.unwrap_err().to_string();
        assert!(error.contains("a process that shares the load"), "{error}");
    }
    let stopped = run_shared(&backend, &workload, 5, &program(), &mut |phase, _| {
        phase != Phase::Measure
    });
    assert_eq!(stopped.err(), Some(RunError::Stopped));
}
