//! JSON of other programs: the pointers to the fields of an event.

mod document;
mod times;
mod value;

use annals::{ContentType, Name, NewEvent, StreamId, Timestamp};
use serde_json::value::RawValue;

use self::document::{Document, Found};
use crate::load::json_text::{check_depth, on_one_line};
use crate::load::metadata::{Ids, Metadata, read_metadata};
use crate::load::{BadLine, Entry};

/// The fields of an event that a pointer can select.
pub(crate) const FIELDS: [&str; 14] = [
    "aggregateId",
    "aggregateType",
    "eventType",
    "timestamp",
    "eventId",
    "eventVersion",
    "eventData",
    "metadata",
    "correlationId",
    "causationId",
    "userId",
    "organizationId",
    "tags",
    "recordedAt",
];

/// The place of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// At a JSON pointer, split into names.
    Pointer(String, Vec<String>),
    /// In no line: every event gets this text.
    Text(String),
}

/// One `--map`: a field and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) field: &'static str,
    pub(crate) source: Source,
}

impl Mapped {
    /// Reads `FIELD=/POINTER`, or `FIELD="TEXT"`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, source) = text
            .split_once('=')
            .ok_or("write it as FIELD=/POINTER, such as eventType=/activity")?;
        let field = FIELDS.into_iter().find(|field| *field == name);
        let field =
            field.ok_or_else(|| format!("'{name}' is no field of an event; the fields are {}", FIELDS.join(", ")))?;
        let source = match source.as_bytes().first() {
            None | Some(b'/') => Source::pointer(source)?,
            Some(b'"') => Source::text(source, field)?,
            Some(_) => {
                return Err(format!(
                    "the pointer '{source}' must begin with '/'; a text that every event gets is written as {field}='\"{source}\"'"
                ));
            }
        };
        Ok(Self { field, source })
    }
}

impl Source {
    fn pointer(pointer: &str) -> Result<Self, String> {
        let names = pointer.split('/').skip(1).map(|name| {
            if name.replace("~0", "").replace("~1", "").contains('~') {
                return Err(format!(
                    "the pointer '{pointer}' has a '~' that is neither '~0' (a ~) nor '~1' (a /)"
                ));
            }
            Ok(name.replace("~1", "/").replace("~0", "~"))
        });
        Ok(Self::Pointer(pointer.to_owned(), names.collect::<Result<_, _>>()?))
    }

    fn text(json: &str, field: &str) -> Result<Self, String> {
        let is_text = [
            "aggregateId",
            "aggregateType",
            "eventType",
            "userId",
            "organizationId",
            "correlationId",
        ];
        if !is_text.contains(&field) {
            return Err(format!("{field} cannot be one text for all events: give it a pointer"));
        }
        let text: String = serde_json::from_str(json).map_err(|error| format!("{json} is no JSON text: {error}"))?;
        Ok(Self::Text(text))
    }
}

/// The place of each field of an event. A field without a `--map` has its own name.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    sources: [Source; FIELDS.len()],
    /// Whether values that no pointer selects are kept in the metadata.
    keeps_unknown: bool,
}

