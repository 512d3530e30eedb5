//! Key files of old backups: deleted where the server makes backups, so that what a deleted person wrote
//! does not open for longer than the configuration says.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Home;
use crate::audit::{Action, Actor, AuditLog, Event, Filter, Outcome, Record};
use crate::backup::{delete_key_files, old_key_files};
use crate::config::Settings;

/// Where backups lie where no other place is named.
const BACKUPS: &str = "backups";
/// Records read at once.
const PAGE: u32 = 500;

/// Deletes the key files in `directory`, or where none is given in that of the data directory, that this
/// installation made and that are older than the configuration allows, but for its newest. On record before
/// the first is deleted, and once they are. Blocks.
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
    let made = made_here(audit)?;
    let is_ours = |id: &str| made.contains(id);
    let old = old_key_files(directory, &home.vault, is_ours, (limit, now))
        .context("old key files of backups could not be looked for")?;
    if old.is_empty() {
        return Ok(0);
    }
    let event = |outcome, count: usize| {
        Event::new(Action::BackupExpire, outcome, Actor::System).with("key_files", count)
    };
    audit.record_blocking(event(Outcome::Started, old.len()))?;
    let (count, outcome) = delete_key_files(&old);
    let ended = if outcome.is_ok() { Outcome::Done } else { Outcome::Failed };
    audit.record_blocking(event(ended, count))?;
    outcome.context("an old key file of a backup could not be deleted")?;
    tracing::info!(count, "old key files of backups were deleted");
    Ok(count)
}

/// The ids of the backups that are on record as made here: since the last restore, where there was one, for
/// what is older may be another installation's too.
fn made_here(audit: &AuditLog) -> Result<HashSet<String>> {
    let page = |action, before, limit| -> Result<Vec<Record>> {
        let filter = Filter { action: Some(action), before, limit, ..Filter::default() };
        Ok(audit.page_blocking(filter)?)
    };
    let restored = page(Action::BackupRestore, None, 1)?.first().map_or(0, |record| record.seq);
    let (mut made, mut before) = (HashSet::new(), None);
    loop {
        let records = page(Action::BackupCreate, before, PAGE)?;
        let Some(oldest) = records.last().map(|record| record.seq) else { return Ok(made) };
        let since = records.into_iter().filter(|record| record.seq > restored);
        made.extend(since.filter_map(|record| record.subject));
        if oldest <= restored {
            return Ok(made);
        }
        before = Some(oldest);
    }
}
