//! JSON values as queries compare them: by the text of what is asked for, and by nothing else of the payload.

mod decimal;
mod pattern;

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use self::pattern::{Pattern, at};
use crate::Error;

/// Deserializes the data of what `of` names.
pub(crate) fn read<T: DeserializeOwned>(data: &[u8], of: impl FnOnce() -> String) -> Result<T, Error> {
    serde_json::from_slice(data).map_err(|error| {
        let (of, bytes) = (of(), data.len());
        Error::invalid(format!(
            "the data of {of} cannot be read as the requested type: {error}; the data has {bytes} bytes"
        ))
    })
}

/// A JSON value that a [filter](crate::Filter::Data) compares with, kept as its text: so a number keeps all its digits.
///
/// ```
/// use annals::{Expected, JsonValue, NewEvent, Query, Store, StreamId};
///
/// let store = Store::in_memory();
/// let paid = NewEvent::new("Paid").data(r#"{"amount": 250.0, "id": 123456789012345678901234567890}"#);
/// store.append(&StreamId::new("Invoice", "invoice-17"), Expected::Any, vec![paid])?;
/// let id = JsonValue::parse("123456789012345678901234567890")?;
/// assert_eq!(store.query(Query::all().data("/amount", 250).data("/id", id)).count()?, 1);
/// # Ok::<(), annals::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonValue(Box<str>);

impl JsonValue {
    /// The value that a JSON text stands for.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) when it is no JSON.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|error| Error::invalid(format!("'{text}' is no JSON: {error}")))?;
        Ok(Self(raw.get().into()))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JsonValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Value> for JsonValue {
    fn from(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

macro_rules! from_plain {
    ($($plain:ty),*) => {$(
        impl From<$plain> for JsonValue {
            fn from(plain: $plain) -> Self {
                Value::from(plain).into()
            }
        }
    )*};
}

from_plain!(
    bool,
    i8,
    i16,
    i32,
    i64,
    isize,
    u8,
    u16,
    u32,
    u64,
    usize,
    f32,
    f64,
    &str,
    String,
    ()
);
