//! The dashboard and the alerts in `ops/`: every metric that they name, with its labels, is exported.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::metrics::{Names, everything, exported};

const DASHBOARD: &str = include_str!("../../../../ops/grafana/event-driven-architecture.json");
const RULES: &str = include_str!("../../../../ops/prometheus/rules.yaml");

/// Words of expressions that are no metrics.
const WORDS: [&str; 17] = [
    "and",
    "by",
    "count",
    "group",
    "histogram_quantile",
    "increase",
    "instance",
    "label_replace",
    "max",
    "namespace",
    "on",
    "or",
    "rate",
    "sum",
    "time",
    "topk",
    "without",
];
/// What Prometheus adds to every series.
const ADDED: [&str; 2] = ["instance", "job"];

/// The metrics that an expression names, each with the labels that it is selected by.
fn named(expression: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let mut found: Vec<(String, BTreeSet<String>)> = Vec::new();
    let mut rest = expression;
    while let Some(character) = rest.chars().next() {
        let length = rest.find(|other| !is_word(other)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        if let Some(selector) = rest.strip_prefix('{') {
            let (labels, after) = selector.split_once('}').unwrap();
            let labels = labels.split("\",").map(|label| label.split(['=', '!']).next().unwrap());
            found.last_mut().unwrap().1.extend(labels.map(str::to_owned));
            rest = after;
        } else if let Some(text) = rest.strip_prefix('"') {
            rest = text.split_once('"').unwrap().1;
        } else if let Some(range) = rest.strip_prefix('[') {
            rest = range.split_once(']').unwrap().1;
        } else if word == "by" || word == "on" {
            rest = after.split_once(')').unwrap().1;
        } else if length > 0 {
            if !character.is_ascii_digit() && !WORDS.contains(&word) {
                found.push((word.to_owned(), BTreeSet::new()));
            }
            rest = after;
        } else {
            rest = &rest[character.len_utf8()..];
        }
    }
    found
}

/// The labels that an expression groups or joins by.
fn grouped(expression: &str) -> BTreeSet<String> {
    let lists = expression.split("by (").skip(1).chain(expression.split("on (").skip(1));
    let lists = lists.map(|list| list.split_once(')').unwrap().0);
    lists.flat_map(|list| list.split(", ")).map(str::to_owned).collect()
}

/// Checks that a server exports what an expression names.
fn check(expression: &str, exported: &Names) {
    let metrics = named(expression);
    assert!(!metrics.is_empty(), "{expression}");
    let mut known: BTreeSet<&str> = ADDED.into_iter().chain(["le"]).collect();
    for (name, labels) in metrics.iter().filter(|(name, _)| name != "up") {
        let family = name.strip_suffix("_bucket").unwrap_or(name);
        let own = exported
            .get(family)
            .unwrap_or_else(|| panic!("{name} is not exported: {expression}"));
        known.extend(own.iter().map(String::as_str));
        for label in labels {
            let is_there = own.contains(label) || ADDED.contains(&label.as_str());
            assert!(is_there, "{name} has no label {label}: {expression}");
        }
    }
    for label in grouped(expression) {
        assert!(known.contains(label.as_str()), "no label {label}: {expression}");
    }
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// The expressions of the dashboard.
fn charted() -> Vec<String> {
    let panels = panels();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// The expressions of the alerts: on the line of `expr`, or on those below it.
fn alerted() -> Vec<String> {
    let parts = RULES.split("expr: ").skip(1);
    let parts = parts.map(|part| part.split("\n        for: ").next().unwrap());
    let parts = parts.map(|part| part.split("\n        labels:").next().unwrap());
    parts
        .map(|part| part.trim_start_matches('|').trim().to_owned())
        .collect()
}

#[test]
fn the_dashboard_or_an_alert_named_a_metric_that_is_not_exported() {
    let exported = exported(&everything());
    let (charted, alerted) = (charted(), alerted());
    assert!(charted.len() > 40, "{}", charted.len());
    assert_eq!(alerted.len(), RULES.matches("- alert:").count());
    for expression in charted.iter().chain(&alerted) {
        check(expression, &exported);
    }
}

#[test]
fn a_metric_of_an_expression_was_overlooked() {
    let expression = r#"a - sum by (x) (rate(b_bucket{c=~"d{e}", f!="g"}[5m])) > 0.9 and on (y) h"#;
    let expression = expression.replace("d{e}", "d");
    let names: Vec<String> = named(&expression).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b_bucket", "h"]);
    assert_eq!(grouped(&expression), BTreeSet::from(["x".to_owned(), "y".to_owned()]));
    let absent = std::panic::catch_unwind(|| check("sum(absent_total)", &Names::new()));
    assert!(absent.is_err());
}

#[test]
fn the_dashboard_could_not_be_provisioned() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!((&dashboard["id"], dashboard.get("__inputs")), (&Value::Null, None));
    let panels = panels();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(
            (&panel["datasource"], &panel["interval"]),
            (&source, &json!("15s")),
            "{panel}"
        );
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"], source);
        }
    }
    for expression in charted() {
        let rates = expression.matches("rate(").count();
        assert_eq!(expression.matches("[$__rate_interval]").count(), rates, "{expression}");
        assert!(expression.contains("instance=~\"$instance\""), "{expression}");
    }
}

#[test]
fn two_panels_of_the_dashboard_had_one_place() {
    let mut taken = BTreeSet::new();
    for panel in panels() {
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{panel}");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(taken.insert((x, y)), "{panel}");
            }
        }
    }
}
