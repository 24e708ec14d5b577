//! Backends that cheat: the oracle must see each of them.

use std::sync::Arc;
use std::time::Duration;

use annals::{Expected, Position, Version};
use annals_bench::backends::{Annals, Naive};
use annals_bench::load::{Setup, Span, simulate};
use annals_bench::oracle::{Rule, Verdict, simulate_probe, verify};
use annals_bench::workload::Workload;
use annals_bench::{
    Backend, Clock as _, Description, EventStore, Generator, Look, NewEvent, Question, Result, StoreError, StoredEvent,
    VirtualClock,
};
use parking_lot::Mutex;

/// What goes wrong with every tenth append.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cheat {
    Nothing,
    /// Acknowledges and forgets.
    Drops,
    /// Writes the first event alone.
    Tears,
    /// Changes a byte.
    Corrupts,
    /// Writes it twice.
    Doubles,
    /// Writes it after the next append, but acknowledges it now.
    AcknowledgesEarly,
    /// Writes its events in another order.
    Reorders,
    /// Shows two appends in the log in another order than they were acknowledged.
    SwapsInTheLog,
    /// Leaves a number out of the versions.
    LeavesAGap,
    /// Ignores the condition.
    IgnoresConditions,
    /// Refuses it, and writes it all the same.
    WritesWhatItRefuses,
}

type Pending = (String, Vec<(String, String, i64, Vec<u8>)>);

struct Cheater {
    honest: Arc<dyn EventStore>,
    clock: Arc<VirtualClock>,
    cheat: Cheat,
    state: Mutex<(u64, Option<Pending>)>,
}

fn owned(stream: &str, events: &[NewEvent<'_>]) -> Pending {
    let copy = |event: &NewEvent<'_>| {
        let data = event.data.to_vec();
        (
            event.event_type.to_owned(),
            event.correlation.to_owned(),
            event.micros,
            data,
        )
    };
    (stream.to_owned(), events.iter().map(copy).collect())
}

impl Cheater {
    fn write(&self, (stream, events): &Pending) -> Result<Version> {
        let events: Vec<NewEvent<'_>> = events
            .iter()
            .map(|(event_type, correlation, micros, data)| NewEvent {
                event_type,
                correlation,
                causation: "",
                micros: *micros,
                data,
            })
            .collect();
        self.honest.append(stream, Expected::Any, &events)
    }

    fn version_of(&self, stream: &str) -> Result<u64> {
        let mut version = 0;
        self.honest
            .read_stream(stream, Version(0), &mut |event: StoredEvent<'_>| {
                version = event.version.0;
            })?;
        Ok(version)
    }

    fn cheat(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        let mut pending = owned(stream, events);
        let next = Version(self.version_of(stream)? + 1);
        match self.cheat {
            Cheat::Drops => return Ok(next),
            Cheat::AcknowledgesEarly => {
                self.state.lock().1 = Some(pending);
                return Ok(next);
            }
            Cheat::Tears => pending.1.truncate(1),
            Cheat::Corrupts => pending.1[0].3[40] ^= 1,
            Cheat::Reorders => pending.1.reverse(),
            Cheat::Doubles => {
                self.write(&pending)?;
                self.write(&pending)?;
                return Ok(next);
            }
            Cheat::WritesWhatItRefuses => {
                self.write(&pending)?;
                return Err(StoreError::Conflict);
            }
            Cheat::IgnoresConditions => return self.honest.append(stream, Expected::Any, events),
            Cheat::Nothing | Cheat::SwapsInTheLog | Cheat::LeavesAGap => {
                return self.honest.append(stream, expected, events);
            }
        }
        self.write(&pending)
    }
}

impl EventStore for Cheater {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        self.clock.advance(Duration::from_micros(10));
        let number = {
            let mut state = self.state.lock();
            state.0 += 1;
            state.0
        };
        if number.is_multiple_of(10) {
            return self.cheat(stream, expected, events);
        }
        let appended = self.honest.append(stream, expected, events)?;
        let pending = self.state.lock().1.take();
        if let Some(pending) = pending {
            self.write(&pending)?;
        }
        Ok(appended)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.clock.advance(Duration::from_micros(10));
        let mut all = copies(&mut |look| self.honest.read_stream(stream, after, look))?;
        // As if others had appended between the read and the append of a command.
        if self.cheat == Cheat::IgnoresConditions && all.len() % 10 == 8 {
            all.truncate(all.len() - 2);
        }
        for copy in &all {
            look(copy.event());
        }
        Ok(())
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        let mut all = copies(&mut |look| self.honest.read_log(after, limit, look))?;
        if self.cheat == Cheat::SwapsInTheLog && all.len() > 300 {
            // Two appends of two events each, of which the first was acknowledged before the second began.
            for index in [100, 101] {
                all.swap(index, index + 100);
                (all[index].2, all[index + 100].2) = (all[index + 100].2, all[index].2);
            }
        }
        if self.cheat == Cheat::LeavesAGap {
            all.iter_mut()
                .filter(|copy| copy.1.0 > 3)
                .for_each(|copy| copy.1.0 += 1);
        }
        for copy in &all {
            look(copy.event());
        }
        Ok(())
    }
}

/// The parts of an event.
struct Copied(String, Version, Option<Position>, Vec<u8>);

impl Copied {
    fn event(&self) -> StoredEvent<'_> {
        StoredEvent {
            stream: &self.0,
            version: self.1,
            position: self.2,
            data: &self.3,
        }
    }
}

