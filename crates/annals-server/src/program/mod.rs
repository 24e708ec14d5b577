//! The parts of a program that the clients of its server control and call.

mod processors;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use annals::cqrs::{Processor, ProcessorStatus, Processors, Subscription};

pub(crate) use self::processors::DeadLetters;

/// The parts of a program that clients of its server control: processors and their dead letters. [`Builder::program`](crate::Builder::program)
/// adds them to a server.
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
}

/// A subscription, without the type of its events.
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
        let name = subscription.status().name.to_string();
        let subscribed = Subscribed {
            processor: Processor::clone(subscription),
            letters: Arc::new(subscription.clone()),
        };
        self.subscriptions.insert(name, subscribed);
        self
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
