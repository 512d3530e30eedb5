//! The rows of API keys.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{KeyError, KeyView};
use crate::access::Networks;
use crate::access::binding::{Binder, BoundRow};
use crate::access::permission::Permission;
use crate::access::registry::{KeyEntry, KeyTerms, SecretHash};
use crate::clock::Timestamp;
use crate::config::LimitSet;
use crate::ids::{KeyId, UserId};
use crate::limits::forget_in;
use crate::vault::{Aad, Sealed};

/// A key to be stored.
pub(super) struct NewKey {
    pub(super) id: KeyId,
    pub(super) user: UserId,
    pub(super) name: Sealed,
    pub(super) secret_hash: SecretHash,
    pub(super) hint: String,
    pub(super) terms: KeyTerms,
    pub(super) now: Timestamp,
}

impl NewKey {
    pub(super) fn view(&self, name: String) -> KeyView {
        KeyView {
            id: self.id,
            name,
            hint: self.hint.clone(),
            scopes: self.terms.scopes.iter().map(|one| one.name().to_owned()).collect(),
            models: self.terms.models.clone(),
            limits: self.terms.limits,
            networks: self.terms.networks.texts(),
            turned_away: None,
            created_at: self.now,
            expires_at: self.terms.expires_at,
            last_used_at: None,
        }
    }
}

/// A key as stored: the name still sealed.
pub(super) struct KeyRow {
    pub(super) view: KeyView,
    pub(super) name: Sealed,
}

pub(super) fn name_place<'a>(key: &'a str, owner: &'a str) -> Aad<'a> {
    Aad { table: "api_keys", column: "name", row: key, owner }
}

/// What binds a key: whose it is, by which secret, for what, how much of it, from where and until when.
#[derive(Clone, Copy)]
struct Bound<'a> {
    id: KeyId,
    user: UserId,
    secret_hash: &'a SecretHash,
    scopes: &'a str,
    models: Option<&'a str>,
    limits: Option<&'a str>,
    networks: Option<&'a str>,
    expires_at: Option<Timestamp>,
}

impl BoundRow for Bound<'_> {
    const TABLE: &'static str = "api_keys";

    fn row_id(&self) -> String {
        self.id.to_string()
    }

    fn columns(&self) -> Vec<Option<Vec<u8>>> {
        let mut columns = vec![
            Some(self.user.to_string().into_bytes()),
            Some(self.secret_hash.to_vec()),
            Some(self.scopes.as_bytes().to_vec()),
            self.models.map(|models| models.as_bytes().to_vec()),
            self.expires_at.map(|at| at.ms().to_be_bytes().to_vec()),
        ];
        let bytes = |text: &str| text.as_bytes().to_vec();
        // Keys from before there were limits were bound without, and so are those that have none. The same
        // of networks, before which limits have their place in any case: neither is taken for the other.
        match (self.limits, self.networks) {
            (None, None) => {}
            (Some(limits), None) => columns.push(Some(bytes(limits))),
            (limits, Some(networks)) => {
                columns.extend([limits.map(bytes), Some(bytes(networks))]);
            }
        }
        columns
    }
}

pub(super) fn insert(db: &Connection, binder: &Binder, key: &NewKey) -> Result<(), KeyError> {
    let terms = &key.terms;
    let scopes: Vec<&str> = terms.scopes.iter().map(Permission::name).collect();
    let scopes = serde_json::json!(scopes).to_string();
    let models = terms.models.as_ref().map(|models| serde_json::json!(models).to_string());
    let limits = limits_text(&terms.limits);
    let networks = networks_text(&terms.networks);
    let mac = binder.mac(&Bound {
        id: key.id,
        user: key.user,
        secret_hash: &key.secret_hash,
        scopes: &scopes,
        models: models.as_deref(),
        limits: limits.as_deref(),
        networks: networks.as_deref(),
        expires_at: terms.expires_at,
    })?;
    db.execute(
        "INSERT INTO api_keys
           (id, user, name, secret_hash, hint, scopes, models, limits, networks, created_at,
            expires_at, mac)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            key.id,
            key.user,
            key.name,
            key.secret_hash,
            key.hint,
            scopes,
            models,
            limits,
            networks,
            key.now,
            terms.expires_at,
            mac
        ],
    )?;
    Ok(())
}

/// Limits as they are kept: those that are given, by their names.
fn limits_text(limits: &LimitSet) -> Option<String> {
    let given: serde_json::Map<_, _> =
        limits.entries().map(|(name, limit)| (name.to_owned(), limit.into())).collect();
    (!given.is_empty()).then(|| serde_json::Value::Object(given).to_string())
}

/// None where they do not read.
fn limits_of(text: Option<&str>) -> Option<LimitSet> {
    text.map_or(Some(LimitSet::default()), |text| serde_json::from_str(text).ok())
}

