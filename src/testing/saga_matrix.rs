//! Runs a saga once for each of its steps and each incident that may happen there.

use std::fmt;
use std::time::Duration;

use super::Seed;
use super::faults::{Effect, Fault, Faults, Fired, Operation};
use crate::cqrs::Processors;
use crate::{ManualClock, Result, Store};

/// How long the processors may take until they are idle.
const SOON: Duration = Duration::from_secs(60);
/// The seconds that pass after each part of the script, one by one: processors retry failed attempts meanwhile.
const SECONDS_OF_RETRIES: u64 = 30;
/// The largest number of appends in one run.
const STEPS_MAX: usize = 10_000;

type Start<'a> = Box<dyn Fn(&Processors, &Store) + 'a>;
type Part<'a> = Box<dyn Fn(&Store, &ManualClock) + 'a>;
/// Whether the invariant holds, or why not.
type Checked = std::result::Result<(), String>;

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incident {
    /// The process crashes before the append is stored, and is started again.
    CrashBefore,
    /// The process crashes after the append is stored and before it is acknowledged, and is started again.
    CrashAfter,
    /// The append is stored, and its acknowledgement is lost. The process goes on.
    LostAcknowledgement,
    /// The append fails once, and nothing is stored. The process goes on.
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
        // A process appends nothing after its crash.
        let crashed = |from| Fault::new(Operation::Append, Effect::Fail).nth(from).times(u64::MAX);
        match self {
            Self::CrashBefore => vec![crashed(nth)],
            Self::CrashAfter => vec![append(Effect::CommitThenTimeout), crashed(nth + 1)],
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
            Self::LostAcknowledgement => "lost ack",
            Self::Failure => "failure",
        })
    }
}

/// A test that runs a saga once without an incident, and once for each of its steps and each [`Incident`], and checks an invariant after each run.
///
/// A step is an append by one of the processors: the saga's own records, and the events of the commands that it sends. The script of a run consists of
/// the parts that [`when`](Self::when) adds. The processors [run by hand](Processors::by_hand) on a new store in memory, which stands for the log that
/// survives a crash. Only the script and the matrix move the clock. After an incident that stops a processor, all processors are started again, as after
/// a restart of the process. `n` steps take `4 * n + 1` runs.
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
/// .when(|store, _| {
///     store.append(&StreamId::new("Order", "order-1"), Expected::NoStream, vec![NewEvent::new("Placed").data("null")]).unwrap();
/// })
/// .when(|_, clock| clock.advance(Duration::from_secs(3_600)))
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
    script: Vec<Part<'a>>,
}

impl fmt::Debug for SagaMatrix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaMatrix")
            .field("seed", &self.seed)
            .field("parts", &self.script.len())
            .finish_non_exhaustive()
    }
}

impl<'a> SagaMatrix<'a> {
    /// A matrix of the processors that `start` starts, at the beginning of a run and after a crash. Their handlers must append through the store that
    /// `start` gets, since incidents happen to appends of this handle.
    pub fn new(start: impl Fn(&Processors, &Store) + 'a) -> Self {
        Self {
            seed: Seed::new(1),
            start: Box::new(start),
            script: Vec::new(),
        }
    }

    /// Sets the seed of the ids and of the order of the processors; 1 by default.
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// Adds a part of the script: events that users cause, or time that passes. No incident happens to its appends. After it, the processors run until
    /// they are idle, and 30 seconds of the clock pass, in which they retry.
    pub fn when(mut self, part: impl Fn(&Store, &ManualClock) + 'a) -> Self {
        self.script.push(Box::new(part));
        self
    }

