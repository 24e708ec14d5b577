//! `annals bench`: results, comparisons and their exit codes.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Folder, Ran, line, program, run};

/// Options for a short run.
const SHORT: [&str; 8] = [
    "--duration",
    "40ms",
    "--warmup",
    "20ms",
    "--repeat",
    "3",
    "--set",
    "phases.operations_max=2000",
];

fn bench(arguments: &[&str]) -> Command {
    let mut command = program();
    command.arg("bench").args(arguments);
    command
}

/// Measures `backends` into the folder `name`.
fn measured(folder: &Folder, name: &str, backends: &str, more: &[&str]) -> Ran {
    let arguments = ["run", "--backends", backends];
    run(bench(&arguments)
        .args(SHORT)
        .args(more)
        .arg("--out")
        .arg(folder.path(name)))
}

fn compared(folder: &Folder, before: &str, after: &str, more: &[&str]) -> Ran {
    run(bench(&["compare"])
        .arg(folder.path(before))
        .arg(folder.path(after))
        .args(more))
}

/// Changes the figures of a result.
fn change(folder: &Folder, name: &str, change: impl Fn(&mut serde_json::Value)) {
    let path = folder.path(name).join("summary.json");
    let mut summary = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut summary);
    fs::write(path, summary.to_string()).unwrap();
}

