//! What a format has to do for a codec: write values one after the other, and hand out a deserializer.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::{EncodeError, Failed};

/// How the fields of a variant are written that serde hands over one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// Without names, as an array of this length.
    List(usize),
    /// With names, as an object.
    Record,
}

/// A format of the fields of a variant.
pub(super) trait Format {
    /// The data says what it is: objects have names, and missing data is told from data of no bytes.
    const DESCRIBES_ITSELF: bool;

    /// Whether types choose their readable form, such as a UUID as a text.
    const HUMAN_READABLE: bool;

    /// Appends a value.
    fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), EncodeError>;

    /// Appends what comes before the first field.
    fn begin(out: &mut Vec<u8>, fields: Fields);

    /// Appends what comes before the value of a field: its name, if it has one.
    fn begin_field(out: &mut Vec<u8>, key: Option<&str>, is_first: bool) -> Result<(), EncodeError>;

    /// Appends what comes after the last field.
    fn end(out: &mut Vec<u8>, fields: Fields);

    /// Reads an event whose data is there: all of it, once. With the path to what does not decode, if it is traced.
    fn read<E: DeserializeOwned>(event_type: &str, data: &[u8], is_traced: bool) -> Result<E, Failed>;
}
