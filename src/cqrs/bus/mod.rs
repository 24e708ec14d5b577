//! The command bus and the query bus: typed handlers behind middleware.

use std::any::{Any, TypeId};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use hashbrown::HashMap;

use self::dispatch::{Nesting, Progress};
use self::middleware::{Dispatch, Middleware, Next, Outcome};
use super::Context;

mod builder;
mod dispatch;
mod error;
mod message;
pub mod middleware;

pub use builder::BusBuilder;
pub use error::{BusError, DispatchError};
pub use message::{BusKind, Commands, Message, Queries};

/// Dispatches commands to their handlers.
pub type CommandBus = Bus<Commands>;

/// Dispatches queries to their handlers.
pub type QueryBus = Bus<Queries>;

/// Dispatches each message to the handler of its type, through the middleware of the bus.
///
/// A handle: cheap to clone, and usable from many threads at once. It has no thread and no queue; a dispatch runs the middleware and the handler
/// on the thread of the caller, and returns the handler's reply. It holds no lock, so a handler can dispatch other messages. Such a nested
/// dispatch is never [retried](middleware::retry): its failure goes up to the outermost dispatch. At most 64 dispatches are nested on a thread.
///
/// Handlers are registered at the start, and [`BusBuilder::build`] fails when a required message has none.
///
/// ```
/// use annals::Store;
/// use annals::cqrs::middleware::{authorize, log, retry, validate};
/// use annals::cqrs::{
///     Aggregate, Aggregates, CommandBus, CommandError, Context, DispatchError, Executed, LoadError, Message, QueryBus, Retry,
/// };
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum AccountEvent {
/// #     Deposited { amount: u64 },
/// # }
/// # #[derive(Default)]
/// # struct Account {
/// #     balance: u64,
/// # }
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "Account";
/// #     type Event = AccountEvent;
/// #     type Command = AccountCommand;
/// #     type Rejection = String;
/// #     fn initial() -> Self {
/// #         Self::default()
/// #     }
/// #     fn decide(&self, command: &AccountCommand) -> Result<Vec<AccountEvent>, String> {
/// #         let AccountCommand::Deposit { amount } = *command;
/// #         Ok(vec![AccountEvent::Deposited { amount }])
/// #     }
/// #     fn evolve(&mut self, event: AccountEvent) {
/// #         let AccountEvent::Deposited { amount } = event;
/// #         self.balance += amount;
/// #     }
/// # }
///
/// enum AccountCommand {
///     Deposit { amount: u64 },
/// }
///
/// // A command for one account, executed through `Aggregates<Account>`.
/// struct ForAccount {
///     id: String,
///     command: AccountCommand,
/// }
///
/// impl Message for ForAccount {
///     type Bus = CommandBus;
///     type Reply = Executed;
///     type Error = CommandError<String>;
///     const NAME: &'static str = "ForAccount";
/// }
///
/// struct Balance {
///     id: String,
/// }
///
/// impl Message for Balance {
///     type Bus = QueryBus;
///     type Reply = u64;
///     type Error = LoadError;
///     const NAME: &'static str = "Balance";
/// }
///
/// let store = Store::in_memory();
/// // The bus retries, so the handler does not.
/// let accounts = Aggregates::<Account>::new(&store).retry(Retry::never());
/// let commands = CommandBus::builder()
///     .layer(log(|line| eprintln!("{line}")))
///     .layer(authorize(|_, context| context.user.as_ref().map(drop).ok_or("no user".to_owned())))
///     .layer(validate(|message: &ForAccount| match message.command {
///         AccountCommand::Deposit { amount: 0 } => Err("the amount is 0".to_owned()),
///         AccountCommand::Deposit { .. } => Ok(()),
///     }))
///     .layer(retry(Retry::default(), |outcome| {
///         matches!(outcome.error(), Some(CommandError::<String>::Contended { .. }))
///     }))
///     .handle(move |message: &ForAccount, context| {
///         accounts.with_context(context.clone()).execute(&message.id, &message.command)
///     })
///     .build()?;
///
/// let accounts = Aggregates::<Account>::new(&store);
/// let queries = QueryBus::builder()
///     .handle(move |query: &Balance, _| accounts.load(&query.id).map(|loaded| loaded.state.balance))
///     .build()?;
///
/// let anna = Context::new().user("anna");
/// let deposit = ForAccount { id: "account-1".into(), command: AccountCommand::Deposit { amount: 250 } };
/// commands.dispatch(&deposit, &anna)?;
/// assert_eq!(queries.dispatch(&Balance { id: "account-1".into() }, &anna)?, 250);
/// assert_eq!(store.read_stream("account-1").events()[0].user_id(), Some("anna"));
///
/// let refused = commands.dispatch(&deposit, &Context::new());
/// assert!(matches!(refused, Err(DispatchError::Refused { by: "authorize", .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Bus<K> {
    routes: Arc<Routes>,
    kind: PhantomData<fn() -> K>,
}

