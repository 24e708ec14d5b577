//! CSV files: columns found by name, the others kept as data.

mod columns;
pub(crate) mod dialect;
mod mapping;
mod quotes;
mod records;

pub use self::columns::Columns;
pub use self::mapping::{Mapping, parse_record};
pub(crate) use self::records::open;
pub use self::records::parse_text;
