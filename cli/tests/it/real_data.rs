//! Real logs, if their folder exists. The expected figures are from their publishers, or counted by another program.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Folder, ask, import};

/// The statistics of a real log, if it exists in `ANNALS_REAL_DATA` or beside the workspace.
fn statistics(name: &str) -> Option<Value> {
    let text = ask(&log(name)?, &["stats", "--format", "json"]).ok();
    Some(serde_json::from_str(&text).unwrap())
}

/// A real log, if it exists.
fn log(name: &str) -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("ANNALS_REAL_DATA").map_or(beside, PathBuf::from);
    let path = folder.join(name);
    path.exists().then_some(path)
}

/// Compares the values at JSON pointers.
fn check(name: &str, expected: &[(&str, Value)]) {
    let Some(statistics) = statistics(name) else { return };
    for (pointer, value) in expected {
        assert_eq!(statistics.pointer(pointer), Some(value), "{name}: {pointer}");
    }
}

#[test]
fn loans() {
    check(
        "bpic2012.jsonl.gz",
        &[
            ("/total", 262_200.into()),
            ("/aggregates", 13_087.into()),
            ("/eventTypeCount", 24.into()),
            ("/users", 68.into()),
            ("/days", 167.into()),
            ("/firstDay", "2011-09-30".into()),
            ("/lastDay", "2012-03-14".into()),
            ("/byType/W_Completeren aanvraag", 54_850.into()),
        ],
    );
}

#[test]
fn travel() {
    check(
        "bpic2020-travel.jsonl.gz",
        &[
            ("/total", 151_819.into()),
            ("/aggregates", 12_749.into()),
            ("/eventTypeCount", 49.into()),
            ("/correlations", 6_281.into()),
            ("/withoutCorrelation", 1_114.into()),
            ("/correlationsAcrossAggregateTypes", 5_500.into()),
        ],
    );
}

#[test]
fn permits() {
    check(
        "receipt.csv.gz",
        &[
            ("/total", 8_577.into()),
            ("/aggregates", 1_434.into()),
            ("/eventTypeCount", 27.into()),
            ("/withoutUser", 0.into()),
        ],
    );
}

#[test]
fn loans_in_a_durable_store() {
    let Some(log) = log("bpic2012.jsonl.gz") else { return };
    let folder = Folder::new();
    let url = folder.url("loans");
    let first = import(&url, &log);
    assert_eq!(
        (&first["newEvents"], &first["knownEvents"]),
        (&262_200.into(), &0.into())
    );
    let second = import(&url, &log);
    assert_eq!(
        (&second["newEvents"], &second["knownEvents"]),
        (&0.into(), &262_200.into())
    );
    let kept: Value = serde_json::from_str(&ask(&url, &["stats", "--format", "json"]).ok()).unwrap();
    let mut loaded = statistics("bpic2012.jsonl.gz").unwrap();
    // Sizes differ between stores.
    loaded["memoryBytes"] = kept["memoryBytes"].clone();
    assert_eq!(kept, loaded);
    assert_eq!(
        (&kept["total"], &kept["aggregates"], &kept["eventTypeCount"]),
        (&262_200.into(), &13_087.into(), &24.into())
    );
}