/// The handlers and the middleware of a bus.
struct Routes {
    /// A [`Handler`] for each type of message.
    handlers: Handlers,
    /// The outermost first.
    layers: Vec<Box<dyn Middleware>>,
}

type Handlers = HashMap<TypeId, Arc<dyn Any + Send + Sync>, foldhash::fast::RandomState>;

type Result<M> = std::result::Result<<M as Message>::Reply, DispatchError<<M as Message>::Error>>;

/// The handler of one type of message.
struct Handler<M: Message>(Box<HandlerFn<M>>);

type HandlerFn<M> = dyn Fn(&<M as Message>::Bus, &M, &Context) -> std::result::Result<<M as Message>::Reply, <M as Message>::Error>
    + Send
    + Sync;

impl<K> Clone for Bus<K> {
    fn clone(&self) -> Self {
        Self {
            routes: Arc::clone(&self.routes),
            kind: PhantomData,
        }
    }
}

impl<K: BusKind> fmt::Debug for Bus<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("kind", &K::NAME)
            .field("handlers", &self.routes.handlers.len())
            .field("layers", &self.routes.layers.len())
            .finish()
    }
}

impl<K: BusKind> Bus<K> {
    /// A bus without handlers and middleware, to be set up.
    pub fn builder() -> BusBuilder<K> {
        BusBuilder::new()
    }

    /// Runs the middleware and the handler of the message, and returns the handler's reply.
    ///
    /// # Errors
    ///
    /// See [`DispatchError`]. A panic of the handler or of a middleware is one of them, unless panics abort the process.
    pub fn dispatch<M: Message<Bus = Self>>(&self, message: &M, context: &Context) -> Result<M> {
        match self.handler::<M>().and_then(|handler| handler.downcast_ref()) {
            Some(handler) => self.run(handler, message, context),
            None => Err(DispatchError::NoHandler {
                bus: K::NAME,
                message: M::NAME,
            }),
        }
    }

    /// A sender of one type of message. It cannot meet a missing handler later.
    ///
    /// # Errors
    ///
    /// [`BusError`] when the message has no handler.
    pub fn sender<M: Message<Bus = Self>>(&self) -> std::result::Result<Sender<M>, BusError> {
        let handler = self
            .handler::<M>()
            .and_then(|handler| Arc::clone(handler).downcast().ok());
        let handler = handler.ok_or_else(|| BusError {
            unhandled: vec![M::NAME],
            ..BusError::new::<K>()
        })?;
        Ok(Sender {
            bus: self.clone(),
            handler,
        })
    }

    /// The [`Handler`] of the message.
    fn handler<M: Message<Bus = Self>>(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.routes.handlers.get(&TypeId::of::<M>())
    }

    fn run<M: Message<Bus = Self>>(&self, handler: &Handler<M>, message: &M, context: &Context) -> Result<M> {
        let Some(nesting) = Nesting::enter() else {
            return dispatch::too_deep().into_result::<M>();
        };
        let progress = Progress::new(&nesting);
        let dispatch = Dispatch::new::<M>(message, context, &progress);
        let handle = |dispatch: &Dispatch<'_>| Outcome::of::<M>((handler.0)(self, message, dispatch.context()));
        Next::new(&self.routes.layers, &handle)
            .run(&dispatch)
            .into_result::<M>()
    }
}

/// Sends messages of one type. Cheap to clone, and usable from many threads at once. See [`Bus::sender`].
pub struct Sender<M: Message> {
    bus: M::Bus,
    handler: Arc<Handler<M>>,
}

impl<K: BusKind, M: Message<Bus = Bus<K>>> Sender<M> {
    /// Runs the middleware and the handler of the message, and returns the handler's reply.
    ///
    /// # Errors
    ///
    /// As [`Bus::dispatch`], but never [`DispatchError::NoHandler`].
    pub fn send(&self, message: &M, context: &Context) -> Result<M> {
        self.bus.run(&self.handler, message, context)
    }
}

impl<K, M: Message<Bus = Bus<K>>> Clone for Sender<M> {
    fn clone(&self) -> Self {
        Self {
            bus: self.bus.clone(),
            handler: Arc::clone(&self.handler),
        }
    }
}

impl<M: Message> fmt::Debug for Sender<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("message", &M::NAME)
            .finish_non_exhaustive()
    }
}
