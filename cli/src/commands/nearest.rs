//! "Did you mean": values of the store whose spelling is similar to one that it does not contain.

use annals::{Field, Filter, ListQuery, Name, Query, Store};

use crate::args::Filters;
use crate::args::pattern::Pattern;
use crate::exit::Outcome;
use crate::output::Out;
use crate::output::text::clean;

/// Maximum number of values that are compared: a hint takes no longer than the command itself.
const COMPARED_MAX: usize = 100_000;
/// Names with more bytes are not compared.
const BYTES_MAX: usize = 200;

/// `; did you mean '…'?`, if a value of `field` is similar to `name`.
pub(crate) fn did_you_mean(store: &Store, field: &Field, name: &str) -> Outcome<Option<String>> {
    let nearest = nearest(store, field, name)?;
    Ok(nearest.map(|nearest| format!("; did you mean '{nearest}'?")))
}

/// Reports types and aggregates of the filters that the store does not contain, if it contains similar ones.
pub(crate) fn hint(store: &Store, filters: &Filters, out: &mut Out<'_>) -> Outcome {
    let named = [
        (Field::EventType, "type"),
        (Field::AggregateType, "aggregate type"),
        (Field::Aggregate, "aggregate"),
    ];
    for (field, patterns) in filters.terms() {
        let Some((_, what)) = named.iter().find(|(other, _)| *other == field) else {
            continue;
        };
        let (plain, composed): (Vec<_>, Vec<_>) = patterns.into_iter().partition(is_plain);
        if has_events(store, Pattern::any(&field, &composed))? {
            continue;
        }
        for name in plain.iter().filter_map(name) {
            if !has_events(store, Filter::is(field.clone(), name))?
                && let Some(nearest) = nearest(store, &field, name)?
            {
                let text = format!("no event has the {what} '{name}'; did you mean '{nearest}'?");
                out.warn(&clean(&text))?;
            }
        }
    }
    Ok(())
}

fn name(pattern: &Pattern) -> Option<&str> {
    match pattern {
        Pattern::Is(name) => Some(name),
        Pattern::Prefix(_) => None,
    }
}

/// Whether a pattern is a literal. A text with a comma or surrounding space is one pattern, and its parts are patterns too.
fn is_plain(pattern: &Pattern) -> bool {
    let (Pattern::Is(text) | Pattern::Prefix(text)) = pattern;
    !text.contains(',') && text.trim() == text
}

fn has_events(store: &Store, filter: Filter) -> Outcome<bool> {
    Ok(store.query(Query::all().filter(filter).limit(1)).count()? > 0)
}

fn nearest(store: &Store, field: &Field, name: &str) -> Outcome<Option<Name>> {
    let mut best: Option<(usize, Name)> = None;
    let mut query = ListQuery::of(field.clone()).limit(ListQuery::LIMIT_MAX);
    for _ in 0..COMPARED_MAX / ListQuery::LIMIT_MAX {
        let page = store.list(&query)?;
        for item in page.items {
            let Some(distance) = distance(name, &item.name) else {
                continue;
            };
            if best.as_ref().is_none_or(|(least, _)| distance < *least) {
                best = Some((distance, item.name));
            }
        }
        let Some(next) = page.next else { break };
        query = query.cursor(next);
    }
    Ok(best.map(|(_, name)| name))
}

/// The number of different letters, if the names are similar. Case is ignored, and digits must be equal, because they distinguish ids.
fn distance(name: &str, other: &str) -> Option<usize> {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let most = 1 + name.chars().count() / 5;
    if name.len().max(other.len()) > BYTES_MAX
        || name.len().abs_diff(other.len()) > 4 * most
        || digits(name) != digits(other)
    {
        return None;
    }
    let distance = strsim::osa_distance(&name.to_lowercase(), &other.to_lowercase());
    (distance <= most).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_differ_in_few_letters_and_in_no_digit() {
        for (name, other, similar) in [
            ("Ordr", "Order", true),
            ("orderplaced", "OrderPlaced", true),
            ("PaymentFaield", "PaymentFailed", true),
            ("Order", "Invoice", false),
            ("order-9", "order-8", false),
            ("odrer-9", "order-9", true),
            ("a", "b", true),
            ("übrr", "über", true),
            ("", "Order", false),
        ] {
            assert_eq!(distance(name, other).is_some(), similar, "{name} {other}");
        }
        assert_eq!(distance(&"x".repeat(500), &"x".repeat(500)), None);
    }
}
