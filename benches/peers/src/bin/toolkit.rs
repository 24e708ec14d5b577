//! Prints how long commands and loads take with the toolkit, by hand on the store, with `eventually` and with `cqrs-es`: the same domain, one
//! run, each in processes of its own.
//!
//! `cargo run --profile bench -p annals-peers --bin toolkit`. A process does a work once after a first time that does not count, and its time is one
//! of five. `cqrs-es` prints a line for each load and commit; all processes print to nowhere.
//!
//! * `cold`: a command on each of 10,000 new aggregates.
//! * `hot`: 1,000 commands on one aggregate from 4 threads. `cqrs-es` checks no version, and loses events of commands that
//!   meet: its process fails. A command with `eventually` gives up after 1,000 attempts, and the process fails.
//! * `load`: an aggregate of 1,000 events.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use annals::Store;
use annals::cqrs::Aggregates;
use cqrs_es::event_sink::EventSink;
use cqrs_es::mem_store::MemStore;
use cqrs_es::{AggregateContext as _, CqrsFramework, EventStore as _};
use eventually::aggregate::AggregateRootBuilder;
use eventually::{Repository, inmemory};
use futures_executor::block_on;

use self::domain::{Account, AccountEvent, Movement, execute_by_hand, id_of, load_by_hand, sure};

#[path = "../../../toolkit/domain.rs"]
#[expect(dead_code, reason = "the benchmark of the toolkit uses more of it")]
mod domain;

const PROCESSES: usize = 5;
const COLD: usize = 10_000;
const THREADS: usize = 4;
const HOT: usize = 250;
const LOADED: usize = 1_000;
/// Loads whose mean is the time of one.
const LOADS: u32 = 200;
const PEERS: [&str; 4] = ["Annals, toolkit", "Annals, by hand", "eventually 0.4", "cqrs-es 0.5"];
const WORKS: [&str; 3] = ["cold", "hot", "load"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [peer, work] => measure(peer, work),
        _ => print_table(),
    }
}

#[expect(clippy::print_stdout, reason = "a table is what it is for")]
fn print_table() -> Result<()> {
    println!("| | cold, µs a command | hot, µs a command | load of 1,000, µs |\n|---|---|---|---|");
    for peer in PEERS {
        let cells = WORKS
            .iter()
            .map(|work| median(peer, work))
            .collect::<Result<Vec<_>>>()?;
        println!("| {peer} | {} |", cells.join(" | "));
    }
    Ok(())
}

/// The median of the processes in microseconds, with the least and the most.
fn median(peer: &str, work: &str) -> Result<String> {
    let Ok(mut times) = (0..PROCESSES).map(|_| ask(peer, work)).collect::<Result<Vec<_>>>() else {
        return Ok("fails".to_owned());
    };
    times.sort_by(f64::total_cmp);
    let [least, .., most] = times.as_slice() else {
        return Err("no process has run".into());
    };
    Ok(format!("{:.2} ({least:.2} to {most:.2})", times[PROCESSES / 2]))
}

/// Starts this program again. The time comes over standard error: `cqrs-es` prints to standard output.
fn ask(peer: &str, work: &str) -> Result<f64> {
    let output = Command::new(env::current_exe()?)
        .args([peer, work])
        .stdout(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().next_back().unwrap_or_default();
    last.parse().map_err(|_| format!("{peer}, {work}: {text}").into())
}

#[expect(clippy::print_stderr, reason = "the parent reads it")]
fn measure(peer: &str, work: &str) -> Result<()> {
    let time = match peer {
        "Annals, toolkit" => twice::<Toolkit>(work),
        "Annals, by hand" => twice::<ByHand>(work),
        "eventually 0.4" => twice::<Eventually>(work),
        "cqrs-es 0.5" => twice::<CqrsEs>(work),
        _ => Err(format!("no such peer: {peer}").into()),
    }?;
    eprintln!("{}", time.as_secs_f64() * 1e6);
    Ok(())
}

fn twice<P: Peer>(work: &str) -> Result<Duration> {
    time::<P>(work)?;
    time::<P>(work)
}

/// A framework with its store, to be used from several threads.
trait Peer: Default + Sync {
    /// Executes a deposit of 5.
    fn execute(&self, id: &str);

    /// Loads the account, and returns its balance.
    fn load(&self, id: &str) -> u64;
}

/// The time of one command, or of one load.
fn time<P: Peer>(work: &str) -> Result<Duration> {
    let (peer, ids) = (P::default(), (0..COLD).map(id_of).collect::<Vec<_>>());
    let start = Instant::now();
    match work {
        "cold" => {
            for id in &ids {
                peer.execute(id);
            }
            let took = start.elapsed();
            assert!(ids.iter().all(|id| peer.load(id) == 5));
            Ok(took / u32::try_from(COLD)?)
        }
        "hot" => {
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| (0..HOT).for_each(|_| peer.execute(&ids[0])));
                }
            });
            let took = start.elapsed();
            assert_eq!(peer.load(&ids[0]), (THREADS * HOT * 5) as u64);
            Ok(took / u32::try_from(THREADS * HOT)?)
        }
        "load" => {
            (0..LOADED).for_each(|_| peer.execute(&ids[0]));
            let start = Instant::now();
            let loaded = (0..LOADS).all(|_| peer.load(&ids[0]) == LOADED as u64 * 5);
            let took = start.elapsed();
            assert!(loaded);
            Ok(took / LOADS)
        }
        _ => Err(format!("no such work: {work}").into()),
    }
}

