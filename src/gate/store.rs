//! What the gate writes: limits, use and record in one transaction, one wait for the disk.

use crate::audit::{AuditError, AuditLog, Event};
use crate::db::Db;
use crate::limits::ReservedFor;
use crate::usage::Entry;

/// Writes the accounts, what was used and the events together; on disk on return.
pub(super) async fn write(
    db: &Db,
    audit: &AuditLog,
    accounts: Option<ReservedFor>,
    used: Option<Entry>,
    events: Vec<Event>,
) -> Result<(), AuditError> {
    let audit = audit.clone();
    db.write(move |tx| -> Result<(), AuditError> {
        if let Some(accounts) = accounts {
            accounts.store_in(tx)?;
        }
        if let Some(used) = used {
            used.store_in(tx)?;
        }
        for event in events {
            audit.record_in(tx, event)?;
        }
        Ok(())
    })
    .await
}
