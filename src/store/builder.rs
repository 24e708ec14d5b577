//! Configuring and opening a store: in memory, with a journal, or read-only.

use std::fmt;
use std::sync::Arc;

use crate::journal::{Archive, Attached, Journal};
use crate::store::core::Core;
use crate::store::durability::flush::Flushing;
use crate::store::durability::ticket;
use crate::store::index::{Indexer, Indexes};
use crate::store::log::positions::Log;
use crate::store::retention::Retention;
#[cfg(all(feature = "analytics", feature = "json"))]
use crate::store::rollups::{MakeRollup, Rollups};
use crate::store::{Engine, Parts, Store};
use crate::{Clock, Durability, EventRef, IdSource, Name, Result, Settings};

/// Configures and opens a store.
///
/// ```
/// use annals::{Budget, Query, SeededIds, Settings, Store, WhenFull};
///
/// let budget = Budget::default().events(1_000_000).when_full(WhenFull::DropOldest);
/// let store = Store::builder()
///     .settings(Settings::default().budget(budget))
///     .ids(std::sync::Arc::new(SeededIds::new(7)))
///     .indexer("currency", |event, values| {
///         if event.data().windows(3).any(|bytes| bytes == b"EUR") {
///             values.push("EUR".into());
///         }
///     })
///     .open()?;
/// assert_eq!(store.query(Query::all().index("currency", "EUR")).count()?, 0);
/// # Ok::<(), annals::Error>(())
/// ```
#[must_use = "a builder makes a store by `open`"]
pub struct Builder {
    pub(crate) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) indexers: Vec<(Name, Arc<Indexer>)>,
    pub(crate) journal: Option<Box<dyn Journal>>,
    pub(super) archives: Vec<Archive>,
    pub(crate) read_only: bool,
    pub(super) progress: Box<dyn FnMut(u64, u64) + Send>,
    #[cfg(all(feature = "analytics", feature = "json"))]
    pub(crate) rollups: Vec<(Name, MakeRollup)>,
    #[cfg(feature = "testing")]
    pub(super) by_hand: bool,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Sets the settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of event ids.
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Registers an index of the values that `indexer` pushes for an event.
    ///
    /// The index is built from the log when a query first uses it, and then extended by new events. The function must
    /// always push the same values for the same event, and must not call the store.
    pub fn indexer(
        mut self,
        name: impl Into<Name>,
        indexer: impl Fn(EventRef<'_>, &mut Vec<Name>) + Send + Sync + 'static,
    ) -> Self {
        self.indexers.push((name.into(), Arc::new(indexer)));
        self
    }

    /// Sets the journal: opening the store reads its events, and appends are written to it.
    pub fn journal(mut self, journal: impl Journal + 'static) -> Self {
        self.journal = Some(Box::new(journal));
        self
    }

    /// Attaches an archive of this store: its events are back at their positions. The store is read-only: an append fails with
    /// [`ReadOnly`](crate::Error::ReadOnly).
    ///
    /// Events that an age limit had dropped before the limit was changed can be present again, if the journal still has them.
    /// Later changes remain in effect: if an aggregate was deleted after its events were archived, those are dropped here too. Of
    /// several archives, a later one can be attached alone; an earlier one needs the later ones, or a gap follows its events.
    pub fn attach(mut self, archive: Archive) -> Self {
        self.archives.push(archive);
        self
    }

    /// Opens the store read-only: an append fails with [`ReadOnly`](crate::Error::ReadOnly), and the journal is read and then closed. With the URL of
    /// a folder the files do not change, and several processes can read them at once; as a journal use a
    /// [`FileReader`](crate::journal::file::FileReader). A store in PostgreSQL is read without a lease, also while another process writes it, unless
    /// archives are attached.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Whether the store is to be opened [read-only](Self::read_only): for a [`UrlScheme`](crate::UrlScheme) of another crate.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Calls `progress` with the bytes read and the total bytes, while the journal is read.
    pub fn on_progress(mut self, progress: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Runs the journal without a thread: threads that wait for it do its work, so that a test with a seed is deterministic.
    #[cfg(feature = "testing")]
    pub fn journal_by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }

    /// Creates the store and recovers the events of its journal.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::Error::Invalid) if a setting is out of range, two indexers have the same name, the settings require
    /// more durability than the journal provides, or this program was built without a feature that the journal needs.
    /// [`Unavailable`](crate::Error::Unavailable) if another process has the journal open, or the operating system cannot read it
    /// now. [`Corrupt`](crate::Error::Corrupt) if it is damaged. [`Failed`](crate::Error::Failed) if it cannot be written;
    /// [`Unreadable`](crate::Error::Unreadable) if the store is opened read-only and reading fails permanently.
    pub fn open(mut self) -> Result<Store> {
        self.check()?;
        match self.journal.take() {
            Some(journal) if self.read_only || !self.archives.is_empty() => self.open_to_read(journal),
            None if !self.archives.is_empty() => Err(crate::Error::invalid(
                "archives are attached to the store that they were taken from: open it with its journal",
            )),
            None if self.read_only => Err(crate::Error::invalid(
                "a read-only store without a journal is always empty: open it with a journal",
            )),
            Some(journal) => self.open_journal(journal),
            None if self.settings.durability > Durability::Volatile => Err(crate::Error::invalid(
                "the settings require durability, but the store has no journal: open it with one",
            )),
            None => Ok(Store::of(self.whole_engine(Log::new(), None)?)),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.settings.check()?;
        for (place, (name, _)) in self.indexers.iter().enumerate() {
            if self.indexers[..place].iter().any(|(other, _)| other == name) {
                return Err(crate::Error::invalid(format!(
                    "two indexers have the name '{name}': rename one of them"
                )));
            }
        }
        #[cfg(all(feature = "analytics", feature = "json"))]
        for (place, (name, _)) in self.rollups.iter().enumerate() {
            if self.rollups[..place].iter().any(|(other, _)| other == name) {
                return Err(crate::Error::invalid(format!(
                    "two rollups have the name '{name}': rename one of them"
                )));
            }
        }
        Ok(())
    }

    fn open_journal(mut self, mut journal: Box<dyn Journal>) -> Result<Store> {
        ticket::check(self.settings.durability, journal.durability())?;
        let flushing = Flushing::new(self.settings.flush.clone(), &*journal);
        let mut progress = std::mem::replace(&mut self.progress, Box::new(|_, _| {}));
        #[cfg(feature = "testing")]
        let by_hand = self.by_hand;
        let log = Log::with_journal(journal.durability(), self.settings.durability);
        let mut engine = self.whole_engine(log, Some(flushing))?;
        engine.recover(&mut *journal, &mut *progress)?;
        let store = Store::of(engine);
        #[cfg(feature = "testing")]
        if by_hand {
            if let Some(flushing) = &store.engine().flushing {
                flushing.start_by_hand(journal);
            }
            return Ok(store);
        }
        if let Some(flushing) = &store.engine().flushing {
            flushing.start(store.engine_arc(), journal)?;
        }
        Ok(store)
    }

    /// Reads the journal and the archives as one journal. The store is read-only.
    fn open_to_read(mut self, mut journal: Box<dyn Journal>) -> Result<Store> {
        let archives = std::mem::take(&mut self.archives);
        let mut progress = std::mem::replace(&mut self.progress, Box::new(|_, _| {}));
        let mut engine = self.whole_engine(Log::new(), None)?;
        if archives.is_empty() {
            engine.opened.read_only = Some("it was opened with `read_only`; open it without `read_only` to append");
            engine
                .recover(&mut *journal, &mut *progress)
                .map_err(crate::Error::of_reader)?;
        } else {
            engine.opened.read_only = Some("archives are attached");
            engine.opened.has_archives = true;
            let recovered = engine.recover(&mut Attached::new(journal, archives), &mut *progress);
            recovered.map_err(crate::Error::of_reader)?;
        }
        let store = Store::of(engine);
        store.close()?;
        Ok(store)
    }

    pub(crate) fn make(self) -> Store {
        Store::of(self.engine(Log::new(), None))
    }

    /// The engine with its rollups.
    #[cfg(all(feature = "analytics", feature = "json"))]
    pub(super) fn whole_engine(mut self, log: Log, flushing: Option<Flushing>) -> Result<Engine> {
        let rollups = std::mem::take(&mut self.rollups);
        let mut engine = self.engine(log, flushing);
        let made: Result<Vec<_>> = rollups.into_iter().map(|(_, make)| make(&engine.indexes)).collect();
        engine.retention.rollups = Rollups::new(made?);
        Ok(engine)
    }

    #[cfg(not(all(feature = "analytics", feature = "json")))]
    #[expect(clippy::unnecessary_wraps, reason = "with rollups it can fail")]
    pub(super) fn whole_engine(self, log: Log, flushing: Option<Flushing>) -> Result<Engine> {
        Ok(self.engine(log, flushing))
    }

    pub(super) fn engine(self, log: Log, flushing: Option<Flushing>) -> Engine {
        let parts = Parts {
            core: Core::new(log, self.settings.shard_count(), crate::settings::lane_count()),
            indexes: Indexes::new(self.indexers),
            retention: Retention::new(&self.settings.budget),
            settings: self.settings,
            clock: self.clock,
            ids: self.ids,
        };
        Engine {
            flushing,
            ..Engine::new(parts)
        }
    }
}
