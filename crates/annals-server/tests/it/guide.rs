//! The examples of `docs/server.md` are run by curl, and answer as the guide shows.

use std::process::Command;

use crate::support::Running;

/// The commands of the guide, each with the answer that is shown below it.
fn examples() -> Vec<(String, String)> {
    let guide = include_str!("../../../../docs/server.md");
    let mut examples: Vec<(String, String)> = Vec::new();
    let mut in_example = false;
    for line in guide.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            examples.push((command.to_owned(), String::new()));
            in_example = true;
        } else if line.starts_with("```") {
            in_example = false;
        } else if let Some((_, answer)) = examples.last_mut().filter(|_| in_example) {
            answer.push_str(line);
        }
    }
    examples
}

/// The answer without what differs from run to run.
fn steady(answer: &str) -> String {
    let mut text = answer.to_owned();
    for name in ["eventId", "timestamp", "recordedAt"] {
        let opening = format!("\"{name}\":\"");
        let parts: Vec<&str> = text.split(&opening).collect();
        let rest = parts[1..]
            .iter()
            .map(|part| format!("{opening}…{}", &part[part.find('"').unwrap()..]));
        text = std::iter::once(parts[0].to_owned()).chain(rest).collect();
    }
    text
}

#[test]
fn an_example_of_the_guide_answered_otherwise() {
    let server = Running::new();
    let examples = examples();
    assert!(examples.len() >= 7, "{}", examples.len());
    for (command, shown) in examples {
        let command = command.replace("localhost:4280", &server.address.to_string());
        let ran = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(
            ran.status.success(),
            "{command} needs curl 7.82 or later: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        assert_eq!(steady(std::str::from_utf8(&ran.stdout).unwrap()), shown, "{command}");
    }
}
