//! The counts of a saga.

use annals::cqrs::{HandlerError, Processors, SendError};

use super::*;

/// `bad` is rejected at its third command, `down` fails at its second; all others, and the compensations, succeed.
fn send(command: &str, sending: &Sending) -> Result<(), SendError> {
    match (sending.key.as_str(), command) {
        ("bad", "second") => Err(SendError::Rejected {
            rejection: "no".to_owned(),
        }),
        ("down", "first") => Err(SendError::Failed(HandlerError::transient("no answer in time"))),
        _ => Ok(()),
    }
}

fn started(processors: &Processors) -> Sagas<Three> {
    let sagas = processors.saga::<Three>(|command: &String, sending| send(command, sending));
    sagas.retry(quick(3)).start().expect("it starts")
}

#[test]
fn runs_and_commands_of_a_saga_were_not_counted_by_their_outcome() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let sagas = started(&processors);
    for id in ["good", "bad", "down"] {
        request(&store, id, 1);
    }
    wait_for(|| sagas.counts().stuck == 1);
    let counts = sagas.counts();
    assert_eq!((counts.active, counts.completed, counts.failed), (1, 1, 1));
    let steps = counts.steps;
    assert_eq!((steps.succeeded, steps.rejected, steps.failed), (4 + 2 + 1, 1, 3));
    let compensations = counts.compensations;
    assert_eq!(
        (compensations.succeeded, compensations.rejected, compensations.failed),
        (2, 0, 0)
    );
    assert_eq!(sagas.abandon("down", "by hand"), Ok(true));
    let counts = sagas.counts();
    assert_eq!((counts.active, counts.stuck, counts.abandoned), (0, 0, 1));
}

#[test]
fn a_saga_that_started_again_counted_what_an_earlier_one_had_done() {
    let (store, _) = bank();
    let processors = Processors::new(&store);
    let first = started(&processors);
    request(&store, "good", 1);
    request(&store, "down", 1);
    wait_for(|| first.counts().stuck == 1);
    drop((first, processors));
    let processors = Processors::new(&store);
    let sagas = started(&processors);
    sagas.when_caught_up(SOON).expect("it runs");
    let counts = sagas.counts();
    assert_eq!((counts.active, counts.stuck), (1, 1));
    assert_eq!((counts.completed, counts.steps.succeeded), (0, 0));
    assert_eq!(counts.steps.failed, 0);
}
