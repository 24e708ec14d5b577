//! Runs that are stopped, and stores whose calls hang or fail.

use std::sync::Arc;

use annals::{Expected, Position, Version};
use annals_bench::backends::Naive;
use annals_bench::load::LoadError;
use annals_bench::run::{Phase, Run, RunError, run};
use annals_bench::workload::Workload;
use annals_bench::{Backend, Description, EventStore, Look, NewEvent, Result, StoreError};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// An append does not return.
    AppendHangs,
    /// The log cannot be read.
    LogFails,
    /// A stream cannot be read.
    StreamFails,
}

struct Faulty(Fault);

struct FaultyStore(Arc<dyn EventStore>, Fault);

impl Backend for Faulty {
    fn description(&self) -> Description {
        Naive.description()
    }

    fn open(&self) -> Result<Arc<dyn EventStore>> {
        Ok(Arc::new(FaultyStore(Naive.open()?, self.0)))
    }

    fn wipe(&self) -> Result<()> {
        Ok(())
    }
}

impl FaultyStore {
    fn fail_if(&self, fault: Fault) -> Result<()> {
        if self.1 == fault {
            return Err(StoreError::Failed("the server is gone".to_owned()));
        }
        Ok(())
    }
}

impl EventStore for FaultyStore {
    fn append(&self, stream: &str, expected: Expected, events: &[NewEvent<'_>]) -> Result<Version> {
        if self.1 == Fault::AppendHangs {
            // The thread ends with the process.
            loop {
                std::thread::park();
            }
        }
        self.0.append(stream, expected, events)
    }

    fn read_stream(&self, stream: &str, after: Version, look: Look<'_>) -> Result<()> {
        self.fail_if(Fault::StreamFails)?;
        self.0.read_stream(stream, after, look)
    }

    fn read_log(&self, after: Position, limit: usize, look: Look<'_>) -> Result<()> {
        self.fail_if(Fault::LogFails)?;
        self.0.read_log(after, limit, look)
    }
}

/// Runs a workload with `readers`, until `goes_on` is false.
fn ran(fault: Fault, readers: u32, mut goes_on: impl FnMut(Phase, u64) -> bool + Send) -> Result<Run, RunError> {
    let text = format!(
        "name = \"x\"\n[load]\nworkers = 2\n[phases]\nwarmup_ms = 20\nmeasure_ms = 60000\noperations_max = 2000\n\
         [readers]\ntails = {readers}\n[mix]\nappend = 1"
    );
    run(&Faulty(fault), &Workload::parse(&text).unwrap(), 3, &mut goes_on)
}

#[test]
fn a_run_that_was_stopped_waited_for_a_call_that_hangs() {
    let mut asked = 0;
    let stopped = ran(Fault::AppendHangs, 0, |phase, _| {
        asked += usize::from(phase == Phase::WarmUp);
        asked < 2
    });
    assert_eq!(stopped.err(), Some(RunError::Stopped));
}

#[test]
fn a_verification_could_not_be_stopped() {
    let stopped = ran(Fault::Nothing, 0, |phase, calls| phase != Phase::Verify || calls == 0);
    assert_eq!(stopped.err(), Some(RunError::Stopped));
}

#[test]
fn a_server_that_was_gone_was_a_store_that_loses_events() {
    let gone = "the server is gone".to_owned();
    let reader = ran(Fault::LogFails, 1, |_, _| true);
    assert_eq!(reader.err(), Some(RunError::Load(LoadError::Reader(gone.clone()))));
    let probe = ran(Fault::StreamFails, 0, |_, _| true);
    assert_eq!(probe.err(), Some(RunError::Load(LoadError::Unread(gone))));
}
