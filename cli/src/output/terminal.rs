//! A terminal as the place where output goes: whatever is written, nothing of it speaks to the terminal.

use std::io::{self, Write};

use crate::output::text::clean;

/// Writes to a terminal what is written to it, with control characters shown as escapes; ends of lines stay.
pub(crate) struct Terminal<W> {
    inner: W,
    /// The beginning of a character whose end is still to come.
    begun: Vec<u8>,
}

impl<W: Write> Terminal<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self {
            inner,
            begun: Vec::new(),
        }
    }
}

impl<W: Write> Write for Terminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Ok(_) | Err(_) => self.begun.len(),
        };
        let text = String::from_utf8_lossy(&self.begun[..whole]).into_owned();
        self.begun.drain(..whole);
        for line in text.split_inclusive('\n') {
            let (shown, end) = line.strip_suffix('\n').map_or((line, ""), |shown| (shown, "\n"));
            self.inner.write_all(clean(shown).as_bytes())?;
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
        let mut terminal = Terminal::new(Vec::new());
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
    fn what_is_no_text_is_replaced() {
        assert_eq!(shown(&[b"a\xffb\x9b31m"]), "a\u{fffd}b\u{fffd}31m");
    }
}
