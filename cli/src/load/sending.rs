//! Sends the events of log files to a server, in batches. An event is stored once, however often its file is sent: its id tells.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals::{Append, Appended, Durability, Error, Event, Expected, NewEvent, Position, StreamId, Version};
use annals_server::{Client, ClientError, StoreState};

use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::identity::Identity;
use crate::load::loader::Report;
use crate::load::pieces::Batch;
use crate::load::positions::Positions;
use crate::load::progress::Progress;
use crate::load::remote;
use crate::load::repeated::{Stored, check_same};
use crate::load::{BadLine, Entry, Options, feed};
use crate::output::text::{clean, counted, grouped};

/// Events of a request, at most.
const EVENTS_MAX: usize = 1_000;
/// Bytes of the events of a request, about: a server takes 16 MiB of JSON, in which bytes that are no JSON are twice as long.
const BYTES_MAX: usize = 4 << 20;
/// Bytes of an event beside its payloads, about.
const OTHER_BYTES: usize = 512;
/// How long a batch waits until the server has room for it.
const ROOM_WITHIN: Duration = Duration::from_secs(600);
/// The interval at which Ctrl-C is looked for while the server has no room.
const POLL: Duration = Duration::from_millis(100);

/// A line with an event, which has an id.
struct Line {
    number: u64,
    entry: Entry,
}

/// A server to which log files are sent.
pub(crate) struct Sending {
    pub(crate) client: Client,
    pub(crate) report: Report,
    /// The state of the store before anything was sent.
    pub(crate) before: StoreState,
    identity: Identity,
    /// The positions of the events that were sent.
    seen: Positions,
    waiting: Vec<Line>,
    waiting_bytes: usize,
}

impl Sending {
    /// # Errors
    ///
    /// The server cannot be reached or refuses. Or its store has dropped events, and `brings_back` is not set: the events of the files may be among them.
    pub(crate) fn to(url: &str, brings_back: bool) -> Outcome<Self> {
        let client = remote::open(url)?.wait_for_room(wait());
        let before = client.state()?;
        let client = if before.ephemeral {
            client
        } else {
            client.durability(Durability::Synced)
        };
        let stats = &before.stats;
        let dropped = before.visible.0.saturating_sub(stats.events + stats.system_events);
        if dropped > 0 && !brings_back {
            return Err(Failure::Usage(format!(
                "the store at {url} has dropped {} (archived, truncated, deleted, or past a limit), and those of the files may be among them: \
                 --include-dropped imports them again",
                counted(dropped, "event")
            )));
        }
        Ok(Self {
            client,
            report: Report::default(),
            before,
            identity: Identity::default(),
            seen: Positions::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
        })
    }

    /// Sends the whole file; with `skip_bad`, all valid events in it.
    pub(crate) fn load(&mut self, path: &Path, options: &Options) -> Outcome {
        let started = Instant::now();
        let stored_before = self.report.stored();
        self.identity = Identity::default();
        let sent = self.send_file(path, options);
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.report.elapsed += started.elapsed();
        let stored = counted(self.report.stored() - stored_before, "event");
        let so_far = || format!("{stored} of {} stored", path.display());
        sent.map_err(|failure| match failure {
            Failure::Interrupted(_) => {
                Failure::Interrupted(format!("{}; run the same command again to go on", so_far()))
            }
            Failure::Data(reason) => Failure::Data(format!("{reason}; {}", so_far())),
            Failure::Runtime(reason) => {
                Failure::Runtime(format!("{reason}; {}; run the same command again to go on", so_far()))
            }
            Failure::Usage(_) | Failure::NotFound(_) | Failure::Verdict(..) | Failure::PipeClosed => failure,
        })
    }

    fn send_file(&mut self, path: &Path, options: &Options) -> Outcome {
        let feed = feed::start(path, options)?;
        let mut progress = Progress::new(path);
        while let Some(mut batch) = feed.next(|| interrupt::check(String::new))? {
            self.take_all(path, &mut batch, options)?;
            feed.dispose(batch);
            progress.show(feed.read.load(Ordering::Relaxed), feed.total, || {
                format!("{} events", grouped(self.report.taken()))
            });
        }
        self.send(path, options)
    }

