//! Values of other programs as JSON.

use mongodb::bson::Bson;
use serde_json::{Map, Number, Value};

/// A value as JSON text.
pub(crate) fn text(value: &Bson) -> String {
    of(value).to_string()
}

/// What JSON lacks becomes a string: dates, ids, decimal numbers, and bytes in hexadecimal digits.
fn of(value: &Bson) -> Value {
    match value {
        Bson::Double(float) => Number::from_f64(*float).map_or_else(|| Value::String(float.to_string()), Value::Number),
        Bson::String(text) | Bson::Symbol(text) | Bson::JavaScriptCode(text) => Value::String(text.clone()),
        Bson::Array(values) => values.iter().map(of).collect(),
        Bson::Document(document) => {
            let members = document.iter().map(|(name, value)| (name.clone(), of(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Bson::Boolean(is_true) => Value::Bool(*is_true),
        Bson::Null | Bson::Undefined => Value::Null,
        Bson::Int32(number) => Value::from(*number),
        Bson::Int64(number) => Value::from(*number),
        Bson::ObjectId(id) => Value::String(id.to_hex()),
        Bson::DateTime(time) => Value::String(
            time.try_to_rfc3339_string()
                .unwrap_or_else(|_| time.timestamp_millis().to_string()),
        ),
        Bson::Decimal128(number) => Value::String(number.to_string()),
        Bson::Binary(binary) => {
            use std::fmt::Write as _;
            let mut digits = String::with_capacity(binary.bytes.len() * 2);
            for byte in &binary.bytes {
                write!(digits, "{byte:02x}").ok();
            }
            Value::String(digits)
        }
        Bson::RegularExpression(_)
        | Bson::JavaScriptCodeWithScope(_)
        | Bson::Timestamp(_)
        | Bson::MaxKey
        | Bson::MinKey
        | Bson::DbPointer(_) => Value::String(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::oid::ObjectId;
    use mongodb::bson::{Bson, DateTime, doc};

    use super::text;

    #[test]
    fn a_value_that_json_lacks_was_lost() {
        let document = doc! {
            "a.b": 1, "$c": [2_i64, 1.5, true, null_value()],
            "id": ObjectId::from_bytes([1; 12]),
            "at": DateTime::from_millis(0),
        };
        assert_eq!(
            text(&Bson::Document(document)),
            r#"{"$c":[2,1.5,true,null],"a.b":1,"at":"1970-01-01T00:00:00Z","id":"010101010101010101010101"}"#
        );
    }

    fn null_value() -> Bson {
        Bson::Null
    }
}
