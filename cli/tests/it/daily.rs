//! The daily work of `serve`: archives and verification while the store is open.

#![cfg(unix)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::serve::Served;
use crate::support::{Folder, ask, import, program, run};

/// Starts a server with daily work on the store at `url`.
fn serve(url: &Path, options: &[&str]) -> Served {
    let store = ["--store", url.to_str().unwrap(), "serve"];
    Served::start(&[&store, options].concat())
}

/// Reads the metrics until `is_there`.
fn metrics(served: &Served, is_there: impl Fn(&str) -> bool) -> String {
    let began = Instant::now();
    loop {
        let (status, text) = served.send("GET", "/metrics", "").unwrap();
        assert_eq!(status, 200, "{text}");
        if is_there(&text) {
            return text;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{text}");
        std::thread::yield_now();
    }
}

/// The value of a metric.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

fn count(url: &Path, options: &[&str]) -> u64 {
    let arguments = [options, &["stats", "--format", "json"]].concat();
    let stats: Value = serde_json::from_str(&ask(url, &arguments).ok()).unwrap();
    stats["total"].as_u64().unwrap()
}

#[test]
fn old_events_are_archived_and_files_verified_while_they_are_served() {
    let folder = Folder::new();
    let (url, archives) = (folder.url("orders"), folder.path("archives"));
    import(&url, &folder.demo());
    let before = count(&url, &[]);
    let to = archives.to_str().unwrap();
    let served = serve(&url, &["--archive-after", "1d", "--archive-to", to, "--verify-daily"]);
    let archive = "event_store_last_archive_timestamp_seconds";
    let text = metrics(&served, |text| value(text, archive) > 0.0);
    let verified = value(&text, "event_store_last_verification_timestamp_seconds");
    assert!(verified > 0.0 && verified <= value(&text, archive), "{text}");
    for work in ["archive", "verification"] {
        let failures = format!("event_store_daily_failures_total{{work=\"{work}\"}}");
        assert!(value(&text, &failures) <= 0.0, "{text}");
    }
    assert!(served.append().is_some());
    let ended = served.end("-TERM");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(count(&url, &[]), 1);

    let made: Vec<_> = std::fs::read_dir(&archives).unwrap().collect();
    let [Ok(made)] = &made[..] else { panic!("{made:?}") };
    let made = made.path();
    assert_eq!(count(&url, &["--attach", made.to_str().unwrap()]), before + 1);
}

#[test]
fn an_archive_that_cannot_be_written_leaves_the_events_and_the_server() {
    let folder = Folder::new();
    let (url, file) = (folder.url("orders"), folder.file("taken", "a file"));
    import(&url, &folder.demo());
    let before = count(&url, &[]);
    let served = serve(&url, &["--archive-after", "1d", "--archive-to", file.to_str().unwrap()]);
    let failures = "event_store_daily_failures_total{work=\"archive\"}";
    let text = metrics(&served, |text| value(text, failures) > 0.0);
    assert!(
        value(&text, "event_store_last_archive_timestamp_seconds") <= 0.0,
        "{text}"
    );
    assert!(served.append().is_some());
    let ended = served.end("-TERM");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("daily work failed"), "{}", ended.stderr);
    assert_eq!(count(&url, &[]), before + 1);
}

#[test]
fn daily_work_that_the_store_does_not_fit_is_refused() {
    let folder = Folder::new();
    let to = folder.path("archives");
    let archives = ["--archive-after", "1d", "--archive-to", to.to_str().unwrap()];
    for options in [&archives[..], &["--verify-daily"]] {
        let refused = run(program().arg("serve").args(options).args(["--port", "0"]));
        assert!(refused.failed(2).contains("--store file:DIR"));
    }
    for age in ["0d", "-1d", "1", "d", "2026-01-31"] {
        let refused = run(program()
            .args(["serve", "--archive-after", age, "--archive-to"])
            .arg(&to));
        refused.failed(2);
    }
    assert!(!to.exists());
}