/// Makes a figure five times worse.
fn slow_down(figure: &mut serde_json::Value) {
    let is_rate = figure[0].as_str().unwrap().ends_with("PerSecond");
    let factor = if is_rate { 0.2 } else { 5.0 };
    for key in ["value", "low", "high"] {
        figure[1][key] = (figure[1][key].as_f64().unwrap() * factor).into();
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_run_shows_each_row_and_writes_its_files() {
    let folder = Folder::new();
    let shown = measured(&folder, "result", "memory,file-written,naive,null", &[]).ok();
    for text in [
        "quick/saturate",
        "quick/open",
        "process-crash-safe",
        "verified",
        "unchecked",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let names = files(&folder.path("result"));
    assert_eq!(
        names.iter().filter(|name| name.contains(".hlog")).count(),
        8,
        "{names:?}"
    );
    for name in [
        "manifest.json",
        "report.html",
        "summary.csv",
        "summary.json",
        "timeseries.csv",
    ] {
        assert!(names.iter().any(|own| own == name), "{names:?}");
    }
    assert_eq!(names.len(), 13, "the data of backends was left: {names:?}");
    let again = measured(&folder, "result", "memory", &[]).failed(1);
    assert!(again.contains("holds files"), "{again}");
}

#[cfg(all(unix, feature = "bench-peers"))]
#[test]
fn what_a_store_prints_is_not_in_the_result() {
    let folder = Folder::new();
    let csv = measured(
        &folder,
        "result",
        "cqrs-es",
        &["--set", "load.workers=1", "--format", "csv"],
    )
    .ok();
    assert!(csv.starts_with("workload,backend,"), "{csv}");
    assert!(csv.contains("cqrs-es") && !csv.contains("storing"), "{csv}");
}

#[test]
fn formats_for_programs_have_every_figure() {
    let folder = Folder::new();
    let csv = measured(&folder, "result", "null", &["--format", "csv"]).ok();
    let header = csv.lines().next().unwrap();
    assert!(
        header.starts_with("workload,backend,durability,mode,status,events/s"),
        "{header}"
    );
    assert_eq!(csv.lines().count(), 3);
    let list = run(&mut bench(&["list", "--format", "json"])).ok();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert!(list.as_array().unwrap().len() > 15);
}

#[test]
fn the_report_needs_nothing_else_and_trusts_no_text() {
    let folder = Folder::new();
    // The name has a slash.
    fs::create_dir_all(folder.path("result</title><script>alert(1)<").parent().unwrap()).unwrap();
    measured(&folder, "result</title><script>alert(1)<", "memory", &["--seed", "7"]).ok();
    let report = fs::read_to_string(folder.path("result</title><script>alert(1)<").join("report.html")).unwrap();
    for forbidden in ["<script", "http:", "https:", " src=", "<link", "url(", "@import"] {
        assert!(!report.contains(forbidden), "{forbidden}");
    }
    for text in ["<svg", "prefers-color-scheme: dark", "@media print", "&lt;script&gt;"] {
        assert!(report.contains(text), "{text}");
    }
    assert_eq!(
        report.matches("<figure>").count(),
        report.matches("<summary>data</summary>").count()
    );
}

#[test]
fn the_same_result_is_the_same_and_another_is_not_let_through() {
    let folder = Folder::new();
    measured(&folder, "before", "memory", &[]).ok();
    let shown = compared(&folder, "before", "before", &[]).ok();
    assert!(shown.contains("same within noise"), "{shown}");
    let copy = |name: &str| {
        fs::create_dir(folder.path(name)).unwrap();
        for file in ["manifest.json", "summary.json"] {
            fs::copy(folder.path("before").join(file), folder.path(name).join(file)).unwrap();
        }
    };
    copy("slower");
    change(&folder, "slower", |summary| {
        let rows = summary["rows"].as_array_mut().unwrap().iter_mut();
        rows.flat_map(|row| row["figures"].as_array_mut().unwrap())
            .for_each(slow_down);
    });
    assert!(compared(&folder, "before", "slower", &[]).failed(5).contains("worse"));
    copy("fewer");
    change(&folder, "fewer", |summary| {
        drop(summary["rows"].as_array_mut().unwrap().pop());
    });
    assert!(compared(&folder, "before", "fewer", &[]).failed(7).contains("missing"));
    copy("empty");
    fs::write(folder.path("empty").join("summary.json"), "").unwrap();
    compared(&folder, "before", "empty", &[]).failed(3);
    copy("red");
    change(&folder, "red", |summary| {
        summary["rows"][0]["violations"] = serde_json::json!([{"rule": "nothing-lost", "count": 1, "examples": ["x"]}]);
    });
    assert!(compared(&folder, "red", "before", &[]).failed(6).contains("is wrong"));
    compared(&folder, "before", "absent", &[]).failed(4);
}

#[test]
fn unlike_durability_is_compared_only_with_a_banner() {
    let folder = Folder::new();
    measured(&folder, "memory", "memory", &[]).ok();
    measured(&folder, "file", "file-written", &[]).ok();
    let refused = compared(&folder, "memory", "file", &[]).failed(7);
    assert!(
        refused.contains("the durability differs, volatile and process-crash-safe"),
        "{refused}"
    );
    let shown = compared(&folder, "memory", "file", &["--allow-unlike"]);
    assert!(shown.stderr.contains("THESE RESULTS ARE UNLIKE"), "{}", shown.stderr);
    assert!(shown.stdout.contains("memory → file-written"), "{}", shown.stdout);
}

#[test]
fn a_rerun_measures_what_the_manifest_says() {
    let folder = Folder::new();
    measured(&folder, "first", "naive", &["--seed", "99", "--rate", "500"]).ok();
    run(bench(&["rerun"])
        .arg(folder.path("first"))
        .arg("--out")
        .arg(folder.path("second")))
    .ok();
    let manifest = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(folder.path(name).join("manifest.json")).unwrap()).unwrap()
    };
    let (first, second) = (manifest("first"), manifest("second"));
    for key in ["seed", "backends", "workloads", "machine"] {
        assert_eq!(first[key], second[key], "{key}");
    }
    assert_eq!(first["seed"], 99);
    let report = folder.path("second").join("report.html");
    let text = fs::read(&report).unwrap();
    fs::remove_file(&report).unwrap();
    run(bench(&["report"]).arg(folder.path("second"))).ok();
    assert_eq!(fs::read(&report).unwrap(), text);
}

#[test]
fn a_recorded_log_is_a_workload_and_can_be_appended_itself() {
    let folder = Folder::new();
    let lines: String = (0..300)
        .map(|number| line(&format!("order-{}", number % 7), "Placed", "") + "\n")
        .collect();
    let log = folder.file("orders.jsonl", lines);
    let workload = run(bench(&["record", "--name", "orders"]).arg(&log)).ok();
    assert!(
        workload.contains("streams = 7") && !workload.contains("order-"),
        "{workload}"
    );
    let file = folder.file("orders.toml", workload);
    let file = file.to_str().unwrap();
    let shown = measured(&folder, "recorded", "memory", &["--workload", file]).ok();
    assert!(shown.contains("orders") && !shown.contains("WRONG"), "{shown}");
    let shown = measured(
        &folder,
        "imported",
        "memory,naive",
        &["--import", log.to_str().unwrap()],
    )
    .ok();
    assert!(shown.contains("import") && shown.contains("verified"), "{shown}");
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("imported").join("summary.json")).unwrap()).unwrap();
    for row in summary["rows"].as_array().unwrap() {
        assert_eq!((&row["operations"], &row["failed"]), (&900.into(), &0.into()), "{row}");
    }
    run(bench(&["rerun"])
        .arg(folder.path("imported"))
        .arg("--out")
        .arg(folder.path("again")))
    .ok();
}

