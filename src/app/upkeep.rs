//! What the server does now and then by itself, as long as it runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Interval};

use super::certificates::CertificateFiles;
use super::facts::clock_event;
use super::{App, expiry};
use crate::audit::AuditError;
use crate::web::tls::Certificates;

/// How often what was seen in memory is kept on disk.
const KEEP_EVERY: Duration = Duration::from_mins(1);
/// How often models that nobody uses are looked for.
const IDLE_EVERY: Duration = Duration::from_secs(10);
/// How often conversations in which nothing was said, and responses that nobody uses, are looked for.
const TIDY_EVERY: Duration = Duration::from_hours(1);
/// How often key files of old backups are looked for, and how long after the start first: whoever has
/// turned it on by mistake has that long to see what it would do, and to turn it off.
const EXPIRE_EVERY: Duration = Duration::from_hours(24);
const EXPIRE_AFTER: Duration = Duration::from_mins(30);
/// How often the certificate is looked at.
const CERTIFICATE_EVERY: Duration = Duration::from_mins(1);

impl App {
    /// What is done now and then, as long as the server runs. To open every key file of old backups takes
    /// its time, for which nothing else waits.
    pub(super) async fn upkeep(self, certificates: Option<Arc<Certificates>>) {
        tokio::join!(self.clone().expire_now_and_then(), self.keep_now_and_then(certificates));
    }

    async fn expire_now_and_then(self) {
        let mut expire = expiries();
        loop {
            expire.tick().await;
            self.expire_key_files().await;
        }
    }

    async fn keep_now_and_then(self, certificates: Option<Arc<Certificates>>) {
        let files = CertificateFiles::new(self.home.data(), &self.settings);
        let mut keep = tokio::time::interval(KEEP_EVERY);
        let mut idle = tokio::time::interval(IDLE_EVERY);
        let mut tidy = tokio::time::interval(TIDY_EVERY);
        let mut renew = tokio::time::interval(CERTIFICATE_EVERY);
        loop {
            tokio::select! {
                _ = keep.tick() => self.keep().await,
                _ = idle.tick() => self.library.unload_idle(),
                _ = tidy.tick() => self.tidy().await,
                _ = renew.tick() => if let Some(certificates) = &certificates {
                    let outcome = files.refresh(&self.home.vault, &self.home.clock, certificates);
                    if let Err(error) = outcome {
                        tracing::error!(cause = %error, "the certificate could not be renewed");
                    }
                },
            }
        }
    }

    /// Deletes what nobody has a use for any more.
    async fn tidy(&self) {
        if let Err(error) = self.chat.delete_empty().await {
            tracing::warn!(cause = %error, "empty conversations could not be deleted");
        }
        if let Err(error) = self.responses.expire().await {
            tracing::warn!(cause = %error, "responses that nobody uses could not be deleted");
        }
        if let Err(error) = self.usage.expire().await {
            tracing::warn!(cause = %error, "use that is older than it is kept for could not be deleted");
        }
        if let Err(error) = self.once.expire().await {
            tracing::warn!(cause = %error, "answers that are sent again no longer could not be deleted");
        }
    }

    /// Deletes key files of old backups where backups lie by themselves.
    pub(super) async fn expire_key_files(&self) {
        let app = self.clone();
        let expire = move || expiry::expire(&app.home, &app.settings, &app.audit, None);
        match tokio::task::spawn_blocking(expire).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(cause = format!("{error:#}"), "a daily task failed"),
            Err(error) => tracing::warn!(cause = %error, "a daily task failed"),
        }
    }

    pub(super) async fn keep(&self) {
        if let Err(error) = self.accounts.keep_seen().await {
            tracing::warn!(cause = %error, "when sessions were last used could not be kept");
        }
        if let Err(error) = self.accounts.end_early().await {
            tracing::warn!(cause = %error, "what is dated in the future could not be ended");
        }
        if let Err(error) = self.keys.keep_used().await {
            tracing::warn!(cause = %error, "when keys were last used could not be kept");
        }
        if let Err(error) = self.tell().await {
            tracing::error!(cause = %error, "what was found in passing could not be put on record");
        }
    }

    /// Puts on record what was found in passing: refusals that were only counted, rows that were
    /// not believed, jumps of the clock.
    pub(super) async fn tell(&self) -> Result<(), AuditError> {
        self.refusals.flush().await?;
        self.binder.tell(&self.audit).await?;
        for jump in self.home.clock.take_jumps() {
            tracing::warn!(?jump, "the system's clock is, or was, wrong by more than an hour");
            self.audit.record(clock_event(jump)).await?;
        }
        Ok(())
    }
}

fn expiries() -> Interval {
    tokio::time::interval_at(Instant::now() + EXPIRE_AFTER, EXPIRE_EVERY)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[actix_web::test]
    async fn nothing_is_deleted_right_after_the_start() {
        let mut context = Context::from_waker(Waker::noop());
        assert!(expiries().poll_tick(&mut context).is_pending());
    }
}
