//! `man`: the manual pages, from the same definition as `--help`.

use std::io::Write as _;
use std::path::Path;

use annals::journal::file::Folder;
use clap::Command;
use clap_mangen::Man as Page;

use crate::args::{Cli, Man};
use crate::commands::target;
use crate::exit::{Failure, Outcome, of_output};
use crate::output::Out;
use crate::output::sink::Sink;
use crate::output::text::{clean, counted};

pub(crate) fn write(man: &Man, out: &mut Out<'_>) -> Outcome {
    let mut program = Cli::described().disable_help_subcommand(true);
    program.build();
    let Some(to) = &man.to else {
        return Ok(Page::new(program).render(out.stdout)?);
    };
    Folder::create(to).map_err(|error| Failure::Runtime(of_output(to, &error)))?;
    let written = write_all(&program, to, man.force)?;
    let text = format!("{} written to {}", counted(written, "manual page"), to.display());
    Ok(out.hint(&clean(&text))?)
}

/// Writes the page of `command` and those of its own commands; returns their number.
fn write_all(command: &Command, to: &Path, force: bool) -> Outcome<u64> {
    let page = Page::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    let mut sink = Sink::create(&target(&to.join(page.get_filename()), force, Vec::new()))?;
    sink.write_all(&text)?;
    sink.keep()?;
    let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
    visible
        .map(|command| write_all(command, to, force))
        .try_fold(1, |sum, written| Ok(sum + written?))
}
