//! The backends that come with the program, one file each.

mod annals;
mod naive;
mod null;

pub use self::annals::Annals;
pub use self::naive::Naive;
pub use self::null::Null;