/// Networks as they are kept; none where there are none.
fn networks_text(networks: &Networks) -> Option<String> {
    let texts = (!networks.is_everywhere()).then(|| networks.texts());
    texts.map(|texts| serde_json::json!(texts).to_string())
}

/// None where they do not read. A list without networks is one that was never written so: it opens
/// nothing, and not everything.
fn networks_of(text: Option<&str>) -> Option<Networks> {
    let Some(text) = text else { return Some(Networks::default()) };
    let texts: Vec<String> = serde_json::from_str(text).ok()?;
    Networks::parse(&texts).ok().filter(|networks| !networks.is_everywhere())
}

pub(super) fn count(db: &Connection, user: UserId) -> Result<usize, KeyError> {
    let sql = "SELECT count(*) FROM api_keys WHERE user = ?1";
    let count: i64 = db.query_row(sql, [user], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Deletes a person's key, and what was used of its limits; whether there was one.
pub(super) fn delete(tx: &Transaction<'_>, user: UserId, id: KeyId) -> Result<bool, KeyError> {
    let sql = "DELETE FROM api_keys WHERE id = ?1 AND user = ?2";
    let is_there = tx.execute(sql, params![id, user])? == 1;
    if is_there {
        forget_in(tx, &id.to_string())?;
    }
    Ok(is_there)
}

/// Deletes a key, whoever its row says has it, and what was used of its limits; whether there was one.
pub(super) fn delete_of_anybody(tx: &Transaction<'_>, id: KeyId) -> Result<bool, KeyError> {
    let is_there = tx.execute("DELETE FROM api_keys WHERE id = ?1", [id])? == 1;
    forget_in(tx, &id.to_string())?;
    Ok(is_there)
}

/// What the list of a person's keys is read from.
const SHOWN: &str = "id, name, hint, scopes, models, limits, networks, created_at, expires_at, \
    last_used_at";

pub(super) fn of(db: &Connection, user: UserId) -> Result<Vec<KeyRow>, KeyError> {
    let sql =
        format!("SELECT {SHOWN} FROM api_keys WHERE user = ?1 ORDER BY created_at DESC, id DESC");
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([user], shown)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Everybody's keys with their owners, the newest first; their names stay sealed.
pub(super) fn of_everybody(db: &Connection) -> Result<Vec<(UserId, KeyView)>, KeyError> {
    let sql = format!("SELECT {SHOWN}, user FROM api_keys ORDER BY created_at DESC, id DESC");
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(10)?, shown(row)?.view)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whose key this is.
pub(super) fn owner(db: &Connection, id: KeyId) -> Result<Option<UserId>, KeyError> {
    let sql = "SELECT user FROM api_keys WHERE id = ?1";
    Ok(db.query_row(sql, [id], |row| row.get(0)).optional()?)
}

fn shown(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let view = KeyView {
        id: row.get(0)?,
        name: String::new(),
        hint: row.get(2)?,
        scopes: list(&row.get::<_, String>(3)?),
        models: row.get::<_, Option<String>>(4)?.as_deref().map(list),
        limits: limits_of(row.get::<_, Option<String>>(5)?.as_deref()).unwrap_or_default(),
        networks: text(row, 6)?.as_deref().map(list).unwrap_or_default(),
        turned_away: None,
        created_at: row.get(7)?,
        expires_at: row.get(8)?,
        last_used_at: row.get(9)?,
    };
    Ok(KeyRow { view, name: row.get(1)? })
}

/// What was not written by this server may be no text: it is read as one that fits no digest.
fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        ValueRef::Integer(_) | ValueRef::Real(_) => Some(String::new()),
    })
}

/// A key as its row binds it.
struct BoundKey {
    id: KeyId,
    user: UserId,
    secret_hash: SecretHash,
    scopes: String,
    models: Option<String>,
    limits: Option<String>,
    networks: Option<String>,
    expires_at: Option<Timestamp>,
    mac: Vec<u8>,
}

