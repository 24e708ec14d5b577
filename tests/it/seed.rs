//! One seed rules everything that a test leaves to chance.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{
    Action, Aggregate, Aggregates, Context, Delivered, HandlerError, OnFailure, Processors, Retry, Route, Saga,
};
use annals::testing::Seed;
use annals::testing::faults::{Effect, Fault, Faults, Operation};
use annals::{Event, ManualClock, Store};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

const SOON: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const ORDERS: u64 = 60;

#[derive(Debug, Default)]
struct Order(Option<OrderEvent>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    Placed,
    Paid,
    Cancelled,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum OrderCommand {
    Place,
    Pay,
    Cancel,
}

impl Aggregate for Order {
    const TYPE: &'static str = "Order";
    type Event = OrderEvent;
    type Command = OrderCommand;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &OrderCommand) -> Result<Vec<OrderEvent>, String> {
        match (command, &self.0) {
            (OrderCommand::Place, None) => Ok(vec![OrderEvent::Placed]),
            (OrderCommand::Pay, Some(OrderEvent::Placed)) => Ok(vec![OrderEvent::Paid]),
            (OrderCommand::Cancel, Some(OrderEvent::Placed)) => Ok(vec![OrderEvent::Cancelled]),
            (command, state) => Err(format!("{command:?} after {state:?}")),
        }
    }

    fn evolve(&mut self, event: OrderEvent) {
        self.0 = Some(event);
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Expiry;

impl Saga for Expiry {
    const TYPE: &'static str = "Expiry";
    type Event = OrderEvent;
    type Command = OrderCommand;

    fn route(_: &OrderEvent, record: &Event) -> Route {
        Route::start(record.aggregate_id())
    }

    fn react(&mut self, event: OrderEvent) -> Vec<Action<OrderCommand>> {
        match event {
            OrderEvent::Placed => vec![Action::timer_after("expiry", HOUR)],
            OrderEvent::Paid | OrderEvent::Cancelled => vec![Action::Complete],
        }
    }

    fn timeout(&mut self, _: &str) -> Vec<Action<OrderCommand>> {
        vec![Action::send(OrderCommand::Cancel)]
    }
}

/// Everything that a run left in the log, ids and times included, and the order in which two handlers were called.
#[derive(Debug, PartialEq)]
struct Trace {
    log: Vec<Event>,
    handled: Vec<String>,
    fired: Vec<String>,
}

fn start(processors: &Processors, store: &Store, handled: &Arc<Mutex<Vec<String>>>) {
    for name in ["mailer", "printer"] {
        let log = Arc::clone(handled);
        let subscription = processors.subscribe(name, move |delivered: Delivered<'_, OrderEvent>| {
            log.lock()
                .push(format!("{name} {} {:?}", delivered.record.position(), delivered.event));
            Ok(())
        });
        subscription.on_failure(OnFailure::park()).start().expect("it starts");
    }
    let orders = Aggregates::<Order>::new(store);
    let saga = processors.saga::<Expiry>(move |command, sending| {
        let orders = orders.with_context(sending.context.clone());
        orders.execute_once(sending.command_id, &sending.key, command)?;
        Ok(())
    });
    saga.start().expect("it starts");
}

/// Orders that are placed, some paid, the others cancelled by a saga; with conflicts, lost handlers and pauses drawn from the seed.
fn run(seed: Seed) -> Trace {
    let clock: Arc<ManualClock> = seed.clock();
    let store = seed.builder(&clock).open().expect("it is in memory");
    let faults = Faults::seeded(
        seed.part("faults").value(),
        [
            Fault::new(Operation::Append, Effect::Conflict)
                .aggregate("order-*")
                .chance(0.2),
            Fault::new(Operation::Handler, Effect::Fail).chance(0.2),
        ],
    );
    let faults = faults.expect("they are fine");
    let tried = store.with_faults(&faults);
    let handled = Arc::default();
    let processors = Processors::by_hand(&tried, seed.part("processors"));
    start(&processors, &tried, &handled);
    let retry = Retry::default().first_pause(Duration::from_micros(10));
    let orders = Aggregates::<Order>::new(&tried).retry(retry);
    for number in 0..ORDERS {
        let id = format!("order-{number}");
        let orders = orders.with_context(Context::new().correlation(id.as_str()));
        orders.execute(&id, &OrderCommand::Place).expect("it is new");
        processors.step();
        if seed.part("pays").below(number, 2) == 0 {
            orders.execute(&id, &OrderCommand::Pay).expect("it is placed");
        }
        clock.advance(Duration::from_secs(90));
    }
    processors.when_idle(SOON).expect("they run");
    clock.advance(HOUR);
    processors.when_idle(SOON).expect("they run");
    let log = store.read_all().include_system().events();
    let fired = faults.fired().iter().map(ToString::to_string).collect();
    Trace {
        log,
        handled: std::mem::take(&mut *Arc::clone(&handled).lock()),
        fired,
    }
}

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    for seed in [1, 2, 3] {
        let (first, second) = (run(Seed::new(seed)), run(Seed::new(seed)));
        assert_eq!(first, second);
        assert!(
            first.log.len() > 4 * usize::try_from(ORDERS).expect("small"),
            "the run is not trivial"
        );
        assert!(!first.fired.is_empty());
    }
    let (one, other) = (run(Seed::new(1)), run(Seed::new(2)));
    assert_ne!(one.log, other.log);
    assert_ne!(one.handled, other.handled);
}

