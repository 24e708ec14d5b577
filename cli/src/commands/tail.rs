//! `tail`: the last events, and with `--follow` those that are appended from then on.

use std::path::Path;
use std::time::Duration;

use annals::{Delivery, Event, Order, Position, Query, Store, StoreUrl};
use crossbeam_channel::RecvTimeoutError;

use crate::args::Global;
use crate::args::tail::Tail;
use crate::commands::{filters, nearest, open, options};
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::growing::{self, Growing, Step};
use crate::load::loader::{Loader, Refusal};
#[cfg(feature = "serve")]
use crate::load::remote;
use crate::load::{Location, Options, durable};
use crate::output::events::{write_all, write_line};
use crate::output::text::{clean, counted};
use crate::output::{Format, Out};

/// How long the command waits for events before it checks for Ctrl-C.
const POLL: Duration = Duration::from_millis(100);
/// Bytes of events in memory, at most, while a file or a pipe is followed.
const MEMORY_BYTES: u64 = 256 << 20;

pub(crate) fn run(global: &Global, tail: &Tail, out: &mut Out<'_>) -> Outcome {
    let query = filters::query(&tail.filters, out.times())?;
    match &global.store {
        Some(location) if tail.follow => follow(location, global, (query, tail.lines), out),
        Some(_) | None => {
            let store = open(global, out)?;
            nearest::hint(&store, &tail.filters, out)?;
            list(&last(&store, query, tail.lines)?, out)
        }
    }
}

/// The last `lines` events that match `query`, ascending by position.
fn last(store: &Store, query: Query, lines: usize) -> Outcome<Vec<Event>> {
    if lines == 0 {
        return Ok(Vec::new());
    }
    let query = query.order(Order::PositionDescending).limit(lines);
    let mut events = store.query(query).page()?.events;
    events.reverse();
    Ok(events)
}

fn list(events: &[Event], out: &mut Out<'_>) -> Outcome {
    if !out.is_table() {
        write_all(out, events)?;
        return Ok(());
    }
    if events.is_empty() {
        return out.line("no events");
    }
    events.iter().try_for_each(|event| write_line(event, false, out))
}

fn follow(location: &Location, global: &Global, which: (Query, usize), out: &mut Out<'_>) -> Outcome {
    let refused = |text: &str| Err(Failure::Usage(text.to_owned()));
    if out.format == Format::Json {
        return refused("an array of JSON ends, and --follow does not: write --format jsonl");
    }
    match location {
        Location::File(path) => {
            let loader = Loader::with_budget(MEMORY_BYTES)?;
            let options = options(global)?;
            let mut log = Log::new(path, loader, which, &options)?;
            log.follow(&options, out)
        }
        Location::Durable(url) if url.folder().is_none() => follow_store(url, which, out),
        Location::Durable(_) => refused(
            "a store in a folder cannot be followed: while one program writes it, no other reads it; follow a store in PostgreSQL, a file *.jsonl, \
             or a pipe",
        ),
        #[cfg(feature = "serve")]
        Location::Server(url) => follow_server(url, which, out),
        #[cfg(not(feature = "serve"))]
        Location::Server(_) => refused("this program was built without servers"),
        Location::Memory => {
            refused("a store in memory has no other writer; follow a store in PostgreSQL, a file *.jsonl, or a pipe")
        }
    }
}

/// The number of events that were shown.
#[derive(Default)]
struct Shown(u64);

impl Shown {
    /// Writes an event and flushes it at once.
    fn show(&mut self, event: &Event, out: &mut Out<'_>) -> Outcome {
        write_line(event, self.0 == 0, out)?;
        self.0 += 1;
        Ok(out.stdout.flush()?)
    }

    fn check(&self) -> Outcome {
        interrupt::check(|| format!("{} written", counted(self.0, "event")))
    }
}

/// Follows a store in a database, which other programs write.
fn follow_store(url: &StoreUrl, (query, lines): (Query, usize), out: &mut Out<'_>) -> Outcome {
    let store = durable::follow(url)?;
    let seen = store.visible();
    let mut shown = Shown::default();
    for event in last(&store, query.clone().until(seen), lines)? {
        shown.show(&event, out)?;
    }
    let mut tail = store.tail(query, seen)?;
    loop {
        shown.check()?;
        match tail.next_timeout(POLL) {
            Some(Delivery::Event(event)) => shown.show(&event, out)?,
            Some(Delivery::Gap(gap)) => out.warn(&clean(&format!("{gap}")))?,
            None => {}
        }
    }
}

