//! What is kept of the accounts across restarts.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, params};
use sha2::{Digest, Sha256};

use super::counters::{Counters, Day, Minute, Now};
use super::limiter::ReservedFor;
use crate::db::DbError;
use crate::ids::{KeyId, UserId};

/// Days of use that are kept, for the reports of a year.
const DAYS_KEPT: i64 = 400;

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Account {
    Person(UserId),
    Key(KeyId),
    /// A person's use of one model, by a digest of its name.
    Model(UserId, u64),
}

impl Account {
    /// What a person uses of a model.
    pub(super) fn of_model(user: UserId, model: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(model.as_bytes()).into();
        let (first, _) = digest.split_first_chunk().expect("eight of thirty-two");
        Self::Model(user, u64::from_be_bytes(*first))
    }

    fn text(self) -> String {
        match self {
            Self::Person(user) => user.to_string(),
            Self::Key(key) => key.to_string(),
            Self::Model(user, model) => format!("{user}/{model:016x}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some((user, model)) = text.split_once('/') {
            let model = u64::from_str_radix(model, 16).ok()?;
            return Some(Self::Model(UserId::parse(user).ok()?, model));
        }
        let person = UserId::parse(text).map(Self::Person);
        person.or_else(|_| KeyId::parse(text).map(Self::Key)).ok()
    }
}

impl ReservedFor {
    /// Writes these accounts as they stand now, in the caller's transaction. A reservation is in
    /// memory before its record is written, and the writer takes one transaction after another,
    /// so what is on disk is never less than what was taken for work that began. Of people and keys
    /// that were deleted meanwhile nothing is written anew.
    pub fn store_in(&self, tx: &Transaction<'_>) -> Result<(), DbError> {
        for (account, counters) in self.snapshot() {
            if exists(tx, account)? {
                save(tx, account, &counters)?;
            }
        }
        Ok(())
    }
}

fn exists(tx: &Transaction<'_>, account: Account) -> Result<bool, DbError> {
    let owner = match account {
        Account::Person(user) | Account::Model(user, _) => user.to_string(),
        Account::Key(key) => key.to_string(),
    };
    let sql = match account {
        Account::Person(_) | Account::Model(..) => {
            "SELECT EXISTS (SELECT 1 FROM users WHERE id = ?1)"
        }
        Account::Key(_) => "SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?1)",
    };
    Ok(tx.prepare_cached(sql)?.query_row([owner], |row| row.get(0))?)
}

fn save(tx: &Transaction<'_>, account: Account, counters: &Counters) -> Result<(), DbError> {
    let name = account.text();
    tx.prepare_cached(
        "INSERT INTO limit_minutes (account, requests_spent, requests_at, tokens_spent, tokens_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (account) DO UPDATE SET
           requests_spent = excluded.requests_spent, requests_at = excluded.requests_at,
           tokens_spent = excluded.tokens_spent, tokens_at = excluded.tokens_at",
    )?
    .execute(params![
        name,
        whole(counters.requests.spent),
        counters.requests.at_ms,
        whole(counters.tokens.spent),
        counters.tokens.at_ms,
    ])?;
    tx.prepare_cached(
        "INSERT INTO limit_days (account, day, requests, tokens) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (account, day) DO UPDATE SET
           requests = excluded.requests, tokens = excluded.tokens",
    )?
    .execute(params![
        name,
        counters.day.number,
        whole(counters.day.requests),
        whole(counters.day.tokens),
    ])?;
    Ok(())
}

/// SQLite's integers have a sign.
fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Reads the accounts back. Where the clock lies behind what is on record, the records count as
/// of now: nothing is given away, and nobody waits for the clock to catch up.
pub(super) fn load(
    connection: &Connection,
    now: Now,
) -> Result<HashMap<Account, Counters>, DbError> {
    let today = Day::of(now.date);
    connection.execute("DELETE FROM limit_days WHERE day < ?1", [today - DAYS_KEPT])?;
    fold_days_ahead(connection, today)?;
    let mut accounts: HashMap<Account, Counters> = HashMap::new();
    let mut minutes = connection.prepare(
        "SELECT account, requests_spent, requests_at, tokens_spent, tokens_at FROM limit_minutes",
    )?;
    let mut rows = minutes.query([])?;
    while let Some(row) = rows.next()? {
        let Some(account) = Account::parse(&row.get::<_, String>(0)?) else { continue };
        let minute = |spent, at: i64| {
            let spent = unsigned(spent);
            Minute { spent, at_ms: at.min(now.steady.ms()), taken: spent }
        };
        let requests = minute(row.get(1)?, row.get(2)?);
        let tokens = minute(row.get(3)?, row.get(4)?);
        accounts.insert(account, Counters::kept(requests, tokens));
    }
    let mut days =
        connection.prepare("SELECT account, requests, tokens FROM limit_days WHERE day = ?1")?;
    let mut rows = days.query([today])?;
    while let Some(row) = rows.next()? {
        let Some(account) = Account::parse(&row.get::<_, String>(0)?) else { continue };
        accounts.entry(account).or_default().day =
            Day { number: today, requests: unsigned(row.get(1)?), tokens: unsigned(row.get(2)?) };
    }
    Ok(accounts)
}

/// Counts as today's what a clock that was ahead has put on days that are to come: the most that is
/// on record for one of them, as a clock that is set back while the server runs counts on from
/// there. Once: those days begin empty when they come.
fn fold_days_ahead(connection: &Connection, today: i64) -> Result<(), DbError> {
    connection.execute(
        "INSERT INTO limit_days (account, day, requests, tokens)
         SELECT account, ?1, max(requests), max(tokens) FROM limit_days
         WHERE day >= ?1 GROUP BY account HAVING max(day) > ?1
         ON CONFLICT (account, day) DO UPDATE SET
           requests = excluded.requests, tokens = excluded.tokens",
        [today],
    )?;
    connection.execute("DELETE FROM limit_days WHERE day > ?1", [today])?;
    Ok(())
}
