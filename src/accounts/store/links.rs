//! The rows of one-time links.

use rusqlite::{Connection, OptionalExtension, params};

use crate::access::binding::{Binder, BoundRow};
use crate::access::registry::SecretHash;
use crate::accounts::AccountError;
use crate::clock::{DRIFT, Timestamp};
use crate::ids::{InvitationId, UserId};

/// What a one-time link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::accounts) enum LinkKind {
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

/// A link.
#[derive(Clone, Debug)]
pub(in crate::accounts) struct Link {
    pub(in crate::accounts) id: InvitationId,
    pub(in crate::accounts) kind: LinkKind,
    pub(in crate::accounts) secret_hash: SecretHash,
    /// Whose account it opens; none for the set-up link.
    pub(in crate::accounts) user: Option<UserId>,
    /// Who made it; none: the server at its console.
    pub(in crate::accounts) made_by: Option<UserId>,
    pub(in crate::accounts) created_at: Timestamp,
    pub(in crate::accounts) expires_at: Timestamp,
}

impl BoundRow for Link {
    const TABLE: &'static str = "links";

    fn row_id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Option<Vec<u8>>> {
        let id = |user: UserId| user.to_string().into_bytes();
        vec![
            Some(self.kind.name().as_bytes().to_vec()),
            Some(self.secret_hash.to_vec()),
            self.user.map(id),
            self.made_by.map(id),
            Some(self.created_at.ms().to_be_bytes().to_vec()),
            Some(self.expires_at.ms().to_be_bytes().to_vec()),
        ]
    }
}

/// Stores a link, and makes earlier ones of the same kind for the same person useless.
pub(in crate::accounts) fn insert_link(
    db: &Connection,
    binder: &Binder,
    link: &Link,
) -> Result<(), AccountError> {
    let kind = link.kind.name();
    db.execute("DELETE FROM links WHERE kind = ?1 AND user IS ?2", params![kind, link.user])?;
    db.execute(
        "INSERT INTO links (id, kind, secret_hash, user, made_by, created_at, expires_at, mac)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            link.id,
            kind,
            link.secret_hash,
            link.user,
            link.made_by,
            link.created_at,
            link.expires_at,
            binder.mac(link)?
        ],
    )?;
    Ok(())
}

/// The link with this secret, if it works: not used, not expired, not made in the future, and as this
/// server wrote it.
pub(in crate::accounts) fn link(
    db: &Connection,
    binder: &Binder,
    (kind, secret_hash): (LinkKind, SecretHash),
    now: Timestamp,
) -> Result<Option<Link>, AccountError> {
    let sql = "SELECT id, user, made_by, created_at, expires_at, mac FROM links
        WHERE kind = ?1 AND secret_hash = ?2 AND expires_at > ?3";
    let found = db.query_row(sql, params![kind.name(), secret_hash, now], |row| {
        let link = Link {
            id: row.get(0)?,
            kind,
            secret_hash,
            user: row.get(1)?,
            made_by: row.get(2)?,
            created_at: row.get(3)?,
            expires_at: row.get(4)?,
        };
        Ok((link, row.get::<_, Vec<u8>>(5)?))
    });
    let Some((link, mac)) = found.optional()? else { return Ok(None) };
    let is_live = binder.fits(&link, &mac)? && !link.created_at.is_ahead_of(now);
    Ok(is_live.then_some(link))
}

/// Links that were made in the future.
pub(in crate::accounts) fn early_links(
    db: &Connection,
    now: Timestamp,
    most: u32,
) -> Result<Vec<InvitationId>, AccountError> {
    let sql = "SELECT id FROM links WHERE created_at > ?1 LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params![now.plus(DRIFT), most], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Deletes one link; whether there was one.
pub(in crate::accounts) fn delete_link(
    db: &Connection,
    id: InvitationId,
) -> Result<bool, AccountError> {
    Ok(db.execute("DELETE FROM links WHERE id = ?1", [id])? == 1)
}

/// Makes every link to a person's account useless; without a person, every set-up link.
pub(in crate::accounts) fn delete_links(
    db: &Connection,
    user: Option<UserId>,
) -> Result<(), AccountError> {
    db.execute("DELETE FROM links WHERE user IS ?1", [user])?;
    Ok(())
}