#[cfg(feature = "serve")]
#[test]
fn a_live_store_could_not_be_recorded() {
    let folder = Folder::new();
    let lines: String = (0..30)
        .map(|number| line(&format!("order-{}", number % 3), "Placed", "") + "\n")
        .collect();
    let log = folder.file("orders.jsonl", lines).display().to_string();
    let served = crate::serve::Served::start(&["serve", "--store", &log]);
    let url = format!("http://{}", served.address);
    let workload = run(&mut bench(&["record", &url])).ok();
    assert!(workload.contains("30 events in 3 streams"), "{workload}");
    drop(served.end("-TERM"));
}

#[test]
fn a_sweep_rises_until_a_backend_is_overloaded_and_find_max_finds_the_rate() {
    let folder = Folder::new();
    let sweep = bench(&["sweep", "--backends", "null", "--rates", "2000,500,1000"])
        .args(SHORT)
        .arg("--out")
        .arg(folder.path("sweep"))
        .output()
        .unwrap();
    let shown = String::from_utf8(sweep.stdout).unwrap();
    let order: Vec<usize> = ["quick/500", "quick/1000", "quick/2000"]
        .map(|name| shown.find(name).unwrap())
        .into();
    assert!(order.is_sorted(), "{shown}");
    let arguments = [
        "find-max",
        "--backends",
        "null",
        "--limit",
        "p50<10s",
        "--format",
        "json",
    ];
    let more = ["--start", "5000", "--set", "phases.drain_ms=20"];
    let found = bench(&arguments)
        .args(SHORT)
        .args(more)
        .arg("--data")
        .arg(folder.path("data"))
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found[0]["limit"], "p50 < 10s");
    assert!(
        found[0]["holds at"].is_number() || found[0]["not at"].is_number(),
        "{found}"
    );
    assert_eq!(files(&folder.path("data")), Vec::<String>::new());
}

#[test]
fn runs_of_a_backend_that_keeps_nothing_were_called_verified() {
    let folder = Folder::new();
    let said = |backend: &str| {
        let arguments = [
            "find-max",
            "--backends",
            backend,
            "--limit",
            "p50<10s",
            "--start",
            "5000",
        ];
        let mut command = bench(&arguments);
        let command = command.args(SHORT).args(["--set", "phases.drain_ms=20", "--data"]);
        let found = command.arg(folder.path("data")).output().unwrap();
        [found.stdout, found.stderr]
            .map(|text| String::from_utf8(text).unwrap())
            .concat()
    };
    let all = "every run was verified";
    let some = "every run was verified but those of a backend that keeps nothing";
    let null = said("null");
    assert!(null.contains(some), "{null}");
    let naive = said("naive");
    assert!(naive.contains(all) && !naive.contains(some), "{naive}");
}

/// A workload with a goal that no backend reaches, and `rate`.
fn with_goal(folder: &Folder, rate: u32, metric: &str) -> String {
    let text = format!(
        "name = \"goal\"\n[load]\nmode = \"open\"\nworkers = 1\nrate = {rate}\n[mix]\ncreate = 1\n\
         [phases]\nwarmup_ms = 0\nmeasure_ms = 20\ndrain_ms = 1\nrepeats = 1\n\
         [[goals]]\nname = \"goal\"\n{metric}\n"
    );
    let file = folder.file(&format!("goal-{rate}.toml"), text);
    file.to_str().unwrap().to_owned()
}

#[test]
fn an_overloaded_row_that_missed_its_goal_passed() {
    let folder = Folder::new();
    let goal = "metric = \"events_per_second\"\nat_least = 1000000000000";
    let file = with_goal(&folder, 10_000_000, goal);
    let arguments = ["run", "--backends", "null", "--workload", &file];
    let ran = run(bench(&arguments).arg("--out").arg(folder.path("result")));
    assert!(ran.stdout.contains("OVERLOADED"), "{}", ran.stdout);
    assert!(ran.failed(6).contains("1 row missed a goal"));
}

