//! The sums on disk.

use rusqlite::{Connection, Row, Transaction, params};
use serde_json::json;

use super::cost::{Cost, Tokens};
use super::ledger::Entry;
use super::report::{By, Selection, Sum};
use super::span::{Span, Width};
use crate::db::DbError;

/// Days for which use is kept by the hour.
pub(crate) const HOURS_DAYS: i64 = 35;
/// Days of use that are deleted at once: a clock that is ahead for an hour takes little with it.
const EXPIRED_DAYS: i64 = 2;

const fn table(width: Width) -> &'static str {
    match width {
        Width::Hour => "usage_hours",
        Width::Day => "usage_days",
    }
}

impl Entry {
    /// Adds it to the sums, in the caller's transaction.
    pub(crate) fn store_in(&self, tx: &Transaction<'_>) -> Result<(), DbError> {
        let (micro, pico) = self.cost.parts();
        for width in [Width::Day, Width::Hour] {
            // Names on the right are what stood there before.
            let sql = format!(
                "INSERT INTO {} (slot, user, key, model, kind, requests, input_tokens,
                   cached_tokens, output_tokens, cost_micro, cost_pico)
                 VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT (slot, user, key, model, kind) DO UPDATE SET
                   requests = requests + 1,
                   input_tokens = input_tokens + excluded.input_tokens,
                   cached_tokens = cached_tokens + excluded.cached_tokens,
                   output_tokens = output_tokens + excluded.output_tokens,
                   cost_micro = cost_micro + excluded.cost_micro
                     + (cost_pico + excluded.cost_pico) / 1000000,
                   cost_pico = (cost_pico + excluded.cost_pico) % 1000000",
                table(width)
            );
            tx.prepare_cached(&sql)?.execute(params![
                self.slot(width),
                self.user,
                self.key,
                self.model,
                self.kind,
                whole(self.tokens.input),
                whole(self.tokens.cached),
                whole(self.tokens.output),
                micro,
                pico,
            ])?;
        }
        Ok(())
    }
}

/// The sums of what is selected, one for each group, at most `most` of them, in the order of the groups.
pub(super) fn sums(
    db: &Connection,
    span: Span,
    selection: &Selection,
    by: By,
    most: usize,
) -> Result<Vec<Sum>, DbError> {
    // A list that is absent selects everything. What is not grouped by is NULL, which is one group.
    let sql = format!(
        "SELECT CASE WHEN ?3 THEN slot END, CASE WHEN ?4 THEN user END,
           CASE WHEN ?5 THEN key END, CASE WHEN ?6 THEN model END, CASE WHEN ?7 THEN kind END,
           sum(requests), sum(input_tokens), sum(cached_tokens), sum(output_tokens),
           sum(cost_micro), sum(cost_pico),
           CASE WHEN ?5 THEN (SELECT hint FROM api_keys WHERE id = key) END
         FROM {}
         WHERE slot >= ?1 AND slot < ?2
           AND (?8 IS NULL OR user IN (SELECT value FROM json_each(?8)))
           AND (?9 IS NULL OR key IN (SELECT value FROM json_each(?9)))
           AND (?10 IS NULL OR model IN (SELECT value FROM json_each(?10)))
           AND (?11 IS NULL OR kind IN (SELECT value FROM json_each(?11)))
         GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5 LIMIT ?12",
        source(table(span.width), selection.users.is_some())
    );
    let list = |list: &Option<Vec<String>>| list.as_ref().map(|list| json!(list).to_string());
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map(
        params![
            span.first,
            span.end,
            by.slot,
            by.person,
            by.key,
            by.model,
            by.kind,
            list(&selection.users),
            list(&selection.keys),
            list(&selection.models),
            list(&selection.kinds),
            i64::try_from(most).unwrap_or(i64::MAX),
        ],
        sum,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Where the sums are read. Of some people alone, their rows of each slot are sought out one by one: what
/// somebody asks of their own use must not cost a look at everybody's.
fn source(table: &str, of_some: bool) -> String {
    if !of_some {
        return table.to_owned();
    }
    format!(
        "(WITH RECURSIVE slots (at) AS (
            SELECT min(slot) FROM {table} WHERE slot >= ?1 AND slot < ?2
            UNION ALL
            SELECT (SELECT min(slot) FROM {table} WHERE slot > at AND slot < ?2)
            FROM slots WHERE at IS NOT NULL)
          SELECT used.* FROM slots
            CROSS JOIN (SELECT DISTINCT value FROM json_each(?8)) AS person
            CROSS JOIN {table} AS used ON used.slot = slots.at AND used.user = person.value)"
    )
}

