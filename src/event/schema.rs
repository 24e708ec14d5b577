//! What many events have in common, stored once.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

use super::{ContentType, NewEvent};
use crate::{Name, StreamId};

/// The fields that many events share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct EventSchema {
    pub(crate) aggregate_type: Name,
    pub(crate) event_type: Name,
    pub(crate) schema_version: u32,
    pub(crate) data_type: ContentType,
    pub(crate) metadata_type: ContentType,
}

impl EventSchema {
    /// As [`SchemaRef::is`], and faster: names are compared with names.
    #[inline]
    pub(crate) fn is_of(&self, stream: &StreamId, event: &NewEvent<'_>) -> bool {
        self.event_type == *event.event_type
            && self.aggregate_type == stream.aggregate_type
            && self.schema_version == event.schema_version
            && self.data_type == event.data_type
            && self.metadata_type == event.metadata_type
    }
}

/// The fields of a schema, borrowed.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct SchemaRef<'a> {
    pub(crate) aggregate_type: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) schema_version: u32,
    pub(crate) data_type: &'a ContentType,
    pub(crate) metadata_type: &'a ContentType,
}

impl<'a> SchemaRef<'a> {
    /// The schema of an event that is appended to `stream`.
    pub(crate) fn of(stream: &'a StreamId, event: &'a NewEvent<'_>) -> Self {
        Self {
            aggregate_type: &stream.aggregate_type,
            event_type: &event.event_type,
            schema_version: event.schema_version,
            data_type: &event.data_type,
            metadata_type: &event.metadata_type,
        }
    }

    pub(crate) fn is(&self, schema: &EventSchema) -> bool {
        schema.event_type == *self.event_type
            && schema.aggregate_type == *self.aggregate_type
            && schema.schema_version == self.schema_version
            && schema.data_type == *self.data_type
            && schema.metadata_type == *self.metadata_type
    }

    pub(crate) fn to_schema(self) -> EventSchema {
        EventSchema {
            aggregate_type: self.aggregate_type.into(),
            event_type: self.event_type.into(),
            schema_version: self.schema_version,
            data_type: self.data_type.clone(),
            metadata_type: self.metadata_type.clone(),
        }
    }
}

/// Maximum number of schemas that are shared between events of one source.
const SHARED_MAX: usize = 4_096;

/// The known schemas, each with a note of their owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemas<N = ()> {
    hasher: foldhash::fast::RandomState,
    known: HashTable<KnownSchema<N>>,
}

#[derive(Clone, Debug)]
pub(crate) struct KnownSchema<N> {
    pub(crate) schema: Arc<EventSchema>,
    pub(crate) note: N,
    hash: u64,
}

impl<N: Default> Schemas<N> {
    /// The schema with these fields, which is added if it is new.
    pub(crate) fn intern(&mut self, fields: &SchemaRef<'_>) -> &mut KnownSchema<N> {
        let hash = self.hasher.hash_one(fields);
        let is_it = |known: &KnownSchema<N>| known.hash == hash && fields.is(&known.schema);
        let entry = self.known.entry(hash, is_it, |known| known.hash);
        let new = || KnownSchema {
            schema: Arc::new(fields.to_schema()),
            note: N::default(),
            hash,
        };
        entry.or_insert_with(new).into_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets the schemas for which `is_kept` is false.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&KnownSchema<N>) -> bool) {
        self.known.retain(|known| is_kept(known));
    }

    /// Releases unused capacity.
    pub(crate) fn shrink(&mut self) {
        self.known.shrink_to_fit(|known| known.hash);
    }
}

impl Schemas {
    /// The schema with these fields. Forgets all schemas that it has when there are too many.
    pub(crate) fn shared(&mut self, fields: &SchemaRef<'_>) -> Arc<EventSchema> {
        if self.len() >= SHARED_MAX {
            *self = Self::default();
        }
        Arc::clone(&self.intern(fields).schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_schema_is_stored_once() {
        let mut schemas = Schemas::<()>::default();
        let json = ContentType::Json;
        let fields = SchemaRef {
            aggregate_type: "Order",
            event_type: "Placed",
            schema_version: 1,
            data_type: &json,
            metadata_type: &json,
        };
        let others = [
            SchemaRef {
                aggregate_type: "Cart",
                ..fields
            },
            SchemaRef {
                event_type: "Paid",
                ..fields
            },
            SchemaRef {
                schema_version: 2,
                ..fields
            },
            SchemaRef {
                data_type: &ContentType::Bytes,
                ..fields
            },
            SchemaRef {
                metadata_type: &ContentType::Bytes,
                ..fields
            },
        ];
        let first = Arc::clone(&schemas.intern(&fields).schema);
        assert_eq!(*first, fields.to_schema());
        assert!(
            others
                .iter()
                .all(|other| !Arc::ptr_eq(&schemas.intern(other).schema, &first))
        );
        assert!(Arc::ptr_eq(&schemas.intern(&fields).schema, &first));
        assert_eq!(schemas.len(), 6);
    }
}
