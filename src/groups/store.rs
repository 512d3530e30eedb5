//! Groups and their members as rows.

use rusqlite::{Connection, Transaction, params};

use crate::db::DbError;
use crate::ids::{GroupId, UserId};
use crate::limits::forget_in;
use crate::vault::Sealed;

/// A group, its name and limits sealed.
pub(super) struct GroupRow {
    pub(super) id: GroupId,
    pub(super) content: Sealed,
}

/// Every group, and how many rows there are whose id is none.
pub(super) fn groups(db: &Connection) -> Result<(Vec<GroupRow>, usize), DbError> {
    // As bytes: text that somebody wrote into the file need not be any.
    let mut statement = db.prepare("SELECT CAST(id AS BLOB), content FROM user_groups")?;
    let mut rows = statement.query([])?;
    let (mut groups, mut nameless) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        match id_of(&row.get::<_, Vec<u8>>(0)?).and_then(|id| GroupId::parse(id).ok()) {
            Some(id) => groups.push(GroupRow { id, content: row.get(1)? }),
            None => nameless += 1,
        }
    }
    Ok((groups, nameless))
}

/// Who is in which group.
pub(super) fn members(db: &Connection) -> Result<Vec<(GroupId, UserId)>, DbError> {
    let sql = "SELECT CAST(user_group AS BLOB), CAST(user AS BLOB) FROM user_group_members";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut members = Vec::new();
    while let Some(row) = rows.next()? {
        let (group, user): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let group = id_of(&group).and_then(|id| GroupId::parse(id).ok());
        members.extend(group.zip(id_of(&user).and_then(|id| UserId::parse(id).ok())));
    }
    Ok(members)
}

fn id_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Keeps a group, in the place of what it was.
pub(super) fn save(tx: &Transaction<'_>, row: &GroupRow) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO user_groups (id, content) VALUES (?1, ?2)
         ON CONFLICT (id) DO UPDATE SET content = excluded.content",
        params![row.id, row.content],
    )?;
    Ok(())
}

/// Takes people into a group.
pub(super) fn add(tx: &Transaction<'_>, group: GroupId, users: &[UserId]) -> Result<(), DbError> {
    let sql = "INSERT OR IGNORE INTO user_group_members (user_group, user) VALUES (?1, ?2)";
    let mut statement = tx.prepare_cached(sql)?;
    for user in users {
        statement.execute(params![group, user])?;
    }
    Ok(())
}

/// Takes people out of a group.
pub(super) fn take_out(
    tx: &Transaction<'_>,
    group: GroupId,
    users: &[UserId],
) -> Result<(), DbError> {
    let sql = "DELETE FROM user_group_members WHERE user_group = ?1 AND user = ?2";
    let mut statement = tx.prepare_cached(sql)?;
    for user in users {
        statement.execute(params![group, user])?;
    }
    Ok(())
}

/// Deletes a group with what was used of its budget; its members go with it.
pub(super) fn remove(tx: &Transaction<'_>, id: GroupId) -> Result<(), DbError> {
    tx.execute("DELETE FROM user_groups WHERE id = ?1", [id])?;
    forget_in(tx, &id.to_string())
}
