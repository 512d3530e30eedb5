//! Who there is: the parts that let people and programs in, over the database and the record.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::Home;
use crate::access::{Binder, Refusals, Registry};
use crate::accounts::{Accounts, Parts};
use crate::audit::AuditLog;
use crate::config::Settings;
use crate::db::Db;
use crate::keys::{KeyParts, Keys};

/// The parts.
pub(super) struct People {
    pub(super) registry: Arc<Registry>,
    pub(super) binder: Binder,
    pub(super) refusals: Arc<Refusals>,
    pub(super) accounts: Accounts,
    pub(super) keys: Keys,
}

impl People {
    /// Opens them. Blocks.
    pub(super) fn open(
        home: &Home,
        settings: &Settings,
        db: &Db,
        audit: &AuditLog,
    ) -> Result<Self> {
        let idle = Duration::from_secs(u64::from(settings.accounts.session_idle_hours) * 3_600);
        let registry = Arc::new(Registry::new(idle));
        let binder = Binder::new(&home.vault);
        let refusals = Arc::new(Refusals::new(audit, &home.clock));
        let parts = Parts {
            db: db.clone(),
            vault: home.vault.clone(),
            audit: audit.clone(),
            clock: home.clock.clone(),
            registry: Arc::clone(&registry),
            binder: binder.clone(),
            refusals: Arc::clone(&refusals),
        };
        let accounts = Accounts::open(parts, &settings.accounts, &settings.server.organisation)?;
        let keys = Keys::open(KeyParts {
            db: db.clone(),
            vault: home.vault.clone(),
            audit: audit.clone(),
            clock: home.clock.clone(),
            registry: Arc::clone(&registry),
            binder: binder.clone(),
        })?;
        Ok(Self { registry, binder, refusals, accounts, keys })
    }
}
