//! Projections inline: commands that meet other writers, and commands with several events.

use annals::cqrs::{
    Aggregate, Aggregates, Codec, CodecError, Encoded, HandlerError, Json, Live, Projection, SnapshotPolicy, Together,
    TypedEvents, Upcast, Upcasters,
};
use annals::{ContentType, Event, Expected, NewEvent, Query, Store, StreamId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Account, AccountCommand, AccountEvent};

/// The records that the read model has applied, with the amounts.
#[derive(Default)]
struct Applied(Vec<(u64, String, u64)>);

impl Projection for Applied {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, record: &Event) -> Result<(), HandlerError> {
        let (AccountEvent::Deposited { amount } | AccountEvent::Withdrawn { amount }) = event;
        self.0
            .push((record.position().0, record.aggregate_id().to_owned(), amount));
        Ok(())
    }
}

#[test]
fn an_inline_projection_passed_over_or_repeated_an_event_of_another_writer() {
    const COMMANDS: u64 = 300;
    let store = Store::in_memory();
    let live = Live::new(&store, Applied::default());
    let accounts = Aggregates::<Account>::new(&store).inline(&live);
    std::thread::scope(|scope| {
        // The same type and data as those of the commands, at once, and other types in between.
        scope.spawn(|| {
            for number in 0..COMMANDS {
                let id = format!("other-{number}");
                let done = Aggregates::<Account>::new(&store).execute(&id, &AccountCommand::Deposit(5));
                done.expect("a deposit");
                let audited = store.append(
                    &StreamId::new("Audit", format!("audit-{number}")),
                    Expected::Any,
                    NewEvent::new("Audited"),
                );
                audited.expect("an append");
            }
        });
        for number in 0..COMMANDS {
            let done = accounts.execute(&format!("own-{number}"), &AccountCommand::Deposit(5));
            done.expect("a deposit");
        }
    });
    let all: Vec<_> = store
        .query(Query::all().event_type("Deposited"))
        .events()
        .expect("a query")
        .iter()
        .map(|event| (event.position().0, event.aggregate_id().to_owned(), 5))
        .collect();
    assert_eq!(all.len() as u64, 2 * COMMANDS);
    assert_eq!(live.read(|applied| applied.0.clone()), Ok(all));
}

#[test]
fn an_inline_projection_applies_all_events_of_a_command_with_several_aggregates() {
    let store = Store::in_memory();
    let live = Live::new(&store, Applied::default());
    let accounts = Aggregates::<Account>::new(&store).inline(&live);
    let together = Together::new(&store);
    let done = together.execute(|work| {
        work.execute(&accounts, "a", &AccountCommand::Deposit(1))?;
        work.execute(&accounts, "b", &AccountCommand::Deposit(2))
    });
    done.expect("two deposits");
    let id = Uuid::from_u128(7);
    for _ in 0..2 {
        // The second time its events are in the store already.
        let done = accounts.execute_once(id, "a", &AccountCommand::Deposit(3));
        done.expect("a deposit");
    }
    let applied = [(1, "a", 1), (2, "b", 2), (3, "a", 3)].map(|(at, id, amount)| (at, id.to_owned(), amount));
    assert_eq!(live.read(|all| all.0.clone()), Ok(applied.to_vec()));
}

/// The deposits alone, as an enum of the projection's own.
#[derive(Deserialize)]
enum Deposit {
    Deposited { amount: u64 },
}

#[derive(Default)]
struct Deposits(Vec<u64>);

impl Projection for Deposits {
    type Event = Deposit;

    fn apply(&mut self, event: Deposit, _: &Event) -> Result<(), HandlerError> {
        let Deposit::Deposited { amount } = event;
        self.0.push(amount);
        Ok(())
    }
}

/// JSON whose amounts are multiplied when they are read.
#[derive(Clone, Debug)]
struct Scaled(u64);

impl Codec for Scaled {
    fn content_type(&self) -> ContentType {
        ContentType::Json
    }

    fn encode<E: Serialize>(&self, event: &E) -> Result<Encoded, CodecError> {
        Json.encode(event)
    }

    fn decode<E: DeserializeOwned>(&self, event_type: &str, data: &[u8]) -> Result<E, CodecError> {
        let mut value = self.to_value(data)?;
        value["amount"] = json!(value["amount"].as_u64().map(|amount| amount * self.0));
        Json.decode(event_type, &self.from_value(&value)?)
    }

    fn to_value(&self, data: &[u8]) -> Result<Value, CodecError> {
        Json.to_value(data)
    }

    fn from_value(&self, value: &Value) -> Result<Vec<u8>, CodecError> {
        Json.from_value(value)
    }
}

fn amounts(live: &Live<Applied>) -> Vec<u64> {
    let amounts = live.read(|applied| applied.0.iter().map(|(_, _, amount)| *amount).collect());
    amounts.expect("a read model")
}

