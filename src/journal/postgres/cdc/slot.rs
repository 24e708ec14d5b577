//! The replication slot and its checkpoint: creates, advances and inspects them.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{PgLsn, ToSql};
use uuid::Uuid;

use super::super::connect::{Session, unsupported};
use super::super::errors::fault;
use super::super::parts::PART_POSITIONS;
use super::super::row::Mark;
use super::super::server::Server;
use super::{At, CaptureSettings, Changes, Lsn, SlotStatus, WHAT, publication, within};
use crate::Position;
use crate::journal::{Batch, JournalError, JournalErrorKind};

pub(super) fn check_slot(name: &str) -> Result<(), JournalError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.is_empty() && name.len() <= 63 && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(JournalError::new(
        JournalErrorKind::Unsupported,
        "invalid name of a replication slot: it must have 1 to 63 lower-case letters, digits and _",
    ))
}

/// Checks the length of the schema, whose name is a prefix of the publication's.
pub(super) fn check_schema(server: &Server) -> Result<(), JournalError> {
    if server.settings.schema.len() <= 56 {
        return Ok(());
    }
    Err(unsupported(
        server,
        "change capture supports schemas with names of up to 56 bytes",
    ))
}

/// The condition for slots of this database and plug-in. Slot names are unique in the whole server.
pub(super) const OWN: &str = "database = current_database() AND plugin = 'pgoutput'";

/// Creates the publication and the slot if they do not exist.
pub(super) async fn make(server: &Server, session: &Session, settings: &CaptureSettings) -> Result<(), JournalError> {
    let client = &session.client;
    let level = client.query_one_scalar("SELECT current_setting('wal_level')", &[]);
    let level: String = within(server, level).await?;
    if level != "logical" {
        return Err(unsupported(
            server,
            "change capture requires wal_level = logical on the server",
        ));
    }
    check_owner(server, session, &settings.slot).await?;
    publication::arrange(server, session).await?;
    // The checkpoint comes first, because a slot without one counts as another store's. After a crash between the two, the events before the
    // slot must not count as read.
    let note = format!(
        "INSERT INTO checkpoints (name, position) SELECT $1, CASE WHEN $2 THEN 0 ELSE position END FROM head \
         ON CONFLICT (name) DO UPDATE SET copied_to = NULL \
         WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND {OWN})"
    );
    let parameters: [&(dyn ToSql + Sync); 2] = [&settings.slot, &settings.from_the_first];
    within(server, client.execute(&note, &parameters)).await?;
    let make = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
    match client.execute(make, &[&settings.slot]).await {
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(()),
        created => created.map(|_| ()).map_err(|error| fault(server, WHAT, &error)),
    }
}

/// # Errors
///
/// Unsupported when there is a slot of this name that this store did not create, or that another store uses too.
async fn check_owner(server: &Server, session: &Session, slot: &str) -> Result<(), JournalError> {
    const CHOOSE: &str = "choose another name with --slot (CaptureSettings::slot)";
    let ask = format!(
        "SELECT coalesce(database, ''), coalesce(plugin, ''), coalesce({OWN}, false), \
         EXISTS (SELECT FROM checkpoints WHERE name = $1) FROM pg_replication_slots WHERE slot_name = $1"
    );
    let Some(row) = within(server, session.client.query_opt(&ask, &[&slot])).await? else {
        return Ok(());
    };
    let get = |column: usize| row.try_get(column).map_err(|error| fault(server, WHAT, &error));
    let (is_own, is_noted): (bool, bool) = (get(2)?, get(3)?);
    if !is_own {
        let text = |column: usize| row.try_get::<_, &str>(column).unwrap_or_default();
        let owner = match (text(0), text(1)) {
            ("", _) => "is a physical one".to_owned(),
            (database, plugin) => format!("belongs to the database '{database}' and the plug-in '{plugin}'"),
        };
        return Err(unsupported(
            server,
            &format!("the replication slot '{slot}' {owner}: {CHOOSE}"),
        ));
    }
    if !is_noted {
        let drop = format!("or drop it with SELECT pg_drop_replication_slot('{slot}') if no program reads from it");
        return Err(unsupported(
            server,
            &format!(
                "this store did not create the replication slot '{slot}', which another store or program may use: {CHOOSE}, {drop}"
            ),
        ));
    }
    match other_user(server, session, slot).await? {
        None => Ok(()),
        Some(schema) => Err(unsupported(
            server,
            &format!(
                "the store in the schema '{schema}' reads from the replication slot '{slot}' too, and each skips what the other has read: \
                 for one of them, drop it with --drop-slot, and {CHOOSE}"
            ),
        )),
    }
}

