//! The parts of a program that the clients of its server control and call.

mod failure;
mod messages;
mod processors;
mod sagas;
mod states;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use annals::cqrs::{
    Aggregate, Aggregates, BusError, Codec, CommandBus, Context, Message, Processor, ProcessorStatus, Processors,
    QueryBus, Saga, Sagas, Subscription,
};
#[cfg(feature = "postgres")]
use annals::cqrs::{SqlProjected, SqlProjection};
use axum::http::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::problem::Problem;

pub use self::failure::Failure;
pub(crate) use self::messages::Route;
pub(crate) use self::processors::DeadLetters;
pub(crate) use self::sagas::Instances;
pub(crate) use self::states::States;

/// The parts of a program that clients of its server control and call: processors and their dead letters, sagas, commands and
/// queries, and the states of aggregates.
/// [`Builder::program`](crate::Builder::program) adds them to a server.
///
/// ```
/// use annals::Store;
/// use annals::cqrs::{OnFailure, Processors};
/// use annals_server::{Program, Server};
///
/// #[derive(serde::Deserialize)]
/// enum OrderEvent {
///     Paid { total: u64 },
/// }
///
/// let store = Store::in_memory();
/// let processors = Processors::new(&store);
/// let mailer = processors.subscribe("mailer", |_: annals::cqrs::Delivered<'_, OrderEvent>| Ok(()));
/// let mailer = mailer.on_failure(OnFailure::park()).start()?;
/// let program = Program::new().processors(&processors).subscription(&mailer);
/// let server = Server::builder(store).program(program).build()?;
/// # drop(server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "a program is added to a server by `Builder::program`"]
pub struct Program {
    sets: Vec<Processors>,
    subscriptions: BTreeMap<String, Subscribed>,
    sagas: BTreeMap<&'static str, Arc<dyn Instances>>,
    states: BTreeMap<&'static str, Arc<dyn States>>,
    commands: BTreeMap<&'static str, Route>,
    queries: BTreeMap<&'static str, Route>,
    context: Option<Arc<Complete>>,
}

/// Completes the context of a message by the headers of its request.
type Complete = dyn Fn(&HeaderMap, Context) -> Result<Context, Failure> + Send + Sync;

/// A subscription or a read model, without the type of its events.
#[derive(Clone)]
struct Subscribed {
    processor: Processor,
    letters: Arc<dyn DeadLetters>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("sets", &self.sets)
            .field("subscriptions", &self.subscriptions.keys())
            .field("sagas", &self.sagas.keys())
            .field("states", &self.states.keys())
            .field("commands", &self.commands.keys())
            .field("queries", &self.queries.keys())
            .finish_non_exhaustive()
    }
}

impl Program {
    /// A program without parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a set of processors, also those that it starts later. They run at least until the server is dropped, unless the program ends them.
    pub fn processors(mut self, processors: &Processors) -> Self {
        self.sets.push(processors.clone());
        self
    }

