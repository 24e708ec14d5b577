//! Read models in PostgreSQL, whose rows and checkpoint commit in one transaction.

mod batch;
mod build;
mod handle;
mod letters;
mod model;
mod place;
mod rebuild;
mod rows;
mod sink;
mod statement;
mod swap;
mod tables;
mod trouble;

use serde::de::DeserializeOwned;

pub use self::build::SqlProjectionBuilder;
pub use self::handle::SqlProjected;
pub use self::rows::{Rows, SqlError};
use crate::cqrs::HandlerError;
use crate::{Event, Gap};

/// A read model in tables of PostgreSQL.
///
/// [`Processors::project_to_postgres`](crate::cqrs::Processors::project_to_postgres) runs it on a thread of its own. The rows of a batch of
/// events commit in one transaction with the checkpoint, so each event changes the tables exactly once, also after a crash, a fail-over, or when
/// two processes run the projection.
///
/// The state is in the tables, and `self` is shared: a value in `self` would not roll back together with the rows.
///
/// ```no_run
/// use annals::cqrs::{HandlerError, Processors, Rows, SqlProjection};
/// use annals::{Event, Store};
///
/// #[derive(serde::Deserialize)]
/// enum AccountEvent {
///     Deposited { amount: i64 },
/// }
///
/// struct Balances;
///
/// impl SqlProjection for Balances {
///     type Event = AccountEvent;
///
///     fn create(&self, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
///         rows.execute("CREATE TABLE IF NOT EXISTS balances (id text PRIMARY KEY, balance bigint NOT NULL)", &[])?;
///         Ok(())
///     }
///
///     fn apply(&self, event: AccountEvent, record: &Event, rows: &mut Rows<'_>) -> Result<(), HandlerError> {
///         let AccountEvent::Deposited { amount } = event;
///         let add = "INSERT INTO balances VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET balance = balances.balance + $2";
///         rows.execute(add, &[&record.aggregate_id(), &amount])?;
///         Ok(())
///     }
/// }
///
/// let store = Store::open_url("file:data/bank")?;
/// let processors = Processors::new(&store);
/// let url = "postgres://reports@localhost/bank?schema=reports";
/// let balances = processors.project_to_postgres("balances", url, Balances).start()?;
/// balances.when_caught_up(std::time::Duration::from_secs(60))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SqlProjection: Send + Sync + 'static {
    /// The event types: a serde enum with a variant for each that the read model depends on. Events of other types are not read.
    type Event: DeserializeOwned + 'static;

    /// Creates the tables, if they do not exist, with statements such as `CREATE TABLE IF NOT EXISTS`. Called at each start, and for a rebuild.
    ///
    /// Name the tables without a schema, here and in [`apply`](Self::apply): a rebuild creates them in another schema first.
    ///
    /// # Errors
    ///
    /// Why the tables cannot be created. The processor stops.
    fn create(&self, rows: &mut Rows<'_>) -> Result<(), HandlerError>;

    /// Changes the rows as an event says. `record` has the event's position, time and names.
    ///
    /// Called again with the same event when the batch was rolled back, and in a rebuild: have no other effects than on rows. One that must be, such as
    /// a hint to a cache, is left out where [`Rows::is_rebuild`] says so.
    ///
    /// # Errors
    ///
    /// Why the event cannot be applied. Its rows are rolled back, those of the events before it stay.
    fn apply(&self, event: Self::Event, record: &Event, rows: &mut Rows<'_>) -> Result<(), HandlerError>;

    /// Called where events are gone before they were applied: past a limit or a budget, deleted, truncated, or archived. By default the processor
    /// stops with the gap as the reason; a projection that can do without these events returns `Ok`.
    ///
    /// # Errors
    ///
    /// Why the projection cannot do without these events.
    fn gap(&self, _gap: &Gap, _rows: &mut Rows<'_>) -> Result<(), HandlerError> {
        Err(HandlerError::permanent(
            "the projection needs every event: implement `SqlProjection::gap` to go on without them",
        ))
    }
}
