//! The program `annals` as a library: so that its readers can be tested and fuzzed.

mod args;
mod commands;
pub mod demo;
mod exit;
mod hex;
mod interrupt;
pub mod load;
mod output;
mod watch;
mod when;

use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::args::Cli;
use crate::exit::{Failure, Outcome};
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
            // A help text that nobody reads to its end is no failure.
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
    let mut stdout = BufWriter::with_capacity(64 << 10, standard_output(has_styles));
    let zone = cli.global.time_zone.as_deref().unwrap_or("UTC");
    let zone = when::parse_zone(zone).map_err(Failure::Usage)?;
    let mut out = Out {
        stdout: &mut stdout,
        stderr: &mut io::stderr(),
        format,
        zone,
        screen,
        messages: Screen::of_stderr(cli.global.color),
    };
    let done = commands::run(cli, &mut out);
    let flushed = stdout.flush();
    done?;
    Ok(flushed?)
}

/// The standard output, exact; what a terminal would obey is shown to it instead, but for the program's own styles.
fn standard_output(has_styles: bool) -> Box<dyn io::Write> {
    let stdout = io::stdout().lock();
    if stdout.is_terminal() {
        Box::new(Terminal::new(stdout, has_styles))
    } else {
        Box::new(stdout)
    }
}