    fn take_all(&mut self, path: &Path, batch: &mut Batch, options: &Options) -> Outcome {
        for (number, entry) in batch.drain(..) {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(reason) => {
                    // Those before it are sent first: the message says what is stored.
                    self.send(path, options)?;
                    self.report.bad(path, number, &reason, options)?;
                    continue;
                }
            };
            entry.event.id = Some(self.identity.next(&entry.stream, &entry.event));
            let bytes = entry.event.data.len() + 2 * entry.event.metadata.len() + OTHER_BYTES;
            if self.waiting.len() == EVENTS_MAX || self.waiting_bytes + bytes > BYTES_MAX {
                self.send(path, options)?;
            }
            self.waiting_bytes += bytes;
            self.waiting.push(Line { number, entry });
        }
        Ok(())
    }

    /// Sends the waiting events. What is sent is stored as a whole or not at all.
    fn send(&mut self, path: &Path, options: &Options) -> Outcome {
        let lines = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        self.send_lines(&lines, path, options)
    }

    /// Sends the events. If the server refuses them for what some of them are, each half is sent.
    fn send_lines(&mut self, lines: &[Line], path: &Path, options: &Options) -> Outcome {
        interrupt::check(String::new)?;
        if lines.is_empty() {
            return Ok(());
        }
        let appends = group(lines);
        match self.client.append_all(&appends) {
            Ok(appended) => self.count(&appends, &appended, lines, (path, options)),
            Err(error) if is_of_events(&error) => self.send_halves(lines, &error, path, options),
            Err(error) => {
                interrupt::check(String::new)?;
                Err(error.into())
            }
        }
    }

    /// Sends each half of events that were refused together; one event is a bad line.
    fn send_halves(&mut self, lines: &[Line], refused: &ClientError, path: &Path, options: &Options) -> Outcome {
        if let [line] = lines {
            let reason = BadLine(refused.to_string());
            return self.report.bad(path, line.number, &reason, options);
        }
        let (first, second) = lines.split_at(lines.len() / 2);
        self.send_lines(first, path, options)?;
        self.send_lines(second, path, options)
    }

    fn count(
        &mut self,
        appends: &[Append<'_>],
        appended: &[Appended],
        lines: &[Line],
        (path, options): (&Path, &Options),
    ) -> Outcome {
        let stored = Stored::read(&self.client, appends, appended)?;
        for (append, appended) in appends.iter().zip(appended) {
            if !appended.repeated {
                let positions = appended.first_position.0..=appended.last_position.0;
                positions.for_each(|position| self.count_one(Some(Position(position))));
                continue;
            }
            let versions = (appended.first_version.0..).map(Version);
            for (event, version) in append.events.iter().zip(versions) {
                let kept = stored.at(&append.stream.aggregate_id, version);
                match kept.map_or(Ok(()), |kept| check_same(kept, event)) {
                    Ok(()) => self.count_one(kept.map(Event::position)),
                    Err(reason) => self.report.bad(path, number_of(lines, event), &reason, options)?,
                }
            }
        }
        Ok(())
    }

    /// Counts an event that is stored, at this position if it was not dropped meanwhile. One that is repeated may be new: the answer to an earlier
    /// request may be lost.
    fn count_one(&mut self, position: Option<Position>) {
        let count = match position {
            Some(position) if !self.seen.insert(position) => &mut self.report.repeated,
            Some(position) if position > self.before.visible => &mut self.report.events,
            _ => &mut self.report.known,
        };
        *count += 1;
    }
}

fn number_of(lines: &[Line], event: &NewEvent<'_>) -> u64 {
    let found = lines.iter().find(|line| line.entry.event == *event);
    found.map_or(0, |line| line.number)
}

/// The events by their aggregates. Those of an aggregate keep their order.
fn group(lines: &[Line]) -> Vec<Append<'_>> {
    let mut places: HashMap<&StreamId, usize> = HashMap::new();
    let mut appends: Vec<Append<'_>> = Vec::new();
    for Line { entry, .. } in lines {
        let place = *places.entry(&entry.stream).or_insert(appends.len());
        if place == appends.len() {
            appends.push(Append::new(&entry.stream, Expected::Any, Vec::new()));
        }
        if let Some(append) = appends.get_mut(place) {
            append.events.push(entry.event.clone());
        }
    }
    appends
}

/// Whether other events would be accepted: these are invalid, too large, or some of them are in the store.
fn is_of_events(error: &ClientError) -> bool {
    match error {
        ClientError::Store(error) => {
            matches!(
                error,
                Error::Invalid { .. } | Error::Deleted { .. } | Error::Conflict(_)
            )
        }
        ClientError::Refused(refusal) => {
            ["body-too-large", "aggregate-deleted", "version-conflict"].contains(&&*refusal.name)
        }
        ClientError::Unreachable { .. } | ClientError::Answer { .. } | _ => false,
    }
}

/// Waits until the server may have room; until Ctrl-C, or for [`ROOM_WITHIN`].
fn wait() -> impl Fn(Duration, Duration) -> bool + Send + Sync + 'static {
    let is_told = AtomicBool::new(false);
    move |after, waited| {
        if waited + after > ROOM_WITHIN {
            return false;
        }
        if !is_told.swap(true, Ordering::Relaxed) {
            let text = "waiting until the server has room: its journal does not keep up";
            // A closed standard error is no reason to stop.
            drop(std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("warning: {}\n", clean(text)),
            ));
        }
        let until = Instant::now() + after;
        loop {
            if interrupt::check(String::new).is_err() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            if crossbeam_channel::after(left.min(POLL)).recv().is_err() {
                return false;
            }
        }
    }
}
