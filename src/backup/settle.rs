//! What a restore ends, in the transaction that puts it on record: a backup brings back the sessions,
//! links and keys of its day, whatever happened to them since.

use rusqlite::{Connection, params};

use super::BackupError;
use crate::audit::{Action, Actor, AuditError, AuditLog, Event, Outcome};
use crate::clock::Timestamp;
use crate::db::{Db, DbError};
use crate::ids::{KeyId, UserId};
use crate::vault::Vault;

/// What becomes of API keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// They end now: one that was revoked since the backup would work again otherwise.
    End,
    /// They work as they did when the backup was made.
    Keep,
}

/// An API key that worked when the backup was made.
#[derive(Clone, Debug)]
pub struct KeySeen {
    /// Its id.
    pub id: KeyId,
    /// Its last digits, by which its holder knows it.
    pub hint: String,
    /// The sign-in name of the person whose it is.
    pub username: String,
}

/// What was ended.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Sessions.
    pub sessions: usize,
    /// One-time links.
    pub links: usize,
    /// API keys that worked when the backup was made: ended, or kept.
    pub keys: Vec<KeySeen>,
    /// People whose data key was not in the backup. They have a new one: what they wrote before
    /// stays closed.
    pub people_with_new_keys: usize,
}

/// Ends every session and link, and what `keys` says of API keys, and records the restore, in one
/// transaction. Before it, gives a data key to everybody who has none: without one nobody could sign
/// in, not even to find out.
pub fn settle(
    db: &Db,
    vault: &Vault,
    log: &AuditLog,
    keys: Keys,
    now: Timestamp,
) -> Result<Settled, BackupError> {
    let mut people_with_new_keys = 0;
    for user in db.read_blocking(people)? {
        people_with_new_keys += usize::from(vault.add_person(user)?);
    }
    let recorder = log.clone();
    let settled = db.write_blocking(move |tx| -> Result<Settled, AuditError> {
        let sessions = tx.execute("DELETE FROM sessions", []).map_err(DbError::from)?;
        let links = tx.execute("DELETE FROM links", []).map_err(DbError::from)?;
        let working = working_keys(tx, now)?;
        if keys == Keys::End {
            tx.execute("DELETE FROM api_keys", []).map_err(DbError::from)?;
        }
        let event = Event::new(Action::BackupRestore, Outcome::Done, Actor::System)
            .with("sessions_ended", sessions)
            .with("links_ended", links)
            .with("people_with_new_keys", people_with_new_keys)
            .with(if keys == Keys::End { "keys_ended" } else { "keys_kept" }, working.len());
        recorder.record_in(tx, event)?;
        Ok(Settled { sessions, links, keys: working, people_with_new_keys })
    })?;
    log.flush()?;
    Ok(settled)
}

fn people(db: &Connection) -> Result<Vec<UserId>, DbError> {
    let mut query = db.prepare("SELECT id FROM users")?;
    let rows = query.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn working_keys(db: &Connection, now: Timestamp) -> Result<Vec<KeySeen>, DbError> {
    let mut query = db.prepare(
        "SELECT k.id, k.hint, u.username FROM api_keys k JOIN users u ON u.id = k.user
         WHERE k.expires_at IS NULL OR k.expires_at > ?1 ORDER BY u.username, k.id",
    )?;
    let rows = query.query_map(params![now], |row| {
        Ok(KeySeen { id: row.get(0)?, hint: row.get(1)?, username: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
