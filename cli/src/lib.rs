//! The program `annals` as a library: so that its readers can be tested and fuzzed.

mod args;
mod backup;
mod commands;
pub mod demo;
mod exit;
mod hex;
mod interrupt;
pub mod load;
#[cfg(feature = "serve")]
mod log;
mod mcp;
#[cfg(feature = "serve")]
mod otlp;
mod output;
mod watch;
mod when;

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;

use annals::{Clock as _, SystemClock};

use crate::args::Cli;
use crate::exit::{Failure, Outcome};
use crate::output::pager::{self, Pager};
use crate::output::screen::Screen;
use crate::output::terminal::Terminal;
use crate::output::{Format, Out};

/// Runs the program: reads the command line, does what it says, and answers with what it ends with.
pub fn run() -> ExitCode {
    match Cli::read() {
        Ok(cli) => match carry_out(&cli) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(&mut io::stderr(), Screen::of_stderr(cli.global.color)),
        },
        Err(refusal) => {
            // A reader that closes the pipe before the end of a help text is no failure.
            drop(refusal.print());
            ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2))
        }
    }
}

/// An event as `export` writes it: one JSON object, without an end of line. `None` if it cannot be written.
pub fn json_line(event: &annals::Event) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let wire = output::wire::Wire::from(event);
    wire.write_json(&mut line, output::payload::Fidelity::Exact).ok()?;
    Some(line)
}

fn carry_out(cli: &Cli) -> Outcome {
    interrupt::listen()?;
    let format = cli.format().map_err(Failure::Usage)?.unwrap_or_default();
    let screen = Screen::of_stdout(cli.global.color);
    let has_styles = screen.colour && format == Format::Table;
    let output = Output::new(cli.is_paged, has_styles);
    let has_hints = output.takes_hints();
    let mut stdout = BufWriter::with_capacity(64 << 10, output);
    let zone = cli.global.time_zone.as_deref().unwrap_or("UTC");
    let zone = when::parse_zone(zone).map_err(Failure::Usage)?;
    let mut out = Out {
        stdout: &mut stdout,
        stderr: &mut io::stderr(),
        format,
        zone,
        now: SystemClock.now(),
        screen,
        messages: Screen::of_stderr(cli.global.color),
        has_hints,
    };
    let done = commands::run(cli, &mut out);
    let flushed = stdout.flush();
    // A pager that was left early is waited for too.
    let finished = stdout.get_mut().finish();
    done?;
    flushed?;
    Ok(finished?)
}

/// The standard output.
enum Output {
    /// Exact. Not locked meanwhile: a store that `annals bench` measures may print.
    Pipe(io::Stdout),
    /// Control characters of values are shown as text, so that they cannot control the terminal; the program's own styles remain.
    Terminal(Terminal<Pager>),
}

impl Output {
    fn new(is_paged: bool, has_styles: bool) -> Self {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            Self::Terminal(Terminal::new(Pager::new(is_paged), has_styles))
        } else {
            Self::Pipe(stdout)
        }
    }

    fn takes_hints(&self) -> bool {
        matches!(self, Self::Terminal(terminal) if pager::takes_hints(terminal.inner()))
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Pipe(_) => Ok(()),
            Self::Terminal(terminal) => terminal.inner_mut().finish(),
        }
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(stdout) => stdout.write(bytes),
            Self::Terminal(terminal) => terminal.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Pipe(stdout) => stdout.flush(),
            Self::Terminal(terminal) => terminal.flush(),
        }
    }
}
