//! Tables on terminals of every width.

#![cfg(target_os = "linux")]

use crate::support::{Folder, alone, ask, line, on_terminal_of, without_styles};

fn shown(columns: u16, store: &std::path::Path, arguments: &[&str]) -> String {
    let mut command = alone();
    without_styles(&on_terminal_of(
        columns,
        command.arg("--store").arg(store).args(arguments),
    ))
}

fn header(table: &str) -> Vec<&str> {
    let line = table.lines().next().unwrap_or_default();
    line.split("  ")
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn tables_were_wider_than_the_terminal() {
    let folder = Folder::new();
    let store = folder.demo();
    for columns in [60, 72, 80, 100, 120, 132, 200] {
        for arguments in [
            &["events", "--limit", "30"][..],
            &[
                "events",
                "--time-zone",
                "Asia/Kolkata",
                "--after",
                "2500",
                "--limit",
                "30",
            ],
            &["search", "card", "--limit", "5"],
            &["stream", "invoice-000003"],
            &["stats"],
            &["stats", "--type", "InvoicePaid"],
            &["trends"],
            &["heatmap"],
            &["trace", "billing-000017"],
        ] {
            let text = shown(columns, &store, arguments);
            let widest = text
                .lines()
                .map(|line| line.trim_end().chars().count())
                .max()
                .unwrap_or_default();
            assert!(widest <= columns.into(), "{widest} of {columns}: {arguments:?}\n{text}");
            assert!(widest > 0, "{text}");
        }
    }
}

#[test]
fn what_matters_least_is_left_out_first() {
    let folder = Folder::new();
    let store = folder.demo();
    let columns = |width| {
        let table = shown(width, &store, &["events", "--limit", "30"]);
        header(&table).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        columns(200),
        ["position", "time", "aggregate", "version", "event", "user", "data"]
    );
    assert_eq!(columns(60), ["time", "aggregate", "event"]);
    assert_eq!(columns(80), ["position", "time", "aggregate", "event", "user"]);
    for width in [100, 120] {
        let columns = columns(width);
        assert!(
            ["time", "aggregate", "event", "data"]
                .iter()
                .all(|name| columns.contains(&(*name).to_owned())),
            "{columns:?}"
        );
    }
}

#[test]
fn wide_characters_and_long_names_fit_too() {
    let folder = Folder::new();
    let long = "x".repeat(200);
    let lines = [
        line(
            "日本日本日本日本日本日本日本日本日本",
            "日本日本日本日本日本日本日本日本",
            "",
        ),
        line(
            &long,
            &long,
            &format!(r#","eventData":"{long}","metadata":{{"userId":"{long}"}}"#),
        ),
    ];
    let store = folder.file("log.jsonl", lines.join("\n"));
    for columns in [60, 80, 120] {
        let table = shown(columns, &store, &["events"]);
        let width = |line: &str| {
            line.chars()
                .map(|character| 1 + usize::from(character > '\u{2fff}'))
                .sum::<usize>()
        };
        let widths: Vec<usize> = table.lines().map(width).collect();
        assert!(
            widths.iter().all(|width| *width <= columns.into()),
            "{widths:?}\n{table}"
        );
        // Columns are aligned, also after wide characters.
        let lines: Vec<&str> = table.lines().collect();
        let header = width(&lines[0][..lines[0].find("event").unwrap()]);
        let event = width(&lines[2][..lines[2].rfind("  日").unwrap()]) + 2;
        assert_eq!(header, event, "{table}");
    }
    // Output that is not a terminal is complete.
    assert_eq!(header(&ask(&store, &["events"]).ok()).len(), 7);
}
