//! When the output has colours.

#![cfg(target_os = "linux")]

use crate::support::{Folder, alone, line, on_terminal_of, program, run};

const TABLE: &[&str] = &["events"];

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let folder = Folder::new();
    let store = folder.file("log.jsonl", line("order-1", "Sent", ""));
    for (variables, arguments, on_pipe, on_terminal) in [
        (&[][..], &[][..], false, true),
        (&[("NO_COLOR", "1")], &[], false, false),
        (&[("NO_COLOR", "")], &[], false, true),
        (&[("CLICOLOR_FORCE", "1")], &[], true, true),
        (&[("CLICOLOR_FORCE", "0")], &[], false, true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[], false, false),
        (&[("TERM", "dumb")], &[], false, false),
        (&[("NO_COLOR", "1")], &["--color", "always"], true, true),
        (&[("CLICOLOR_FORCE", "1")], &["--color", "never"], false, false),
        (&[("CLICOLOR_FORCE", "1")], &["--color", "auto"], true, true),
        // Other formats are for programs.
        (&[], &["--color", "always", "--format", "json"], false, false),
    ] {
        let mut piped = program();
        piped.arg("--store").arg(&store).args(TABLE).args(arguments);
        piped.envs(variables.iter().copied());
        assert_eq!(
            run(&mut piped).ok().contains('\u{1b}'),
            on_pipe,
            "{variables:?} {arguments:?}"
        );
        let mut shown = alone();
        shown.arg("--store").arg(&store).args(TABLE).args(arguments);
        shown.env("TERM", "xterm-256color").envs(variables.iter().copied());
        let text = on_terminal_of(80, &mut shown);
        assert_eq!(
            text.contains('\u{1b}'),
            on_terminal,
            "{variables:?} {arguments:?}\n{text}"
        );
    }
}

#[test]
fn refusals_and_errors_have_the_same_colours() {
    for (arguments, coloured) in [
        (&["--color", "always", "evnts"][..], true),
        (&["evnts", "--color=always"], true),
        (&["evnts"], false),
        (&["evnts", "--color", "never"], false),
        (&["--store", "absent.jsonl", "stats", "--color", "always"], true),
        (&["--store", "absent.jsonl", "stats"], false),
    ] {
        let told = run(program().args(arguments)).stderr;
        let label = if coloured {
            "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m "
        } else {
            "error: "
        };
        assert!(told.starts_with(label), "{arguments:?}: {told:?}");
    }
}

#[test]
fn a_payload_cannot_have_colours() {
    let folder = Folder::new();
    let rest = r#","eventData":"\u001b[31mred","metadata":{"userId":"\u001b[31mu","correlationId":"c"}"#;
    let store = folder.file("log.jsonl", line("a\\u001b[31m", "T\\u001b[31m", rest));
    let commands: [&[&str]; 9] = [
        &[],
        TABLE,
        &["event", "1"],
        &["stream", "a\u{1b}[31m"],
        &["list", "aggregates"],
        &["stats"],
        &["stats", "--type", "T*"],
        &["trace", "c"],
        &["events", "--explain", "--type", "T*"],
    ];
    for arguments in commands {
        let mut shown = alone();
        shown.arg("--store").arg(&store).args(arguments).env("TERM", "xterm");
        let text = on_terminal_of(120, &mut shown);
        assert!(!text.contains("\u{1b}[31m"), "{arguments:?}: {text:?}");
    }
}
