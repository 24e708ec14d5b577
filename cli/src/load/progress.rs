//! The progress bar of a load, on standard error if that is a terminal. It appears after a second.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::text::shorten;

const NAME_WIDTH_MAX: usize = 24;
const SHOWN_AFTER: Duration = Duration::from_secs(1);
const TEMPLATE: &str = "{msg} [{wide_bar}] {bytes} of {total_bytes}, {eta} left";
const TEMPLATE_EVENTS: &str = "{msg} [{wide_bar}] event {human_pos} of {human_len}, {eta} left";
const TEMPLATE_OPEN_END: &str = "{spinner} {msg} {bytes}";

/// A progress bar. It appears after a second and disappears when dropped.
pub(crate) struct Progress {
    started: Instant,
    name: String,
    template: &'static str,
    bar: Option<ProgressBar>,
    is_seen: bool,
}

impl Progress {
    /// A bar for the bytes of a file or directory.
    pub(crate) fn new(path: &Path) -> Self {
        Self::named(&path.file_name().unwrap_or_default().to_string_lossy(), TEMPLATE)
    }

    /// A bar for the events of a database.
    pub(crate) fn of_events(database: &str) -> Self {
        Self::named(database, TEMPLATE_EVENTS)
    }

    fn named(name: &str, template: &'static str) -> Self {
        Self {
            started: Instant::now(),
            name: shorten(name, NAME_WIDTH_MAX),
            template,
            bar: None,
            is_seen: std::io::stderr().is_terminal(),
        }
    }

    /// Updates the bar: bytes done of `total` (0 if unknown), and the number of events.
    pub(crate) fn show(&mut self, done: u64, total: u64, what: impl FnOnce() -> String) {
        if !self.is_seen || self.started.elapsed() < SHOWN_AFTER {
            return;
        }
        let template = self.template;
        let bar = self.bar.get_or_insert_with(|| draw(total, template));
        // Before the position: the first frame has a label.
        bar.set_message(format!("{}: {}", self.name, what()));
        bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn draw(total: u64, template: &str) -> ProgressBar {
    let (bar, template) = if total == 0 {
        (ProgressBar::new_spinner(), TEMPLATE_OPEN_END)
    } else {
        (ProgressBar::new(total), template)
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_elapsed(SHOWN_AFTER)
}
