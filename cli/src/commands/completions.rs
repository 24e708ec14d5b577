//! `completions`: what a shell completes behind `annals`.

use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::Outcome;
use crate::output::Out;

pub(crate) fn write(shell: Shell, out: &mut Out<'_>) -> Outcome {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::completed(), "annals", &mut script);
    Ok(out.stdout.write_all(&script)?)
}