    /// Adds a subscription with its dead letters. A later one of the same name replaces it.
    pub fn subscription<E: 'static>(mut self, subscription: &Subscription<E>) -> Self {
        self.add_letters(Processor::clone(subscription), Arc::new(subscription.clone()));
        self
    }

    /// Adds a read model in PostgreSQL with its dead letters. A later one of the same name replaces it.
    #[cfg(feature = "postgres")]
    #[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
    pub fn read_model<P: SqlProjection>(mut self, projected: &SqlProjected<P>) -> Self {
        self.add_letters(Processor::clone(projected), Arc::new(projected.clone()));
        self
    }

    fn add_letters(&mut self, processor: Processor, letters: Arc<dyn DeadLetters>) {
        let name = processor.status().name.to_string();
        self.subscriptions.insert(name, Subscribed { processor, letters });
    }

    /// Adds the instances of a saga: clients see those that are active or stuck, and retry or abandon them.
    pub fn saga<S: Saga>(mut self, sagas: &Sagas<S>) -> Self {
        self.sagas.insert(S::TYPE, Arc::new(sagas.clone()));
        self
    }

    /// Adds the states of aggregates of one type: clients with the role `read` see what the program folds from their events, at every version,
    /// also personal data that the store holds encrypted.
    pub fn states<A, C>(mut self, aggregates: &Aggregates<A, C>) -> Self
    where
        A: Aggregate<Event: 'static> + Serialize + 'static,
        C: Codec,
    {
        self.states.insert(A::TYPE, Arc::new(aggregates.clone()));
        self
    }

    /// Adds a command: `POST /v1/commands/NAME` takes it as JSON, and answers with the reply of its handler. Clients need the role `write`.
    ///
    /// The handler runs on a thread that may block, through all middleware of the bus. Requests with an `Idempotency-Key` are refused.
    ///
    /// # Errors
    ///
    /// [`BusError`] when the bus has no handler of the command.
    pub fn command<M>(self, bus: &CommandBus) -> Result<Self, BusError>
    where
        M: Message<Bus = CommandBus, Reply: Serialize, Error: Into<Failure>> + DeserializeOwned,
    {
        Ok(self.add_command::<M>(Route::new::<_, M>(bus, false, |_, _| ())?))
    }

    /// Adds a command that gets an id from the `Idempotency-Key` of its request, by `with_id`: the same id for the same key. Its handler executes
    /// it by [`execute_once`](annals::cqrs::Aggregates::execute_once), so that a repetition is recognized, also after a restart. Otherwise as
    /// [`command`](Self::command).
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub fn command_once<M>(
        self,
        bus: &CommandBus,
        with_id: impl Fn(&mut M, Uuid) + Send + Sync + 'static,
    ) -> Result<Self, BusError>
    where
        M: Message<Bus = CommandBus, Reply: Serialize, Error: Into<Failure>> + DeserializeOwned,
    {
        Ok(self.add_command::<M>(Route::new(bus, true, with_id)?))
    }

    fn add_command<M: Message>(mut self, route: Route) -> Self {
        self.commands.insert(M::NAME, route);
        self
    }

    /// Adds a query: `POST /v1/queries/NAME`. Clients need the role `read`. Otherwise as [`command`](Self::command).
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command).
    pub fn query<M>(mut self, bus: &QueryBus) -> Result<Self, BusError>
    where
        M: Message<Bus = QueryBus, Reply: Serialize, Error: Into<Failure>> + DeserializeOwned,
    {
        self.queries.insert(M::NAME, Route::new::<_, M>(bus, false, |_, _| ())?);
        Ok(self)
    }

    /// Completes the context of each command and query by the headers of its request: its user, for example. Without it, a context has the
    /// correlation and the causation that the client names, and no user.
    pub fn context(
        mut self,
        complete: impl Fn(&HeaderMap, Context) -> Result<Context, Failure> + Send + Sync + 'static,
    ) -> Self {
        self.context = Some(Arc::new(complete));
        self
    }

    pub(crate) fn has_processors(&self) -> bool {
        !self.sets.is_empty() || !self.subscriptions.is_empty()
    }

    pub(crate) fn sagas(&self) -> &BTreeMap<&'static str, Arc<dyn Instances>> {
        &self.sagas
    }

    pub(crate) fn saga_of(&self, name: &str) -> Option<Arc<dyn Instances>> {
        self.sagas.get(name).map(Arc::clone)
    }

    pub(crate) fn has_states(&self) -> bool {
        !self.states.is_empty()
    }

    pub(crate) fn states_of(&self, aggregate_type: &str) -> Option<Arc<dyn States>> {
        self.states.get(aggregate_type).map(Arc::clone)
    }

    pub(crate) fn commands(&self) -> &BTreeMap<&'static str, Route> {
        &self.commands
    }

    pub(crate) fn queries(&self) -> &BTreeMap<&'static str, Route> {
        &self.queries
    }

    /// # Errors
    ///
    /// The [`Problem`] that the program gives the client.
    pub(crate) fn complete(&self, headers: &HeaderMap, context: Context) -> Result<Context, Problem> {
        match &self.context {
            Some(complete) => complete(headers, context).map_err(|failure| failure.0),
            None => Ok(context),
        }
    }

    /// The processor of this name. Of a subscription that the program has started again, it is the one that runs.
    pub(crate) fn processor(&self, name: &str) -> Option<Processor> {
        let in_sets = self.sets.iter().find_map(|set| set.get(name));
        in_sets.or_else(|| Some(self.subscriptions.get(name)?.processor.clone()))
    }

    /// The dead letters of the processor of this name, if it is a subscription that was added.
    pub(crate) fn letters(&self, name: &str) -> Option<Arc<dyn DeadLetters>> {
        Some(Arc::clone(&self.subscriptions.get(name)?.letters))
    }

    /// The status of every processor, ascending by name.
    pub(crate) fn statuses(&self) -> Vec<ProcessorStatus> {
        let mut all = BTreeMap::new();
        for (name, subscribed) in &self.subscriptions {
            all.insert(name.clone(), subscribed.processor.status());
        }
        for status in self.sets.iter().flat_map(Processors::statuses) {
            all.insert(status.name.to_string(), status);
        }
        all.into_values().collect()
    }
}
