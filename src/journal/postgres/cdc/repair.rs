//! Drops a slot that cannot be read any more, so that another is created.

use super::super::connect::Session;
use super::super::server::Server;
use super::slot::{self, OWN};
use super::{publication, within};
use crate::journal::JournalError;

/// Finds out why the log cannot be read, and drops the slot where that helps. Returns whether there is no slot now. `is_undefined` is
/// set when the server does not know the slot or the publication.
///
/// The server looks a publication up as it was when the log was written: one that is created again is not found for what lies before it, and so
/// the slot must be created again as well. The same applies to a slot whose log the server has discarded. Events that the slot did not deliver
/// are then read from the table.
pub(super) async fn repair(
    server: &Server,
    session: &Session,
    slot: &str,
    is_undefined: bool,
) -> Result<bool, JournalError> {
    let ask = format!("SELECT coalesce(wal_status, '') FROM pg_replication_slots WHERE slot_name = $1 AND {OWN}");
    let status = within(server, session.client.query_opt(&ask, &[&slot])).await?;
    let Some(status) = status else { return Ok(true) };
    let is_lost = status.try_get::<_, &str>(0).is_ok_and(|status| status == "lost");
    if !is_lost && !is_undefined {
        return Ok(false);
    }
    // Before the slot is dropped: a role that may not make it keeps the slot.
    publication::arrange(server, session).await?;
    within(server, slot::release(session, slot)).await?;
    Ok(true)
}
