//! The progress of a plan on standard error: only on a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use annals_bench::plan::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::text::{grouped, shorten};

const TEMPLATE: &str = "[{bar:20}] {msg}";
const NAME_WIDTH_MAX: usize = 40;

/// A bar that disappears when it is dropped.
pub(super) struct Live {
    bar: Option<ProgressBar>,
    time: Duration,
}

impl Live {
    /// A bar for a plan that takes at least `time`.
    pub(super) fn new(time: Duration) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let is_seen = std::io::stderr().is_terminal();
        Self {
            bar: is_seen.then(|| ProgressBar::new(1).with_style(style)),
            time,
        }
    }

    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        let Some(bar) = &self.bar else {
            return;
        };
        bar.set_length(progress.runs as u64);
        bar.set_position(progress.done as u64);
        let row = format!("{} on {}", progress.workload, progress.backend);
        let left = self.time.mul_f64(1.0 - share(progress)).as_secs();
        bar.set_message(format!(
            "{}: {}, {} operations, more than {left} s left",
            shorten(&row, NAME_WIDTH_MAX),
            progress.phase.name(),
            grouped(progress.operations),
        ));
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn share(progress: &Progress<'_>) -> f64 {
    progress.done as f64 / progress.runs.max(1) as f64
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