/// Follows a store behind a server, until the server stops.
#[cfg(feature = "serve")]
fn follow_server(url: &str, (query, lines): (Query, usize), out: &mut Out<'_>) -> Outcome {
    let client = remote::open(url)?;
    let seen = client.state()?.visible;
    let mut shown = Shown::default();
    if lines > 0 {
        let last = query.clone().until(seen).order(Order::PositionDescending);
        let mut events = client.query(last.limit(lines)).collect::<Result<Vec<_>, _>>()?;
        events.reverse();
        events.iter().try_for_each(|event| shown.show(event, out))?;
    }
    let deliveries = remote::read_ahead(client.tail(&query, seen)?)?;
    loop {
        shown.check()?;
        match deliveries.recv_timeout(POLL) {
            Ok(Ok(Delivery::Event(event))) => shown.show(&event, out)?,
            Ok(Ok(Delivery::Gap(gap))) => out.warn(&clean(&format!("{gap}")))?,
            Ok(Err(error)) => return Err(error.into()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::Runtime(format!("{url} has stopped"))),
        }
    }
}

/// A log file or a pipe being followed. Its events go through a store in memory, which gives them positions and versions.
struct Log<'a> {
    path: &'a Path,
    growing: Growing,
    loader: Loader,
    tail: annals::Tail,
    query: Query,
    lines: usize,
    /// Whether events are shown as they arrive. The earlier contents of a file are not.
    is_live: bool,
    shown: Shown,
}

impl<'a> Log<'a> {
    fn new(path: &'a Path, loader: Loader, (query, lines): (Query, usize), options: &Options) -> Outcome<Self> {
        let growing = growing::follow(path, options)?;
        Ok(Self {
            path,
            tail: loader.store.tail(query.clone(), Position(0))?,
            loader,
            query,
            lines,
            is_live: growing.is_pipe,
            growing,
            shown: Shown::default(),
        })
    }

    fn follow(&mut self, options: &Options, out: &mut Out<'_>) -> Outcome {
        loop {
            self.shown.check()?;
            match self.growing.steps.recv_timeout(POLL) {
                Ok(Step::End) => return Ok(()),
                Ok(step) => self.take(step, options, out)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let text = format!("{}: reading stopped, by a fault of this program", self.path.display());
                    return Err(Failure::Runtime(text));
                }
            }
        }
    }

    fn take(&mut self, step: Step, options: &Options, out: &mut Out<'_>) -> Outcome {
        match step {
            Step::Line(number, entry) => {
                let taken = match *entry {
                    Ok(mut entry) => self.loader.take(&mut entry),
                    Err(reason) => Err(Refusal::Line(reason)),
                };
                self.taken(number, taken, options, out)
            }
            Step::CaughtUp => self.begin(out),
            Step::Truncated => Ok(out.warn(&clean(&format!(
                "{} was truncated: reading goes on at its beginning",
                self.path.display()
            )))?),
            Step::Failed(error) => Err(Failure::of_input(self.path, &error)),
            Step::End => Ok(()),
        }
    }

    fn taken(&mut self, number: u64, taken: Result<(), Refusal>, options: &Options, out: &mut Out<'_>) -> Outcome {
        match taken {
            Ok(()) => self.show_new(out),
            Err(Refusal::Line(reason)) => {
                self.loader.bad(self.path, number, &reason, options)?;
                let text = format!("{}: line {number} left out: {reason}", self.path.display());
                Ok(out.warn(&clean(&text))?)
            }
            Err(Refusal::Store(error)) => Err(error.into()),
        }
    }

    /// Shows the last existing events, and every event from now on.
    fn begin(&mut self, out: &mut Out<'_>) -> Outcome {
        for event in last(&self.loader.store, self.query.clone(), self.lines)? {
            self.shown.show(&event, out)?;
        }
        self.tail.skip_to(self.loader.store.visible());
        self.is_live = true;
        Ok(())
    }

    fn show_new(&mut self, out: &mut Out<'_>) -> Outcome {
        while self.is_live && !self.tail.is_caught_up() {
            if let Some(Delivery::Event(event)) = self.tail.try_next() {
                self.shown.show(&event, out)?;
            }
        }
        Ok(())
    }
}
