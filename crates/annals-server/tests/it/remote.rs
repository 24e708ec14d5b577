//! The client in Rust, against servers over sockets: it returns what a store in the same process returns.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use annals::{
    Append, Condition, Conflict, Delivery, Durability, Error, Event, Expected, Field, Filter, JsonValue, NewEvent,
    NewSnapshot, Order, Position, Query, Store, StreamId, Timestamp, Version,
};
use annals_server::{Client, ClientError, Role, Server, Token};

use crate::support::Running;

const SECRET: &str = "a-token-of-the-tests-alone";

pub(crate) fn client_of(server: &Running) -> Client {
    Client::new(&format!("http://{}", server.address)).unwrap()
}

fn order(id: &str) -> StreamId {
    StreamId::new("Order", id)
}

pub(crate) fn events(found: impl Iterator<Item = Result<Event, ClientError>>) -> Vec<Event> {
    found.map(Result::unwrap).collect()
}

/// A store with some events, its server, and a client.
fn three() -> (Store, Running, Client) {
    let letter = |event: annals::EventRef<'_>, found: &mut Vec<annals::Name>| {
        found.extend(event.event_type().get(..1).map(Into::into));
    };
    let store = Store::builder().indexer("letter", letter).open().unwrap();
    let paid = |amount: &str| NewEvent::new("Paid").data(format!(r#"{{"amount":{amount},"by":"card"}}"#));
    let list = [
        NewEvent::new("Placed").user("anna").correlation("c-1").tag("new"),
        paid("250").user("bob").correlation("c-1").causation("x"),
        paid("123456789012345678901234567890").user("anna").organization("o"),
    ];
    store.append(&order("1"), Expected::NoStream, &list[..]).unwrap();
    store.append(&order("2"), Expected::NoStream, &list[..1]).unwrap();
    store
        .append(
            &StreamId::new("Cart", "3/ü ?#%."),
            Expected::Any,
            vec![
                NewEvent::new("Filled")
                    .data([0_u8, 1, 255].to_vec())
                    .content_type("image/png".into()),
            ],
        )
        .unwrap();
    let server = Running::of(store.clone());
    let client = client_of(&server);
    (store, server, client)
}

#[test]
fn events_are_those_of_the_store() {
    let (store, _server, client) = three();
    let all = store.read_all().events();
    assert_eq!(events(client.read_all(Position(0))), all);
    assert_eq!(events(client.read_all(Position(2))), all[2..]);
    assert_eq!(events(client.read_stream("1", Version(2))), all[1..3]);
    assert_eq!(events(client.read_stream("3/ü ?#%.", Version(0))), all[4..]);
    assert_eq!(events(client.read_stream("absent", Version(0))), []);
    assert_eq!(client.event_at(Position(2)).unwrap().as_ref(), Some(&all[1]));
    assert_eq!(client.event(all[4].id()).unwrap().as_ref(), Some(&all[4]));
    assert_eq!(client.event_at(Position(9)).unwrap(), None);
    let state = client.state().unwrap();
    assert_eq!(
        (state.visible, state.stats.events, state.ephemeral),
        (Position(5), 5, true)
    );
}

fn filters() -> Vec<Filter> {
    let large = JsonValue::parse("123456789012345678901234567890").unwrap();
    vec![
        Filter::is(Field::EventType, "Paid"),
        Filter::one_of(Field::User, ["anna", "unknown-user"]),
        Filter::is(Field::AggregateType, "Cart"),
        Filter::is(Field::Aggregate, "3/ü ?#%."),
        Filter::is(Field::Correlation, "c-1"),
        Filter::is(Field::Causation, "x"),
        Filter::is(Field::Organization, "o"),
        Filter::is(Field::Tag, "new"),
        Filter::is(Field::Day, "1999-12-31"),
        Filter::is(Field::Index("letter".into()), "P"),
        Filter::prefix(Field::User, "a"),
        Filter::not(Filter::is(Field::User, "anna")),
        Filter::not(Filter::prefix(Field::EventType, "Pl")),
        Filter::Data("/amount".to_owned(), 250.into()),
        Filter::Data("/amount".to_owned(), large),
        Filter::Metadata("/ip".to_owned(), "::1".into()),
        Filter::Text("card".to_owned()),
    ]
}

#[test]
fn every_filter_selects_what_it_selects_in_the_store() {
    let (store, _server, client) = three();
    let nested = [
        Filter::All(filters()),
        Filter::Any(filters()),
        Filter::not(Filter::Any(filters()[4..8].to_vec())),
        Filter::versions(..Version(2)),
        Filter::versions(Version(3)..Version(3)),
        Filter::positions(Position(2)..=Position(4)),
        Filter::times(Timestamp::from_micros(0)..),
        Filter::times(..Timestamp::from_micros(0)),
        Filter::one_of(Field::User, Vec::<&str>::new()),
    ];
    for filter in filters() {
        let query = Query::all().filter(filter);
        let found = store.query(query.clone()).events().unwrap();
        assert_eq!(events(client.query(query.clone())), found, "{query:?}");
        assert_eq!(client.count(&query).unwrap(), found.len() as u64, "{query:?}");
    }
    for filter in nested {
        let query = Query::all().filter(filter);
        let found = store.query(query.clone()).events().unwrap();
        assert_eq!(events(client.query(query.clone())), found, "{query:?}");
        let counted = client.count(&query);
        assert!(
            matches!(counted, Err(ClientError::Store(Error::Unsupported { .. }))),
            "{query:?}"
        );
    }
}

#[test]
fn a_count_took_two_filters_on_one_field_for_alternatives() {
    let (_store, _server, client) = three();
    let both = Query::all().user("anna").user("bob");
    assert_eq!(events(client.query(both.clone())), []);
    assert!(matches!(
        client.count(&both),
        Err(ClientError::Store(Error::Unsupported { .. }))
    ));
    let fields = Query::all().user("anna").event_type("Paid").data("/by", "card");
    assert_eq!(client.count(&fields).unwrap(), 1);
}

#[test]
fn order_limit_past_and_range_are_those_of_the_query() {
    let (store, _server, client) = three();
    let all = Query::all();
    for query in [
        all.clone().order(Order::PositionDescending),
        all.clone().order(Order::Time).limit(2),
        all.clone().order(Order::TimeDescending).limit(9),
        all.clone().limit(3).after(Position(1)),
        all.clone().until(Position(2)),
        all.clone().as_of(Position(3)),
        all.clone().as_of(Timestamp::from_micros(0)),
        all.clone().since(Timestamp::MAX),
        all.clone().before(Timestamp::MAX),
        all.include_system(),
    ] {
        let found = store.query(query.clone()).events().unwrap();
        assert_eq!(events(client.query(query.clone())), found, "{query:?}");
    }
    let page = client.page(&Query::all().limit(2)).unwrap();
    let rest = Query::all().cursor(page.next.unwrap().parse().unwrap());
    assert_eq!((page.events.len(), events(client.query(rest)).len()), (2, 3));
}

#[test]
fn more_events_than_a_page_has_are_all_read() {
    let server = Running::new();
    let client = client_of(&server);
    let list: Vec<NewEvent<'_>> = (0..2_500).map(|n| NewEvent::new("X").data(n.to_string())).collect();
    client.append(&order("many"), Expected::NoStream, &list).unwrap();
    let numbers = |found: Vec<Event>| found.iter().map(|event| event.version().0).collect::<Vec<_>>();
    let expected: Vec<u64> = (1..=2_500).collect();
    assert_eq!(numbers(events(client.read_all(Position(0)))), expected);
    assert_eq!(numbers(events(client.read_stream("many", Version(0)))), expected);
    assert_eq!(
        numbers(events(client.query(Query::all().limit(1_700)))),
        expected[..1_700]
    );
}

#[test]
fn a_conflict_has_both_versions() {
    let server = Running::new();
    let client = client_of(&server);
    let (stream, list) = (order("1"), [NewEvent::new("Placed")]);
    let appended = client.append(&stream, Expected::NoStream, &list).unwrap();
    assert_eq!(
        (appended.last_version, appended.last_position),
        (Version(1), Position(1))
    );
    for expected in [Expected::NoStream, Expected::exactly(7)] {
        let refused = client.append(&stream, expected, &list).unwrap_err();
        let conflict = Conflict::Version {
            stream: stream.clone(),
            expected,
            actual: Version(1),
            position: Position(1),
        };
        assert_eq!(refused.conflict(), Some(&conflict));
        assert_eq!(refused.to_string(), conflict.to_string());
    }
    client.append(&stream, Expected::exactly(1), &list).unwrap();
    client.append(&stream, Expected::StreamExists, &list).unwrap();
    assert_eq!(client.count(&Query::all()).unwrap(), 3);
}

#[test]
fn an_append_is_repeated_by_the_ids_of_its_events() {
    let server = Running::new();
    let client = client_of(&server);
    let known = NewEvent::new("Placed").id(uuid::Uuid::from_u128(7));
    let first = client
        .append(&order("1"), Expected::Any, std::slice::from_ref(&known))
        .unwrap();
    let again = client
        .append(&order("1"), Expected::Any, std::slice::from_ref(&known))
        .unwrap();
    assert_eq!((again.repeated, again.last_position), (true, first.last_position));
    let refused = client.append(&order("1"), Expected::Any, &[NewEvent::new("Paid"), known]);
    let conflict = refused.unwrap_err();
    assert!(
        matches!(conflict.conflict(), Some(Conflict::EventKnown { id, version: Version(1), .. }) if id.as_u128() == 7),
        "{conflict}"
    );
}

#[test]
fn several_aggregates_are_all_or_none() {
    let server = Running::new();
    let client = client_of(&server);
    let part = |id: &str, expected| Append::new(order(id), expected, vec![NewEvent::new("Moved")]);
    let parts = [part("1", Expected::NoStream), part("2", Expected::Any)];
    assert_eq!(client.append_all(&parts).unwrap().len(), 2);
    let refused = client.append_all(&[part("3", Expected::Any), part("1", Expected::NoStream)]);
    let refused = refused.unwrap_err();
    assert!(matches!(refused.conflict(), Some(Conflict::Version { stream, .. }) if *stream == order("1")));
    let free = Condition::none(Query::all().event_type("Moved"));
    let refused = client.append_if(&free, &[part("4", Expected::Any)]).unwrap_err();
    assert_eq!(refused.conflict(), Some(&Conflict::Condition { position: Position(1) }));
    let since = Condition::none_after(Query::all().event_type("Moved"), Position(2));
    client.append_if(&since, &[part("4", Expected::Any)]).unwrap();
    assert_eq!(client.count(&Query::all()).unwrap(), 3);
}

#[test]
fn refusals_of_the_store_are_its_errors() {
    let store = Store::in_memory();
    let server = Running::of(store.clone());
    let client = client_of(&server);
    let list = [NewEvent::new("Placed")];
    client.append(&order("1"), Expected::Any, &list).unwrap();
    store.tombstone("1", Expected::Any).unwrap();
    let refused = client.append(&order("1"), Expected::Any, &list).unwrap_err();
    assert_eq!(
        refused,
        ClientError::Store(Error::Deleted {
            aggregate_id: "1".into()
        })
    );
    let other = StreamId::new("Other", "2");
    client.append(&order("2"), Expected::Any, &list).unwrap();
    for (stream, list) in [(&other, &list[..]), (&other, &[])] {
        let refused = client.append(stream, Expected::Any, list);
        assert!(
            matches!(refused, Err(ClientError::Store(Error::Invalid { .. }))),
            "{refused:?}"
        );
    }
}

#[test]
fn a_token_is_sent_and_never_shown() {
    let token = Token::new(Role::Read, SECRET).unwrap();
    let server = Server::builder(Store::in_memory()).tokens([token]);
    let server = Running::built(server, Duration::from_secs(30));
    let (without, with) = (client_of(&server), client_of(&server).token(SECRET).unwrap());
    let refused = |result: Result<u64, ClientError>| match result {
        Err(ClientError::Refused(refusal)) => (refusal.status, refusal.name),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(without.count(&Query::all())), (401, "unauthorized".to_owned()));
    assert_eq!(with.count(&Query::all()).unwrap(), 0);
    let append = with.append(&order("1"), Expected::Any, &[NewEvent::new("X")]);
    assert_eq!(refused(append.map(|_| 0)), (403, "forbidden".to_owned()));
    assert!(!format!("{with:?}").contains(SECRET));
    assert!(client_of(&server).token("a\r\nHost: b").is_err());
}

#[test]
fn a_namespace_is_a_store_of_its_own() {
    let server = Running::for_tests();
    let client = client_of(&server).namespace("a-b");
    client
        .append(&order("1"), Expected::Any, &[NewEvent::new("X")])
        .unwrap();
    assert_eq!(client.count(&Query::all()).unwrap(), 1);
    assert_eq!(client_of(&server).count(&Query::all()).unwrap(), 0);
    let unknown = client_of(&server).namespace("absent").count(&Query::all());
    assert!(matches!(unknown, Err(ClientError::Refused(refusal)) if refusal.name == "unknown-namespace"));
}

#[test]
fn a_durability_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_url(&format!("file:{}", folder.path().display())).unwrap();
    let server = Running::of(store);
    let client = client_of(&server).durability(Durability::Synced);
    let appended = client
        .append(&order("1"), Expected::Any, &[NewEvent::new("X")])
        .unwrap();
    let part = Append::new(order("2"), Expected::Any, vec![NewEvent::new("X")]);
    let both = client.append_all(&[part]).unwrap();
    assert_eq!(
        (appended.durability, both[0].durability),
        (Durability::Synced, Durability::Synced)
    );
    assert_eq!(client.state().unwrap().synced, Some(Position(2)));
}

