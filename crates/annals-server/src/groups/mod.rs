//! Groups of consumers that clients define. Their definitions are events of the store; their leases are in memory.

mod definition;
mod leases;
mod raw;
mod served;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use annals::{Expected, NewEvent, Position, Query, Store, StreamId, Version};
use parking_lot::Mutex;

use self::definition::DEFINITIONS;
pub(crate) use self::definition::Definition;
pub(crate) use self::leases::Settlement;
pub(crate) use self::served::{Served, Taken};
use crate::names::check_name;
use crate::problem::{Kind, Problem};

/// Groups of a store, at most.
const GROUPS_MAX: usize = 100;
/// The types of the events of a definition's stream.
const DEFINED: &str = "annals.GroupDefined";
const DELETED: &str = "annals.GroupDeleted";

/// The groups of a store.
pub(crate) struct Groups {
    store: Store,
    /// `None` before the definitions are read.
    all: Mutex<Option<BTreeMap<String, Entry>>>,
}

/// A group, which is opened when a client first uses it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) definition: Definition,
    /// The version of its stream at which it was first defined since it was last deleted.
    since: Version,
    pub(crate) served: Option<Arc<Served>>,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").finish_non_exhaustive()
    }
}

/// The stream of the definition of a group.
fn stream_of(name: &str) -> StreamId {
    StreamId::new(DEFINITIONS, format!("annals.served-group/{name}"))
}

/// The name of a group in the toolkit. It differs from the names of a program's processors. A deleted group leaves its position and letters in the
/// store, because dropping them would be a gap for every reader of the log, so each definition after a deletion has another name.
fn toolkit_name(name: &str, since: Version) -> String {
    format!("server/{name}/{since}")
}

/// # Errors
///
/// [`Kind::Invalid`] if a group cannot have this name.
fn check(name: &str) -> Result<(), Problem> {
    check_name(name).map_err(|_| {
        Problem::invalid(format!(
            "'{name}' is no name of a group: write 1 to 64 letters, digits, '-', '_' and '.'"
        ))
    })
}

pub(crate) fn missing(name: &str) -> Problem {
    Problem::new(
        Kind::NotFound,
        format!("there is no group '{name}': define it with PUT"),
    )
}

impl Groups {
    pub(crate) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            all: Mutex::default(),
        })
    }

    /// Runs `work` on the groups. Reads their definitions first, once.
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Entry>) -> Result<T, Problem>) -> Result<T, Problem> {
        let mut all = self.all.lock();
        let groups = match all.take() {
            Some(groups) => groups,
            None => read(&self.store)?,
        };
        work(all.insert(groups))
    }

    /// Saves the positions of all groups, before the store is closed. Leases can still be settled.
    pub(crate) fn save(&self) {
        let all = self.all.lock();
        let entries = all.iter().flat_map(BTreeMap::values);
        for served in entries.filter_map(|entry| entry.served.as_ref()) {
            served.save();
        }
    }

    /// Every group, ascending by name.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the store cannot be read.
    pub(crate) fn list(&self) -> Result<Vec<(String, Entry)>, Problem> {
        self.with(|groups| {
            Ok(groups
                .iter()
                .map(|(name, entry)| (name.clone(), entry.clone()))
                .collect())
        })
    }

    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is no such group.
    pub(crate) fn get(&self, name: &str) -> Result<Entry, Problem> {
        self.with(|groups| groups.get(name).cloned().ok_or_else(|| missing(name)))
    }

    /// Defines or redefines a group. A redefinition ends its leases, whose events are delivered again. Returns whether the group is new.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`] if the name or the definition is invalid, or there are too many groups; the error of the store.
    pub(crate) fn define(&self, name: &str, definition: Definition) -> Result<bool, Problem> {
        check(name)?;
        let data = definition.to_json()?;
        self.with(|groups| {
            let known = groups.get(name);
            if known.is_some_and(|known| known.definition.to_json().is_ok_and(|known| known == data)) {
                return Ok(false);
            }
            if known.is_none() && groups.len() >= GROUPS_MAX {
                return Err(Problem::invalid(format!(
                    "the namespace has {GROUPS_MAX} groups, which is the limit: delete some"
                )));
            }
            definition.check(&self.store)?;
            let event = NewEvent::new(DEFINED).data(data);
            let appended = self.store.append(&stream_of(name), Expected::Any, event)?;
            let entry = Entry {
                definition,
                since: known.map_or(appended.last_version, |known| known.since),
                served: None,
            };
            let before = groups.insert(name.to_owned(), entry);
            end(before.as_ref());
            Ok(before.is_none())
        })
    }

    /// Deletes a group. A new group with the same name does not continue it.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is no such group; the error of the store.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Problem> {
        self.with(|groups| {
            if !groups.contains_key(name) {
                return Err(missing(name));
            }
            self.store
                .append(&stream_of(name), Expected::Any, NewEvent::new(DELETED))?;
            end(groups.remove(name).as_ref());
            Ok(())
        })
    }

    /// Whether a group has handled its events up to a position; without one, all that are visible. With the group, opened.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); the error of the store.
    pub(crate) fn has_handled(&self, name: &str, up_to: Option<Position>) -> Result<(bool, Arc<Served>), Problem> {
        let (served, definition) = (self.open(name)?, self.get(name)?.definition);
        let status = served.status();
        let until = up_to.unwrap_or_else(|| self.store.visible());
        // The position of a group passes events of other filters only when it looks for its next event.
        let due = definition.query()?.after(status.position).until(until).limit(1);
        let is_handled = status.position >= until || self.store.query(due).events()?.is_empty();
        Ok((is_handled && (up_to.is_some() || status.in_flight == 0), served))
    }

    /// The group, opened.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is no such group; a [`Problem`] if it cannot be opened.
    pub(crate) fn open(&self, name: &str) -> Result<Arc<Served>, Problem> {
        self.with(|groups| {
            let entry = groups.get_mut(name).ok_or_else(|| missing(name))?;
            if let Some(served) = &entry.served {
                return Ok(Arc::clone(served));
            }
            let served = Arc::new(Served::open(
                &self.store,
                &toolkit_name(name, entry.since),
                &entry.definition,
            )?);
            entry.served = Some(Arc::clone(&served));
            Ok(served)
        })
    }
}

fn end(entry: Option<&Entry>) {
    if let Some(served) = entry.and_then(|entry| entry.served.as_ref()) {
        served.end();
    }
}

/// The groups that the store has definitions for.
fn read(store: &Store) -> Result<BTreeMap<String, Entry>, Problem> {
    let mut groups = BTreeMap::new();
    let query = Query::all().aggregate_type(DEFINITIONS);
    for event in store.query(query).events()? {
        let name = event.aggregate_id().strip_prefix("annals.served-group/");
        // A definition by another version of the server, or by a client's append, may be invalid.
        let Some(name) = name.filter(|name| check(name).is_ok()) else {
            continue;
        };
        if event.event_type() == DELETED {
            groups.remove(name);
        }
        let (DEFINED, Ok(definition)) = (event.event_type(), Definition::parse(event.data())) else {
            continue;
        };
        let since = groups.get(name).map_or(event.version(), |known: &Entry| known.since);
        let entry = Entry {
            definition,
            since,
            served: None,
        };
        groups.insert(name.to_owned(), entry);
    }
    Ok(groups)
}
