//! Text for a terminal: escaping, shortening, and readable numbers.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// `text` without characters that could move the cursor, change colours or reverse the writing direction.
///
/// Payloads are hostile: control characters are shown as escapes.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hostile(character) {
            cleaned.extend(character.escape_default());
        } else {
            cleaned.push(character);
        }
    }
    Cow::Owned(cleaned)
}

/// Controls (C0, DEL, C1), line and paragraph separators, marks and overrides of direction, and the byte order mark.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` cleaned and cut to `width` columns, with an ellipsis if it was cut.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    cut(&clean(text), width)
}

/// `text` cut to `width` columns, with an ellipsis if it was cut.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    fitting(text.chars(), width.saturating_sub(1)) + "…"
}

/// `text` cut to `width` columns, with an ellipsis in the middle.
pub(crate) fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let start = fitting(text.chars(), room.div_ceil(2));
    let end: String = fitting(text.chars().rev(), room / 2).chars().rev().collect();
    // A combining mark without its letter would be drawn on the ellipsis.
    let end = end.trim_start_matches(|character: char| character.width() == Some(0));
    format!("{start}…{end}")
}

/// The first of `characters` that fit into `width` columns.
fn fitting(characters: impl Iterator<Item = char>, width: usize) -> String {
    let mut fitting = String::new();
    for character in characters {
        fitting.push(character);
        // The width of the whole text: some characters change the width of the one before.
        if fitting.width() > width {
            fitting.pop();
            break;
        }
    }
    fitting
}

/// `text` padded with spaces to `width` columns.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let mut padded = text.to_owned();
    padded.extend(std::iter::repeat_n(' ', width.saturating_sub(text.width())));
    padded
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes with a unit: `55.2 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut scaled = tenths(count);
    let mut unit = 0;
    while scaled >= 10_240 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", scaled / 10, scaled % 10, UNITS.get(unit).unwrap_or(&""))
}

/// Tenths of a KiB.
fn tenths(count: u64) -> u64 {
    u64::try_from(u128::from(count) * 10 / 1024).unwrap_or(u64::MAX)
}

/// JSON over several lines. Only the space between tokens changes; numbers, escapes and order are kept.
pub(crate) fn indented(json: &str) -> String {
    let (mut text, mut depth) = (String::with_capacity(json.len() * 2), 0_usize);
    let (mut in_text, mut escaped) = (false, false);
    let mut characters = json.chars().peekable();
    while let Some(character) = characters.next() {
        if in_text {
            text.push(character);
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                text.push(character);
                while characters.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(close) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(close);
                } else {
                    depth += 1;
                    break_line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(character);
                break_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            character if character.is_ascii_whitespace() => {}
            character => {
                in_text = character == '"';
                text.push(character);
            }
        }
    }
    text
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

/// `count` with the singular or plural noun: `1 event`, `2 events`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_as_escapes() {
        assert_eq!(
            clean("a\u{1b}[31mb\r\n\u{9b}\u{202e}c"),
            "a\\u{1b}[31mb\\r\\n\\u{9b}\\u{202e}c"
        );
        assert!(matches!(clean("plain äöü 日本"), Cow::Borrowed(_)));
    }

    #[test]
    fn short_text_is_left_alone() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abcd", 3), "ab…");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(cut("日本日本", 8), "日本日本");
        assert_eq!(cut("日本日本", 7), "日本日…");
        assert_eq!(cut("日本日本", 6), "日本…");
        assert_eq!(cut_middle("日本日本", 7), "日…本");
        assert_eq!(cut_middle("abcdefgh", 5), "ab…gh");
        assert_eq!(pad("日本", 6), "日本  ");
    }

    #[test]
    fn marks_stay_with_their_letters() {
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        assert_eq!(
            cut_middle("e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}", 4),
            "e\u{301}e\u{301}…e\u{301}"
        );
        // A heart with a variation selector that makes it wide.
        assert_eq!(cut("❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}", 5), "❤\u{fe0f}❤\u{fe0f}…");
        assert_eq!(cut("❤\u{fe0f}❤\u{fe0f}❤\u{fe0f}", 3), "❤\u{fe0f}…");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn json_is_indented_and_otherwise_left_alone() {
        let json = r#"{"b":1.50, "a\"{":[ ],"c":[{"d":"x, y:\\"},{} ]}"#;
        let lines = [
            "{",
            "  \"b\": 1.50,",
            "  \"a\\\"{\": [],",
            "  \"c\": [",
            "    {",
            "      \"d\": \"x, y:\\\\\"",
            "    },",
            "    {}",
            "  ]",
            "}",
        ];
        assert_eq!(indented(json), lines.join("\n"));
    }

    #[test]
    fn bytes_have_a_unit() {
        assert_eq!(bytes(17), "17 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(55 << 20), "55.0 MiB");
    }
}
