//! A store in a tokio program: appends, tickets and tails as futures, on one thread, and back-pressure instead of blocking.
//!
//! `cargo run --features testing --example async_tokio`

use std::io::{Write, stdout};
use std::pin::pin;
use std::time::Duration;

use annals::testing::storage::MemoryStorage;
use annals::{Durability, Error, Expected, FlushSettings, NewEvent, Position, Query, Settings, Store, StreamId};
use futures_util::StreamExt;
use futures_util::future::join_all;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    // A journal that stalls stands for a slow disk. Opening a store reads its journal: in a server, do it before the runtime starts.
    let storage = MemoryStorage::new(Durability::Synced);
    let flush = FlushSettings::default().backlog_bytes(16 << 10);
    let settings = Settings::default().flush(flush).durability(Durability::Synced);
    let store = Store::builder().settings(settings).journal(storage.journal()?).open()?;
    storage.hold();

    // The appends wait: some for the sync, the others for room in the backlog. The thread is free meanwhile.
    let appends = join_all((0..1000).map(|number| {
        let order = StreamId::new("Order", format!("order-{number}"));
        store.append_async(
            &order,
            Expected::NoStream,
            [NewEvent::new("OrderPlaced").data(r#"{"total": 250}"#)],
        )
    }));
    let mut appends = pin!(appends);
    let timeout = tokio::time::timeout(Duration::from_millis(50), &mut appends).await;
    writeln!(
        stdout(),
        "while the journal stalls: {} events are visible",
        store.visible()
    )?;
    assert!(timeout.is_err());

    // A request handler that must not wait gives up instead.
    let order = StreamId::new("Order", "order-1000");
    match store.try_append(&order, Expected::NoStream, [NewEvent::new("OrderPlaced")]) {
        Err(Error::Backlog { .. }) => writeln!(stdout(), "503: try again later")?,
        other => drop(other?),
    }

    storage.release();
    let appended = appends.await.into_iter().collect::<Result<Vec<_>, _>>()?;
    writeln!(stdout(), "then: {} appends are synced", appended.len())?;

    // Tails are streams, and tickets and visibility are futures.
    store.when_durable(Position(1000), Durability::Synced)?.await?;
    let tail = store.tail(Query::all(), Position(0))?.into_stream();
    let deliveries = tail.take(1000).count().await;
    writeln!(stdout(), "{deliveries} deliveries")?;
    Ok(())
}