#[test]
fn a_goal_that_could_not_be_judged_passed() {
    let folder = Folder::new();
    let file = with_goal(&folder, 500, "metric = \"response_p99_ms\"\nat_most = 50");
    let arguments = ["run", "--backends", "null", "--workload", &file];
    let told = run(bench(&arguments).arg("--out").arg(folder.path("result"))).failed(7);
    assert!(told.contains("measured too little for a goal"), "{told}");
}

#[test]
fn a_row_that_was_not_measured_passed() {
    let folder = Folder::new();
    let told = measured(&folder, "result", "naive", &["--workload", "query-mix"]).failed(7);
    assert!(told.contains("this backend has no queries"), "{told}");
}

#[test]
fn conflicts_explain_a_rate() {
    let folder = Folder::new();
    let file = folder.file(
        "refused.toml",
        "name = \"refused\"\n[data]\nstreams = 1\n[load]\nworkers = 8\n[mix]\ncycle = 1",
    );
    let shown = measured(
        &folder,
        "result",
        "file-written",
        &["--workload", file.to_str().unwrap()],
    )
    .ok();
    assert!(shown.contains("were refused by a conflict"), "{shown}");
}

#[test]
fn what_is_misspelled_is_refused() {
    let folder = Folder::new();
    for (more, told) in [
        (["--workload", "quik"], "there is no workload 'quik'"),
        (["--set", "load.wrkers=2"], "wrkers"),
        (
            ["--set", "load.workers=0"],
            "load.workers is 0, but must be from 1 to 1024",
        ),
        (["--duration", "soon"], "write a time such as 500ms"),
    ] {
        let out = folder.path("refused");
        let message = run(bench(&["run"]).args(more).arg("--out").arg(out)).failed(2);
        assert!(message.contains(told), "{message}");
    }
    for backends in ["memroy", "memory,memory"] {
        assert!(
            measured(&folder, "refused", backends, &[])
                .failed(2)
                .contains("backend")
        );
    }
    assert!(!folder.path("refused").exists());
    let file = folder.file("bad.toml", "name = 7");
    measured(&folder, "refused", "memory", &["--workload", file.to_str().unwrap()]).failed(3);
}

#[cfg(feature = "postgres")]
#[test]
fn a_result_of_nothing_was_left() {
    let folder = Folder::new();
    let url = "postgres://user@127.0.0.1:1/absent?connect_timeout=1";
    for command in ["run", "sweep"] {
        let out = folder.path("result");
        let failed = run(bench(&[command, "--backends", url]).arg("--out").arg(&out));
        assert_eq!(failed.code, 1, "{}", failed.stderr);
        assert!(!out.exists());
    }
}

#[test]
fn the_program_itself_is_killed_and_its_store_opened_again() {
    let folder = Folder::new();
    let more = ["--workload", "recover", "--set", "recover.kill_after_ms=100"];
    let ran = run(bench(&[
        "run",
        "--backends",
        "file-written,naive,null",
        "--repeat",
        "1",
        "--set",
        "data.streams=50",
    ])
    .args(more)
    .arg("--out")
    .arg(folder.path("result")));
    // The row of `null`, which stores no events, is not measured.
    assert_eq!(ran.code, 7, "{}", ran.stderr);
    let told = ran.stdout + &ran.stderr;
    assert!(told.contains("recover on file-written: opened "), "{}", told);
    assert!(told.contains("acknowledged events, 0 were lost"), "{}", told);
    assert!(
        told.contains("recover on naive: its durability, volatile, permits that"),
        "{}",
        told
    );
    assert!(told.contains("keeps nothing that could be lost"), "{}", told);
    let report = fs::read_to_string(folder.path("result").join("report.html")).unwrap();
    assert!(report.contains("Readers and recovery"));
}

