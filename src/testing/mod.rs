//! For tests of stores: the reference model, and the operations that are tried on both.

pub mod model;
pub mod operation;
