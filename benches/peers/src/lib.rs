//! Other stores.
