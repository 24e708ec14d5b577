//! One record of a CSV file as one event: columns found by name, the others kept as data.

use std::collections::BTreeMap;

use annals::{ContentType, Name, NewEvent, Position, StreamId, Timestamp, Version};
use csv::{ByteRecord, StringRecord};
use serde_json::value::RawValue;

use crate::load::csv::columns::Columns;
use crate::load::json_text::check_depth;
use crate::load::jsonl::not_utf8;
use crate::load::metadata::{Metadata, parse_metadata, push_member};
use crate::load::{BadLine, Entry};
use crate::when;

/// Number of columns that a message lists.
const COLUMNS_LISTED: usize = 30;
/// The type of aggregates if the CSV file has no column for it.
const AGGREGATE_TYPE_DEFAULT: &str = "Case";

/// The role of a column of a CSV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Aggregate,
    AggregateType,
    EventType,
    Time,
    User,
    Organization,
    Correlation,
    Causation,
    EventId,
    EventVersion,
    Version,
    Position,
    RecordedAt,
    Tags,
    Metadata,
    EventData,
}

/// The usual names of columns: the program's own, then those of process mining. Another name for an optional column changes
/// the events of logs that contain it, and so their ids.
const NAMES: [(Role, &[&str]); 16] = [
    (
        Role::Aggregate,
        &[
            "aggregateId",
            "case:concept:name",
            "aggregate_id",
            "case_id",
            "case id",
            "caseId",
            "case",
        ],
    ),
    (Role::AggregateType, &["aggregateType", "aggregate_type"]),
    (
        Role::EventType,
        &["eventType", "concept:name", "event_type", "activity"],
    ),
    (Role::Time, &["timestamp", "time:timestamp", "time"]),
    (Role::User, &["userId", "org:resource", "user_id", "resource"]),
    (Role::Organization, &["organizationId", "org:group", "organization_id"]),
    (Role::Correlation, &["correlationId", "correlation_id"]),
    (Role::Causation, &["causationId", "causation_id"]),
    (Role::EventId, &["eventId"]),
    (Role::EventVersion, &["eventVersion"]),
    (Role::Version, &["version"]),
    (Role::Position, &["position"]),
    (Role::RecordedAt, &["recordedAt"]),
    (Role::Tags, &["tags"]),
    (Role::Metadata, &["metadata"]),
    (Role::EventData, &["eventData"]),
];

/// The mapping of the records of one file, made from its header.
#[derive(Clone, Debug)]
pub struct Mapping {
    roles: BTreeMap<Role, usize>,
    /// The columns that are data, with their places and names.
    data: Vec<(usize, String)>,
    /// The places of several columns without a name, which must be empty.
    unnamed: Vec<usize>,
    /// The number of columns.
    width: usize,
    aggregate_type: Name,
}

impl Mapping {
    /// Finds the columns in `header` by their names, without surrounding space.
    ///
    /// Several columns without a name, as spreadsheets write them, must be empty. One alone, as an index is written, is data.
    ///
    /// # Errors
    ///
    /// A [`BadLine`] when a column that is needed or was asked for is missing, or when two have the same name.
    pub fn new(header: &StringRecord, columns: &Columns) -> Result<Self, BadLine> {
        let mut header = header.clone();
        header.trim();
        check_names(&header)?;
        let header = &header;
        let mut roles = BTreeMap::new();
        for (role, names) in NAMES {
            if let Some(index) = find(header, chosen(columns, role), names)? {
                roles.insert(role, index);
            }
        }
        for (role, flag) in [
            (Role::Aggregate, "--csv-aggregate"),
            (Role::EventType, "--csv-type"),
            (Role::Time, "--csv-time"),
        ] {
            if !roles.contains_key(&role) {
                return Err(missing(header, role, flag));
            }
        }
        let taken: Vec<usize> = roles.values().copied().collect();
        let mut unnamed: Vec<usize> = (0..header.len()).filter(|index| header[*index].is_empty()).collect();
        if unnamed.len() == 1 {
            unnamed.clear();
        }
        let data: Vec<(usize, String)> = (header.iter().enumerate())
            .filter(|(index, _)| !taken.contains(index) && !unnamed.contains(index))
            .map(|(index, name)| (index, name.to_owned()))
            .collect();
        if let (true, Some((_, name))) = (roles.contains_key(&Role::EventData), data.first()) {
            return Err(BadLine(format!(
                "the column '{name}' has no place beside the column 'eventData'"
            )));
        }
        let aggregate_type = columns
            .aggregate_type_default
            .as_deref()
            .unwrap_or(AGGREGATE_TYPE_DEFAULT)
            .into();
        Ok(Self {
            roles,
            data,
            unnamed,
            width: header.len(),
            aggregate_type,
        })
    }

