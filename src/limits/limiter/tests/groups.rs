//! Budgets that several have together, and those of one key.

use super::*;
use crate::ids::GroupId;
use crate::limits::{Group, Whose};

/// A group of these people with these limits.
fn group(limiter: &Limiter, limits: LimitSet, members: &[&Subject]) -> GroupId {
    let members = members.iter().map(|subject| subject.user).collect();
    let id = GroupId::new();
    limiter.roster().put(Group { id, name: "research".into(), limits, members });
    id
}

#[test]
fn a_key_s_own_limits_only_narrow() {
    let limiter = Bench::new(LimitSet::default(), set(0, 50, 0, 0)).open();
    let with = |limits| Subject { key: Some(SubjectKey { limits, ..key() }), ..person() };
    for (own, limit) in [(set(0, 10, 0, 0), 10), (set(0, 900, 0, 0), 50), (set(0, 0, 0, 0), 50)] {
        let subject = with(own);
        let refusal = refused(admit(&limiter, &subject, Wanted::exactly(51)));
        assert_eq!((refusal.limit, refusal.whose), (limit, Whose::Key));
        admit(&limiter, &subject, Wanted::exactly(limit)).expect("fits").settle(limit);
    }
    let month = LimitSet { tokens_per_month: Some(5), ..LimitSet::default() };
    let subject = with(month);
    admit(&limiter, &subject, Wanted::exactly(5)).expect("fits").settle(5);
    let refusal = refused(admit(&limiter, &subject, Wanted::exactly(1)));
    assert_eq!((refusal.which, refusal.whose), (Which::MonthTokens, Whose::Key));
    // Another key of the same person has a budget of its own, and so has the web app.
    let other = Subject { key: Some(key()), ..subject };
    admit(&limiter, &other, Wanted::exactly(5)).expect("fits").settle(5);
}

#[test]
fn the_members_of_a_group_use_up_one_budget() {
    let limiter = Bench::new(LimitSet::default(), LimitSet::default()).open();
    let (ann, bob, eve) = (person(), person(), person());
    let limits = LimitSet { tokens_per_month: Some(100), ..set(0, 0, 60, 2) };
    let id = group(&limiter, limits, &[&ann, &bob]);
    admit(&limiter, &ann, Wanted::exactly(40)).expect("fits").settle(30);
    admit(&limiter, &bob, Wanted::exactly(30)).expect("fits").settle(30);
    for subject in [&ann, &bob] {
        let refusal = refused(admit(&limiter, subject, Wanted::exactly(1)));
        assert_eq!((refusal.which, refusal.whose), (Which::DayTokens, Whose::Group(id)));
    }
    admit(&limiter, &eve, Wanted::exactly(90)).expect("is in no group").settle(90);
    let told = limiter.usage_of_groups(ann.user);
    assert_eq!((told.len(), told[0].id, &*told[0].name), (1, id, "research"));
    assert_eq!((told[0].usage.tokens_day.used, told[0].usage.tokens_month.used), (60, 60));
    assert_eq!(told[0].usage.requests_day.used, 2, "who was not let in is not counted");
    assert!(limiter.usage_of_groups(eve.user).is_empty());
    // Who comes in counts on it from the next request on, and who goes does not.
    limiter
        .roster()
        .put(Group { members: [eve.user].into(), ..limiter.roster().group(id).expect("a group") });
    assert_eq!(refused(admit(&limiter, &eve, Wanted::exactly(1))).whose, Whose::Group(id));
    admit(&limiter, &ann, Wanted::exactly(1)).expect("is out").settle(1);
}

#[test]
fn a_group_s_places_and_pace_are_shared_and_the_headers_tell_of_the_tightest() {
    let limiter = Bench::new(set(9, 100, 0, 9), LimitSet::default()).open();
    let (ann, bob) = (person(), person());
    let id = group(&limiter, set(3, 50, 0, 1), &[&ann, &bob]);
    let running = admit(&limiter, &ann, Wanted::exactly(20)).expect("fits");
    let refusal = refused(admit(&limiter, &bob, Wanted::exactly(1)));
    assert_eq!((refusal.which, refusal.whose), (Which::Concurrent, Whose::Group(id)));
    let standing = limiter.standing(&bob, None);
    assert_eq!((standing.requests.limit, standing.requests.remaining()), (Some(3), Some(2)));
    assert_eq!((standing.tokens.limit, standing.tokens.remaining()), (Some(50), Some(30)));
    running.settle(20);
    admit(&limiter, &bob, Wanted::exactly(1)).expect("there is a place").settle(1);
}

#[test]
fn who_is_in_several_groups_counts_on_all_of_them() {
    let limiter = Bench::new(LimitSet::default(), LimitSet::default()).open();
    let (ann, bob) = (person(), person());
    group(&limiter, set(0, 0, 100, 0), &[&ann]);
    let tight = group(&limiter, set(0, 0, 10, 0), &[&ann, &bob]);
    admit(&limiter, &ann, Wanted::exactly(8)).expect("fits").settle(8);
    let used: Vec<u64> =
        limiter.usage_of_groups(ann.user).iter().map(|one| one.usage.tokens_day.used).collect();
    assert_eq!(used, [8, 8]);
    let refusal = refused(admit(&limiter, &ann, Wanted::exactly(8)));
    assert_eq!((refusal.limit, refusal.whose), (10, Whose::Group(tight)));
    let used: Vec<u64> =
        limiter.usage_of_groups(ann.user).iter().map(|one| one.usage.tokens_day.used).collect();
    assert_eq!(used, [8, 8], "out of every account, or out of none");
}

#[test]
fn what_a_group_used_outlives_the_process_and_not_the_group() {
    let bench = Bench::new(LimitSet::default(), LimitSet::default());
    let (limiter, ann) = (bench.open(), bench.person());
    let limits = set(0, 0, 100, 0);
    let id = group(&limiter, limits, &[&ann]);
    let roster = limiter.roster().group(id).expect("a group");
    let keep = move |tx: &crate::db::Transaction<'_>| -> Result<(), DbError> {
        tx.execute("INSERT INTO user_groups VALUES (?1, x'')", [id])?;
        Ok(())
    };
    bench.db.write_blocking(keep).expect("keeps");
    // Killed within an answer: what was reserved stays.
    let running = admit(&limiter, &ann, Wanted::exactly(70)).expect("fits");
    bench.save(&running.reserved_for());
    std::mem::forget(running);
    let again = bench.open();
    again.roster().put(roster);
    assert_eq!(again.usage_of_group(id, &limits).tokens_month.used, 70);
    assert_eq!(refused(admit(&again, &ann, Wanted::exactly(31))).whose, Whose::Group(id));
    // What still runs when a group is deleted leaves nothing of it.
    let running = admit(&again, &ann, Wanted::exactly(5)).expect("fits");
    again.forget_group(id);
    let settled = running.settle(5);
    assert_eq!(again.usage_of_group(id, &limits).tokens_month.used, 0);
    admit(&again, &ann, Wanted::exactly(900)).expect("no group limits").settle(900);
    let drop_rows = move |tx: &crate::db::Transaction<'_>| -> Result<(), DbError> {
        for table in [
            "user_groups WHERE id",
            "limit_days WHERE account",
            "limit_months WHERE account",
            "limit_minutes WHERE account",
        ] {
            tx.execute(&format!("DELETE FROM {table} = ?1"), [id])?;
        }
        Ok(())
    };
    bench.db.write_blocking(drop_rows).expect("deletes");
    bench.save(&settled);
    let once_more = bench.open();
    assert_eq!(once_more.usage_of_group(id, &limits).tokens_month.used, 0);
}
