//! The rows of people, sessions and links.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::AccountError;
use crate::access::permission::BuiltinRole;
use crate::access::registry::{PersonEntry, SecretHash, SessionEntry};
use crate::clock::Timestamp;
use crate::ids::{InvitationId, SessionId, UserId};
use crate::vault::{Aad, Sealed};

/// A person as stored.
#[derive(Clone, Debug)]
pub(super) struct PersonRow {
    pub(super) id: UserId,
    pub(super) username: String,
    pub(super) display_name: Sealed,
    pub(super) password: Option<String>,
    pub(super) is_disabled: bool,
    pub(super) created_at: Timestamp,
    pub(super) roles: Vec<BuiltinRole>,
}

impl PersonRow {
    /// What the registry needs to know.
    pub(super) fn entry(&self) -> PersonEntry {
        PersonEntry {
            username: self.username.clone(),
            roles: self.roles.clone(),
            is_disabled: self.is_disabled,
        }
    }
}

/// A session as its owner sees it.
#[derive(Clone, Debug)]
pub(super) struct SessionRow {
    pub(super) id: SessionId,
    pub(super) created_at: Timestamp,
    pub(super) last_seen_at: Timestamp,
    pub(super) address: Option<String>,
    pub(super) user_agent: Sealed,
}

/// What a one-time link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkKind {
    Setup,
    Invitation,
}

impl LinkKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Invitation => "invitation",
        }
    }
}

pub(super) fn display_name_place(user: &str) -> Aad<'_> {
    Aad { table: "users", column: "display_name", row: user, owner: user }
}

pub(super) fn user_agent_place<'a>(session: &'a str, user: &'a str) -> Aad<'a> {
    Aad { table: "sessions", column: "user_agent", row: session, owner: user }
}

const PERSON: &str =
    "SELECT u.id, u.username, u.display_name, u.password, u.disabled, u.created_at,
    (SELECT group_concat(role) FROM user_roles WHERE user = u.id) FROM users u";

fn person_row(row: &Row<'_>) -> rusqlite::Result<PersonRow> {
    let roles: Option<String> = row.get(6)?;
    // A role that this version does not know gives nothing.
    let roles =
        roles.iter().flat_map(|all| all.split(',')).filter_map(BuiltinRole::parse).collect();
    Ok(PersonRow {
        id: row.get(0)?,
        username: row.get(1)?,
        display_name: row.get(2)?,
        password: row.get(3)?,
        is_disabled: row.get(4)?,
        created_at: row.get(5)?,
        roles,
    })
}

