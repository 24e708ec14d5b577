//! Writers, readers and droppers at once: what each of them may rely on.

mod again;
mod batches;
mod decisions;
mod dropping;
mod mutex;
mod terms;
mod transactions;

use std::sync::atomic::{AtomicBool, Ordering};

use annals::Store;

const WRITERS: u64 = 4;

/// Calls `look` with every second number from `first` on, and once more when all is done.
fn repeat(first: u64, done: &AtomicBool, look: &impl Fn(u64)) {
    let mut round = first;
    while !done.load(Ordering::Acquire) {
        look(round);
        round += 2;
    }
    look(round);
}

/// Runs `work` on this many threads, and `beside` on two others over and over until they are done.
fn run(store: &Store, work: impl Fn(u64) + Sync, beside: impl Fn(u64) + Sync) {
    run_on(WRITERS, store, work, beside);
}

/// The same on `writers` threads.
fn run_on(writers: u64, store: &Store, work: impl Fn(u64) + Sync, beside: impl Fn(u64) + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for other in 0..2 {
            let (done, beside) = (&done, &beside);
            scope.spawn(move || repeat(other, done, beside));
        }
        let workers: Vec<_> = (0..writers)
            .map(|worker| {
                let work = &work;
                scope.spawn(move || work(worker))
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        for result in results {
            assert!(result.is_ok(), "a writer failed, with {} visible", store.visible());
        }
    });
}