    /// Runs the script for each step and each incident. `invariant` checks the store after each run, and returns the reason if it does not hold.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when the processors append nothing, or more than 10,000 times, in the run without an incident.
    ///
    /// # Panics
    ///
    /// When a part of the script or `start` panics.
    pub fn run(&self, invariant: impl Fn(&Store) -> std::result::Result<(), String>) -> Result<SagaTable> {
        // A delay of zero changes nothing, and records each append of the processors.
        let every = Fault::new(Operation::Append, Effect::Delay)
            .lasting(Duration::ZERO)
            .times(u64::MAX);
        let (store, steps) = self.run_script(vec![every])?;
        check_steps(steps.len())?;
        let baseline = invariant(&store);
        let rows = steps.into_iter().enumerate().map(|(place, step)| {
            let nth = place as u64 + 1;
            let outcome = |incident: Incident| (incident, self.outcome(incident.faults(nth), &invariant));
            MatrixRow {
                step: nth,
                at: step.at,
                outcomes: Incident::ALL.into_iter().map(outcome).collect(),
            }
        });
        Ok(SagaTable {
            baseline,
            rows: rows.collect(),
        })
    }

    fn outcome(&self, faults: Vec<Fault>, invariant: &impl Fn(&Store) -> Checked) -> Checked {
        let (store, fired) = self.run_script(faults).map_err(|error| error.to_string())?;
        if fired.is_empty() {
            return Err(
                "the step did not happen in this run: the script or the saga depends on more than the seed, such as the time of the system".to_owned(),
            );
        }
        invariant(&store)
    }

    /// Runs the script with these faults until one of them stops a processor, and without faults from then on.
    fn run_script(&self, faults: Vec<Fault>) -> Result<(Store, Vec<Fired>)> {
        let clock = self.seed.clock();
        let store = self.seed.builder(&clock).open()?;
        let faults = Faults::seeded(self.seed.value(), faults)?;
        let mut processors = self.started(&store.with_faults(&faults));
        for part in &self.script {
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

    /// Runs the processors until they are idle; starts them again if one has stopped.
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

fn check_steps(steps: usize) -> Result<()> {
    if (1..=STEPS_MAX).contains(&steps) {
        return Ok(());
    }
    Err(crate::Error::invalid(format!(
        "the processors append {steps} times without an incident, and a saga matrix needs 1 to {STEPS_MAX} appends: start the saga in `new`, append \
         through the store that it gets, and add the events that it reacts to with `when`"
    )))
}

/// The result of a [`SagaMatrix`]: whether the invariant holds after each step and each incident. `Display` prints it as a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SagaTable {
    /// Whether the invariant holds without an incident, or why not.
    pub baseline: std::result::Result<(), String>,
    /// A row for each step.
    pub rows: Vec<MatrixRow>,
}

/// A step, and whether the invariant holds after each incident at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MatrixRow {
    /// The number of the append among those of the processors, counted from 1.
    pub step: u64,
    /// The append: the aggregates that it is about.
    pub at: String,
    /// For each incident, in the order of [`Incident::ALL`], whether the invariant holds, or why not.
    pub outcomes: Vec<(Incident, std::result::Result<(), String>)>,
}

impl MatrixRow {
    /// Whether the invariant holds after this incident at this step.
    pub fn holds_after(&self, incident: Incident) -> bool {
        let mut outcomes = self.outcomes.iter().filter(|(of, _)| *of == incident);
        outcomes.all(|(_, outcome)| outcome.is_ok())
    }
}

impl SagaTable {
    /// Whether the invariant holds without an incident and after each one.
    pub fn holds(&self) -> bool {
        let mut outcomes = self.rows.iter().flat_map(|row| &row.outcomes);
        self.baseline.is_ok() && outcomes.all(|(_, outcome)| outcome.is_ok())
    }

    /// Asserts that the invariant [holds](Self::holds).
    ///
    /// # Panics
    ///
    /// When it does not hold; the message is the table.
    #[track_caller]
    pub fn assert_holds(&self) {
        if !self.holds() {
            super::fail::fail(&format!("the invariant does not hold:\n{self}"));
        }
    }

    /// Why the invariant does not hold: a line for each run.
    fn write_reasons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Err(reason) = &self.baseline {
            writeln!(f, "without an incident: {reason}")?;
        }
        for row in &self.rows {
            for (incident, outcome) in &row.outcomes {
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
            for (_, outcome) in &row.outcomes {
                write!(f, "  {:<12}", if outcome.is_ok() { "holds" } else { "BROKEN" })?;
            }
            writeln!(f, "  {}", row.at)?;
        }
        self.write_reasons(f)
    }
}
