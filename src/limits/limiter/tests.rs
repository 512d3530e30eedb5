//! Admission, settling, restarts and clocks, and that no course of events goes over the limits.

mod groups;
mod months;

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::ids::KeyId;
use crate::limits::{ReservedFor, SubjectKey, Wanted, Which};

const DAY_MS: i64 = 86_400_000;

fn limits(person: LimitSet, key: LimitSet) -> Limits {
    let service = LimitSet { requests_per_minute: Some(2), ..LimitSet::default() };
    let roles = [("service".to_owned(), service)].into();
    Limits { person, key, roles, weights: [("admin".to_owned(), 4)].into() }
}

fn set(requests: u32, tokens: u64, day: u64, concurrent: u32) -> LimitSet {
    LimitSet {
        requests_per_minute: Some(requests),
        tokens_per_minute: Some(tokens),
        tokens_per_day: Some(day),
        concurrent: Some(concurrent),
        ..LimitSet::default()
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    db: Db,
    clock: Clock,
    limits: Limits,
}

impl Bench {
    fn new(person: LimitSet, key: LimitSet) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let db = Db::open(&dir.path().join("t.db"), crate::db::DbOptions::default())
            .expect("a database");
        let clock = Clock::manual(Timestamp::from_ms(20_000 * DAY_MS));
        Self { _dir: dir, db, clock, limits: limits(person, key) }
    }

    fn open(&self) -> Limiter {
        Limiter::open(&self.db, self.clock.clone(), &self.limits).expect("opens")
    }

    fn save(&self, of: &ReservedFor) {
        let of = of.clone();
        self.db.write_blocking(move |tx| of.store_in(tx)).expect("stores");
    }

    /// A person of whom the database knows.
    fn person(&self) -> Subject {
        let subject = person();
        let (user, sql) = (subject.user, "INSERT INTO users VALUES (?1, ?1, x'', NULL, 0, 0, x'')");
        let add = move |tx: &crate::db::Transaction<'_>| -> Result<(), DbError> {
            tx.execute(sql, [user])?;
            Ok(())
        };
        self.db.write_blocking(add).expect("adds");
        subject
    }

    fn rows(&self) -> i64 {
        let sql = "SELECT (SELECT count(*) FROM limit_days) + (SELECT count(*) FROM limit_minutes)";
        let count = move |db: &crate::db::Connection| -> Result<i64, DbError> {
            Ok(db.query_row(sql, [], |row| row.get(0))?)
        };
        self.db.read_blocking(count).expect("counts")
    }
}

fn key() -> SubjectKey {
    SubjectKey { id: KeyId::new(), limits: LimitSet::default() }
}

fn person() -> Subject {
    Subject { user: UserId::new(), key: None, roles: Vec::new() }
}

/// Lets a request in and reserves its tokens.
fn admit(limiter: &Limiter, subject: &Subject, wanted: Wanted) -> Result<Reservation, Refusal> {
    let mut reservation = limiter.enter(subject)?;
    reservation.reserve(wanted)?;
    Ok(reservation)
}

fn refused(result: Result<Reservation, Refusal>) -> Refusal {
    result.map(drop).expect_err("a limit stands in the way")
}

#[test]
fn each_limit_refuses_by_its_name() {
    for (limits, tokens, which) in [
        (set(1, 0, 0, 0), 1, Which::Requests),
        (set(0, 10, 0, 0), 6, Which::Tokens),
        (set(0, 0, 10, 0), 6, Which::DayTokens),
        (set(0, 0, 0, 1), 1, Which::Concurrent),
    ] {
        let limiter = Bench::new(limits, LimitSet::default()).open();
        let subject = person();
        let first = admit(&limiter, &subject, Wanted::exactly(tokens)).expect("fits");
        assert_eq!(refused(admit(&limiter, &subject, Wanted::exactly(tokens))).which, which);
        drop(first);
    }
}

#[test]
fn the_tightest_of_person_key_and_role_counts() {
    let limiter = Bench::new(set(9, 0, 0, 0), set(1, 0, 0, 0)).open();
    let with_key = Subject { key: Some(key()), ..person() };
    admit(&limiter, &with_key, Wanted::exactly(1)).expect("fits").settle(1);
    assert_eq!(refused(admit(&limiter, &with_key, Wanted::exactly(1))).limit, 1);
    let in_role = Subject { roles: vec!["service".into()], ..person() };
    admit(&limiter, &in_role, Wanted::exactly(1)).expect("fits").settle(1);
    admit(&limiter, &in_role, Wanted::exactly(1)).expect("fits").settle(1);
    assert_eq!(refused(admit(&limiter, &in_role, Wanted::exactly(1))).limit, 2);
    assert_eq!(limiter.standing(&in_role, None).requests.remaining(), Some(0));
}

