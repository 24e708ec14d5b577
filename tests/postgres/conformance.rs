//! The journal in PostgreSQL keeps the contract.

use crate::support::Schema;

annals::conformance!(postgres, Schema::new());
annals::conformance!(partitioned, Schema::partitioned());
