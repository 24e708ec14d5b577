//! Projections inline: commands that meet other writers, and commands with several events.

use annals::cqrs::{Aggregates, HandlerError, Live, Projection, Together};
use annals::{Event, Expected, NewEvent, Query, Store, StreamId};
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
