//! Replaces the tables of a read model by those of its rebuild, in the open transaction.

use super::batch::{number, unreadable};
use super::tables::quoted;
use super::trouble::Trouble;
use crate::Position;
use crate::journal::postgres::{Failure, Link, Parameter};

/// Tables and partitioned tables.
const TABLES: &str = "rp";

/// The kinds of relations that are replaced, in the order in which the old ones are dropped: what depends on others first.
const KINDS: [(&str, &str); 4] = [
    ("m", "MATERIALIZED VIEW"),
    ("v", "VIEW"),
    (TABLES, "TABLE"),
    ("S", "SEQUENCE"),
];

/// The relations of a kind in a schema, without the tables of this module, and without sequences that follow their table.
const RELATIONS: &str = "SELECT relname::text FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.to_regnamespace($1) \
     AND pg_catalog.strpos($2, relkind::text) > 0 AND relname NOT IN ('annals_checkpoints', 'annals_dead_letters') \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_class'::regclass AND objid = pg_class.oid \
                     AND refclassid = 'pg_catalog.pg_class'::regclass AND deptype IN ('a', 'i') AND relkind = 'S') \
     ORDER BY oid";

/// The statements that grant on the new relations what roles may do with the old ones.
const GRANTS: &str = "SELECT pg_catalog.format('GRANT %s ON %s %I.%I TO %s%s', privilege_type, \
         CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, nspname, relname, \
         CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END, \
         CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
     FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace, pg_catalog.aclexplode(relacl) \
     WHERE relnamespace = pg_catalog.to_regnamespace($1) AND relname = ANY ($2) AND grantee <> relowner";

/// The checkpoint of the new tables.
pub(super) struct Swapped {
    pub(super) position: Position,
    pub(super) epoch: u64,
}

/// Moves the relations of schema `beside` to schema `live`, which is quoted, with the checkpoint and the letters of this name. Raises the epoch,
/// so that a transaction that began before fails.
pub(super) fn swap(link: &mut Link, (live, beside): (&str, &str), name: &str) -> Result<Swapped, Trouble> {
    let beside = &quoted(beside);
    let mut of_kinds = Vec::new();
    for (kind, word) in KINDS {
        of_kinds.push((word, texts(link, RELATIONS, &[beside, &kind])?));
    }
    let all: Vec<&String> = of_kinds.iter().flat_map(|(_, names)| names).collect();
    let grants = texts(link, GRANTS, &[&live, &all])?;
    for (word, names) in &of_kinds {
        drop_relations(link, live, word, names)?;
    }
    for (word, names) in &of_kinds {
        for name in names {
            let name = quoted(name);
            link.batch(&format!("ALTER {word} {beside}.{name} SET SCHEMA {live}"))?;
        }
    }
    for grant in grants {
        link.batch(&grant)?;
    }
    let swapped = move_checkpoint(link, (live, beside), name)?;
    link.batch(&format!(
        "DROP TABLE {beside}.annals_checkpoints, {beside}.annals_dead_letters; DROP SCHEMA {beside}"
    ))?;
    Ok(swapped)
}

/// # Errors
///
/// [`Trouble::Stop`] when there is no table in the schema `beside`: the projection would write into the tables that are read.
pub(super) fn check_tables(link: &mut Link, beside: &str) -> Result<(), Trouble> {
    if !texts(link, RELATIONS, &[&quoted(beside), &TABLES])?.is_empty() {
        return Ok(());
    }
    Err(Trouble::refused(
        "`create` made no table in the first schema of the search_path: name tables without a schema, so that a rebuild does not write into those \
         that are read",
    ))
}

/// Drops them in one statement, because tables may refer to each other.
fn drop_relations(link: &mut Link, live: &str, word: &str, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = names.iter().map(|name| format!("{live}.{}", quoted(name))).collect();
    link.batch(&format!("DROP {word} IF EXISTS {}", names.join(", ")))
}

fn move_checkpoint(link: &mut Link, (live, beside): (&str, &str), name: &str) -> Result<Swapped, Trouble> {
    let update = format!(
        "UPDATE {live}.annals_checkpoints AS it SET position = new.position, event_id = new.event_id, epoch = it.epoch + 1, \
         updated_at = pg_catalog.now() FROM {beside}.annals_checkpoints AS new WHERE it.name = $1 AND new.name = $1 RETURNING new.position, it.epoch"
    );
    let rows = link.query(None, &update, &[&name])?;
    let row = rows
        .first()
        .ok_or_else(|| Trouble::refused("the checkpoint of the rebuild is missing"))?;
    let swapped = Swapped {
        position: Position(number(row, 0)?),
        epoch: number(row, 1)?,
    };
    link.execute(
        None,
        &format!("DELETE FROM {live}.annals_dead_letters WHERE name = $1"),
        &[&name],
    )?;
    link.batch(&format!(
        "INSERT INTO {live}.annals_dead_letters (name, position, event_id, event_type, aggregate_id, reason, attempts, parked_at) \
         SELECT name, position, event_id, event_type, aggregate_id, reason, attempts, parked_at FROM {beside}.annals_dead_letters"
    ))?;
    Ok(swapped)
}

fn texts(link: &mut Link, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<String>, Trouble> {
    let rows = link.query(None, sql, parameters)?;
    rows.iter()
        .map(|row| row.try_get(0).map_err(|error| unreadable(&error)))
        .collect()
}
