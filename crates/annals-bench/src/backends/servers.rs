//! The servers that are measured by URL.

/// A backend that is named by the URL of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// How its URL looks.
    pub url: &'static str,
    /// How its URLs begin.
    pub(super) schemes: &'static [&'static str],
    /// Its description.
    pub software: &'static str,
    /// The feature of the program that has it.
    pub feature: &'static str,
    /// Whether this build has it.
    pub is_built_in: bool,
}

/// The backends that are named by the URL of their server.
pub const SERVERS: &[Server] = &[
    Server {
        url: "postgres://USER@HOST/DATABASE",
        schemes: &["postgres://", "postgresql://"],
        software: "annals in PostgreSQL",
        feature: "postgres",
        is_built_in: cfg!(feature = "postgres"),
    },
    Server {
        url: "table+postgres://USER@HOST/DATABASE",
        schemes: &["table+"],
        software: "a table in PostgreSQL, written by hand",
        feature: "postgres",
        is_built_in: cfg!(feature = "postgres"),
    },
    Server {
        url: "http://HOST:PORT",
        schemes: &["http://"],
        software: "a server with the HTTP API of annals serve",
        feature: "bench-servers",
        is_built_in: cfg!(feature = "http"),
    },
    Server {
        url: "redis://HOST:PORT",
        schemes: &["redis://"],
        software: "streams of Redis",
        feature: "bench-servers",
        is_built_in: cfg!(feature = "redis"),
    },
    Server {
        url: "nats://HOST:PORT",
        schemes: &["nats://"],
        software: "NATS JetStream",
        feature: "bench-servers",
        is_built_in: cfg!(feature = "nats"),
    },
    Server {
        url: "annals+nats://HOST:PORT",
        schemes: &["annals+nats://"],
        software: "annals over NATS",
        feature: "bench-servers",
        is_built_in: cfg!(feature = "jetstream"),
    },
    Server {
        url: "umadb://HOST:PORT",
        schemes: &["umadb://"],
        software: "UmaDB, over gRPC",
        feature: "bench-servers",
        is_built_in: cfg!(feature = "umadb"),
    },
    Server {
        url: "kurrentdb://HOST:PORT?tls=false",
        schemes: &["kurrentdb://", "esdb://"],
        software: "KurrentDB, over gRPC",
        feature: "bench-servers",
        is_built_in: cfg!(feature = "kurrentdb"),
    },
];