#[test]
fn a_sweep_by_threads_draws_throughput() {
    let folder = Folder::new();
    let shown = run(bench(&["sweep", "--threads", "2,1", "--backends", "memory"])
        .args(SHORT)
        .arg("--out")
        .arg(folder.path("result")))
    .ok();
    let place = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{shown}"));
    assert!(place("quick/1 thread") < place("quick/2 threads"));
    let report = fs::read_to_string(folder.path("result").join("report.html")).unwrap();
    assert!(report.contains("Throughput by threads"));
    let both = run(&mut bench(&["sweep", "--threads", "1", "--rates", "5"]));
    assert_eq!(both.code, 2, "{}", both.stderr);
}

#[cfg(all(unix, feature = "bench-servers", feature = "serve"))]
#[test]
fn a_sweep_by_processes_shares_a_server_and_can_be_repeated() {
    let folder = Folder::new();
    let served = crate::serve::Served::start(&["serve"]);
    let url = format!("http://{}", served.address);
    let sweep = ["sweep", "--processes", "2,1", "--backends", &url];
    let shown = run(bench(&sweep).args(SHORT).arg("--out").arg(folder.path("result"))).ok();
    let place = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{shown}"));
    assert!(place("quick/1 process") < place("quick/2 processes"));
    assert_eq!(shown.matches("verified").count(), 2, "{shown}");
    let report = fs::read_to_string(folder.path("result").join("report.html")).unwrap();
    assert!(report.contains("Throughput by processes") && !report.contains("Throughput by threads"));
    let again = run(bench(&["rerun"])
        .arg(folder.path("result"))
        .arg("--out")
        .arg(folder.path("again")))
    .ok();
    assert!(again.contains("quick/2 processes"), "{again}");
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("again").join("summary.json")).unwrap()).unwrap();
    let rows = summary["rows"].as_array().unwrap();
    let processes: Vec<u64> = rows.iter().map(|row| row["processes"].as_u64().unwrap()).collect();
    assert_eq!(processes, [1, 2]);
    drop(served.end("-TERM"));
}

#[test]
fn processes_shared_what_is_in_the_memory_of_one() {
    let folder = Folder::new();
    for (backends, why) in [
        ("memory", "memory of one process"),
        ("file-written", "one process alone can write to its files"),
    ] {
        let sweep = ["sweep", "--processes", "1,2", "--backends", backends];
        let told = run(bench(&sweep).arg("--out").arg(folder.path("result"))).failed(2);
        assert!(told.contains(why) && told.contains("a server by its URL"), "{told}");
        assert!(!folder.path("result").exists());
    }
    for processes in ["0", "65"] {
        run(&mut bench(&["sweep", "--processes", processes, "--backends", "null"])).failed(2);
    }
    run(&mut bench(&["sweep", "--processes", "1", "--threads", "1"])).failed(2);
}

#[test]
fn a_backend_that_cannot_let_events_expire_did_not_say_so() {
    let folder = Folder::new();
    let more = [
        "--workload",
        "session-burst",
        "--set",
        "data.time_to_live_ms=100",
        "--set",
        "load.rate=900",
    ];
    let ran = measured(&folder, "result", "naive,memory", &more);
    let told = ran.stdout.clone() + &ran.stderr;
    assert!(
        told.contains("session-burst on naive: this backend cannot let events expire after 100 ms"),
        "{told}"
    );
    assert!(
        told.contains("acknowledged events were older than 100 ms, and gone"),
        "{told}"
    );
    ran.ok();
}

#[test]
fn a_goal_that_a_backend_cannot_measure_passed() {
    let folder = Folder::new();
    let file = with_goal(&folder, 500, "metric = \"traced_percent\"\nat_least = 100");
    let ran = |backend: &str, name: &str| {
        let arguments = ["run", "--backends", backend, "--workload", &file];
        run(bench(&arguments).arg("--out").arg(folder.path(name)))
    };
    let unmeasured = ran("naive", "naive");
    assert!(unmeasured.stdout.contains("not measured"), "{}", unmeasured.stdout);
    let told = unmeasured.failed(7);
    assert!(
        told.contains("has a goal that cannot be measured on its backend"),
        "{told}"
    );
    assert!(ran("memory", "memory").ok().contains("pass"));
}

#[test]
fn a_shared_result_named_the_folder_of_the_program() {
    let folder = Folder::new();
    measured(&folder, "result", "null", &[]).ok();
    let manifest = fs::read(folder.path("result").join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        (&manifest["command"][0], &manifest["command"][1]),
        (&"annals".into(), &"bench".into())
    );
}
