//! The tamper-evident record of every access and act.
//!
//! Events are rows of the database, so that a change and its record commit in one transaction. At
//! every commit the tree over them (RFC 6962) grows and its head is signed (Ed25519) in the same
//! transaction; heads are also appended to a file outside the database, so that a database that
//! was cut short or rolled back is found. Who keeps a head elsewhere can find a roll-back of both.

mod event;
mod export;
mod found;
mod head;
mod heads_file;
mod key;
mod log;
mod resume;
mod store;
mod tree;
pub mod verify;

pub use event::{Action, Actor, Event, Outcome};
pub(crate) use export::harmless;
pub use export::{Format, export};
pub use head::Head;
pub use key::{fingerprint, read_public_key};
pub use log::{AuditError, AuditLog, ConsistencyProof, Filter, InclusionProof};
pub use resume::complete_heads;
pub use store::Record;
pub use verify::Verification;
