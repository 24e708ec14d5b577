//! Lines of the standard input, of bounded length, read on a thread: a signal must end the program while it waits for one.

use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::exit::Outcome;
use crate::interrupt;

/// Bytes of a line, at most.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// How long a signal may remain unseen.
const POLL: Duration = Duration::from_millis(100);

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Vec<u8>),
    /// It was skipped.
    TooLong,
}

pub(super) struct Lines(Receiver<io::Result<Line>>);

impl Lines {
    pub(super) fn of_stdin() -> Self {
        // Without room: the next line is read while this one is answered, and no further.
        let (sender, receiver) = bounded(0);
        thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            while let Some(line) = read(&mut stdin).transpose() {
                let ends = line.is_err();
                if sender.send(line).is_err() || ends {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&self) -> Outcome<Option<Line>> {
        loop {
            // Before a line is taken: a client that always has one must not keep a signal from being seen.
            interrupt::check(|| "the server has ended".to_owned())?;
            match self.0.recv_timeout(POLL) {
                Ok(line) => return Ok(Some(line?)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Reads a line without its end; `None` at the end of the input.
fn read(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let (mut line, mut is_too_long) = (Vec::new(), false);
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() && line.is_empty() && !is_too_long {
            return Ok(None);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        is_too_long |= line.len() + part.len() > LINE_BYTES_MAX;
        if !is_too_long {
            line.extend_from_slice(part);
        }
        let (is_end, read) = (
            end.is_some() || buffer.is_empty(),
            part.len() + usize::from(end.is_some()),
        );
        input.consume(read);
        if is_end {
            return Ok(Some(if is_too_long { Line::TooLong } else { Line::Whole(line) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], buffer: usize) -> Vec<Line> {
        let mut input = io::BufReader::with_capacity(buffer, input);
        std::iter::from_fn(|| read(&mut input).unwrap()).collect()
    }

    #[test]
    fn lines_are_cut_at_their_ends_whatever_the_buffer_holds() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        for buffer in 1..9 {
            assert_eq!(lines(b"one\n\ntwo", buffer), [whole("one"), whole(""), whole("two")]);
            assert_eq!(lines(b"", buffer), []);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_read() {
        let mut input = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(lines(&input, 4096), [Line::Whole(input.clone())]);
        input.extend_from_slice(b"x\nnext\n");
        assert_eq!(lines(&input, 4096), [Line::TooLong, Line::Whole(b"next".to_vec())]);
    }
}
