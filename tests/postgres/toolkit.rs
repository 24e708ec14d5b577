//! The toolkit on a store in PostgreSQL: what it keeps is there again after a restart, and followers see it.

use std::sync::Arc;
use std::time::Duration;

use annals::cqrs::{
    Action, Aggregate, Aggregates, Delivered, Group, HandlerError, OnFailure, Processors, Route, Saga, SagaPhase,
    SendError, SnapshotPolicy, Together,
};
use annals::{Durability, Event, Position, Store, Version};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::follow::follow;
use crate::support::Schema;

const SOON: Duration = Duration::from_secs(60);

#[derive(Default, Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Money {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
enum Move {
    Deposit(u64),
    Withdraw(u64),
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = Money;
    type Command = Move;
    type Rejection = String;

    fn initial() -> Self {
        Self::default()
    }

    fn decide(&self, command: &Move) -> Result<Vec<Money>, String> {
        match *command {
            Move::Deposit(amount) => Ok(vec![Money::Deposited { amount }]),
            Move::Withdraw(amount) if amount > self.balance => Err(format!("the balance is {}", self.balance)),
            Move::Withdraw(amount) => Ok(vec![Money::Withdrawn { amount }]),
        }
    }

    fn evolve(&mut self, event: Money) {
        match event {
            Money::Deposited { amount } => self.balance += amount,
            Money::Withdrawn { amount } => self.balance -= amount,
        }
    }
}

/// Takes a fee of 1 for each large deposit, and gives it back when the account has no more for the second.
#[derive(Default, Serialize, Deserialize)]
struct Fee;

impl Saga for Fee {
    const TYPE: &'static str = "Fee";
    type Event = Money;
    type Command = Move;

    fn route(event: &Money, record: &Event) -> Route {
        match event {
            Money::Deposited { amount: 100.. } => Route::start(record.aggregate_id()),
            Money::Deposited { .. } | Money::Withdrawn { .. } => Route::Ignore,
        }
    }

    fn react(&mut self, _: Money) -> Vec<Action<Move>> {
        vec![
            Action::step(Move::Withdraw(1), Move::Deposit(1)),
            Action::send(Move::Withdraw(1_000)),
            Action::Complete,
        ]
    }
}

fn open(schema: &Schema) -> Store {
    let store = Store::open(schema.journal().expect("it opens")).expect("it can be read");
    store.with_durability(Durability::Synced).expect("PostgreSQL can")
}

fn accounts(store: &Store) -> Aggregates<Account> {
    Aggregates::new(store).snapshots(SnapshotPolicy::every(5).keep(2))
}

fn run_fee(store: &Store, processors: &Processors) -> annals::cqrs::Sagas<Fee> {
    let bank = store.clone();
    let fee = processors.saga::<Fee>(move |command, sending| {
        let accounts = accounts(&bank).with_context(sending.context.clone());
        accounts.execute_once(sending.command_id, &sending.key, command)?;
        Ok::<(), SendError>(())
    });
    fee.start().expect("it starts")
}

type Seen = Arc<Mutex<Vec<u64>>>;

fn run_mailer(processors: &Processors, seen: &Seen) -> annals::cqrs::Subscription<Money> {
    let seen = Arc::clone(seen);
    let handler = move |delivered: Delivered<'_, Money>| {
        let Money::Deposited { amount } = delivered.event else {
            return Ok(());
        };
        if amount == 13 {
            return Err(HandlerError::permanent("13 is not lucky"));
        }
        seen.lock().push(amount);
        Ok(())
    };
    let mailer = processors.subscribe("mailer", handler).on_failure(OnFailure::park());
    mailer.start().expect("it starts")
}

#[test]
fn what_the_toolkit_keeps_is_there_after_a_restart() {
    let schema = Schema::new();
    let (seen, command) = (Seen::default(), Uuid::from_u128(7));
    {
        let store = open(&schema);
        let accounts = accounts(&store);
        let processors = Processors::new(&store);
        let mailer = run_mailer(&processors, &seen);
        let fee = run_fee(&store, &processors);
        accounts
            .execute_once(command, "a", &Move::Deposit(250))
            .expect("a deposit");
        for amount in 10..20 {
            accounts.execute("b", &Move::Deposit(amount)).expect("a deposit");
        }
        let transferred = Together::new(&store).execute(|work| {
            work.execute(&accounts, "b", &Move::Withdraw(5))?;
            work.execute(&accounts, "c", &Move::Deposit(5))
        });
        transferred.expect("b has enough");
        processors.when_idle(SOON).expect("they run");
        assert_eq!(
            mailer.letters().expect("readable").len(),
            8,
            "13, and seven events behind it"
        );
        let phase = fee.get("a").expect("readable").map(|saga| saga.phase);
        assert!(matches!(phase, Some(SagaPhase::Failed { .. })), "{phase:?}");
        processors.end();
        store.close().expect("closed");
    }
    let store = open(&schema);
    let again = accounts(&store)
        .execute_once(command, "a", &Move::Deposit(250))
        .expect("known");
    assert!(again.appended.expect("an event").repeated);
    let accounts = accounts(&store);
    assert_eq!(
        accounts.load("a").expect("it is whole").state.balance,
        250,
        "the fee was given back"
    );
    let b = accounts.load("b").expect("it is whole");
    assert_eq!((b.state.balance, b.version, b.folded), (140, Version(11), 1));
    assert_eq!(accounts.load_version("b", Version(7)).expect("it is whole").folded, 2);
    let processors = Processors::new(&store);
    let mailer = run_mailer(&processors, &seen);
    let fee = run_fee(&store, &processors);
    accounts.execute("d", &Move::Deposit(1)).expect("a deposit");
    processors.when_idle(SOON).expect("they run");
    // The transfer and the compensation came before the restart.
    let mut amounts = seen.lock().clone();
    amounts.sort_unstable();
    assert_eq!(amounts, [1, 1, 5, 10, 11, 12, 250]);
    assert_eq!(mailer.letters().expect("readable")[0].reason, "13 is not lucky");
    assert_eq!(fee.active(), []);
}

#[test]
fn a_group_goes_on_after_a_restart_and_a_follower_loads_aggregates() {
    let schema = Schema::new();
    {
        let store = open(&schema);
        for (id, amount) in [("a", 1), ("b", 2), ("c", 3)] {
            accounts(&store).execute(id, &Move::Deposit(amount)).expect("a deposit");
        }
        let billing = Group::<Money>::builder(&store, "billing").open().expect("it opens");
        for number in 0..2 {
            let message = billing.receive(SOON).expect("it runs").expect("there is one");
            match number {
                0 => message.ack().expect("its lease holds"),
                _ => message.park("never").expect("its lease holds"),
            }
        }
        billing.end();
        store.close().expect("closed");
    }
    let store = open(&schema);
    let billing = Group::<Money>::builder(&store, "billing").open().expect("it opens");
    let message = billing.receive(SOON).expect("it runs").expect("there is one");
    assert_eq!(message.event, Money::Deposited { amount: 3 });
    message.ack().expect("its lease holds");
    assert!(billing.receive(Duration::ZERO).expect("it runs").is_none());
    assert_eq!(billing.letters()[0].position, Position(2));
    let follower = follow(&schema);
    let loaded = Aggregates::<Account>::new(&follower).load("c").expect("it is whole");
    assert_eq!(loaded.state.balance, 3);
}