pub(super) fn people(db: &Connection) -> Result<Vec<PersonRow>, AccountError> {
    let mut statement = db.prepare(&format!("{PERSON} ORDER BY u.username"))?;
    let rows = statement.query_map([], person_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn person(db: &Connection, user: UserId) -> Result<Option<PersonRow>, AccountError> {
    Ok(db.query_row(&format!("{PERSON} WHERE u.id = ?1"), [user], person_row).optional()?)
}

pub(super) fn person_by_name(
    db: &Connection,
    name: &str,
) -> Result<Option<PersonRow>, AccountError> {
    Ok(db.query_row(&format!("{PERSON} WHERE u.username = ?1"), [name], person_row).optional()?)
}

pub(super) fn owners(db: &Connection) -> Result<u64, AccountError> {
    let sql = "SELECT count(*) FROM users JOIN user_roles ON user = id
        WHERE role = 'owner' AND disabled = 0 AND password IS NOT NULL";
    Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

pub(super) fn insert_person(db: &Connection, person: &PersonRow) -> Result<(), AccountError> {
    if person_by_name(db, &person.username)?.is_some() {
        return Err(AccountError::UsernameTaken);
    }
    db.execute(
        "INSERT INTO users (id, username, display_name, password, disabled, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            person.id,
            person.username,
            person.display_name,
            person.password,
            person.is_disabled,
            person.created_at
        ],
    )?;
    put_roles(db, person.id, &person.roles)
}

pub(super) fn put_roles(
    db: &Connection,
    user: UserId,
    roles: &[BuiltinRole],
) -> Result<(), AccountError> {
    db.execute("DELETE FROM user_roles WHERE user = ?1", [user])?;
    for role in roles {
        db.execute("INSERT OR IGNORE INTO user_roles VALUES (?1, ?2)", params![user, role.name()])?;
    }
    Ok(())
}

pub(super) fn put_disabled(
    db: &Connection,
    user: UserId,
    is_disabled: bool,
) -> Result<(), AccountError> {
    db.execute("UPDATE users SET disabled = ?2 WHERE id = ?1", params![user, is_disabled])?;
    Ok(())
}

pub(super) fn put_password(db: &Connection, user: UserId, hash: &str) -> Result<(), AccountError> {
    db.execute("UPDATE users SET password = ?2 WHERE id = ?1", params![user, hash])?;
    Ok(())
}

pub(super) fn put_display_name(
    db: &Connection,
    user: UserId,
    name: &Sealed,
) -> Result<(), AccountError> {
    db.execute("UPDATE users SET display_name = ?2 WHERE id = ?1", params![user, name])?;
    Ok(())
}

/// A session to be stored.
pub(super) struct NewSession {
    pub(super) id: SessionId,
    pub(super) user: UserId,
    pub(super) secret_hash: SecretHash,
    pub(super) now: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) address: Option<String>,
    pub(super) user_agent: Sealed,
}

/// Stores a session; where its person has more than `most` then, the oldest are deleted and named.
pub(super) fn insert_session(
    db: &Connection,
    session: &NewSession,
    most: u32,
) -> Result<Vec<SessionId>, AccountError> {
    db.execute("DELETE FROM sessions WHERE expires_at <= ?1", [session.now])?;
    db.execute(
        "INSERT INTO sessions (id, user, secret_hash, created_at, last_seen_at, expires_at, address, user_agent)
         VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7)",
        params![
            session.id,
            session.user,
            session.secret_hash,
            session.now,
            session.expires_at,
            session.address,
            session.user_agent
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

pub(super) fn live_sessions(
    db: &Connection,
    now: Timestamp,
) -> Result<Vec<(SecretHash, SessionEntry)>, AccountError> {
    let sql = "SELECT secret_hash, id, user, expires_at, last_seen_at FROM sessions WHERE expires_at > ?1";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([now], |row| {
        Ok((row.get(0)?, SessionEntry::new(row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn sessions_of(
    db: &Connection,
    user: UserId,
    now: Timestamp,
) -> Result<Vec<SessionRow>, AccountError> {
    let sql = "SELECT id, created_at, last_seen_at, address, user_agent FROM sessions
        WHERE user = ?1 AND expires_at > ?2 ORDER BY last_seen_at DESC LIMIT 200";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map(params![user, now], |row| {
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

/// Deletes one session of a person; whether there was one.
pub(super) fn delete_session(
    db: &Connection,
    user: UserId,
    id: SessionId,
) -> Result<bool, AccountError> {
    Ok(db.execute("DELETE FROM sessions WHERE id = ?1 AND user = ?2", params![id, user])? == 1)
}

pub(super) fn delete_sessions(
    db: &Connection,
    user: UserId,
    except: Option<SessionId>,
) -> Result<usize, AccountError> {
    let sql = "DELETE FROM sessions WHERE user = ?1 AND (?2 IS NULL OR id <> ?2)";
    Ok(db.execute(sql, params![user, except])?)
}

pub(super) fn put_seen(
    db: &Connection,
    seen: &[(SessionId, Timestamp)],
) -> Result<(), AccountError> {
    let mut statement = db.prepare_cached("UPDATE sessions SET last_seen_at = ?2 WHERE id = ?1")?;
    for (id, at) in seen {
        statement.execute(params![id, at])?;
    }
    Ok(())
}

/// Stores a one-time link, and makes earlier ones of the same kind for the same person useless.
pub(super) fn insert_link(
    db: &Connection,
    kind: LinkKind,
    hash: SecretHash,
    user: Option<UserId>,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<InvitationId, AccountError> {
    db.execute("DELETE FROM links WHERE kind = ?1 AND user IS ?2", params![kind.name(), user])?;
    let id = InvitationId::new();
    db.execute(
        "INSERT INTO links (id, kind, secret_hash, user, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, kind.name(), hash, user, now, expires_at],
    )?;
    Ok(id)
}

/// Whether a link of this kind still works, without using it up.
pub(super) fn link_works(
    db: &Connection,
    kind: LinkKind,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<Option<Option<UserId>>, AccountError> {
    let sql = "SELECT user FROM links
        WHERE kind = ?1 AND secret_hash = ?2 AND used_at IS NULL AND expires_at > ?3";
    Ok(db.query_row(sql, params![kind.name(), hash, now], |row| row.get(0)).optional()?)
}

/// Uses a link up; fails where it has been used, has expired or never was.
pub(super) fn use_link(
    db: &Connection,
    kind: LinkKind,
    hash: &SecretHash,
    now: Timestamp,
) -> Result<(), AccountError> {
    let sql = "UPDATE links SET used_at = ?3
        WHERE kind = ?1 AND secret_hash = ?2 AND used_at IS NULL AND expires_at > ?3";
    match db.execute(sql, params![kind.name(), hash, now])? {
        1 => Ok(()),
        _ => Err(AccountError::LinkExpired),
    }
}