struct Toolkit(Aggregates<Account>);

impl Default for Toolkit {
    fn default() -> Self {
        Self(Aggregates::new(&Store::in_memory()))
    }
}

impl Peer for Toolkit {
    fn execute(&self, id: &str) {
        sure(self.0.execute(id, &5));
    }

    fn load(&self, id: &str) -> u64 {
        sure(self.0.load(id)).state.balance
    }
}

struct ByHand(Store);

impl Default for ByHand {
    fn default() -> Self {
        Self(Store::in_memory())
    }
}

impl Peer for ByHand {
    fn execute(&self, id: &str) {
        execute_by_hand(&self.0, id, 5);
    }

    fn load(&self, id: &str) -> u64 {
        load_by_hand(&self.0, id).0.balance
    }
}

/// Why a command is refused.
#[derive(Debug)]
struct Overflow;

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the balance is too large")
    }
}

impl Error for Overflow {}

fn deposit(balance: u64, amount: u64) -> std::result::Result<AccountEvent, Overflow> {
    let deposited = AccountEvent::Deposited(Movement::of(amount));
    balance.checked_add(amount).map(|_| deposited).ok_or(Overflow)
}

/// The account of `eventually`.
#[derive(Clone)]
struct Deposits;

impl eventually::Aggregate for Deposits {
    type Id = String;
    type State = u64;
    type Event = AccountEvent;
    type Command = u64;
    type Error = Overflow;

    fn apply(balance: u64, event: AccountEvent) -> std::result::Result<u64, Overflow> {
        Ok(match event {
            AccountEvent::Deposited(movement) => balance + movement.amount,
            AccountEvent::Withdrawn(movement) => balance - movement.amount,
        })
    }

    fn handle<'a, 's: 'a>(
        &'a self,
        _: &'s String,
        balance: &'s u64,
        amount: u64,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<Option<Vec<AccountEvent>>, Overflow>> + Send + 'a>> {
        Box::pin(async move { deposit(*balance, amount).map(|event| Some(vec![event])) })
    }
}

type Accounts = Repository<Deposits, inmemory::EventStore<String, AccountEvent>>;

struct Eventually(Accounts);

impl Default for Eventually {
    fn default() -> Self {
        let store = inmemory::EventStore::default();
        Self(Repository::new(AggregateRootBuilder::from(Deposits), store))
    }
}

impl Peer for Eventually {
    /// Again at once after a conflict, at most 1,000 times: where two appends have met, its store may refuse all later ones.
    fn execute(&self, id: &str) {
        let mut repository = self.0.clone();
        let executed = block_on(async {
            for _ in 0..1_000 {
                let mut account = sure(repository.get(id.to_owned()).await);
                sure(account.handle(5).await);
                if repository.add(account).await.is_ok() {
                    return Ok(());
                }
            }
            Err("1,000 attempts have conflicted")
        });
        sure(executed);
    }

    fn load(&self, id: &str) -> u64 {
        *sure(block_on(self.0.get(id.to_owned()))).state()
    }
}

impl cqrs_es::DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Deposited(_) => "Deposited".to_owned(),
            Self::Withdrawn(_) => "Withdrawn".to_owned(),
        }
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl cqrs_es::Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Command = u64;
    type Event = AccountEvent;
    type Error = Overflow;
    type Services = ();

    async fn handle(&mut self, amount: u64, (): &(), sink: &EventSink<Self>) -> std::result::Result<(), Overflow> {
        let event = deposit(self.balance, amount)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        annals::cqrs::Aggregate::evolve(self, event);
    }
}

struct CqrsEs {
    framework: CqrsFramework<Account, MemStore<Account>>,
    store: MemStore<Account>,
}

impl Default for CqrsEs {
    fn default() -> Self {
        let store = MemStore::default();
        let framework = CqrsFramework::new(store.clone(), Vec::new(), ());
        Self { framework, store }
    }
}

impl Peer for CqrsEs {
    fn execute(&self, id: &str) {
        sure(block_on(self.framework.execute_with_metadata(id, 5, HashMap::new())));
    }

    fn load(&self, id: &str) -> u64 {
        sure(block_on(self.store.load_aggregate(id))).aggregate().balance
    }
}
