//! A workload derived from a log: lengths of streams, skew, sizes, bursts and contention, but no payload and no name.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::workload::{Arrivals, Data, Load, Mode, Payload, Skew, Workload, WorkloadError};

/// Streams that are counted one by one; of more, the rest is one group.
const STREAMS_MAX: usize = 5_000_000;
/// Lengths that are kept, evenly taken.
const LENGTHS_MAX: usize = 1 << 20;
/// Ranks that the skew is fitted to.
const RANKS_MAX: usize = 1_000;
/// A second with this many times the mean of events is a burst.
const BURST: f64 = 3.0;
/// Two events of a stream within this time, of different origins, were written at the same time.
const CONTENTION: Duration = Duration::from_millis(100);
/// The longest distance of bursts that a workload can have, in milliseconds.
const PERIOD_MAX: u64 = 3_600_000;
/// The lowest rate of an open loop that gives enough samples.
const RATE_MIN: f64 = 1.0;

/// An event of a log, as far as a workload depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded<'a> {
    /// Its stream.
    pub stream: &'a str,
    /// When it happened, in microseconds since 1970.
    pub micros: i64,
    /// The length of its payload.
    pub bytes: usize,
    /// The conversation that it belongs to, if any.
    pub correlation: Option<&'a str>,
    /// The user that caused it, if any.
    pub user: Option<&'a str>,
}

/// A stream of a log.
#[derive(Clone, Debug)]
struct Stream {
    events: u64,
    /// The origin of the last event, and when it was written.
    last: (u64, i64),
    /// When the last event of another origin was written.
    other: Option<i64>,
}

impl Stream {
    /// Adds an event, and returns whether one of another origin was written shortly before.
    fn add(&mut self, origin: u64, micros: i64) -> bool {
        let (last, at) = self.last;
        if last != origin {
            self.other = Some(at);
        }
        self.events += 1;
        self.last = (origin, micros);
        let near = |other: i64| Duration::from_micros(micros.abs_diff(other)) <= CONTENTION;
        self.other.is_some_and(near)
    }
}

/// Collects the events of a log one by one.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    events: u64,
    streams: HashMap<Box<str>, Stream>,
    /// Events of counted streams that followed one of another origin within [`CONTENTION`].
    contended: u64,
    /// Hashes origins.
    origins: RandomState,
    lengths: Vec<u32>,
    /// Events of each second that has any.
    seconds: HashMap<i64, u64>,
    first: Option<i64>,
    last: Option<i64>,
    /// Bytes of payloads before and after they were compressed.
    compressed: (u64, u64),
}

