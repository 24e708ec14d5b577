//! Namespaces: one store per name. Those of tests are created by the first append, can be reset, saved and restored, and each has its own clock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use annals::{Clock, Error, SeededIds, Store, SystemClock, Timestamp};
use parking_lot::{Mutex, RwLock};

use crate::groups::Groups;
use crate::names::check_name;
use crate::test_state::{Faults, Happening, TestState};

/// Snapshots of a namespace, at most.
const SNAPSHOTS_MAX: usize = 100;

/// The stores of a server.
#[derive(Debug)]
pub(crate) struct Namespaces {
    all: RwLock<BTreeMap<String, Namespace>>,
    /// The names that the server was made with: these are never removed, and are labels of metrics.
    configured: Vec<String>,
    /// The most namespaces that there may be, if tests may make some.
    test_max: Option<usize>,
}

/// A store, with the state that tests need.
#[derive(Debug)]
struct Namespace {
    store: Store,
    groups: Arc<Groups>,
    /// The clock of the store, if tests may move it.
    clock: Option<Arc<TestClock>>,
    snapshots: BTreeMap<u64, (Store, Arc<TestClock>)>,
    next_snapshot: u64,
    test_state: Arc<TestState>,
}

impl Namespace {
    fn of(store: Store, clock: Option<Arc<TestClock>>) -> Self {
        Self {
            groups: Groups::new(store.clone()),
            store,
            clock,
            snapshots: BTreeMap::new(),
            next_snapshot: 1,
            test_state: Arc::default(),
        }
    }

    /// An independent copy of the store, and its clock.
    fn fork(&self) -> (Store, Arc<TestClock>) {
        fork(&self.store, self.clock.as_ref())
    }
}

fn fork(store: &Store, clock: Option<&Arc<TestClock>>) -> (Store, Arc<TestClock>) {
    let copy = store.fork();
    let forked = clock.and_then(|clock| clock.forked.lock().take());
    (copy, forked.unwrap_or_default())
}

/// A clock that shows the machine's time until a test sets it, and stands still from then on.
pub(crate) struct TestClock {
    /// The time that was set, in microseconds since 1970; [`i64::MIN`] for none.
    set: AtomicI64,
    /// The clock of the last fork of the store, which the store does not give out.
    forked: Mutex<Option<Arc<TestClock>>>,
}

impl Default for TestClock {
    fn default() -> Self {
        Self {
            set: AtomicI64::new(i64::MIN),
            forked: Mutex::default(),
        }
    }
}

impl fmt::Debug for TestClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TestClock").field(&self.manual()).finish()
    }
}

impl TestClock {
    /// The time that was set, if one was.
    pub(crate) fn manual(&self) -> Option<Timestamp> {
        let set = self.set.load(Ordering::SeqCst);
        (set != i64::MIN).then(|| Timestamp::from_micros(set))
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.set.store(now.as_micros(), Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.set(self.now().after(duration));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.manual().unwrap_or_else(|| SystemClock.now())
    }

    fn fork(self: Arc<Self>) -> Arc<dyn Clock> {
        let copy = Arc::new(Self::default());
        copy.set.store(self.set.load(Ordering::SeqCst), Ordering::SeqCst);
        *self.forked.lock() = Some(Arc::clone(&copy));
        copy
    }
}

/// The way in which a namespace is reset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fresh {
    /// The seed of the ids of its events.
    pub(crate) seed: Option<u64>,
    /// The time that its clock shows.
    pub(crate) now: Option<Timestamp>,
}

impl Fresh {
    fn make(self) -> Result<Namespace, Error> {
        let clock = Arc::new(TestClock::default());
        if let Some(now) = self.now {
            clock.set(now);
        }
        let shared: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let mut builder = Store::builder().clock(shared);
        if let Some(seed) = self.seed {
            builder = builder.ids(Arc::new(SeededIds::new(seed)));
        }
        Ok(Namespace::of(builder.open()?, Some(clock)))
    }
}

impl Namespaces {
    pub(crate) fn new(stores: BTreeMap<String, Store>, test_max: Option<usize>) -> Self {
        let configured = stores.keys().cloned().collect();
        let all = stores
            .into_iter()
            .map(|(name, store)| (name, Namespace::of(store, None)));
        Self {
            all: RwLock::new(all.collect()),
            configured,
            test_max,
        }
    }

