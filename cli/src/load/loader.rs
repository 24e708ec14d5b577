//! Loads the events of log files, in the order of the files, into a store in memory or a durable store.

use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use annals::{
    Append, Budget, Clock, Durability, Error, Event, Expected, NewEvent, Position, SeededIds, Settings, Store,
    StreamId, WhenFull,
};

use crate::exit::{Failure, Outcome, of_store};
use crate::interrupt;
use crate::load::clock::LogClock;
use crate::load::dropped::Dropped;
use crate::load::gathered::Gathered;
use crate::load::identity::Identity;
use crate::load::pieces::{Batch, NumberedLine};
use crate::load::positions::Positions;
use crate::load::progress::Progress;
use crate::load::{BadLine, Entry, LINE_BYTES_MAX, Options, feed};
use crate::output::payload;
use crate::output::text::{counted, grouped};

/// Number of bad lines that are reported one by one.
const BAD_LINES_SHOWN: usize = 10;

/// The counts of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Events that were appended.
    pub(crate) events: u64,
    /// Lines that repeat an event of an earlier line, with the same id. The event is stored once.
    pub(crate) repeated: u64,
    /// Events that the durable store already contained.
    pub(crate) known: u64,
    /// Skipped events that the durable store may have dropped: it has dropped events of their aggregates.
    pub(crate) dropped: u64,
    pub(crate) bad: u64,
    /// The messages of the first bad lines.
    pub(crate) bad_shown: Vec<String>,
    pub(crate) elapsed: Duration,
}

impl Report {
    /// Lines whose events are in the store.
    pub(crate) fn taken(&self) -> u64 {
        self.stored() + self.repeated
    }

    /// Events of the files that are in the store. A repeated event counts once.
    pub(crate) fn stored(&self) -> u64 {
        self.events + self.known
    }

    /// Counts a line without a valid event; fails unless such lines are skipped.
    pub(crate) fn bad(&mut self, path: &Path, line: u64, reason: &BadLine, options: &Options) -> Outcome {
        let text = format!("{}: line {line}: {reason}", path.display());
        if !options.skip_bad {
            return Err(Failure::Data(format!(
                "{text}; fix the line, or skip invalid lines with --skip-bad"
            )));
        }
        self.bad += 1;
        if self.bad_shown.len() < BAD_LINES_SHOWN {
            self.bad_shown.push(text);
        }
        Ok(())
    }
}

/// A store into which log files are loaded.
pub(crate) struct Loader {
    pub(crate) store: Store,
    pub(crate) report: Report,
    kind: Kind,
}

enum Kind {
    /// Clock and ids depend only on the input: the same file gives the same store.
    Memory(Arc<LogClock>),
    /// Events are recorded at the current time, and none is stored twice.
    Durable {
        /// How a report calls events that are synced.
        place: &'static str,
        identity: Identity,
        /// The last position before anything was loaded.
        before: Position,
        /// Positions up to `before` whose events were repeated.
        came_again: Positions,
        /// The dropped events, which are not restored; `None` if they are.
        dropped: Option<Dropped>,
        /// Whether one append can have several aggregates.
        takes_several: bool,
    },
}

/// What a store has of an event.
enum Found {
    Kept(Box<Event>),
    /// The store had the event, and has dropped it.
    Dropped,
    Nothing,
}

/// The reason why an event was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The event is invalid.
    #[error("{0}")]
    Line(BadLine),
    /// The store accepts no more events.
    #[error("{0}")]
    Store(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if matches!(
            error,
            Error::Invalid { .. } | Error::Deleted { .. } | Error::Conflict(_)
        ) {
            return Self::Line(BadLine(error.to_string()));
        }
        Self::Store(error)
    }
}

impl Loader {
    /// Loads into a store in memory.
    pub(crate) fn new() -> Outcome<Self> {
        Self::in_memory(Budget::default())
    }

    /// As [`new`](Self::new), but retains only the latest events, of at most `bytes`.
    pub(crate) fn with_budget(bytes: u64) -> Outcome<Self> {
        Self::in_memory(Budget::default().bytes(bytes).when_full(WhenFull::DropOldest))
    }

    fn in_memory(budget: Budget) -> Outcome<Self> {
        let clock = Arc::new(LogClock::default());
        let mut settings = Settings::default();
        settings.limits.payload_bytes_max = LINE_BYTES_MAX;
        settings.budget = budget;
        let store = Store::builder()
            .settings(settings)
            .clock(Arc::<LogClock>::clone(&clock) as Arc<dyn Clock>)
            .ids(Arc::new(SeededIds::new(0)))
            .open()?;
        Ok(Self {
            store,
            report: Report::default(),
            kind: Kind::Memory(clock),
        })
    }

