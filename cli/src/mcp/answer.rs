//! An answer in memory, of bounded length.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::exit::Outcome;
use crate::output::screen::Screen;
use crate::output::{Format, Out};

/// Bytes of an answer, at most.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Bytes, up to a number of them.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > ANSWER_BYTES_MAX {
            self.is_full = true;
            return Err(io::Error::other("the answer is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The result of a call: what `write` writes as JSON, then the hints beside it; or why it has failed.
pub(super) fn of(out: &Out<'_>, write: impl FnOnce(&mut Out<'_>) -> Outcome) -> Value {
    let (mut stdout, mut stderr) = (Bounded::default(), Bounded::default());
    let written = write(&mut Out {
        stdout: &mut stdout,
        stderr: &mut stderr,
        format: Format::Json,
        zone: out.zone.clone(),
        now: annals::Clock::now(&annals::SystemClock),
        screen: Screen::default(),
        messages: Screen::default(),
        has_hints: false,
    });
    let hints = String::from_utf8_lossy(&stderr.bytes).trim_end().to_owned();
    match written {
        Ok(()) => {
            let answer = String::from_utf8_lossy(&stdout.bytes);
            let texts = [answer.trim_end(), &hints].map(str::to_owned);
            let texts = texts.iter().filter(|text| !text.is_empty());
            let content: Vec<Value> = texts.map(|text| json!({ "type": "text", "text": text })).collect();
            json!({ "content": content, "isError": false })
        }
        Err(_) if stdout.is_full => failed(&format!(
            "the answer has more than {ANSWER_BYTES_MAX} bytes: narrow the filters, or lower the limit"
        )),
        Err(failure) => failed(&[failure.to_string(), hints].join("\n")),
    }
}

/// The result of a call that has failed.
pub(super) fn failed(message: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": message.trim_end() }], "isError": true })
}

/// The result of a call whose arguments cannot be understood.
pub(super) fn refused(failure: &clap::Error) -> Value {
    // Without the usage: it is that of the command line.
    let text = failure.to_string();
    let end = text
        .find("\n\nUsage:")
        .or_else(|| text.find("\n\nFor more information"))
        .unwrap_or(text.len());
    failed(text[..end].trim_start_matches("error: "))
}
