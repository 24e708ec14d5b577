//! Stores with a journal in files: what survives, and what an acknowledgement says of it.

use std::sync::Arc;
use std::time::Duration;

use annals::journal::file::{Disk as _, FileJournal, FileSettings};
use annals::testing::disk::{Fault, SimulatedDisk};
use annals::{
    Durability, Error, Expected, NewEvent, Position, Query, Settings, Store, StreamId, StreamLimits, Version,
};

use crate::support::TempFolder;

fn open(folder: &TempFolder) -> Store {
    Store::open(FileJournal::open(folder.path()).expect("a journal")).expect("a store")
}

fn order(number: u32) -> StreamId {
    StreamId::new("Order", format!("order-{number}"))
}

fn events(count: usize) -> Vec<NewEvent<'static>> {
    let event = |number: usize| {
        NewEvent::new(if number.is_multiple_of(2) { "Placed" } else { "Paid" })
            .data(format!("{{\"number\":{number}}}"))
            .correlation(format!("c-{number}"))
            .tag("a")
    };
    (0..count).map(event).collect()
}

#[test]
fn a_closed_store_comes_back_as_it_was() {
    let folder = TempFolder::new();
    let store = open(&folder);
    for number in 0..50 {
        store
            .append(&order(number % 7), Expected::Any, events(3))
            .expect("appended");
    }
    store.truncate_before("order-1", Version(4)).expect("truncated");
    store.delete("order-2", Expected::Any).expect("deleted");
    store.tombstone("order-3", Expected::Any).expect("tombstoned");
    let limits = StreamLimits::default().max_count(2);
    store.set_limits("order-4", limits).expect("limited");
    store.append(&order(4), Expected::Any, events(1)).expect("appended");
    let before = store.read_all().include_system().events();
    let (infos, gaps) = (infos(&store), store.gaps());
    store.close().expect("closed");
    assert!(matches!(
        store.append(&order(1), Expected::Any, events(1)),
        Err(Error::Closed)
    ));
    drop(store);

    let store = open(&folder);
    let after = store.read_all().include_system().events();
    assert_eq!(after, before);
    assert_eq!(self::infos(&store), infos);
    assert_eq!(store.gaps(), gaps);
    let report = store.recovery();
    assert_eq!(
        (report.events, report.position, report.torn_tail_bytes),
        (155, Position(155), 0)
    );
    assert_eq!(report.events - report.dropped, after.len() as u64);
    let tombstoned = store.append(&order(3), Expected::Any, events(1));
    assert!(matches!(tombstoned, Err(Error::Deleted { .. })), "{tombstoned:?}");
    assert_eq!(
        store.query(Query::all().event_type("Paid")).count().expect("counted"),
        after.iter().filter(|event| event.event_type() == "Paid").count() as u64
    );
    let next = store
        .append(&order(9), Expected::NoStream, events(1))
        .expect("appended");
    assert_eq!(next.first_position, Position(156));
}

fn infos(store: &Store) -> Vec<Option<annals::StreamInfo>> {
    (0..10)
        .map(|number| store.stream_info(&format!("order-{number}")))
        .collect()
}

#[test]
fn an_acknowledgement_says_what_was_reached() {
    let folder = TempFolder::new();
    let store = open(&folder);
    let synced = store.with_durability(Durability::Synced).expect("a handle");
    let first = synced.append(&order(1), Expected::Any, events(2)).expect("appended");
    assert_eq!(first.durability, Durability::Synced);
    assert!(store.reached(Durability::Synced) >= first.last_position);
    let second = store.append(&order(1), Expected::Any, events(2)).expect("appended");
    store.wait_durable(second.last_position).expect("durable");
    assert_eq!(store.reached(Durability::Synced), second.last_position);
    let ticket = store
        .when_durable(second.last_position, Durability::Written)
        .expect("a ticket");
    futures_executor::block_on(ticket).expect("durable");
}

