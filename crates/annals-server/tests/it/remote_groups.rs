//! The client in Rust as a consumer of a group.

use std::time::Duration;

use annals::{Expected, Field, Filter, NewEvent, Position, Store, StreamId};
use annals_server::{ClientError, GroupSettings, GroupStart};
use uuid::Uuid;

use crate::remote::client_of;
use crate::remote_programs::refusal;
use crate::support::Running;

fn settings() -> GroupSettings {
    GroupSettings::default()
        .filter(Filter::is(Field::EventType, "Paid"))
        .first_pause(Duration::ZERO)
        .longest_pause(Duration::ZERO)
        .attempts(2)
}

fn pay(store: &Store, id: &str) -> Position {
    let event = NewEvent::new("Paid").data(r#"{"total":123456789012345678901234567890}"#);
    let appended = store.append(&StreamId::new("Order", id), Expected::Any, event).unwrap();
    appended.last_position
}

#[test]
fn an_event_is_taken_once_and_acknowledged() {
    let store = Store::in_memory();
    let server = Running::of(store.clone());
    let (client, other) = (client_of(&server), client_of(&server));
    assert_eq!(client.group("billing").unwrap(), None);
    assert_eq!(client.define_group("billing", &settings()).unwrap().status, None);
    let position = pay(&store, "order-1");
    let taken = client.take("billing", 10, Duration::ZERO).unwrap();
    let stored = store.read_stream("order-1").events().remove(0);
    assert_eq!((taken.len(), taken[0].attempt, &taken[0].event), (1, 1, &stored));
    assert_eq!(taken[0].event.data(), stored.data());
    assert!(other.take("billing", 10, Duration::ZERO).unwrap().is_empty());
    let unknown = Uuid::from_u128(7);
    assert_eq!(client.ack("billing", &[taken[0].lease, unknown]).unwrap(), [unknown]);
    let status = client.group("billing").unwrap().unwrap().status.unwrap();
    assert!(status.position >= position, "{status:?}");
    assert_eq!((status.in_flight, status.dead_letters), (0, 0));
    assert_eq!(client.groups().unwrap().len(), 1);
}

#[test]
fn an_event_that_fails_becomes_a_dead_letter_and_is_delivered_again() {
    let store = Store::in_memory();
    let server = Running::of(store.clone());
    let client = client_of(&server);
    client.define_group("billing", &settings()).unwrap();
    let position = pay(&store, "order-1");
    for attempt in 1..=2 {
        let taken = client.take("billing", 1, Duration::from_secs(30)).unwrap();
        assert_eq!(taken[0].attempt, attempt);
        assert!(
            client
                .nack("billing", &[taken[0].lease], "no \"card\"")
                .unwrap()
                .is_empty()
        );
    }
    let letters = client.group_dead_letters("billing", Position(0), 10).unwrap();
    assert_eq!((letters.total, letters.letters[0].position), (1, position));
    assert_eq!(
        (letters.letters[0].reason.as_str(), letters.letters[0].attempts),
        ("no \"card\"", 2)
    );
    assert_eq!(client.replay_group_dead_letters("billing", Some("order-9")).unwrap(), 0);
    assert_eq!(client.replay_group_dead_letters("billing", None).unwrap(), 1);
    let taken = client.take("billing", 1, Duration::from_secs(30)).unwrap();
    client.park("billing", &[taken[0].lease], "never").unwrap();
    assert!(client.discard_group_dead_letter("billing", position).unwrap());
    assert!(!client.discard_group_dead_letter("billing", position).unwrap());
}

#[test]
fn a_group_that_is_deleted_begins_again() {
    let store = Store::in_memory();
    let server = Running::of(store.clone());
    let client = client_of(&server);
    let position = pay(&store, "order-1");
    let later = settings().start(GroupStart::After(position));
    client.define_group("billing", &later).unwrap();
    assert!(client.take("billing", 1, Duration::ZERO).unwrap().is_empty());
    assert!(client.delete_group("billing").unwrap());
    assert!(!client.delete_group("billing").unwrap());
    assert_eq!(refusal(client.take("billing", 1, Duration::ZERO)), "not-found");
    client.define_group("billing", &settings()).unwrap();
    assert_eq!(client.take("billing", 1, Duration::ZERO).unwrap().len(), 1);
    assert!(client.resume_group("billing").unwrap().status.is_some());
    let none = settings().lease(Duration::ZERO);
    let invalid = client.define_group("billing", &none).unwrap_err();
    assert!(
        matches!(invalid, ClientError::Store(annals::Error::Invalid { .. })),
        "{invalid}"
    );
}
