//! A read model that is built from the first event on, beside the one that is read, and takes its place.

use std::sync::atomic::Ordering;

use uuid::Uuid;

use super::SqlProjection;
use super::handle::SqlProjected;
use super::place::{Opened, Place};
use super::sink::SqlSink;
use super::swap::swap;
use super::tables::quoted;
use super::trouble::Trouble;
use crate::Position;
use crate::cqrs::StopReason;
use crate::cqrs::process::{Control, Runner};

impl<P: SqlProjection> SqlProjected<P> {
    /// Builds the read model from the first event on, in a schema beside the one that is read, and replaces the tables of it in one transaction.
    /// Blocks meanwhile; the old tables stay readable and up to date until they are replaced. Returns the position of the new ones.
    ///
    /// * Readers see the old tables or the new ones, complete. The replacement waits for transactions that read the old tables, for at most
    ///   `timeout`. A transaction with the isolation level `REPEATABLE READ` that began before it finds the new tables empty.
    /// * The replacement waits for the batch in flight, here or in another process, for at most `timeout`. No handler that began before writes into
    ///   the new tables.
    /// * A table, view or sequence that [`create`](SqlProjection::create) makes replaces the one of its name; so a changed shape takes effect.
    ///   Grants to roles are carried over, those on single columns are not. Other objects, such as functions, are refused.
    /// * The role needs the privilege to create schemas, and owns the tables.
    /// * Letters of the old read model are dropped; events that cannot be applied are parked again, or end the rebuild, as
    ///   [`on_failure`](super::SqlProjectionBuilder::on_failure) says.
    ///
    /// A projection that had stopped stays stopped: resume it.
    ///
    /// # Errors
    ///
    /// [`StopReason`]: why the rebuild ended, with the event where one is the cause. Then nothing is replaced.
    pub fn rebuild(&self) -> Result<Position, StopReason> {
        let Some(_alone) = self.model.rebuilding.try_lock() else {
            return Err(self.is_rebuilt_elsewhere());
        };
        let mut opened = self.open().map_err(Trouble::into_reason)?;
        let beside = self.beside(&opened);
        self.begin_beside(&mut opened, &beside)?;
        let control = Control::new(&self.model.name, &self.model.store);
        let sink = SqlSink::new(&self.model, &control, Place::Beside(beside.clone()));
        let mut runner = Runner::new(&self.model.store, &control, sink);
        let rebuilt = runner
            .drain()
            .and_then(|_| self.replace(&mut opened, &mut runner, &beside));
        drop(runner);
        if rebuilt.is_err() {
            // Where this fails too, the next rebuild removes the schema.
            drop(opened.link.batch("ROLLBACK"));
            drop(opened.link.batch(&drop_schema(&beside)));
        }
        rebuilt
    }

    fn is_rebuilt_elsewhere(&self) -> StopReason {
        StopReason::Database {
            reason: format!("another rebuild of '{}' is running: wait for its end", self.model.name),
        }
    }

    /// The schema to build in. The same for every rebuild of the read model, so that the rest of one that a crash ended is found.
    fn beside(&self, opened: &Opened) -> String {
        let of = format!("{}.{}", opened.tables.schema, self.model.name);
        format!(
            "annals_rebuild_{}",
            Uuid::new_v5(&Uuid::NAMESPACE_OID, of.as_bytes()).simple()
        )
    }

    fn begin_beside(&self, opened: &mut Opened, beside: &str) -> Result<(), StopReason> {
        let lock = "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1, 0))";
        let locked = opened.link.query(None, lock, &[&beside]);
        let locked = locked.map_err(|failure| Trouble::from(failure).into_reason())?;
        if !locked.first().is_some_and(|row| row.try_get(0).unwrap_or(false)) {
            return Err(self.is_rebuilt_elsewhere());
        }
        let fresh = format!("{}; CREATE SCHEMA {}", drop_schema(beside), quoted(beside));
        opened
            .in_transaction(|link| link.batch(&fresh))
            .map_err(|failure| Trouble::from(failure).into_reason())
    }

    /// Replaces the tables while the checkpoint is locked, against the processor and against all others.
    fn replace(
        &self,
        opened: &mut Opened,
        runner: &mut Runner<SqlSink<P>>,
        beside: &str,
    ) -> Result<Position, StopReason> {
        let live = opened.tables.schema.clone();
        let (old, mut new) = (self.model.epoch.load(Ordering::Acquire), 0);
        let replaced = self.fenced(opened, |batch| {
            // What came meanwhile, so that the new tables are not behind the old ones.
            runner.drain().map_err(Trouble::Stop)?;
            let swapped = swap(batch.link(), (&live, beside), &self.model.name)?;
            // The processor, which waits for the checkpoint, goes on in the new epoch.
            new = swapped.epoch;
            self.model.epoch.store(new, Ordering::Release);
            Ok(swapped.position)
        });
        if replaced.is_err() {
            // Unless it has begun another epoch meanwhile.
            let _restored = self
                .model
                .epoch
                .compare_exchange(new, old, Ordering::AcqRel, Ordering::Relaxed);
        }
        replaced
    }
}

fn drop_schema(schema: &str) -> String {
    format!("DROP SCHEMA IF EXISTS {} CASCADE", quoted(schema))
}