    /// Whether tests may make, empty and fork namespaces.
    pub(crate) fn has_test_api(&self) -> bool {
        self.test_max.is_some()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Store> {
        self.all.read().get(name).map(|namespace| namespace.store.clone())
    }

    /// The groups of consumers of a namespace.
    pub(crate) fn groups(&self, name: &str) -> Option<Arc<Groups>> {
        self.all.read().get(name).map(|namespace| Arc::clone(&namespace.groups))
    }

    /// Stores the places of all groups.
    pub(crate) fn save_groups(&self) {
        let all: Vec<_> = self
            .all
            .read()
            .values()
            .map(|namespace| Arc::clone(&namespace.groups))
            .collect();
        for groups in all {
            groups.save();
        }
    }

    /// The store of this name, which an append may make in a test.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there are too many, or the name is invalid.
    pub(crate) fn get_or_make(&self, name: &str) -> Result<Option<Store>, Error> {
        let found = self.get(name);
        if found.is_some() || self.test_max.is_none() {
            return Ok(found);
        }
        let mut all = self.all.write();
        if let Some(namespace) = all.get(name) {
            return Ok(Some(namespace.store.clone()));
        }
        self.check_room(name, all.len())?;
        let namespace = Fresh::default().make()?;
        let store = namespace.store.clone();
        all.insert(name.to_owned(), namespace);
        Ok(Some(store))
    }

    fn check_room(&self, name: &str, count: usize) -> Result<(), Error> {
        check_name(name)?;
        match self.test_max {
            Some(max) if count < max => Ok(()),
            _ => Err(invalid(format!(
                "there are {count} namespaces, which is the limit: remove some"
            ))),
        }
    }

    /// Empties a namespace, or makes it. Its timeline continues, and its faults are cleared.
    pub(crate) fn reset(&self, name: &str, fresh: Fresh) -> Result<(), Error> {
        let mut all = self.all.write();
        let mut made = fresh.make()?;
        match all.get(name) {
            Some(known) => made.test_state = Arc::clone(&known.test_state),
            None => self.check_room(name, all.len())?,
        }
        made.test_state.with_faults(Faults::clear);
        all.insert(name.to_owned(), made);
        Ok(())
    }

    /// Removes a namespace; one that the server was made with is emptied instead. Returns whether there was one.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, Error> {
        if self.configured.iter().any(|own| own == name) {
            self.reset(name, Fresh::default())?;
            return Ok(true);
        }
        Ok(self.all.write().remove(name).is_some())
    }

    /// Keeps a copy of a namespace. Returns its number; `None` without such a namespace.
    pub(crate) fn keep(&self, name: &str) -> Result<Option<u64>, Error> {
        let mut all = self.all.write();
        let Some(namespace) = all.get_mut(name) else {
            return Ok(None);
        };
        if namespace.snapshots.len() == SNAPSHOTS_MAX {
            return Err(invalid(format!(
                "the namespace has {SNAPSHOTS_MAX} snapshots, which is the limit: reset it"
            )));
        }
        let (number, copy) = (namespace.next_snapshot, namespace.fork());
        namespace.next_snapshot += 1;
        namespace.snapshots.insert(number, copy);
        Ok(Some(number))
    }

    /// Replaces a namespace by a copy of one of its snapshots. Returns whether there is such a snapshot.
    pub(crate) fn restore(&self, name: &str, number: u64) -> bool {
        let mut all = self.all.write();
        let Some(namespace) = all.get_mut(name) else {
            return false;
        };
        let Some((store, clock)) = namespace.snapshots.get(&number) else {
            return false;
        };
        let (store, clock) = fork(store, Some(clock));
        namespace.groups = Groups::new(store.clone());
        (namespace.store, namespace.clock) = (store, Some(clock));
        true
    }

    /// Makes a namespace of a copy of another. Returns whether there is the other.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is a namespace of the new name, there are too many, or the name is invalid.
    pub(crate) fn fork(&self, name: &str, new: &str) -> Result<bool, Error> {
        let mut all = self.all.write();
        if all.contains_key(new) {
            return Err(invalid(format!(
                "there is a namespace '{new}' already: remove it, or choose another name"
            )));
        }
        self.check_room(new, all.len())?;
        let Some((store, clock)) = all.get(name).map(Namespace::fork) else {
            return Ok(false);
        };
        all.insert(new.to_owned(), Namespace::of(store, Some(clock)));
        Ok(true)
    }

    /// The clock of a namespace, which tests may move. A namespace of the server's start has one only after a reset.
    pub(crate) fn clock(&self, name: &str) -> Option<Arc<TestClock>> {
        self.all.read().get(name)?.clock.clone()
    }

    /// The timeline and the faults of a namespace, if tests may use them.
    pub(crate) fn test_state(&self, name: &str) -> Option<Arc<TestState>> {
        self.test_max?;
        self.all.read().get(name).map(|found| Arc::clone(&found.test_state))
    }

    /// Adds an entry to the timeline of a namespace, if it has one.
    pub(crate) fn record(&self, name: &str, happening: &Happening<'_>) {
        if let (Some(state), Some(store)) = (self.test_state(name), self.get(name)) {
            state.record(store.now(), happening);
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.all.read().keys().cloned().collect()
    }

    /// Every store by its name.
    pub(crate) fn stores(&self) -> Vec<(String, Store)> {
        let all = self.all.read();
        all.iter()
            .map(|(name, namespace)| (name.clone(), namespace.store.clone()))
            .collect()
    }

    /// The stores of the namespaces that the server was made with.
    pub(crate) fn configured(&self) -> Vec<(String, Store)> {
        let names = self.configured.iter();
        names.filter_map(|name| Some((name.clone(), self.get(name)?))).collect()
    }

    pub(crate) fn is_configured(&self, name: &str) -> bool {
        self.configured.iter().any(|own| own == name)
    }
}

fn invalid(message: String) -> Error {
    Error::Invalid {
        message: message.into(),
    }
}
