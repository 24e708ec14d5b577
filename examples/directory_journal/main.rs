//! A journal for a store, from public parts alone: a directory with a file for each batch. It can be compacted, and followed by other stores.
//!
//! `journal.rs` and `follower.rs` implement the four traits, `Journal`, `Compactor`, `Feed` and `Remote`; `directory.rs` is what their contracts
//! require of any storage. `tests.rs` runs the conformance suites.
//!
//! `cargo run --features testing --example directory_journal`

use std::fs;
use std::io::{self, Write};

use annals::{Durability, Expected, NewEvent, Store, StreamId};

use self::follower::follow;
use self::journal::DirectoryJournal;

mod directory;
mod follower;
mod journal;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("annals-directory-journal-{}", std::process::id()));
    let order = StreamId::new("Order", "order-1");
    let store = Store::open(DirectoryJournal::open(&path)?)?.with_durability(Durability::Synced)?;
    store.append(
        &order,
        Expected::NoStream,
        NewEvent::new("OrderPlaced").data(r#"{"total": 250}"#),
    )?;
    store.close()?;
    let follower = Store::builder().follow_log(follow(&path)?)?;
    follower.append(&order, Expected::StreamExists, NewEvent::new("OrderPaid"))?;
    let read = follower.read_stream("order-1").events();
    writeln!(io::stdout(), "{} events in {}", read.len(), path.display())?;
    fs::remove_dir_all(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
