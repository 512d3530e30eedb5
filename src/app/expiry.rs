//! Key files of old backups: deleted where the server makes backups, so that what a deleted person wrote
//! does not open for longer than the configuration says.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Home;
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::backup::expire_key_files;
use crate::config::Settings;

/// Where backups lie where no other place is named.
const BACKUPS: &str = "backups";

/// Deletes the key files in `directory`, or where none is given in that of the data directory, that are
/// older than the configuration allows, but for the newest; on record. Blocks.
pub(super) fn expire(
    home: &Home,
    settings: &Settings,
    audit: &AuditLog,
    directory: Option<&Path>,
) -> Result<usize> {
    let own = home.data().join(BACKUPS);
    let directory = directory.unwrap_or(&own);
    let days = u64::from(settings.backup.key_file_days);
    if days == 0 || !directory.exists() {
        return Ok(0);
    }
    let now = home.clock.now();
    let limit = now.minus(Duration::from_hours(24 * days));
    let count = expire_key_files(directory, &home.vault, (limit, now))
        .context("old key files of backups could not be deleted")?;
    if count > 0 {
        let event =
            Event::new(Action::BackupExpire, Outcome::Done, Actor::System).with("key_files", count);
        audit.record_blocking(event)?;
        tracing::info!(count, "old key files of backups were deleted");
    }
    Ok(count)
}
