//! Runs a saga once for each of its steps and each thing that may go wrong there.

use std::fmt;
use std::time::Duration;

use super::Seed;
use super::faults::{Effect, Fault, Faults, Fired, Operation};
use crate::cqrs::Processors;
use crate::{ManualClock, Result, Store};

/// How long the processors of one run may take for what is to be done at once.
const SOON: Duration = Duration::from_secs(60);
/// The seconds that pass after each part of the story, one by one: attempts that failed are repeated meanwhile.
const SECONDS_OF_RETRIES: u64 = 30;
/// The largest number of appends in one run.
const STEPS_MAX: usize = 10_000;

type Start<'a> = Box<dyn Fn(&Processors, &Store) + 'a>;
type Part<'a> = Box<dyn Fn(&Store, &ManualClock) + 'a>;

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incident {
    /// The process ends before the append is stored. Another one starts.
    CrashBefore,
    /// The process ends when the append is stored, before it learns that. Another one starts.
    CrashAfter,
    /// The append is stored, and its acknowledgement is lost. The process goes on.
    LostAcknowledgement,
    /// The append fails once. The process goes on.
    Failure,
}

impl Incident {
    /// All of them, in the order of the columns of a table.
    pub const ALL: [Self; 4] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::LostAcknowledgement,
        Self::Failure,
    ];

    /// The faults that stage it at the `nth` append.
    fn faults(self, nth: u64) -> Vec<Fault> {
        let append = |effect| Fault::new(Operation::Append, effect).nth(nth);
        // After its end a process appends nothing more.
        let ended = |from| Fault::new(Operation::Append, Effect::Fail).nth(from).times(u64::MAX);
        match self {
            Self::CrashBefore => vec![ended(nth)],
            Self::CrashAfter => vec![append(Effect::CommitThenTimeout), ended(nth + 1)],
            Self::LostAcknowledgement => vec![append(Effect::CommitThenTimeout)],
            Self::Failure => vec![append(Effect::Fail)],
        }
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CrashBefore => "crash before",
            Self::CrashAfter => "crash after",
            Self::LostAcknowledgement => "lost answer",
            Self::Failure => "failure",
        })
    }
}

/// A story that is told once without an incident, and once for each step and each [`Incident`].
///
/// A step is an append by one of the processors: what a saga records of itself, and what the commands that it sends append. The processors
/// [run by hand](Processors::by_hand), on a store in memory that stands for the log that survives a crash, with a clock that only the story and the
/// matrix move. After an incident that stops a processor all of them are started again, as after a restart.
///
/// ```
/// use std::time::Duration;
/// use annals::testing::SagaMatrix;
/// # use annals::cqrs::{Action, Aggregate, Aggregates, Route, Saga};
/// # use annals::{Event, Expected, NewEvent, StreamId};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum OrderEvent { Placed, Cancelled }
/// # #[derive(Serialize, Deserialize)] enum OrderCommand { Cancel }
/// # struct Order;
/// # impl Aggregate for Order {
/// #     const TYPE: &'static str = "Order";
/// #     type Event = OrderEvent;
/// #     type Command = OrderCommand;
/// #     type Rejection = String;
/// #     fn initial() -> Self { Self }
/// #     fn decide(&self, _: &OrderCommand) -> Result<Vec<OrderEvent>, String> { Ok(vec![OrderEvent::Cancelled]) }
/// #     fn evolve(&mut self, _: OrderEvent) {}
/// # }
/// # #[derive(Default, Serialize, Deserialize)] struct Expiry;
/// # impl Saga for Expiry {
/// #     const TYPE: &'static str = "Expiry";
/// #     type Event = OrderEvent;
/// #     type Command = OrderCommand;
/// #     fn route(_: &OrderEvent, record: &Event) -> Route { Route::start(record.aggregate_id()) }
/// #     fn react(&mut self, event: OrderEvent) -> Vec<Action<OrderCommand>> {
/// #         match event {
/// #             OrderEvent::Placed => vec![Action::timer_after("expiry", Duration::from_secs(3_600))],
/// #             OrderEvent::Cancelled => vec![Action::Complete],
/// #         }
/// #     }
/// #     fn timeout(&mut self, _: &str) -> Vec<Action<OrderCommand>> { vec![Action::send(OrderCommand::Cancel)] }
/// # }
///
/// let table = SagaMatrix::new(|processors, store| {
///     let orders = Aggregates::<Order>::new(store);
///     let saga = processors.saga::<Expiry>(move |command, sending| {
///         orders.execute_once(sending.command_id, &sending.key, command)?;
///         Ok(())
///     });
///     saga.start().unwrap();
/// })
/// .then(|store, _| {
///     store.append(&StreamId::new("Order", "order-1"), Expected::NoStream, vec![NewEvent::new("Placed").data("null")]).unwrap();
/// })
/// .then(|_, clock| clock.advance(Duration::from_secs(3_600)))
/// .run(|store| match store.read_stream("order-1").events().len() {
///     2 => Ok(()),
///     other => Err(format!("{other} events instead of one cancellation")),
/// })?;
/// table.assert_holds();
/// # Ok::<(), annals::Error>(())
/// ```
#[must_use = "a matrix does nothing until it is run"]
pub struct SagaMatrix<'a> {
    seed: Seed,
    start: Start<'a>,
    story: Vec<Part<'a>>,
}

impl fmt::Debug for SagaMatrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaMatrix")
            .field("seed", &self.seed)
            .field("parts", &self.story.len())
            .finish_non_exhaustive()
    }
}

