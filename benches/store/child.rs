//! Measurements in a process of its own, whose heap nothing has touched before.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{fills, growth, sure};

/// The task of a child, in its environment.
const TASK: &str = "ANNALS_BENCH_TASK";

/// Starts this program again with `task`, and returns the durations that it prints.
pub(crate) fn measure(task: &str) -> Vec<Duration> {
    let output = Command::new(sure(std::env::current_exe()))
        .env(TASK, task)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output();
    let printed = sure(String::from_utf8(sure(output).stderr));
    let nanoseconds = printed.split_whitespace().map(|number| sure(number.parse()));
    nanoseconds.map(Duration::from_nanos).collect()
}

/// Runs the task of this process if it has one, and returns whether it has.
#[expect(clippy::print_stderr, reason = "the parent reads it")]
pub(crate) fn ran_task() -> bool {
    let Ok(task) = std::env::var(TASK) else {
        return false;
    };
    for took in fills::run(&task).into_iter().chain(growth::run(&task)) {
        eprintln!("{}", took.as_nanos());
    }
    true
}
