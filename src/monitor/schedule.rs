//! What the monitor does by itself while the server runs: it reads the log for alerts, verifies it
//! once a day, and once a day holds the binary against the advisory database, where there is one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::posture::last_at;
use super::{Monitor, advisories, advisory_event};
use crate::audit::{Action, Actor, AuditError, Event, Outcome};
use crate::db::Connection;

const ALERTS_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_mins(15);
/// What a clock may be off without being taken for wrong.
const CLOCK_OFF: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Monitor {
    /// Goes on until it is dropped.
    pub(crate) async fn keep_watch(self) {
        // Beside one another: alerts do not wait until a long log is verified.
        tokio::join!(self.watch_for_alerts(), self.check_daily());
    }

    async fn watch_for_alerts(&self) {
        let mut alerts = tokio::time::interval(ALERTS_EVERY);
        alerts.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            alerts.tick().await;
            if let Err(error) = self.alerts.evaluate().await {
                tracing::warn!(cause = %error, "the log could not be read for alerts");
            }
        }
    }

    async fn check_daily(&self) {
        let mut daily = tokio::time::interval(LOOK_EVERY);
        loop {
            daily.tick().await;
            if let Err(error) = self.do_what_is_due().await {
                tracing::warn!(cause = %error, "a daily check could not be made");
            }
        }
    }

    /// Runs the daily checks that were last made more than a day ago. When that was stands in the
    /// log, so a restart does not repeat them.
    pub(crate) async fn do_what_is_due(&self) -> Result<(), AuditError> {
        let verified = self.verify_if_due().await;
        let directory = &self.parts.settings.monitor.advisory_db;
        // Whatever became of the other check.
        if !directory.as_os_str().is_empty() && self.is_due(Action::AdvisoryCheck).await? {
            self.check_advisories(directory.clone()).await?;
        }
        verified
    }

    async fn verify_if_due(&self) -> Result<(), AuditError> {
        if self.is_due(Action::AuditVerify).await? { self.verify_log().await } else { Ok(()) }
    }

    async fn is_due(&self, action: Action) -> Result<bool, AuditError> {
        let now = self.parts.clock.now();
        let last = self.parts.db.read(move |db: &Connection| last_at(db, action)).await?;
        // Dated in the future is what a clock that was wrong has done: when, nobody knows. What is
        // recorded now is dated no earlier, so that it was done is known in memory alone.
        let steady = self.parts.clock.steady();
        let mut done = self.done_undated.lock();
        let is_dated = last.is_none_or(|at| at <= now.plus(CLOCK_OFF));
        if is_dated {
            return Ok(last.is_none_or(|at| now.since(at) >= DAY));
        }
        let is_due = done.get(&action).is_none_or(|at| steady.since(*at) >= DAY);
        if is_due {
            done.insert(action, steady);
        }
        Ok(is_due)
    }

    async fn verify_log(&self) -> Result<(), AuditError> {
        let found = self.parts.audit.verify().await?;
        if !found.ok {
            tracing::error!(problems = found.problems.len(), "the audit log does not verify");
        }
        let outcome = if found.ok { Outcome::Done } else { Outcome::Failed };
        let event = Event::new(Action::AuditVerify, outcome, Actor::System)
            .with("size", found.size)
            .with("root", found.root)
            .with("problems", found.problems.len());
        self.parts.audit.record(event).await.map(drop)
    }

    async fn check_advisories(&self, directory: PathBuf) -> Result<(), AuditError> {
        let check = move || advisories::check(Path::new(&directory));
        let event = match tokio::task::spawn_blocking(check).await {
            Ok(Ok(report)) => {
                let count = report.vulnerabilities.len();
                if count > 0 {
                    tracing::warn!(count, "crates of this binary have known vulnerabilities");
                }
                advisory_event(&report)
            }
            Ok(Err(error)) => {
                tracing::warn!(cause = %error, "the advisory check could not be made");
                Event::new(Action::AdvisoryCheck, Outcome::Failed, Actor::System)
            }
            // The server is going down, or the reader of the database panicked.
            Err(_) => Event::new(Action::AdvisoryCheck, Outcome::Failed, Actor::System),
        };
        self.parts.audit.record(event).await.map(drop)
    }
}
