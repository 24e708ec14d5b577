//! Connections that several threads take turns with: as many as are in use at the same time.

use parking_lot::Mutex;

use crate::store::{Result, StoreError};

/// Connections that are free.
pub(super) struct Pool<C> {
    free: Mutex<Vec<C>>,
    connect: Box<dyn Fn() -> Result<C> + Send + Sync>,
}

impl<C> Pool<C> {
    /// A pool with its first connection.
    pub(super) fn new(connect: impl Fn() -> Result<C> + Send + Sync + 'static) -> Result<Self> {
        let first = connect()?;
        Ok(Self {
            free: Mutex::new(vec![first]),
            connect: Box::new(connect),
        })
    }

    /// Calls `work` with a connection. A connection is closed after a failed call: it may be in the middle of a response.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut C) -> Result<T>) -> Result<T> {
        let free = self.free.lock().pop();
        let mut connection = match free {
            Some(connection) => connection,
            None => (self.connect)()?,
        };
        let done = work(&mut connection);
        if !matches!(done, Err(StoreError::Failed(_))) {
            self.free.lock().push(connection);
        }
        done
    }
}
