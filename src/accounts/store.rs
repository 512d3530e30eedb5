//! The rows of people. Those that decide who somebody is are bound (`access::binding`): a row that
//! is not as this server wrote it is not there.

mod failures;
mod links;
mod sessions;

use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) use failures::{
    add_failure, date_failures_by, failures, forget_failures, forget_failures_before, is_known,
    put_known, take_failure_back,
};
pub(super) use links::{Link, LinkKind, delete_link, delete_links, early_links, insert_link, link};
pub(super) use sessions::{
    NewSession, SessionRow, delete_session, delete_sessions, early_sessions, insert_session,
    live_sessions, put_seen, sessions_of, user_agent_place,
};

use super::AccountError;
use crate::access::binding::{Binder, BoundRow};
use crate::access::permission::BuiltinRole;
use crate::access::registry::PersonEntry;
use crate::clock::Timestamp;
use crate::ids::UserId;
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

impl BoundRow for PersonRow {
    const TABLE: &'static str = "users";

    fn row_id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Option<Vec<u8>>> {
        // The roles with their person: a row of `user_roles` by itself could be put back.
        let mut roles: Vec<&str> = self.roles.iter().map(|role| role.name()).collect();
        roles.sort_unstable();
        vec![
            Some(self.username.as_bytes().to_vec()),
            self.password.as_ref().map(|hash| hash.as_bytes().to_vec()),
            Some(vec![u8::from(self.is_disabled)]),
            Some(roles.join(",").into_bytes()),
        ]
    }
}

pub(super) fn display_name_place(user: &str) -> Aad<'_> {
    Aad { table: "users", column: "display_name", row: user, owner: user }
}

const PERSON: &str =
    "SELECT u.id, u.username, u.display_name, u.password, u.disabled, u.created_at,
    (SELECT group_concat(role) FROM user_roles WHERE user = u.id), u.mac FROM users u";

fn person_row(row: &Row<'_>) -> rusqlite::Result<(PersonRow, Vec<u8>)> {
    let roles: Option<String> = row.get(6)?;
    // A role that this version does not know gives nothing.
    let roles =
        roles.iter().flat_map(|all| all.split(',')).filter_map(BuiltinRole::parse).collect();
    let person = PersonRow {
        id: row.get(0)?,
        username: row.get(1)?,
        display_name: row.get(2)?,
        password: row.get(3)?,
        is_disabled: row.get(4)?,
        created_at: row.get(5)?,
        roles,
    };
    Ok((person, row.get(7)?))
}

fn bound(
    binder: &Binder,
    found: Option<(PersonRow, Vec<u8>)>,
) -> Result<Option<PersonRow>, AccountError> {
    let Some((person, mac)) = found else { return Ok(None) };
    Ok(binder.fits(&person, &mac)?.then_some(person))
}

pub(super) fn people(db: &Connection, binder: &Binder) -> Result<Vec<PersonRow>, AccountError> {
    let mut statement = db.prepare(&format!("{PERSON} ORDER BY u.username"))?;
    let mut people = Vec::new();
    for found in statement.query_map([], person_row)? {
        people.extend(bound(binder, Some(found?))?);
    }
    Ok(people)
}

pub(super) fn person(
    db: &Connection,
    binder: &Binder,
    user: UserId,
) -> Result<Option<PersonRow>, AccountError> {
    let sql = format!("{PERSON} WHERE u.id = ?1");
    bound(binder, db.query_row(&sql, [user], person_row).optional()?)
}

pub(super) fn person_by_name(
    db: &Connection,
    binder: &Binder,
    name: &str,
) -> Result<Option<PersonRow>, AccountError> {
    let sql = format!("{PERSON} WHERE u.username = ?1");
    bound(binder, db.query_row(&sql, [name], person_row).optional()?)
}

