//! Reports: which rows are drawn beside each other, and what stands beside a figure.

use std::time::Duration;

use annals_bench::BatchUnit;
use annals_bench::oracle::{Rule, Violation};
use annals_bench::report::html;
use annals_bench::results::{Figure, GoalResult, Manifest, RowSummary, Summary};
use annals_bench::run::Phase;
use annals_bench::statistics::Estimate;
use annals_bench::workload::{Mode, Workload};

use crate::compared::measured;

/// A result of one row, which tests copy and change.
fn result() -> (Manifest, Summary) {
    let (manifest, summary, _) = measured(Duration::ZERO);
    (manifest, summary)
}

/// The figures of a page, each from its title to the end of its data table.
fn drawn(page: &str) -> Vec<&str> {
    let figures = page.split("<figure>").skip(1);
    figures.filter_map(|rest| rest.split("</figure>").next()).collect()
}

/// The row with another name of its backend, and `change`.
fn renamed(row: &RowSummary, name: &str, change: impl Fn(&mut RowSummary)) -> RowSummary {
    let mut row = row.clone();
    name.clone_into(&mut row.backend.name);
    change(&mut row);
    row
}

fn set(row: &mut RowSummary, figure: Figure, value: f64) {
    row.figures.retain(|(own, _)| *own != figure);
    let (low, high) = (value, value);
    row.figures.push((figure, Estimate { value, low, high }));
}

/// Rows of a sweep: four rates in an open loop, and one and two threads.
fn swept(row: &RowSummary) -> Vec<RowSummary> {
    let at = |rate: f64| {
        let mut row = row.clone();
        row.workload = format!("x/{rate}");
        row.rate = Some(rate);
        set(&mut row, Figure::ResponseP50, rate);
        row
    };
    let with = |(threads, name): (u32, &str)| {
        let mut row = row.clone();
        row.workload = format!("x/{name}");
        row.workers = threads;
        row
    };
    let rates = [100.0, 200.0, 300.0, 400.0].map(at);
    let threads = [(1, "1 thread"), (2, "2 threads")].map(with);
    rates.into_iter().chain(threads).collect()
}

#[test]
fn a_store_was_drawn_beside_one_that_keeps_nothing() {
    let (manifest, mut summary) = result();
    assert!(!drawn(&html(&manifest, &summary)).is_empty());
    for row in &mut summary.rows {
        row.backend.keeps_events = false;
    }
    let page = html(&manifest, &summary);
    assert_eq!(drawn(&page), [""; 0]);
}

#[test]
fn wrong_rows_and_rows_of_null_were_drawn_in_a_sweep() {
    let (manifest, summary) = result();
    let red = |row: &mut RowSummary| {
        row.violations.push(Violation {
            rule: Rule::NothingLost,
            count: 1,
            examples: Vec::new(),
        });
    };
    let rows = [
        renamed(&summary.rows[0], "kept", |_| ()),
        renamed(&summary.rows[0], "lossy", red),
        renamed(&summary.rows[0], "broken", |row| row.failure = Some("gone".to_owned())),
        renamed(&summary.rows[0], "nothing", |row| row.backend.keeps_events = false),
    ];
    let summary = Summary {
        rows: rows.iter().flat_map(swept).collect(),
        ..summary
    };
    let page = html(&manifest, &summary);
    let (drawn, swept) = (
        drawn(&page),
        ["operations/s over threads", "response p50 ms over operations/s offered"],
    );
    for title in swept {
        assert!(drawn.iter().any(|figure| figure.contains(title)), "{title}");
    }
    for figure in drawn {
        assert!(figure.contains("kept"), "{figure}");
        for name in ["lossy", "broken", "nothing"] {
            assert!(page.contains(name) && !figure.contains(name), "{name}: {figure}");
        }
    }
}

#[test]
fn unlike_batch_units_were_in_one_chart() {
    let (manifest, summary) = result();
    let torn = |row: &mut RowSummary| row.backend.batch_unit = BatchUnit::Event;
    let rows = [
        renamed(&summary.rows[0], "whole", |_| ()),
        renamed(&summary.rows[0], "torn", torn),
    ];
    let summary = Summary {
        rows: rows.iter().flat_map(swept).collect(),
        ..summary
    };
    let page = html(&manifest, &summary);
    let drawn = drawn(&page);
    let has = |name: &str| drawn.iter().filter(|figure| figure.contains(name)).count();
    assert!(has("whole") > 0 && has("whole") == has("torn"));
    for figure in drawn {
        assert!(!(figure.contains("whole") && figure.contains("torn")), "{figure}");
    }
    assert!(page.contains("x, volatile, batch unit event"));
}

