//! Commands that meet limits, panics, deletions and stores that cannot be written to.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use annals::cqrs::{Aggregate, Aggregates, CommandError, Context, LoadError, Retry};
use annals::{Durability, Error, Expected, Limits, Position, Settings, Store, StoreUrl, StreamLimits, Version};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Account, AccountCommand};
use crate::support::TempFolder;

const ONE: Uuid = Uuid::from_u128(1);

fn accounts(store: &Store) -> Aggregates<Account> {
    Aggregates::new(store)
}

thread_local! {
    /// What the next decision, or the next change of a state, does first.
    static NEXT: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

fn do_next(action: impl FnOnce() + 'static) {
    NEXT.with_borrow_mut(|next| *next = Some(Box::new(action)));
}

fn run_next() {
    if let Some(action) = NEXT.take() {
        action();
    }
}

/// Writes texts.
#[derive(Default)]
struct Notes {
    texts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Note {
    Written { text: String },
}

#[derive(Serialize)]
enum Command {
    Write(Vec<String>),
    WriteInterrupted(Vec<String>),
}

fn write(texts: &[&str]) -> Command {
    Command::Write(texts.iter().map(|text| (*text).to_owned()).collect())
}

impl Aggregate for Notes {
    const TYPE: &'static str = "Notes";
    type Event = Note;
    type Command = Command;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &Command) -> Result<Vec<Note>, String> {
        let texts = match command {
            Command::Write(texts) => texts,
            Command::WriteInterrupted(texts) => {
                run_next();
                texts
            }
        };
        Ok(texts.iter().map(|text| Note::Written { text: text.clone() }).collect())
    }

    fn evolve(&mut self, Note::Written { text }: Note) {
        run_next();
        self.texts.push(text);
    }
}

fn notes(store: &Store) -> Aggregates<Notes> {
    Aggregates::new(store)
}

fn limited(limits: Limits) -> Store {
    let settings = Settings::default().limits(limits);
    Store::builder().settings(settings).open().expect("a store")
}

#[test]
fn a_command_beyond_a_limit_appends_nothing() {
    let store = limited(
        Limits::default()
            .payload_bytes_max(100)
            .batch_events_max(3)
            .name_bytes_max(20),
    );
    let long = "x".repeat(200);
    let name = "n".repeat(21);
    let as_user = |user: &str| notes(&store).with_context(Context::new().user(user));
    let refused = [
        (notes(&store).execute("a", &write(&["short", &long])), "at most 100"),
        (notes(&store).execute("a", &write(&["1", "2", "3", "4"])), "at most 3"),
        (
            notes(&store).execute(&name, &write(&["1"])),
            "aggregate id has 21 bytes",
        ),
        (notes(&store).execute("", &write(&["1"])), "aggregate id is empty"),
        (notes(&store).execute("$a", &write(&["1"])), "'$a' begins with '$'"),
        (as_user(&name).execute("a", &write(&["1"])), "user id has 21 bytes"),
        (as_user("").execute("a", &write(&["1"])), "user id is empty"),
        (as_user("a\0").execute("a", &write(&["1"])), "U+0000"),
    ];
    for (result, part) in refused {
        assert!(
            matches!(result, Err(CommandError::Store(Error::Invalid { .. }))),
            "{result:?}"
        );
        let message = result.expect_err("it is refused").to_string();
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(store.visible(), Position(0));
    notes(&store)
        .execute("a", &write(&["1", "2", "3"]))
        .expect("within the limits");
}

#[test]
fn thousands_of_events_are_loaded_in_order() {
    let store = Store::in_memory();
    let texts: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
    let command = Command::Write(texts.clone());
    let executed = notes(&store).execute_once(ONE, "a", &command).expect("events");
    assert_eq!(executed.version, Version(10_000));
    notes(&store).execute("a", &write(&["last"])).expect("an event");
    let again = notes(&store).execute_once(ONE, "a", &command).expect("the same");
    let appended = again.appended.expect("the same events");
    assert!(appended.repeated);
    assert_eq!(
        (appended.last_version, again.version),
        (Version(10_000), Version(10_001))
    );
    let loaded = notes(&store).load_version("a", Version(10_000)).expect("it is whole");
    assert_eq!(loaded.state.texts, texts);
}

#[test]
fn a_command_on_two_aggregates_gave_their_events_the_same_ids() {
    let store = Store::in_memory();
    for id in ["a", "b"] {
        let executed = notes(&store)
            .execute_once(ONE, id, &write(&["1", "2"]))
            .expect("events");
        assert!(!executed.appended.expect("events").repeated);
    }
    for position in 1..=4 {
        let id = store.event_at(Position(position)).expect("an event").id();
        let found = store.event(id).expect("it is found by its id");
        assert_eq!(found.position(), Position(position));
    }
}

#[test]
fn another_command_under_a_used_id_was_answered_with_the_first_result() {
    let store = Store::in_memory();
    notes(&store).execute_once(ONE, "a", &write(&["1"])).expect("an event");
    for other in [write(&["2", "3"]), write(&[]), write(&["1", "1"])] {
        let refused = notes(&store).execute_once(ONE, "a", &other);
        let Err(CommandError::Reused { position, .. }) = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!((*position, store.visible()), (Position(1), Position(1)));
        let message = refused.expect_err("it is refused").to_string();
        assert!(message.contains("a new command needs an id of its own"), "{message}");
    }
    let again = notes(&store)
        .execute_once(ONE, "a", &write(&["1"]))
        .expect("the first result");
    assert!(again.appended.expect("an event").repeated);
}

#[test]
fn a_command_whose_first_events_are_gone_is_not_executed_again() {
    let store = Store::in_memory();
    notes(&store)
        .execute_once(ONE, "a", &write(&["1", "2", "3"]))
        .expect("events");
    for before in 2..=4 {
        store.truncate_before("a", Version(before)).expect("it exists");
        let again = notes(&store).execute_once(ONE, "a", &write(&["1", "2", "3"]));
        assert!(
            matches!(again, Err(CommandError::Load(LoadError::Incomplete { .. }))),
            "{again:?}"
        );
    }
    assert_eq!(notes(&store).load("b").expect("never written").version, Version(0));
    assert_eq!(store.stream_info("a").expect("it is known").version, Version(3));
}

#[test]
fn events_of_a_deleted_aggregate_were_appended_again_as_a_repetition() {
    let store = Store::in_memory();
    notes(&store).execute_once(ONE, "a", &write(&["1"])).expect("an event");
    // The deletion comes between the load and the acknowledgement.
    let deleting = store.clone();
    do_next(move || {
        deleting.delete("a", Expected::Any).expect("it exists");
    });
    let again = notes(&store)
        .execute_once(ONE, "a", &write(&["other"]))
        .expect("decided again");
    assert_eq!(again.version, Version(2));
    assert!(!again.appended.expect("an event").repeated);
    assert_eq!(notes(&store).load("a").expect("it is whole").state.texts, ["other"]);
}

#[test]
fn a_decision_that_panics_leaves_the_store_alone() {
    let store = Store::in_memory();
    notes(&store).execute("a", &write(&["1"])).expect("an event");
    for interrupts in [true, false] {
        do_next(|| std::panic::panic_any("out of ideas"));
        // The one panics as the state is loaded, the other as the command is decided.
        let id = if interrupts { "b" } else { "a" };
        let command = Command::WriteInterrupted(vec!["2".to_owned()]);
        let panicked = catch_unwind(AssertUnwindSafe(|| notes(&store).execute(id, &command)));
        assert!(panicked.is_err());
    }
    assert_eq!(store.visible(), Position(1));
    notes(&store).execute("a", &write(&["2"])).expect("an event");
    notes(&store).execute("b", &write(&["2"])).expect("an event");
}

/// An action that keeps only the last event of aggregate `a`.
fn keep_one(store: &Store) -> impl FnOnce() + 'static {
    let store = store.clone();
    move || {
        let limits = StreamLimits::default().max_count(1);
        store.set_limits("a", limits).expect("it exists");
    }
}

#[test]
fn a_limit_that_drops_events_while_a_command_is_executed_is_noticed() {
    let incomplete = |first, last| LoadError::Incomplete {
        aggregate_id: "a".into(),
        first: Version(first),
        last: Version(last),
    };
    // As the first event is folded: most are gone when they are to be read.
    let store = Store::in_memory();
    notes(&store).execute("a", &write(&[""; MANY])).expect("events");
    do_next(keep_one(&store));
    let executed = notes(&store).execute("a", &write(&["one more"]));
    let Err(CommandError::Load(LoadError::Incomplete { first, last, .. })) = executed else {
        panic!("{executed:?}");
    };
    assert!(
        first > Version(1) && last == Version(MANY as u64 - 1),
        "{first} to {last}"
    );
    let version = store.stream_info("a").expect("it is known").version;
    assert_eq!(version, Version(MANY as u64));
    // As the command is decided: it was decided on the whole.
    let store = Store::in_memory();
    notes(&store).execute("a", &write(&["1"])).expect("an event");
    let action = keep_one(&store);
    do_next(|| do_next(action));
    let command = Command::WriteInterrupted(vec!["2".to_owned()]);
    assert_eq!(
        notes(&store).execute("a", &command).expect("an event").version,
        Version(2)
    );
    assert_eq!(
        notes(&store).load("a").map(|loaded| loaded.version),
        Err(incomplete(1, 1))
    );
}

/// More events than a read takes from the store at once.
const MANY: usize = 200;

/// A change that drops events of aggregate `a`.
type Drops = fn(&Store) -> Position;

#[test]
fn an_aggregate_that_is_dropped_while_it_is_loaded_was_loaded_in_part() {
    let deleted: Drops = |store| store.delete("a", Expected::Any).expect("it exists");
    let truncated: Drops = |store| store.truncate_before("a", Version(MANY as u64 + 1)).expect("it exists");
    let tombstoned: Drops = |store| store.tombstone("a", Expected::Any).expect("it exists");
    let load = |drops: Drops, version: Option<u64>| {
        let store = Store::in_memory();
        notes(&store).execute("a", &write(&[""; MANY])).expect("events");
        let dropping = store.clone();
        do_next(move || {
            drops(&dropping);
        });
        let loaded = match version {
            Some(version) => notes(&store).load_version("a", Version(version)),
            None => notes(&store).load("a"),
        };
        loaded.map(|loaded| (loaded.version.0, loaded.state.texts.len()))
    };
    let incomplete = Err(LoadError::Incomplete {
        aggregate_id: "a".into(),
        first: Version(1),
        last: Version(MANY as u64),
    });
    assert_eq!(load(deleted, None), Ok((0, 0)));
    assert_eq!(load(deleted, Some(MANY as u64 - 1)), incomplete);
    assert_eq!(load(truncated, None), incomplete);
    assert_eq!(load(truncated, Some(MANY as u64)), incomplete);
    let gone = LoadError::Deleted {
        aggregate_id: "a".into(),
    };
    assert_eq!(load(tombstoned, None), Err(gone));
}

#[test]
fn a_store_that_cannot_be_written_refuses_commands_and_loads() {
    let folder = TempFolder::new();
    let url = StoreUrl::of_folder(folder.path());
    let store = url.open(Store::builder()).expect("a store");
    accounts(&store)
        .execute("a", &AccountCommand::Deposit(3))
        .expect("a deposit");
    store.close().expect("it is written");
    let closed = accounts(&store).execute("a", &AccountCommand::Deposit(3));
    assert_eq!(closed, Err(CommandError::Store(Error::Closed)));
    let reading = url.open(Store::builder().read_only()).expect("a store");
    let refused = accounts(&reading).execute("a", &AccountCommand::Deposit(3));
    assert!(
        matches!(refused, Err(CommandError::Store(Error::ReadOnly { .. }))),
        "{refused:?}"
    );
    // What a rejection and a command without an event need is there.
    let rejected = accounts(&reading).execute("a", &AccountCommand::Withdraw(4));
    assert!(matches!(rejected, Err(CommandError::Rejected(_))), "{rejected:?}");
    assert_eq!(accounts(&reading).load("a").expect("it is whole").state.balance, 3);
}

#[test]
fn commands_on_a_store_whose_readers_wait_for_the_disk_lose_no_update() {
    let folder = TempFolder::new();
    let settings = Settings::default().durability(Durability::Synced);
    let builder = Store::builder().settings(settings);
    let store = StoreUrl::of_folder(folder.path()).open(builder).expect("a store");
    let retry = Retry::default()
        .attempts(u32::MAX)
        .first_pause(Duration::ZERO)
        .longest_pause(Duration::MAX);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let accounts = accounts(&store).retry(retry);
                for _ in 0..5 {
                    let executed = accounts.execute("a", &AccountCommand::Deposit(1)).expect("a deposit");
                    let loaded = accounts.load("a").expect("it is whole");
                    assert!(loaded.version >= executed.version, "a command reads what it wrote");
                }
            });
        }
    });
    let loaded = accounts(&store).load("a").expect("it is whole");
    assert_eq!((loaded.state.balance, loaded.version), (20, Version(20)));
}
