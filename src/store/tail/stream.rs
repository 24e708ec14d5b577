//! A tail as a stream of any async runtime.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::Position;
use crate::store::tail::{Delivery, Tail, TailCancel};

/// A [`Tail`] as a [`Stream`] of any async runtime, created by [`Tail::into_stream`].
///
/// A poll never waits. It examines at most 16,384 positions; if it finds nothing and there are more, it wakes its task and
/// returns `Pending`, so that other tasks can run. A poll drops no events and builds no index.
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct TailStream {
    tail: Tail,
}

/// The result of a poll.
enum Found {
    Item(Option<Delivery>),
    /// Nothing found, but there are more positions to examine.
    More,
    /// Nothing to examine until the log grows.
    CaughtUp,
}

impl Tail {
    /// Converts this tail into a [`Stream`].
    ///
    /// The task is woken on the thread that appends, changes an aggregate, or writes the journal, under no lock of shards or lanes. A waker may
    /// read and append; it must not wait for the journal, or [fork](crate::Store::fork) the store, on that thread.
    ///
    /// ```
    /// # use annals::{Delivery, Expected, NewEvent, Position, Query, Store, StreamId};
    /// use futures_util::StreamExt;
    ///
    /// # futures_executor::block_on(async {
    /// let store = Store::in_memory();
    /// store.append(&StreamId::new("Order", "order-1"), Expected::Any, vec![NewEvent::new("OrderPlaced")])?;
    ///
    /// let mut deliveries = store.tail(Query::all(), Position(0))?.into_stream();
    /// assert!(matches!(deliveries.next().await, Some(Delivery::Event(_))));
    /// store.close()?;
    /// assert_eq!(deliveries.next().await, None);
    /// # Ok::<(), annals::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn into_stream(self) -> TailStream {
        TailStream { tail: self }
    }

    fn poll_once(&mut self) -> Found {
        let delivery = self.try_next();
        if delivery.is_some() || self.is_ended() {
            Found::Item(delivery)
        } else if self.is_caught_up() {
            Found::CaughtUp
        } else {
            Found::More
        }
    }
}

impl TailStream {
    /// Returns the position up to which this stream has delivered everything: see [`Tail::position`].
    pub fn position(&self) -> Position {
        self.tail.position()
    }

    /// Returns a handle that cancels this stream from any thread: see [`Tail::cancel_handle`].
    pub fn cancel_handle(&self) -> TailCancel {
        self.tail.cancel_handle()
    }

    /// Converts this stream back into a tail, for blocking calls.
    pub fn into_tail(self) -> Tail {
        self.tail.unregister();
        self.tail
    }
}

impl Stream for TailStream {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let tail = &mut self.get_mut().tail;
        let mut found = tail.poll_once();
        if matches!(found, Found::CaughtUp) {
            tail.register(context.waker());
            // Events that came before the registration do not wake the waker.
            found = tail.poll_once();
            if !matches!(found, Found::CaughtUp) {
                tail.unregister();
            }
        }
        match found {
            Found::Item(item) => Poll::Ready(item),
            Found::CaughtUp => Poll::Pending,
            Found::More => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
