//! Data structures that know nothing of events: compressed lists of numbers, hash tables that grow one part at a time, and what forks share.
//!
//! They call nothing of the store.
//!
//! It must hold: no operation on one element takes time that grows with the number of all elements.

pub(super) mod arena;
pub(super) mod fork_shared;
pub(super) mod key_table;
pub(super) mod linear_tables;
pub(super) mod posting_list;