#[test]
fn of_several_roles_the_greatest_weight_counts_and_there_is_always_one() {
    let limiter = Bench::new(LimitSet::default(), LimitSet::default()).open();
    for (roles, weight) in
        [(vec![], 1), (vec!["member"], 1), (vec!["admin"], 4), (vec!["member", "admin"], 4)]
    {
        let roles: Vec<String> = roles.into_iter().map(str::to_owned).collect();
        assert_eq!(limiter.weight(&roles), weight, "{roles:?}");
    }
}

/// Lets a request in for a model with these limits and reserves its tokens.
fn ask(
    limiter: &Limiter,
    subject: &Subject,
    (model, limits): (&str, LimitSet),
    tokens: u64,
) -> Result<Reservation, Refusal> {
    let mut reservation = limiter.enter(subject)?;
    reservation.narrow(model, &limits)?;
    reservation.reserve(Wanted::exactly(tokens))?;
    Ok(reservation)
}

#[test]
fn a_models_limits_count_for_each_person_and_for_no_other_model() {
    let limiter = Bench::new(set(9, 100, 0, 0), LimitSet::default()).open();
    let (ann, bob) = (person(), person());
    let (large, small) = (("large", set(1, 0, 0, 0)), ("small", set(0, 10, 0, 0)));
    ask(&limiter, &ann, large, 1).expect("fits").settle(1);
    let refusal = refused(ask(&limiter, &ann, large, 1));
    assert_eq!((refusal.which, refusal.limit), (Which::Requests, 1));
    ask(&limiter, &bob, large, 1).expect("fits").settle(1);
    ask(&limiter, &ann, small, 10).expect("fits").settle(10);
    let refusal = refused(ask(&limiter, &ann, small, 1));
    assert_eq!((refusal.which, refusal.limit), (Which::Tokens, 10));
    ask(&limiter, &ann, ("free", LimitSet::default()), 50).expect("fits").settle(50);
    // What the model gives, the person's own limits may still refuse.
    let refusal = refused(ask(&limiter, &ann, ("free", set(9, 1_000, 0, 0)), 90));
    assert_eq!((refusal.which, refusal.limit), (Which::Tokens, 100));
    // What was not used comes back, at the model too.
    ask(&limiter, &bob, small, 10).expect("fits").settle(2);
    ask(&limiter, &bob, small, 8).expect("fits").settle(8);
}

#[test]
fn what_was_used_of_a_model_outlives_the_process() {
    let bench = Bench::new(LimitSet::default(), LimitSet::default());
    let (subject, model) = (bench.person(), ("large", set(1, 0, 0, 0)));
    let limiter = bench.open();
    bench.save(&ask(&limiter, &subject, model, 1).expect("fits").settle(1));
    let limiter = bench.open();
    assert_eq!(refused(ask(&limiter, &subject, model, 1)).which, Which::Requests);
    bench.clock.advance(Duration::from_mins(1));
    ask(&limiter, &subject, model, 1).expect("a minute later").settle(1);
}

#[test]
fn a_key_does_not_multiply_what_its_owner_may_use() {
    let limiter = Bench::new(set(0, 10, 0, 0), LimitSet::default()).open();
    let user = UserId::new();
    let by = |key| Subject { user, key: Some(key), roles: Vec::new() };
    admit(&limiter, &by(key()), Wanted::exactly(10)).expect("fits").settle(10);
    assert_eq!(refused(admit(&limiter, &by(key()), Wanted::exactly(1))).which, Which::Tokens);
}

#[test]
fn a_request_that_is_not_let_in_takes_nothing_anywhere() {
    let limiter = Bench::new(set(9, 0, 0, 0), set(1, 0, 0, 0)).open();
    let subject = Subject { key: Some(key()), ..person() };
    drop(limiter.enter(&subject).expect("fits"));
    assert_eq!(refused(limiter.enter(&subject)).limit, 1);
    let person = Subject { key: None, ..subject };
    assert_eq!(limiter.standing(&person, None).requests.used, 1);
}

#[test]
fn what_fails_before_its_tokens_are_known_counts_as_a_request_and_takes_no_tokens() {
    let limiter = Bench::new(set(2, 5, 0, 1), LimitSet::default()).open();
    let subject = person();
    let entered = limiter.enter(&subject).expect("fits");
    assert_eq!(refused(limiter.enter(&subject)).which, Which::Concurrent, "it has a place");
    drop(entered);
    assert_eq!(refused(admit(&limiter, &subject, Wanted::exactly(6))).which, Which::Tokens);
    let standing = limiter.standing(&subject, None);
    assert_eq!((standing.requests.used, standing.tokens.used), (2, 0));
    assert_eq!(refused(limiter.enter(&subject)).which, Which::Requests);
}

