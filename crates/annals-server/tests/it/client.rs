//! A client of one connection, which reads answers byte by byte and trusts nothing.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::document;

/// How long a test waits for an answer before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(own, _)| own == name);
        found.next().map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body of an answer with this status.
    #[track_caller]
    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The document of a refusal of this type.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, name: &str) -> Value {
        let problem = self.ok(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["type"], format!("/problems/{name}"), "{problem}");
        assert_eq!(problem["status"], status);
        problem
    }
}

/// A connection.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            reader: BufReader::new(stream),
            host: address.to_string(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Sends a request and reads its answer.
    pub(crate) fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            write!(head, "Host: {}\r\n", self.host).unwrap();
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        head += "\r\n";
        // In two writes: a server may answer and close before it has all.
        self.write(head).unwrap();
        drop(self.write(body));
        let answer = self.read(method == "HEAD");
        document::check(method, target, &answer);
        answer
    }

    /// Reads the answer to a request that was written.
    pub(crate) fn read(&mut self, is_head: bool) -> Answer {
        let mut answer = self.read_head();
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        let is_chunked = answer.header("transfer-encoding") == Some("chunked");
        match length {
            _ if is_head || [204, 304].contains(&answer.status) => {}
            Some(length) => {
                answer.body = vec![0; length];
                self.reader.read_exact(&mut answer.body).unwrap();
            }
            None if is_chunked => while self.read_chunk(&mut answer.body) {},
            None => drop(self.reader.read_to_end(&mut answer.body).unwrap()),
        }
        answer
    }

    /// Reads an answer up to its body.
    pub(crate) fn read_head(&mut self) -> Answer {
        let line = self.line();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}"));
        let mut answer = Answer {
            status: status.parse().unwrap(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else {
                return answer;
            };
            answer
                .headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads a chunk of a chunked body; `false` at its end.
    pub(crate) fn read_chunk(&mut self, body: &mut Vec<u8>) -> bool {
        let line = self.line();
        let length = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("no chunk: {line:?}"));
        let start = body.len();
        body.resize(start + length, 0);
        self.reader.read_exact(&mut body[start..]).unwrap();
        assert_eq!(self.line(), "");
        length > 0
    }

    /// Reads the next bytes; `false` when the connection has ended or failed.
    pub(crate) fn read_some(&mut self, bytes: &mut Vec<u8>) -> bool {
        let mut part = [0; 8 << 10];
        let count = self.reader.read(&mut part).unwrap_or(0);
        bytes.extend_from_slice(&part[..count]);
        count > 0
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    /// Whether a part of an answer has arrived. Waits for a moment at most.
    pub(crate) fn has_answer(&mut self) -> bool {
        let stream = self.reader.get_mut();
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let is_there = stream.peek(&mut [0]).is_ok();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        is_there
    }

    /// Whether the server closes the connection, with nothing more to read.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0]), Ok(0))
    }
}