#[test]
fn rows_after_the_eighth_were_left_out_of_the_timeline_in_silence() {
    let (manifest, summary) = result();
    let row = |number| renamed(&summary.rows[0], &format!("backend-{number}-"), |_| ());
    let timeline = |rows: usize| {
        let summary = Summary {
            rows: (0..rows).map(row).collect(),
            ..summary.clone()
        };
        let page = html(&manifest, &summary);
        let drawn = drawn(&page);
        let found = drawn.iter().find(|figure| figure.contains("Measured time"));
        (*found.unwrap()).to_owned()
    };
    let (eight, ten) = (timeline(8), timeline(10));
    assert!(!eight.contains("are drawn"), "{eight}");
    assert!(
        ten.contains("The first 8 of 10 lines are drawn; the data table has all."),
        "{ten}"
    );
    let (picture, table) = ten.split_once("<details>").unwrap();
    assert!(!picture.contains("backend-9-") && table.contains("backend-9-"), "{ten}");
}

#[test]
fn a_report_of_an_open_loop_had_no_wait() {
    let (manifest, mut summary) = result();
    assert!(!html(&manifest, &summary).contains("wait p99 ms"));
    let row = &mut summary.rows[0];
    row.mode = Mode::Open;
    set(row, Figure::WaitP99, 1234.0);
    let page = html(&manifest, &summary);
    let (_, table) = page.split_once("Service, wait and response time").unwrap();
    let (table, _) = table.split_once("</table>").unwrap();
    assert!(table.contains("wait p99 ms") && table.contains("1,234"), "{table}");
    assert!(table.contains("volatile"), "{table}");
}

#[test]
fn phases_were_a_list_in_a_table_and_not_drawn() {
    let (manifest, mut summary) = result();
    summary.rows[0].phases = [("load", 30.0), ("measure", 60.0)]
        .map(|(name, time)| (name.to_owned(), time))
        .to_vec();
    let page = html(&manifest, &summary);
    let drawn = drawn(&page);
    let chart = drawn
        .iter()
        .find(|figure| figure.contains("Phases of a repeat"))
        .unwrap();
    let (picture, table) = chart.split_once("<details>").unwrap();
    for phase in Phase::ALL.map(Phase::name) {
        assert!(
            picture.contains(phase) && table.contains(&format!(">{phase}</th>")),
            "{phase}: {chart}"
        );
    }
    // Of the 530 points that the longest bar has, a third and two thirds.
    let bar = |colour: usize, width: &str| {
        let begins = format!("<rect class=\"f{colour}\" x=");
        picture
            .split("/>")
            .any(|part| part.contains(&begins) && part.contains(&format!("width=\"{width}\"")))
    };
    assert!(bar(1, "176.7") && bar(4, "353.3"), "{picture}");
    let cells: String = [0, 30, 0, 0, 60, 0, 0, 90]
        .map(|cell| format!("<td class=\"number\">{cell}</td>"))
        .concat();
    assert!(table.contains(&cells), "{table}");
}

#[test]
fn a_table_of_figures_had_no_durability() {
    let (manifest, mut summary) = result();
    summary.rows[0].goals.push(GoalResult {
        name: "fast".to_owned(),
        value: Some(1.0),
        is_reached: Some(true),
        is_measured: true,
    });
    set(&mut summary.rows[0], Figure::ReopenTime, 1.0);
    let page = html(&manifest, &summary);
    let (tables, _) = page.split_once("<h2>How it was measured</h2>").unwrap();
    let sections = tables
        .split("<h2>")
        .skip(1)
        .filter(|section| !section.starts_with("Charts"));
    let mut titles = Vec::new();
    for section in sections {
        titles.push(section.split_once("</h2>").unwrap().0);
        let names = "<th>workload</th><th>backend</th><th>durability</th>";
        assert_eq!(
            section.matches("<table>").count(),
            section.matches(names).count(),
            "{section}"
        );
        assert!(
            section.contains("<td>x</td><td>naive</td><td>volatile</td>"),
            "{section}"
        );
    }
    assert_eq!(
        titles,
        [
            "Figures",
            "Operations",
            "Readers and recovery",
            "Correctness",
            "Goals",
            "Resources and phases"
        ]
    );
}

#[test]
fn one_thread_was_1_threads() {
    let workload = Workload::parse("name = \"x\"").unwrap();
    let names = |count| {
        let rows = [workload.with_threads(count), workload.with_processes(count)];
        rows.map(|row| row.unwrap().name)
    };
    assert_eq!(names(1), ["x/1 thread", "x/1 process"]);
    assert_eq!(names(2), ["x/2 threads", "x/2 processes"]);
    // Results that were written before are drawn too.
    let (manifest, mut summary) = result();
    for (name, points) in [("x/1 thread", 2), ("x/1 threads", 2), ("x/1 other", 1)] {
        summary.rows.truncate(1);
        let mut two = summary.rows[0].clone();
        summary.rows[0].workload = name.to_owned();
        (summary.rows[0].workers, two.workers) = (1, 2);
        two.workload = "x/2 threads".to_owned();
        summary.rows.push(two);
        let page = html(&manifest, &summary);
        let drawn = drawn(&page);
        let chart = drawn
            .iter()
            .find(|figure| figure.contains("operations/s over threads"))
            .unwrap();
        assert_eq!(chart.matches("<td>naive</td>").count(), points, "{name}: {chart}");
    }
}
