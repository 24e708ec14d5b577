//! The slot and its checkpoint: made, moved, and asked for.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{PgLsn, ToSql};

use super::super::connect::{Server, Session, quoted, unsupported};
use super::super::errors::fault;
use super::super::parts::PART_POSITIONS;
use super::super::row::Mark;
use super::{At, CaptureSettings, Changes, Lsn, SlotStatus, WHAT, within};
use crate::Position;
use crate::journal::{Batch, JournalError, JournalErrorKind};

pub(super) fn check_slot(name: &str) -> Result<(), JournalError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.is_empty() && name.len() <= 63 && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(JournalError::new(
        JournalErrorKind::Unsupported,
        "a slot's name has 1 to 63 lower-case letters, digits and _",
    ))
}

/// The publication has its name, and a little more.
pub(super) fn check_schema(server: &Server) -> Result<(), JournalError> {
    if server.settings.schema.len() <= 56 {
        return Ok(());
    }
    Err(unsupported(
        server,
        "changes are captured of schemas with names of up to 56 bytes",
    ))
}

/// Makes the publication and the slot where they are not there.
pub(super) async fn make(server: &Server, session: &Session, settings: &CaptureSettings) -> Result<(), JournalError> {
    let client = &session.client;
    let level = client.query_one_scalar("SELECT current_setting('wal_level')", &[]);
    let level: String = within(server, level).await?;
    if level != "logical" {
        return Err(unsupported(
            server,
            "the server must run with wal_level = logical to tell of changes",
        ));
    }
    let publish = format!(
        "CREATE PUBLICATION {} FOR TABLE events WITH (publish = 'insert', publish_via_partition_root = true)",
        publication(server)
    );
    match client.batch_execute(&publish).await {
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => {}
        made => made.map_err(|error| fault(server, WHAT, &error))?,
    }
    // Noted before: whoever ends between making the slot and noting it must not take for read what came before the slot.
    let note = "UPDATE checkpoints SET copied_to = NULL \
                WHERE name = $1 AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)";
    within(server, client.execute(note, &[&settings.slot])).await?;
    let make = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
    match client.execute(make, &[&settings.slot]).await {
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => Ok(()),
        created => created.map(|_| ()).map_err(|error| fault(server, WHAT, &error)),
    }
}

/// One for the schema: two stores in a database have two.
pub(super) fn publication(server: &Server) -> String {
    quoted(&format!("{}_events", server.settings.schema))
}

/// The position behind which the reader goes on, and the one up to which it reads the table: what was written after a slot was made
/// comes from the slot.
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

/// Moves the checkpoint behind events that are there, and the slot to where they came from.
pub(super) async fn acknowledge(server: &Server, at: &At, slot: &str, changes: &Changes) -> Result<(), JournalError> {
    let session = &at.session;
    let Some(last) = changes.batch.events().last() else {
        return Ok(());
    };
    // A server that took over since may have come to other places in its log, and have had other events where rows are gone.
    let is_same = changes.connection == at.connection;
    let lsn = changes.lsn.filter(|_| is_same);
    // The event is there, or it is known to be gone.
    let note = "UPDATE checkpoints SET position = greatest(checkpoints.position, $2), lsn = coalesce($3, lsn), updated_at = now() \
                FROM (SELECT) AS one LEFT JOIN events ON events.position = $2 WHERE name = $1 \
                AND (event_id = $4 AND timestamptz_send(recorded_at) = $5 OR $7 AND event_id IS NULL AND EXISTS \
                (SELECT FROM gaps WHERE part > $2 - $6 AND part <= $2 AND $2 BETWEEN first_position AND last_position))";
    let (position, mark) = (last.position().0.cast_signed(), Mark::of(last));
    let place = lsn.map(|lsn| PgLsn::from(lsn.0));
    let part = PART_POSITIONS.cast_signed();
    let parameters: [&(dyn ToSql + Sync); 7] = [&slot, &position, &place, &mark.id, &mark.recorded, &part, &is_same];
    if within(server, session.client.execute(note, &parameters)).await? == 0 {
        // Where nothing is lost, rows have left: what was read comes again.
        return check_lost(server, session, &changes.batch).await;
    }
    match lsn {
        Some(lsn) => within(server, advance(session, slot, lsn)).await,
        None => Ok(()),
    }
}

/// # Errors
///
/// Failed when events are not there any more, and not gone either: with the first of them.
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
            "the server has lost events that were read from it, from position {first} on, or it was set back: {}",
            server.place()
        )))
    })
}

/// Lets the server forget its log up to a place. A slot that was dropped meanwhile is none of its business.
pub(super) async fn advance(session: &Session, slot: &str, lsn: Lsn) -> Result<(), tokio_postgres::Error> {
    let advance = "SELECT pg_replication_slot_advance(slot_name, $2) FROM pg_replication_slots \
                   WHERE slot_name = $1 AND confirmed_flush_lsn < $2";
    let place = PgLsn::from(lsn.0);
    session.client.execute(advance, &[&slot, &place]).await.map(|_| ())
}

pub(super) async fn status(session: &Session, slot: &str) -> Result<SlotStatus, tokio_postgres::Error> {
    let ask = "SELECT coalesce((SELECT position FROM checkpoints WHERE name = $1), 0), \
               pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, coalesce(wal_status = 'lost', false) \
               FROM (SELECT) AS one LEFT JOIN pg_replication_slots ON slot_name = $1";
    let row = session.client.query_one(ask, &[&slot]).await?;
    let lag: Option<i64> = row.try_get(1)?;
    Ok(SlotStatus {
        position: Position(row.try_get::<_, i64>(0)?.cast_unsigned()),
        lag_bytes: lag.and_then(|bytes| u64::try_from(bytes).ok()),
        is_lost: row.try_get(2)?,
    })
}