fn copies(read: &mut dyn FnMut(Look<'_>) -> Result<()>) -> Result<Vec<Copied>> {
    let mut all = Vec::new();
    read(&mut |event| {
        all.push(Copied(
            event.stream.to_owned(),
            event.version,
            event.position,
            event.data.to_vec(),
        ));
    })?;
    Ok(all)
}

/// What the oracle finds after a load on a backend with `cheat`.
fn found(cheat: Cheat, mix: &str, streams: u32) -> Verdict {
    let text = format!("name = \"x\"\n[data]\nstreams = {streams}\nbatch = 2\n[load]\nworkers = 4\n[mix]\n{mix} = 1");
    let workload = Workload::parse(&text).unwrap();
    let clock = Arc::new(VirtualClock::new(4));
    let setup = Setup {
        store: Arc::new(Cheater {
            honest: Naive.open().unwrap(),
            clock: Arc::clone(&clock),
            cheat,
            state: Mutex::default(),
        }),
        generator: Arc::new(Generator::new(&workload, 7)),
        clock: Arc::<VirtualClock>::clone(&clock),
    };
    let span = Span {
        numbers: 0..600,
        time: Duration::from_secs(10),
        drain: Duration::ZERO,
    };
    let mut entries = simulate(&setup, &clock, &span).entries;
    assert!(clock.now() > Duration::ZERO);
    let description = Description {
        name: "cheater".to_owned(),
        ..Naive.description()
    };
    let (probed, mut more) = simulate_probe(&setup, &description).unwrap();
    entries.append(&mut more);
    let mut verdict = verify(setup.store.as_ref(), &description, &setup.generator, &mut entries).unwrap();
    verdict.merge(probed);
    verdict
}

fn sees(cheat: Cheat, mix: &str, streams: u32, rule: Rule) {
    let verdict = found(cheat, mix, streams);
    assert!(verdict.count(rule) > 0, "{cheat:?}: {verdict:?}");
    let violation = verdict
        .violations
        .iter()
        .find(|violation| violation.rule == rule)
        .unwrap();
    assert!((1..=5).contains(&violation.examples.len()), "{violation:?}");
    assert!(violation.examples.iter().all(|example| !example.is_empty()));
}

#[test]
fn an_honest_backend_was_accused() {
    for (mix, streams) in [("append", 5), ("create", 1), ("cycle", 3), ("cycle", 1)] {
        let verdict = found(Cheat::Nothing, mix, streams);
        assert!(verdict.is_checked && verdict.is_clean(), "{mix}: {verdict:?}");
        assert!(verdict.acknowledged > 500);
        assert_eq!(verdict.acknowledged, verdict.found);
    }
}

#[test]
fn a_backend_that_drops_was_not_seen() {
    sees(Cheat::Drops, "create", 1, Rule::NothingLost);
    sees(Cheat::Drops, "append", 5, Rule::NothingLost);
    let verdict = found(Cheat::Drops, "append", 5);
    assert!(verdict.found < verdict.acknowledged);
}

#[test]
fn a_backend_that_tears_appends_was_not_seen() {
    sees(Cheat::Tears, "create", 1, Rule::NothingTorn);
}

#[test]
fn a_backend_that_changes_bytes_was_not_seen() {
    sees(Cheat::Corrupts, "append", 5, Rule::NothingTorn);
}

#[test]
fn a_backend_that_doubles_was_not_seen() {
    sees(Cheat::Doubles, "append", 5, Rule::NothingDoubled);
}

#[test]
fn a_backend_that_reorders_was_not_seen() {
    sees(Cheat::Reorders, "append", 5, Rule::InOrder);
    sees(Cheat::SwapsInTheLog, "create", 5, Rule::InOrder);
}

#[test]
fn a_backend_that_acknowledges_early_was_not_seen() {
    sees(Cheat::AcknowledgesEarly, "create", 1, Rule::ReadYourWrites);
}

#[test]
fn a_backend_with_a_gap_was_not_seen() {
    sees(Cheat::LeavesAGap, "append", 5, Rule::NoGaps);
}

#[test]
fn two_winners_of_one_version_were_not_seen() {
    sees(Cheat::IgnoresConditions, "cycle", 1, Rule::OneWinner);
}

#[test]
fn an_append_that_was_refused_and_stored_was_not_seen() {
    sees(Cheat::WritesWhatItRefuses, "append", 5, Rule::NothingInvented);
}

/// A backend whose queries find nothing.
struct Blind(Arc<dyn EventStore>);

impl EventStore for Blind {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        self.0.append(stream, expected, events)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.0.read_stream(stream, after, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.0.read_log(after, limit, look)
    }

    fn query(&self, _question: &Question, _look: Look<'_>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn queries_that_found_nothing_were_the_fastest() {
    let workload = Workload::parse("name = \"x\"\n[load]\nworkers = 2\n[mix]\nby_correlation = 1").unwrap();
    let probed = |store| {
        let setup = Setup {
            store,
            generator: Arc::new(Generator::new(&workload, 7)),
            clock: Arc::new(VirtualClock::new(2)),
        };
        simulate_probe(&setup, &Annals::in_memory().description()).unwrap().0
    };
    let honest = Annals::in_memory().open().unwrap();
    assert!(probed(Arc::clone(&honest)).is_clean());
    let blind = probed(Arc::new(Blind(Annals::in_memory().open().unwrap())));
    assert_eq!(blind.count(Rule::ReadYourWrites), 200, "{blind:?}");
}
