//! What a store has to be able to do to be measured, and the measuring.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_executor::block_on;

use crate::work::{Batch, Content, TYPES, Work, interleaved};

/// The result of a call to a store.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A store, as it is measured.
///
/// The loops are in here and not in the stores, so that all of them run the same one, and an async store is entered once a
/// measurement and not once a call.
#[expect(async_fn_in_trait, reason = "every future is awaited on the thread that made it")]
pub trait Peer: Sized {
    /// Its name in the report.
    const NAME: &'static str;

    /// Events that one aggregate can be given one by one in reasonable time.
    const HOT_EVENTS: usize = 20_000;

    /// What it can do.
    const CAN: &'static [Work];

    /// An empty store.
    fn empty() -> Self;

    /// Appends the events of `batch` if its aggregate is at its version, where the store can check that.
    async fn append(&mut self, content: &Content, batch: &Batch) -> Result<()>;

    /// Reads the events of an aggregate into owned values, and counts them.
    async fn load(&self, aggregate: &str) -> Result<usize>;

    /// Reads the events of a type, in the order of the store, into owned values, and counts them.
    fn by_type(&self, event_type: &str) -> Result<usize> {
        Err(format!("{} cannot find events by type: {event_type}", Self::NAME).into())
    }

    /// Reads the events of a conversation into owned values, and counts them.
    fn conversation(&self, correlation: &str) -> Result<usize> {
        Err(format!("{} cannot find a conversation: {correlation}", Self::NAME).into())
    }
}

/// How much work.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Aggregates of the large store. It gets ten events each.
    pub aggregates: usize,
    /// Aggregates of the store that is loaded from. It gets a hundred events each.
    pub loaded_aggregates: usize,
}

impl Scale {
    /// A million events, and a hundred thousand to load from.
    pub const FULL: Self = Self {
        aggregates: 100_000,
        loaded_aggregates: 1_000,
    };
}

/// Measures one store.
#[derive(Debug)]
pub struct Measure<P> {
    content: Content,
    scale: Scale,
    filled: Option<P>,
    turn: usize,
}

impl<P: Peer> Measure<P> {
    /// Ready to measure.
    pub fn new(scale: Scale) -> Self {
        let content = Content::new(scale.aggregates, scale.aggregates * 10);
        Self {
            content,
            scale,
            filled: None,
            turn: 0,
        }
    }

    /// Elements that doing `work` once handles: events, but whole conversations.
    pub fn elements(&self, work: Work) -> usize {
        match work {
            Work::Single | Work::Batches => self.scale.aggregates * 10,
            Work::Hot => P::HOT_EVENTS,
            Work::Load => 100,
            Work::ByType => self.scale.aggregates * 10 / TYPES.len(),
            Work::Conversation => 1,
        }
    }

    /// Does `work` so many times, and says how long it took. Filling what is read from, and dropping, do not count.
    pub fn time(&mut self, work: Work, times: u64) -> Result<Duration> {
        let aggregates = self.scale.aggregates;
        match work {
            Work::Single => self.time_appends(times, || interleaved(aggregates, 10, 1)),
            Work::Batches => self.time_appends(times, || interleaved(aggregates / 10, 10, 10)),
            Work::Hot => self.time_appends(times, || interleaved(1, P::HOT_EVENTS, 1)),
            Work::Load | Work::ByType | Work::Conversation => self.time_reads(work, times),
        }
    }

    fn time_appends<B: Iterator<Item = Batch>>(&self, times: u64, batches: impl Fn() -> B) -> Result<Duration> {
        let mut total = Duration::ZERO;
        for _ in 0..times {
            let mut peer = P::empty();
            let start = Instant::now();
            fill(&mut peer, &self.content, batches())?;
            total += start.elapsed();
        }
        Ok(total)
    }

    fn time_reads(&mut self, work: Work, times: u64) -> Result<Duration> {
        self.prepare(work)?;
        let peer = self.filled.take().ok_or("there is nothing to read")?;
        let start = Instant::now();
        for _ in 0..times {
            black_box(self.read(&peer, work)?);
        }
        let total = start.elapsed();
        self.filled = Some(peer);
        Ok(total)
    }

    /// Fills a store with what `work` reads, if it reads and there is none. One measurer is asked for one kind of reading only.
    pub fn prepare(&mut self, work: Work) -> Result<()> {
        if !work.reads() || self.filled.is_some() {
            return Ok(());
        }
        let mut peer = P::empty();
        let batches = match work {
            Work::Load => interleaved(self.scale.loaded_aggregates, 10, 10),
            Work::Single | Work::Batches | Work::Hot | Work::ByType | Work::Conversation => {
                interleaved(self.scale.aggregates, 10, 1)
            }
        };
        fill(&mut peer, &self.content, batches)?;
        self.filled = Some(peer);
        Ok(())
    }

