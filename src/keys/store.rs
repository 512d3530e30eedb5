//! The rows of API keys.

use rusqlite::{Connection, Transaction, params};

use super::{KeyError, KeyView};
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

/// What binds a key: whose it is, by which secret, for what, how much of it and until when.
struct Bound<'a> {
    id: KeyId,
    user: UserId,
    secret_hash: &'a SecretHash,
    scopes: &'a str,
    models: Option<&'a str>,
    limits: Option<&'a str>,
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
        // Keys from before there were limits were bound without, and so are those that have none.
        columns.extend(self.limits.map(|limits| Some(limits.as_bytes().to_vec())));
        columns
    }
}

pub(super) fn insert(db: &Connection, binder: &Binder, key: &NewKey) -> Result<(), KeyError> {
    let terms = &key.terms;
    let scopes: Vec<&str> = terms.scopes.iter().map(Permission::name).collect();
    let scopes = serde_json::json!(scopes).to_string();
    let models = terms.models.as_ref().map(|models| serde_json::json!(models).to_string());
    let limits = limits_text(&terms.limits);
    let mac = binder.mac(&Bound {
        id: key.id,
        user: key.user,
        secret_hash: &key.secret_hash,
        scopes: &scopes,
        models: models.as_deref(),
        limits: limits.as_deref(),
        expires_at: terms.expires_at,
    })?;
    db.execute(
        "INSERT INTO api_keys
           (id, user, name, secret_hash, hint, scopes, models, limits, created_at, expires_at, mac)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            key.id,
            key.user,
            key.name,
            key.secret_hash,
            key.hint,
            scopes,
            models,
            limits,
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

pub(super) fn of(db: &Connection, user: UserId) -> Result<Vec<KeyRow>, KeyError> {
    let sql = "SELECT id, name, hint, scopes, models, limits, created_at, expires_at, last_used_at
        FROM api_keys WHERE user = ?1 ORDER BY created_at DESC, id DESC";
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([user], |row| {
        let (scopes, models): (String, Option<String>) = (row.get(3)?, row.get(4)?);
        let view = KeyView {
            id: row.get(0)?,
            name: String::new(),
            hint: row.get(2)?,
            scopes: list(&scopes),
            models: models.as_deref().map(list),
            limits: limits_of(row.get::<_, Option<String>>(5)?.as_deref()).unwrap_or_default(),
            created_at: row.get(6)?,
            expires_at: row.get(7)?,
            last_used_at: row.get(8)?,
        };
        Ok(KeyRow { view, name: row.get(1)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every key that is as this server wrote it.
pub(super) fn all(
    db: &Connection,
    binder: &Binder,
) -> Result<Vec<(SecretHash, KeyEntry)>, KeyError> {
    let sql = "SELECT secret_hash, id, user, scopes, models, limits, expires_at, mac FROM api_keys";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let (secret_hash, id, user): (SecretHash, _, _) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (scopes, models): (String, Option<String>) = (row.get(3)?, row.get(4)?);
        let (limits, expires_at): (Option<String>, _) = (row.get(5)?, row.get(6)?);
        let (secret_hash, models, limits) = (&secret_hash, models.as_deref(), limits.as_deref());
        let bound = Bound { id, user, secret_hash, scopes: &scopes, models, limits, expires_at };
        if !binder.fits(&bound, &row.get::<_, Vec<u8>>(7)?)? {
            continue;
        }
        // What limits it is not known: it opens nothing.
        let Some(limits) = limits_of(limits) else {
            tracing::error!(key = %id, "the limits of this key cannot be read, and it is not let in");
            continue;
        };
        // A permission that this version does not know gives nothing.
        let scopes = list(&scopes).iter().filter_map(|name| Permission::parse(name)).collect();
        let terms = KeyTerms { scopes, models: models.map(list), limits, expires_at };
        all.push((*secret_hash, KeyEntry::new(id, user, terms)));
    }
    Ok(all)
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