#[test]
fn a_snapshot_is_saved_and_found() {
    let (_store, _server, client) = three();
    assert_eq!(client.snapshot_until("1", Version(9)).unwrap(), None);
    let bytes = NewSnapshot::new(Version(2))
        .data([0, 255])
        .keep(3)
        .content_type("x/y".into());
    let at = client.save_snapshot("1", &bytes).unwrap();
    client
        .save_snapshot("1", &NewSnapshot::new(Version(3)).keep(3).data("{\n}"))
        .unwrap();
    let found = client.snapshot_until("1", Version(2)).unwrap().unwrap();
    assert_eq!(
        (found.position, found.version, found.data_type),
        (at, Version(2), "x/y".into())
    );
    assert_eq!(found.data, [0, 255]);
    assert_eq!(client.snapshot_until("1", Version(9)).unwrap().unwrap().data, b"{ }");
    assert!(client.save_snapshot("absent", &bytes).is_err());
}

#[test]
fn a_tail_delivers_what_was_and_what_comes() {
    let (store, server, client) = three();
    let mut tail = client.tail(&Query::all().user("anna"), Position(1)).unwrap();
    let mut next = || match tail.next() {
        Some(Ok(Delivery::Event(event))) => (event.position().0, tail.position().0),
        other => panic!("{other:?}"),
    };
    assert_eq!([next(), next()], [(3, 3), (4, 4)]);
    let later = NewEvent::new("Late").user("anna");
    client
        .append(&order("9"), Expected::Any, &[NewEvent::new("Other"), later])
        .unwrap();
    assert_eq!(next(), (7, 7));
    store.delete("9", Expected::Any).unwrap();
    let gap = client.tail(&Query::all(), Position(5)).unwrap().next();
    assert!(matches!(gap, Some(Ok(Delivery::Gap(gap))) if gap.count == 2));
    server.begin_stop();
    assert!(tail.next().is_none());
}