/// The schema of another store in this database that reads from the slot, among those whose checkpoints this role can read.
async fn other_user(server: &Server, session: &Session, slot: &str) -> Result<Option<String>, JournalError> {
    for _ in 0..LOOKS_MAX {
        let Some(ask) = within(server, ask_others(session)).await? else {
            return Ok(None);
        };
        match session.client.query_opt(&ask, &[&slot]).await {
            // A schema was dropped between the two.
            Err(error) if error.as_db_error().is_some() => {}
            found => {
                let schema = found.and_then(|row| row.map(|row| row.try_get(0)).transpose());
                return schema.map_err(|error| fault(server, WHAT, &error));
            }
        }
    }
    Ok(None)
}

/// The most attempts to search the other stores while some of them are dropped.
const LOOKS_MAX: usize = 10;

/// The statement that searches the checkpoints of other stores; `None` when there are none.
async fn ask_others(session: &Session) -> Result<Option<String>, tokio_postgres::Error> {
    let find = "SELECT quote_ident(nspname), quote_literal(nspname) FROM pg_catalog.pg_class AS tables \
                JOIN pg_catalog.pg_namespace AS schemas \
                ON schemas.oid = relnamespace WHERE relname = 'checkpoints' AND relkind = 'r' AND nspname <> current_schema() \
                AND has_schema_privilege(schemas.oid, 'USAGE') AND has_table_privilege(tables.oid, 'SELECT') \
                AND (SELECT count(*) FROM pg_catalog.pg_attribute WHERE attrelid = tables.oid AND NOT attisdropped \
                AND attname IN ('name', 'position', 'copied_to', 'lsn', 'updated_at')) = 5 LIMIT 1000";
    let rows = session.client.query(find, &[]).await?;
    let of_each = rows.iter().map(|row| {
        let (schema, name): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        Ok(format!(
            "SELECT {name} FROM {schema}.checkpoints WHERE name::text = $1 AND copied_to IS NOT NULL"
        ))
    });
    let of_each: Vec<_> = of_each.collect::<Result<_, tokio_postgres::Error>>()?;
    Ok((!of_each.is_empty()).then(|| format!("{} LIMIT 1", of_each.join(" UNION ALL "))))
}

/// The store of the table, its last position, and the OIDs that identify it in the log.
pub(super) struct Table {
    pub(super) store: Uuid,
    pub(super) position: u64,
    pub(super) numbers: Vec<u32>,
}

/// Reads the state of the table and its partitions, one of which is the table before it was partitioned.
pub(super) async fn table(session: &Session) -> Result<Table, tokio_postgres::Error> {
    let ask = "SELECT store, position, ARRAY(SELECT 'events'::regclass::oid UNION ALL \
               SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = 'events'::regclass) FROM head";
    let row = session.client.query_one(ask, &[]).await?;
    Ok(Table {
        store: row.try_get(0)?,
        position: row.try_get::<_, i64>(1)?.cast_unsigned(),
        numbers: row.try_get(2)?,
    })
}

/// Commits a change, which flushes all earlier commits to the log.
pub(super) async fn flush(session: &Session, slot: &str) -> Result<(), tokio_postgres::Error> {
    let note = "UPDATE checkpoints SET updated_at = now() WHERE name = $1";
    session.client.execute(note, &[&slot]).await.map(|_| ())
}

/// Drops the slot if it belongs to this store, and records that: the next slot of this name may belong to another store.
pub(super) async fn release(session: &Session, slot: &str) -> Result<(), tokio_postgres::Error> {
    let drop = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND {OWN} \
         AND EXISTS (SELECT FROM checkpoints WHERE name = $1 AND copied_to IS NOT NULL)"
    );
    session.client.execute(&drop, &[&slot]).await?;
    let note = "UPDATE checkpoints SET copied_to = NULL WHERE name = $1";
    session.client.execute(note, &[&slot]).await.map(|_| ())
}

/// The position after which the reader resumes, and the last position that it reads from the table: events after the creation of the slot come
/// from the log.
pub(super) async fn checkpoint(
    session: &Session,
    settings: &CaptureSettings,
) -> Result<(u64, u64), tokio_postgres::Error> {
    let note = "INSERT INTO checkpoints (name, position, copied_to) \
                SELECT $1, CASE WHEN $2 THEN 0 ELSE position END, position FROM head \
                ON CONFLICT (name) DO UPDATE SET copied_to = coalesce(checkpoints.copied_to, excluded.copied_to) \
                RETURNING position, copied_to";
    let row = session
        .client
        .query_one(note, &[&settings.slot, &settings.from_the_first])
        .await?;
    let number = |column: usize| row.try_get::<_, i64>(column).map(i64::cast_unsigned);
    Ok((number(0)?, number(1)?))
}

