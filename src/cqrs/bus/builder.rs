//! Setting up a bus: handlers, required messages, middleware.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::middleware::Middleware;
use super::{Bus, BusError, BusKind, Handler, Handlers, Message, Routes};
use crate::cqrs::Context;

/// Sets up a bus. See [`Bus::builder`].
pub struct BusBuilder<K> {
    handlers: Handlers,
    layers: Vec<Box<dyn Middleware>>,
    /// The required messages: name and type.
    required: BTreeSet<(&'static str, TypeId)>,
    /// The first type of each name.
    names: BTreeMap<&'static str, TypeId>,
    handled_twice: BTreeSet<&'static str>,
    ambiguous: BTreeSet<&'static str>,
    kind: PhantomData<fn() -> K>,
}

impl<K> fmt::Debug for BusBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusBuilder")
            .field("messages", &self.names.keys())
            .field("layers", &self.layers.len())
            .finish_non_exhaustive()
    }
}

impl<K: BusKind> BusBuilder<K> {
    pub(super) fn new() -> Self {
        Self {
            handlers: Handlers::default(),
            layers: Vec::new(),
            required: BTreeSet::new(),
            names: BTreeMap::new(),
            handled_twice: BTreeSet::new(),
            ambiguous: BTreeSet::new(),
            kind: PhantomData,
        }
    }

    /// Registers the handler of a message type.
    ///
    /// The handler gets the context of the dispatch, and passes it on to the calls it makes: [`Aggregates::with_context`](crate::cqrs::Aggregates::with_context),
    /// or a dispatch on another bus.
    #[must_use]
    pub fn handle<M: Message<Bus = Bus<K>>>(
        self,
        handler: impl Fn(&M, &Context) -> Result<M::Reply, M::Error> + Send + Sync + 'static,
    ) -> Self {
        self.handle_with_bus(move |_, message: &M, context| handler(message, context))
    }

    /// Registers a handler that dispatches other messages on its own bus, which it gets as first argument.
    #[must_use]
    pub fn handle_with_bus<M: Message<Bus = Bus<K>>>(
        mut self,
        handler: impl Fn(&Bus<K>, &M, &Context) -> Result<M::Reply, M::Error> + Send + Sync + 'static,
    ) -> Self {
        self.register_name::<M>();
        let handler = Arc::new(Handler::<M>(Box::new(handler)));
        if self.handlers.insert(TypeId::of::<M>(), handler).is_some() {
            self.handled_twice.insert(M::NAME);
        }
        self
    }

    /// Declares that a message must have a handler: [`build`](Self::build) fails when it has none.
    #[must_use]
    pub fn require<M: Message<Bus = Bus<K>>>(mut self) -> Self {
        self.register_name::<M>();
        self.required.insert((M::NAME, TypeId::of::<M>()));
        self
    }

    /// Adds a middleware, inside the ones added before: the first one is the outermost. It runs for all messages of the bus.
    #[must_use]
    pub fn layer(mut self, middleware: impl Middleware) -> Self {
        self.layers.push(Box::new(middleware));
        self
    }

    /// Builds the bus.
    ///
    /// # Errors
    ///
    /// [`BusError`] with every required message that has no handler, every message with two handlers, and every name of two message types.
    pub fn build(self) -> Result<Bus<K>, BusError> {
        let error = BusError {
            unhandled: self.unhandled(),
            handled_twice: self.handled_twice.into_iter().collect(),
            ambiguous: self.ambiguous.into_iter().collect(),
            ..BusError::new::<K>()
        };
        if !error.is_empty() {
            return Err(error);
        }
        let (handlers, layers) = (self.handlers, self.layers);
        Ok(Bus {
            routes: Arc::new(Routes { handlers, layers }),
            kind: PhantomData,
        })
    }

    fn unhandled(&self) -> Vec<&'static str> {
        let unhandled = self.required.iter().filter(|(_, id)| !self.handlers.contains_key(id));
        unhandled.map(|(name, _)| *name).collect()
    }

    fn register_name<M: Message>(&mut self) {
        let id = TypeId::of::<M>();
        if *self.names.entry(M::NAME).or_insert(id) != id {
            self.ambiguous.insert(M::NAME);
        }
    }
}
