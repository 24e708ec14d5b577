//! A mounted program with a read model in PostgreSQL.

#![cfg(unix)]

#[expect(
    clippy::expect_used,
    dead_code,
    reason = "there are standbys in the library's tests alone"
)]
#[path = "../../../../tests/postgres/cluster.rs"]
mod cluster;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals::cqrs::{HandlerError, OnFailure, Processors, Rows, SqlProjection};
use annals::{Event, Expected, NewEvent, Position, Store, StreamId};
use annals_server::{Client, Program, Server, stop_signal};

const SOON: Duration = Duration::from_secs(60);

#[derive(serde::Deserialize)]
enum AccountEvent {
    Deposited { amount: i64 },
}

/// Takes no deposit until it is healed.
struct Balances {
    is_healed: Arc<AtomicBool>,
}

impl SqlProjection for Balances {
    type Event = AccountEvent;

    fn create(&self, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        rows.execute("CREATE TABLE IF NOT EXISTS deposits (amount bigint NOT NULL)", &[])?;
        Ok(())
    }

    fn apply(&self, event: AccountEvent, _: &Event, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        let AccountEvent::Deposited { amount } = event;
        if !self.is_healed.load(Ordering::SeqCst) {
            return Err(HandlerError::permanent("the account is closed"));
        }
        rows.execute("INSERT INTO deposits VALUES ($1)", &[&amount])?;
        Ok(())
    }
}

#[test]
fn dead_letters_of_a_read_model_were_seen_by_its_program_alone() {
    let (store, is_healed) = (Store::in_memory(), Arc::<AtomicBool>::default());
    let balances = Balances {
        is_healed: Arc::clone(&is_healed),
    };
    let processors = Processors::new(&store);
    let projected = processors
        .project_to_postgres("balances", cluster::url(), balances)
        .on_failure(OnFailure::park())
        .start()
        .unwrap();
    for id in ["account-1", "account-1", "account-2", "account-3"] {
        let event = NewEvent::new("Deposited").data(r#"{"amount":5}"#);
        store
            .append(&StreamId::new("Account", id), Expected::Any, event)
            .unwrap();
    }
    processors.when_caught_up(SOON).unwrap();
    let program = Program::new().processors(&processors).read_model(&projected);
    let server = Server::builder(store).program(program).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (stop, stopped) = stop_signal();
    let serving = std::thread::spawn(move || server.run(listener, stopped, SOON).unwrap());

    let letters = client.dead_letters("balances", Position(0), 10).unwrap();
    assert_eq!((letters.total, letters.letters.len(), letters.lost_records), (4, 4, 0));
    assert!(letters.letters[0].reason.contains("the account is closed"));
    let again = client.retry_dead_letter("balances", Position(1)).unwrap();
    assert_eq!((again.handled, again.left), (0, 2));
    is_healed.store(true, Ordering::SeqCst);
    let healed = client.retry_dead_letter("balances", Position(1)).unwrap();
    assert_eq!((healed.handled, healed.left), (2, 0));
    assert!(client.discard_dead_letter("balances", Position(3)).unwrap());
    let last = client.retry_dead_letters("balances").unwrap();
    assert_eq!((last.handled, last.left), (1, 0));
    assert!(projected.letters().unwrap().is_empty());

    stop.stop();
    serving.join().unwrap();
}