fn copied(client: &Client) -> Store {
    let copied: Result<_, ClientError> = client.copy(Store::builder(), |_, _| Ok(()));
    copied.unwrap()
}

/// What both answer to every question that a copy is asked.
fn assert_same(copy: &Store, store: &Store) {
    assert_eq!(copy.visible(), store.visible());
    let all = Query::all().include_system();
    let (found, expected) = (
        copy.query(all.clone()).page().unwrap(),
        store.query(all).page().unwrap(),
    );
    assert_eq!(found.events, expected.events);
    let missing = |gaps: &[annals::Gap]| gaps.iter().map(|gap| gap.count).sum::<u64>();
    assert_eq!(missing(&found.gaps), missing(&expected.gaps));
    for id in ["1", "2", "3/ü ?#%.", "9"] {
        let (found, expected) = (copy.read_stream(id).events(), store.read_stream(id).events());
        assert_eq!(found, expected, "{id}");
        assert_eq!(copy.snapshot(id), store.snapshot(id), "{id}");
    }
}

#[test]
fn a_copy_answers_what_the_store_answers() {
    let (store, _server, client) = three();
    assert_same(&copied(&client), &store);
    store
        .save_snapshot("1", NewSnapshot::new(Version(2)).data("{}"))
        .unwrap();
    store
        .save_snapshot("1", NewSnapshot::new(Version(3)).data("[]"))
        .unwrap();
    store.truncate_before("1", Version(3)).unwrap();
    store
        .append(&order("9"), Expected::Any, vec![NewEvent::new("X"), NewEvent::new("Y")])
        .unwrap();
    store.delete("9", Expected::Any).unwrap();
    assert_same(&copied(&client), &store);
    store
        .append(&order("9"), Expected::Any, vec![NewEvent::new("Z")])
        .unwrap();
    store.tombstone("2", Expected::Any).unwrap();
    let copy = copied(&client);
    assert_same(&copy, &store);
    let refused = copy.append(&order("7"), Expected::Any, vec![NewEvent::new("X")]);
    assert!(matches!(refused, Err(Error::ReadOnly { .. })), "{refused:?}");
}