#[test]
fn long_appends_and_many_segments_come_back() {
    let folder = TempFolder::new();
    let settings = FileSettings::default().segment_bytes(8192);
    let open = || {
        let journal = FileJournal::open_with(folder.path(), settings.clone()).expect("a journal");
        Store::builder().journal(journal).open().expect("a store")
    };
    let store = open();
    for number in 0..200 {
        store
            .append(&order(number), Expected::NoStream, events(10))
            .expect("appended");
        if number % 50 == 0 {
            store.wait_durable(store.visible()).expect("durable");
        }
    }
    let large = NewEvent::new("Large").data(vec![b'x'; 1 << 20]);
    store
        .append(&order(1000), Expected::NoStream, vec![large; 5])
        .expect("appended");
    store
        .append(&order(1001), Expected::NoStream, events(5000))
        .expect("appended");
    let before = store.read_all().events();
    drop(store);
    assert!(std::fs::read_dir(folder.path()).expect("a folder").count() > 3);
    let store = open();
    assert!(store.read_all().events() == before);
    assert_eq!(store.read_stream("order-1001").events().len(), 5000);
}

#[test]
fn readers_of_a_synced_store_see_only_what_is_synced() {
    let folder = TempFolder::new();
    let settings = Settings::default().durability(Durability::Synced);
    let journal = FileJournal::open(folder.path()).expect("a journal");
    let store = Store::builder()
        .settings(settings)
        .journal(journal)
        .open()
        .expect("a store");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..50 {
                    let appended = store
                        .append(&order(writer), Expected::Any, events(2))
                        .expect("appended");
                    assert_eq!(appended.durability, Durability::Synced);
                    assert!(store.visible() >= appended.last_position);
                    assert!(store.reached(Durability::Synced) >= store.visible());
                }
            });
        }
    });
    assert_eq!(store.visible(), Position(400));
}

#[test]
fn two_stores_cannot_have_one_folder() {
    let folder = TempFolder::new();
    let store = open(&folder);
    let second = FileJournal::open(folder.path()).map_err(Error::from);
    assert!(matches!(second, Err(Error::Unavailable { .. })), "{second:?}");
    drop(store);
    drop(open(&folder));
}

/// What goes wrong on the disk, and what the error must say: what happened, and to which file.
#[test]
fn a_failing_disk_is_named_in_the_error() {
    let cases = [
        (
            1,
            Fault::Device,
            "events cannot be written: simulated/00000000000000000001.segment: the device failed",
        ),
        (
            2,
            Fault::Device,
            "the segment cannot be synced: simulated/00000000000000000001.segment: the device failed",
        ),
        (
            1,
            Fault::Full,
            "events cannot be written: simulated/00000000000000000001.segment: no storage space",
        ),
    ];
    for (call, fault, message) in cases {
        let disk = SimulatedDisk::new();
        let journal = FileJournal::on(Arc::new(disk.clone()), FileSettings::default()).expect("a journal");
        let mut settings = Settings::default();
        settings.flush.retry_for = Duration::ZERO;
        let store = Store::builder()
            .settings(settings)
            .journal(journal)
            .open()
            .expect("a store");
        let safe = store.with_durability(Durability::Synced).expect("a handle");
        safe.append(&order(1), Expected::Any, events(1)).expect("appended");
        disk.fail(call, fault);
        let failed = safe
            .append(&order(1), Expected::Any, events(1))
            .expect_err("the disk failed");
        assert!(failed.to_string().ends_with(message), "{failed}");
        assert_eq!(store.reached(Durability::Synced), Position(1));
        assert_eq!(store.read_stream("order-1").events().len(), 2);
    }
}

#[test]
fn a_full_disk_is_waited_for() {
    let disk = SimulatedDisk::new();
    let journal = FileJournal::on(Arc::new(disk.clone()), FileSettings::default()).expect("a journal");
    let store = Store::open(journal).expect("a store");
    for call in 1..=3 {
        disk.fail(call, Fault::Full);
    }
    let appended = store.append(&order(1), Expected::Any, events(3)).expect("appended");
    store.wait_durable(appended.last_position).expect("there is room again");
    drop(store);
    let journal = FileJournal::on(Arc::new(disk), FileSettings::default()).expect("a journal");
    assert_eq!(Store::open(journal).expect("a store").visible(), Position(3));
}

#[test]
fn nothing_is_called_safe_in_a_folder_that_is_gone() {
    let folder = TempFolder::new();
    let store = open(&folder);
    let safe = store.with_durability(Durability::Synced).expect("a handle");
    safe.append(&order(1), Expected::Any, events(1)).expect("appended");
    std::fs::remove_dir_all(folder.path()).expect("removed");
    let failed = safe.append(&order(1), Expected::Any, events(1));
    assert!(matches!(failed, Err(Error::Failed { .. })), "{failed:?}");
}