#[test]
fn what_was_not_used_comes_back_and_dropped_reservations_count_in_full() {
    let limiter = Bench::new(set(0, 100, 1_000, 1), LimitSet::default()).open();
    let subject = person();
    admit(&limiter, &subject, Wanted::exactly(90)).expect("fits").settle(10);
    assert_eq!(limiter.usage(subject.user, &[]).tokens_day.used, 10);
    drop(admit(&limiter, &subject, Wanted::exactly(90)).expect("fits"));
    assert_eq!(limiter.usage(subject.user, &[]).tokens_day.used, 100);
    assert_eq!(refused(admit(&limiter, &subject, Wanted::exactly(1))).which, Which::Tokens);
}

#[test]
fn a_request_that_never_fits_is_told_so() {
    let limiter = Bench::new(set(0, 100, 0, 0), LimitSet::default()).open();
    assert_eq!(refused(admit(&limiter, &person(), Wanted::exactly(101))).retry_after, None);
}

#[test]
fn a_request_that_may_be_smaller_takes_what_there_is_room_for() {
    let wanted = Wanted { least: 11, enough: 40, most: 90 };
    let take = |used| {
        let limiter = Bench::new(set(0, 60, 100, 0), LimitSet::default()).open();
        let subject = person();
        if used > 0 {
            admit(&limiter, &subject, Wanted::exactly(used)).expect("fits").settle(used);
        }
        admit(&limiter, &subject, wanted).map(|reservation| reservation.tokens())
    };
    assert_eq!(take(0).expect("the whole limit"), 60);
    assert_eq!(take(15).expect("what is left"), 45);
    // 35 are left, which is too little for an answer, and 40 will be there in five seconds.
    assert_eq!(take(25).expect_err("waits").retry_after, Some(Duration::from_secs(5)));
    let tight = Bench::new(set(0, 20, 0, 0), LimitSet::default()).open();
    assert_eq!(admit(&tight, &person(), wanted).expect("never more").tokens(), 20);
    let tighter = Bench::new(set(0, 10, 0, 0), LimitSet::default()).open();
    assert_eq!(refused(admit(&tighter, &person(), wanted)).retry_after, None);
    let none = Bench::new(LimitSet::default(), LimitSet::default()).open();
    assert_eq!(admit(&none, &person(), wanted).expect("no limit").tokens(), 90);
}

#[test]
fn nothing_is_written_anew_of_who_was_deleted() {
    let bench = Bench::new(set(3, 100, 1_000, 2), LimitSet::default());
    let (limiter, stays) = (bench.open(), bench.person());
    for subject in [person(), Subject { key: Some(key()), ..person() }] {
        bench.save(&admit(&limiter, &subject, Wanted::exactly(5)).expect("fits").settle(5));
    }
    assert_eq!(bench.rows(), 0);
    bench.save(&admit(&limiter, &stays, Wanted::exactly(5)).expect("fits").settle(5));
    assert_eq!(bench.rows(), 2);
}

#[test]
fn the_day_ends_at_midnight() {
    let bench = Bench::new(set(0, 0, 10, 0), LimitSet::default());
    let limiter = bench.open();
    let subject = person();
    bench.clock.advance(Duration::from_secs(86_000));
    admit(&limiter, &subject, Wanted::exactly(10)).expect("fits").settle(10);
    assert_eq!(
        refused(admit(&limiter, &subject, Wanted::exactly(1))).retry_after,
        Some(Duration::from_secs(400))
    );
    bench.clock.advance(Duration::from_secs(400));
    admit(&limiter, &subject, Wanted::exactly(10)).expect("a new day").settle(10);
}

#[test]
fn a_restart_forgets_nothing_and_counts_what_was_running_in_full() {
    let bench = Bench::new(set(3, 100, 1_000, 2), LimitSet::default());
    let subject = bench.person();
    let limiter = bench.open();
    let done = admit(&limiter, &subject, Wanted::exactly(50)).expect("fits");
    bench.save(&done.reserved_for());
    bench.save(&done.settle(20));
    let running = admit(&limiter, &subject, Wanted::exactly(60)).expect("fits");
    bench.save(&running.reserved_for());
    std::mem::forget(running);

    let again = bench.open();
    let usage = again.usage(subject.user, &[]);
    assert_eq!((usage.tokens_day.used, usage.tokens_minute.used), (80, 80));
    assert_eq!(usage.requests_day.used, 2);
    assert_eq!(again.standing(&subject, None).requests.used, 2);
    let two = [admit(&again, &subject, Wanted::exactly(1)).expect("nothing runs after a restart")];
    assert_eq!(refused(admit(&again, &subject, Wanted::exactly(1))).which, Which::Requests);
    drop(two);
}

