//! The sizes and the headers of source files.

use std::fs;

use super::{files, root};

/// The most lines of a source file.
const LINES_MAX: usize = 600;

/// Files that are part of a page, which says what they are.
const INCLUDED: [&str; 2] = ["tests/it/readme_example.rs", "src/cqrs/guide.rs"];

#[test]
fn a_file_grew_too_long_or_did_not_say_what_it_is() {
    let mut found = Vec::new();
    for folder in ["src", "cli/src", "crates", "tests", "benches", "examples"] {
        files(&root().join(folder), "rs", &mut found);
    }
    assert!(found.len() > 300, "only {} sources were found", found.len());
    for file in found {
        let text = fs::read_to_string(&file).expect("a source");
        let lines = text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines: split it by topic",
            file.display()
        );
        let is_shown = INCLUDED.iter().any(|included| file.ends_with(included));
        let has_header = is_shown || text.lines().take(6).any(|line| line.starts_with("//!"));
        assert!(has_header, "{} does not begin with what it is", file.display());
    }
}
