//! A pager for answers that are longer than the screen: `ANNALS_PAGER`, `PAGER` or less.

use std::env;
use std::io::{self, IsTerminal as _, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::interrupt;

/// Quits where the text fits, shows styles, and leaves the text on the screen.
const DEFAULT: &str = "less -FRX";
/// The same for a less that is named without options.
const LESS: &str = "FRX";
/// Bytes of a screen, at most, for each of its cells: a character and a part of a style.
const BYTES_OF_CELL: usize = 8;

/// Writes to the standard output; through a pager from the line on that does not fit on the screen.
pub(crate) struct Pager {
    state: State,
}

enum State {
    /// What there is fits so far.
    Waiting {
        text: Vec<u8>,
        room: Room,
    },
    Paging(Child, Option<ChildStdin>),
    Direct,
    /// The reader has left: the rest of the answer does not go to the terminal.
    Left,
}

/// The lines and bytes that a screen has room for.
#[derive(Clone, Copy, Debug)]
struct Room {
    lines: usize,
    bytes: usize,
}

impl Pager {
    /// A pager where there is a terminal, if it `is_wanted`.
    pub(crate) fn new(is_wanted: bool) -> Self {
        let size = terminal_size::terminal_size_of(io::stdout()).filter(|_| is_wanted && command().is_some());
        let state = size.map_or(State::Direct, |(columns, rows)| State::Waiting {
            text: Vec::new(),
            room: Room {
                // The prompt has a line.
                lines: usize::from(rows.0).saturating_sub(1),
                bytes: usize::from(rows.0) * usize::from(columns.0) * BYTES_OF_CELL,
            },
        });
        Self { state }
    }

    /// Whether a pager gets what does not fit.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Paging(..))
    }

    /// Writes what is left, and waits until the reader leaves the pager.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Left) {
            State::Direct | State::Left => Ok(()),
            State::Waiting { text, .. } => {
                io::stdout().write_all(&text)?;
                io::stdout().flush()
            }
            State::Paging(mut child, stdin) => {
                drop(stdin);
                // How a pager ends is no concern of the answer.
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
            // The last line ends, so there is an empty part behind it.
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

/// Starts the pager. One that cannot be started is not missed.
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

/// Whether hints go where answers go: both are seen on one terminal, and a pager hides the standard error.
pub(crate) fn takes_hints(pager: &Pager) -> bool {
    pager.is_on() && io::stderr().is_terminal()
}
