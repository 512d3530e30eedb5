//! Alerts, posture, the bill of materials and advisories.

pub(crate) mod advisories;
mod alerts;
pub(crate) mod api;
pub(crate) mod posture;
pub(crate) mod sbom;
mod schedule;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use advisories::advisory_event;
pub(crate) use alerts::{Alert, Alerts, Rule};

use crate::audit::{Action, AuditLog};
use crate::clock::{Clock, Timestamp};
use crate::config::Settings;
use crate::db::{Connection, Db, DbError, open_to_read};
use posture::{Depth, Digests, Facts, FairnessRun, Posture, Process, Sources};

/// What the monitor is made of.
#[derive(Clone)]
pub(crate) struct MonitorParts {
    /// Where what it counts lies.
    pub(crate) db: Db,
    /// What it reads, and where it says what it did.
    pub(crate) audit: AuditLog,
    /// The time.
    pub(crate) clock: Clock,
    /// The settings in force.
    pub(crate) settings: Settings,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// The newest fairness run.
    pub(crate) fairness: fn(&Connection) -> Result<Option<FairnessRun>, DbError>,
    /// The guard's policy in force, in words.
    pub(crate) guard: Option<String>,
}

/// The monitor. A handle.
#[derive(Clone)]
pub(crate) struct Monitor {
    parts: MonitorParts,
    /// What is known of model files. Held while facts are gathered: one at a time, whoever asks.
    digests: Arc<tokio::sync::Mutex<Digests>>,
    pub(crate) alerts: Alerts,
    /// When checks were made, by the steady clock, while the log is dated ahead of the time.
    done_undated: Arc<parking_lot::Mutex<HashMap<Action, Timestamp>>>,
}

impl Monitor {
    /// Puts the monitor together.
    pub(crate) fn new(parts: MonitorParts) -> Self {
        let alerts = Alerts::new(&parts.db, &parts.audit, &parts.clock, &parts.settings.monitor);
        Self { parts, digests: Arc::default(), alerts, done_undated: Arc::default() }
    }

    /// Holds the running server against the six practices. On a connection and a thread of its own:
    /// a model file that was touched is read whole, and nobody else is to wait for that.
    pub(crate) async fn posture(&self) -> Result<Posture, DbError> {
        let (parts, now) = (self.parts.clone(), self.parts.clock.now());
        let digests = Arc::clone(&self.digests).lock_owned().await;
        let gather = move || -> Result<Posture, DbError> {
            let db = open_to_read(parts.db.path())?;
            let sources = Sources {
                settings: &parts.settings,
                data: &parts.data,
                process: Process::own(),
                depth: Depth::Times,
                digests: &digests,
                fairness: parts.fairness,
                guard: parts.guard.as_deref(),
            };
            Ok(posture::judge(&Facts::gather(&db, &sources, now)?))
        };
        tokio::task::spawn_blocking(gather).await.map_err(|_| DbError::Closed)?
    }
}
