//! The publication: selects the table whose changes the server decodes.

use tokio_postgres::error::SqlState;

use super::super::connect::{Session, quoted};
use super::super::errors::fault;
use super::super::server::Server;
use super::{WHAT, within};
use crate::journal::JournalError;

/// The state of an existing publication. Row filters and column lists exist since PostgreSQL 15.
const STANDING: &str = "SELECT puballtables, pubinsert AND pubviaroot, EXISTS (SELECT FROM pg_catalog.pg_publication_rel AS published \
                        WHERE prpubid = publications.oid AND prrelid = 'events'::regclass \
                        AND to_jsonb(published) ->> 'prqual' IS NULL AND to_jsonb(published) ->> 'prattrs' IS NULL) \
                        FROM pg_catalog.pg_publication AS publications WHERE pubname = $1";
const WITH: &str = "(publish = 'insert', publish_via_partition_root = true)";

/// The name of the publication, one per schema.
pub(super) fn name(server: &Server) -> String {
    format!("{}_events", server.settings.schema)
}

/// Creates the publication, or restores it to publish every event after it was altered.
pub(super) async fn arrange(server: &Server, session: &Session) -> Result<(), JournalError> {
    let client = &session.client;
    let (plain, name) = (name(server), quoted(&name(server)));
    let standing = within(server, client.query_opt(STANDING, &[&plain])).await?;
    let standing = standing.map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
    let standing = standing
        .transpose()
        .map_err(|error: tokio_postgres::Error| fault(server, WHAT, &error))?;
    let change = match standing {
        None => format!("CREATE PUBLICATION {name} FOR TABLE events WITH {WITH}"),
        Some((true, true, _) | (false, true, true)) => return Ok(()),
        Some((true, false, _)) => format!("ALTER PUBLICATION {name} SET {WITH}"),
        Some((false, _, _)) => {
            format!("ALTER PUBLICATION {name} SET TABLE events; ALTER PUBLICATION {name} SET {WITH}")
        }
    };
    match client.batch_execute(&change).await {
        // Another reader created it first.
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(()),
        changed => changed.map_err(|error| fault(server, WHAT, &error)),
    }
}
