//! Fields of events: encrypted before they are stored, bound to their event, and redacted after an erasure.

use annals::cqrs::erasure::{KeyError, MemoryKeys, Personal, Protected, Redacted, Subject, Vault};
use annals::cqrs::{Codec, CodecError, CommandError, Encoded, Json, LoadError, NewEventId, TypedEvents, Upcasters};
use annals::{Expected, NewEvent, Position, Store, StreamId};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

fn data(store: &Store, position: u64) -> String {
    let event = store.event_at(Position(position)).expect("an event");
    String::from_utf8(event.data().to_vec()).expect("JSON")
}

#[test]
fn a_personal_field_is_stored_in_clear() {
    let store = Store::in_memory();
    let (vault, id) = (vault(&store), "anna");
    let customers = customers(&store, &vault);
    register(&customers);
    let stored = data(&store, 1);
    for plaintext in PLAINTEXTS {
        assert!(!stored.contains(plaintext) && !data(&store, 2).contains(plaintext));
    }
    // What is not personal stays as it is.
    let value: Value = serde_json::from_str(&stored).expect("JSON");
    assert_eq!(
        (&value["customer"], &value["phones"][0]["kind"]),
        (&json!("anna"), &json!("mobile"))
    );
    assert_eq!(
        (&value["name"]["$erasable"], &value["name"]["generation"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(data(&store, 3), r#"{"amount":3}"#);
    let loaded = customers.load(id).expect("it is readable").state;
    assert_eq!(
        (
            loaded.name.as_str(),
            loaded.email.as_deref(),
            loaded.phones[0].number.as_str()
        ),
        (NAME, Some(EMAIL), PHONE)
    );
    assert_eq!(loaded.address.expect("an address").street, ADDRESS);
}

#[test]
fn an_erased_subject_is_still_readable() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = customers(&store, &vault);
    register(&customers);
    let receipt = vault.erase("anna").expect("an erasure");
    assert_eq!(customers.load("anna").expect("it decodes").state, forgotten());
    assert_eq!(
        (receipt.generation, receipt.events, receipt.first_and_last),
        (1, 2, Some((1, 2)))
    );
    assert_eq!(receipt.aggregates, ["anna"]);
    // The aggregate's id is the subject's name, in clear.
    assert_eq!((receipt.names_in_clear, receipt.is_complete()), (3, false));
    let json = serde_json::to_string(&receipt).expect("it is serializable");
    assert_eq!(
        serde_json::from_str::<annals::cqrs::erasure::Receipt>(&json).expect("it is readable"),
        receipt
    );
    // The aggregate works on.
    customers
        .execute("anna", &CustomerCommand::Order(1))
        .expect("nothing personal");
    assert_eq!(customers.load("anna").expect("it decodes").state.orders, 2);
    // Another subject is not touched.
    let other = customers.execute("berta", &CustomerCommand::Move(ADDRESS.to_owned()));
    assert!(other.is_ok());
    assert_eq!(
        customers
            .load("berta")
            .expect("it decodes")
            .state
            .address
            .expect("one")
            .street,
        ADDRESS
    );
}

#[test]
fn an_event_that_does_not_decode_after_an_erasure_is_stored() {
    let store = Store::in_memory();
    let vault = vault(&store);
    // Null is no text.
    let personal = Personal::new()
        .event("Registered", Subject::field("/customer"), ["/name"])
        .redacted("Registered", "/name", Redacted::Null);
    let customers = annals::cqrs::Aggregates::<Customer, _>::with_codec(&store, Protected::new(&vault, personal));
    let error = customers
        .execute("anna", &CustomerCommand::Register)
        .expect_err("it would be poison");
    let CommandError::Unwritable { error, .. } = error else {
        panic!("{error}");
    };
    assert!(
        error.to_string().contains("after an erasure") && !error.to_string().contains(NAME),
        "{error}"
    );
    assert_eq!(store.visible(), Position(0));
}

#[test]
fn a_value_decodes_in_another_event_or_place() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let codec = Protected::new(&vault, personal());
    let new = NewEventId {
        id: Uuid::from_u128(7),
        aggregate_id: "anna",
    };
    let encoded = codec.encode_new(&registered("anna"), new).expect("it is writable");
    let read = |event_type: &str, data: &[u8], id: u128| {
        codec.decode_of::<CustomerEvent>(event_type, data, Uuid::from_u128(id))
    };
    assert_eq!(
        read("Registered", &encoded.data, 7).expect("it is readable"),
        registered("anna")
    );
    let value: Value = serde_json::from_slice(&encoded.data).expect("JSON");
    let mut swapped = value.clone();
    (swapped["name"], swapped["email"]) = (value["email"].clone(), value["name"].clone());
    let mut rotated = value.clone();
    rotated["name"]["rotation"] = json!(1);
    let mut renewed = value.clone();
    renewed["name"]["generation"] = json!(2);
    let mut longer = value.clone();
    longer["name"]["nonce"] = json!("AAAA");
    let changed = [
        ("another event", value, 8),
        ("another field", swapped, 7),
        ("another rotation", rotated, 7),
    ];
    for (what, value, id) in changed
        .into_iter()
        .chain([("another generation", renewed, 7), ("a short nonce", longer, 7)])
    {
        let error = read("Registered", value.to_string().as_bytes(), id).expect_err(what);
        assert!(
            error.to_string().contains("cannot decrypt the value at '/"),
            "{what}: {error}"
        );
    }
}

/// The stored form of `anna`'s new address.
fn encode_moved(codec: &Protected) -> (Encoded, NewEventId<'static>) {
    let new = NewEventId {
        id: Uuid::from_u128(7),
        aggregate_id: "anna",
    };
    let event = CustomerEvent::Moved {
        address: Address {
            street: ADDRESS.to_owned(),
        },
    };
    (codec.encode_new(&event, new).expect("it is writable"), new)
}

#[test]
fn a_changed_byte_of_a_value_is_not_found() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let codec = Protected::new(
        &vault,
        Personal::new()
            .event("Moved", Subject::aggregate(), ["/address"])
            .redacted("Moved", "/address", Redacted::Value(json!({ "street": "" }))),
    );
    let (encoded, new) = encode_moved(&codec);
    for at in 0..encoded.data.len() {
        let mut data = encoded.data.clone();
        data[at] ^= 1;
        // It is an error, or what is not protected: the names of fields and the form of the JSON.
        if let Ok(read) = codec.decode_of::<CustomerEvent>("Moved", &data, new.id) {
            panic!(
                "byte {at} changed, and it reads as {read:?}: {}",
                String::from_utf8_lossy(&data)
            );
        }
    }
}

#[test]
fn an_error_quotes_personal_data() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Narrow {
        Moved { address: u64 },
    }
    let store = Store::in_memory();
    let vault = vault(&store);
    let codec = Protected::new(&vault, personal());
    let (encoded, new) = encode_moved(&codec);
    let error = codec
        .decode_of::<Narrow>("Moved", &encoded.data, new.id)
        .expect_err("another type");
    assert!(
        !error.to_string().contains(ADDRESS) && error.to_string().contains("withheld"),
        "{error}"
    );
    let shown = format!("{vault:?} {codec:?} {:?}", vault.evidence("anna").expect("a key"));
    assert!(!shown.contains(ADDRESS) && !shown.contains("anna"), "{shown}");
}

