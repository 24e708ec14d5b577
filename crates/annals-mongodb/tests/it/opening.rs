//! Opening: several processes at once, databases of other programs, and writers that wake up after another has taken over.

use annals::journal::{Journal as _, JournalErrorKind};
use annals::{Error, Expected, NewEvent, Store};
use annals_mongodb::MongoJournal;
use mongodb::IndexModel;
use mongodb::bson::doc;

use crate::proxy::{Cut, Proxy};
use crate::raw::{Raw, document};
use crate::{new_url, open, order};

fn append(store: &Store, kind: &'static str) -> Result<(), Error> {
    store
        .append(&order("a"), Expected::Any, vec![NewEvent::new(kind)])
        .map(drop)
}

#[test]
fn two_processes_that_opened_an_empty_database_at_once_both_wrote() {
    for _ in 0..3 {
        let url = new_url();
        let opened = std::thread::scope(|scope| {
            let open = || MongoJournal::open(&url);
            let threads = [scope.spawn(open), scope.spawn(open)];
            threads.map(|thread| thread.join().unwrap())
        });
        let (won, lost): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 1), "{won:?} {lost:?}");
        assert_eq!(lost[0].as_ref().unwrap_err().kind(), JournalErrorKind::Locked);
        for journal in won {
            Box::new(journal.unwrap()).close().unwrap();
        }
        let store = open(&url);
        append(&store, "Placed").unwrap();
    }
}

/// The index exists already, and does not make versions unique.
#[test]
fn a_database_whose_versions_are_not_unique_was_opened() {
    let url = new_url();
    let keys = doc! { "aggregateId": 1, "sequenceNumber": 1 };
    Raw::of(&url).create_index("events", IndexModel::builder().keys(keys).build());
    let error = annals_mongodb::open(&url).expect_err("versions are not unique");
    assert!(error.to_string().contains("index"), "{error}");
    assert_eq!(Raw::of(&url).count("head"), 0);
}

#[test]
fn the_events_of_another_program_became_a_store() {
    let url = new_url();
    Raw::of(&url).insert("events", doc! { "aggregateId": "a", "sequenceNumber": 1 });
    let error = annals_mongodb::open(&url).expect_err("it belongs to another program");
    assert!(matches!(error, Error::Unreadable { .. }), "{error:?}");
    assert!(error.to_string().contains("belongs to another program"), "{error}");
    assert_eq!(Raw::of(&url).count("events"), 1);
}

#[test]
fn what_a_crash_left_behind_the_head_was_an_event() {
    let url = new_url();
    let store = open(&url);
    append(&store, "Placed").unwrap();
    store.close().unwrap();
    let raw = Raw::of(&url);
    for position in 2..6 {
        raw.insert("events", document(position, "a", position, 1));
    }
    let follower = Store::builder()
        .read_log(annals_mongodb::connect(&url).unwrap().into_parts().0)
        .unwrap();
    assert_eq!(follower.read_all().events().len(), 1);
    let store = open(&url);
    assert_eq!((store.read_all().events().len(), raw.count("events")), (1, 1));
    append(&store, "Next").unwrap();
    store.close().unwrap();
    assert_eq!(open(&url).read_stream("a").events().len(), 2);
}

/// The old writer's insert arrives when the new one has taken over, before or after the new one appends.
#[test]
fn a_writer_that_woke_up_after_another_took_over_stored_events() {
    for is_late in [false, true] {
        let url = new_url();
        let (proxy, through) = Proxy::to(&url);
        let old = open(&through);
        append(&old, "Placed").unwrap();
        proxy.arm(b"Zombie", Cut::Hold);
        let zombie = std::thread::scope(|scope| {
            let zombie = scope.spawn(|| append(&old, "Zombie"));
            while !proxy.is_met() {
                std::thread::yield_now();
            }
            proxy.block();
            let new = open(&url);
            if is_late {
                append(&new, "Taken").unwrap();
            }
            proxy.let_through();
            proxy.unblock();
            let zombie = zombie.join().unwrap();
            append(&new, "Other").unwrap();
            new.close().unwrap();
            zombie
        });
        let error = zombie.expect_err("another writer has taken over");
        assert!(error.to_string().contains("taken over"), "{error}");
        let events = open(&url).read_all().events();
        assert!(events.iter().all(|event| event.event_type() != "Zombie"), "{events:?}");
        assert_eq!(events.len(), 2 + usize::from(is_late));
    }
}

#[test]
fn a_password_was_in_the_error_of_a_server_that_is_gone() {
    let port = crate::cluster::Port::free();
    let url = format!(
        "mongodb://anna:s3cr3t@127.0.0.1:{}/orders?connectTimeoutMS=500",
        port.number
    );
    let error = annals_mongodb::open(&url).expect_err("no server listens");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
}
