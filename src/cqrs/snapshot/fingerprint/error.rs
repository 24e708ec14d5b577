//! The error of a pass. What serde knows as it makes one is kept aside: the types that try several forms drop the errors of all but the last.

use std::cell::RefCell;
use std::fmt;

use serde::de::{Error, Expected, Unexpected};

/// What an error says about a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// A field that a map has to have.
    Missing(&'static str),
    /// The names of which a text has to be one.
    Variants(&'static [&'static str]),
    /// What the type expects instead of a value.
    Expects(String),
}

thread_local! {
    /// The hints of the current pass. Errors are made without a reference to the pass.
    static HINTS: RefCell<Vec<Hint>> = const { RefCell::new(Vec::new()) };
}

fn hint(hint: Hint) {
    HINTS.with_borrow_mut(|hints| hints.push(hint));
}

/// The hints since the last call.
pub(super) fn take_hints() -> Vec<Hint> {
    HINTS.take()
}

/// The pass cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the type refuses a made-up value")
    }
}

impl std::error::Error for Refused {}

impl Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        hint(Hint::Expects(expected.to_string()));
        Self
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        hint(Hint::Expects(expected.to_string()));
        Self
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        hint(Hint::Expects(expected.to_string()));
        Self
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        hint(Hint::Variants(expected));
        Self
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        hint(Hint::Expects(expected.join(", ")));
        Self
    }

    fn missing_field(field: &'static str) -> Self {
        hint(Hint::Missing(field));
        Self
    }
}