#[test]
fn data_that_looks_encrypted_is_taken_for_it() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Free {
        Noted { note: Value },
        Registered { customer: String, name: Value },
    }
    let store = Store::in_memory();
    let vault = vault(&store);
    let codec = Protected::new(&vault, personal());
    let typed = TypedEvents::<Free, _>::with_codec(codec.clone());
    let forged = json!({ "$erasable": 1, "key": Uuid::nil().to_string() });
    let new = NewEventId {
        id: Uuid::from_u128(7),
        aggregate_id: "anna",
    };
    let event = Free::Registered {
        customer: "anna".to_owned(),
        name: json!([forged]),
    };
    assert!(matches!(
        codec.encode_new(&event, new),
        Err(CodecError::Unwritable { .. })
    ));
    // Appended past the toolkit, it is an error of the read.
    let noted = NewEvent::json("Noted", &json!({ "note": forged })).expect("JSON");
    store
        .append(&StreamId::new("Note", "n"), Expected::Any, noted)
        .expect("an append");
    let error = typed.query(&store, typed.all()).expect_err("it is damaged");
    assert!(error.to_string().contains("invalid member"), "{error}");
}

#[test]
fn a_subject_without_a_name_gets_a_key() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let codec = Protected::new(
        &vault,
        Personal::new().event("Registered", Subject::field("/missing"), ["/name"]),
    );
    let new = NewEventId {
        id: Uuid::from_u128(7),
        aggregate_id: "anna",
    };
    let error = codec
        .encode_new(&registered("anna"), new)
        .expect_err("it has no subject");
    assert!(error.to_string().contains("'/missing'"), "{error}");
}

