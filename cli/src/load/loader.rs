//! The store that a log is loaded into, in the file's order.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::{Appended, Clock, Expected, NewEvent, SeededIds, Settings, Store};

use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::clock::LogClock;
use crate::load::progress::Progress;
use crate::load::{BadLine, Entry, LINE_BYTES_MAX, Options, feed};
use crate::output::text::counted;

/// Bad lines that are shown one by one.
const BAD_LINES_SHOWN: usize = 10;

/// What loading has come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) events: u64,
    /// Events that the same aggregate had, with the same id, among its latest: stored once.
    pub(crate) repeated: u64,
    pub(crate) bad: u64,
    /// The first bad lines, as they are shown.
    pub(crate) bad_shown: Vec<String>,
    pub(crate) elapsed: Duration,
}

/// A store whose clock and ids depend on nothing but what is loaded: the same file gives the same store.
pub(crate) struct Loader {
    pub(crate) store: Store,
    pub(crate) report: Report,
    clock: Arc<LogClock>,
}

impl Loader {
    pub(crate) fn new() -> Outcome<Self> {
        let clock = Arc::new(LogClock::default());
        let mut settings = Settings::default();
        settings.limits.payload_bytes_max = LINE_BYTES_MAX;
        let store = Store::builder()
            .settings(settings)
            .clock(Arc::<LogClock>::clone(&clock) as Arc<dyn Clock>)
            .ids(Arc::new(SeededIds::new(0)))
            .open()?;
        Ok(Self {
            store,
            report: Report::default(),
            clock,
        })
    }

    /// Loads the whole file; with `skip_bad`, all of it that holds events.
    pub(crate) fn load(&mut self, path: &Path, options: &Options) -> Outcome {
        let started = Instant::now();
        let feed = feed::start(path, &options.columns)?;
        let mut progress = Progress::new(path, &feed);
        while let Some(batch) = feed.next(|| interrupt::check(|| self.so_far(path)))? {
            self.take_all(path, batch, options)?;
            progress.show(self.report.events);
            interrupt::check(|| self.so_far(path))?;
        }
        self.report.elapsed += started.elapsed();
        Ok(())
    }

    fn take_all(&mut self, path: &Path, batch: feed::Batch, options: &Options) -> Outcome {
        for (line, entry) in batch {
            if let Err(reason) = entry.and_then(|entry| self.take(entry)) {
                self.bad(path, line, &reason, options)?;
            }
        }
        Ok(())
    }

    /// Appends one event at the end of the log.
    pub(crate) fn take(&mut self, entry: Entry) -> Result<(), BadLine> {
        let Entry {
            stream,
            event,
            recorded_at,
        } = entry;
        if let Some(time) = recorded_at.or(event.timestamp) {
            self.clock.show(time);
        }
        // Only an event with an id can be found to be there already.
        let again = event.id.is_some().then(|| event.clone());
        let appended = self
            .store
            .append(&stream, Expected::Any, vec![event])
            .map_err(|error| BadLine(error.to_string()))?;
        if appended.repeated {
            self.check_same(&appended, again.as_ref())?;
        }
        self.report.events += u64::from(!appended.repeated);
        self.report.repeated += u64::from(appended.repeated);
        Ok(())
    }

    /// Whether the event that was there already says what `again` says.
    fn check_same(&self, there: &Appended, again: Option<&NewEvent>) -> Result<(), BadLine> {
        let kept = self.store.event_at(there.first_position);
        if let (Some(kept), Some(again)) = (kept, again)
            && kept.to_new() != *again
        {
            return Err(BadLine(format!(
                "eventId {} is already that of another event of '{}', which says something else",
                kept.id(),
                kept.aggregate_id()
            )));
        }
        Ok(())
    }

    fn bad(&mut self, path: &Path, line: u64, reason: &BadLine, options: &Options) -> Outcome {
        let text = format!("{}: line {line}: {reason}", path.display());
        if !options.skip_bad {
            return Err(Failure::Data(format!("{text} (--skip-bad goes on without bad lines)")));
        }
        self.report.bad += 1;
        if self.report.bad_shown.len() < BAD_LINES_SHOWN {
            self.report.bad_shown.push(text);
        }
        Ok(())
    }

    fn so_far(&self, path: &Path) -> String {
        format!(
            "{} of {} had been loaded",
            counted(self.report.events, "event"),
            path.display()
        )
    }
}
