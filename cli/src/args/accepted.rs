//! Which command takes which of the options that every command line may have.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// The options of [`Global`](super::Global) by their ids; `csv` stands for those that name columns.
const OPTIONS: [(&str, &[&str]); 11] = [
    ("store", &["store"]),
    ("namespace", &["namespace"]),
    ("attach", &["attach"]),
    ("format", &["format"]),
    ("time-zone", &["time_zone"]),
    ("skip-bad", &["skip_bad"]),
    ("color", &["color"]),
    ("no-pager", &["no_pager"]),
    ("input", &["input"]),
    ("map", &["map", "keep_unknown"]),
    (
        "csv",
        &[
            "csv_aggregate",
            "csv_type",
            "csv_time",
            "csv_user",
            "csv_organization",
            "csv_correlation",
            "csv_causation",
            "csv_aggregate_type_column",
            "csv_aggregate_type",
        ],
    ),
];

const READS: &[&str] = &[
    "store",
    "namespace",
    "attach",
    "format",
    "time-zone",
    "skip-bad",
    "color",
    "input",
    "map",
    "csv",
];
const SHOWS: &[&str] = &[
    "store",
    "namespace",
    "attach",
    "format",
    "time-zone",
    "skip-bad",
    "color",
    "no-pager",
    "input",
    "map",
    "csv",
];

/// The options that each command takes; without a name, the tour.
const TAKEN: &[(&str, &[&str])] = &[
    ("", SHOWS),
    ("events", SHOWS),
    ("stream", SHOWS),
    ("event", SHOWS),
    ("search", SHOWS),
    ("tail", READS),
    ("list", SHOWS),
    ("stats", SHOWS),
    ("trends", SHOWS),
    ("heatmap", SHOWS),
    ("trace", SHOWS),
    (
        "import",
        &[
            "store",
            "namespace",
            "format",
            "time-zone",
            "skip-bad",
            "color",
            "input",
            "map",
            "csv",
        ],
    ),
    ("export", READS),
    (
        "serve",
        &["store", "format", "skip-bad", "color", "input", "map", "csv"],
    ),
    ("archive", &["store", "format", "time-zone", "color"]),
    ("backup", &["store", "format", "time-zone", "color"]),
    ("cdc", &["store", "format", "color"]),
    ("relay", &["store", "format", "color"]),
    (
        "mcp",
        &[
            "store",
            "namespace",
            "attach",
            "time-zone",
            "skip-bad",
            "color",
            "input",
            "map",
            "csv",
        ],
    ),
    ("audit", READS),
    #[cfg(feature = "bench")]
    ("bench", &["format", "color"]),
    ("verify", &["store", "format", "color"]),
    ("repair", &["store", "format", "color"]),
    ("demo", &["format", "time-zone", "color", "no-pager"]),
    ("completions", &["color"]),
    ("man", &["color"]),
];

/// Why an option is refused, where the name of the command does not say it.
const REASONS: [(&str, &str, &str); 7] = [
    (
        "import",
        "attach",
        "a store with archives attached can only be read: import without --attach",
    ),
    (
        "serve",
        "attach",
        "a store with archives attached can only be read: serve without --attach",
    ),
    (
        "archive",
        "attach",
        "a store with archives attached can only be read: archive without --attach",
    ),
    (
        "backup",
        "attach",
        "archives are copied by themselves: they never change",
    ),
    (
        "cdc",
        "attach",
        "changes are of what is written, and archives are not written",
    ),
    (
        "relay",
        "attach",
        "a store with archives attached can only be read, and a relay keeps its checkpoint in the store",
    ),
    ("demo", "store", "name the file to write with --output"),
];

/// Refuses an option that the command line has and its command does not take.
pub(super) fn check(matches: &ArgMatches) -> Result<(), String> {
    let (command, taken) = taken(matches);
    for (option, ids) in OPTIONS.iter().filter(|(option, _)| !taken.contains(option)) {
        for id in *ids {
            if matches.value_source(id) == Some(ValueSource::CommandLine) {
                return Err(refusal(command, option, id));
            }
        }
    }
    Ok(())
}

/// Whether the command of the command line takes `--store`.
pub(super) fn takes_store(matches: &ArgMatches) -> bool {
    taken(matches).1.contains(&"store")
}

/// Whether the command of the command line writes an answer that is read on a screen.
pub(super) fn is_paged(matches: &ArgMatches) -> bool {
    taken(matches).1.contains(&"no-pager")
}

/// Hides from the help of each command the options that it does not take.
pub(super) fn hide_others(mut program: Command) -> Command {
    for (command, taken) in TAKEN.iter().filter(|(name, _)| !name.is_empty()) {
        let others = OPTIONS.iter().filter(|(option, _)| !taken.contains(option));
        let others: Vec<&str> = others.flat_map(|(_, ids)| *ids).copied().collect();
        // An option of the program is the command's too, unless the command has one of this name.
        let hidden = program
            .get_arguments()
            .filter(|option| others.contains(&option.get_id().as_str()));
        let hidden: Vec<Arg> = hidden.map(|option| option.clone().hide(true)).collect();
        program = program.mut_subcommand(command, |command| command.args(hidden));
    }
    program
}

/// Gives each command copies of the options that it takes: completions list hidden options too.
pub(super) fn with_own_options(program: Command) -> Command {
    let options: Vec<Arg> = program
        .get_arguments()
        .filter(|option| option.is_global_set())
        .cloned()
        .collect();
    let mut program = program.mut_args(|option| option.global(false));
    for (command, taken) in TAKEN.iter().filter(|(name, _)| !name.is_empty()) {
        let taken = OPTIONS.iter().filter(|(option, _)| taken.contains(option));
        let ids: Vec<&str> = taken.flat_map(|(_, ids)| *ids).copied().collect();
        program = program.mut_subcommand(command, |command| {
            let own: Vec<String> = command.get_arguments().map(|own| own.get_id().to_string()).collect();
            let is_given = |id: &str| ids.contains(&id) && !own.iter().any(|own| own == id);
            command.args(options.iter().filter(|option| is_given(option.get_id().as_str())))
        });
    }
    program
}

/// The command of the command line, and the options that it takes.
fn taken(matches: &ArgMatches) -> (&str, &'static [&'static str]) {
    let command = matches.subcommand_name().unwrap_or_default();
    let taken = TAKEN.iter().find(|(name, _)| *name == command);
    (command, taken.map_or(&[], |(_, options)| options))
}

fn refusal(command: &str, option: &str, id: &str) -> String {
    let flag = id.replace('_', "-");
    let reason = REASONS
        .iter()
        .find(|(of, about, _)| (*of, *about) == (command, option))
        .map(|(_, _, reason)| format!(": {reason}"));
    format!(
        "`annals {command}` does not take --{flag}{}",
        reason.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_command_and_every_option_is_in_the_tables() {
        let program = Cli::command();
        let commands = program.get_subcommands().map(Command::get_name);
        let named: Vec<&str> = TAKEN
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !name.is_empty())
            .collect();
        assert_eq!(commands.collect::<Vec<_>>(), named);
        let globals = program.get_arguments().filter(|argument| argument.is_global_set());
        let globals: Vec<&str> = globals.map(|argument| argument.get_id().as_str()).collect();
        assert_eq!(
            globals,
            OPTIONS.iter().flat_map(|(_, ids)| *ids).copied().collect::<Vec<_>>()
        );
    }
}
