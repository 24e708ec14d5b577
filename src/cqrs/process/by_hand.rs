//! Processors without threads: a seed chooses which of them handles its next event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::control::Order;
use super::runner::{Runner, Sink};
use super::status::StopReason;
use super::{Processors, Running, Work};
use crate::Store;
use crate::testing::Seed;

/// Chooses the processor of each step.
pub(super) struct Choice {
    seed: Seed,
    steps: AtomicU64,
}

/// A processor that runs a step at a time.
pub(super) trait Step: Send {
    /// Handles the next event, or the timers that are due. Returns whether there was something to do.
    fn step(&mut self, store: &Store) -> bool;
}

impl<S: Sink> Step for Runner<S> {
    fn step(&mut self, store: &Store) -> bool {
        if self.control().order() != Order::Run {
            self.let_go();
            return false;
        }
        let before = (self.control().status().position, store.visible());
        match self.feed_next(1) {
            Ok(_) => before != (self.control().status().position, store.visible()),
            Err(StopReason::Ended) => false,
            Err(reason) => {
                self.let_go();
                self.control().stop(reason);
                true
            }
        }
    }
}

pub(super) fn work<S: Sink + 'static>(runner: Runner<S>) -> Work {
    runner.control().set_by_hand();
    Work::ByHand(Arc::new(Mutex::new(runner)))
}

impl Processors {
    /// A set of processors for the events of `store` that have no threads: they run in [`step`](Self::step), [`when_caught_up`](Self::when_caught_up) and
    /// [`when_idle`](Self::when_idle), on the thread that calls these, and a seed chooses the order. So a test that calls the store from one thread
    /// gives the same log, byte for byte, for the same seed, and another order of the processors for another.
    ///
    /// Handles of single processors do not run them: their waits end with what has been done. Pauses between two attempts are not shortened.
    pub fn by_hand(store: &Store, seed: Seed) -> Self {
        let choice = Choice {
            seed,
            steps: AtomicU64::new(0),
        };
        Self {
            store: store.clone(),
            running: Arc::new(Running {
                processors: Mutex::default(),
                by_hand: Some(choice),
            }),
        }
    }

    /// Lets one processor, chosen by the seed, handle its next event or the timers that are due. Returns `false` if none has anything to do, and
    /// for processors with threads.
    pub fn step(&self) -> bool {
        let Some(choice) = &self.running.by_hand else {
            return false;
        };
        let all = self.running.steps();
        let nth = choice.steps.fetch_add(1, Ordering::Relaxed);
        let first = usize::try_from(choice.seed.below(nth, all.len() as u64)).unwrap_or(0);
        let in_turn = all.iter().skip(first).chain(all.iter().take(first));
        in_turn.into_iter().any(|processor| match processor.try_lock() {
            Some(mut processor) => processor.step(&self.store),
            // This is called by one of its handlers.
            None => false,
        })
    }

    /// Runs steps until there is nothing to do, or the time is over.
    pub(super) fn run_by_hand(&self, timeout: Duration) {
        let begun = Instant::now();
        while self.step() && begun.elapsed() < timeout {}
    }
}

impl Running {
    fn steps(&self) -> Vec<Arc<Mutex<dyn Step>>> {
        let processors = self.processors.lock();
        let by_hand = processors.values().filter_map(|processor| match &processor.work {
            Work::ByHand(step) => Some(Arc::clone(step)),
            Work::Thread(_) => None,
        });
        by_hand.collect()
    }
}
