//! Read models in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use annals::cqrs::{
    CommandError, HandlerError, Live, LiveError, OnFailure, Processors, Projection, Retry, TypedEvents, Upcast,
    Upcasters,
};
use annals::{Event, Expected, NewEvent, Store, StreamId};
use serde::Deserialize;

use super::{AccountCommand, AccountEvent, SOON, accounts, amount, deposit, returns};

/// The sum of all deposits.
#[derive(Default)]
struct Sum(u64);

impl Projection for Sum {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, _: &Event) -> Result<(), HandlerError> {
        self.0 += amount(&event);
        Ok(())
    }
}

#[test]
fn a_live_read_model_that_was_used_in_its_own_look_hung() {
    let store = Store::in_memory();
    deposit(&store, "anna", 1);
    let live = Live::new(&store, Sum::default());
    let inline = accounts(&store).inline(&live);
    let other = Live::new(&store, Sum::default());
    returns("a look in a look", move || {
        live.read(|_| {
            assert_eq!(live.read(|_| ()), Err(LiveError::InUse));
            assert_eq!(live.clone().catch_up(), Err(LiveError::InUse));
            assert!(live.reset(&store, Sum::default()).is_err());
            let executed = inline.execute("anna", &AccountCommand::Deposit(1));
            assert!(matches!(executed, Err(CommandError::Inline { .. })), "{executed:?}");
            assert_eq!(other.read(|sum| sum.0), Ok(1), "another read model");
        })
        .expect("it is read");
        inline.execute("anna", &AccountCommand::Deposit(1)).expect("a deposit");
        assert_eq!(live.read(|sum| sum.0), Ok(2));
    });
}

#[test]
fn a_look_in_a_look_at_a_projection_hung_when_an_event_came() {
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let sum = processors.project("sum", Sum::default()).start().expect("it starts");
    returns("a look in a look", move || {
        sum.read(|_| {
            deposit(&store, "anna", 1);
            // The thread waits for the look to end.
            let caught_up = sum.when_caught_up(Duration::from_millis(300));
            caught_up.expect_err("the look delays it");
            assert_eq!(sum.read(|sum| sum.0), 0);
        });
        sum.when_caught_up(SOON).expect("it runs");
        assert_eq!(sum.read(|sum| sum.0), 1);
        drop(processors);
    });
}

#[derive(Deserialize)]
enum Half {
    Left,
    Right,
}

/// Counts the halves; the first `fails` right ones fail.
#[derive(Default)]
struct Halves {
    left: u32,
    right: u32,
    fails: u32,
}

impl Projection for Halves {
    type Event = Half;

    fn apply(&mut self, event: Half, _: &Event) -> Result<(), HandlerError> {
        match event {
            Half::Left => self.left += 1,
            Half::Right if self.fails > 0 => {
                self.fails -= 1;
                return Err(HandlerError::transient("not now"));
            }
            Half::Right => self.right += 1,
        }
        Ok(())
    }
}

#[test]
fn a_retry_applied_the_parts_of_a_split_event_again() {
    let both = |_| {
        Ok(["Left", "Right"]
            .map(|half| Upcast::new(half, 1, serde_json::Value::Null))
            .to_vec())
    };
    let upcasters = Upcasters::new().split("Both", 1, &[("Left", 1), ("Right", 1)], both);
    let events = TypedEvents::<Half>::new().upcasters(&upcasters);
    let retry = Retry::default()
        .attempts(3)
        .first_pause(Duration::ZERO)
        .longest_pause(Duration::ZERO);
    let store = Store::in_memory();
    let processors = Processors::new(&store);
    let halves = Halves {
        fails: 2,
        ..Halves::default()
    };
    let halves = processors.project("halves", halves).events(&events);
    let halves = halves
        .on_failure(OnFailure::stop().retry(retry))
        .start()
        .expect("it starts");
    for _ in 0..2 {
        let both = NewEvent::new("Both").data("null");
        store
            .append(&StreamId::new("Pair", "pair-1"), Expected::Any, both)
            .expect("an event");
    }
    halves.when_caught_up(SOON).expect("it runs");
    assert_eq!(halves.read(|halves| (halves.left, halves.right)), (2, 2));
}

/// Panics at the check of 13.
#[derive(Default)]
struct Lucky(u64);

impl Projection for Lucky {
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent, _: &Event) -> Result<(), HandlerError> {
        self.0 += amount(&event);
        Ok(())
    }

    fn check(&self, event: &AccountEvent) -> Result<(), String> {
        assert_ne!(amount(event), 13, "not lucky");
        Ok(())
    }
}

#[test]
fn a_check_that_panics_leaves_an_inline_projection_usable() {
    let store = Store::in_memory();
    let live = Live::new(&store, Lucky::default());
    let inline = accounts(&store).inline(&live);
    returns("the next command", move || {
        let unlucky = || inline.execute("anna", &AccountCommand::Deposit(13));
        catch_unwind(AssertUnwindSafe(unlucky)).expect_err("it panics");
        inline.execute("anna", &AccountCommand::Deposit(1)).expect("a deposit");
        assert_eq!(live.read(|lucky| lucky.0), Ok(1));
        let look = || live.read(|_| panic!("a look"));
        catch_unwind(AssertUnwindSafe(look)).expect_err("it panics");
        assert_eq!(live.read(|lucky| lucky.0), Ok(1));
    });
}