/// Advances the checkpoint over events that the server has, and the slot to their end in the log.
pub(super) async fn acknowledge(server: &Server, at: &At, slot: &str, changes: &Changes) -> Result<(), JournalError> {
    let session = &at.session;
    let Some(last) = changes.batch.events().last() else {
        return Ok(());
    };
    // A standby that took over may have other places in its log, and other events where rows are gone.
    let is_same = changes.connection == at.connection;
    let lsn = changes.lsn.filter(|_| is_same);
    // The event exists, or is recorded as gone.
    let note = "UPDATE checkpoints SET position = greatest(checkpoints.position, $2), lsn = coalesce($3, lsn), updated_at = now() \
                FROM (SELECT) AS one LEFT JOIN events ON events.position = $2 WHERE name = $1 \
                AND (event_id = $4 AND timestamptz_send(recorded_at) = $5 OR $7 AND event_id IS NULL AND EXISTS \
                (SELECT FROM gaps WHERE part > $2 - $6 AND part <= $2 AND $2 BETWEEN first_position AND last_position))";
    let (position, mark) = (last.position().0.cast_signed(), Mark::of(last));
    let place = lsn.map(|lsn| PgLsn::from(lsn.0));
    let part = PART_POSITIONS.cast_signed();
    let parameters: [&(dyn ToSql + Sync); 7] = [&slot, &position, &place, &mark.id, &mark.recorded, &part, &is_same];
    if within(server, session.client.execute(note, &parameters)).await? == 0 {
        check_noted(server, session, slot).await?;
        // Without a loss, rows were deleted meanwhile, and the events are delivered again.
        return check_lost(server, session, &changes.batch).await;
    }
    match lsn {
        Some(lsn) => within(server, advance(session, slot, lsn)).await,
        None => Ok(()),
    }
}

/// # Errors
///
/// Failed when the checkpoint of the slot was deleted: nothing can be acknowledged then.
async fn check_noted(server: &Server, session: &Session, slot: &str) -> Result<(), JournalError> {
    let ask = "SELECT EXISTS (SELECT FROM checkpoints WHERE name = $1)";
    if within(server, session.client.query_one_scalar(ask, &[&slot])).await? {
        return Ok(());
    }
    Err(JournalError::failed(format!(
        "the events were not acknowledged: the checkpoint of the slot '{slot}' is no longer in the table checkpoints; restore its row, or drop \
         the slot with SELECT pg_drop_replication_slot('{slot}') to read from the first event again: {}",
        server.place()
    )))
}

/// # Errors
///
/// Failed when events are neither present nor recorded as gone, with the first of them.
async fn check_lost(server: &Server, session: &Session, batch: &Batch) -> Result<(), JournalError> {
    let ask = "SELECT min(taken.position) FROM unnest($1::bigint[], $2::uuid[], $3::bytea[]) AS taken (position, id, recorded) \
               LEFT JOIN events ON events.position = taken.position \
               WHERE (event_id = id AND timestamptz_send(recorded_at) = recorded) IS NOT TRUE AND (event_id IS NOT NULL OR NOT EXISTS \
               (SELECT FROM gaps WHERE part > taken.position - $4 AND part <= taken.position \
                AND taken.position BETWEEN first_position AND last_position))";
    let positions: Vec<_> = batch.events().map(|event| event.position().0.cast_signed()).collect();
    let (ids, times): (Vec<_>, Vec<_>) = batch
        .events()
        .map(Mark::of)
        .map(|mark| (mark.id, mark.recorded))
        .unzip();
    let part = PART_POSITIONS.cast_signed();
    let parameters: [&(dyn ToSql + Sync); 4] = [&positions, &ids, &times, &part];
    let first: Option<i64> = within(server, session.client.query_one_scalar(ask, &parameters)).await?;
    first.map_or(Ok(()), |first| {
        Err(JournalError::failed(format!(
            "the server has lost events that were read from it, starting at position {first}, or a backup was restored: {}",
            server.place()
        )))
    })
}

/// Releases the log up to a place. A no-op for a slot that was dropped meanwhile.
pub(super) async fn advance(session: &Session, slot: &str, lsn: Lsn) -> Result<(), tokio_postgres::Error> {
    let advance = format!(
        "SELECT pg_replication_slot_advance(slot_name, $2) FROM pg_replication_slots \
         WHERE slot_name = $1 AND {OWN} AND confirmed_flush_lsn < $2"
    );
    let place = PgLsn::from(lsn.0);
    session.client.execute(&advance, &[&slot, &place]).await.map(|_| ())
}

pub(super) async fn status(session: &Session, slot: &str) -> Result<SlotStatus, tokio_postgres::Error> {
    let ask = format!(
        "SELECT coalesce(position, 0), pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, \
         coalesce(wal_status = 'lost', false) FROM (SELECT) AS one LEFT JOIN checkpoints ON name = $1 \
         LEFT JOIN pg_replication_slots ON slot_name = name AND copied_to IS NOT NULL AND {OWN}"
    );
    let row = session.client.query_one(&ask, &[&slot]).await?;
    let lag: Option<i64> = row.try_get(1)?;
    Ok(SlotStatus {
        position: Position(row.try_get::<_, i64>(0)?.cast_unsigned()),
        lag_bytes: lag.and_then(|bytes| u64::try_from(bytes).ok()),
        is_lost: row.try_get(2)?,
    })
}
