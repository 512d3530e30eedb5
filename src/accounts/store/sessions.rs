//! The rows of sessions.

use rusqlite::{Connection, params};

use crate::access::binding::{Binder, BoundRow};
use crate::access::registry::{SecretHash, SessionEntry};
use crate::accounts::AccountError;
use crate::clock::{DRIFT, Timestamp};
use crate::ids::{SessionId, UserId};
use crate::vault::{Aad, Sealed};

/// A session as its owner sees it.
#[derive(Clone, Debug)]
pub(in crate::accounts) struct SessionRow {
    pub(in crate::accounts) id: SessionId,
    pub(in crate::accounts) created_at: Timestamp,
    pub(in crate::accounts) last_seen_at: Timestamp,
    pub(in crate::accounts) address: Option<String>,
    pub(in crate::accounts) user_agent: Sealed,
}

/// What binds a session: whose it is, by which secret, from when until when.
struct Bound<'a> {
    id: SessionId,
    user: UserId,
    secret_hash: &'a SecretHash,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl BoundRow for Bound<'_> {
    const TABLE: &'static str = "sessions";

    fn row_id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Option<Vec<u8>>> {
        vec![
            Some(self.user.to_string().into_bytes()),
            Some(self.secret_hash.to_vec()),
            Some(self.created_at.ms().to_be_bytes().to_vec()),
            Some(self.expires_at.ms().to_be_bytes().to_vec()),
        ]
    }
}

pub(in crate::accounts) fn user_agent_place<'a>(session: &'a str, user: &'a str) -> Aad<'a> {
    Aad { table: "sessions", column: "user_agent", row: session, owner: user }
}

/// A session to be stored.
pub(in crate::accounts) struct NewSession {
    pub(in crate::accounts) id: SessionId,
    pub(in crate::accounts) user: UserId,
    pub(in crate::accounts) secret_hash: SecretHash,
    pub(in crate::accounts) now: Timestamp,
    pub(in crate::accounts) expires_at: Timestamp,
    pub(in crate::accounts) address: Option<String>,
    pub(in crate::accounts) user_agent: Sealed,
}

/// Stores a session; where its person has more than `most` then, the oldest are deleted and named.
pub(in crate::accounts) fn insert_session(
    db: &Connection,
    binder: &Binder,
    session: &NewSession,
    most: u32,
) -> Result<Vec<SessionId>, AccountError> {
    db.execute("DELETE FROM sessions WHERE expires_at <= ?1", [session.now])?;
    let mac = binder.mac(&Bound {
        id: session.id,
        user: session.user,
        secret_hash: &session.secret_hash,
        created_at: session.now,
        expires_at: session.expires_at,
    })?;
    db.execute(
        "INSERT INTO sessions
           (id, user, secret_hash, created_at, last_seen_at, expires_at, address, user_agent, mac)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8)",
        params![
            session.id,
            session.user,
            session.secret_hash,
            session.now,
            session.expires_at,
            session.address,
            session.user_agent,
            mac
        ],
    )?;
    let mut evict = db.prepare_cached(
        "DELETE FROM sessions WHERE id IN
           (SELECT id FROM sessions WHERE user = ?1 AND id <> ?2
            ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?3)
         RETURNING id",
    )?;
    let others = most.saturating_sub(1);
    let rows = evict
        .query_map(params![session.user, session.id, others], |row| row.get::<_, SessionId>(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every session that has not ended, and is as this server wrote it; those too that begin in the future,
/// which the registry refuses until then. Uses after `seen_max` are not believed.
pub(in crate::accounts) fn live_sessions(
    db: &Connection,
    binder: &Binder,
    now: Timestamp,
    seen_max: Timestamp,
) -> Result<Vec<(SecretHash, SessionEntry)>, AccountError> {
    let sql = "SELECT secret_hash, id, user, created_at, expires_at, last_seen_at, mac
        FROM sessions WHERE expires_at > ?1";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([now])?;
    let mut live = Vec::new();
    while let Some(row) = rows.next()? {
        let secret_hash: SecretHash = row.get(0)?;
        let (id, user) = (row.get(1)?, row.get(2)?);
        let (created_at, expires_at): (Timestamp, Timestamp) = (row.get(3)?, row.get(4)?);
        let bound = Bound { id, user, secret_hash: &secret_hash, created_at, expires_at };
        if binder.fits(&bound, &row.get::<_, Vec<u8>>(6)?)? {
            // A use in the future would keep it from going idle until then.
            let seen_at = row.get::<_, Timestamp>(5)?.min(seen_max);
            let lasts = (created_at, expires_at);
            live.push((secret_hash, SessionEntry::new(id, user, lasts, seen_at)));
        }
    }
    Ok(live)
}

pub(in crate::accounts) fn sessions_of(
    db: &Connection,
    user: UserId,
    now: Timestamp,
) -> Result<Vec<SessionRow>, AccountError> {
    let sql = "SELECT id, created_at, last_seen_at, address, user_agent FROM sessions
        WHERE user = ?1 AND expires_at > ?2 AND created_at <= ?3
        ORDER BY last_seen_at DESC LIMIT 200";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map(params![user, now, now.plus(DRIFT)], |row| {
        Ok(SessionRow {
            id: row.get(0)?,
            created_at: row.get(1)?,
            last_seen_at: row.get(2)?,
            address: row.get(3)?,
            user_agent: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sessions that begin in the future, with whose they are.
pub(in crate::accounts) fn early_sessions(
    db: &Connection,
    now: Timestamp,
    most: u32,
) -> Result<Vec<(UserId, SessionId)>, AccountError> {
    let sql = "SELECT user, id FROM sessions WHERE created_at > ?1 LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement
        .query_map(params![now.plus(DRIFT), most], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Deletes one session of a person; whether there was one.
pub(in crate::accounts) fn delete_session(
    db: &Connection,
    user: UserId,
    id: SessionId,
) -> Result<bool, AccountError> {
    Ok(db.execute("DELETE FROM sessions WHERE id = ?1 AND user = ?2", params![id, user])? == 1)
}

pub(in crate::accounts) fn delete_sessions(
    db: &Connection,
    user: UserId,
    except: Option<SessionId>,
) -> Result<usize, AccountError> {
    let sql = "DELETE FROM sessions WHERE user = ?1 AND (?2 IS NULL OR id <> ?2)";
    Ok(db.execute(sql, params![user, except])?)
}

pub(in crate::accounts) fn put_seen(
    db: &Connection,
    seen: &[(SessionId, Timestamp)],
) -> Result<(), AccountError> {
    let mut statement = db.prepare_cached("UPDATE sessions SET last_seen_at = ?2 WHERE id = ?1")?;
    for (id, at) in seen {
        statement.execute(params![id, at])?;
    }
    Ok(())
}