impl Recorder {
    /// Adds an event.
    pub fn add(&mut self, event: Recorded<'_>) {
        let Recorded { micros, bytes, .. } = event;
        self.events += 1;
        // Events that name neither have one origin.
        let origin = self.origins.hash_one((event.correlation, event.user));
        if let Some(stream) = self.streams.get_mut(event.stream) {
            self.contended += u64::from(stream.add(origin, micros));
        } else if self.streams.len() < STREAMS_MAX {
            let stream = Stream {
                events: 1,
                last: (origin, micros),
                other: None,
            };
            self.streams.insert(event.stream.into(), stream);
        }
        // Every event of a short log, and a part of a long one.
        let step = self.events / LENGTHS_MAX as u64 + 1;
        if self.lengths.len() < LENGTHS_MAX && self.events.is_multiple_of(step) {
            self.lengths.push(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
        if self.seconds.len() < STREAMS_MAX {
            *self.seconds.entry(micros.div_euclid(1_000_000)).or_default() += 1;
        }
        self.first = Some(self.first.map_or(micros, |first| first.min(micros)));
        self.last = Some(self.last.map_or(micros, |last| last.max(micros)));
    }

    /// Notes that payloads of `before` bytes had `after` bytes when they were compressed together.
    pub fn add_compressed(&mut self, before: u64, after: u64) {
        self.compressed.0 += before;
        self.compressed.1 += after;
    }

    /// The workload: the same number and skew of streams, sizes and rate.
    ///
    /// # Errors
    ///
    /// An error if there was no event, or `name` is no name.
    pub fn finish(mut self, name: &str) -> Result<Workload, WorkloadError> {
        if self.events == 0 {
            return Err(WorkloadError("the log has no events".to_owned()));
        }
        let mut counts: Vec<u64> = self.streams.values().map(|stream| stream.events).collect();
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let streams = counts.len() as u64;
        let is_slow = self.rate() < RATE_MIN;
        let load = if is_slow {
            ", and fewer than one a second, so that it is a closed loop"
        } else {
            ""
        };
        let workload = Workload {
            about: format!(
                "derived from a log of {} events in {streams} streams{load}; {}",
                self.events,
                self.contention()
            ),
            data: Data {
                streams,
                ..Data::default()
            },
            skew: skew(&counts),
            payload: self.payload(),
            load: if is_slow { Load::default() } else { self.load() },
            ..Workload::named(name)
        };
        workload.checked()
    }

    /// How often writers met. A log has no conflicts: what was refused is not in it.
    fn contention(&self) -> String {
        let percent = to_f64(self.contended) / to_f64(self.events.max(1)) * 100.0;
        format!(
            "{percent:.1} % of its events came within {} ms after one of another correlation or user on their stream, and this workload appends without a condition",
            CONTENTION.as_millis()
        )
    }

    fn payload(&mut self) -> Payload {
        self.lengths.sort_unstable();
        let at = |percent: usize| {
            let index = (self.lengths.len() * percent).div_ceil(100).saturating_sub(1);
            self.lengths.get(index).copied().unwrap_or(1).clamp(1, 1 << 20)
        };
        let (p50, p99) = (at(50), at(99));
        let (before, after) = self.compressed;
        let default = Payload::default();
        // Random letters compress to three quarters, words to a twentieth.
        let share = (to_f64(after) / to_f64(before.max(1)) - 0.05) / 0.7;
        Payload {
            bytes_p50: p50,
            bytes_p99: p99.max(p50),
            random_share: if before == 0 {
                default.random_share
            } else {
                (share.clamp(0.0, 1.0) * 100.0).round() / 100.0
            },
        }
    }

    fn seconds(&self) -> f64 {
        let (first, last) = (self.first.unwrap_or(0), self.last.unwrap_or(0));
        to_f64(last.abs_diff(first)) / 1e6 + 1.0
    }

    /// Events a second.
    fn rate(&self) -> f64 {
        to_f64(self.events) / self.seconds()
    }

    fn load(&self) -> Load {
        let (seconds, rate) = (self.seconds(), self.rate());
        let is_dense = |entry: &(&i64, &u64)| to_f64(*entry.1) > rate * BURST;
        let dense = self
            .seconds
            .iter()
            .filter(is_dense)
            .map(|(second, count)| (*second, *count));
        let (dense, counts): (BTreeSet<i64>, Vec<u64>) = dense.unzip();
        let share = to_f64(dense.len() as u64) / seconds;
        let within = to_f64(counts.iter().sum::<u64>()) / to_f64(self.events);
        let mut load = Load {
            mode: Mode::Open,
            rate: (rate.min(1e8) * 100.0).round() / 100.0,
            ..Load::default()
        };
        // A factor and a share of the time; together they are less than all events.
        let factor = within / share.max(1e-9);
        if (0.001..0.5).contains(&share) && factor > BURST {
            load.arrivals = Arrivals::Bursts;
            load.burst_share = (share * 10_000.0).floor() / 10_000.0;
            load.burst_factor = (factor.min(0.99 / share) * 100.0).floor() / 100.0;
            load.burst_period_ms = period(seconds, &dense);
        }
        load
    }
}

/// The mean time from one burst to the next, in milliseconds: seconds that follow each other are one burst.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time that is not negative, and far below the largest number"
)]
fn period(seconds: f64, dense: &BTreeSet<i64>) -> u64 {
    let begins = |second: &&i64| !dense.contains(&(*second - 1));
    let bursts = dense.iter().filter(begins).count().max(1);
    ((seconds * 1_000.0 / to_f64(bursts as u64)).round() as u64).clamp(1, PERIOD_MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2 to the power of 53")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

/// Zipf's distribution, fitted by least squares to the logarithms of ranks and counts; uniform if they hardly fall.
fn skew(counts: &[u64]) -> Skew {
    let ranks = counts.iter().take(RANKS_MAX).zip(1_u64..);
    let points: Vec<(f64, f64)> = ranks
        .map(|(count, rank)| (to_f64(rank).ln(), to_f64(*count).ln()))
        .collect();
    let size = to_f64(points.len() as u64);
    if points.len() < 3 {
        return Skew::Uniform;
    }
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / size;
    let (x, y) = (mean(&|point| point.0), mean(&|point| point.1));
    let both = mean(&|point| (point.0 - x) * (point.1 - y));
    let theta = -both / mean(&|point| (point.0 - x).powi(2));
    if theta < 0.05 {
        Skew::Uniform
    } else {
        Skew::Zipf {
            theta: (theta.min(5.0) * 100.0).round() / 100.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Events, Generator};

    /// Records a generated workload.
    fn recorded(text: &str) -> Workload {
        let workload = Workload::parse(text).unwrap();
        let generator = Generator::new(&workload, 5);
        let mut recorder = Recorder::default();
        let mut events = Events::default();
        for number in 0..50_000 {
            let operation = generator.operation(number);
            events.fill(&generator, &operation);
            for event in events.list() {
                recorder.add(Recorded {
                    stream: &operation.stream,
                    micros: i64::try_from(number).unwrap() * 10_000,
                    bytes: event.data.len(),
                    ..Recorded::default()
                });
            }
        }
        recorder.finish("again").unwrap()
    }

    #[test]
    fn a_recorded_workload_is_like_the_one_that_made_the_log() {
        let again = recorded(
            "name = \"x\"\n[data]\nstreams = 200\n[skew]\nkind = \"zipf\"\ntheta = 0.9\n[payload]\nbytes_p50 = 300\nbytes_p99 = 900\n[mix]\nappend = 1",
        );
        assert_eq!(again.data.streams, 200);
        assert!(
            matches!(again.skew, Skew::Zipf { theta } if (0.8..1.0).contains(&theta)),
            "{:?}",
            again.skew
        );
        assert!((290..310).contains(&again.payload.bytes_p50), "{:?}", again.payload);
        assert!((850..950).contains(&again.payload.bytes_p99), "{:?}", again.payload);
        assert!((99.0..101.0).contains(&again.load.rate), "{:?}", again.load);
        let text = again.to_toml().unwrap();
        assert_eq!(Workload::parse(&text).unwrap(), again);
        assert!(!text.contains("stream-0"), "{text}");
    }

    #[test]
    fn uniform_streams_have_no_skew() {
        let again = recorded("name = \"x\"\n[data]\nstreams = 50\n[mix]\nappend = 1");
        assert_eq!(again.skew, Skew::Uniform);
    }

    fn at(micros: i64) -> Recorded<'static> {
        Recorded {
            stream: "a",
            micros,
            bytes: 100,
            ..Recorded::default()
        }
    }

    /// The load of a log with five events a second, and 60 in the first `length` seconds of each `period`.
    fn load_of(period: i64, length: i64) -> Load {
        let mut recorder = Recorder::default();
        for second in 0..1_000 {
            let count = if second % period < length { 60 } else { 5 };
            (0..count).for_each(|_| recorder.add(at(second * 1_000_000)));
        }
        recorder.finish("again").unwrap().load
    }

    #[test]
    fn bursts_are_seen() {
        let load = load_of(10, 1);
        assert_eq!(load.arrivals, Arrivals::Bursts);
        assert!((0.09..0.11).contains(&load.burst_share), "{load:?}");
        assert!((5.0..6.5).contains(&load.burst_factor), "{load:?}");
    }

    #[test]
    fn bursts_of_every_log_were_ten_seconds_apart() {
        for (period, length) in [(8, 1), (20, 1), (40, 3), (100, 5)] {
            let millis = load_of(period, length).burst_period_ms;
            assert_eq!(millis, u64::try_from(period).unwrap() * 1_000, "{length} of {period} s");
        }
    }

    #[test]
    fn writers_that_met_left_no_trace_in_the_workload() {
        let event = |stream, millis: i64, correlation, user| Recorded {
            stream,
            micros: millis * 1_000,
            bytes: 10,
            correlation: Some(correlation),
            user: Some(user),
        };
        let log = [
            event("order", 0, "a", "anna"),
            // Another conversation, 100 ms later; another user, another 50 ms later.
            event("order", 100, "b", "anna"),
            event("order", 150, "b", "bob"),
            // The same writer again, 100 ms after the other one; then later than that.
            event("order", 200, "b", "bob"),
            event("order", 201, "b", "bob"),
            // Another writer, but late.
            event("order", 302, "c", "bob"),
            // Another stream.
            event("cart", 303, "d", "eve"),
            event("cart", 304, "d", "eve"),
        ];
        let mut recorder = Recorder::default();
        for event in log {
            recorder.add(event);
        }
        assert_eq!(recorder.contended, 3);
        let about = recorder.finish("again").unwrap().about;
        assert!(
            about.contains("37.5 % of its events came within 100 ms after one of another correlation or user"),
            "{about}"
        );
    }

    #[test]
    fn events_of_no_origin_contended_with_each_other() {
        let mut recorder = Recorder::default();
        (0..10).for_each(|millis| recorder.add(at(millis)));
        assert_eq!(recorder.contended, 0);
    }

    #[test]
    fn a_slow_log_became_an_open_loop_that_measures_nothing() {
        let mut recorder = Recorder::default();
        (0..100).for_each(|hour| recorder.add(at(hour * 3_600_000_000)));
        let workload = recorder.finish("again").unwrap();
        assert_eq!(workload.load, Load::default());
        assert!(workload.about.contains("closed loop"), "{}", workload.about);
    }

    #[test]
    fn an_empty_log_is_no_workload() {
        assert!(Recorder::default().finish("x").is_err());
    }
}
