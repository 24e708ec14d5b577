//! Other in-memory event stores and Annals, doing the same work: what the benchmark and the table of memory share.
//!
//! Each store is used through its public calls, the way its own examples use it. What differs between them, and so has to be
//! known when numbers are compared:
//!
//! | store | version check | index by type | by correlation | what one append does besides |
//! |---|---|---|---|---|
//! | `annals` | yes | yes | yes | makes an id, reads the clock, keeps user, organization and day findable too |
//! | `naive` | yes | yes | no: a scan | counts an id, reads the clock |
//! | `naive, indexed` | yes | yes | yes | counts an id, reads the clock |
//! | `eventually` 0.4.0 | yes, not atomic with the append | no | no | copies each event for its subscribers |
//! | `sourcerer` 0.1.1 | yes | no | no | answers with a copy of each event |
//! | `eventcore-memory` 2.1.0 | yes | of Rust types, by a scan | no | makes an id, serializes each event to JSON and keeps both |
//! | `cqrs-es` 0.5.0 | no | no | no | copies the whole stream, and prints a line |
//!
//! `cqrs-es` prints one line for every append and every load. It is measured in a process of its own whose output goes to
//! `/dev/null`: a line costs it a system call, and no terminal.

#![expect(
    clippy::missing_errors_doc,
    reason = "an error is what the store said, and ends the measurement"
)]

pub mod child;
pub mod peer;
pub mod peers;
pub mod work;