impl BoundKey {
    const COLUMNS: &'static str =
        "id, user, secret_hash, scopes, models, limits, networks, expires_at, mac";

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            user: row.get(1)?,
            secret_hash: row.get(2)?,
            scopes: row.get(3)?,
            models: row.get(4)?,
            limits: row.get(5)?,
            networks: text(row, 6)?,
            expires_at: row.get(7)?,
            mac: row.get(8)?,
        })
    }

    fn bound(&self) -> Bound<'_> {
        Bound {
            id: self.id,
            user: self.user,
            secret_hash: &self.secret_hash,
            scopes: &self.scopes,
            models: self.models.as_deref(),
            limits: self.limits.as_deref(),
            networks: self.networks.as_deref(),
            expires_at: self.expires_at,
        }
    }

    /// What it may be used for; none where that cannot be known, and then it opens nothing.
    fn terms(&self) -> Option<KeyTerms> {
        let unread = |what: &str| {
            tracing::error!(key = %self.id, "the {what} of this key cannot be read, and it is not let in");
        };
        let Some(limits) = limits_of(self.limits.as_deref()) else {
            unread("limits");
            return None;
        };
        let Some(networks) = networks_of(self.networks.as_deref()) else {
            unread("networks");
            return None;
        };
        // A permission that this version does not know gives nothing.
        let scopes = list(&self.scopes).iter().filter_map(|name| Permission::parse(name)).collect();
        let models = self.models.as_deref().map(list);
        Some(KeyTerms { scopes, models, limits, networks, expires_at: self.expires_at })
    }
}

/// Every key that is as this server wrote it.
pub(super) fn all(
    db: &Connection,
    binder: &Binder,
) -> Result<Vec<(SecretHash, KeyEntry)>, KeyError> {
    let mut statement = db.prepare(&format!("SELECT {} FROM api_keys", BoundKey::COLUMNS))?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let key = BoundKey::read(row)?;
        if !binder.fits(&key.bound(), &key.mac)? {
            continue;
        }
        if let Some(terms) = key.terms() {
            all.push((key.secret_hash, KeyEntry::new(key.id, key.user, terms)));
        }
    }
    Ok(all)
}

/// Says from where a person's key is let in, and gives the key; none where they have no such key. One
/// that is not as this server wrote it stays so: it is not bound anew with what somebody put there.
pub(super) fn put_networks(
    tx: &Transaction<'_>,
    binder: &Binder,
    (user, id): (UserId, KeyId),
    networks: &Networks,
) -> Result<Option<KeyRow>, KeyError> {
    let of_one = "FROM api_keys WHERE id = ?1 AND user = ?2";
    let sql = format!("SELECT {} {of_one}", BoundKey::COLUMNS);
    let Some(key) = tx.query_row(&sql, params![id, user], BoundKey::read).optional()? else {
        return Ok(None);
    };
    if !binder.fits(&key.bound(), &key.mac)? {
        return Err(KeyError::Altered);
    }
    let networks = networks_text(networks);
    let mac = binder.mac(&Bound { networks: networks.as_deref(), ..key.bound() })?;
    let sql = "UPDATE api_keys SET networks = ?3, mac = ?4 WHERE id = ?1 AND user = ?2";
    tx.execute(sql, params![id, user, networks, mac])?;
    Ok(Some(tx.query_row(&format!("SELECT {SHOWN} {of_one}"), params![id, user], shown)?))
}

/// A list that does not read is an empty one: no scopes, no models.
fn list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

pub(super) fn put_used(db: &Connection, used: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
    let mut statement = db.prepare_cached("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1")?;
    for (id, at) in used {
        statement.execute(params![id, at])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(limits: Option<&str>, networks: Option<&str>) -> Vec<Option<Vec<u8>>> {
        let (id, user) = (KeyId::new(), UserId::new());
        let bound = Bound {
            id,
            user,
            secret_hash: &[7; 32],
            scopes: "[]",
            models: None,
            limits,
            networks,
            expires_at: None,
        };
        bound.columns().split_off(1)
    }

    #[test]
    fn limits_and_networks_do_not_stand_in_for_each_other() {
        let text = Some("[\"10.0.0.0/8\"]");
        let all = [(None, None), (text, None), (None, text), (text, text)];
        for (at, (limits, networks)) in all.into_iter().enumerate() {
            for (limits_2, networks_2) in all.into_iter().skip(at + 1) {
                assert_ne!(columns(limits, networks), columns(limits_2, networks_2));
            }
        }
        // As keys were bound before there were networks.
        assert_eq!(columns(None, None).len(), 4);
        assert_eq!(columns(text, None).len(), 5);
    }

    #[test]
    fn a_list_of_networks_that_does_not_read_opens_nothing() {
        assert!(networks_of(None).is_some_and(|networks| networks.is_everywhere()));
        let networks = networks_of(Some("[\"10.0.0.0/8\",\"::1\"]")).expect("a list");
        assert_eq!(networks_text(&networks).as_deref(), Some("[\"10.0.0.0/8\",\"::1\"]"));
        assert_eq!(networks_text(&Networks::default()), None);
        let many = serde_json::json!(vec!["::1"; 17]).to_string();
        for text in ["", "[]", "null", "{}", "[\"\"]", "[\"10.0.0.1/8\"]", "[1]", "[\"::1\"", &many]
        {
            assert!(networks_of(Some(text)).is_none(), "{text}");
        }
    }
}
