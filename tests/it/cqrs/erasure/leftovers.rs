//! Personal data in what is derived from events: snapshots, dead letters, digests of commands.

use std::time::Duration;

use annals::Store;
use annals::cqrs::erasure::Scan;
use annals::cqrs::{
    Aggregates, DerivedData, Group, HandlerError, OnFailure, Processors, Retry, SnapshotPolicy, TypedEvents,
};
use uuid::Uuid;

use super::*;

const SOON: Duration = Duration::from_secs(30);

fn assert_clean(store: &Store) {
    let scan = PLAINTEXTS.iter().fold(Scan::new(), |scan, text| scan.plaintext(text));
    let findings = scan.store(store).run().expect("a scan");
    assert!(findings.is_clean(), "{findings:?}");
}

#[test]
fn a_snapshot_keeps_personal_data() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = customers(&store, &vault).snapshots(SnapshotPolicy::every(2));
    register(&customers);
    assert_eq!(customers.snapshot_counts().saved, 1);
    assert_clean(&store);
    let loaded = customers.load("anna").expect("it decodes");
    assert_eq!((loaded.state.name.as_str(), loaded.folded), (NAME, 1));
    vault.erase("anna").expect("an erasure");
    let loaded = customers.load("anna").expect("it decodes");
    assert_eq!(
        (loaded.state, loaded.folded, customers.snapshot_counts().unreadable),
        (forgotten(), 3, 1)
    );
    // The next snapshots work, also those of other subjects, whose key was replaced too.
    customers.save_snapshot("anna").expect("a snapshot");
    assert_eq!(customers.load("anna").expect("it decodes").folded, 0);
    assert_clean(&store);
}

#[test]
fn a_state_that_was_loaded_before_an_erasure_is_saved_after_it() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let epoch = vault.epoch().expect("an epoch");
    let before = vault.seal(epoch, NAME.as_bytes()).expect("it is sealed");
    assert_eq!(vault.open(&before).as_deref(), Some(NAME.as_bytes()));
    vault.erase("anna").expect("an erasure");
    assert!(
        vault
            .seal(epoch, NAME.as_bytes())
            .expect_err("it is over")
            .contains("erased")
    );
    assert_eq!(vault.open(&before), None);
    let epoch = vault.epoch().expect("another epoch");
    assert!(vault.seal(epoch, b"new").is_ok());
    assert_eq!(vault.open("{}"), None);
}

#[test]
fn a_plain_snapshot_from_before_the_codec_is_used() {
    let store = Store::in_memory();
    let plain = Aggregates::<Customer>::new(&store).snapshots(SnapshotPolicy::every(1));
    plain.execute("anna", &CustomerCommand::Register).expect("a command");
    let vault = vault(&store);
    let customers = customers(&store, &vault).snapshots(SnapshotPolicy::every(1));
    assert_eq!(customers.load("anna").expect("it decodes").state.name, NAME);
    assert_eq!(
        (customers.snapshot_counts().used, customers.snapshot_counts().unreadable),
        (0, 1)
    );
}

fn typed(vault: &annals::cqrs::erasure::Vault) -> TypedEvents<CustomerEvent, Protected> {
    TypedEvents::with_codec(Protected::new(vault, personal()))
}

#[test]
fn a_dead_letter_quotes_personal_data() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let processors = Processors::new(&store);
    let handler = |delivered: annals::cqrs::Delivered<'_, CustomerEvent>| match delivered.event {
        CustomerEvent::Registered { name, .. } => Err(HandlerError::permanent(format!(
            "no mail for {name} \u{1f600}{}",
            "x".repeat(9_000)
        ))),
        CustomerEvent::Moved { .. } | CustomerEvent::Ordered { .. } => Ok(()),
    };
    let mailer = processors
        .subscribe("mailer", handler)
        .events(&typed(&vault))
        .on_failure(OnFailure::park());
    let mailer = mailer.start().expect("it starts");
    // The poison is the very first event.
    register(&customers(&store, &vault));
    mailer.when_caught_up(SOON).expect("it runs");
    let letters = mailer.letters().expect("letters");
    assert_eq!(letters.len(), 3);
    assert!(
        letters[0].reason.contains(NAME) && letters[0].reason.len() <= 4_096,
        "{}",
        letters[0].reason
    );
    assert_clean(&store);
    vault.erase("anna").expect("an erasure");
    let letters = mailer.letters().expect("letters");
    assert!(letters[0].reason.contains("withheld"), "{}", letters[0].reason);
    assert_eq!(letters[1].reason, "an earlier event of its aggregate is parked");
    // A replay after the erasure quotes what is left.
    mailer.replay_letters().expect("a replay");
    let letters = mailer.letters().expect("letters");
    assert!(
        letters[0].reason.contains("no mail for [erased]"),
        "{}",
        letters[0].reason
    );
    assert_clean(&store);
    processors.end();
}

#[test]
fn a_group_parks_after_an_erasure_what_it_read_before() {
    let store = Store::in_memory();
    let vault = vault(&store);
    register(&customers(&store, &vault));
    let group = Group::builder(&store, "billing")
        .events(&typed(&vault))
        .retry(Retry::default())
        .open()
        .expect("it opens");
    let message = group.receive(SOON).expect("it runs").expect("one");
    let CustomerEvent::Registered { name, .. } = &message.event else {
        panic!("{message:?}");
    };
    let reason = format!("no invoice for {name}");
    vault.erase("anna").expect("an erasure");
    message.park(&reason).expect("it is parked");
    assert!(group.letters()[0].reason.contains("withheld"));
    assert_clean(&store);
}

#[test]
fn a_digest_of_a_command_confirms_a_guess() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = customers(&store, &vault);
    let (id, command) = (Uuid::from_u128(9), CustomerCommand::Move(ADDRESS.to_owned()));
    let first = customers.execute_once(id, "anna", &command).expect("a command");
    let event = store.event_at(annals::Position(1)).expect("an event");
    let guess = Uuid::new_v5(
        &id,
        serde_json::to_value(&command).expect("JSON").to_string().as_bytes(),
    );
    let metadata = String::from_utf8_lossy(event.metadata()).into_owned();
    assert!(
        metadata.contains("command") && !metadata.contains(&guess.to_string()),
        "{metadata}"
    );
    // It still recognizes the command, and another one, also after an erasure.
    let again = customers.execute_once(id, "anna", &command).expect("the same");
    assert_eq!(
        again.appended.map(|appended| appended.first_position),
        first.appended.map(|appended| appended.first_position)
    );
    vault.erase("anna").expect("an erasure");
    assert!(customers.execute_once(id, "anna", &command).is_ok());
    let other = customers.execute_once(id, "anna", &CustomerCommand::Order(1));
    assert!(matches!(other, Err(annals::cqrs::CommandError::Reused { .. })));
}
