//! Requests that are answered once, however often they come: whoever names one by `Idempotency-Key` and
//! sends it again gets the answer that was given, from nobody's tokens. Answers are kept sealed under their
//! person's key, for a day or as the configuration says, and are sent again only to the key that asked, and
//! only while all that let the answer out still stands.

pub(crate) mod api;
mod error;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use state::{Idempotency, IdempotencyParts};

use crate::db::{DbError, Transaction};
use crate::ids::UserId;

/// Deletes every answer that is kept for a person, in whose words something is to be gone; says how many.
/// Which of them has it in it is sealed.
pub(super) fn forget(tx: &Transaction<'_>, owner: UserId) -> Result<usize, DbError> {
    store::forget(tx, owner)
}