    /// Appends to a store with a journal. The events of every loaded file are synced, and so are those of a file that was not
    /// loaded to its end; reports say that they are `place`, such as "safe on disk".
    ///
    /// Events that the store had dropped stay dropped, unless `brings_back` is set.
    pub(crate) fn into_durable(store: Store, place: &'static str, brings_back: bool) -> Self {
        let before = store.visible();
        let dropped = (!brings_back).then(|| Dropped::of(&store));
        Self {
            store,
            report: Report::default(),
            kind: Kind::Durable {
                place,
                identity: Identity::default(),
                before,
                came_again: Positions::default(),
                dropped,
                takes_several: true,
            },
        }
    }

    /// Loads the whole file; with `skip_bad`, all valid events in it.
    pub(crate) fn load(&mut self, path: &Path, options: &Options) -> Outcome {
        let started = Instant::now();
        let stored_before = self.report.stored();
        if let Kind::Durable { identity, .. } = &mut self.kind {
            *identity = Identity::default();
        }
        let loaded = self.load_lines(path, options);
        let loaded = match self.kind {
            Kind::Memory(_) => loaded,
            Kind::Durable { place, .. } => self.make_safe(path, self.report.stored() - stored_before, place, loaded),
        };
        self.report.elapsed += started.elapsed();
        loaded
    }

    fn load_lines(&mut self, path: &Path, options: &Options) -> Outcome {
        let feed = feed::start(path, options)?;
        let mut progress = Progress::new(path);
        while let Some(mut batch) = feed.next(|| interrupt::check(|| self.so_far(path)))? {
            let taken = self.take_all(path, &mut batch, options);
            feed.dispose(batch);
            taken?;
            progress.show(feed.read.load(Ordering::Relaxed), feed.total, || {
                format!("{} events", grouped(self.report.taken()))
            });
            interrupt::check(|| self.so_far(path))?;
        }
        Ok(())
    }

    /// Waits until everything is synced. Reports it if the file was not loaded to its end.
    fn make_safe(&self, path: &Path, stored: u64, place: &str, loaded: Outcome) -> Outcome {
        if let Err(error) = self.store.wait_durable(self.store.visible()) {
            return Err(Failure::Runtime(format!(
                "{}; everything up to position {} is {place}",
                of_store(&error),
                self.store.reached(Durability::Synced)
            )));
        }
        let safe = || {
            let (events, are) = (counted(stored, "event"), if stored == 1 { "is" } else { "are" });
            format!("{events} of {} {are} {place}", path.display())
        };
        loaded.map_err(|failure| match failure {
            Failure::Interrupted(_) => Failure::Interrupted(format!("{}; run the same command again to go on", safe())),
            Failure::Data(reason) => Failure::Data(format!("{reason}; {}", safe())),
            Failure::Runtime(_)
            | Failure::Usage(_)
            | Failure::NotFound(_)
            | Failure::Verdict(..)
            | Failure::PipeClosed => failure,
        })
    }

    fn take_all(&mut self, path: &Path, batch: &mut Batch, options: &Options) -> Outcome {
        for (_, entry) in batch.iter_mut() {
            if let Ok(entry) = entry {
                self.identify(entry);
            }
        }
        let mut gathered = Gathered::default();
        for line in batch.iter() {
            if let (true, Ok(entry)) = (self.gathers(), &line.1) {
                if !gathered.has_room_for(entry) {
                    self.append_gathered(path, &mut gathered, options)?;
                }
                if let Found::Nothing = self.find(entry) {
                    gathered.add(line, entry);
                    continue;
                }
            }
            self.append_gathered(path, &mut gathered, options)?;
            self.take_line(path, line, options)?;
        }
        self.append_gathered(path, &mut gathered, options)
    }

    /// Sets the id of an event that a durable store takes.
    fn identify(&mut self, entry: &mut Entry) {
        if let Kind::Durable { identity, .. } = &mut self.kind {
            entry.event.id = Some(identity.next(&entry.stream, &entry.event));
        }
    }

    /// Whether events are appended together. Those in memory are not: the clock shows the time of each.
    fn gathers(&self) -> bool {
        match self.kind {
            Kind::Memory(_) => false,
            Kind::Durable { takes_several, .. } => takes_several,
        }
    }

    /// Appends what was gathered: together, or one by one if the store refuses one of the events.
    fn append_gathered(&mut self, path: &Path, gathered: &mut Gathered<'_>, options: &Options) -> Outcome {
        let Gathered { appends, lines, .. } = &*gathered;
        if lines.len() > 1 && self.append_several(appends)? {
            self.report.events += lines.len() as u64;
        } else {
            lines.iter().try_for_each(|line| self.take_line(path, line, options))?;
        }
        gathered.clear();
        Ok(())
    }