#[test]
fn a_copy_of_several_pages_is_whole_and_can_be_stopped() {
    let store = Store::in_memory();
    for number in 0..2_600_u64 {
        let id = (number % 7).to_string();
        store
            .append(&order(&id), Expected::Any, vec![NewEvent::new("X")])
            .unwrap();
    }
    store.delete("3", Expected::Any).unwrap();
    let server = Running::of(store.clone());
    let client = client_of(&server);
    let mut pages = Vec::new();
    let copy: Result<_, ClientError> = client.copy(Store::builder(), |done, end| {
        pages.push((done, end));
        Ok(())
    });
    let copy = copy.unwrap();
    assert_eq!(copy.read_all().events(), store.read_all().events());
    assert_eq!((copy.visible(), pages.len()), (store.visible(), 3));
    let stop = |_, _| Err(ClientError::Store(Error::Closed));
    assert!(client.copy(Store::builder(), stop).is_err());
}

#[test]
fn a_copy_of_nothing_is_empty() {
    let server = Running::new();
    assert_eq!(copied(&client_of(&server)).stats().events, 0);
}

#[test]
fn an_address_that_is_none_is_refused() {
    for url in [
        "",
        "127.0.0.1:4280",
        "ftp://a",
        "http://",
        "https://",
        "http://u:p@a",
        "http://a?b",
        "http://a#b",
    ] {
        let refused = Client::new(url);
        assert!(
            matches!(refused, Err(ClientError::Store(Error::Invalid { .. }))),
            "{url}"
        );
    }
}