#[test]
fn a_place_that_cannot_be_written_to_is_named() {
    let file = TempFolder::new().path().join("not-a-folder");
    for path in [file.join("below"), "/proc/annals".into()] {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(&file, "").expect("written");
        let opened = FileJournal::open(&path).map_err(Error::from);
        let message = opened.expect_err("no journal can be there").to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
        assert!(
            message.starts_with("the journal is temporarily unavailable"),
            "{message}"
        );
    }
    std::fs::remove_dir_all(file.parent().expect("a folder")).expect("removed");
}

fn on(disk: &SimulatedDisk) -> Store {
    let settings = FileSettings::default().segment_bytes(4096);
    let journal = FileJournal::on(Arc::new(disk.clone()), settings).expect("a journal");
    let store = Store::open(journal).expect("a store");
    store.with_durability(Durability::Synced).expect("a handle")
}

#[test]
fn a_store_whose_events_are_all_safe_closes_on_a_full_disk() {
    let disk = SimulatedDisk::new();
    let store = on(&disk);
    store.append(&order(1), Expected::Any, events(3)).expect("appended");
    // A sync, and then the mark that everything was synced.
    disk.fail(2, Fault::Full);
    store.close().expect("closed");
    drop(store);
    assert_eq!(on(&disk).visible(), Position(3));
}

#[test]
fn a_segment_of_another_process_is_not_removed() {
    let disk = SimulatedDisk::new();
    let store = on(&disk);
    store
        .append(
            &order(1),
            Expected::Any,
            vec![NewEvent::new("Large").data(vec![b'x'; 5000])],
        )
        .expect("appended");
    let name = format!("{:020}.segment", 2);
    disk.put(&name, b"of another");
    let refused = store.append(&order(1), Expected::Any, events(1));
    assert!(matches!(refused, Err(Error::Failed { .. })), "{refused:?}");
    assert_eq!(disk.bytes(&name).as_deref(), Some(&b"of another"[..]));
}

/// A store that lacks its first segment is refused; a segment that was only being made must not be removed on the way.
#[test]
fn a_folder_that_was_refused_had_lost_a_file() {
    let disk = SimulatedDisk::new();
    let settings = FileSettings::default().segment_bytes(4096);
    let open = || Store::open(FileJournal::on(Arc::new(disk.clone()), settings.clone())?);
    let store = open().expect("a store");
    for number in 0..100 {
        store
            .append(&order(number), Expected::Any, events(1))
            .expect("appended");
        store.wait_durable(store.visible()).expect("durable");
    }
    drop(store);
    disk.remove("00000000000000000001.segment").expect("removed");
    let unborn = "00000000000000000999.segment";
    disk.put(unborn, &[0; 64]);
    assert!(matches!(open(), Err(Error::Corrupt { .. })));
    assert!(disk.bytes(unborn).is_some());
}

#[test]
fn the_longest_append_comes_back_whole() {
    let folder = TempFolder::new();
    let mut settings = Settings::default();
    settings.limits.batch_events_max = 100_000;
    let journal = FileJournal::open(folder.path()).expect("a journal");
    let store = Store::builder()
        .settings(settings)
        .journal(journal)
        .open()
        .expect("a store");
    let appended = store
        .append(&order(1), Expected::NoStream, events(100_000))
        .expect("appended");
    assert_eq!(appended.last_position, Position(100_000));
    store.close().expect("closed");
    drop(store);
    assert_eq!(open(&folder).read_stream("order-1").events().len(), 100_000);
}

#[test]
fn many_stores_live_side_by_side() {
    let folder = TempFolder::new();
    let url = |number: u32| format!("file:{}/{number}?durability=synced", folder.path().display());
    let stores: Vec<_> = (0..300)
        .map(|number| Store::open_url(&url(number)).expect("a store"))
        .collect();
    for (number, store) in (0..).zip(&stores) {
        store
            .append(&order(number), Expected::Any, events(2))
            .expect("appended");
    }
    drop(stores);
    for number in 0..300 {
        let store = Store::open_url(&url(number)).expect("a store");
        assert_eq!(store.read_stream(&format!("order-{number}")).events().len(), 2);
    }
}
