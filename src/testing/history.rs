//! A history of operations that several threads ran on one store, each with the time of its invocation and of its return.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::{Appended, Conflict, Durability, EventRef, Expected, Name, Position};

/// What several threads did to a store, and what its recovery found afterwards.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The operations, in no particular order.
    pub operations: Vec<Operation>,
    /// The durability that an event must reach before readers see it.
    pub visibility: Durability,
    /// The log after a crash and a recovery; `None` when the store did not crash.
    pub recovered: Option<Recovered>,
}

/// The log after a crash and a recovery.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The least durability that survives the crash: `Synced` for a machine, `Written` for a process, `Volatile` for a closed store.
    pub survives: Durability,
    /// The last position that readers see.
    pub end: u64,
    /// Every event, also those of the system.
    pub log: Vec<Seen>,
    /// The version of each aggregate.
    pub versions: Vec<(Name, u64)>,
}

/// One operation of one thread.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The number of the thread.
    pub thread: usize,
    /// The logical time before the call.
    pub invoked: u64,
    /// The logical time after the call.
    pub returned: u64,
    /// The call.
    pub call: Call,
    /// The result.
    pub outcome: Outcome,
}

/// A call of a store's method.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Call {
    /// `append`, `append_all` or `append_if`.
    Append {
        /// One part for each aggregate.
        parts: Vec<Part>,
        /// The condition of an `append_if`.
        condition: Option<Watched>,
        /// The durability of the handle.
        durability: Durability,
    },
    /// `delete`, or `truncate_before`.
    Drop {
        /// The aggregate.
        aggregate: Name,
        /// The expected version of a deletion.
        expected: Expected,
        /// The version of a truncation; `None` for a deletion.
        before: Option<u64>,
        /// The durability of the handle.
        durability: Durability,
    },
    /// `read_stream` of the aggregate.
    ReadStream(Name),
    /// `read_all`, with the system's events.
    ReadAll,
    /// `compact_journal`.
    Compact,
}

/// One aggregate's part of an append.
#[derive(Clone, Debug)]
pub struct Part {
    /// The aggregate.
    pub aggregate: Name,
    /// The expected version.
    pub expected: Expected,
    /// The events.
    pub events: Vec<Note>,
}

/// An event to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// A number that no other event of the history has.
    pub label: u64,
    /// The number in its tag.
    pub tag: u64,
}

/// The condition of an append: no event with the tag after the position.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// The number in the tag.
    pub tag: u64,
    /// The position.
    pub after: u64,
}

/// The result of a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// An append was acknowledged, with an acknowledgement for each part.
    Appended(Vec<Appended>),
    /// A deletion or a truncation was acknowledged, with the position of its event.
    Dropped(Position),
    /// The call found a conflict and wrote nothing.
    Conflict(Conflict),
    /// The call was refused for another reason and wrote nothing.
    Refused(String),
    /// The call failed, and whether it wrote anything is unknown.
    InDoubt(String),
    /// The events that a read returned.
    Read(Vec<Seen>),
    /// The call returned, and nothing is known of its effect.
    Done,
}

/// An event that a read returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its position.
    pub position: u64,
    /// Its aggregate; for an event of the system, the aggregate that it is about.
    pub aggregate: Name,
    /// Its version.
    pub version: u64,
    /// Its content.
    pub what: What,
}

/// The content of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The label of an event that a thread appended.
    Note(u64),
    /// The aggregate was deleted.
    Deleted,
    /// The events of the aggregate up to this version were dropped.
    Truncated(u64),
}

impl Seen {
    /// What a reader of an event keeps of it.
    pub fn of(event: EventRef<'_>) -> Self {
        let digits = event.data().iter().filter(|byte| byte.is_ascii_digit());
        let number = digits.fold(0_u64, |number, byte| {
            number.saturating_mul(10).saturating_add(u64::from(byte - b'0'))
        });
        let aggregate = event.aggregate_id();
        Self {
            position: event.position().0,
            aggregate: aggregate.strip_prefix('$').unwrap_or(aggregate).into(),
            version: event.version().0,
            what: match event.event_type() {
                "$deleted" => What::Deleted,
                "$truncated" => What::Truncated(number),
                _ => What::Note(number),
            },
        }
    }
}

impl Operation {
    /// The events that an append brings, with their aggregates and the number of their part.
    pub(super) fn notes(&self) -> impl Iterator<Item = (usize, &Name, Note)> {
        let parts = match &self.call {
            Call::Append { parts, .. } => parts.as_slice(),
            Call::Drop { .. } | Call::ReadStream(_) | Call::ReadAll | Call::Compact => &[],
        };
        let parts = parts.iter().enumerate();
        parts.flat_map(|(number, part)| part.events.iter().map(move |note| (number, &part.aggregate, *note)))
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self.outcome, Outcome::InDoubt(_))
    }

    /// The last position that the outcome acknowledges or shows; 0 if it has none.
    pub(super) fn last_position(&self) -> u64 {
        match &self.outcome {
            Outcome::Appended(parts) => parts.iter().map(|part| part.last_position.0).max().unwrap_or(0),
            Outcome::Dropped(position) => position.0,
            Outcome::Read(seen) => seen.iter().map(|seen| seen.position).max().unwrap_or(0),
            Outcome::Conflict(_) | Outcome::Refused(_) | Outcome::InDoubt(_) | Outcome::Done => 0,
        }
    }
}

