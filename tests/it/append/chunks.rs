//! Events at the borders of chunks: long names, many tags, payloads around the size that is kept alone, batches longer than a chunk.

use annals::journal::file::FileJournal;
use annals::{Expected, Limits, NewEvent, Query, Settings, Store};

use crate::support::{TempFolder, found, stream, with_limits};

fn limits() -> Limits {
    Limits::default().name_bytes_max(1024)
}

/// The same text as every name of an event.
fn same(text: &str, payload: usize) -> NewEvent<'static> {
    let mut event = NewEvent::new(text.to_owned())
        .user(text.to_owned())
        .correlation(text.to_owned())
        .causation(text.to_owned())
        .organization(text.to_owned())
        .metadata(vec![1; payload / 2])
        .data(vec![2; payload - payload / 2]);
    for number in 0..32 {
        event = event.tag(if number == 7 {
            text.to_owned()
        } else {
            format!("{number}{}", &text[2..])
        });
    }
    event
}

fn text(number: usize) -> String {
    format!("{:x>1024}", number % 60)
}

/// Payloads that end in a block, fill it, and have an allocation of their own.
const PAYLOADS: [usize; 9] = [0, 1, 16_383, 16_384, 16_385, 8_192, 0, 1 << 20, 3];

fn written() -> Vec<(String, NewEvent<'static>)> {
    let payload = |number: usize| if number > 400 { number % 3 } else { PAYLOADS[number % 9] };
    (0..2_500)
        .map(|number| (text(number), same(&text(number), payload(number))))
        .collect()
}

fn check(store: &Store, written: &[(String, NewEvent<'static>)], dropped: impl Fn(&str) -> bool) {
    let want: Vec<_> = written.iter().filter(|(id, _)| !dropped(id)).collect();
    let events = store.read_all().events();
    assert_eq!(events.len(), want.len());
    for (event, (id, new)) in events.iter().zip(&want) {
        assert_eq!(event.aggregate_id(), id);
        let mut got = event.to_new().into_owned();
        (got.id, got.timestamp) = (None, None);
        assert!(got == *new, "the event at {} is another", event.position());
    }
    for number in [0, 1, 33, 59] {
        let text = text(number);
        let of = want.iter().filter(|(id, _)| *id == text).count();
        for query in [
            Query::all().user(text.as_str()),
            Query::all().tag(text.as_str()),
            Query::all().organization(text.as_str()),
            Query::all().correlation(text.as_str()),
            Query::all().causation(text.as_str()),
            Query::all().aggregate(text.as_str()),
            Query::all().tag(format!("31{}", &text[2..])).event_type(text.as_str()),
        ] {
            assert_eq!(found(store, query.clone()).len(), of, "{query:?}");
        }
    }
    let stats = store.stats();
    let bytes: usize = want
        .iter()
        .map(|(_, event)| event.data.len() + event.metadata.len())
        .sum();
    assert_eq!(stats.events, want.len() as u64);
    assert!(stats.payload_bytes >= bytes as u64);
}

fn append(store: &Store, written: &[(String, NewEvent<'static>)]) {
    for (number, (id, event)) in written.iter().enumerate() {
        if number % 600 == 599 {
            drop(store.fork());
        }
        store
            .append(&stream(id), Expected::Any, std::slice::from_ref(event))
            .expect("it is within the limits");
    }
}

#[test]
fn long_names_and_payloads_at_borders_are_what_they_were() {
    let (store, written) = (with_limits(limits()), written());
    append(&store, &written);
    check(&store, &written, |_| false);
    let gone = [text(1), text(59)];
    let fork = store.fork();
    for id in &gone {
        store.delete(id, Expected::Any).expect("it exists");
    }
    for _ in 0..2 {
        check(&store, &written, |id| gone.iter().any(|gone| gone == id));
        check(&fork, &written, |_| false);
        store.compact();
        fork.compact();
    }
    let kept: usize = written
        .iter()
        .filter(|(id, _)| !gone.contains(id))
        .map(|(_, event)| event.data.len() + event.metadata.len())
        .sum();
    let payload = store.stats().payload_bytes;
    assert!(payload < kept as u64 + 4_096, "{payload} bytes for {kept}");
}

#[test]
fn long_names_and_payloads_at_borders_are_recovered() {
    let (folder, written) = (TempFolder::new(), written());
    for round in 0..2 {
        let store = Store::builder()
            .settings(Settings::default().limits(limits()))
            .journal(FileJournal::open(folder.path()).expect("a journal"))
            .open()
            .expect("a store");
        if round == 0 {
            append(&store, &written);
        }
        check(&store, &written, |_| false);
        store.close().expect("it closes");
    }
}

#[test]
fn batches_longer_than_a_chunk_are_whole_beside_forks() {
    let store = Store::in_memory();
    let lengths = [2_047, 1, 2_048, 2_049, 3, 4_096, 5_000, 10_000, 2_040, 9];
    let mut forks = Vec::new();
    for (round, length) in lengths.into_iter().enumerate() {
        let event = |number: usize| {
            let payload = if number.is_multiple_of(97) { 16_383 } else { number % 5 };
            NewEvent::new("Noted")
                .user(format!("u{}", number % 300))
                .tag(format!("t{round}"))
                .data(vec![7; payload])
        };
        let events: Vec<_> = (0..length).map(event).collect();
        let appended = store
            .append(&stream(&format!("a{}", round % 3)), Expected::Any, events)
            .expect("anything goes");
        assert_eq!(appended.last_position.0 - appended.first_position.0 + 1, length as u64);
        forks.push((store.fork(), lengths[..=round].iter().sum::<usize>() as u64));
    }
    forks.push((store, lengths.iter().sum::<usize>() as u64));
    for (store, count) in &forks {
        assert_eq!((store.visible().0, store.stats().events), (*count, *count));
        assert_eq!(store.read_all().events().len() as u64, *count);
        let mut by_tag = 0;
        for (round, length) in lengths.into_iter().enumerate() {
            let tagged = found(store, Query::all().tag(format!("t{round}"))).len();
            assert!(tagged == 0 || tagged == length, "{tagged} of {length}");
            by_tag += tagged as u64;
        }
        assert_eq!(by_tag, *count);
        let users: usize = (0..300)
            .map(|user| found(store, Query::all().user(format!("u{user}"))).len())
            .sum();
        assert_eq!(users as u64, *count);
    }
}
