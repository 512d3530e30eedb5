//! Rows that decide who somebody is and what they may use, bound to this server. Such a row carries a keyed digest over
//! its table, its id and every column that matters, under a key of the vault: who can write to the
//! database file, and has not the keys, can neither make an account, a session, a key or a link nor
//! give one to somebody else, nor open a model. What they still can do is delete a row, or put back a
//! whole row as it once was; where no row means more than one, all rows are bound as one (`models`).

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use subtle::ConstantTimeEq;

use crate::audit::{Action, Actor, AuditError, AuditLog, Event, Outcome};
use crate::db::Db;
use crate::vault::{BlindPurpose, Vault, VaultError};

/// The digest that a row carries.
pub(crate) type RowMac = [u8; 32];

/// Rows that are told of one by one.
const TOLD_MAX: usize = 256;

/// A row that carries a digest.
pub(crate) trait BoundRow {
    /// Its table.
    const TABLE: &'static str;

    /// Its id, as text.
    fn row_id(&self) -> String;

    /// What it is bound to; none for NULL.
    fn columns(&self) -> Vec<Option<Vec<u8>>>;
}

/// Binds rows, and tells whether a row is bound. A handle.
#[derive(Clone)]
pub(crate) struct Binder {
    vault: Vault,
    found: Arc<Mutex<Found>>,
}

/// Rows that were not what this server wrote.
#[derive(Default)]
struct Found {
    told: HashSet<(&'static str, String)>,
    untold: Vec<(&'static str, String)>,
}

impl Binder {
    /// Binds with the keys of this vault.
    pub(crate) fn new(vault: &Vault) -> Self {
        Self { vault: vault.clone(), found: Arc::default() }
    }

    /// The digest for a row as it stands.
    pub(crate) fn mac<R: BoundRow>(&self, row: &R) -> Result<RowMac, VaultError> {
        let mut bytes = Vec::new();
        // Every part with its length before it, so that no two rows give the same bytes.
        let mut add = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        };
        add(R::TABLE.as_bytes());
        add(row.row_id().as_bytes());
        for column in row.columns() {
            match column {
                Some(value) => add(&[&[1], &value[..]].concat()),
                None => add(&[0]),
            }
        }
        self.vault.blind(BlindPurpose::Row, &bytes)
    }

    /// Whether a row is as this server wrote it. One that is not goes into the log, and on record
    /// at the next `tell`.
    pub(crate) fn fits<R: BoundRow>(&self, row: &R, mac: &[u8]) -> Result<bool, VaultError> {
        if bool::from(self.mac(row)?.as_slice().ct_eq(mac)) {
            return Ok(true);
        }
        let mut found = self.found.lock();
        let name = (R::TABLE, row.row_id());
        if found.told.len() < TOLD_MAX && found.told.insert(name.clone()) {
            tracing::error!(
                table = name.0,
                row = name.1,
                "this was not written so by this server, and is not believed"
            );
            found.untold.push(name);
        }
        Ok(false)
    }

    fn take_untold(&self) -> Vec<Event> {
        let untold = std::mem::take(&mut self.found.lock().untold);
        let event = |(table, row): (&'static str, String)| {
            Event::new(Action::RowRefused, Outcome::Denied, Actor::System)
                .subject(row)
                .with("table", table)
        };
        untold.into_iter().map(event).collect()
    }

    /// Puts on record which rows were not believed; called when they were read, and once a minute.
    pub(crate) async fn tell(&self, audit: &AuditLog) -> Result<(), AuditError> {
        for event in self.take_untold() {
            audit.record(event).await?;
        }
        Ok(())
    }

    /// The same at the start, where rows are read first. Blocks.
    pub(crate) fn tell_blocking(&self, db: &Db, audit: &AuditLog) -> Result<(), AuditError> {
        let (events, audit) = (self.take_untold(), audit.clone());
        if events.is_empty() {
            return Ok(());
        }
        db.write_blocking(move |tx| {
            events.into_iter().try_for_each(|event| audit.record_in(tx, event).map(drop))
        })
    }
}
