//! A store in an asynchronous program without a runtime: any executor polls the futures, here one of twenty lines.
//!
//! `cargo run --example async_plain`

use std::io::{Write, stdout};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use annals::{Durability, Expected, NewEvent, Position, Store, StreamId};

/// Unparks the thread that polls.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

async fn place(store: &Store, number: u32) -> annals::Result<Position> {
    let order = StreamId::new("Order", format!("order-{number}"));
    let appended = store
        .append_async(&order, Expected::NoStream, [NewEvent::new("OrderPlaced")])
        .await?;
    store
        .append_async(
            &order,
            Expected::Exactly(appended.last_version),
            [NewEvent::new("OrderPaid")],
        )
        .await?;
    Ok(appended.last_position)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("annals-async-plain-{}", std::process::id()));
    let store = Store::open_url(&format!("file:{}?durability=synced", path.display()))?;
    let last = block_on(async {
        place(&store, 1).await?;
        let first = place(&store, 2).await?;
        // The second event of the order is at the next position.
        store.when_visible(Position(first.0 + 1)).await;
        store.when_durable(first, Durability::Synced)?.await?;
        Ok::<_, annals::Error>(first)
    })?;
    writeln!(
        stdout(),
        "order-2 was placed at position {last}; {} events are synced",
        store.visible()
    )?;
    store.close()?;
    std::fs::remove_dir_all(&path)?;
    Ok(())
}
