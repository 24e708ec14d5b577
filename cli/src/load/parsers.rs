//! Threads that parse the pieces that another thread has cut. The batches come out in the order of the file.

use std::num::NonZeroUsize;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::load::pieces::{Batch, Pieces};

/// Number of batches per parser that are cut or parsed ahead of the store.
const AHEAD: usize = 4;
/// Maximum number of parsing threads. The store appends one event after another, which is no faster than a few of them.
const THREADS_MAX: usize = 8;

/// The place of a batch in the order of the file. The parsed batch is sent to it.
pub(crate) type Slot = Receiver<Batch>;

/// One step of a file.
pub(crate) enum Step {
    Batch(Slot),
    /// The file cannot be read from here on, even if lines are skipped.
    Broken(String),
    End,
}

/// Sends pieces to the parsers, and their slots to the receiver of the steps.
pub(crate) struct Parsers {
    work: Sender<(Pieces, Sender<Batch>)>,
    steps: Sender<Step>,
}

/// The receiver of the steps is gone.
pub(crate) struct Unwanted;

/// Takes used batches. A parsing thread frees them: it allocated their memory, and the appending thread is the slowest.
pub(crate) struct Spent(Sender<Batch>);

impl Spent {
    pub(crate) fn dispose(&self, batch: Batch) {
        // If the queue is full or no parser is left, it is freed here.
        drop(self.0.try_send(batch));
    }
}

impl Parsers {
    /// Starts the threads. They end when the parsers are dropped.
    pub(crate) fn start() -> std::io::Result<(Self, Receiver<Step>, Spent)> {
        let threads = thread::available_parallelism()
            .map_or(1, NonZeroUsize::get)
            .min(THREADS_MAX);
        let (work, waiting) = bounded::<(Pieces, Sender<Batch>)>(threads);
        let (spent, to_free) = bounded(threads * AHEAD);
        for number in 0..threads {
            let (waiting, to_free) = (waiting.clone(), to_free.clone());
            thread::Builder::new().name(format!("parser {number}")).spawn(move || {
                for (pieces, slot) in waiting {
                    drop(to_free.try_recv());
                    // The receiver is gone after an interrupted load.
                    drop(slot.send(pieces.parse()));
                }
            })?;
        }
        let (steps, received) = bounded(threads * AHEAD);
        Ok((Self { work, steps }, received, Spent(spent)))
    }

    pub(crate) fn parse(&self, pieces: Pieces) -> Result<(), Unwanted> {
        let (parsed, slot) = bounded(1);
        self.steps.send(Step::Batch(slot)).map_err(|_| Unwanted)?;
        self.work.send((pieces, parsed)).map_err(|_| Unwanted)
    }

    /// The last step.
    pub(crate) fn finish(self, last: Step) {
        drop(self.steps.send(last));
    }
}