    /// Reads one record.
    ///
    /// # Errors
    ///
    /// A [`BadLine`] with the invalid column and the reason.
    pub fn entry(&self, record: &ByteRecord) -> Result<Entry, BadLine> {
        let record = text_of(record.clone())?;
        self.check_shape(&record)?;
        let cell = |role| self.cell(&record, role);
        let metadata = cell(Role::Metadata).map(metadata).transpose()?.unwrap_or_default();
        let id = |role, within: Option<Name>| match (cell(role), within) {
            (Some(_), Some(_)) => Err(BadLine(format!(
                "{} is there twice: in its column and in metadata",
                noun(role)
            ))),
            (Some(text), None) => Ok(Some(text.to_owned().into())),
            (None, within) => Ok(within.map(Into::into)),
        };
        let time = |role, text| when::parse(text).map_err(|reason| BadLine(format!("{}: {reason}", noun(role))));
        let tags = cell(Role::Tags).map(tags).transpose()?.unwrap_or_default();
        let event_type = cell(Role::EventType).ok_or_else(|| BadLine("the event type is empty".to_owned()))?;
        let mut event = NewEvent::new(event_type.to_owned());
        event.id = parse(cell(Role::EventId), "eventId is not a UUID")?;
        event.schema_version = parse(cell(Role::EventVersion), "eventVersion is not a number")?.unwrap_or(1);
        event.timestamp = Some(time(Role::Time, cell(Role::Time).unwrap_or_default())?);
        event.correlation_id = id(Role::Correlation, metadata.ids.correlation)?;
        event.causation_id = id(Role::Causation, metadata.ids.causation)?;
        event.user_id = id(Role::User, metadata.ids.user)?;
        event.organization_id = id(Role::Organization, metadata.ids.organization)?;
        event.tags = tags.into_iter().map(Into::into).collect();
        event.metadata = metadata.rest.into();
        event.data = self.data(&record)?.into();
        event.data_type = ContentType::Json;
        let aggregate = cell(Role::Aggregate).ok_or_else(|| BadLine("the aggregate is empty".to_owned()))?;
        let kind = cell(Role::AggregateType).map_or_else(|| self.aggregate_type.clone(), Name::from);
        let recorded_at: Option<Timestamp> = cell(Role::RecordedAt)
            .map(|text| time(Role::RecordedAt, text))
            .transpose()?;
        // In a file that is not an export, columns with these names may contain anything.
        let number = |role| cell(role).and_then(|text| text.parse::<u64>().ok());
        let place = number(Role::Position)
            .map(Position)
            .zip(number(Role::Version).map(Version));
        Ok(Entry {
            stream: StreamId::new(kind, aggregate),
            event,
            recorded_at,
            place,
        })
    }

    /// Rejects cells without a column in the header.
    fn check_shape(&self, record: &StringRecord) -> Result<(), BadLine> {
        let is_filled = |index: &usize| record.get(*index).is_some_and(|cell| !cell.is_empty());
        if record.len() < self.width || (self.width..record.len()).any(|index| is_filled(&index)) {
            let (len, expected) = (record.len(), self.width);
            return Err(BadLine(format!("{len} columns, but the header has {expected}")));
        }
        match self.unnamed.iter().find(|index| is_filled(index)) {
            Some(index) => Err(BadLine(format!(
                "column {} holds '{}', but has no name in the header",
                index + 1,
                &record[*index]
            ))),
            None => Ok(()),
        }
    }

    /// The cell in the column of `role`, if there is such a column and the cell is not empty.
    fn cell<'a>(&self, record: &'a StringRecord, role: Role) -> Option<&'a str> {
        let text = record.get(*self.roles.get(&role)?)?;
        (!text.is_empty()).then_some(text)
    }

    /// The column `eventData` as it is, or the columns without a role as an object of texts.
    fn data(&self, record: &StringRecord) -> Result<Vec<u8>, BadLine> {
        if self.roles.contains_key(&Role::EventData) {
            let cell = self.cell(record, Role::EventData);
            return cell
                .map(|text| raw(text, "eventData"))
                .transpose()
                .map(Option::unwrap_or_default);
        }
        let mut object = Vec::new();
        for (index, name) in &self.data {
            let value = serde_json::value::to_raw_value(record.get(*index).unwrap_or_default())
                .map_err(|error| BadLine(error.to_string()))?;
            push_member(&mut object, name, &value);
        }
        if !object.is_empty() {
            object.push(b'}');
        }
        Ok(object)
    }
}

