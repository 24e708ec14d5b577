//! A pager for output that is longer than the screen: `ANNALS_PAGER`, `PAGER` or less.

use std::env;
use std::io::{self, IsTerminal as _, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::interrupt;

/// Options of less: quit if the text fits, show styles, and leave the text on the screen.
const DEFAULT: &str = "less -FRX";
/// The same options for a `less` that is configured without options.
const LESS: &str = "FRX";
/// Maximum bytes buffered for each cell of a screen: a character and a part of a style.
const BYTES_OF_CELL: usize = 8;

/// Writes to standard output. Starts the pager at the first line that does not fit on the screen.
pub(crate) struct Pager {
    state: State,
}

enum State {
    /// The output fits so far.
    Waiting {
        text: Vec<u8>,
        room: Room,
    },
    Paging(Child, Option<ChildStdin>),
    Direct,
    /// The reader has quit the pager: the rest of the output is discarded.
    Left,
}

/// The lines and bytes that fit on a screen.
#[derive(Clone, Copy, Debug)]
struct Room {
    lines: usize,
    bytes: usize,
}

impl Pager {
    /// A pager if standard output is a terminal and `is_wanted` is set.
    pub(crate) fn new(is_wanted: bool) -> Self {
        let size = terminal_size::terminal_size_of(io::stdout()).filter(|_| is_wanted && command().is_some());
        let state = size.map_or(State::Direct, |(columns, rows)| State::Waiting {
            text: Vec::new(),
            room: Room {
                // The prompt takes a line.
                lines: usize::from(rows.0).saturating_sub(1),
                bytes: usize::from(rows.0) * usize::from(columns.0) * BYTES_OF_CELL,
            },
        });
        Self { state }
    }

    /// Whether output that does not fit goes to a pager.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Paging(..))
    }

    /// Writes the rest, and waits until the reader quits the pager.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Left) {
            State::Direct | State::Left => Ok(()),
            State::Waiting { text, .. } => {
                io::stdout().write_all(&text)?;
                io::stdout().flush()
            }
            State::Paging(mut child, stdin) => {
                drop(stdin);
                // The exit code of a pager does not matter.
                drop(child.wait());
                interrupt::end_deferring();
                Ok(())
            }
        }
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let State::Waiting { text, room } = &mut self.state {
            text.extend(bytes);
            // The last line has a line end, so an empty part follows it.
            let parts = text.split(|byte| *byte == b'\n').count();
            if parts <= room.lines + 1 && text.len() <= room.bytes {
                return Ok(bytes.len());
            }
            let text = std::mem::take(text);
            self.state = start();
            self.write_all(&text)?;
            return Ok(bytes.len());
        }
        match &mut self.state {
            State::Paging(_, Some(stdin)) => stdin.write(bytes),
            State::Direct => io::stdout().write(bytes),
            State::Paging(_, None) | State::Waiting { .. } | State::Left => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Paging(_, Some(stdin)) => stdin.flush(),
            State::Direct => io::stdout().flush(),
            State::Paging(_, None) | State::Waiting { .. } | State::Left => Ok(()),
        }
    }
}

/// Starts the pager. If it cannot start, output goes to the terminal.
fn start() -> State {
    let Some(mut command) = command() else {
        return State::Direct;
    };
    let Ok(mut child) = command.stdin(Stdio::piped()).spawn() else {
        return State::Direct;
    };
    interrupt::begin_deferring();
    let stdin = child.stdin.take();
    State::Paging(child, stdin)
}

/// The command of the pager; an empty variable is none.
fn command() -> Option<Command> {
    let named = env::var("ANNALS_PAGER").ok();
    let usual = || env::var("PAGER").ok().filter(|pager| !pager.trim().is_empty());
    let text = named.or_else(usual).unwrap_or_else(|| DEFAULT.to_owned());
    let mut words = text.split_whitespace();
    let mut command = Command::new(words.next()?);
    command.args(words);
    if env::var_os("LESS").is_none() {
        command.env("LESS", LESS);
    }
    Some(command)
}

/// Whether hints are written to standard output: both streams are the same terminal, and a pager hides standard error.
pub(crate) fn takes_hints(pager: &Pager) -> bool {
    pager.is_on() && io::stderr().is_terminal()
}
