//! A pooler that lends its connections to the server for a transaction, as pgbouncer does with `pool_mode = transaction`: on loopback, for
//! connections without TLS and passwords. It knows as much of the protocol as the opening of a store needs.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use annals::journal::JournalErrorKind;
use annals::journal::postgres::PostgresJournal;
use annals::journal::postgres::cdc::{CaptureSettings, ChangeCapture};
use annals::{Error, Store};
use parking_lot::Mutex;

use crate::follow::url_at;
use crate::support::{Schema, prepared};

/// When a client gives its connection to the server back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lends {
    /// At the end of a transaction; another gets the one that was given back last.
    LastFirst,
    /// The same, and another gets the one that was given back first.
    InTurn,
    /// When the client has gone.
    ForSessions,
}

#[derive(Debug)]
struct Pool {
    server: u16,
    lends: Lends,
    free: Mutex<Vec<TcpStream>>,
}

/// A pooler before the server at `url`, with these many connections at first, and the URL that leads to it.
fn pooler(url: &str, lends: Lends, connections: usize) -> String {
    let (before, rest) = url.split_once("127.0.0.1:").expect("the server is on loopback");
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let pool = Arc::new(Pool {
        server: rest[..digits].parse().expect("a port"),
        lends,
        free: Mutex::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it listens").port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.serve(client, connections));
        }
    });
    format!("{before}127.0.0.1:{port}{}", &rest[digits..])
}

/// A message's kind, and all of its bytes; `None` at the end.
fn message(from: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    from.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut bytes = head.to_vec();
    bytes.resize(1 + length, 0);
    from.read_exact(&mut bytes[5..]).ok()?;
    Some((head[0], bytes))
}

/// Passes on what the server says until it is ready. Returns whether no transaction is open then; `None` at the end.
fn answer(server: &mut TcpStream, client: &mut impl std::io::Write) -> Option<bool> {
    loop {
        let (kind, bytes) = message(server)?;
        client.write_all(&bytes).ok()?;
        if kind == b'Z' {
            return Some(bytes[5] == b'I');
        }
    }
}

impl Pool {
    fn connect(&self, startup: &[u8], greeting: &mut impl std::io::Write) -> Option<TcpStream> {
        let mut server = TcpStream::connect(("127.0.0.1", self.server)).ok()?;
        server.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        server.write_all(startup).ok()?;
        answer(&mut server, greeting)?;
        Some(server)
    }

    fn take(&self, startup: &[u8]) -> Option<TcpStream> {
        let known = {
            let mut free = self.free.lock();
            match self.lends {
                Lends::InTurn if !free.is_empty() => Some(free.remove(0)),
                Lends::InTurn | Lends::LastFirst | Lends::ForSessions => free.pop(),
            }
        };
        known.or_else(|| self.connect(startup, &mut Vec::new()))
    }

    /// The first message of a client has no kind.
    fn startup(client: &mut TcpStream) -> Option<Vec<u8>> {
        let mut startup = vec![0; 4];
        client.read_exact(&mut startup).ok()?;
        let length = u32::from_be_bytes([startup[0], startup[1], startup[2], startup[3]]) as usize;
        startup.resize(length, 0);
        client.read_exact(&mut startup[4..]).ok()?;
        // A client that asks for TLS first is told that there is none.
        if length == 8 {
            client.write_all(b"N").ok()?;
            return Self::startup(client);
        }
        Some(startup)
    }

    fn serve(&self, mut client: TcpStream, connections: usize) -> Option<()> {
        let startup = Self::startup(&mut client)?;
        let first = self.connect(&startup, &mut client)?;
        let mut lent = (self.lends == Lends::ForSessions).then_some(first);
        while self.lends != Lends::ForSessions && self.free.lock().len() < connections {
            let server = self.connect(&startup, &mut Vec::new())?;
            self.free.lock().push(server);
        }
        loop {
            let (kind, bytes) = message(&mut client).filter(|(kind, _)| *kind != b'X')?;
            let mut server = match lent.take() {
                Some(server) => server,
                None => self.take(&startup)?,
            };
            server.write_all(&bytes).ok()?;
            let is_asked = matches!(kind, b'Q' | b'S');
            let is_idle = is_asked && answer(&mut server, &mut client)?;
            if is_idle && self.lends != Lends::ForSessions {
                self.free.lock().push(server);
            } else {
                lent = Some(server);
            }
        }
    }
}

fn check_refused(schema: &Schema, url: &str, what: &str) {
    let check = |said: &str| {
        for part in [
            "a connection pooler shares the sessions",
            "pool_mode = session",
            &schema.name,
        ] {
            assert!(said.contains(part), "{what}: {said}");
        }
    };
    let writer = PostgresJournal::open_with(url, schema.settings())
        .map(drop)
        .expect_err("it is shared");
    assert_eq!(writer.kind(), JournalErrorKind::Unsupported, "{what}: {writer}");
    check(&writer.to_string());
    let follower = Store::follow(&url_at(url, schema)).map(drop);
    assert!(
        matches!(&follower, Err(Error::Invalid { message: said }) if said.contains("pooler")),
        "{what}: {follower:?}"
    );
    let reader = Store::builder().read_only().open_url(&url_at(url, schema)).map(drop);
    check(&reader.expect_err("it is shared").to_string());
    let capture = ChangeCapture::open_with(url, schema.settings(), CaptureSettings::default());
    check(&capture.map(drop).expect_err("it is shared").to_string());
}

#[test]
fn a_pooler_by_transaction_was_found_out_by_the_second_store_that_was_opened() {
    let schema = prepared();
    for (lends, connections) in [
        (Lends::LastFirst, 0),
        (Lends::LastFirst, 1),
        (Lends::LastFirst, 4),
        (Lends::InTurn, 1),
        (Lends::InTurn, 2),
        (Lends::InTurn, 5),
    ] {
        let url = pooler(&schema.url, lends, connections);
        check_refused(&schema, &url, &format!("{lends:?}, {connections} connections"));
    }
    assert_eq!(schema.value("SELECT (lease IS NULL)::text FROM head"), "true");
}

#[test]
fn a_pooler_by_session_is_as_the_server() {
    let schema = prepared();
    let url = pooler(&schema.url, Lends::ForSessions, 0);
    drop(PostgresJournal::open_with(&url, schema.settings()).expect("its sessions are its own"));
    let follower = Store::follow(&url_at(&url, &schema)).expect("its sessions are its own");
    let appended = follower.append(
        &crate::follow::note("one"),
        annals::Expected::Any,
        vec![crate::follow::noted(1)],
    );
    assert_eq!(appended.expect("it is written").last_position.0, 1);
}
