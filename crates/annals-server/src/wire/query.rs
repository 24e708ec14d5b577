//! Queries from parameters and from JSON.

use std::time::Duration;

use annals::{AsOf, Cursor, Filter, JsonValue, Order, Position, Query, Timestamp};
use serde::Deserialize;

use super::filter::{FIELDS, WireFilter, field};
use crate::params::{Params, invalid, parse_as_of};
use crate::problem::Problem;

/// The accepted orders.
const ORDERS: &str = "position, -position, time or -time";

/// A query, and the page of its result to read.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Without order, limit and cursor.
    pub(crate) query: Query,
    pub(crate) order: Order,
    pub(crate) limit: Option<usize>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) as_of: Option<AsOf>,
    /// The position that must be visible before the query runs.
    pub(crate) min_position: Option<Position>,
    /// The time limit for that position.
    pub(crate) wait: Option<Duration>,
}

impl Asked {
    /// The query in its order and as of its past, without a limit.
    pub(crate) fn ordered(&self) -> Query {
        let query = self.query.clone().order(self.order);
        match self.as_of {
            Some(as_of) => query.as_of(as_of),
            None => query,
        }
    }

    /// # Errors
    ///
    /// A [`Problem`] if the query has what only a page has.
    pub(crate) fn without_page(self) -> Result<Self, Problem> {
        if self.limit.is_some() || self.cursor.is_some() || self.order != Order::Position {
            return Err(Problem::invalid(
                "this resource has no order, limit and cursor: it covers every match",
            ));
        }
        Ok(self)
    }
}

/// A query as the body of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct WireQuery {
    filter: Option<WireFilter>,
    since: Option<Timestamp>,
    before: Option<Timestamp>,
    after: Option<u64>,
    until: Option<u64>,
    order: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
    as_of: Option<Past>,
    system: bool,
    min_position: Option<u64>,
    timeout_seconds: Option<u64>,
}

/// A position, or a time.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a position or a time")]
enum Past {
    Position(u64),
    Time(Timestamp),
}

impl WireQuery {
    /// # Errors
    ///
    /// A [`Problem`] that says what is wrong with a member.
    pub(crate) fn into_asked(self) -> Result<Asked, Problem> {
        let mut query = Query::all();
        if let Some(filter) = self.filter {
            query = query.filter(filter.into_filter().map_err(Problem::invalid)?);
        }
        let order = self.order.as_deref().map(|text| parse_order("order", text));
        let cursor = self.cursor.as_deref().map(parse_cursor);
        Ok(Asked {
            query: ranged(query, (self.since, self.before), (self.after, self.until), self.system),
            order: order.transpose()?.unwrap_or_default(),
            limit: self.limit,
            cursor: cursor.transpose()?,
            as_of: self.as_of.map(|past| match past {
                Past::Position(position) => Position(position).into(),
                Past::Time(time) => time.into(),
            }),
            min_position: self.min_position.map(Position),
            wait: self.timeout_seconds.map(Duration::from_secs),
        })
    }
}

fn ranged(
    mut query: Query,
    (since, before): (Option<Timestamp>, Option<Timestamp>),
    (after, until): (Option<u64>, Option<u64>),
    system: bool,
) -> Query {
    if let Some(since) = since {
        query = query.since(since);
    }
    if let Some(before) = before {
        query = query.before(before);
    }
    if let Some(after) = after {
        query = query.after(Position(after));
    }
    if let Some(until) = until {
        query = query.until(Position(until));
    }
    if system { query.include_system() } else { query }
}

fn parse_order(name: &str, text: &str) -> Result<Order, Problem> {
    match text {
        "position" => Ok(Order::Position),
        "-position" => Ok(Order::PositionDescending),
        "time" => Ok(Order::Time),
        "-time" => Ok(Order::TimeDescending),
        other => Err(invalid(name, other, ORDERS)),
    }
}

fn parse_cursor(text: &str) -> Result<Cursor, Problem> {
    text.parse()
        .map_err(|error: annals::Error| Problem::invalid(error.to_string()))
}

/// Takes the parameters of a query.
///
/// # Errors
///
/// A [`Problem`] that says what is wrong with a parameter.
pub(crate) fn from_params(params: &mut Params) -> Result<Asked, Problem> {
    let mut query = Query::all();
    for filter in filters(params)? {
        query = query.filter(filter);
    }
    let times = (time(params, "since")?, time(params, "before")?);
    let positions = (number(params, "after")?, number(params, "until")?);
    let order = params.one("order")?.map(|text| parse_order("order", &text));
    let cursor = params.one("cursor")?.map(|text| parse_cursor(&text));
    let system = params.flag("system")?;
    let (min_position, wait) = wait(params)?;
    Ok(Asked {
        query: ranged(query, times, positions, system),
        order: order.transpose()?.unwrap_or_default(),
        limit: params.parsed("limit", "a number of events")?,
        cursor: cursor.transpose()?,
        as_of: as_of(params)?,
        min_position,
        wait,
    })
}

/// Takes `minPosition`, and the time limit for it.
pub(crate) fn wait(params: &mut Params) -> Result<(Option<Position>, Option<Duration>), Problem> {
    let position = number(params, "minPosition")?.map(Position);
    Ok((position, number(params, "timeoutSeconds")?.map(Duration::from_secs)))
}