    /// Appends all of the events or none. Returns whether it did.
    fn append_several(&mut self, appends: &[Append<'_>]) -> Outcome<bool> {
        match self.store.append_all(appends) {
            Ok(appended) => Ok(appended.iter().all(|part| !part.repeated)),
            Err(Error::Unsupported { .. }) => {
                if let Kind::Durable { takes_several, .. } = &mut self.kind {
                    *takes_several = false;
                }
                Ok(false)
            }
            Err(error) => match Refusal::from(error) {
                Refusal::Line(_) => Ok(false),
                Refusal::Store(error) => Err(error.into()),
            },
        }
    }

    fn take_line(&mut self, path: &Path, (line, entry): &NumberedLine, options: &Options) -> Outcome {
        let entry = entry.as_ref().map_err(|reason| Refusal::Line(reason.clone()));
        match entry.and_then(|entry| self.take_named(entry)) {
            Ok(()) => Ok(()),
            Err(Refusal::Line(reason)) => self.bad(path, *line, &reason, options),
            Err(Refusal::Store(error)) => Err(error.into()),
        }
    }

    /// Appends one event at the end of the log.
    pub(crate) fn take(&mut self, entry: &mut Entry) -> Result<(), Refusal> {
        self.identify(entry);
        self.take_named(entry)
    }

    /// Appends an event that has the id by which it is stored.
    fn take_named(&mut self, entry: &Entry) -> Result<(), Refusal> {
        let Entry {
            stream,
            event,
            recorded_at,
            ..
        } = entry;
        if let (Kind::Memory(clock), Some(time)) = (&self.kind, (*recorded_at).or(event.timestamp)) {
            clock.show(time);
        }
        match self.find(entry) {
            Found::Kept(kept) => {
                check_same(&kept, stream, event)?;
                self.pass(&kept);
                self.count_again(kept.position());
            }
            Found::Dropped => self.report.dropped += 1,
            Found::Nothing => self.append(stream, event)?,
        }
        Ok(())
    }

    fn append(&mut self, stream: &StreamId, event: &NewEvent<'_>) -> Result<(), Refusal> {
        let appended = self.store.append(stream, Expected::Any, slice::from_ref(event))?;
        if !appended.repeated {
            self.report.events += 1;
            return Ok(());
        }
        if let Some(kept) = self.store.event_at(appended.first_position) {
            check_same(&kept, stream, event)?;
        }
        self.count_again(appended.first_position);
        Ok(())
    }

    /// What the durable store has of an event.
    fn find(&mut self, entry: &Entry) -> Found {
        match self.kept(&entry.stream, &entry.event, entry.place.is_some()) {
            Some(kept) => Found::Kept(Box::new(kept)),
            None if self.had(&entry.stream, &entry.event) => Found::Dropped,
            None => Found::Nothing,
        }
    }

    /// The event of the durable store with the same id. In an export, events of several aggregates may share an id.
    fn kept(&self, stream: &StreamId, event: &NewEvent<'_>, is_exported: bool) -> Option<Event> {
        let Kind::Durable { .. } = self.kind else { return None };
        let kept = self.store.event(event.id?)?;
        (!is_exported || *kept.aggregate_id() == *stream.aggregate_id).then_some(kept)
    }

    /// Whether the durable store had dropped the event.
    fn had(&mut self, stream: &StreamId, event: &NewEvent<'_>) -> bool {
        let Kind::Durable { dropped, .. } = &mut self.kind else {
            return false;
        };
        let has = |dropped: &mut Dropped| dropped.has(&self.store, stream, event.timestamp);
        dropped.as_mut().is_some_and(has)
    }

    /// Notes that the log has reached an event that the durable store contains.
    fn pass(&mut self, kept: &Event) {
        if let Kind::Durable {
            dropped: Some(dropped), ..
        } = &mut self.kind
        {
            dropped.pass(&self.store, kept);
        }
    }

    /// Counts a line whose event is already stored at `position`.
    fn count_again(&mut self, position: Position) {
        let is_known = match &mut self.kind {
            Kind::Memory(_) => false,
            Kind::Durable { before, came_again, .. } => position <= *before && came_again.insert(position),
        };
        self.report.known += u64::from(is_known);
        self.report.repeated += u64::from(!is_known);
    }

    /// Counts a line without a valid event; fails unless such lines are skipped.
    pub(crate) fn bad(&mut self, path: &Path, line: u64, reason: &BadLine, options: &Options) -> Outcome {
        self.report.bad(path, line, reason, options)
    }

    fn so_far(&self, path: &Path) -> String {
        format!(
            "{} of {} had been loaded",
            counted(self.report.events, "event"),
            path.display()
        )
    }
}

/// `event` as a line of a log contains it: line ends between the tokens of its JSON are spaces.
fn on_one_line(mut event: NewEvent<'_>) -> NewEvent<'_> {
    for bytes in [&mut event.metadata, &mut event.data] {
        if let Some(json) = str::from_utf8(bytes).ok().and_then(payload::on_one_line) {
            *bytes = json.get().as_bytes().to_vec().into();
        }
    }
    event
}

/// Whether the stored event has the same contents as `again`.
fn check_same(kept: &Event, stream: &StreamId, again: &NewEvent<'_>) -> Result<(), Refusal> {
    let is_same = || kept.to_new() == *again || on_one_line(kept.to_new()) == on_one_line(again.clone());
    if kept.stream_id() == *stream && is_same() {
        return Ok(());
    }
    Err(Refusal::Line(BadLine(format!(
        "eventId {} is already that of another event of '{}', which says something else",
        kept.id(),
        kept.aggregate_id()
    ))))
}