#[test]
fn a_clock_that_was_set_back_gives_nothing_away() {
    let bench = Bench::new(set(0, 100, 1_000, 0), LimitSet::default());
    let subject = bench.person();
    let limiter = bench.open();
    bench.save(&admit(&limiter, &subject, Wanted::exactly(100)).expect("fits").settle(100));
    let earlier = Clock::manual(Timestamp::from_ms(19_998 * DAY_MS));
    let again = Limiter::open(&bench.db, earlier.clone(), &bench.limits).expect("opens");
    assert_eq!(again.usage(subject.user, &[]).tokens_day.used, 100);
    assert_eq!(refused(admit(&again, &subject, Wanted::exactly(1))).which, Which::Tokens);
    earlier.advance(Duration::from_mins(1));
    admit(&again, &subject, Wanted::exactly(100))
        .expect("and does not lock anybody out")
        .settle(100);
}

#[test]
fn a_clock_that_was_ahead_once_stops_nobody() {
    let bench = Bench::new(set(0, 100, 1_000, 0), LimitSet::default());
    let (limiter, subject) = (bench.open(), person());
    let right = bench.clock.now();
    bench.clock.set(right.plus(Duration::from_hours(24 * 365)));
    admit(&limiter, &subject, Wanted::exactly(100)).expect("fits").settle(100);
    assert_eq!(
        refused(admit(&limiter, &subject, Wanted::exactly(1))).which,
        Which::Tokens,
        "no time has passed"
    );
    bench.clock.set(right);
    bench.clock.advance(Duration::from_mins(1));
    admit(&limiter, &subject, Wanted::exactly(100))
        .expect("a minute later, whatever the clock said")
        .settle(0);
    assert_eq!(limiter.usage(subject.user, &[]).tokens_day.used, 100);
    bench.clock.advance(Duration::from_hours(24));
    assert_eq!(limiter.usage(subject.user, &[]).tokens_day.used, 0, "a new day");
}

#[test]
fn days_that_a_clock_was_ahead_by_count_once_and_not_at_every_start() {
    let bench = Bench::new(set(0, 0, 1_000, 0), LimitSet::default());
    let subject = bench.person();
    let right = bench.clock.now();
    bench.clock.set(right.plus(Duration::from_hours(24 * 3)));
    bench.save(&admit(&bench.open(), &subject, Wanted::exactly(900)).expect("fits").settle(900));
    bench.clock.set(right);
    let used = || bench.open().usage(subject.user, &[]);
    assert_eq!((used().tokens_day.used, used().requests_day.used), (900, 1));
    bench.clock.advance(Duration::from_hours(24));
    assert_eq!(used().tokens_day.used, 0, "a new day");
    bench.clock.advance(Duration::from_hours(48));
    assert_eq!(used().tokens_day.used, 0, "the day that the clock had shown begins empty");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_course_of_events_goes_over_the_limits(
        steps in proptest::collection::vec((0_u8..4, 0_u64..40, 0_u64..30_000), 1..200),
    ) {
        let limits = LimitSet { tokens_per_month: Some(700), ..set(20, 200, 500, 3) };
        let bench = Bench::new(limits, LimitSet::default());
        let limiter = bench.open();
        let subject = person();
        let mut open: Vec<(Reservation, u64)> = Vec::new();
        let mut on_day = (0_i64, 0_u64);
        for (what, tokens, wait) in steps {
            match what {
                0 | 1 => if let Ok(reservation) = admit(&limiter, &subject, Wanted::exactly(tokens)) {
                    open.push((reservation, tokens));
                },
                2 => if let Some((reservation, taken)) = open.pop() {
                    reservation.settle(tokens.min(taken));
                },
                _ => bench.clock.advance(Duration::from_millis(wait)),
            }
            let usage = limiter.usage(subject.user, &[]);
            let held: u64 = open.iter().map(|(_, taken)| taken).sum();
            prop_assert!(open.len() <= 3);
            prop_assert!(usage.tokens_day.used <= 500);
            prop_assert!(usage.tokens_minute.used <= 200);
            prop_assert!(usage.tokens_month.used <= 700);
            prop_assert!(usage.tokens_day.used >= held || usage.tokens_day.used >= on_day.1);
            on_day = (0, usage.tokens_day.used);
        }
    }
}
