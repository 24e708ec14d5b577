//! Many live tails of one server: each must get every event, once and in order.
//!
//! ```console
//! cargo run --release -p annals-server --example readers -- 1000 10000
//! ```
//!
//! The arguments are the numbers of readers and of events. Needs two file descriptors a reader (`ulimit -n 4096`).

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::io::{BufRead as _, BufReader, Error, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use annals::{Expected, NewEvent, Store, StreamId};
use annals_server::{Server, stop_signal};

/// Events of an append.
const BATCH: usize = 100;
/// How long a reader waits for the next bytes. A heartbeat comes every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The stack of a thread that reads.
const STACK_BYTES: usize = 64 << 10;

fn main() -> Result<(), Error> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut next = |default| numbers.next().unwrap_or(Ok(default)).map_err(Error::other);
    let (readers, events) = (next(1_000)?, next(10_000)?);
    let store = Store::in_memory();
    let server = Server::builder(store.clone()).build().map_err(Error::other)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (stop, stopped) = stop_signal();
    let serving = std::thread::spawn(move || server.run(listener, stopped, Duration::from_secs(1)));
    let took = measure(&store, address, readers, events)?;
    stop.stop();
    serving.join().map_err(|_| Error::other("the server panicked"))??;
    let seconds = took.as_secs_f64();
    let delivered = readers * events;
    println!("{readers} readers had {events} events each after {seconds:.2} s: {delivered} in all");
    println!(
        "{} events/s",
        u128::from(delivered) * 1_000_000 / took.as_micros().max(1)
    );
    Ok(())
}

/// The time from the first append until every reader has every event.
fn measure(store: &Store, address: SocketAddr, readers: u64, events: u64) -> Result<Duration, Error> {
    let mut threads = Vec::new();
    for _ in 0..readers {
        // One after the other: the operating system resets connections of a burst that its queue has no room for.
        let tail = open(address)?;
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        threads.push(thread.spawn(move || read(tail, events))?);
    }
    println!("{readers} tails are open");
    let began = Instant::now();
    append(store, events)?;
    println!(
        "the last event was appended after {:.2} s",
        began.elapsed().as_secs_f64()
    );
    for thread in threads {
        thread.join().map_err(|_| Error::other("a reader panicked"))??;
    }
    Ok(began.elapsed())
}

fn append(store: &Store, events: u64) -> Result<(), Error> {
    let order = StreamId::new("Order", "order-1");
    for first in (0..events).step_by(BATCH) {
        let count = (BATCH as u64).min(events - first);
        let batch: Vec<NewEvent<'_>> = (0..count)
            .map(|number| NewEvent::new("OrderPlaced").data(format!("{{\"total\":{}}}", first + number)))
            .collect();
        store.append(&order, Expected::Any, batch).map_err(Error::other)?;
    }
    Ok(())
}

/// Opens a tail, and reads up to its first line. HTTP/1.0: the body is not in chunks.
fn open(address: SocketAddr) -> Result<BufReader<TcpStream>, Error> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    write!(stream, "GET /v1/tail HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let (mut stream, mut line) = (BufReader::new(stream), String::new());
    while !line.starts_with("retry: ") {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(Error::other("a tail was refused"));
        }
    }
    Ok(stream)
}

/// Reads a tail up to its last event.
fn read(mut stream: BufReader<TcpStream>, events: u64) -> Result<(), Error> {
    let (mut line, mut seen, mut is_event) = (String::new(), 0, false);
    while seen < events {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(Error::other(format!("a tail ended after {seen} of {events} events")));
        }
        match line.trim_end().split_once(": ") {
            Some(("event", name)) => is_event = name == "event",
            Some(("id", id)) if is_event => {
                seen += 1;
                if id.parse() != Ok(seen) {
                    return Err(Error::other(format!("event {id} came instead of {seen}")));
                }
                is_event = false;
            }
            _ => {}
        }
    }
    Ok(())
}
