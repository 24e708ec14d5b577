//! Names that are personal: declared kinds are stored as pseudonyms.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::cqrs::{
    Codec, CommandError, Context, Decided, Decision, Decisions, Delivered, Group, LoadError, NameKind, Processors,
    SnapshotPolicy, Together, TypedEvents,
};
use annals::{EventRef, Field, Filter, ListQuery, Query, Store, StreamId, Version};
use uuid::Uuid;

use super::*;

const MAIL: &str = "anna.q@example.org";
const ID: &str = "customer-anna.q@example.org";

/// The subject of all is the mail address: as user, in aggregate ids, tags and correlations.
fn declared() -> Personal {
    Personal::new()
        .event(
            "Registered",
            Subject::aggregate(),
            ["/name", "/email", "/phones/*/number", "/customer"],
        )
        .event("Moved", Subject::aggregate(), ["/address"])
        .redacted("Registered", "/email", Redacted::Null)
        .redacted(
            "Moved",
            "/address",
            Redacted::Value(serde_json::json!({ "street": "-" })),
        )
        .name(NameKind::User, "")
        .name(NameKind::Aggregate, "customer-")
        .name(NameKind::Correlation, "visit-of-")
        .name(NameKind::Tag, "mail:")
}

fn codec(vault: &Vault) -> Protected {
    Protected::new(vault, declared())
}

fn context() -> Context {
    Context::new()
        .user(MAIL)
        .correlation(format!("visit-of-{MAIL}"))
        .causation("click")
}

fn named(store: &Store, vault: &Vault) -> Customers {
    Aggregates::with_codec(store, codec(vault)).with_context(context())
}

/// No name, tag, payload, snapshot or digest has the mail address.
fn assert_hidden(vault: &Vault) {
    let findings = vault
        .verify_erasure(&[MAIL, "anna.q", NAME, ADDRESS], None)
        .expect("a scan");
    assert!(findings.is_clean() && findings.events > 0, "{findings:?}");
}

#[test]
fn a_declared_name_is_stored_in_clear() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = named(&store, &vault).snapshots(SnapshotPolicy::every(2));
    for command in [
        CustomerCommand::Register,
        CustomerCommand::Move(ADDRESS.to_owned()),
        CustomerCommand::Order(3),
    ] {
        customers.execute(ID, &command).expect("a command");
    }
    customers.save_snapshot(ID).expect("a snapshot");
    let id = Uuid::from_u128(9);
    for _ in 0..2 {
        let once = customers
            .execute_once(id, ID, &CustomerCommand::Order(4))
            .expect("once");
        assert_eq!(once.version, Version(4));
    }
    Together::new(&store)
        .execute(|work| work.execute(&customers, ID, &CustomerCommand::Order(5)))
        .expect("a command");
    assert_hidden(&vault);
    for field in [Field::User, Field::Aggregate, Field::Correlation, Field::Tag] {
        let list = store.list(&ListQuery::of(field)).expect("a list");
        assert!(!format!("{list:?}").contains("anna"), "{list:?}");
    }

    // By the name and by the pseudonym.
    let stored = codec(&vault).name(NameKind::Aggregate, ID).expect("a pseudonym");
    assert!(stored.starts_with("customer-anon-") && stored.len() == 46, "{stored}");
    for id in [ID, &stored] {
        assert_eq!(customers.load(id).expect("it decodes").state.orders, 3);
        assert_eq!(
            customers.load_version(id, Version(1)).expect("it decodes").state.name,
            NAME
        );
        assert_eq!(
            customers.load_as_of(id, store.visible()).expect("it decodes").version,
            Version(5)
        );
    }
    assert!(matches!(
        customers.load_version(ID, Version(9)),
        Err(LoadError::NoSuchVersion { aggregate_id, last: Version(5), .. }) if *aggregate_id == *stored
    ));
    assert_eq!(store.read_stream(&stored).events().len(), 5);
    let event = &store.read_stream(&stored).events()[0];
    let name = |kind, name: &str| codec(&vault).name(kind, name).expect("a pseudonym");
    assert_eq!(event.user_id(), Some(name(NameKind::User, MAIL).as_str()));
    assert_eq!(
        event.correlation_id(),
        Some(name(NameKind::Correlation, &format!("visit-of-{MAIL}")).as_str())
    );
    assert_eq!(event.causation_id(), Some("click"));
    // Nothing tells from two pseudonyms that they are of one name.
    let digits = |name: &str| name[name.len() - 32..].to_owned();
    assert_ne!(digits(event.user_id().expect("a user")), digits(event.aggregate_id()));
}

