//! Output to a terminal: of the written bytes, only styles control the terminal.

use std::io::{self, Write};

use crate::output::text::clean;

/// Bytes of a style of the program, at most.
const STYLE_BYTES_MAX: usize = 32;

/// A writer for a terminal that shows control characters as escapes and keeps line ends.
pub(crate) struct Terminal<W> {
    inner: W,
    /// Whether styles are passed through. The written text must contain no styles except those of the program.
    has_styles: bool,
    /// The first bytes of an incomplete character.
    begun: Vec<u8>,
}

impl<W: Write> Terminal<W> {
    pub(crate) fn new(inner: W, has_styles: bool) -> Self {
        Self {
            inner,
            has_styles,
            begun: Vec::new(),
        }
    }
}

impl<W: Write> Terminal<W> {
    pub(crate) fn inner(&self) -> &W {
        &self.inner
    }

    pub(crate) fn inner_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// Writes a part of a line, with styles if they are passed through.
    fn write_shown(&mut self, mut text: &str) -> io::Result<()> {
        while let Some((before, style, after)) = split_at_style(text).filter(|_| self.has_styles) {
            self.inner.write_all(clean(before).as_bytes())?;
            self.inner.write_all(style.as_bytes())?;
            text = after;
        }
        self.inner.write_all(clean(text).as_bytes())
    }
}

/// The text before the first style, the style, and the text after it.
fn split_at_style(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices("\u{1b}[").find_map(|(at, start)| {
        let rest = &text[at + start.len()..];
        let codes = rest.find(|character: char| !character.is_ascii_digit() && character != ';')?;
        let end = at + start.len() + codes + 1;
        let is_style = rest[codes..].starts_with('m');
        is_style.then(|| (&text[..at], &text[at..end], &text[end..]))
    })
}

/// The offset of an incomplete style at the end of `bytes`; their length if there is none.
fn before_begun_style(bytes: &[u8]) -> usize {
    let Some(at) = bytes.iter().rposition(|byte| *byte == 0x1b) else {
        return bytes.len();
    };
    let rest = &bytes[at + 1..];
    let is_code = |byte: &u8| byte.is_ascii_digit() || *byte == b';';
    let is_begun = rest.len() < STYLE_BYTES_MAX && rest.first().is_none_or(|byte| *byte == b'[');
    if is_begun && rest.iter().skip(1).all(is_code) {
        at
    } else {
        bytes.len()
    }
}

impl<W: Write> Write for Terminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Ok(_) | Err(_) => self.begun.len(),
        };
        let whole = if self.has_styles {
            before_begun_style(&self.begun[..whole])
        } else {
            whole
        };
        let text = String::from_utf8_lossy(&self.begun[..whole]).into_owned();
        self.begun.drain(..whole);
        for line in text.split_inclusive('\n') {
            let (shown, end) = line.strip_suffix('\n').map_or((line, ""), |shown| (shown, "\n"));
            self.write_shown(shown)?;
            self.inner.write_all(end.as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        shown_with(false, pieces)
    }

    fn shown_with(has_styles: bool, pieces: &[&[u8]]) -> String {
        let mut terminal = Terminal::new(Vec::new(), has_styles);
        for piece in pieces {
            terminal.write_all(piece).unwrap();
        }
        String::from_utf8(terminal.inner).unwrap()
    }

    #[test]
    fn control_characters_are_shown_wherever_the_text_is_cut() {
        let text = "a,\u{1b}[31m\n│ü\u{9b}2J,\"x\r\n日\u{202e}\"\n";
        let want = "a,\\u{1b}[31m\n│ü\\u{9b}2J,\"x\\r\n日\\u{202e}\"\n";
        for cut in 0..text.len() {
            let (start, end) = text.as_bytes().split_at(cut);
            assert_eq!(shown(&[start, end]), want, "{cut}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(shown(&single), want);
    }

    #[test]
    fn styles_pass_wherever_they_are_cut_and_nothing_else_does() {
        let text = "\u{1b}[1;31mred\u{1b}[0m \u{1b}[2J\u{1b}]0;x\u{7}\u{1b}[38;5;17mé\n\u{1b}[";
        let want = "\u{1b}[1;31mred\u{1b}[0m \\u{1b}[2J\\u{1b}]0;x\\u{7}\u{1b}[38;5;17mé\n";
        for cut in 0..text.len() {
            let (start, end) = text.as_bytes().split_at(cut);
            assert_eq!(shown_with(true, &[start, end]), want, "{cut}");
        }
        assert!(!shown(&[text.as_bytes()]).contains('\u{1b}'));
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(shown(&[b"a\xffb\x9b31m"]), "a\u{fffd}b\u{fffd}31m");
    }
}
