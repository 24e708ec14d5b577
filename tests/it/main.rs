//! The store through its public interface.

mod append;
mod cache;
mod concurrency;
mod determinism;
mod model;
mod read;
mod retention;
mod support;
mod tail;