fn sum(row: &Row<'_>) -> rusqlite::Result<Sum> {
    let number = |at: usize| row.get::<_, i64>(at).map(unsigned);
    Ok(Sum {
        slot: row.get(0)?,
        user: row.get(1)?,
        key: row.get(2)?,
        model: row.get(3)?,
        kind: row.get(4)?,
        key_hint: row.get(11)?,
        requests: number(5)?,
        tokens: Tokens { input: number(6)?, cached: number(7)?, output: number(8)? },
        cost: Cost::from_parts(number(9)?, number(10)?),
    })
}

/// Deletes what is older than it is kept for, the oldest first and a little at a time.
pub(super) fn expire(tx: &Transaction<'_>, today: i64, days_kept: i64) -> Result<usize, DbError> {
    let mut count = 0;
    for (width, days) in [(Width::Day, days_kept), (Width::Hour, days_kept.min(HOURS_DAYS))] {
        let (table, slots) = (table(width), Width::Day.seconds() / width.seconds());
        let sql = format!(
            "DELETE FROM {table} WHERE slot < ?1
               AND slot < (SELECT min(slot) FROM {table}) + ?2"
        );
        count += tx.execute(&sql, [(today - days) * slots, EXPIRED_DAYS * slots])?;
    }
    Ok(count)
}