    /// Reads once, something else each time, and answers how many events it got.
    pub fn read(&mut self, peer: &P, work: Work) -> Result<usize> {
        // A step that has no factor in common with the number of anything here.
        self.turn = self.turn.wrapping_add(7_919);
        match work {
            Work::Load => block_on(peer.load(self.content.aggregate(self.turn % self.scale.loaded_aggregates))),
            Work::ByType => peer.by_type(TYPES[self.turn % TYPES.len()]),
            Work::Conversation => peer.conversation(self.content.correlation(self.turn)),
            Work::Single | Work::Batches | Work::Hot => Err("that is not a way to read".into()),
        }
    }
}

fn fill<P: Peer>(peer: &mut P, content: &Content, batches: impl Iterator<Item = Batch>) -> Result<()> {
    block_on(async {
        for batch in batches {
            peer.append(content, &batch).await?;
        }
        Ok(())
    })
}

/// What a fresh process finds out about a store.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// Single appends in a second, in memory that the process did not have before.
    pub cold_per_second: f64,
    /// Single appends in a second, after that store was dropped.
    pub warm_per_second: f64,
    /// Resident memory for each event, beyond its payload.
    pub bytes_per_event: f64,
}

/// Fills two stores, one after the other.
pub fn fresh<P: Peer>(scale: Scale) -> Result<Fresh> {
    let content = Content::new(scale.aggregates, scale.aggregates * 10);
    let events = f64::from(u32::try_from(scale.aggregates * 10)?);
    let before = resident_bytes()?;
    let (peer, cold) = timed_fill::<P>(&content, scale)?;
    let bytes_per_event = (resident_bytes()? - before) / events - 128.0;
    drop(peer);
    let (_, warm) = timed_fill::<P>(&content, scale)?;
    Ok(Fresh {
        cold_per_second: events / cold,
        warm_per_second: events / warm,
        bytes_per_event,
    })
}

fn timed_fill<P: Peer>(content: &Content, scale: Scale) -> Result<(P, f64)> {
    let start = Instant::now();
    let mut peer = P::empty();
    fill(&mut peer, content, interleaved(scale.aggregates, 10, 1))?;
    Ok((peer, start.elapsed().as_secs_f64()))
}

fn resident_bytes() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS in /proc/self/status")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024.0)
}

/// The longest that single appends of many took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pause {
    /// By the clock.
    pub longest: Duration,
    /// The longest without the time in which another process had the processor.
    pub longest_running: Duration,
    /// The longest of all but one in 10,000, without that time.
    pub p9999: Duration,
    /// Appends that took longer than a millisecond, without that time.
    pub over_a_millisecond: u32,
}

/// Appends between two looks at how long the thread had to wait for a processor.
const LOOK_EVERY: usize = 500;

/// Appends ten events to each of `aggregates` aggregates, one by one, and times each append.
pub fn pause<P: Peer>(aggregates: usize) -> Result<Pause> {
    let content = Content::new(aggregates, aggregates * 10);
    let mut peer = P::empty();
    let mut pause = Pause::default();
    // Not zero: the pages of the list are touched before anything is timed.
    let mut all = vec![Duration::MAX; aggregates * 10];
    let mut waited = waited_for_processor();
    block_on(async {
        for (number, batch) in interleaved(aggregates, 10, 1).enumerate() {
            if number % LOOK_EVERY == 0 {
                waited = waited_for_processor();
            }
            let start = Instant::now();
            peer.append(&content, &batch).await?;
            let took = start.elapsed();
            all[number] = took;
            if took > Duration::from_micros(100) {
                all[number] = pause.note(took, waited_for_processor().saturating_sub(waited));
                waited = waited_for_processor();
            }
        }
        pause.p9999 = percentile(&mut all, 9_999);
        Ok(pause)
    })
}

/// The time that `per_10_000` of 10,000 of `times` do not exceed.
fn percentile(times: &mut [Duration], per_10_000: usize) -> Duration {
    let index = (times.len() * per_10_000).div_ceil(10_000).saturating_sub(1);
    if times.is_empty() {
        Duration::ZERO
    } else {
        *times.select_nth_unstable(index).1
    }
}

impl Pause {
    /// Returns how long the append ran.
    fn note(&mut self, took: Duration, waited: Duration) -> Duration {
        let running = took.saturating_sub(waited);
        self.longest = self.longest.max(took);
        self.longest_running = self.longest_running.max(running);
        self.over_a_millisecond += u32::from(running > Duration::from_millis(1));
        running
    }
}

/// How long this thread was ready to run and did not, by the kernel's account; nothing where it keeps none.
fn waited_for_processor() -> Duration {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(
        account
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_leaves_out_one_in_ten_thousand() {
        let mut times: Vec<_> = (1..=20_000).rev().map(Duration::from_nanos).collect();
        assert_eq!(percentile(&mut times, 9_999), Duration::from_nanos(19_998));
        assert_eq!(
            percentile(&mut [Duration::from_nanos(7)], 9_999),
            Duration::from_nanos(7)
        );
        assert_eq!(percentile(&mut [], 9_999), Duration::ZERO);
    }
}
