//! What the store tells `tracing`.

#![expect(clippy::expect_used, reason = "a test fails where what it expects does not hold")]

use std::io::Write;
use std::sync::Arc;

use annals::cqrs::{Delivered, HandlerError, OnFailure, Processors};
use annals::journal::JournalErrorKind;
use annals::testing::Seed;
use annals::testing::storage::MemoryStorage;
use annals::{Durability, Expected, NewEvent, Position, Query, Store, StreamId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Deserialize, Serialize)]
enum NoteEvent {
    Noted { secret: u64 },
}

/// What was told, as text.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Told {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Runs `work`, and returns what this thread told meanwhile.
fn told(work: impl FnOnce()) -> String {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let told = Told::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(told.clone())
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = told.0.lock().clone();
    String::from_utf8(bytes).expect("text")
}

/// An event whose every text is a secret.
fn secret() -> (StreamId, NewEvent<'static>) {
    let event = NewEvent::new("Noted")
        .data("{\"secret\":1}")
        .user("secret-user")
        .correlation("secret-correlation")
        .tag("secret-tag");
    (StreamId::new("SecretOrder", "secret-order"), event)
}

#[test]
fn appends_were_told_with_what_they_carry() {
    let text = told(|| {
        let store = Store::in_memory();
        let (stream, event) = secret();
        store.append(&stream, Expected::Any, [event.clone()]).expect("appended");
        store
            .append(&stream, Expected::NoStream, [event.clone()])
            .expect_err("a conflict");
        let pending = store.try_append(&stream, Expected::Any, [event]);
        pending.expect("appended").wait().expect("published");
        store.query(Query::all().user("secret-user")).events().expect("events");
    });
    assert!(text.contains("append{appends=1 events=1}"), "{text}");
    assert!(text.contains("annals: appended position=1"), "{text}");
    assert!(text.contains("the append conflicts"), "{text}");
    assert!(text.contains("annals: appended position=2"), "{text}");
    assert!(!text.to_lowercase().contains("secret"), "{text}");
}

#[test]
fn a_journal_in_trouble_was_not_told_of() {
    let text = told(|| {
        let storage = MemoryStorage::new(Durability::Synced);
        let open = || {
            let builder = Store::builder()
                .journal(storage.journal().expect("a journal"))
                .journal_by_hand();
            builder.open().expect("a store")
        };
        let store = open();
        let (stream, event) = secret();
        storage.fail_next(&[JournalErrorKind::Retry]);
        store.append(&stream, Expected::Any, [event.clone()]).expect("appended");
        store.wait_durable(Position(1)).expect("durable");
        storage.fail_next(&[JournalErrorKind::Failed]);
        store.append(&stream, Expected::Any, [event]).expect("appended");
        store.wait_durable(Position(2)).expect_err("it has failed");
        drop(store);
        open();
    });
    assert!(text.contains("WARN annals: the journal is tried again"), "{text}");
    assert!(text.contains("ERROR annals: the journal failed"), "{text}");
    assert!(text.contains("INFO annals: recovered events=1 position=1"), "{text}");
    assert!(!text.to_lowercase().contains("secret"), "{text}");
}

#[test]
fn a_stopped_processor_was_not_told_of() {
    let text = told(|| {
        let store = Store::in_memory();
        let (stream, event) = secret();
        store.append(&stream, Expected::Any, [event]).expect("appended");
        let processors = Processors::by_hand(&store, Seed::new(1));
        let refuse = |noted: Delivered<'_, NoteEvent>| {
            let NoteEvent::Noted { secret } = noted.event;
            Err(HandlerError::permanent(format!("secret {secret}")))
        };
        let started = processors
            .subscribe("mailer", refuse)
            .on_failure(OnFailure::stop())
            .start();
        started.expect("it starts");
        assert!(processors.step());
    });
    assert!(
        text.contains("process{processor=\"mailer\" events=1 position=1}: annals: a handler failed"),
        "{text}"
    );
    assert!(text.contains("a handler failed processor=\"mailer\""), "{text}");
    assert!(text.contains("the processor stopped processor=\"mailer\""), "{text}");
    assert!(!text.to_lowercase().contains("secret"), "{text}");
}