/// SQLite's integers have a sign.
fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use rusqlite::types::Null;

    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::config::{Price, Prices};
    use crate::db::{Db, DbOptions};
    use crate::ids::{KeyId, UserId};
    use crate::usage::ledger::{Ledger, User};

    const DAY: i64 = 20_000;

    struct Book {
        _dir: tempfile::TempDir,
        db: Db,
        clock: Clock,
        ledger: Ledger,
    }

    impl Book {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let db = Db::open(&dir.path().join("t.db"), DbOptions::default()).expect("opens");
            let clock = Clock::manual(Timestamp::from_ms(DAY * 86_400_000));
            let price = Price::parse("0.000001").ok();
            let prices = Prices { input: price, cached_input: None, output: price };
            let ledger = Ledger::new(&clock, &BTreeMap::from([("m".to_owned(), prices)]));
            Self { _dir: dir, db, clock, ledger }
        }

        fn enter(&self, user: User, model: &str, kind: &'static str, tokens: (u64, u64, u64)) {
            let (input, cached, output) = tokens;
            let entry = self.ledger.entry(user, model, kind, Tokens { input, cached, output });
            self.db.write_blocking(move |tx| entry.store_in(tx)).expect("stores");
        }

        fn sums(&self, width: Width, selection: &Selection, by: By) -> Vec<Sum> {
            let (span, selection) = (whole_of(width), selection.clone());
            let read = move |db: &Connection| sums(db, span, &selection, by, 100);
            self.db.read_blocking(read).expect("reads")
        }
    }

    fn whole_of(width: Width) -> Span {
        Span { width, first: 0, end: i64::MAX }
    }

    fn person() -> User {
        User { person: Some(UserId::new()), key: None }
    }

    #[test]
    fn what_is_entered_is_summed_up_by_day_and_by_hour() {
        let book = Book::new();
        let (ann, bob) = (person(), person());
        let by_key = User { key: Some(KeyId::new()), ..bob };
        book.enter(ann, "m", "chat", (10, 4, 5));
        book.enter(ann, "m", "chat", (1, 0, 1));
        book.enter(by_key, "m", "api", (2, 0, 0));
        book.clock.advance(Duration::from_hours(1));
        book.enter(by_key, "free", "embeddings", (100, 0, 0));
        let all = &Selection::default();
        let total = book.sums(Width::Day, all, By::default());
        assert_eq!(total.len(), 1);
        assert_eq!((total[0].requests, total[0].cost.to_string()), (4, "0.000000000019".into()));
        assert_eq!(total[0].tokens, Tokens { input: 113, cached: 4, output: 6 });
        assert_eq!((&total[0].user, &total[0].model, total[0].slot), (&None, &None, None));
        assert_eq!(book.sums(Width::Hour, all, By::default()), total, "both say the same");
        let people = book.sums(Width::Day, all, By { person: true, ..By::default() });
        assert_eq!(people.iter().map(|one| one.requests).sum::<u64>(), 4);
        assert_eq!(people.len(), 2);
        let hours = book.sums(Width::Hour, all, By { slot: true, ..By::default() });
        let slots: Vec<_> = hours.iter().map(|one| (one.slot, one.requests)).collect();
        assert_eq!(slots, [(Some(DAY * 24), 3), (Some(DAY * 24 + 1), 1)]);
        let keys = book.sums(Width::Day, all, By { key: true, ..By::default() });
        assert_eq!(keys[0].key.as_deref(), Some(""), "the web app's");
        assert_eq!(keys[1].requests, 2);
        let selected = Selection {
            kinds: Some(vec!["api".into(), "embeddings".into()]),
            models: Some(vec!["m".into()]),
            ..Selection::default()
        };
        let found = book.sums(Width::Day, &selected, By { kind: true, ..By::default() });
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].kind.as_deref(), found[0].tokens.input), (Some("api"), 2));
        let nobody = Selection { users: Some(Vec::new()), ..Selection::default() };
        assert_eq!(book.sums(Width::Day, &nobody, By::default()), []);
    }

    #[test]
    fn some_people_s_sums_are_those_of_their_rows_wherever_they_lie() {
        let book = Book::new();
        let people = [person(), person(), person()];
        let id = |one: usize| people[one].person.expect("a person").to_string();
        for day in 0..10 {
            for (one, who) in people.iter().enumerate().filter(|(one, _)| day % (one + 2) == 0) {
                book.enter(*who, "m", "chat", (1 + one as u64, 0, day as u64));
                book.enter(*who, "n", "api", (1, 0, 0));
            }
            book.clock.advance(Duration::from_hours(31));
        }
        let by = By { slot: true, person: true, model: true, ..By::default() };
        for width in [Width::Day, Width::Hour] {
            let all = book.sums(width, &Selection::default(), by);
            assert_eq!(all.len(), 2 * (5 + 4 + 3), "{width:?}");
            // Who is named twice is counted once.
            for asked in [vec![], vec![0], vec![1, 1], vec![2, 0]] {
                let ids: Vec<String> = asked.into_iter().map(id).collect();
                let is_one = |sum: &&Sum| sum.user.as_ref().is_some_and(|user| ids.contains(user));
                let of_them: Vec<Sum> = all.iter().filter(is_one).cloned().collect();
                let selected = Selection { users: Some(ids.clone()), ..Selection::default() };
                assert_eq!(book.sums(width, &selected, by), of_them, "{width:?} {ids:?}");
            }
        }
    }

    #[test]
    fn one_person_s_use_is_found_without_a_look_at_everybody_s() {
        let book = Book::new();
        let plan = |of_some: bool| -> String {
            let sql = format!(
                "EXPLAIN QUERY PLAN SELECT sum(requests) FROM {}
                 WHERE slot >= ?1 AND slot < ?2 AND ?8 IS NOT NULL",
                source("usage_days", of_some)
            );
            let read = move |db: &Connection| -> Result<Vec<String>, DbError> {
                let mut statement = db.prepare(&sql)?;
                let asked = params![0, 9, Null, Null, Null, Null, Null, "[]"];
                let rows = statement.query_map(asked, |row| row.get(3))?;
                Ok(rows.collect::<Result<_, _>>()?)
            };
            book.db.read_blocking(read).expect("a plan").join("; ")
        };
        let (some, all) = (plan(true), plan(false));
        assert!(some.contains("SEARCH used USING PRIMARY KEY (slot=? AND user=?)"), "{some}");
        assert!(!all.contains("user=?"), "{all}");
    }

    #[test]
    fn the_server_itself_is_nobody() {
        let book = Book::new();
        book.enter(User { person: None, key: None }, "m", "evaluation", (5, 0, 0));
        let by = By { person: true, ..By::default() };
        let sums = book.sums(Width::Day, &Selection::default(), by);
        assert_eq!(sums[0].user.as_deref(), Some("system"));
    }

    #[test]
    fn parts_of_a_millionth_are_carried_over() {
        let book = Book::new();
        let ann = person();
        for _ in 0..3 {
            book.enter(ann, "m", "api", (999_999, 0, 0));
        }
        let sums = book.sums(Width::Day, &Selection::default(), By::default());
        assert_eq!(sums[0].cost.to_string(), "0.000002999997");
        assert_eq!(sums[0].cost.parts(), (2, 999_997));
    }

    #[test]
    fn the_old_goes_a_little_at_a_time_and_the_hours_before_the_days() {
        let book = Book::new();
        let ann = person();
        for _ in 0..100 {
            book.enter(ann, "m", "api", (1, 0, 0));
            book.clock.advance(Duration::from_hours(24));
        }
        let days = |width| {
            let by = By { slot: true, ..By::default() };
            book.sums(width, &Selection::default(), by).len()
        };
        let expire =
            |today| book.db.write_blocking(move |tx| expire(tx, today, 90)).expect("deletes");
        let today = DAY + 100;
        assert_eq!(expire(today), 4);
        assert_eq!((days(Width::Day), days(Width::Hour)), (98, 98));
        while expire(today) > 0 {}
        assert_eq!((days(Width::Day), days(Width::Hour)), (90, 35));
        // A clock that is years ahead takes two days with it, and not all.
        expire(today + 3_650);
        assert_eq!((days(Width::Day), days(Width::Hour)), (88, 33));
    }

    #[test]
    fn no_more_rows_are_read_than_were_asked_for() {
        let book = Book::new();
        for _ in 0..5 {
            book.enter(person(), "m", "api", (1, 0, 0));
        }
        let by = By { person: true, ..By::default() };
        let read =
            move |db: &Connection| sums(db, whole_of(Width::Day), &Selection::default(), by, 3);
        assert_eq!(book.db.read_blocking(read).expect("reads").len(), 3);
    }
}
