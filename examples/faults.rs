//! A lost acknowledgement that doubles an order, and the id that prevents it. `cargo run --example faults --features testing`

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use annals::cqrs::{Aggregate, Aggregates};
use annals::testing::faults::Faults;
use annals::{Event, Store};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Serialize, Deserialize)]
enum CartEvent {
    Added { article: String },
}

/// Adds an article.
#[derive(Debug, Serialize, Deserialize)]
struct Add(String);

/// A cart accepts the same article twice, since customers order two of a kind.
struct Cart;

impl Aggregate for Cart {
    const TYPE: &'static str = "Cart";
    type Event = CartEvent;
    type Command = Add;
    type Rejection = String;

    fn initial() -> Self {
        Self
    }

    fn decide(&self, Add(article): &Add) -> Result<Vec<CartEvent>, String> {
        Ok(vec![CartEvent::Added {
            article: article.clone(),
        }])
    }

    fn evolve(&mut self, _: CartEvent) {}
}

/// The faults of this example. They are data, so a test can also read them from a file.
const FAULTS: &str = r#"[
    {"on": "append", "aggregate": "cart-1", "do": "commit_then_timeout"},
    {"on": "append", "aggregate": "cart-2", "do": "commit_then_timeout"},
    {"on": "append", "aggregate": "shared-cart", "do": "conflict", "times": 3}
]"#;

/// A client that sends the same request again until it gets a reply.
fn until_it_succeeds<T, E: std::fmt::Display>(mut call: impl FnMut() -> Result<T, E>) -> T {
    loop {
        match call() {
            Ok(reply) => return reply,
            Err(error) => println!("    failed: {error}"),
        }
    }
}

fn content(store: &Store, cart: &str) -> String {
    let events = store.read_stream(cart).events();
    let data = events.iter().map(Event::data);
    data.map(|data| String::from_utf8_lossy(data))
        .collect::<Vec<_>>()
        .join(", ")
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::in_memory();
    let faults = Faults::from_json(FAULTS)?;
    let carts = Aggregates::<Cart>::new(&store.with_faults(&faults));
    let lamp = Add("lamp".to_owned());

    println!("a customer adds a lamp, and the acknowledgement is lost:");
    until_it_succeeds(|| carts.execute("cart-1", &lamp));
    println!("    the cart has {}", content(&store, "cart-1"));
    assert_eq!(
        store.read_stream("cart-1").events().len(),
        2,
        "the retry doubled the order"
    );

    println!("another customer adds a lamp, and the command has an id:");
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"request 2");
    let executed = until_it_succeeds(|| carts.execute_once(id, "cart-2", &lamp));
    println!("    the cart has {}", content(&store, "cart-2"));
    assert_eq!(store.read_stream("cart-2").events().len(), 1, "the retry is recognized");
    assert!(executed.appended.is_some_and(|appended| appended.repeated));

    println!("an append that conflicts three times on demand:");
    let executed = carts.execute("shared-cart", &lamp)?;
    println!("    appended at attempt {}", executed.attempts);

    faults.assert_all_fired();
    println!("the faults that fired:");
    for fired in faults.fired() {
        println!("    {fired}");
    }
    Ok(())
}
