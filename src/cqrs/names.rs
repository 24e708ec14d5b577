//! Names as a codec stores them: as they are, or as pseudonyms.

use std::borrow::Cow;

use super::{Codec, CodecError, Context, NameKind};
use crate::{Field, Filter, Name, Query, StreamId};

/// The context with the names that are stored.
#[inline]
pub(super) fn stored_context<'a, C: Codec>(codec: &C, context: &'a Context) -> Result<Cow<'a, Context>, CodecError> {
    if !C::HIDES_NAMES {
        return Ok(Cow::Borrowed(context));
    }
    let mut stored = context.clone();
    for (kind, name) in [
        (NameKind::User, &mut stored.user),
        (NameKind::Correlation, &mut stored.correlation),
    ] {
        if let Some(name) = name {
            *name = stored_name(codec, kind, name)?;
        }
    }
    Ok(Cow::Owned(stored))
}

/// The name that is stored.
#[inline]
pub(super) fn stored_name<C: Codec>(codec: &C, kind: NameKind, name: &Name) -> Result<Name, CodecError> {
    Ok(match codec.stored_name(kind, name)? {
        Cow::Borrowed(_) => name.clone(),
        Cow::Owned(stored) => Name::from(stored),
    })
}

/// The aggregate with the id that is stored.
pub(super) fn stored_stream<C: Codec>(codec: &C, stream: &StreamId) -> Result<StreamId, CodecError> {
    let id = stored_name(codec, NameKind::Aggregate, &stream.aggregate_id)?;
    Ok(StreamId::new(stream.aggregate_type.clone(), id))
}

/// The query with the names that are stored.
pub(super) fn stored_query<C: Codec>(codec: &C, mut query: Query) -> Result<Query, CodecError> {
    if C::HIDES_NAMES {
        query
            .filters
            .iter_mut()
            .try_for_each(|filter| store_names(codec, filter))?;
    }
    Ok(query)
}

fn store_names<C: Codec>(codec: &C, filter: &mut Filter) -> Result<(), CodecError> {
    match filter {
        Filter::Is(field, names) => {
            let Some(kind) = kind_of(field) else {
                return Ok(());
            };
            names.iter_mut().try_for_each(|name| {
                *name = stored_name(codec, kind, name)?;
                Ok(())
            })
        }
        Filter::All(filters) | Filter::Any(filters) => {
            filters.iter_mut().try_for_each(|filter| store_names(codec, filter))
        }
        Filter::Not(filter) => store_names(codec, filter),
        // A pseudonym does not begin as its name does.
        Filter::Prefix(field, _) => kind_of(field).map_or(Ok(()), |kind| Err(CodecError::HiddenNames { kind })),
        Filter::Metadata(..)
        | Filter::Data(..)
        | Filter::Text(_)
        | Filter::Versions(_)
        | Filter::Positions(_)
        | Filter::Times(_) => Ok(()),
    }
}

fn kind_of(field: &Field) -> Option<NameKind> {
    match field {
        Field::Aggregate => Some(NameKind::Aggregate),
        Field::Correlation => Some(NameKind::Correlation),
        Field::User => Some(NameKind::User),
        Field::Tag => Some(NameKind::Tag),
        Field::EventType
        | Field::AggregateType
        | Field::Causation
        | Field::Organization
        | Field::Day
        | Field::Index(_) => None,
    }
}