#[test]
fn a_pseudonym_is_hidden_once_more() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = named(&store, &vault);
    customers.execute(ID, &CustomerCommand::Register).expect("a command");
    let event = store.read_all().events().remove(0);
    // A reaction takes the names from the event.
    let reaction = customers.with_context(Context::caused_by(&event));
    reaction
        .execute(event.aggregate_id(), &CustomerCommand::Order(1))
        .expect("a command");
    let events = store.read_all().events();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].aggregate_id(), events[0].aggregate_id());
    assert_eq!(
        (events[1].user_id(), events[1].correlation_id()),
        (event.user_id(), event.correlation_id())
    );
    assert_eq!(customers.load(ID).expect("it decodes").state.orders, 1);
    let stored = codec(&vault)
        .stored_name(NameKind::User, "anon-0123456789abcdef0123456789abcdef")
        .expect("it stays");
    assert_eq!(stored, "anon-0123456789abcdef0123456789abcdef");
    // What only looks alike is a name.
    for name in [
        "anon-0123456789ABCDEF0123456789abcdef",
        "anon-",
        "anon-0123456789abcdef0123456789abcdef0",
    ] {
        assert_ne!(codec(&vault).name(NameKind::User, name).expect("a pseudonym"), name);
    }
}

#[test]
fn personal_fields_of_a_pseudonym_get_a_key_of_their_own() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = named(&store, &vault);
    customers.execute(ID, &CustomerCommand::Register).expect("a command");
    let stored = codec(&vault).name(NameKind::Aggregate, ID).expect("a pseudonym");
    let error = customers
        .execute(&stored, &CustomerCommand::Move(ADDRESS.to_owned()))
        .expect_err("no subject");
    assert!(
        error.to_string().contains("execute the command with the name"),
        "{error}"
    );
    customers
        .execute(ID, &CustomerCommand::Move(ADDRESS.to_owned()))
        .expect("a command");
    // The subject of fields and names is the same one.
    let receipt = vault.erase(MAIL).expect("an erasure");
    assert_eq!(
        (receipt.events, receipt.names_in_clear, receipt.is_complete()),
        (2, 0, true)
    );
    assert_eq!(customers.load(&stored).expect("it decodes").state.name, "[erased]");
}

#[test]
fn an_erased_name_leads_to_its_events() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = named(&store, &vault);
    customers.execute(ID, &CustomerCommand::Register).expect("a command");
    let stored = codec(&vault).name(NameKind::Aggregate, ID).expect("a pseudonym");
    vault.erase(MAIL).expect("an erasure");
    let load = customers.load(ID).expect_err("it is erased").to_string();
    let execute = customers
        .execute(ID, &CustomerCommand::Order(1))
        .expect_err("it is erased")
        .to_string();
    let other = customers
        .execute("order-1", &CustomerCommand::Order(1))
        .expect_err("its user is erased")
        .to_string();
    for error in [load, execute, other] {
        assert!(
            error.contains("the subject was erased (generation 1)") && !error.contains("anna"),
            "{error}"
        );
    }
    assert_eq!(customers.load(&stored).expect("it decodes").state.name, "[erased]");
    assert!(codec(&vault).query(Query::all().user(MAIL)).is_err());
    assert_eq!(store.read_stream(&stored).events().len(), 1);
    assert_hidden(&vault);
    // A new generation has another pseudonym.
    vault.reopen(MAIL).expect("a new generation");
    customers.execute(ID, &CustomerCommand::Register).expect("a command");
    assert_ne!(
        codec(&vault).name(NameKind::Aggregate, ID).expect("a pseudonym"),
        stored
    );
    assert_eq!(customers.load(ID).expect("it decodes").version, Version(1));
}

