//! Where `serve` listens, and how it stops.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use crate::when;

/// How long requests may take when the server stops, at most.
const GRACE_MAX: Duration = Duration::from_secs(3_600);

/// How a store is served.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The address to listen on. Other machines reach the server at any other than a loopback address: give it a --token-file
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) listen: IpAddr,
    /// The port; 0 for one that is free
    #[arg(long, default_value_t = 4280, value_name = "PORT")]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) kind: Kind,
    /// Stop as after SIGTERM when the standard input ends. A program that starts the server with a pipe takes it along however it ends, also by
    /// SIGKILL. What the input has is discarded
    #[arg(long)]
    pub(crate) until_stdin_ends: bool,
    /// Accept requests for this host name too; addresses and localhost always are; may be repeated
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) host: Vec<String>,
    /// Permit only requests with a token of this file, which its owner alone can read. Each line is `read`, `write` or `admin`, a token of at
    /// least 16 characters, and optionally the namespace that it is for
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Serve https:// alone, with the certificate of this file in PEM, and with those between it and its authority behind it.
    /// SIGHUP reads both files again
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of --tls-cert in PEM, not encrypted; its owner alone should be able to read it
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) daily: DailyWork,
    /// What is logged on standard error: failures, or with `info` every request. A log has no tokens, no payloads and no parameters
    #[arg(long, default_value = "warn", value_name = "LEVEL")]
    pub(crate) log: Level,
    /// The form of the log
    #[arg(long, default_value = "text", value_name = "FORM")]
    pub(crate) log_format: Form,
    /// Send spans of requests, appends and processors to this receiver of OpenTelemetry, such as `http://127.0.0.1:4318`. Spans have no
    /// payloads and no parameters. For programs that are built with the feature `otlp`
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
    /// How long requests may take to finish when the server stops: 500ms, 10s, 2m
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_grace)]
    pub(crate) grace: Duration,
}

/// The kind of the store.
#[derive(Debug, Args)]
pub(crate) struct Kind {
    /// Keep nothing: a store in memory. The default without --store, spelled out; an error with a durable store
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Serve a replica of the store of --store, in a database or a stream, that other programs write: it follows them, and sends them what its
    /// clients append
    #[arg(long, conflicts_with_all = ["ephemeral", "test_api", "archive_after", "verify_daily"])]
    pub(crate) follow: bool,
    /// For test suites: namespaces at /v1/ns/NAME are made by their first append, emptied, kept, restored and forked, and their clocks moved.
    /// Every client can wipe every store, so there is none but in memory
    #[arg(long)]
    pub(crate) test_api: bool,
}

/// Work on the store at the start and once a day, while it is served.
#[derive(Debug, Args)]
pub(crate) struct DailyWork {
    /// Once a day, and at the start, archive events older than this: 365d, 12w, 48h. They move out of the durable store, each time to a new
    /// directory in --archive-to, and queries show a gap instead. `--attach` reads an archive with the store
    #[arg(long, requires = "archive_to", value_name = "AGE", value_parser = when::parse_age)]
    pub(crate) archive_after: Option<Duration>,
    /// The directory of the archives of --archive-after; created if it does not exist, but not its parents
    #[arg(long, requires = "archive_after", value_name = "DIR")]
    pub(crate) archive_to: Option<PathBuf>,
    /// Once a day, and at the start, check the files of the store for damage while it is open. The metric
    /// `event_store_last_verification_timestamp_seconds` shows the last success
    #[arg(long)]
    pub(crate) verify_daily: bool,
}

/// Reads `500ms`, `10s` or `2m`.
fn parse_grace(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let unit = units
        .iter()
        .find_map(|(name, millis)| Some((text.strip_suffix(name)?, *millis)));
    let millis = unit.and_then(|(number, millis)| number.parse::<u64>().ok()?.checked_mul(millis));
    let grace = millis.map(Duration::from_millis).filter(|grace| *grace <= GRACE_MAX);
    grace.ok_or_else(|| "write a time of at most 60m, such as 10s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_an_end() {
        assert_eq!(parse_grace("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_grace("2m"), Ok(Duration::from_secs(120)));
        for wrong in [
            "",
            "10",
            "s",
            "-1s",
            "61m",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(parse_grace(wrong).is_err(), "{wrong}");
        }
    }
}

/// The least level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Text,
    Json,
}