/// The next test compares what it prints in two processes, whose hashes, addresses and threads are others.
#[test]
#[expect(clippy::print_stdout, reason = "the next test reads it")]
fn prints_the_run_of_a_seed() {
    let trace = run(Seed::new(7));
    assert!(!trace.log.is_empty());
    let digest = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{trace:?}").as_bytes());
    println!("the run is {digest}");
}

#[test]
fn the_same_seed_gave_another_run_in_another_process() {
    let digest = || {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "seed::prints_the_run_of_a_seed", "--nocapture"]);
        let output = command.output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = told
            .lines()
            .find(|line| line.contains("the run is "))
            .expect(&told)
            .to_owned();
        line.split("the run is ").nth(1).expect("a digest").to_owned()
    };
    assert_eq!(digest(), digest());
}

#[test]
fn a_seed_chooses_the_order_of_processors() {
    let orders: std::collections::BTreeSet<Vec<String>> = (0..20)
        .map(|seed| {
            let store = Seed::new(1).store();
            let handled = Arc::default();
            let processors = Processors::by_hand(&store, Seed::new(seed));
            start(&processors, &store, &handled);
            let orders = Aggregates::<Order>::new(&store);
            orders.execute("order-1", &OrderCommand::Place).expect("it is new");
            orders.execute("order-1", &OrderCommand::Pay).expect("it is placed");
            processors.when_idle(SOON).expect("they run");
            std::mem::take(&mut *Arc::clone(&handled).lock())
        })
        .collect();
    assert!(orders.len() > 2, "{orders:?}");
    assert!(
        orders.iter().all(|order| order.len() == 4),
        "each handler gets both events: {orders:?}"
    );
}

#[test]
fn processors_by_hand_pause_stop_and_end() {
    let store = Seed::new(1).store();
    let processors = Processors::by_hand(&store, Seed::new(1));
    let fails = processors.subscribe("fails", |_: Delivered<'_, OrderEvent>| {
        Err(HandlerError::transient("no"))
    });
    let fails = fails.on_failure(OnFailure::stop()).start().expect("it starts");
    let calm = processors
        .subscribe("calm", |_: Delivered<'_, OrderEvent>| Ok(()))
        .start()
        .expect("it starts");
    calm.pause();
    let orders = Aggregates::<Order>::new(&store);
    orders.execute("order-1", &OrderCommand::Place).expect("it is new");
    let error = processors.when_idle(SOON).expect_err("one is paused, the other stops");
    assert!(error.to_string().contains("calm"), "{error}");
    assert!(fails.status().to_string().contains("stopped"), "{}", fails.status());
    calm.resume();
    fails.end();
    while processors.step() {}
    assert_eq!(calm.status().handled, 1);
    assert!(!processors.step());
}

#[test]
fn the_seed_of_a_red_test_was_not_told() {
    // The child prints its seed, and takes one from the environment.
    let child = |seed: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "seed::prints_the_seed_of_the_run", "--nocapture"]);
        command.env_remove("ANNALS_SEED");
        if let Some(seed) = seed {
            command.env("ANNALS_SEED", seed);
        }
        let output = command.output().expect("it runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (_, told) = child(Some("42"));
    assert!(told.contains("to repeat this run, set ANNALS_SEED=42"), "{told}");
    let (_, random) = child(None);
    assert!(random.contains("set ANNALS_SEED=") && random != told, "{random}");
    let (passed, told) = child(Some("forty-two"));
    assert!(!passed && told.contains("invalid ANNALS_SEED 'forty-two'"), "{told}");
}

#[test]
fn prints_the_seed_of_the_run() {
    assert_eq!(Seed::of_run(), Seed::of_run());
}

#[test]
#[cfg(unix)]
fn a_seed_that_is_no_text_was_a_random_one() {
    use std::os::unix::ffi::OsStrExt as _;
    for (bytes, told) in [
        (&b"7\xff"[..], "invalid ANNALS_SEED: "),
        (b"seven", "invalid ANNALS_SEED 'seven'"),
        (b"", "invalid ANNALS_SEED ''"),
        (b"-1", "invalid ANNALS_SEED '-1'"),
    ] {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "seed::prints_the_seed_of_the_run", "--nocapture"])
            .env("ANNALS_SEED", std::ffi::OsStr::from_bytes(bytes))
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains(told), "{bytes:?}: {text}");
    }
}
