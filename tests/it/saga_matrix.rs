//! The saga of the example `complaint_saga`, once for each step and each incident.

use std::time::Duration;

use annals::cqrs::{Processors, SendError, Sending};
use annals::testing::{Incident, SagaMatrix, SagaTable};
use annals::{Event, Expected, ManualClock, NewEvent, Store, StreamId};

use self::complaint_saga::{Command, Complaint};

#[path = "../../examples/complaint_saga.rs"]
#[expect(dead_code, reason = "the script is here, not in the example's main function")]
mod complaint_saga;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Carries a command out, once for each id if `by_id`: an event of the complaint's desk stands for its effect.
fn carry_out(store: &Store, command: &Command, sending: &Sending, by_id: bool) -> Result<(), SendError> {
    if matches!(command, Command::Reserve(article) if article == "lamp") {
        return Err(SendError::Rejected {
            rejection: "lamps are sold out".to_owned(),
        });
    }
    let effect = format!("{command:?}");
    let effect = NewEvent::new(effect.split('(').next().unwrap_or_default());
    let effect = if by_id { effect.id(sending.command_id) } else { effect };
    let desk = StreamId::new("Desk", format!("desk-{}", sending.key));
    let appended = store.append(&desk, Expected::Any, vec![effect]);
    appended.map(drop).map_err(|error| SendError::Failed(error.into()))
}

fn append(store: &Store, id: &str, event: NewEvent<'_>) {
    store
        .append(&StreamId::new("Complaint", id), Expected::Any, event)
        .expect("appended");
}

fn matrix<'a>(by_id: bool) -> SagaMatrix<'a> {
    let start = move |processors: &Processors, store: &Store| {
        let store = store.clone();
        let saga = processors.saga::<Complaint>(move |command, sending| carry_out(&store, command, sending, by_id));
        saga.start().expect("it starts");
    };
    let raise = |store: &Store, _: &ManualClock| {
        for (id, article) in [("accepted", "chair"), ("refused", "lamp"), ("forgotten", "table")] {
            append(
                store,
                id,
                NewEvent::new("Raised").data(format!(r#"{{"article":"{article}"}}"#)),
            );
        }
    };
    SagaMatrix::new(start)
        .when(raise)
        .when(|store, _| append(store, "accepted", NewEvent::new("Accepted")))
        .when(|_, clock| clock.advance(DAY * 7))
        .when(|_, clock| clock.advance(DAY * 7))
}

/// Each effect once, and those of a saga that failed undone in reverse.
fn effects(store: &Store) -> Result<(), String> {
    for (id, expected) in [
        ("accepted", &["Refund", "Reserve", "Ship"][..]),
        ("refused", &["Refund", "TakeBackRefund"]),
        (
            "forgotten",
            &["Refund", "Reserve", "Remind", "ReleaseReservation", "TakeBackRefund"],
        ),
    ] {
        let events = store.read_stream(&format!("desk-{id}")).events();
        let actual: Vec<_> = events.iter().map(Event::event_type).collect();
        if actual != expected {
            return Err(format!("{id}: {actual:?}"));
        }
    }
    Ok(())
}

fn broken(table: &SagaTable, incident: Incident) -> usize {
    table.rows.iter().filter(|row| !row.holds_after(incident)).count()
}

#[test]
fn complaints_end_the_same_whatever_goes_wrong_at_any_step() {
    let table = matrix(true).run(effects).expect("it appends");
    table.assert_holds();
    assert!(
        table.rows.len() > 20,
        "each reaction and each command is a step:\n{table}"
    );
    assert!(
        table.rows.iter().any(|row| row.at == "append on 'desk-accepted'"),
        "{table}"
    );
}

#[test]
fn a_command_without_its_id_was_carried_out_twice() {
    let table = matrix(false).run(effects).expect("it appends");
    assert!(table.baseline.is_ok(), "nothing is wrong as long as nothing goes wrong");
    assert!(!table.holds());
    let desks = table.rows.iter().filter(|row| row.at.contains("desk-")).count();
    // The effect is stored, and the saga does not know.
    for incident in [Incident::CrashAfter, Incident::LostAcknowledgement] {
        assert_eq!(broken(&table, incident), desks, "{table}");
    }
    let text = table.to_string();
    assert!(text.contains("BROKEN") && text.contains("lost ack: "), "{text}");
    let failure = std::panic::catch_unwind(|| table.assert_holds()).expect_err("it does not hold");
    assert!(
        failure
            .downcast_ref::<String>()
            .is_some_and(|told| told.contains("BROKEN"))
    );
}

#[test]
fn a_script_in_which_nothing_happens_is_refused() {
    let error = SagaMatrix::new(|_, _| ())
        .when(|_, _| ())
        .run(|_| Ok(()))
        .expect_err("no append");
    assert!(error.to_string().contains("append 0 times"), "{error}");
}