impl Mapping {
    /// # Errors
    ///
    /// The name of a field that is mapped twice.
    pub(crate) fn new(mapped: &[Mapped], keeps_unknown: bool) -> Result<Self, &'static str> {
        let mut sources = FIELDS.map(|field| Source::Pointer(format!("/{field}"), vec![field.to_owned()]));
        for (number, Mapped { field, source }) in mapped.iter().enumerate() {
            if mapped[..number].iter().any(|other| other.field == *field) {
                return Err(field);
            }
            let place = FIELDS.iter().position(|name| name == field);
            if let Some(slot) = place.and_then(|place| sources.get_mut(place)) {
                *slot = source.clone();
            }
        }
        Ok(Self { sources, keeps_unknown })
    }

    /// Reads one line, or one element of an array.
    ///
    /// # Errors
    ///
    /// A [`BadLine`] with the field, its pointer and, if there is no value, the existing fields.
    pub(crate) fn entry(&self, line: &[u8]) -> Result<Entry, BadLine> {
        let document = Document::parse(line)?;
        let reader = Reader {
            mapping: self,
            document: &document,
        };
        let stream = StreamId {
            aggregate_type: reader.required("aggregateType")?,
            aggregate_id: reader.required("aggregateId")?,
        };
        let mut metadata = reader.metadata()?;
        if self.keeps_unknown {
            document.keep_rest(&self.pointers(), &mut metadata)?;
        }
        let mut event = NewEvent::new(reader.required("eventType")?);
        event.id = reader.read("eventId", value::uuid)?;
        event.schema_version = reader.read("eventVersion", value::number)?.unwrap_or(1);
        event.timestamp = Some(reader.time()?);
        event.correlation_id = metadata.ids.correlation.map(Into::into);
        event.causation_id = metadata.ids.causation.map(Into::into);
        event.user_id = metadata.ids.user.map(Into::into);
        event.organization_id = metadata.ids.organization.map(Into::into);
        let tags = reader.read("tags", value::names)?.unwrap_or_default();
        event.tags = tags.into_iter().map(Into::into).collect();
        event.metadata = metadata.rest.into();
        event.metadata_type = ContentType::Json;
        event.data = reader.data()?.into();
        event.data_type = ContentType::Json;
        Ok(Entry {
            stream,
            event,
            recorded_at: reader.read("recordedAt", times::read)?,
            place: None,
        })
    }

    fn source(&self, field: &str) -> Option<&Source> {
        let place = FIELDS.iter().position(|name| *name == field)?;
        self.sources.get(place)
    }

    fn pointers(&self) -> Vec<&[String]> {
        let names = self.sources.iter().filter_map(|source| match source {
            Source::Pointer(_, names) => Some(names.as_slice()),
            Source::Text(_) => None,
        });
        names.collect()
    }
}

/// Reads the fields of one document.
struct Reader<'a> {
    mapping: &'a Mapping,
    document: &'a Document<'a>,
}

impl<'a> Reader<'a> {
    /// The value of a field, parsed by `read`; `None` if it is absent or `null`.
    fn read<T>(&self, field: &str, read: impl FnOnce(&'a RawValue) -> Result<T, String>) -> Result<Option<T>, BadLine> {
        let Some(Source::Pointer(pointer, names)) = self.mapping.source(field) else {
            return Ok(None);
        };
        let in_field = |reason: String| BadLine(format!("{field}: the value at {pointer} {reason}"));
        match self.document.find(names).map_err(in_field)? {
            Found::Value(value) if value.get() != "null" => read(value).map(Some).map_err(in_field),
            Found::Value(_) | Found::Nothing { .. } => Ok(None),
        }
    }

    /// A name from the line, or the text that every event gets.
    fn name(&self, field: &str) -> Result<Option<Name>, BadLine> {
        if let Some(Source::Text(text)) = self.mapping.source(field) {
            return Ok(Some(text.as_str().into()));
        }
        let name = self.read(field, value::name)?;
        Ok(name.filter(|name| !name.is_empty()))
    }

    fn required(&self, field: &str) -> Result<Name, BadLine> {
        self.name(field)?.ok_or_else(|| self.missing(field))
    }

    fn time(&self) -> Result<Timestamp, BadLine> {
        self.read("timestamp", times::read)?
            .ok_or_else(|| self.missing("timestamp"))
    }

    fn data(&self) -> Result<Vec<u8>, BadLine> {
        let data = self.read("eventData", |data| {
            check_depth(Some(data)).map_err(|reason| format!("has {reason}"))?;
            Ok(on_one_line(data.get()).into_owned().into_bytes())
        });
        Ok(data?.unwrap_or_default())
    }

    fn metadata(&self) -> Result<Metadata, BadLine> {
        let ids = Ids {
            correlation: self.name("correlationId")?,
            causation: self.name("causationId")?,
            user: self.name("userId")?,
            organization: self.name("organizationId")?,
        };
        let metadata = self.read("metadata", Ok)?;
        read_metadata(metadata, false)?.with_ids(&ids)
    }

    /// The error message for a missing field.
    fn missing(&self, field: &str) -> BadLine {
        let Some(Source::Pointer(pointer, names)) = self.mapping.source(field) else {
            return BadLine(format!("{field} is empty"));
        };
        let there = match self.document.find(names) {
            Ok(Found::Nothing { there }) => there,
            Ok(Found::Value(_)) | Err(_) => "the value is empty".to_owned(),
        };
        BadLine(format!(
            "{field}: nothing at {pointer}; {there}; name its place with --map {field}=/POINTER"
        ))
    }
}

#[cfg(test)]
mod tests;
