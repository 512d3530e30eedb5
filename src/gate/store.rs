//! What the gate writes: limits and record in one transaction, one wait for the disk.

use crate::audit::{AuditError, AuditLog, Event};
use crate::db::Db;
use crate::limits::ReservedFor;

/// Writes the accounts and the events together; on disk on return.
pub(super) async fn write(
    db: &Db,
    audit: &AuditLog,
    accounts: Option<ReservedFor>,
    events: Vec<Event>,
) -> Result<(), AuditError> {
    let audit = audit.clone();
    db.write(move |tx| -> Result<(), AuditError> {
        if let Some(accounts) = accounts {
            accounts.store_in(tx)?;
        }
        for event in events {
            audit.record_in(tx, event)?;
        }
        Ok(())
    })
    .await
}
