//! What is kept of models, as far as it is believed. Who may use which is bound as a whole
//! (`access::binding`): a table that this server did not write so, be a row changed, added or taken away,
//! lets nobody in to any model until an administrator says anew who may. A table from before it was bound is
//! taken over once, where the audit log, verified as a whole, says the same of every model; nothing else
//! can tell it from a forged one.

use std::collections::BTreeMap;

use super::error::ModelsError;
use super::store::{self, AccessTable};
use crate::access::Binder;
use crate::audit::{Action, Actor, AuditLog, Event, Filter, Outcome};
use crate::db::{Connection, Db, Transaction};
use crate::vault::VaultError;

/// How a record says that from then on the table is bound as a whole.
pub(super) const BOUND: &str = "bound";
/// Records read at once.
const PAGE: u32 = 500;

/// The roles of each model of which something was said; none: everybody who may use models.
type Said = BTreeMap<String, Option<Vec<String>>>;

/// Who may use which model, as far as it is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    said: Said,
    /// Whether a model of which nothing was said is open to nobody.
    is_closed: bool,
}

impl Access {
    /// The roles that may use a model; none: everybody who may use models.
    pub(super) fn roles(&self, model: &str) -> Option<Vec<String>> {
        match self.said.get(model) {
            Some(roles) => roles.clone(),
            None => self.is_closed.then(Vec::new),
        }
    }

    fn set(&mut self, model: &str, roles: Option<Vec<String>>) {
        if roles.is_none() && !self.is_closed {
            self.said.remove(model);
        } else {
            self.said.insert(model.to_owned(), roles);
        }
    }

    fn table(&self) -> AccessTable {
        let lists = self.said.iter().map(|(model, roles)| {
            let list = serde_json::json!(roles).to_string();
            (model.clone(), list)
        });
        AccessTable { lists: lists.collect(), is_closed: self.is_closed }
    }
}

impl From<&AccessTable> for Access {
    fn from(table: &AccessTable) -> Self {
        // A list that cannot be read lets nobody in.
        let said = table.lists.iter().map(|(model, list)| {
            let roles = serde_json::from_str(list).unwrap_or_else(|_| Some(Vec::new()));
            (model.clone(), roles)
        });
        Self { said: said.collect(), is_closed: table.is_closed }
    }
}

/// Reads all of it: who may use which model, and aliases with their models. Blocks.
pub(super) fn load(
    db: &Db,
    audit: &AuditLog,
    binder: &Binder,
) -> Result<(Access, BTreeMap<String, String>), ModelsError> {
    let read = |db: &Connection| -> Result<_, ModelsError> {
        Ok((store::access(db)?, store::aliases(db)?))
    };
    let ((table, mac), aliases) = db.read_blocking(read)?;
    let access = match mac {
        None if is_confirmed(&table, audit)? => adopt(&table, db, audit, binder)?,
        mac => believed(&table, mac.as_deref(), binder)?,
    };
    binder.tell_blocking(db, audit)?;
    Ok((access, aliases))
}

/// Says who may use a model, over what is believed of the table as it stands; gives what holds from then
/// on. What was not believed is gone with it, and stays closed.
pub(super) fn set(
    tx: &Transaction<'_>,
    binder: &Binder,
    model: &str,
    roles: Option<Vec<String>>,
) -> Result<Access, ModelsError> {
    let (table, mac) = store::access(tx)?;
    let mut access = believed(&table, mac.as_deref(), binder)?;
    access.set(model, roles);
    let table = access.table();
    store::put_access(tx, &table, &binder.mac(&table)?)?;
    Ok(access)
}

/// What a table says, if this server wrote it; else nobody may use anything.
fn believed(
    table: &AccessTable,
    mac: Option<&[u8]>,
    binder: &Binder,
) -> Result<Access, VaultError> {
    if binder.fits(table, mac.unwrap_or_default())? {
        return Ok(Access::from(table));
    }
    tracing::error!(
        "who may use which model is not as this server wrote it, so nobody may use any model: say anew \
         who may use each, on the models page, or restore a backup"
    );
    Ok(Access { said: BTreeMap::new(), is_closed: true })
}

/// Whether a table without a digest is one from before there were any: the audit log verifies, says the
/// same of every model, and does not say that the table was bound already.
fn is_confirmed(table: &AccessTable, audit: &AuditLog) -> Result<bool, ModelsError> {
    if !audit.verify_blocking()?.ok {
        tracing::error!(
            "the audit log does not verify, so it cannot confirm who may use which model"
        );
        return Ok(false);
    }
    Ok(said_in(audit)?.is_some_and(|said| Access::from(table).said == said))
}

/// What the newest records say of every model that is not open to all; none where the table was bound.
fn said_in(audit: &AuditLog) -> Result<Option<Said>, ModelsError> {
    let mut said = Said::new();
    let mut before = None;
    loop {
        let action = Some(Action::ModelAccess);
        let page =
            audit.page_blocking(Filter { before, action, limit: PAGE, ..Filter::default() })?;
        let Some(oldest) = page.last() else { break };
        before = Some(oldest.seq);
        for record in &page {
            let detail = record.field("detail");
            if detail[BOUND] == true {
                return Ok(None);
            }
            let Some(model) = &record.subject else { continue };
            if record.outcome == Outcome::Done.name() {
                let roles = serde_json::from_value(detail["roles"].clone());
                let roles = roles.unwrap_or_else(|_| Some(Vec::new()));
                said.entry(model.clone()).or_insert(roles);
            }
        }
    }
    said.retain(|_, roles| roles.is_some());
    Ok(Some(said))
}

/// Binds a table that the log confirms. On record, but for an empty one: nothing was said, and whatever
/// is said later is on record.
fn adopt(
    table: &AccessTable,
    db: &Db,
    audit: &AuditLog,
    binder: &Binder,
) -> Result<Access, ModelsError> {
    let access = Access::from(table);
    let (table, log) = (access.table(), audit.clone());
    let mac = binder.mac(&table)?;
    let event = (!table.lists.is_empty()).then(|| {
        Event::new(Action::ModelAccess, Outcome::Done, Actor::System)
            .with("reason", "table bound")
            .with("models", table.lists.len())
            .with(BOUND, true)
    });
    db.write_blocking(move |tx: &Transaction<'_>| -> Result<(), ModelsError> {
        if let Some(event) = event {
            log.record_in(tx, event)?;
        }
        Ok(store::put_access(tx, &table, &mac)?)
    })?;
    Ok(access)
}