/// Owners who can sign in.
pub(super) fn owners(db: &Connection, binder: &Binder) -> Result<usize, AccountError> {
    let sql = "SELECT user FROM user_roles WHERE role = 'owner'";
    let mut statement = db.prepare_cached(sql)?;
    let mut count = 0;
    for user in statement.query_map([], |row| row.get::<_, UserId>(0))? {
        let can_sign_in = |one: PersonRow| !one.is_disabled && one.password.is_some();
        count += usize::from(person(db, binder, user?)?.is_some_and(can_sign_in));
    }
    Ok(count)
}

pub(super) fn insert_person(
    db: &Connection,
    binder: &Binder,
    person: &PersonRow,
) -> Result<(), AccountError> {
    let sql = "SELECT 1 FROM users WHERE username = ?1";
    if db.query_row(sql, [&person.username], |_| Ok(())).optional()?.is_some() {
        return Err(AccountError::UsernameTaken);
    }
    db.execute(
        "INSERT INTO users (id, username, display_name, password, disabled, created_at, mac)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            person.id,
            person.username,
            person.display_name,
            person.password,
            person.is_disabled,
            person.created_at,
            binder.mac(person)?
        ],
    )?;
    put_roles(db, person)
}

/// Stores what decides who a person is: password, roles, whether they are let in. Made of a row that
/// was read in the same transaction, so that nothing is bound anew that was not bound before.
pub(super) fn put_person(
    db: &Connection,
    binder: &Binder,
    person: &PersonRow,
) -> Result<(), AccountError> {
    db.execute(
        "UPDATE users SET password = ?2, disabled = ?3, mac = ?4 WHERE id = ?1",
        params![person.id, person.password, person.is_disabled, binder.mac(person)?],
    )?;
    put_roles(db, person)
}

fn put_roles(db: &Connection, person: &PersonRow) -> Result<(), AccountError> {
    db.execute("DELETE FROM user_roles WHERE user = ?1", [person.id])?;
    for role in &person.roles {
        db.execute("INSERT INTO user_roles VALUES (?1, ?2)", params![person.id, role.name()])?;
    }
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

/// Deletes a person with everything that is theirs, in every table that has an owner. The rooms that
/// fill those tables stand above this one and cannot be asked; a person's row, roles, sessions, keys
/// and links go together.
pub(super) fn delete_person(db: &Connection, user: UserId) -> Result<(), AccountError> {
    for sql in [
        "DELETE FROM messages WHERE owner = ?1",
        "DELETE FROM conversations WHERE owner = ?1",
        "DELETE FROM responses WHERE owner = ?1",
        "DELETE FROM kept_answers WHERE owner = ?1",
        "DELETE FROM limit_minutes WHERE account = ?1 OR account LIKE ?1 || '/%'
           OR account IN (SELECT id FROM api_keys WHERE user = ?1)",
        "DELETE FROM limit_days WHERE account = ?1 OR account LIKE ?1 || '/%'
           OR account IN (SELECT id FROM api_keys WHERE user = ?1)",
        "DELETE FROM limit_months WHERE account = ?1 OR account LIKE ?1 || '/%'
           OR account IN (SELECT id FROM api_keys WHERE user = ?1)",
        "DELETE FROM monitor_hours WHERE user = ?1",
        "DELETE FROM users WHERE id = ?1",
    ] {
        db.execute(sql, [user])?;
    }
    Ok(())
}

/// Everybody who was ever deleted, as the record has it. Whoever has a row is there: a changed log
/// must not be able to say otherwise, for what follows cannot be undone.
pub(super) fn deleted_people(db: &Connection) -> Result<Vec<UserId>, AccountError> {
    let sql = "SELECT subject FROM audit_events WHERE action = ?1 AND subject IS NOT NULL
         AND subject NOT IN (SELECT id FROM users)";
    let mut statement = db.prepare(sql)?;
    let action = crate::audit::Action::PersonDelete.name();
    let rows = statement.query_map([action], |row| row.get::<_, String>(0))?;
    let subjects: Vec<String> = rows.collect::<Result<_, _>>()?;
    Ok(subjects.iter().filter_map(|subject| UserId::parse(subject).ok()).collect())
}
