//! The client in Rust against a program behind a server: processors, dead letters, commands and queries.

use std::time::Duration;

use annals::cqrs::OnFailure;
use annals::{Position, Store};
use annals_server::{Client, ClientError, MessageOptions, RemoteState};
use serde_json::{Value, json};

use crate::messages::Bank;
use crate::processors::Mailer;
use crate::remote::client_of;
use crate::sagas::Shop;
use crate::support::Running;

const SOON: Duration = Duration::from_secs(30);

/// The name of the problem that a call was refused with.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    let error = result.unwrap_err();
    let ClientError::Refused(refusal) = error else {
        panic!("{error}");
    };
    refusal.name
}

#[test]
fn a_processor_is_looked_at_paused_and_resumed() {
    let mailer = Mailer::with_letters(&["order-1", "order-2"]);
    let server = mailer.server();
    let client = client_of(&server);
    let reached = client.wait_for_processor("mailer", None, SOON).unwrap();
    assert_eq!(
        (reached.lag_events, reached.parked, reached.dead_letters),
        (0, 2, Some(2))
    );
    assert_eq!(client.processors().unwrap().len(), 1);
    let failure = client.processor("mailer").unwrap().unwrap().last_error.unwrap();
    assert_eq!(failure.reason, "no \"server\" for mail\n");
    assert_eq!(client.pause_processor("mailer").unwrap().state, RemoteState::Paused);
    mailer.place("order-3");
    let late = client.wait_for_processor("mailer", Some(Position(1_000)), Duration::ZERO);
    assert_eq!(refusal(late), "not-reached");
    let resumed = client.resume_processor("mailer").unwrap();
    assert!(
        matches!(resumed.state, RemoteState::Running | RemoteState::CaughtUp),
        "{resumed:?}"
    );
    assert_eq!(client.processor("none").unwrap(), None);
    assert_eq!(refusal(client.pause_processor("none")), "not-found");
    assert_eq!(refusal(client_of(&Running::new()).processors()), "not-found");
}

#[test]
fn a_processor_that_has_stopped_says_why() {
    let mailer = Mailer::new(OnFailure::stop());
    let server = mailer.server();
    let client = client_of(&server);
    mailer.place("order-1");
    assert_eq!(refusal(client.wait_for_processor("mailer", None, SOON)), "not-reached");
    let stopped = client.processor("mailer").unwrap().unwrap();
    assert_eq!(stopped.state, RemoteState::Stopped);
    assert!(stopped.stop_reason.unwrap().contains("no \"server\" for mail"));
    assert_eq!(client.dead_letters("mailer", Position(0), 10).unwrap().total, 0);
}

#[test]
fn dead_letters_are_read_in_pages_retried_and_discarded() {
    let mailer = Mailer::with_letters(&["order-1", "order-2", "order-3"]);
    let server = mailer.server();
    let client = client_of(&server);
    let first = client.dead_letters("mailer", Position(0), 2).unwrap();
    assert_eq!((first.letters.len(), first.total, first.lost_records), (2, 3, 0));
    let last = client.dead_letters("mailer", first.next.unwrap(), 2).unwrap();
    assert_eq!((last.letters.len(), last.next), (1, None));
    assert_eq!(last.letters[0].aggregate_id, "order-3");
    let position = first.letters[0].position;
    let again = client.retry_dead_letter("mailer", position).unwrap();
    assert_eq!((again.handled, again.left, again.next.unwrap().attempts), (0, 1, 2));
    assert!(client.discard_dead_letter("mailer", position).unwrap());
    assert!(!client.discard_dead_letter("mailer", position).unwrap());
    mailer.heal();
    let retried = client.retry_dead_letters("mailer").unwrap();
    assert_eq!((retried.handled, retried.left, retried.next), (2, 0, None));
    assert_eq!(refusal(client.retry_dead_letter("mailer", position)), "not-found");
}

fn deposit(client: &Client, amount: u64, options: &MessageOptions) -> Result<Value, ClientError> {
    client.send_command("Deposit", &json!({ "account": "account-1", "amount": amount }), options)
}

#[test]
fn commands_and_queries_have_replies() {
    let store = Store::in_memory();
    let server = Running::built(
        annals_server::Server::builder(store.clone()).program(Bank::new(&store).program),
        SOON,
    );
    let client = client_of(&server);
    let options = MessageOptions::default()
        .correlation_id("checkout-9")
        .idempotency_key("deposit-1");
    let first = deposit(&client, 250, &options).unwrap();
    let again = deposit(&client, 250, &options).unwrap();
    assert_eq!(
        (&first["appended"]["repeated"], &again["appended"]["repeated"]),
        (&json!(false), &json!(true)),
        "{first} {again}"
    );
    let account = json!({ "account": "account-1" });
    // A reply need not be an object.
    let balance: u64 = client
        .send_query("Balance", &account, &MessageOptions::default())
        .unwrap();
    assert_eq!(balance, 250);
    let event = store.read_stream("account-1").events().remove(0);
    assert_eq!(event.correlation_id(), Some("checkout-9"));
}

#[test]
fn a_refused_message_has_the_reason_of_the_program() {
    let store = Store::in_memory();
    let server = Running::built(
        annals_server::Server::builder(store.clone()).program(Bank::new(&store).program),
        SOON,
    );
    let client = client_of(&server);
    let none = MessageOptions::default();
    let withdraw = json!({ "account": "account-1", "amount": 1 });
    let refused = client.send_command::<Value>("Withdraw", &withdraw, &none).unwrap_err();
    let ClientError::Refused(refused) = refused else {
        panic!("{refused}");
    };
    assert_eq!((refused.status, refused.name.as_str()), (422, "message-refused"));
    assert_eq!(refused.detail, "the balance is 0");
    assert_eq!(
        refusal(client.send_command::<Value>("Unknown", &withdraw, &none)),
        "not-found"
    );
    let key = MessageOptions::default().idempotency_key("line\nbreak");
    let invalid = deposit(&client, 1, &key).unwrap_err();
    assert!(
        matches!(invalid, ClientError::Store(annals::Error::Invalid { .. })),
        "{invalid}"
    );
}

#[test]
fn a_stuck_saga_is_found_retried_and_abandoned() {
    let shop = Shop::with_orders(&["order-1", "order-2", "order-3"]);
    let server = shop.server();
    let client = client_of(&server);
    assert_eq!(client.sagas().unwrap()[0].stuck, 3);
    let first = client.saga_instances("Mail", true, None, 2).unwrap();
    assert_eq!((first.instances.len(), first.total), (2, 3));
    let last = client.saga_instances("Mail", true, first.next.as_deref(), 2).unwrap();
    assert_eq!((last.instances[0].key.as_str(), last.next), ("order-3", None));
    assert_eq!(last.instances[0].stuck.as_deref(), Some("no <b>server</b>"));
    let (changed, abandoned) = client.abandon_saga("Mail", "order-2", "paid in cash").unwrap();
    assert_eq!((changed, abandoned.phase.as_str()), (true, "abandoned"));
    assert_eq!(abandoned.reason.as_deref(), Some("paid in cash"));
    assert!(!client.abandon_saga("Mail", "order-2", "again").unwrap().0);
    shop.heal();
    assert!(client.retry_saga("Mail", "order-1").unwrap().0);
    assert_eq!(client.saga_instance("Mail", "order-9").unwrap(), None);
    assert_eq!(refusal(client.retry_saga("Mail", "order-9")), "not-found");
    client.pause_processor("Mail").unwrap();
    assert_eq!(refusal(client.retry_saga("Mail", "order-3")), "saga-not-running");
}
