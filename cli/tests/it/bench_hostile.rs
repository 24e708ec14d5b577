//! `annals bench` and results that were changed by hand.

use std::fs;

use crate::support::{Folder, Ran, program, run};

fn bench(arguments: &[&str], folder: &Folder) -> Ran {
    run(program().arg("bench").args(arguments).arg(folder.path("result")))
}

/// A short result in the folder `result`.
fn measured(folder: &Folder) {
    let options = ["bench", "run", "--backends", "null", "--duration", "20ms"];
    let more = ["--warmup", "0ms", "--repeat", "3", "--set", "phases.operations_max=500"];
    run(program()
        .args(options)
        .args(more)
        .arg("--out")
        .arg(folder.path("result")))
    .ok();
}

/// Changes a file of the result.
fn change(folder: &Folder, name: &str, change: impl Fn(&mut serde_json::Value)) {
    let path = folder.path("result").join(name);
    let mut document = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut document);
    fs::write(path, document.to_string()).unwrap();
}

#[test]
fn a_rerun_measured_a_workload_out_of_its_bounds() {
    for (pointer, value) in [
        ("/workloads/0/load/workers", 4_000_000_000_u64),
        ("/workloads/0/load/processes", 4_000_000_000),
        ("/workloads/0/payload/bytes_p99", 4_000_000_000),
        ("/workloads/0/phases/measure_ms", u64::MAX),
    ] {
        let folder = Folder::new();
        measured(&folder);
        change(&folder, "manifest.json", |manifest| {
            manifest["workloads"][0]["variants"] = serde_json::json!([]);
            *manifest.pointer_mut(pointer).unwrap() = value.into();
        });
        let out = folder.path("again");
        let refused = bench(&["rerun", "--out", &out.display().to_string()], &folder).failed(3);
        assert!(
            refused.contains("manifest.json") && refused.contains("must be from"),
            "{refused}"
        );
        assert!(!out.exists());
    }
}

#[test]
fn a_rerun_of_nothing_was_a_success() {
    for key in ["workloads", "backends"] {
        let folder = Folder::new();
        measured(&folder);
        change(&folder, "manifest.json", |manifest| {
            manifest[key] = serde_json::json!([]);
        });
        let out = folder.path("again");
        let refused = bench(&["rerun", "--out", &out.display().to_string()], &folder).failed(3);
        assert!(refused.contains("names no workload, or no backend"), "{refused}");
    }
}

#[cfg(unix)]
#[test]
fn a_report_overwrote_a_file_that_its_name_led_to() {
    let folder = Folder::new();
    measured(&folder);
    let (report, other) = (folder.path("result").join("report.html"), folder.file("other", "kept"));
    fs::remove_file(&report).unwrap();
    std::os::unix::fs::symlink(&other, &report).unwrap();
    bench(&["report"], &folder).ok();
    assert_eq!(fs::read_to_string(&other).unwrap(), "kept");
    assert!(fs::read_to_string(&report).unwrap().starts_with("<!doctype html>"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_in_a_result_was_waited_for() {
    let folder = Folder::new();
    measured(&folder);
    let manifest = folder.path("result").join("manifest.json");
    fs::remove_file(&manifest).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &manifest,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    let refused = bench(&["report"], &folder).failed(3);
    assert!(refused.contains("it is no file"), "{refused}");
}

#[test]
fn two_rows_of_one_name_were_measured() {
    let folder = Folder::new();
    for options in [
        &["run", "--workload", "quick", "--workload", "quick"][..],
        &["sweep", "--rates", "100,100"],
        &["sweep", "--threads", "1,2,1"],
    ] {
        let refused = bench(&[options, &["--backends", "null", "--out"]].concat(), &folder).failed(2);
        assert!(refused.contains("two workloads are called"), "{refused}");
        assert!(!folder.path("result").exists());
    }
}

#[cfg(all(feature = "serve", feature = "bench-servers"))]
#[test]
fn two_servers_of_one_kind_had_one_name() {
    let folder = Folder::new();
    let servers = [(); 2].map(|()| crate::serve::Served::start(&["serve"]));
    let urls = servers.each_ref().map(|served| format!("http://{}", served.address));
    let options = ["bench", "run", "--duration", "20ms", "--warmup", "0ms", "--repeat", "3"];
    let more = [
        "--set",
        "phases.operations_max=50",
        "--backends",
        &urls.join(","),
        "--out",
    ];
    run(program().args(options).args(more).arg(folder.path("result"))).ok();
    let summary = fs::read_to_string(folder.path("result").join("summary.csv")).unwrap();
    for served in &servers {
        assert!(summary.contains(&format!(",http {},", served.address)), "{summary}");
    }
    let result = folder.path("result").display().to_string();
    bench(&["compare", &result], &folder).ok();
    drop(servers.map(|served| served.end("-TERM")));
}
