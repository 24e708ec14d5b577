//! The lines that differ between two texts.

use std::fmt::Write;

/// The most lines that are shown.
const SHOWN_MAX: usize = 40;

/// The lines that differ, with their numbers: `-` for what was expected, `+` for what is there. `None` when the texts are the same.
///
/// What is the same at the begin and at the end is left out, so that an inserted line is one line.
pub(super) fn differing_lines(expected: &str, actual: &str) -> Option<String> {
    if expected == actual {
        return None;
    }
    let (expected, actual): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let before = expected.iter().zip(&actual).take_while(same).count();
    let (expected_rest, actual_rest) = (&expected[before..], &actual[before..]);
    let after = expected_rest
        .iter()
        .rev()
        .zip(actual_rest.iter().rev())
        .take_while(same)
        .count();
    let mut text = String::new();
    add(&mut text, '-', before, &expected_rest[..expected_rest.len() - after]);
    add(&mut text, '+', before, &actual_rest[..actual_rest.len() - after]);
    if text.is_empty() {
        text.push_str("they differ in the end of the last line\n");
    }
    Some(text)
}

fn add(text: &mut String, sign: char, before: usize, lines: &[&str]) {
    for (place, line) in lines.iter().take(SHOWN_MAX).enumerate() {
        // Writing to a string does not fail.
        _ = writeln!(text, "{:>5} {sign} {line}", before + place + 1);
    }
    if lines.len() > SHOWN_MAX {
        _ = writeln!(text, "      {sign} and {} more lines", lines.len() - SHOWN_MAX);
    }
}
