//! The bounds of everything that a client can make the server hold or do.

use std::time::Duration;

use crate::setters::setters;

/// The bounds of a [`Server`](crate::Server). Every default suits a machine with two cores.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections that are open at once; 1,200 by default. More wait in the queue of the operating system.
    pub connections: usize,
    /// How long the handshake of a connection with TLS may take; 10 s by default. A slower one is closed.
    pub handshake_time: Duration,
    /// Bytes of the request line and the headers of a request, at least 8 KiB; 64 KiB by default. The answer to more is 431.
    pub header_bytes: usize,
    /// How long a client may take to send the headers of a request, and how long a connection may be idle; 30 s by default.
    pub header_time: Duration,
    /// Bytes of a request's body; 16 MiB by default. The answer to more is 413.
    pub body_bytes: usize,
    /// How long a client may take to send a body; 30 s by default. The answer to a slower one is 408.
    pub body_time: Duration,
    /// How long a request may take after its body was read; 60 s by default. The answer to a longer one is 503.
    pub request_time: Duration,
    /// How long a client may leave an answer unread before its connection is closed; 30 s by default.
    pub write_time: Duration,
    /// Events of a page; 1,000 by default. The answer to a request for more is 400.
    pub page_events: usize,
    /// Bytes of data and metadata after which a page ends, though it has fewer events than the request permits; 8 MiB by default.
    pub page_bytes: usize,
    /// Requests whose work runs at once on threads that may block, such as queries; twice the number of processors by default.
    pub workers: usize,
    /// Appends to several aggregates and changes that run at once, on further threads: they may wait for the journal, and reads do not wait
    /// for them; twice the number of processors by default.
    pub writers: usize,
    /// How long a request waits for one of these threads; 10 s by default. The answer to a longer wait is 503.
    pub worker_wait: Duration,
    /// Live tails that are open at once; 1,000 by default. The answer to one more is 503.
    pub tails: usize,
    /// The pause between two heartbeats of a live tail; 15 s by default.
    pub heartbeat: Duration,
    /// Namespaces that tests may make; 10,000 by default.
    pub test_namespaces: usize,
    /// How long an append waits until it is durable, and a read for `minPosition`; 30 s by default.
    pub wait: Duration,
}

setters! {
    Limits {
        connections: usize,
        handshake_time: Duration,
        header_bytes: usize,
        header_time: Duration,
        body_bytes: usize,
        body_time: Duration,
        request_time: Duration,
        write_time: Duration,
        page_events: usize,
        page_bytes: usize,
        workers: usize,
        writers: usize,
        worker_wait: Duration,
        tails: usize,
        heartbeat: Duration,
        test_namespaces: usize,
        wait: Duration,
    }
}

impl Default for Limits {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            connections: 1_200,
            handshake_time: Duration::from_secs(10),
            header_bytes: 64 << 10,
            header_time: Duration::from_secs(30),
            body_bytes: 16 << 20,
            body_time: Duration::from_secs(30),
            request_time: Duration::from_secs(60),
            write_time: Duration::from_secs(30),
            page_events: 1_000,
            page_bytes: 8 << 20,
            workers: processors * 2,
            writers: processors * 2,
            worker_wait: Duration::from_secs(10),
            tails: 1_000,
            heartbeat: Duration::from_secs(15),
            test_namespaces: 10_000,
            wait: Duration::from_secs(30),
        }
    }
}
