//! A way to the server that can be cut and blocked at any moment: on loopback, for connections without TLS.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the server gets what was sent.
    Before,
    /// When the server has it, and before its answer comes back.
    After,
    /// At once for the client; the server gets it later, when it is released.
    Late,
    /// Not at all: it is kept from the server until it is let through.
    Hold,
}

#[derive(Default)]
struct State {
    server: AtomicU16,
    armed: Mutex<Option<(&'static [u8], Cut)>>,
    is_blocked: AtomicBool,
    is_released: AtomicBool,
    is_let_through: AtomicBool,
    is_refusing: AtomicBool,
    clients: Mutex<Vec<TcpStream>>,
}

/// Passes on to a server what comes, until it is dropped.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

const MOMENT: Duration = Duration::from_millis(5);

impl Proxy {
    /// To the server on loopback that `url` names; answers the URL that leads through it.
    pub(crate) fn to(url: &str) -> (Self, String) {
        let (before, server, behind) = parts(url);
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = listener.local_addr().expect("it listens").port();
        let state = Arc::new(State::default());
        state.server.store(server, Ordering::SeqCst);
        let weak = Arc::downgrade(&state);
        thread::spawn(move || accept(&listener, &weak));
        (Self { port, state }, format!("{before}127.0.0.1:{port}{behind}"))
    }

    /// New connections are made to the server of `url`, as behind an address that moves to another machine.
    pub(crate) fn lead_to(&self, url: &str) {
        self.state.server.store(parts(url).1, Ordering::SeqCst);
    }

    /// Cuts the first connection on which `mark` is sent.
    pub(crate) fn arm(&self, mark: &'static [u8], cut: Cut) {
        *self.state.armed.lock() = Some((mark, cut));
    }

    /// Lets the server have what was kept from it.
    pub(crate) fn release(&self) {
        self.state.is_released.store(true, Ordering::SeqCst);
    }

    /// Whether the mark was sent that a cut was armed for.
    pub(crate) fn is_met(&self) -> bool {
        self.state.armed.lock().is_none()
    }

    /// Lets the server have what was held.
    pub(crate) fn let_through(&self) {
        self.state.is_let_through.store(true, Ordering::SeqCst);
    }

    /// Nothing comes through, in no direction, until it is unblocked.
    pub(crate) fn block(&self) {
        self.state.is_blocked.store(true, Ordering::SeqCst);
    }

    pub(crate) fn unblock(&self) {
        self.state.is_blocked.store(false, Ordering::SeqCst);
    }

    /// Closes every new connection, as the system does for a server that is not there.
    pub(crate) fn refuse(&self) {
        self.state.is_refusing.store(true, Ordering::SeqCst);
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        for client in self.state.clients.lock().drain(..) {
            drop(client.shutdown(Shutdown::Both));
        }
    }
}

/// What stands before the server in a URL, its port, and what stands behind.
fn parts(url: &str) -> (&str, u16, &str) {
    let (before, rest) = url.split_once("127.0.0.1:").expect("the server is on loopback");
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (before, rest[..digits].parse().expect("a port"), &rest[digits..])
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.unblock();
        self.release();
        self.let_through();
        self.cut();
        // Wakes the thread that accepts, so that it sees that the end has come.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn accept(listener: &TcpListener, state: &Weak<State>) {
    for client in listener.incoming() {
        let (Ok(client), Some(state)) = (client, state.upgrade()) else {
            return;
        };
        if state.is_refusing.load(Ordering::SeqCst) {
            continue;
        }
        // A server that is away closes the connection.
        let Ok(server) = TcpStream::connect(("127.0.0.1", state.server.load(Ordering::SeqCst))) else {
            continue;
        };
        drop(client.set_nodelay(true));
        drop(server.set_nodelay(true));
        let copy = |stream: &TcpStream| stream.try_clone().expect("a handle more");
        state.clients.lock().push(copy(&client));
        let (up, down) = ((copy(&client), copy(&server)), (server, client));
        let other = Arc::clone(&state);
        thread::spawn(move || pass_up(up.0, up.1, &state));
        thread::spawn(move || pass_down(down.0, down.1, &other));
    }
}

/// The next bytes; none at the end.
fn next(from: &mut TcpStream, buffer: &mut [u8], state: &State) -> usize {
    from.set_read_timeout(Some(MOMENT)).expect("a time above zero");
    loop {
        let blocked = state.is_blocked.load(Ordering::SeqCst);
        match from.read(buffer) {
            Ok(count) => {
                while state.is_blocked.load(Ordering::SeqCst) {
                    thread::park_timeout(MOMENT);
                }
                return count;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) if blocked => {}
            Err(_) => return 0,
        }
    }
}

fn pass_up(mut client: TcpStream, mut server: TcpStream, state: &State) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = next(&mut client, &mut buffer, state);
        let bytes = &buffer[..count];
        let mut cut = take_cut(state, bytes);
        if cut == Some(Cut::Hold) {
            wait_for(&state.is_let_through);
            cut = None;
        }
        if cut.is_some() {
            drop(client.shutdown(Shutdown::Both));
        }
        if cut == Some(Cut::Late) {
            wait_for(&state.is_released);
        }
        if count == 0 || cut == Some(Cut::Before) || server.write_all(bytes).is_err() || cut.is_some() {
            break;
        }
    }
    drop(server.shutdown(Shutdown::Write));
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        thread::park_timeout(MOMENT);
    }
}

fn take_cut(state: &State, bytes: &[u8]) -> Option<Cut> {
    let mut armed = state.armed.lock();
    let (mark, cut) = (*armed)?;
    let is_there = bytes.windows(mark.len()).any(|window| window == mark);
    is_there.then(|| armed.take()).map(|_| cut)
}

fn pass_down(mut server: TcpStream, mut client: TcpStream, state: &State) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = next(&mut server, &mut buffer, state);
        if count == 0 || client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
}
