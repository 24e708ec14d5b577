//! `cdc`: streams the changes of a store in PostgreSQL as lines of JSON.

use std::time::Duration;

use annals::journal::JournalErrorKind;
use annals::journal::postgres::cdc::{CaptureSettings, ChangeCapture, Changes, SlotStatus};
use annals::{Clock as _, Error, JournalError, SystemClock};

use crate::args::{Cdc, Global, Written};
use crate::exit::{Failure, Outcome};
use crate::interrupt;
use crate::load::{Location, durable};
use crate::output::Out;
use crate::output::envelope::{Envelope, Origin};
use crate::output::sections::Sections;
use crate::output::text::{bytes, clean, counted};

/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause while the server is unreachable; each pause is twice the one before.
const PAUSE_AWAY_MAX: Duration = Duration::from_secs(10);
/// Pauses or batches between two checks of the slot's lag.
const GUARD_EVERY: u64 = 100;

pub(crate) fn run(global: &Global, cdc: &Cdc, out: &mut Out<'_>) -> Outcome {
    let Some(Location::Durable(url)) = &global.store else {
        let text = "changes are captured of a store in PostgreSQL: name it with --store postgres://USER@HOST/DATABASE";
        return Err(Failure::Usage(text.to_owned()));
    };
    let settings = CaptureSettings::default()
        .slot(cdc.slot.clone())
        .from_the_first(!cdc.new_only);
    let is_guard = cdc.guard.status || cdc.guard.drop_slot;
    let envelope = (!is_guard).then(|| envelope(global.format)).transpose()?;
    durable::check_exists(url)?;
    let Some(envelope) = envelope else {
        return guard(&mut url.slot(settings)?, cdc, out);
    };
    let stream = Stream {
        capture: url.capture(settings)?,
        cdc,
        envelope,
        store: durable::name(url),
        written: 0,
    };
    stream.run(out)
}

fn envelope(format: Option<Written>) -> Outcome<Envelope> {
    match format {
        None | Some(Written::Json | Written::Jsonl) => Ok(Envelope::Json),
        Some(Written::Cloudevents) => Ok(Envelope::CloudEvents),
        Some(Written::Debezium) => Ok(Envelope::Debezium),
        Some(Written::Csv | Written::Table) => Err(Failure::Usage(
            "changes are written as json, cloudevents or debezium: choose one with --format".to_owned(),
        )),
    }
}

/// Reports what the slot costs the server, and drops it when requested.
fn guard(capture: &mut ChangeCapture, cdc: &Cdc, out: &mut Out<'_>) -> Outcome {
    let mut status = capture.status().map_err(failure)?;
    if cdc.guard.drop_slot && status.lag_bytes.is_none() {
        out.hint("this store has no slot of this name to drop")?;
    } else if cdc.guard.drop_slot {
        capture.drop_slot().map_err(failure)?;
        status = capture.status().map_err(failure)?;
        out.hint("the slot is dropped; its checkpoint stays, and a later capture with this slot continues after it")?;
    }
    let mut sections = Sections::default();
    sections.count("position", "acknowledged position", status.position.0);
    let lag = status.lag_bytes;
    let shown = lag.map_or_else(|| "nothing: there is no slot".to_owned(), bytes);
    sections.figure("lagBytes", "kept by the server", lag.into(), shown);
    sections.write(out)
}

struct Stream<'a> {
    capture: ChangeCapture,
    cdc: &'a Cdc,
    envelope: Envelope,
    store: String,
    written: u64,
}

impl Stream<'_> {
    fn run(mut self, out: &mut Out<'_>) -> Outcome {
        let mut away = PAUSE;
        for turn in 0_u64.. {
            match self.turn(turn, out) {
                Ok(true) => away = PAUSE,
                Ok(false) if self.cdc.once => return Ok(()),
                Ok(false) => self.pause(PAUSE)?,
                Err(Stopped::Away(error)) if !self.cdc.once => {
                    out.hint(&clean(&format!("{error}; trying again")))?;
                    self.pause(away)?;
                    away = (away * 2).min(PAUSE_AWAY_MAX);
                }
                Err(Stopped::Away(error)) => return Err(failure(error)),
                Err(Stopped::For(failure)) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Writes the available changes. Returns whether there were any.
    fn turn(&mut self, turn: u64, out: &mut Out<'_>) -> Result<bool, Stopped> {
        if turn.is_multiple_of(GUARD_EVERY) {
            let status = self.capture.status()?;
            self.warn(&status, out)?;
        }
        let Some(changes) = self.capture.take()? else {
            return Ok(false);
        };
        self.write(&changes, out)?;
        self.capture.acknowledge(&changes)?;
        self.check()?;
        Ok(true)
    }

    fn write(&mut self, changes: &Changes, out: &mut Out<'_>) -> Outcome {
        let origin = Origin {
            store: &self.store,
            slot: &self.cdc.slot,
            lsn: changes.lsn,
            now: SystemClock.now(),
        };
        for event in changes.batch.events() {
            self.envelope.write(event, &origin, out.stdout)?;
            self.written += 1;
        }
        // Only changes that have left this program are acknowledged.
        Ok(out.stdout.flush()?)
    }

    /// Warns when the slot lags far behind.
    fn warn(&self, status: &SlotStatus, out: &mut Out<'_>) -> Outcome {
        let limit = self.cdc.warn_lag.0;
        let Some(lag) = status.lag_bytes.filter(|lag| *lag > limit) else {
            return Ok(());
        };
        let text = format!(
            "the server keeps {} of its log for the slot '{}': read faster, or drop it with --drop-slot",
            bytes(lag),
            self.cdc.slot
        );
        Ok(out.hint(&clean(&text))?)
    }

    fn pause(&self, pause: Duration) -> Outcome {
        let mut left = pause;
        while !left.is_zero() {
            self.check()?;
            let part = left.min(PAUSE);
            std::thread::park_timeout(part);
            left -= part;
        }
        self.check()
    }

    fn check(&self) -> Outcome {
        interrupt::check(|| {
            format!(
                "{} written; the next run goes on behind them",
                counted(self.written, "change")
            )
        })
    }
}

/// An error of a read, worded without appends.
fn failure(error: JournalError) -> Failure {
    if error.kind() == JournalErrorKind::Failed {
        return Failure::Runtime(error.to_string());
    }
    Error::from(error).into()
}

/// Why no more changes are available now.
enum Stopped {
    /// The server is unreachable.
    Away(JournalError),
    For(Failure),
}

impl From<JournalError> for Stopped {
    fn from(error: JournalError) -> Self {
        if error.kind() == JournalErrorKind::Retry {
            Self::Away(error)
        } else {
            Self::For(failure(error))
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::For(failure)
    }
}
