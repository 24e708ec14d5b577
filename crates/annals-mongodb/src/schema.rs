//! The indexes, and the first head: made by any number of processes at once, and read back before anything is appended.

use annals::journal::{JournalError, JournalErrorKind as Kind};
use futures_util::TryStreamExt as _;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use uuid::Uuid;

use crate::errors::is_duplicate;
use crate::head;
use crate::server::Data;

/// The unique index: no version of an aggregate is there twice.
const UNIQUE: [&str; 2] = ["aggregateId", "sequenceNumber"];
/// For queries of other programs: the journal does not use them.
const OTHERS: [&[&str]; 5] = [
    &["aggregateId", "eventType"],
    &["timestamp"],
    &["eventType", "timestamp"],
    &["metadata.correlationId"],
    &["metadata.userId"],
];

/// Makes what is missing, and returns when the server has confirmed all of it.
///
/// # Errors
///
/// [`Unsupported`](Kind::Unsupported) when the database belongs to another program, or an index is another one.
pub(crate) async fn create(data: &Data) -> Result<(), JournalError> {
    if head::read(data).await?.is_none() {
        check_foreign(data).await?;
    }
    let mut models = vec![model(&UNIQUE, true)];
    models.extend(OTHERS.iter().map(|fields| model(fields, false)));
    for model in models {
        let created = data.events.create_index(model).await;
        created.map_err(|error| data.error("create an index of", &error))?;
    }
    check_unique(data).await?;
    let inserted = data.head.insert_one(head::first(Uuid::new_v4())).await;
    match inserted {
        // Another process was faster.
        Err(error) if is_duplicate(&error) => Ok(()),
        Err(error) => Err(data.error("create the head of", &error)),
        Ok(_) => Ok(()),
    }
}

fn model(fields: &[&str], is_unique: bool) -> IndexModel {
    let options = is_unique.then(|| IndexOptions::builder().unique(true).build());
    IndexModel::builder().keys(keys(fields)).options(options).build()
}

fn keys(fields: &[&str]) -> Document {
    fields.iter().map(|field| ((*field).to_owned(), 1.into())).collect()
}

/// Refuses events without a head. Another process may be creating the store, so the head is read once more.
async fn check_foreign(data: &Data) -> Result<(), JournalError> {
    let found = data.events.find_one(doc! {}).await;
    let found = found.map_err(|error| data.error("read", &error))?;
    if found.is_none() || head::read(data).await?.is_some() {
        return Ok(());
    }
    Err(JournalError::new(
        Kind::Unsupported,
        format!(
            "{} cannot be a store, because its collection events belongs to another program: name another database, and import the events",
            data.address
        ),
    ))
}

/// What is in force counts, not what was asked for: an index of the same name may exist with other options.
async fn check_unique(data: &Data) -> Result<(), JournalError> {
    let failed = |error| data.error("list the indexes of", &error);
    let indexes: Vec<_> = data
        .events
        .list_indexes()
        .await
        .map_err(failed)?
        .try_collect()
        .await
        .map_err(failed)?;
    if indexes.iter().any(is_whole) {
        return Ok(());
    }
    Err(JournalError::new(
        Kind::Unsupported,
        format!(
            "{} cannot be a store, because its collection events has no unique index on aggregateId and sequenceNumber without a filter: drop \
             the index on these fields, and open the store again",
            data.address
        ),
    ))
}

/// Whether an index makes the versions of all events unique.
fn is_whole(index: &IndexModel) -> bool {
    let fields: Vec<_> = index.keys.keys().map(String::as_str).collect();
    let options = index.options.as_ref();
    let is_limited = options.is_some_and(|options| {
        options.partial_filter_expression.is_some() || options.sparse == Some(true) || options.collation.is_some()
    });
    fields == UNIQUE && options.is_some_and(|options| options.unique == Some(true)) && !is_limited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_leaves_events_out_was_taken() {
        assert!(is_whole(&model(&UNIQUE, true)));
        let turned = model(&["sequenceNumber", "aggregateId"], true);
        let mut filtered = model(&UNIQUE, true);
        filtered.options.as_mut().unwrap().partial_filter_expression = Some(doc! { "epoch": 1 });
        let mut sparse = model(&UNIQUE, true);
        sparse.options.as_mut().unwrap().sparse = Some(true);
        for index in [
            model(&UNIQUE, false),
            turned,
            filtered,
            sparse,
            model(&["aggregateId"], true),
        ] {
            assert!(!is_whole(&index), "{index:?}");
        }
    }
}
