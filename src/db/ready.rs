//! Whether something can be written. The disk is asked now and then and no more often, since anybody
//! may ask the server.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Db, DbError, Transaction};

/// How old the answer may be.
const EVERY: Duration = Duration::from_secs(5);
/// Less than this is no room to work in: a record that still fits today may not fit in a minute.
const ROOM_BYTES: u64 = 1 << 20;

/// What was found last, and when it was last looked for.
#[derive(Debug, Default)]
pub(super) struct Probe {
    begun: Option<Instant>,
    is_met: bool,
}

impl Db {
    /// Whether the database takes what is written to it: a commit reaches the disk, and there is room
    /// for more.
    pub async fn takes_writes(&self) -> bool {
        self.took_writes(EVERY).await
    }

    /// The same, by what was found at most so long ago.
    pub(super) async fn took_writes(&self, ago: Duration) -> bool {
        {
            let mut probe = self.inner.probe.lock();
            if probe.begun.is_some_and(|begun| begun.elapsed() < ago) {
                return probe.is_met;
            }
            // Whoever comes while it is looked for is told what was found before; that the database
            // was opened has shown that it can be written.
            probe.is_met |= probe.begun.is_none();
            probe.begun = Some(Instant::now());
        }
        let is_met = has_room(&self.inner.path) && self.write(touch).await.is_ok();
        self.inner.probe.lock().is_met = is_met;
        is_met
    }
}

/// Writes what stands there already.
fn touch(transaction: &Transaction<'_>) -> Result<(), DbError> {
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(transaction.pragma_update(None, "user_version", version)?)
}

fn has_room(file: &Path) -> bool {
    // A file system that does not tell, or counts nothing, is asked by the commit alone.
    let Ok(found) = rustix::fs::statvfs(file) else { return true };
    found.f_blocks == 0 || found.f_bavail.saturating_mul(found.f_frsize) >= ROOM_BYTES
}
