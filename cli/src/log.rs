//! The log of `annals serve`: on standard error, by a thread of its own, so that a reader that stops reading stops no request.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::serve::{Form, Level};
use crate::exit::{Failure, Outcome};
use crate::otlp::Spans;

/// Lines that wait to be written, at most; later ones are counted, and lost.
const WAITING_MAX: usize = 4_096;
/// How long the end of the program waits for the last lines.
const END_MAX: Duration = Duration::from_secs(1);

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Off => Self::OFF,
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

enum Message {
    Line(Vec<u8>),
    /// Every line before this one is written when the sender is dropped.
    End(Sender<()>),
}

/// Gives lines to the thread that writes them.
#[derive(Clone)]
struct Lines {
    sender: Sender<Message>,
    lost: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The log of this process, from [`start`] on.
#[must_use = "`end` writes the last lines"]
pub(crate) struct Log(Sender<Message>);

/// Starts the log, and the export of spans if there is one. To be called once.
///
/// # Errors
///
/// [`Failure::Runtime`] if the thread cannot be started.
pub(crate) fn start(level: Level, form: Form, spans: Option<&Spans>) -> Outcome<Log> {
    let (sender, receiver) = bounded(WAITING_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let lines = Lines {
        sender: sender.clone(),
        lost: Arc::clone(&lost),
    };
    let thread = std::thread::Builder::new().name("annals-log".to_owned());
    let writing = thread.spawn(move || write_all(&receiver, &lost, &mut io::stderr()));
    writing.map_err(|error| Failure::Runtime(format!("cannot start the thread of the log: {error}")))?;
    // Only the project's own events: what others write of a request is not known to be free of its values.
    let targets = Targets::new()
        .with_target("annals", level)
        .with_target("annals_server", level);
    let layer = fmt::layer().with_writer(lines).with_target(false);
    let layer = match form {
        Form::Text => layer.with_filter(targets).boxed(),
        Form::Json => layer
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_filter(targets)
            .boxed(),
    };
    let layers: Vec<_> = std::iter::once(layer).chain(spans.map(Spans::layer)).collect();
    let started = tracing_subscriber::registry().with(layers).try_init();
    started.map_err(|error| Failure::Runtime(format!("cannot start the log: {error}")))?;
    Ok(Log(sender))
}

impl Log {
    /// Waits until every line is written, for a second at most. Returns whether every line is.
    pub(crate) fn end(self) -> bool {
        let (done, ended) = bounded(0);
        let is_asked = self.0.send_timeout(Message::End(done), END_MAX).is_ok();
        // Nothing is sent: the other side is dropped.
        is_asked && ended.recv_timeout(END_MAX) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Writes lines as they come. Where standard error is closed, they are discarded.
fn write_all(receiver: &Receiver<Message>, lost: &AtomicU64, out: &mut impl Write) {
    for message in receiver {
        match message {
            Message::Line(line) => drop(out.write_all(&line)),
            Message::End(done) => drop(done),
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            drop(writeln!(
                out,
                "{missing} lines of the log are lost: standard error was not read in time"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stopped_reading_stopped_the_program() {
        let (sender, receiver) = bounded(2);
        let lost = Arc::new(AtomicU64::new(0));
        let mut lines = Lines {
            sender,
            lost: Arc::clone(&lost),
        };
        for number in 1..=5 {
            assert_eq!(lines.write(format!("{number}\n").as_bytes()).unwrap(), 2);
        }
        drop(lines);
        let mut written = Vec::new();
        write_all(&receiver, &lost, &mut written);
        let text = String::from_utf8(written).unwrap();
        assert_eq!(
            text,
            "1\n3 lines of the log are lost: standard error was not read in time\n2\n"
        );
    }
}