/// What a projection with these settings reads of commands whose codec is `Scaled(1)`, when it is their only one.
fn alone<C: Codec>(settings: &TypedEvents<AccountEvent, C>) -> Vec<u64> {
    let store = Store::in_memory();
    let live = Live::with_events(&store, Applied::default(), settings).expect("a read model");
    deposit(&Aggregates::with_codec(&store, Scaled(1)).inline(&live));
    amounts(&live)
}

fn deposit<C: Codec>(accounts: &Aggregates<Account, C>) {
    for command in [AccountCommand::Deposit(7), AccountCommand::Exchange(3, 5)] {
        accounts.execute("a", &command).expect("a deposit");
    }
}

#[test]
fn an_inline_projection_read_events_with_the_settings_of_the_command() {
    let doubled = Upcasters::new().change("Deposited", 1, |data| {
        data["amount"] = json!(data["amount"].as_u64().map(|amount| amount * 2));
        Ok(())
    });
    let split = Upcasters::new().split("Deposited", 1, &[("Deposited", 2)], |data| {
        Ok(vec![Upcast::new("Deposited", 2, data); 2])
    });
    let (plain, doubled, split) = (
        TypedEvents::with_codec(Scaled(1)),
        TypedEvents::with_codec(Scaled(1)).upcasters(&doubled),
        TypedEvents::with_codec(Scaled(1)).upcasters(&split),
    );
    let scaled = TypedEvents::with_codec(Scaled(10));
    let json = TypedEvents::new();
    let expected = [
        vec![7, 3, 5],
        vec![14, 3, 10],
        vec![7, 7, 3, 5, 5],
        vec![70, 30, 50],
        vec![7, 3, 5],
    ];
    let each = [
        alone(&plain),
        alone(&doubled),
        alone(&split),
        alone(&scaled),
        alone(&json),
    ];
    assert_eq!(each, expected);

    let store = Store::in_memory();
    let mut accounts = Aggregates::<Account, _>::with_codec(&store, Scaled(1));
    let lives = [&plain, &doubled, &split, &scaled].map(|settings| {
        let live = Live::with_events(&store, Applied::default(), settings);
        live.expect("a read model")
    });
    let json = Live::with_events(&store, Applied::default(), &json).expect("a read model");
    let deposits = Live::new(&store, Deposits::default());
    for live in lives.iter().chain([&json]) {
        accounts = accounts.inline(live);
    }
    deposit(&accounts.inline(&deposits));
    assert_eq!(lives.iter().chain([&json]).map(amounts).collect::<Vec<_>>(), expected);
    assert_eq!(deposits.read(|deposits| deposits.0.clone()), Ok(vec![7, 5]));
}

#[test]
fn an_inline_projection_alone_or_beside_snapshots_missed_an_event() {
    let dropping = TypedEvents::new().upcasters(&Upcasters::new().drop("Withdrawn", 1));
    for (settings, each) in [(TypedEvents::new(), vec![9, 1, 2]), (dropping, vec![9, 2])] {
        let store = Store::in_memory();
        let live = Live::with_events(&store, Applied::default(), &settings).expect("a read model");
        let plain = Aggregates::<Account>::new(&store).inline(&live);
        let saving = plain.clone().snapshots(SnapshotPolicy::every(1));
        for accounts in [&plain, &saving, &plain.clone(), &saving.clone()] {
            accounts.execute("a", &AccountCommand::Deposit(9)).expect("a deposit");
            accounts
                .execute("a", &AccountCommand::Exchange(1, 2))
                .expect("an exchange");
        }
        assert_eq!(amounts(&live), each.repeat(4));
        assert_eq!(saving.load("a").expect("an account").state.balance, 40);
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Noted {
    Noted {
        text: String,
        #[serde(skip)]
        local: u64,
    },
}

struct Note;

impl Aggregate for Note {
    const TYPE: &'static str = "Note";
    type Event = Noted;
    type Command = u64;
    type Rejection = String;

    fn initial() -> Self {
        Self
    }

    fn decide(&self, local: &u64) -> Result<Vec<Noted>, String> {
        let text = "a note".to_owned();
        Ok(vec![Noted::Noted { text, local: *local }])
    }

    fn evolve(&mut self, _: Noted) {}
}

#[derive(Default)]
struct Notes(Vec<Noted>);

impl Projection for Notes {
    type Event = Noted;

    fn apply(&mut self, event: Noted, _: &Event) -> Result<(), HandlerError> {
        self.0.push(event);
        Ok(())
    }

    fn check(&self, event: &Noted) -> Result<(), String> {
        let Noted::Noted { local, .. } = event;
        (*local == 0).then_some(()).ok_or_else(|| "it is not stored".to_owned())
    }
}

#[test]
fn an_inline_projection_saw_what_a_command_decided_and_not_what_is_stored() {
    let store = Store::in_memory();
    let live = Live::new(&store, Notes::default());
    let notes = Aggregates::<Note>::new(&store).inline(&live);
    notes.execute("a", &7).expect("a note");
    let rebuilt = Live::new(&store, Notes::default());
    let read = |live: &Live<Notes>| live.read(|notes| notes.0.clone());
    assert_eq!(read(&live), read(&rebuilt));
    assert_eq!(read(&live).map(|notes| notes.len()), Ok(1));
}