impl<'a> SagaMatrix<'a> {
    /// A matrix whose processors `start` starts, at the begin and after each restart; what they call appends through the store that it gets.
    pub fn new(start: impl Fn(&Processors, &Store) + 'a) -> Self {
        Self {
            seed: Seed::new(1),
            start: Box::new(start),
            story: Vec::new(),
        }
    }

    /// Another seed: other ids, and another order of the processors.
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// Adds a part of the story: what users do, and how time passes. Nothing goes wrong in it. After it the processors run until they have nothing
    /// left to do, and 30 seconds pass, in which they repeat what failed.
    pub fn then(mut self, part: impl Fn(&Store, &ManualClock) + 'a) -> Self {
        self.story.push(Box::new(part));
        self
    }

    /// Tells the story for each step and each incident, and checks afterwards what must hold in each case.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a story in which the processors append more than 10,000 times, or nothing.
    ///
    /// # Panics
    ///
    /// When a part of the story or `start` panics.
    pub fn run(&self, invariant: impl Fn(&Store) -> std::result::Result<(), String>) -> Result<SagaTable> {
        // A fault without an effect has each append of the processors recorded.
        let every = Fault::new(Operation::Append, Effect::Delay)
            .lasting(Duration::ZERO)
            .times(u64::MAX);
        let (store, steps) = self.tell(vec![every])?;
        if steps.is_empty() || steps.len() > STEPS_MAX {
            let what = format!(
                "the processors of the story append {} times, not 1 to {STEPS_MAX} times",
                steps.len()
            );
            return Err(crate::Error::invalid(what));
        }
        let undisturbed = invariant(&store);
        let rows = steps.into_iter().enumerate().map(|(place, step)| {
            let nth = place as u64 + 1;
            let outcomes = Incident::ALL.map(|incident| self.outcome(incident.faults(nth), &invariant));
            MatrixRow {
                step: nth,
                at: step.at,
                outcomes,
            }
        });
        Ok(SagaTable {
            undisturbed,
            rows: rows.collect(),
        })
    }

    fn outcome(
        &self,
        faults: Vec<Fault>,
        invariant: &impl Fn(&Store) -> std::result::Result<(), String>,
    ) -> std::result::Result<(), String> {
        let (store, fired) = self.tell(faults).map_err(|error| error.to_string())?;
        if fired.is_empty() {
            return Err("the step did not happen in this run: the story depends on more than the seed".to_owned());
        }
        invariant(&store)
    }

    /// Tells the story with these faults, until one of them stops a processor; then with none.
    fn tell(&self, faults: Vec<Fault>) -> Result<(Store, Vec<Fired>)> {
        let clock = self.seed.clock();
        let store = self.seed.builder(&clock).open()?;
        let faults = Faults::seeded(self.seed.value(), faults)?;
        let mut processors = self.started(&store.with_faults(&faults));
        for part in &self.story {
            part(&store, &clock);
            self.settle(&mut processors, &store, &faults);
            for _ in 0..SECONDS_OF_RETRIES {
                clock.advance(Duration::from_secs(1));
                self.settle(&mut processors, &store, &faults);
            }
        }
        drop(processors);
        Ok((store, faults.fired()))
    }

    /// Runs the processors until they have nothing left to do; starts them again if one has stopped.
    fn settle(&self, processors: &mut Processors, store: &Store, faults: &Faults) {
        if processors.when_idle(SOON).is_err() {
            faults.clear();
            processors.end();
            *processors = self.started(store);
            // If it stops again, for another reason than an incident, the invariant shows it.
            drop(processors.when_idle(SOON));
        }
    }

    fn started(&self, store: &Store) -> Processors {
        let processors = Processors::by_hand(store, self.seed.part("processors"));
        (self.start)(&processors, store);
        processors
    }
}

/// What came of each step and each incident.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SagaTable {
    /// What must hold, without an incident.
    pub undisturbed: std::result::Result<(), String>,
    /// A row for each step.
    pub rows: Vec<MatrixRow>,
}

/// A step, and what came of each incident.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MatrixRow {
    /// The number of the append among those of the processors, counted from 1.
    pub step: u64,
    /// What it was about.
    pub at: String,
    /// Whether what must hold does, or why not: in the order of [`Incident::ALL`].
    pub outcomes: [std::result::Result<(), String>; 4],
}

impl SagaTable {
    /// Whether what must hold does, without and with every incident.
    pub fn holds(&self) -> bool {
        let mut outcomes = self.rows.iter().flat_map(|row| &row.outcomes);
        self.undisturbed.is_ok() && outcomes.all(std::result::Result::is_ok)
    }

    /// # Panics
    ///
    /// When it does not [hold](Self::holds); the message is the table.
    #[track_caller]
    pub fn assert_holds(&self) {
        if !self.holds() {
            super::fail::fail(&format!("what must hold does not:\n{self}"));
        }
    }

    /// The reasons for which it does not hold, each with its steps.
    fn write_reasons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Err(reason) = &self.undisturbed {
            writeln!(f, "without an incident: {reason}")?;
        }
        for row in &self.rows {
            for (incident, outcome) in Incident::ALL.iter().zip(&row.outcomes) {
                if let Err(reason) = outcome {
                    writeln!(f, "step {}, {incident}: {reason}", row.step)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for SagaTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step")?;
        for incident in Incident::ALL {
            write!(f, "  {incident:<12}")?;
        }
        writeln!(f, "  append")?;
        for row in &self.rows {
            write!(f, "{:>4}", row.step)?;
            for outcome in &row.outcomes {
                write!(f, "  {:<12}", if outcome.is_ok() { "holds" } else { "BROKEN" })?;
            }
            writeln!(f, "  {}", row.at)?;
        }
        self.write_reasons(f)
    }
}
