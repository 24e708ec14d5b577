//! Stores over a stream with three replicas, whose servers are killed and cut off.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use annals::testing::history::{Call, History, Note, Operation, Outcome, Part, Recorder, Recovered, Seen, Watched};
use annals::testing::history_check;
use annals::{Append, Condition, Durability, Error, EventRef, Expected, NewEvent, Position, Query, Store};

use crate::nodes::Cluster;
use crate::order;
use crate::processes::{acknowledged, check, start};

/// How many servers are killed.
const KILLS: &str = "ANNALS_KILLS";
/// Acknowledged events between two kills.
const BETWEEN: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(120);

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The leader and a follower by turns.
fn kill_by_turns(cluster: &mut Cluster, count: &AtomicUsize) {
    let kills = std::env::var(KILLS).map_or(2, |kills| kills.parse().unwrap());
    for kill in 0..kills {
        let before = count.load(Ordering::SeqCst);
        wait_for("no append was acknowledged any more", || {
            count.load(Ordering::SeqCst) >= before + BETWEEN
        });
        let victim = cluster.leader() + kill % 2 * (1 + kill / 2 % 2);
        cluster.kill(victim % Cluster::NODES);
    }
    let before = count.load(Ordering::SeqCst);
    wait_for("no append was acknowledged after the last kill", || {
        count.load(Ordering::SeqCst) >= before + BETWEEN
    });
}

#[test]
fn an_acknowledged_event_was_lost_or_doubled_when_servers_of_a_cluster_were_killed() {
    let mut cluster = Cluster::start();
    // Creates the stream.
    drop(cluster.open(0));
    let mut children = [0, 1].map(|number| start(&cluster.url(number as usize), number, u32::MAX));
    let outs = children.each_mut().map(|child| child.stdout.take().unwrap());
    let count = AtomicUsize::new(0);
    let count_one = |_: &_| _ = count.fetch_add(1, Ordering::SeqCst);
    let ids: HashSet<_> = std::thread::scope(|scope| {
        let readers = outs.map(|out| scope.spawn(move || acknowledged(out).inspect(count_one).collect::<Vec<_>>()));
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            kill_by_turns(&mut cluster, &count);
        }));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        killed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    });
    check(&[cluster.open(2), cluster.open(0), cluster.open(1)], &ids);
}

