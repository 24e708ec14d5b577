//! Completions of shells, and manual pages.

use std::fs;
use std::process::Command;

use crate::support::{Folder, program, run};

fn completions(shell: &str) -> String {
    run(program().args(["completions", shell])).ok()
}

#[test]
fn every_shell_has_completions_for_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = completions(shell);
        for name in ["annals", "events", "audit", "completions", "csv-aggregate", "not-user"] {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
    let message = run(program().args(["completions", "tcsh"])).failed(2);
    assert!(
        message.contains("[possible values: bash, elvish, fish, powershell, zsh]"),
        "{message}"
    );
    run(program().args(["completions", "bash", "--store", "x"])).failed(2);
}

#[test]
fn bash_accepts_and_uses_the_completions() {
    if Command::new("bash").arg("--version").output().is_err() {
        // Without bash, the completions cannot be checked.
        return;
    }
    let folder = Folder::new();
    let script = folder.file("annals.bash", completions("bash"));
    let checked = run(Command::new("bash").arg("-n").arg(&script));
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""));
    let complete = |words: &str, count: usize| {
        let text = format!(
            ". {}; COMP_WORDS=({words}); COMP_CWORD={count}; _annals annals \"${{COMP_WORDS[{count}]}}\" ''; echo ${{COMPREPLY[*]}}",
            script.display()
        );
        run(Command::new("bash").args(["-c", &text])).ok().trim().to_owned()
    };
    assert_eq!(complete("annals ev", 1), "events event");
    assert_eq!(complete("annals list t", 2), "tags types");
    assert_eq!(complete("annals events --correl", 2), "--correlation");
    assert_eq!(complete("annals audit tr", 2), "trail");
    // Only the options of the command.
    assert_eq!(complete("annals demo --st", 2), "");
    assert_eq!(complete("annals events --st", 2), "--store");
}

#[test]
fn the_manual_page_has_every_command() {
    let page = run(program().arg("man")).ok();
    for text in [
        ".TH annals 1",
        "annals\\-events",
        "Exit codes:",
        "\\-\\-store",
        "annals\\-completions",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn a_folder_gets_a_page_for_each_command() {
    let folder = Folder::new();
    let to = folder.path("man1");
    let write = |more: &[&str]| run(program().args(["man", "--to"]).arg(&to).args(more));
    let message = write(&[]);
    assert!(message.stderr.contains("manual pages written to"), "{}", message.stderr);
    assert_eq!((message.code, message.stdout.as_str()), (0, ""));
    let page = |name: &str| fs::read_to_string(to.join(name)).unwrap();
    for name in [
        "annals.1",
        "annals-events.1",
        "annals-audit.1",
        "annals-audit-trail.1",
        "annals-man.1",
    ] {
        assert!(page(name).contains(".SH SYNOPSIS"), "{name}");
    }
    assert!(!to.join("annals-help.1").exists());
    // A page contains exactly the options of the command.
    assert!(page("annals-events.1").contains("\\-\\-since"));
    assert!(!page("annals-demo.1").contains("\\-\\-store"));
    // Pages that exist are replaced only when asked.
    let message = write(&[]).failed(2);
    assert!(message.contains("--force replaces it"), "{message}");
    write(&["--force"]).ok();
    run(program().args(["man", "--force"])).failed(2);
}