/// Records the operations of several threads.
#[derive(Debug, Default)]
pub struct Recorder {
    clock: AtomicU64,
    operations: Mutex<Vec<Operation>>,
    /// The call of each thread that has not returned, with the time of its invocation.
    under_way: Mutex<BTreeMap<usize, (u64, Call)>>,
}

impl Recorder {
    /// Runs `run`, and records it with the logical times around it. Returns the outcome.
    pub fn record(&self, thread: usize, call: Call, run: impl FnOnce(&Call) -> Outcome) -> Outcome {
        let invoked = self.clock.fetch_add(1, Ordering::SeqCst);
        self.under_way.lock().insert(thread, (invoked, call.clone()));
        let outcome = run(&call);
        let returned = self.clock.fetch_add(1, Ordering::SeqCst);
        self.under_way.lock().remove(&thread);
        self.operations.lock().push(Operation {
            thread,
            invoked,
            returned,
            call,
            outcome: outcome.clone(),
        });
        outcome
    }

    /// The operations recorded so far, in the order of their invocations.
    pub fn operations(&self) -> Vec<Operation> {
        let mut operations = self.operations.lock().clone();
        operations.sort_by_key(|operation| operation.invoked);
        operations
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "readers see what is {}", self.visibility)?;
        for operation in &self.operations {
            writeln!(f, "{operation}")?;
        }
        let Some(recovered) = &self.recovered else {
            return Ok(());
        };
        write!(f, "recovered to position {}:", recovered.end)?;
        show_all(f, &recovered.log)
    }
}

/// The calls that have not returned, then the operations that have.
impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.under_way.lock();
        if under_way.is_empty() {
            writeln!(f, "no thread is in a call")?;
        }
        for (thread, (invoked, call)) in under_way.iter() {
            writeln!(f, "thread {thread} [{invoked}..] {call} has not returned")?;
        }
        self.operations()
            .iter()
            .try_for_each(|operation| writeln!(f, "{operation}"))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "thread {} [{}..{}] {} -> {}",
            self.thread, self.invoked, self.returned, self.call, self.outcome
        )
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Append {
                parts,
                condition,
                durability,
            } => {
                write!(f, "append {durability}")?;
                if let Some(watched) = condition {
                    write!(f, " if no tag-{} after {}", watched.tag, watched.after)?;
                }
                parts.iter().try_for_each(|part| write!(f, " {part}"))
            }
            Self::Drop {
                aggregate,
                before: Some(before),
                durability,
                ..
            } => write!(f, "truncate {durability} {aggregate} before {before}"),
            Self::Drop {
                aggregate,
                expected,
                durability,
                ..
            } => write!(f, "delete {durability} {aggregate} at {expected}"),
            Self::ReadStream(aggregate) => write!(f, "read_stream {aggregate}"),
            Self::ReadAll => f.write_str("read_all"),
            Self::Compact => f.write_str("compact_journal"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} at {}:", self.aggregate, self.expected)?;
        for note in &self.events {
            write!(f, " #{}/tag-{}", note.label, note.tag)?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appended(parts) => parts.iter().try_for_each(|part| {
                write!(
                    f,
                    "({} versions {}..{} at {}..{})",
                    part.durability, part.first_version, part.last_version, part.first_position, part.last_position
                )
            }),
            Self::Dropped(position) => write!(f, "dropped at {position}"),
            Self::Conflict(conflict) => write!(f, "conflict: {conflict}, wait for {}", conflict.wait_for()),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::InDoubt(reason) => write!(f, "in doubt: {reason}"),
            Self::Read(seen) => show_all(f, seen),
            Self::Done => f.write_str("done"),
        }
    }
}

fn show_all(f: &mut fmt::Formatter<'_>, seen: &[Seen]) -> fmt::Result {
    write!(f, "{} events", seen.len())?;
    seen.iter().try_for_each(|seen| write!(f, ", {seen}"))
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (position, aggregate, version) = (self.position, &self.aggregate, self.version);
        match self.what {
            What::Note(label) => write!(f, "{position}: {aggregate} v{version} #{label}"),
            What::Deleted => write!(f, "{position}: {aggregate} deleted"),
            What::Truncated(to) => write!(f, "{position}: {aggregate} truncated to {to}"),
        }
    }
}