/// What the threads of a test share.
#[derive(Default)]
struct Load {
    recorder: Recorder,
    labels: AtomicUsize,
    acknowledged: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    /// Appends and reads until the end.
    fn run(&self, store: &Store, thread: usize) {
        for turn in 0.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let aggregates = [turn % 3, (turn + 1) % 3].map(|number| format!("order-{number}"));
            let version = |id: &String| store.read_stream(id).fold(0, |_, event| event.version().0);
            let [one, other] = &aggregates;
            match turn % 9 {
                0..2 => self.append(store, thread, &[(one, Expected::Any)], None),
                2..4 => self.append(store, thread, &[(one, Expected::exactly(version(one)))], None),
                4 => self.append(store, thread, &[(one, Expected::Any), (other, Expected::Any)], None),
                5 => {
                    let expected = Expected::exactly(version(one));
                    self.append(store, thread, &[(one, expected), (other, Expected::Any)], None);
                }
                6..8 => {
                    let after = store.read_all().fold(0, |_, event| event.position().0);
                    let watched = Watched { tag: 0, after };
                    self.append(store, thread, &[(one, Expected::Any)], Some(watched));
                }
                _ => self.read(store, thread, one),
            }
        }
    }

    /// Appends an event to each aggregate. One event of four has the tag 0.
    fn append(&self, store: &Store, thread: usize, parts: &[(&String, Expected)], condition: Option<Watched>) {
        let parts: Vec<_> = parts.iter().map(|(id, expected)| self.part(id, *expected)).collect();
        let events = parts.iter().map(|part| {
            let Note { label, tag } = part.events[0];
            let event = NewEvent::new("Noted").data(label.to_string()).tag(format!("tag-{tag}"));
            Append::new(order(&part.aggregate), part.expected, event)
        });
        let appends: Vec<_> = events.collect();
        let call = Call::Append {
            parts,
            condition,
            durability: Durability::Synced,
        };
        let outcome = self.recorder.record(thread, call, |_| {
            let appended = match condition {
                None => store.append_all(appends),
                Some(Watched { tag, after }) => {
                    let query = Query::all().tag(format!("tag-{tag}"));
                    store.append_if(&Condition::none_after(query, Position(after)), appends)
                }
            };
            match appended {
                Ok(appended) => Outcome::Appended(appended),
                Err(Error::Conflict(conflict)) => Outcome::Conflict(*conflict),
                Err(Error::Unavailable { cause }) => Outcome::InDoubt(cause.to_string()),
                Err(error) => panic!("{error}"),
            }
        });
        if matches!(outcome, Outcome::Appended(_)) {
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn part(&self, aggregate: &str, expected: Expected) -> Part {
        let label = self.labels.fetch_add(1, Ordering::SeqCst) as u64 + 1;
        Part {
            aggregate: aggregate.into(),
            expected,
            events: vec![Note { label, tag: label % 4 }],
        }
    }

    /// Reads what every process had appended to the aggregate: a conflict names the last version of the stream.
    fn read(&self, store: &Store, thread: usize, aggregate: &str) {
        let none: [NewEvent<'_>; 0] = [];
        let call = Call::ReadStream(aggregate.into());
        self.recorder.record(thread, call, |_| {
            match store.append(&order(aggregate), Expected::exactly(u64::MAX), &none) {
                Err(Error::Conflict(conflict)) => store.wait_visible(conflict.wait_for()),
                Err(Error::Unavailable { .. }) => return Outcome::Done,
                other => panic!("{other:?}"),
            }
            Outcome::Read(store.read_stream(aggregate).fold(Vec::new(), see))
        });
    }

    /// Waits until more appends are acknowledged.
    fn wait(&self, what: &str) {
        let before = self.acknowledged.load(Ordering::SeqCst);
        wait_for(what, || self.acknowledged.load(Ordering::SeqCst) >= before + BETWEEN);
    }

    /// The history, with the log that is there at the end. An append in doubt may arrive at any time.
    fn history(&self, end: &Store) -> History {
        let mut operations = self.recorder.operations();
        let in_doubt = |operation: &&mut Operation| matches!(operation.outcome, Outcome::InDoubt(_));
        for operation in operations.iter_mut().filter(in_doubt) {
            operation.returned = u64::MAX;
        }
        let log = end.read_all().fold(Vec::new(), see);
        let recovered = Recovered {
            survives: Durability::Synced,
            end: log.len() as u64,
            log,
            versions: Vec::new(),
        };
        History {
            operations,
            visibility: Durability::Synced,
            recovered: Some(recovered),
        }
    }
}

fn see(mut seen: Vec<Seen>, event: EventRef<'_>) -> Vec<Seen> {
    seen.push(Seen::of(event));
    seen
}

#[test]
fn a_history_was_not_linearizable_when_servers_of_a_cluster_were_cut_off() {
    let cluster = Cluster::start();
    let stores = [cluster.open(0), cluster.open(1), cluster.open(2)];
    let load = Load::default();
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (load, store) = (&load, &stores[thread % 3]);
            scope.spawn(move || load.run(store, thread));
        }
        let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for follower in [0, 1] {
                load.wait("no append was acknowledged");
                let number = (cluster.leader() + follower) % Cluster::NODES;
                cluster.cut_off(number);
                load.wait("a majority acknowledged no append");
                cluster.rejoin(number);
            }
            load.wait("no append was acknowledged after the last server was back");
        }));
        load.is_over.store(true, Ordering::SeqCst);
        cut.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let end = cluster.open(0);
    let history = load.history(&end);
    assert!(history.operations.len() > 5 * BETWEEN);
    history_check::check(&history).unwrap_or_else(|fault| panic!("{fault}\n{history}"));
    let events = end.read_all().events();
    for store in &stores {
        store.wait_visible(Position(events.len() as u64));
        assert_eq!(store.read_all().events(), events);
    }
}