#[test]
fn other_names_are_hidden() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let codec = Protected::new(
        &vault,
        Personal::new()
            .name(NameKind::Aggregate, "customer-")
            .name(NameKind::Aggregate, "customer-of-shop-7-")
            .name(NameKind::Tag, "mail:"),
    );
    for (kind, name) in [
        (NameKind::Aggregate, "order-1"),
        (NameKind::Aggregate, "customer-"),
        (NameKind::Aggregate, "a-customer-anna"),
        (NameKind::Tag, "customer-anna"),
        (NameKind::User, "mail:anna"),
    ] {
        assert_eq!(codec.name(kind, name).expect("it stays"), name);
    }
    // The longest prefix counts.
    let long = codec
        .name(NameKind::Aggregate, "customer-of-shop-7-anna")
        .expect("a pseudonym");
    let short = codec.name(NameKind::Aggregate, "customer-anna").expect("a pseudonym");
    assert!(long.starts_with("customer-of-shop-7-anon-"), "{long}");
    assert_eq!(
        long[long.len() - 32..],
        short[short.len() - 32..],
        "one subject, one kind, one name"
    );
}

/// Notes once for a mail address that it was seen.
struct See;

impl Decision for See {
    type State = u64;
    type Event = CustomerEvent;
    type Rejection = String;

    fn query(&self) -> Query {
        Query::all().tag(format!("mail:{MAIL}")).user(MAIL)
    }

    fn initial(&self) -> u64 {
        0
    }

    fn evolve(&self, seen: &mut u64, _: CustomerEvent, _: EventRef<'_>) {
        *seen += 1;
    }

    fn decide(&self, seen: &u64) -> Result<Vec<Decided<CustomerEvent>>, String> {
        if *seen > 0 {
            return Err("it was seen".to_owned());
        }
        let event = |amount| Decided::new(StreamId::new("Customer", ID), CustomerEvent::Ordered { amount });
        Ok(vec![event(1).tag(format!("mail:{MAIL}")).tag("shop:7"), event(2)])
    }
}

#[test]
fn a_decision_queries_by_the_name_itself() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let decisions = Decisions::with_codec(&store, codec(&vault)).with_context(context());
    decisions.execute(&See).expect("the first");
    let error = decisions.execute(&See).expect_err("it was seen").to_string();
    assert!(error.contains("it was seen"), "{error}");
    assert_hidden(&vault);
    let events = store.read_all().events();
    assert_eq!(events[0].aggregate_id(), events[1].aggregate_id());
    assert!(events[0].tags().any(|tag| tag == "shop:7"));
    let query = codec(&vault)
        .query(Query::all().tag(format!("mail:{MAIL}")))
        .expect("a query");
    assert_eq!(store.query(query).events().expect("it runs").len(), 1);
    vault.erase(MAIL).expect("an erasure");
    let error = decisions.execute(&See).expect_err("it is erased").to_string();
    assert!(
        error.contains("the subject was erased") && !error.contains("anna"),
        "{error}"
    );
    assert_eq!(store.read_stream(events[0].aggregate_id()).events().len(), 2);
}

#[test]
fn a_receipt_misses_a_name_with_a_prefix() {
    let store = Store::in_memory();
    let vault = vault(&store);
    // Not declared: in clear.
    let customers = Aggregates::<Customer, _>::with_codec(&store, Protected::new(&vault, personal()));
    for id in [
        "customer-berta",
        "berta",
        "customer-roberta",
        "bertas-shop",
        "shop/berta/7",
    ] {
        customers.execute(id, &CustomerCommand::Order(1)).expect("a command");
    }
    let receipt = vault.erase("berta").expect("an erasure");
    assert_eq!((receipt.names_in_clear, receipt.clear_positions), (3, vec![1, 2, 5]));
}

