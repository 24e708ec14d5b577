//! Output.
pub mod text;
