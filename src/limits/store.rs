//! What is kept of the accounts across restarts.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, params};
use sha2::{Digest, Sha256};

use super::calendar::{Period, Span, Used};
use super::counters::{Counters, Minute, Now};
use super::reservation::ReservedFor;
use crate::db::DbError;
use crate::ids::{GroupId, KeyId, UserId};

/// Where what was used in stretches of the calendar is kept, and how many of them.
struct Table {
    span: Span,
    name: &'static str,
    /// The column of their numbers.
    number: &'static str,
    kept: i64,
}

const DAYS: Table = Table { span: Span::Day, name: "limit_days", number: "day", kept: 400 };
const MONTHS: Table = Table { span: Span::Month, name: "limit_months", number: "month", kept: 14 };

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Account {
    Person(UserId),
    Key(KeyId),
    /// What the members of a group use together.
    Group(GroupId),
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
            Self::Group(group) => group.to_string(),
            Self::Model(user, model) => format!("{user}/{model:016x}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some((user, model)) = text.split_once('/') {
            let model = u64::from_str_radix(model, 16).ok()?;
            return Some(Self::Model(UserId::parse(user).ok()?, model));
        }
        let person = UserId::parse(text).map(Self::Person);
        let key = || KeyId::parse(text).map(Self::Key);
        person.or_else(|_| key()).or_else(|_| GroupId::parse(text).map(Self::Group)).ok()
    }
}

impl ReservedFor {
    /// Writes these accounts as they stand now, in the caller's transaction. A reservation is in
    /// memory before its record is written, and the writer takes one transaction after another,
    /// so what is on disk is never less than what was taken for work that began. Of people, keys and
    /// groups that were deleted meanwhile nothing is written anew.
    pub fn store_in(&self, tx: &Transaction<'_>) -> Result<(), DbError> {
        for (account, counters) in self.snapshot() {
            if exists(tx, account)? {
                save(tx, account, &counters)?;
            }
        }
        Ok(())
    }
}

/// Deletes what a key or a group has used, in the caller's transaction: nobody asks for it any more.
pub(crate) fn forget_in(tx: &Transaction<'_>, account: &str) -> Result<(), DbError> {
    for table in ["limit_minutes", DAYS.name, MONTHS.name] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE account = ?1"))?
            .execute([account])?;
    }
    Ok(())
}

fn exists(tx: &Transaction<'_>, account: Account) -> Result<bool, DbError> {
    let owner = match account {
        Account::Person(user) | Account::Model(user, _) => user.to_string(),
        Account::Key(key) => key.to_string(),
        Account::Group(group) => group.to_string(),
    };
    let sql = match account {
        Account::Person(_) | Account::Model(..) => {
            "SELECT EXISTS (SELECT 1 FROM users WHERE id = ?1)"
        }
        Account::Key(_) => "SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?1)",
        Account::Group(_) => "SELECT EXISTS (SELECT 1 FROM user_groups WHERE id = ?1)",
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
    save_period(tx, &DAYS, &name, &counters.day)?;
    save_period(tx, &MONTHS, &name, &counters.month)
}

fn save_period(
    tx: &Transaction<'_>,
    table: &Table,
    account: &str,
    period: &Period,
) -> Result<(), DbError> {
    let Table { name, number, .. } = table;
    tx.prepare_cached(&format!(
        "INSERT INTO {name} (account, {number}, requests, tokens) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (account, {number}) DO UPDATE SET
           requests = excluded.requests, tokens = excluded.tokens"
    ))?
    .execute(params![
        account,
        period.number,
        whole(period.requests),
        whole(period.tokens)
    ])?;
    // What a clock that was ahead has put on stretches to come is counted in this one by now.
    tx.prepare_cached(&format!("DELETE FROM {name} WHERE account = ?1 AND {number} > ?2"))?
        .execute(params![account, period.number])?;
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
    load_periods(connection, &DAYS, now, &mut |account, period| {
        accounts.entry(account).or_default().day = period;
    })?;
    load_periods(connection, &MONTHS, now, &mut |account, period| {
        accounts.entry(account).or_default().month = period;
    })?;
    Ok(accounts)
}

/// Gives what was used in the present stretch by every account, and in the last one before.
fn load_periods(
    connection: &Connection,
    table: &Table,
    now: Now,
    visit: &mut impl FnMut(Account, Period),
) -> Result<(), DbError> {
    let present = table.span.number(now.date);
    let Table { name, number, kept, .. } = table;
    // Everybody's last one stays, however old: the clock may be ahead, and be set back.
    let sql = format!(
        "DELETE FROM {name} WHERE {number} < ?1 AND {number} <
           (SELECT max(later.{number}) FROM {name} AS later WHERE later.account = {name}.account)"
    );
    connection.execute(&sql, [present - kept])?;
    fold_ahead(connection, table, present)?;
    let mut periods: HashMap<Account, (Option<Used>, Option<Used>)> = HashMap::new();
    // The columns beside `max` are those of its row.
    let sql = format!(
        "SELECT account, max({number}), requests, tokens FROM {name}
         WHERE {number} <= ?1 GROUP BY account, {number} < ?1"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([present])?;
    while let Some(row) = rows.next()? {
        let Some(account) = Account::parse(&row.get::<_, String>(0)?) else { continue };
        let (number, requests, tokens) =
            (row.get(1)?, unsigned(row.get(2)?), unsigned(row.get(3)?));
        let (now, before) = periods.entry(account).or_default();
        *(if number == present { now } else { before }) = Some(Used { number, requests, tokens });
    }
    for (account, (now, before)) in periods {
        let now = now.unwrap_or(Used { number: present, ..Used::default() });
        visit(account, Period::kept(now, before));
    }
    Ok(())
}

/// Counts as the present's what a clock that was ahead has put on stretches that are to come, beside what
/// is on record of the present. Once: those begin empty when they come.
fn fold_ahead(connection: &Connection, table: &Table, present: i64) -> Result<(), DbError> {
    let Table { name, number, .. } = table;
    connection.execute(
        &format!(
            "INSERT INTO {name} (account, {number}, requests, tokens)
             SELECT account, ?1, CAST(total(requests) AS INTEGER), CAST(total(tokens) AS INTEGER)
             FROM {name}
             WHERE {number} >= ?1 GROUP BY account HAVING max({number}) > ?1
             ON CONFLICT (account, {number}) DO UPDATE SET
               requests = excluded.requests, tokens = excluded.tokens"
        ),
        [present],
    )?;
    connection.execute(&format!("DELETE FROM {name} WHERE {number} > ?1"), [present])?;
    Ok(())
}