#[cfg(feature = "audit")]
#[test]
fn a_record_of_a_command_has_a_declared_name_in_clear() {
    use annals::cqrs::audit::CommandLog;
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = CommandLog::new(&store).aggregates(&named(&store, &vault));
    customers.execute(ID, &CustomerCommand::Order(1)).expect("a command");
    let record = |number: usize| {
        store
            .query(Query::all().event_type("$command").include_system())
            .events()
            .expect("it runs")[number]
            .clone()
    };
    let event = &store.read_all().events()[0];
    assert_eq!(record(0).user_id(), event.user_id());
    assert!(String::from_utf8_lossy(record(0).data()).contains(event.aggregate_id()));
    vault.erase(MAIL).expect("an erasure");
    customers
        .execute(ID, &CustomerCommand::Order(1))
        .expect_err("it is erased");
    assert_eq!(record(1).user_id(), None);
    assert_hidden(&vault);
}

#[test]
fn an_error_or_debug_text_has_the_declared_name() {
    let (store, other) = (Store::in_memory(), Store::in_memory());
    let vault = vault(&store);
    let customers = named(&store, &vault);
    customers.execute(ID, &CustomerCommand::Register).expect("a command");
    let mut texts = vec![
        customers
            .save_snapshot(ID)
            .expect_err("it has no snapshots")
            .to_string(),
    ];
    let of_other = Together::new(&other).execute(|work| work.execute(&customers, ID, &CustomerCommand::Order(1)));
    texts.push(of_other.expect_err("another store").to_string());
    Together::new(&store)
        .execute(|work| {
            work.execute(&customers, ID, &CustomerCommand::Order(1))?;
            texts.push(format!("{work:?}"));
            Ok::<(), CommandError<String>>(())
        })
        .expect("a command");
    let twice = Together::new(&store).execute(|work| {
        work.execute(&customers, ID, &CustomerCommand::Order(1))?;
        work.execute(&customers, ID, &CustomerCommand::Order(1))
    });
    texts.push(twice.expect_err("one aggregate twice").to_string());
    for text in texts {
        assert!(!text.contains("anna"), "{text}");
        assert!(text.contains("customer-anon-"), "{text}");
    }
}

#[test]
fn a_pseudonym_is_hidden_once_more_under_a_prefix_of_itself() {
    let store = Store::in_memory();
    let vault = vault(&store);
    for prefixes in [
        ["", "a"],
        ["", "anon-"],
        ["customer-", "customer-a"],
        ["customer-", "customer-anon-"],
    ] {
        let personal = prefixes.iter().fold(Personal::new(), |personal, prefix| {
            personal.name(NameKind::Aggregate, prefix)
        });
        let codec = Protected::new(&vault, personal);
        for name in ["customer-berta", "customer-anna", "bob", "anon-", "anna"] {
            let stored = codec.name(NameKind::Aggregate, name).expect("a pseudonym");
            let again = codec.name(NameKind::Aggregate, &stored).expect("a pseudonym");
            assert_eq!(again, stored, "{prefixes:?} {name}");
        }
    }
}

/// It has the codec, so it knows the stored names.
#[test]
fn typed_events_find_nothing_by_a_declared_name() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = named(&store, &vault);
    customers.execute(ID, &CustomerCommand::Register).expect("a command");
    let events = TypedEvents::<CustomerEvent, _>::with_codec(codec(&vault));
    let stored = codec(&vault).name(NameKind::Aggregate, ID).expect("a pseudonym");
    for id in [ID, &stored] {
        assert_eq!(events.read_stream(&store, id).expect("it decodes").len(), 1);
        let query = events.all().aggregate(id).user(MAIL);
        assert_eq!(events.query(&store, query.clone()).expect("it decodes").len(), 1);
        events.check(&store, query).expect("a path");
    }
    vault.erase(MAIL).expect("an erasure");
    let errors = [
        events.read_stream(&store, ID).expect_err("it is erased"),
        events.query(&store, events.all().user(MAIL)).expect_err("it is erased"),
        events.check(&store, events.all().user(MAIL)).expect_err("it is erased"),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(
            text.contains("the subject was erased (generation 1)") && !text.contains("anna"),
            "{text}"
        );
    }
    assert_eq!(events.read_stream(&store, &stored).expect("it decodes").len(), 1);
}