/// A client of a server that gives these answers, each on a connection of its own.
fn scripted(answers: &[&str]) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
    std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            drop((&stream).write_all(answer.as_bytes()));
        }
    });
    Client::new(&url).unwrap()
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn an_answer_that_is_none_was_taken_for_one() {
    for body in [
        "",
        "[1]",
        "5",
        "null",
        "{}",
        "<html>",
        &"[".repeat(200_000),
        "{\"count\":-1}",
    ] {
        let found = scripted(&[&answer("200 OK", body)]).count(&Query::all());
        assert!(matches!(found, Err(ClientError::Answer { .. })), "{found:?}");
        let found = scripted(&[&answer("500 Oh", body)]).count(&Query::all());
        assert!(matches!(found, Err(ClientError::Refused(refusal)) if refusal.status == 500));
    }
    let short = answer("200 OK", "{\"count\":1}").replace("Length: 11", "Length: 99");
    for text in [&*short, "", "HTTP/1.1 200", "nonsense\r\n\r\n"] {
        let found = scripted(&[text]).count(&Query::all());
        assert!(
            matches!(found, Err(ClientError::Unreachable { .. })),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn a_redirection_got_the_token() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let there = format!(
        "HTTP/1.1 307 Elsewhere\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        elsewhere.local_addr().unwrap()
    );
    let client = scripted(&[&there]).token(SECRET).unwrap();
    let refused = client.count(&Query::all());
    assert!(matches!(refused, Err(ClientError::Refused(refusal)) if refusal.status == 307));
    assert!(elsewhere.accept().is_err());
}

#[test]
fn a_server_that_repeats_a_page_was_read_for_ever() {
    let page = answer("200 OK", r#"{"events":[],"asOf":9,"gaps":[],"next":"p1"}"#);
    let client = scripted(&[&page]);
    let mut found = client.read_all(Position(0));
    assert!(matches!(found.next(), Some(Err(ClientError::Answer { .. }))));
    assert!(found.next().is_none());
}
