//! Gathers the appends that threads make while a statement is under way, so that the next statement sends them together.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_postgres::Row;

/// The most appends in one statement.
const APPENDS_MAX: usize = 1_000;
/// The most bytes of appends in one statement, unless the first has more.
const BYTES_MAX: usize = 4 << 20;

/// The appends that wait for the statement under way.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whether a thread sends, which takes the appends of others with it.
    is_led: bool,
    /// Whether each thread sends its own, because the server refuses several in one call.
    is_off: bool,
    waiting: VecDeque<Waiting>,
    numbers: u64,
}

/// An append that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    number: u64,
    /// The append as the function takes it.
    pub(super) json: String,
    turn: oneshot::Sender<Turn>,
}

impl Waiting {
    /// Tells the thread that waits. One that has gone needs nothing.
    pub(super) fn tell(self, turn: Turn) {
        drop(self.turn.send(turn));
    }
}

/// How an append that waited goes on.
#[derive(Debug)]
pub(super) enum Turn {
    /// It sends, with those that wait by then.
    Lead,
    /// It was sent, and this is its row.
    Sent(Row),
    /// It was not written, and is sent by itself.
    Alone,
    /// Whether it was written is not known.
    Lost(String),
}

/// How an append begins.
#[derive(Debug)]
pub(super) enum Joined<'a> {
    Leads(Lead<'a>),
    Waits(u64, oneshot::Receiver<Turn>),
    /// Appends are not gathered.
    Alone,
}

/// The right to send. Dropping it passes it on to the append that has waited longest.
#[derive(Debug)]
pub(super) struct Lead<'a>(&'a Gathering);

impl Gathering {
    /// Leads if no thread does, and waits otherwise.
    pub(super) fn join(&self, json: impl FnOnce() -> String) -> Joined<'_> {
        if let Some(joined) = self.lead() {
            return joined;
        }
        // Made without the lock, because it copies the events.
        let json = json();
        if let Some(joined) = self.lead() {
            return joined;
        }
        let mut queue = self.queue.lock();
        if !queue.is_led {
            queue.is_led = true;
            return Joined::Leads(Lead(self));
        }
        let (turn, told) = oneshot::channel();
        queue.numbers += 1;
        let number = queue.numbers;
        queue.waiting.push_back(Waiting { number, json, turn });
        Joined::Waits(number, told)
    }

    fn lead(&self) -> Option<Joined<'_>> {
        let mut queue = self.queue.lock();
        if queue.is_off {
            return Some(Joined::Alone);
        }
        if std::mem::replace(&mut queue.is_led, true) {
            return None;
        }
        Some(Joined::Leads(Lead(self)))
    }

    /// The right that [`Turn::Lead`] gives.
    pub(super) fn led(&self) -> Lead<'_> {
        Lead(self)
    }

    /// Takes an append back; false if it is no longer waiting.
    pub(super) fn leave(&self, number: u64) -> bool {
        let mut queue = self.queue.lock();
        let place = queue.waiting.iter().position(|waiting| waiting.number == number);
        place.and_then(|place| queue.waiting.remove(place)).is_some()
    }

    /// Has each thread send its own from now on.
    pub(super) fn stop(&self) {
        self.queue.lock().is_off = true;
    }
}

impl Lead<'_> {
    /// Takes the appends that wait, up to the bounds.
    pub(super) fn take(&self) -> Vec<Waiting> {
        let mut queue = self.0.queue.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < APPENDS_MAX - 1
            && let Some(next) = queue.waiting.front()
            && bytes + next.json.len() <= BYTES_MAX
        {
            bytes += next.json.len();
            taken.extend(queue.waiting.pop_front());
        }
        taken
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        while let Some(next) = queue.waiting.pop_front() {
            if next.turn.send(Turn::Lead).is_ok() {
                return;
            }
        }
        queue.is_led = false;
    }
}