#[test]
fn upcasters_see_encrypted_values() {
    let store = Store::in_memory();
    let vault = vault(&store);
    register(&customers(&store, &vault));
    let upcasters = Upcasters::new().change("Moved", 1, |data| {
        let street = data["address"]["street"].as_str().ok_or("no street")?.to_uppercase();
        data["address"]["street"] = json!(street);
        Ok(())
    });
    let newer = customers(&store, &vault).upcasters(&upcasters);
    let street = |customers: &Customers| {
        customers
            .load("anna")
            .expect("it decodes")
            .state
            .address
            .expect("one")
            .street
    };
    assert_eq!(street(&newer), ADDRESS.to_uppercase());
    vault.erase("anna").expect("an erasure");
    assert_eq!(street(&newer), "-");
}

#[test]
fn a_key_that_is_missing_reads_as_erased() {
    let store = Store::in_memory();
    register(&customers(&store, &vault(&store)));
    // The key store is lost.
    let customers = customers(&store, &vault(&store));
    let error = customers.load("anna").expect_err("no key");
    assert!(matches!(error, LoadError::Undecodable(_)));
    assert!(error.to_string().contains("the key store has no key"), "{error}");
}

#[test]
fn a_rotation_makes_older_values_unreadable() {
    let store = Store::in_memory();
    let vault = vault(&store);
    let customers = customers(&store, &vault);
    register(&customers);
    let pseudonym = vault.pseudonym("anna", annals::cqrs::NameKind::User, "anna");
    vault.rotate("anna").expect("a rotation");
    customers
        .execute("anna", &CustomerCommand::Move("elsewhere".to_owned()))
        .expect("a command");
    assert!(data(&store, 4).contains(r#""rotation":1"#));
    let state = customers.load("anna").expect("both are readable").state;
    assert_eq!(
        (state.name.as_str(), state.address.expect("one").street.as_str()),
        (NAME, "elsewhere")
    );
    assert_eq!(pseudonym, vault.pseudonym("anna", annals::cqrs::NameKind::User, "anna"));
    vault.erase("anna").expect("an erasure");
    assert_eq!(customers.load("anna").expect("it decodes").state, forgotten());
    assert!(matches!(vault.rotate("anna"), Err(KeyError::Erased { generation: 1 })));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(Value::from),
        "[ -~äß\u{1f600}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-c/~*]{0,2}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_pointer() -> impl Strategy<Value = String> {
    let segment = prop_oneof![3 => "[a-c]{0,2}", 1 => Just("*".to_owned()), 1 => Just("~1".to_owned()), 1 => "[0-2]"];
    prop::collection::vec(segment, 1..4).prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_json_comes_back_whatever_is_declared(value in any_json(), pointers in prop::collection::vec(any_pointer(), 0..4)) {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Any { It(Value) }
        let store = Store::in_memory();
        let vault = Vault::open(&store, MemoryKeys::new()).expect("a vault");
        let personal = Personal::new().event("It", Subject::aggregate(), pointers.iter().map(String::as_str));
        let codec = Protected::new(&vault, personal);
        let new = NewEventId { id: Uuid::from_u128(7), aggregate_id: "anna" };
        let event = Any::It(value);
        let encoded = codec.encode_new(&event, new).expect("it is writable");
        let read: Any = codec.decode_of("It", &encoded.data, new.id).expect("it is readable");
        prop_assert_eq!(&read, &event);
        // As plain JSON it is the same but for what is declared; and after an erasure it still decodes.
        vault.erase("anna").expect("an erasure");
        let redacted = codec.decode_of::<Any>("It", &encoded.data, new.id);
        prop_assert!(redacted.is_ok());
        if !String::from_utf8_lossy(&encoded.data).contains("$erasable") {
            prop_assert_eq!(encoded.data, Json.encode(&event).expect("it is writable").data);
        }
    }
}
