//! A live tail, over server-sent events.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};

use annals::{Delivery, Gap, Position, Query};

use super::error::ClientError;
use super::http::{Http, add_query};
use super::{Client, read, write};

/// Bytes of a line, at most: an event whose data are hexadecimal digits has twice the bytes of a request.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Follows the log of a server: the matching events so far, then new ones.
///
/// It blocks until there is a delivery, and ends when the server stops. An error ends it too; [`position`](Self::position) says where to continue.
pub struct Tail {
    lines: BufReader<ureq::BodyReader<'static>>,
    http: Http,
    position: Position,
    is_ended: bool,
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Frame {
    name: String,
    id: Option<u64>,
    data: String,
}

impl Tail {
    pub(super) fn open(client: &Client, query: &Query, after: Position) -> Result<Self, ClientError> {
        // The tail begins after the later of both.
        let after = after.max(query.parts().after);
        let mut target = "/tail".to_owned();
        add_query(&mut target, write::parameters(&query.clone().after(after))?);
        let body = client.http.follow(&target)?;
        Ok(Self {
            lines: BufReader::new(body.into_reader()),
            http: client.http.clone(),
            position: after,
            is_ended: false,
        })
    }

    /// The position up to which everything was delivered, or did not match.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next frame; `None` at the end.
    fn frame(&mut self) -> Result<Option<Frame>, ClientError> {
        let mut frame = Frame::default();
        loop {
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            let (name, value) = line.split_once(": ").unwrap_or((&line, ""));
            match name {
                "" if line.is_empty() => return Ok(Some(frame)),
                "event" => value.clone_into(&mut frame.name),
                "id" => frame.id = value.parse().ok(),
                "data" => value.clone_into(&mut frame.data),
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Result<Option<String>, ClientError> {
        let mut line = Vec::new();
        let mut bounded = self.lines.by_ref().take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line);
        read.map_err(|error| self.http.unreachable(&error))?;
        if line.pop() != Some(b'\n') {
            let is_long = line.len() as u64 + 1 >= LINE_BYTES_MAX;
            let too_long = || {
                Err(self
                    .http
                    .bad_answer(format!("a line has more than {LINE_BYTES_MAX} bytes")))
            };
            return if is_long { too_long() } else { Ok(None) };
        }
        let line = String::from_utf8(line).map_err(|error| self.http.bad_answer(error.to_string()))?;
        Ok(Some(line))
    }

    /// The next delivery; `None` at the end.
    fn delivery(&mut self) -> Result<Option<Delivery>, ClientError> {
        loop {
            let Some(frame) = self.frame()? else {
                return Ok(None);
            };
            let delivery = match &*frame.name {
                "event" => Some(Delivery::Event(
                    read::event(&frame.data).map_err(|reason| self.http.bad_answer(reason))?,
                )),
                "gap" => Some(Delivery::Gap(self.gap(&frame.data)?)),
                _ => None,
            };
            if let Some(id) = frame.id {
                self.position = self.position.max(Position(id));
            }
            if delivery.is_some() {
                return Ok(delivery);
            }
        }
    }

    fn gap(&self, json: &str) -> Result<Gap, ClientError> {
        serde_json::from_str(json).map_err(|error| self.http.bad_answer(error.to_string()))
    }
}

impl Iterator for Tail {
    type Item = Result<Delivery, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let next = self.delivery().transpose();
        self.is_ended = !matches!(next, Some(Ok(_)));
        next
    }
}
