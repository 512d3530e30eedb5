//! Budgets of a calendar month.

use super::*;
use crate::limits::Whose;

fn monthly(tokens: u64) -> LimitSet {
    LimitSet { tokens_per_month: Some(tokens), ..LimitSet::default() }
}

fn at(bench: &Bench, moment: &str) {
    bench.clock.set(Timestamp::parse(moment).expect("a moment"));
}

#[test]
fn the_month_ends_with_the_calendar_s() {
    let bench = Bench::new(monthly(10), LimitSet::default());
    let (limiter, subject) = (bench.open(), person());
    at(&bench, "2028-02-28T22:00:00Z");
    admit(&limiter, &subject, Wanted::exactly(10)).expect("fits").settle(10);
    let refusal = refused(admit(&limiter, &subject, Wanted::exactly(1)));
    assert_eq!((refusal.which, refusal.whose), (Which::MonthTokens, Whose::Person));
    assert_eq!(refusal.retry_after, Some(Duration::from_hours(26)), "a leap year");
    bench.clock.advance(Duration::from_hours(2));
    assert_eq!(refused(admit(&limiter, &subject, Wanted::exactly(1))).which, Which::MonthTokens);
    bench.clock.advance(Duration::from_hours(24));
    let reservation = admit(&limiter, &subject, Wanted::exactly(10)).expect("March");
    bench.clock.advance(Duration::from_hours(24 * 31));
    admit(&limiter, &subject, Wanted::exactly(10)).expect("April").settle(10);
    reservation.settle(0);
    let usage = limiter.usage(subject.user, &[]);
    assert_eq!(usage.tokens_month.used, 10, "what was reserved in March is March's");
}

#[test]
fn a_month_outlives_the_process_and_a_clock_that_goes_back_opens_none() {
    let bench = Bench::new(monthly(100), LimitSet::default());
    let subject = bench.person();
    let used = |limiter: &Limiter| limiter.usage(subject.user, &[]).tokens_month.used;
    at(&bench, "2026-01-31T12:00:00Z");
    let limiter = bench.open();
    bench.save(&admit(&limiter, &subject, Wanted::exactly(100)).expect("fits").settle(100));
    assert_eq!(used(&bench.open()), 100);
    at(&bench, "2026-02-01T12:00:00Z");
    for limiter in [limiter, bench.open()] {
        at(&bench, "2026-02-01T12:00:00Z");
        assert_eq!(used(&limiter), 0, "a new month");
        bench.save(&admit(&limiter, &subject, Wanted::exactly(10)).expect("opens").settle(10));
        at(&bench, "2026-01-31T12:00:00Z");
        assert_eq!(
            refused(admit(&limiter, &subject, Wanted::exactly(1))).which,
            Which::MonthTokens
        );
        at(&bench, "2026-02-01T12:00:00Z");
        bench.save(&admit(&limiter, &subject, Wanted::exactly(10)).expect("opens").settle(10));
    }
    at(&bench, "2026-01-31T12:00:00Z");
    let limiter = bench.open();
    assert_eq!(refused(admit(&limiter, &subject, Wanted::exactly(1))).which, Which::MonthTokens);
}

#[test]
fn what_was_used_under_a_clock_that_was_ahead_counts_beside_what_was_used_before() {
    for ahead in ["2026-02-01T12:00:00Z", "2029-07-01T12:00:00Z"] {
        for is_restarted_at_once in [true, false] {
            let bench = Bench::new(monthly(1_000), LimitSet::default());
            let subject = bench.person();
            let used = |limiter: &Limiter| limiter.usage(subject.user, &[]).tokens_month.used;
            let spend = |limiter: &Limiter, tokens: u64| {
                let fits = admit(limiter, &subject, Wanted::exactly(tokens)).expect("fits");
                bench.save(&fits.settle(tokens));
            };
            at(&bench, "2026-01-31T12:00:00Z");
            spend(&bench.open(), 100);
            at(&bench, ahead);
            let limiter = bench.open();
            assert_eq!(used(&limiter), 0, "{ahead}");
            spend(&limiter, 50);
            at(&bench, "2026-01-31T13:00:00Z");
            let again = if is_restarted_at_once { bench.open() } else { limiter };
            assert_eq!(used(&again), 150, "{ahead} {is_restarted_at_once}");
            spend(&again, 7);
            assert_eq!(used(&bench.open()), 157, "{ahead}: each of them once");
            at(&bench, "2026-02-01T12:00:00Z");
            assert_eq!(used(&bench.open()), 0, "a new month");
        }
    }
}

#[test]
fn an_account_that_was_let_go_keeps_what_is_on_disk() {
    let bench = Bench::new(monthly(100), LimitSet::default());
    let (limiter, subject) = (bench.open(), bench.person());
    let done = admit(&limiter, &subject, Wanted::exactly(40)).expect("fits").settle(40);
    bench.save(&done);
    limiter.shared.accounts.lock().clear();
    bench.save(&done);
    assert_eq!(bench.open().usage(subject.user, &[]).tokens_month.used, 40);
}

#[test]
fn what_is_on_record_of_days_counts_for_the_month_from_the_migration_on() {
    // The same statement as in the migration, on what an older version has left.
    let sql = include_str!("../../../db/migrations/0014_budgets.sql");
    let (_, rest) = sql.split_once("INSERT INTO limit_months").expect("it is there");
    let insert = format!("INSERT INTO limit_months{}", rest.split_once(';').expect("an end").0);
    let bench = Bench::new(monthly(100), LimitSet::default());
    let subject = bench.person();
    at(&bench, "2026-03-03T12:00:00Z");
    let day = bench.clock.now().ms() / DAY_MS;
    let work = move |tx: &crate::db::Transaction<'_>| -> Result<(), DbError> {
        for (day, tokens) in
            [(day - 3, 1_000_i64), (day - 2, 20), (day, 30), (-5, 1), (i64::MAX, 1)]
        {
            let sql = "INSERT INTO limit_days VALUES (?1, ?2, 1, ?3)";
            tx.execute(sql, (subject.user, day, tokens))?;
        }
        tx.execute(&insert, [])?;
        tx.execute("DELETE FROM limit_days WHERE day > ?1", [day])?;
        Ok(())
    };
    let user = subject.user;
    bench.db.write_blocking(work).expect("migrates");
    let usage = bench.open().usage(user, &[]);
    assert_eq!((usage.tokens_month.used, usage.requests_month.used), (50, 2));
}
