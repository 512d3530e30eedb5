//! Alerts: rules over the audit log, evaluated event by event in the log's order. What the rules
//! count lies in the database beside the place that was reached, and moves with it in one
//! transaction: a restart loses nothing and counts nothing twice.

mod rules;
pub(super) mod store;
#[cfg(test)]
mod tests;

pub(crate) use rules::{Rule, Thresholds};
pub(crate) use store::Alert;

use crate::access::Caller;
use crate::audit::{Action, Actor, AuditError, AuditLog, Event, Outcome};
use crate::clock::Clock;
use crate::config;
use crate::db::{Connection, Db, DbError};
use crate::ids::AlertId;

/// Events that one transaction takes in.
const PAGE: u32 = 256;
/// Alerts that are listed.
const LIST_MAX: u32 = 500;

/// The alerts. A handle.
#[derive(Clone)]
pub(crate) struct Alerts {
    db: Db,
    audit: AuditLog,
    clock: Clock,
    thresholds: Thresholds,
}

impl Alerts {
    /// The alerts of this server.
    pub(crate) fn new(
        db: &Db,
        audit: &AuditLog,
        clock: &Clock,
        settings: &config::Monitor,
    ) -> Self {
        let thresholds = Thresholds {
            failed_sign_ins: settings.failed_sign_ins.into(),
            volume_factor: settings.unusual_volume_factor.into(),
        };
        Self { db: db.clone(), audit: audit.clone(), clock: clock.clone(), thresholds }
    }

    /// Takes in what is new in the log; gives the number of alerts raised. A page at a time, so
    /// that others may write in between.
    pub(crate) async fn evaluate(&self) -> Result<usize, AuditError> {
        let mut count = 0;
        loop {
            let (raised, is_more) = self.evaluate_page().await?;
            count += raised;
            if !is_more {
                return Ok(count);
            }
        }
    }

    async fn evaluate_page(&self) -> Result<(usize, bool), AuditError> {
        // Looked at first without a write: an idle server writes nothing.
        let is_new = self.db.read(|db| -> Result<_, DbError> {
            Ok(!store::events(db, store::cursor(db)?.unwrap_or(0), 1)?.is_empty())
        });
        if !is_new.await? {
            return Ok((0, false));
        }
        let (audit, thresholds) = (self.audit.clone(), self.thresholds);
        let job = move |tx: &rusqlite::Transaction<'_>| -> Result<_, AuditError> {
            let after = store::cursor(tx)?.unwrap_or(0);
            let samples = store::events(tx, after, PAGE)?;
            let mut all = Vec::new();
            for sample in &samples {
                all.extend(rules::take(tx, sample, thresholds)?);
            }
            if let Some(last) = samples.last() {
                store::set_cursor(tx, last.seq)?;
                store::prune(tx, last.at)?;
            }
            for one in &all {
                let event = Event::new(Action::AlertRaise, Outcome::Done, Actor::System)
                    .subject(one.id)
                    .with("rule", one.rule.name())
                    .with("source", one.source.clone())
                    .with("seen", one.seen);
                audit.record_in(tx, event)?;
            }
            Ok((all, samples.len() == PAGE as usize))
        };
        let (raised, is_more) = self.db.write(job).await?;
        for one in &raised {
            tracing::warn!(alert = %one.id, rule = one.rule.name(), seen = one.seen, "alert");
        }
        Ok((raised.len(), is_more))
    }

    /// The alerts: open ones first, then the newest.
    pub(crate) async fn list(&self) -> Result<Vec<Alert>, DbError> {
        self.db.read(|db: &Connection| store::list(db, LIST_MAX)).await
    }

    /// How many are open.
    pub(crate) async fn open_count(&self) -> Result<u64, DbError> {
        self.db.read(store::open_count).await
    }

    /// Acknowledges an open alert; gives whether there was one. What it counted does not count
    /// again.
    pub(crate) async fn acknowledge(
        &self,
        caller: &Caller,
        id: AlertId,
    ) -> Result<bool, AuditError> {
        let (audit, now, by) = (self.audit.clone(), self.clock.now(), caller.user);
        let event = Event::new(Action::AlertClose, Outcome::Done, caller.actor())
            .from_request(caller.address, caller.request)
            .subject(id);
        self.db
            .write(move |tx| -> Result<_, AuditError> {
                let Some(alert) = store::acknowledge(tx, id, by, now)? else { return Ok(false) };
                if let Some(counter) = alert.rule.counter(&alert.source) {
                    store::forget_failures(tx, &counter)?;
                }
                audit.record_in(tx, event.with("rule", alert.rule.name()))?;
                Ok(true)
            })
            .await
    }
}
