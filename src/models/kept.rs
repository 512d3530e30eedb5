//! What is kept of models, as far as it is believed. Rows of access are bound (`access::binding`): one
//! that this server did not write lets nobody in. Rows from before they were bound are, once the audit
//! log, verified as a whole, says the same of them; nothing else can tell them from forged ones.

use std::collections::HashMap;

use super::error::ModelsError;
use super::store::{self, AccessRow, Kept};
use crate::access::Binder;
use crate::access::binding::RowMac;
use crate::audit::{Action, Actor, AuditLog, Event, Filter, Outcome};
use crate::db::{Db, Transaction};

/// Reads all of it. Blocks.
pub(super) fn load(db: &Db, audit: &AuditLog, binder: &Binder) -> Result<Kept, ModelsError> {
    let (mut rows, aliases) = db.read_blocking(store::load)?;
    bind(&mut rows, db, audit, binder)?;
    let mut access = HashMap::new();
    for row in rows {
        let mac = row.mac.as_deref().unwrap_or_default();
        // A list that is not believed, or cannot be read, lets nobody in.
        let is_ours = binder.fits(&row, mac)?;
        let roles = if is_ours { row.roles() } else { Vec::new() };
        access.insert(row.model, roles);
    }
    binder.tell_blocking(db, audit)?;
    Ok((access, aliases))
}

/// Gives rows from before rows were bound their digest, where the audit log confirms them.
fn bind(
    rows: &mut [AccessRow],
    db: &Db,
    audit: &AuditLog,
    binder: &Binder,
) -> Result<(), ModelsError> {
    let unbound: Vec<&mut AccessRow> = rows.iter_mut().filter(|row| row.mac.is_none()).collect();
    if unbound.is_empty() {
        return Ok(());
    }
    if !audit.verify_blocking()?.ok {
        tracing::error!(
            "the audit log does not verify, so it cannot confirm who may use which model: nobody may \
             use {} models until an administrator says anew who may",
            unbound.len()
        );
        return Ok(());
    }
    let mut bound: Vec<(String, RowMac, Event)> = Vec::new();
    for row in unbound {
        if !is_confirmed(row, audit)? {
            continue;
        }
        let mac = binder.mac(row)?;
        row.mac = Some(mac.to_vec());
        let event = Event::new(Action::ModelAccess, Outcome::Done, Actor::System)
            .subject(&row.model)
            .with("roles", row.roles())
            .with("reason", "row bound");
        bound.push((row.model.clone(), mac, event));
    }
    let audit = audit.clone();
    db.write_blocking(move |tx: &Transaction<'_>| -> Result<(), ModelsError> {
        for (model, mac, event) in bound {
            store::bind_access(tx, &model, &mac)?;
            audit.record_in(tx, event)?;
        }
        Ok(())
    })
}

/// Whether the newest record of who may use a model says what its row says.
fn is_confirmed(row: &AccessRow, audit: &AuditLog) -> Result<bool, ModelsError> {
    let newest = audit.page_blocking(Filter {
        action: Some(Action::ModelAccess),
        subject: Some(row.model.clone()),
        limit: 1,
        ..Filter::default()
    })?;
    Ok(newest.first().is_some_and(|record| {
        record.field("detail")["roles"] == serde_json::json!(row.roles())
            && record.outcome == Outcome::Done.name()
    }))
}