/// Takes the parameter `asOf`.
pub(crate) fn as_of(params: &mut Params) -> Result<Option<AsOf>, Problem> {
    let form = "a position, or a time as in RFC 3339";
    let value = params.one("asOf")?;
    let parsed = value.map(|text| parse_as_of(&text).ok_or_else(|| invalid("asOf", &text, form)));
    parsed.transpose()
}

fn number(params: &mut Params, name: &str) -> Result<Option<u64>, Problem> {
    params.parsed(name, "a number")
}

fn time(params: &mut Params, name: &str) -> Result<Option<Timestamp>, Problem> {
    let value = params.one(name)?;
    let parsed = value.map(|text| {
        let time = crate::params::parse_time(&text);
        time.ok_or_else(|| invalid(name, &text, "a time as in RFC 3339, such as 2026-01-31T12:00:00Z"))
    });
    parsed.transpose()
}

/// The conditions on fields: each parameter must hold, by one of its values. `notX` excludes what `X` selects.
fn filters(params: &mut Params) -> Result<Vec<Filter>, Problem> {
    let mut filters = Vec::new();
    for (name, own) in &FIELDS {
        filters.extend(alternatives(params, name, own));
        filters.extend(alternatives(params, &negated(name), own).map(Filter::not));
    }
    for (name, value) in params.prefixed("index:") {
        let index = field(&format!("index:{name}"));
        filters.extend(index.map(|index| Filter::is(index, value)));
    }
    for (pointer, value) in params.prefixed("data:") {
        filters.push(Filter::Data(pointer, json_or_text(&value)));
    }
    for (pointer, value) in params.prefixed("metadata:") {
        filters.push(Filter::Metadata(pointer, json_or_text(&value)));
    }
    filters.extend(params.one("text")?.map(Filter::Text));
    Ok(filters)
}

fn negated(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    format!("not{}{rest}", first.to_ascii_uppercase())
}

/// One of the values of the parameter `name`, or a value with one of the prefixes of `namePrefix`.
fn alternatives(params: &mut Params, name: &str, field: &annals::Field) -> Option<Filter> {
    let (values, prefixes) = (params.many(name), params.many(&format!("{name}Prefix")));
    let mut filters: Vec<Filter> = prefixes
        .into_iter()
        .map(|prefix| Filter::prefix(field.clone(), prefix))
        .collect();
    if !values.is_empty() {
        filters.push(Filter::one_of(field.clone(), values));
    }
    if filters.len() > 1 {
        return Some(Filter::Any(filters));
    }
    filters.pop()
}

fn json_or_text(value: &str) -> JsonValue {
    JsonValue::parse(value).unwrap_or_else(|_| value.into())
}

#[cfg(test)]
mod tests {
    use annals::Field;

    use super::*;

    fn asked(query: &str) -> Asked {
        let mut params = Params::parse(Some(query)).unwrap();
        let asked = from_params(&mut params).unwrap();
        params.finish().unwrap();
        asked
    }

    fn body(json: &str) -> Query {
        let wire: WireQuery = serde_json::from_str(json).unwrap();
        wire.into_asked().unwrap().query
    }

    #[test]
    fn a_parameter_and_a_member_are_the_same_query() {
        for (query, json) in [
            ("user=anna", r#"{"filter":{"user":"anna"}}"#),
            ("user=anna&user=bob", r#"{"filter":{"user":["anna","bob"]}}"#),
            ("notTag=x", r#"{"filter":{"not":{"tag":"x"}}}"#),
            (
                "eventTypePrefix=Or",
                r#"{"filter":{"prefix":{"field":"eventType","value":"Or"}}}"#,
            ),
            (
                "index:currency=EUR",
                r#"{"filter":{"index":{"name":"currency","values":"EUR"}}}"#,
            ),
            (
                "text=x&after=3&system",
                r#"{"filter":{"text":"x"},"after":3,"system":true}"#,
            ),
            (
                "since=2026-01-31T12:00:00%2B01:00&until=7",
                r#"{"since":"2026-01-31T11:00:00Z","until":7}"#,
            ),
        ] {
            assert_eq!(asked(query).query, body(json), "{query}");
        }
    }

    #[test]
    fn a_plus_in_a_time_became_a_space_that_no_time_has() {
        let expected = Query::all().since("2026-01-31T11:00:00Z".parse().unwrap());
        assert_eq!(asked("since=2026-01-31T12:00:00+01:00").query, expected);
    }

    #[test]
    fn values_of_data_are_json_or_text() {
        let expected = Query::all().data("/amount", 250).data("/name", "Anna");
        assert_eq!(asked("data:/amount=250&data:/name=Anna").query, expected);
        let both = body(r#"{"filter":{"data":{"/amount":250,"/name":"Anna"}}}"#);
        let all = Filter::All(vec![
            Filter::Data("/amount".to_owned(), 250.into()),
            Filter::Data("/name".to_owned(), "Anna".into()),
        ]);
        assert_eq!(both, Query::all().filter(all));
    }

    #[test]
    fn alternatives_of_a_field_are_one_condition() {
        let either = Filter::Any(vec![Filter::prefix(Field::User, "an"), Filter::is(Field::User, "bob")]);
        assert_eq!(asked("user=bob&userPrefix=an").query, Query::all().filter(either));
    }

    #[test]
    fn a_misspelt_member_was_ignored() {
        for json in [
            r#"{"filtre":{}}"#,
            r#"{"filter":{"usr":"a"}}"#,
            r#"{"filter":{"user":1}}"#,
        ] {
            assert!(serde_json::from_str::<WireQuery>(json).is_err(), "{json}");
        }
    }
}
