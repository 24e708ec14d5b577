//! Stores that follow, and stores that are read alone.

use annals::{Error, Expected, NewEvent, Store, StoreUrl};

use crate::raw::{Raw, document};
use crate::{new_url, open, order};

fn append(store: &Store) -> Result<(), Error> {
    store
        .append(&order("a"), Expected::Any, vec![NewEvent::new("Placed")])
        .map(drop)
}

#[test]
fn a_store_that_follows_missed_an_event() {
    annals_mongodb::register().expect("the name is free");
    annals_mongodb::register().expect("the second call does nothing");
    let url = new_url();
    let store = open(&url);
    append(&store).unwrap();
    let followers = [Store::follow(&url).unwrap(), Store::follow(&url).unwrap()];
    for _ in 0..20 {
        append(&store).unwrap();
    }
    for follower in &followers {
        follower.wait_visible(store.visible());
        assert_eq!(follower.read_all().events(), store.read_all().events());
    }
}

#[test]
fn a_store_that_follows_showed_what_is_behind_the_head() {
    annals_mongodb::register().unwrap();
    let url = new_url();
    let store = open(&url);
    append(&store).unwrap();
    Raw::of(&url).insert("events", document(2, "a", 2, 0));
    let follower = Store::follow(&url).unwrap();
    assert_eq!(follower.read_all().events().len(), 1);
    append(&store).unwrap();
    follower.wait_visible(store.visible());
    assert_eq!(follower.read_all().events()[1].event_type(), "Placed");
}

#[test]
fn an_append_to_a_store_that_follows_failed_without_a_reason() {
    annals_mongodb::register().unwrap();
    let url = new_url();
    append(&open(&url)).unwrap();
    let error = append(&Store::follow(&url).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(error.to_string().contains("because MongoDB has one writer"), "{error}");
    let read = Store::builder().read_only().open_url(&url).unwrap();
    assert_eq!(read.read_all().events().len(), 1);
    assert!(matches!(append(&read), Err(Error::ReadOnly { .. })));
}

#[test]
fn a_store_that_was_only_to_be_read_was_created() {
    annals_mongodb::register().unwrap();
    let url = new_url();
    for opened in [Store::follow(&url), Store::builder().read_only().open_url(&url)] {
        assert!(matches!(opened, Err(Error::Invalid { .. })), "{opened:?}");
    }
    let parsed: StoreUrl = url.parse().unwrap();
    assert_eq!(parsed.exists(), Ok(false));
    append(&Store::open_url(&url).unwrap()).unwrap();
    assert_eq!(parsed.exists(), Ok(true));
    assert_eq!(parsed.to_string(), url.split_once('?').unwrap().0);
}