/// Parses one record of a file with the header `mapping` as an event and its stream.
///
/// # Errors
///
/// A [`BadLine`] with the invalid column and the reason.
pub fn parse_record(mapping: &Mapping, record: &ByteRecord) -> Result<(StreamId, NewEvent<'static>), BadLine> {
    mapping.entry(record).map(|entry| (entry.stream, entry.event))
}

/// The text of a record.
pub(super) fn text_of(record: ByteRecord) -> Result<StringRecord, BadLine> {
    StringRecord::from_byte_record(record).map_err(|error| {
        let (field, valid) = (error.utf8_error().field(), error.utf8_error().valid_up_to());
        let record = error.into_byte_record();
        let byte = record.get(field).and_then(|cell| cell.get(valid)).copied();
        BadLine(format!("column {}: {}", field + 1, not_utf8(byte.unwrap_or_default())))
    })
}

fn missing(header: &StringRecord, role: Role, flag: &str) -> BadLine {
    let quoted =
        |names: &mut dyn Iterator<Item = &str>| names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let usual = NAMES
        .iter()
        .find(|(named, _)| *named == role)
        .map_or(&[][..], |(_, names)| names);
    let there = quoted(&mut header.iter().take(COLUMNS_LISTED));
    let more = header.len().saturating_sub(COLUMNS_LISTED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    BadLine(format!(
        "no column is known as {}: the columns are {there}{more}, and the names that are recognised {}; name it with {flag}",
        noun(role),
        quoted(&mut usual.iter().copied())
    ))
}

fn check_names(header: &StringRecord) -> Result<(), BadLine> {
    let mut names: Vec<&str> = header.iter().collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(BadLine(format!("two columns are called '{}'", pair[0]))),
        None => Ok(()),
    }
}

fn find(header: &StringRecord, chosen: Option<&str>, usual: &[&str]) -> Result<Option<usize>, BadLine> {
    if let Some(name) = chosen {
        let index = header.iter().position(|column| column == name.trim());
        return index
            .map(Some)
            .ok_or_else(|| BadLine(format!("there is no column '{name}'")));
    }
    let place = |name: &&str| header.iter().position(|column| column.eq_ignore_ascii_case(name));
    Ok(usual.iter().find_map(place))
}

fn chosen(columns: &Columns, role: Role) -> Option<&str> {
    match role {
        Role::Aggregate => columns.aggregate.as_deref(),
        Role::AggregateType => columns.aggregate_type.as_deref(),
        Role::EventType => columns.event_type.as_deref(),
        Role::Time => columns.time.as_deref(),
        Role::User => columns.user.as_deref(),
        Role::Organization => columns.organization.as_deref(),
        Role::Correlation => columns.correlation.as_deref(),
        Role::Causation => columns.causation.as_deref(),
        Role::EventId
        | Role::EventVersion
        | Role::Version
        | Role::Position
        | Role::RecordedAt
        | Role::Tags
        | Role::Metadata
        | Role::EventData => None,
    }
}

fn noun(role: Role) -> &'static str {
    let names = [
        (Role::Aggregate, "the aggregate's id"),
        (Role::EventType, "the event's type"),
        (Role::Time, "the time"),
    ];
    let usual = NAMES.iter().map(|(named, names)| (*named, names[0]));
    names
        .into_iter()
        .chain(usual)
        .find(|(named, _)| *named == role)
        .map_or("a column", |(_, name)| name)
}

fn parse<T: std::str::FromStr>(cell: Option<&str>, refusal: &str) -> Result<Option<T>, BadLine> {
    cell.map(|text| text.parse().map_err(|_| BadLine(format!("{refusal}: '{text}'"))))
        .transpose()
}

/// Tags are a JSON array, because a tag may contain any separator.
fn tags(cell: &str) -> Result<Vec<Name>, BadLine> {
    serde_json::from_str(cell).map_err(|_| BadLine(format!("tags are not a JSON array of texts: '{cell}'")))
}

fn metadata(cell: &str) -> Result<Metadata, BadLine> {
    let value: &RawValue = serde_json::from_str(cell).map_err(|error| BadLine(format!("metadata: {error}")))?;
    check_depth(Some(value))?;
    parse_metadata(value.get())
}

fn raw(cell: &str, column: &str) -> Result<Vec<u8>, BadLine> {
    let value: &RawValue = serde_json::from_str(cell).map_err(|error| BadLine(format!("{column}: {error}")))?;
    check_depth(Some(value))?;
    Ok(value.get().as_bytes().to_vec())
}