#[test]
fn a_processor_receives_nothing_by_a_declared_name() {
    let store = Store::in_memory();
    let vault = vault(&store);
    named(&store, &vault)
        .execute(ID, &CustomerCommand::Register)
        .expect("a command");
    let events = TypedEvents::<CustomerEvent, _>::with_codec(codec(&vault));
    let query = || events.all().user(MAIL).aggregate(ID);
    let group = Group::<CustomerEvent>::builder(&store, "letters")
        .events(&events)
        .query(query());
    let group = group.open().expect("a group");
    let received = group.try_receive().expect("it runs").expect("an event");
    received.ack().expect("it is leased");

    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let handler = move |_: Delivered<'_, CustomerEvent>| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let processors = Processors::new(&store);
    let subscription = processors.subscribe("mails", handler).events(&events).query(query());
    let subscription = subscription.start().expect("it starts");
    subscription.when_caught_up(Duration::from_secs(30)).expect("it runs");
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    vault.erase(MAIL).expect("an erasure");
    let group = Group::<CustomerEvent>::builder(&store, "others")
        .events(&events)
        .query(query());
    let error = group.open().expect_err("it is erased").to_string();
    assert!(
        error.contains("the subject was erased") && !error.contains("anna"),
        "{error}"
    );
}

#[test]
fn a_load_by_a_name_that_is_new_creates_keys() {
    let folder = crate::support::TempFolder::new();
    let path = folder.path().join("keys");
    let store = Store::in_memory();
    let vault = vault_in(
        &store,
        annals::cqrs::erasure::KeyFile::create(&path).expect("a key file"),
    );
    let customers = named(&store, &vault).snapshots(SnapshotPolicy::every(2));
    let before = std::fs::read(&path).expect("the key file");
    assert_eq!(customers.load(ID).expect("nothing is there").version, Version(0));
    assert_eq!(
        customers
            .load_as_of(ID, store.visible())
            .expect("nothing is there")
            .version,
        Version(0)
    );
    assert_eq!(customers.save_snapshot(ID), Ok(None));
    let error = customers
        .load_version(ID, Version(1))
        .expect_err("nothing is there")
        .to_string();
    assert!(error.contains("has no version 1") && !error.contains("anna"), "{error}");
    let events = TypedEvents::<CustomerEvent, _>::with_codec(codec(&vault));
    assert_eq!(events.read_stream(&store, ID).expect("nothing is there").len(), 0);
    assert!(std::fs::read(&path).expect("the key file") == before);
    customers.execute(ID, &CustomerCommand::Order(1)).expect("a command");
    assert_eq!(customers.load(ID).expect("it decodes").version, Version(1));
}

#[test]
fn a_prefix_of_names_that_are_pseudonyms_found_others_or_nothing() {
    let store = Store::in_memory();
    let vault = vault(&store);
    for (field, kind) in [
        (Field::User, NameKind::User),
        (Field::Aggregate, NameKind::Aggregate),
        (Field::Correlation, NameKind::Correlation),
        (Field::Tag, NameKind::Tag),
    ] {
        for filter in [
            Filter::prefix(field.clone(), "anna"),
            Filter::not(Filter::prefix(field.clone(), "anna")),
            Filter::Any(vec![Filter::prefix(field.clone(), "")]),
        ] {
            let refused = codec(&vault)
                .query(Query::all().filter(filter))
                .expect_err("it cannot be found");
            assert_eq!(refused, annals::cqrs::CodecError::HiddenNames { kind });
            assert!(!refused.to_string().contains("anna"), "{refused}");
        }
    }
    let plain = Query::all().filter(Filter::not(Filter::prefix(Field::EventType, "Mov")));
    assert_eq!(codec(&vault).query(plain.clone()).expect("types are no names"), plain);
}
