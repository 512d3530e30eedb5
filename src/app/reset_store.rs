//! The rows behind a reset that the operator asks for at the console: what
//! `POST /api/admin/people/{id}/reset` does, without an administrator who is signed in.

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, params};

use crate::access::token::{self, TokenKind};
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::{InvitationId, UserId};
use crate::secret::SecretText;
use crate::vault::{BlindPurpose, Vault};

/// The person that a name stands for.
pub(super) struct Person {
    pub(super) id: UserId,
    pub(super) is_disabled: bool,
}

/// Makes the secret of a one-time link, and the keyed hash by which it is found.
pub(super) fn new_secret(vault: &Vault) -> Result<(SecretText, [u8; 32])> {
    let secret = token::make(TokenKind::Link)?;
    let hash = vault.blind(BlindPurpose::Link, secret.expose().as_bytes())?;
    Ok((secret, hash))
}

/// Finds a person by sign-in name.
pub(super) fn person(db: &Connection, username: &str) -> Result<Option<Person>, DbError> {
    let sql = "SELECT id, disabled FROM users WHERE username = ?1";
    let found = db
        .query_row(sql, [username], |row| Ok(Person { id: row.get(0)?, is_disabled: row.get(1)? }));
    Ok(found.optional()?)
}

/// Stores a link; earlier ones of the same person stop working.
pub(super) fn put_link(
    db: &Connection,
    user: UserId,
    hash: &[u8; 32],
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<(), DbError> {
    db.execute("DELETE FROM links WHERE kind = 'invitation' AND user = ?1", [user])?;
    db.execute(
        "INSERT INTO links (id, kind, secret_hash, user, created_at, expires_at)
         VALUES (?1, 'invitation', ?2, ?3, ?4, ?5)",
        params![InvitationId::new(), hash, user, now, expires_at],
    )?;
    Ok(())
}
