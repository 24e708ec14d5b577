//! The differences between two lists of values, for people to read.

use std::fmt::{Debug, Write};

/// The differences, a line each: `-` for what was expected, `+` for what is there. `None` when the lists are the same.
///
/// Of two values in the same place, only the lines of their pretty forms that differ are shown; all lines when the forms are the same, or differ in their
/// first line or in length.
pub(super) fn difference<T: Debug + PartialEq>(expected: &[T], actual: &[T]) -> Option<String> {
    if expected == actual {
        return None;
    }
    let mut text = String::new();
    for place in 0..expected.len().max(actual.len()) {
        add_place(&mut text, place + 1, expected.get(place), actual.get(place));
    }
    Some(text)
}

fn add_place<T: Debug + PartialEq>(text: &mut String, number: usize, expected: Option<&T>, actual: Option<&T>) {
    let (expected, actual) = match (expected, actual) {
        (Some(expected), Some(actual)) if expected == actual => return add(text, number, ' ', &format!("{actual:?}")),
        (expected, actual) => (pretty(expected), pretty(actual)),
    };
    if expected == actual || expected.len() != actual.len() || expected.first() != actual.first() {
        let lines = |sign, lines: Vec<String>| lines.into_iter().map(move |line| (sign, line));
        for (sign, line) in lines('-', expected).chain(lines('+', actual)) {
            add(text, number, sign, &line);
        }
        return;
    }
    for (place, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
        if expected != actual {
            add(text, number, '-', expected);
            add(text, number, '+', actual);
        } else if place == 0 {
            add(text, number, ' ', expected);
        }
    }
}

fn pretty<T: Debug>(value: Option<&T>) -> Vec<String> {
    let text = value.map(|value| format!("{value:#?}")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn add(text: &mut String, number: usize, sign: char, line: &str) {
    // Writing to a string does not fail.
    _ = writeln!(text, "{number:>4} {sign} {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Shape {
        Circle { radius: u32, color: &'static str },
        Point,
    }

    #[test]
    fn only_what_differs_is_shown() {
        let circle = |radius| Shape::Circle { radius, color: "red" };
        assert_eq!(difference(&[circle(1)], &[circle(1)]), None);
        let expected = [circle(1), circle(2), Shape::Point];
        let text = difference(&expected, &[circle(1), circle(3)]).expect("they differ");
        let want = "   1   Circle { radius: 1, color: \"red\" }\n   2   Circle {\n   2 -     radius: 2,\n   2 +     radius: 3,\n   3 - Point\n";
        assert_eq!(text, want);
        // Values that differ where their debug form does not show it.
        let text = difference(&[0.0, f64::NAN], &[0.0, f64::NAN]).expect("they differ");
        assert_eq!(text, "   1   0.0\n   2 - NaN\n   2 + NaN\n");
        let text = difference(&[Shape::Point], &[circle(1)]).expect("they differ");
        assert_eq!(text.lines().filter(|line| line.contains(" + ")).count(), 4, "{text}");
    }
}
