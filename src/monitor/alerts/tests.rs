//! Each rule, event by event, on a database in memory with times of the test's own.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;

use super::rules::{Raised, Rule, Sample, Thresholds, take};
use super::store;
use crate::clock::Timestamp;
use crate::ids::UserId;

const LINES: Thresholds = Thresholds { failed_sign_ins: 3, volume_factor: 2 };
const START: Timestamp = Timestamp::from_ms(1_800_000_000_000);

/// A log that the test writes.
struct Log {
    db: Connection,
    seq: u64,
    now: Timestamp,
}

impl Log {
    fn new() -> Self {
        let db = Connection::open_in_memory().expect("memory");
        db.execute_batch(include_str!("../../db/migrations/0008_monitor.sql")).expect("tables");
        Self { db, seq: 0, now: START }
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    fn tell(
        &mut self,
        action: &str,
        outcome: &str,
        actor: &str,
        more: [serde_json::Value; 3],
    ) -> Vec<Raised> {
        self.seq += 1;
        let [subject, address, detail] = more;
        let body = json!({ "address": address, "detail": detail }).to_string().into_bytes();
        let sample = Sample {
            seq: self.seq,
            at: self.now,
            action: action.into(),
            outcome: outcome.into(),
            actor: actor.into(),
            subject: subject.as_str().map(str::to_owned),
            body,
        };
        let tx = self.db.transaction().expect("begins");
        let raised = take(&tx, &sample, LINES).expect("taken");
        store::set_cursor(&tx, self.seq).expect("kept");
        store::prune(&tx, self.now).expect("pruned");
        tx.commit().expect("commits");
        raised
    }

    fn fail(&mut self, account: Option<UserId>, address: &str) -> Vec<Raised> {
        let account = json!(account.map(|user| user.to_string()));
        self.tell("session.create", "denied", "anonymous", [account, json!(address), json!({})])
    }

    fn succeed(&mut self, user: UserId, address: &str) -> Vec<Raised> {
        let more = [json!("ses_x"), json!(address), json!({})];
        self.tell("session.create", "done", &user.to_string(), more)
    }

    fn use_tokens(&mut self, user: UserId, tokens: u64) -> Vec<Raised> {
        let detail =
            json!({ "prompt_tokens": tokens / 2, "completion_tokens": tokens - tokens / 2 });
        self.tell(
            "generation.end",
            "done",
            &format!("{user}/key_x"),
            [json!("guide"), json!(null), detail],
        )
    }

    fn refuse_key(&mut self, user: UserId, key: &str) -> Vec<Raised> {
        let more = [json!(key), json!("192.0.2.1"), json!({})];
        self.tell("key.refuse", "denied", &format!("{user}/{key}"), more)
    }

    fn acknowledge_all(&mut self) {
        let tx = self.db.transaction().expect("begins");
        for alert in store::list(&tx, 100).expect("listed") {
            store::acknowledge(&tx, alert.id, UserId::new(), self.now).expect("done");
            if let Some(counter) = alert.rule.counter(&alert.source) {
                store::forget_failures(&tx, &counter).expect("done");
            }
        }
        tx.commit().expect("commits");
    }
}

fn sources(raised: &[Raised]) -> Vec<&str> {
    raised.iter().map(|one| one.source.as_str()).collect()
}

#[test]
fn failures_of_one_account_from_many_addresses_raise_one_alert() {
    let (mut log, anna) = (Log::new(), UserId::new());
    assert!(log.fail(Some(anna), "192.0.2.1").is_empty());
    assert!(log.fail(Some(anna), "192.0.2.2").is_empty());
    let raised = log.fail(Some(anna), "192.0.2.3");
    assert_eq!(sources(&raised), [anna.to_string()]);
    assert_eq!(raised[0].rule, Rule::FailedSignIns);
    assert!(log.fail(Some(anna), "192.0.2.4").is_empty(), "the open one is added to");
    let kept = store::list(&log.db, 10).expect("listed");
    assert_eq!((kept.len(), kept[0].seen), (1, 4));
}

#[test]
fn failures_of_one_network_with_names_that_nobody_has_raise_one() {
    let mut log = Log::new();
    for last in 1..3 {
        assert!(log.fail(None, &format!("2001:db8::{last}")).is_empty());
    }
    assert_eq!(sources(&log.fail(None, "2001:db8::ffff")), ["2001:db8:0:0::/64"]);
    assert!(log.fail(None, "2001:db8:1::1").is_empty());
}

#[test]
fn failures_spread_over_accounts_and_addresses_are_found_together() {
    let mut log = Log::new();
    let raised: Vec<_> = (0..15).flat_map(|i| log.fail(None, &format!("192.0.2.{i}"))).collect();
    assert_eq!(sources(&raised), ["server"]);
}

#[test]
fn failures_that_are_far_apart_raise_nothing() {
    let (mut log, anna) = (Log::new(), UserId::new());
    for _ in 0..20 {
        assert!(log.fail(Some(anna), "192.0.2.1").is_empty());
        log.wait(8 * 60);
    }
}

#[test]
fn a_success_after_many_failures_is_told_and_one_after_few_is_not() {
    let (mut log, anna, bert) = (Log::new(), UserId::new(), UserId::new());
    log.fail(Some(anna), "192.0.2.1");
    log.fail(Some(anna), "192.0.2.1");
    assert!(log.succeed(anna, "192.0.2.1").is_empty());
    log.fail(Some(anna), "192.0.2.1");
    let raised = log.succeed(anna, "198.51.100.9");
    assert_eq!((raised[0].rule, raised[0].seen), (Rule::SuccessAfterFailures, 3));
    // By the address too: a guesser who went through many names.
    assert_eq!(sources(&log.succeed(bert, "192.0.2.1")), [bert.to_string()]);
    log.wait(16 * 60);
    log.acknowledge_all();
    assert!(log.succeed(anna, "192.0.2.1").is_empty());
}

#[test]
fn volume_is_held_against_the_usual_hour_and_the_floor() {
    let (mut log, anna) = (Log::new(), UserId::new());
    assert!(log.use_tokens(anna, 40_000).is_empty(), "twice the floor");
    assert_eq!(log.use_tokens(anna, 1)[0].rule, Rule::UnusualVolume);
    log.acknowledge_all();
    assert!(log.use_tokens(anna, 1).is_empty(), "once an hour");
    log.wait(3_600);
    assert!(log.use_tokens(anna, 80_000).is_empty(), "twice the usual hour of 40,002");
    assert_eq!(log.use_tokens(anna, 10_000).len(), 1);
}

#[test]
fn volume_of_one_person_is_not_that_of_another() {
    let mut log = Log::new();
    for _ in 0..20 {
        assert!(log.use_tokens(UserId::new(), 39_000).is_empty());
    }
}

#[test]
fn an_acknowledged_alert_is_raised_again_by_new_failures_only() {
    let (mut log, anna) = (Log::new(), UserId::new());
    let first: Vec<_> = (0..3).flat_map(|_| log.fail(Some(anna), "192.0.2.1")).collect();
    assert_eq!(first.len(), 2);
    log.acknowledge_all();
    assert!(log.fail(Some(anna), "192.0.2.1").is_empty());
    assert!(log.fail(Some(anna), "192.0.2.1").is_empty());
    assert_eq!(log.fail(Some(anna), "192.0.2.1").len(), 2);
}

#[test]
fn keys_of_one_person_from_elsewhere_raise_one_alert_at_once() {
    let (mut log, anna, bert) = (Log::new(), UserId::new(), UserId::new());
    let raised = log.refuse_key(anna, "key_1");
    assert_eq!((raised[0].rule, sources(&raised)), (Rule::KeyElsewhere, vec![&*anna.to_string()]));
    for key in ["key_1", "key_2", "key_3"] {
        assert!(log.refuse_key(anna, key).is_empty(), "the open one is added to");
    }
    assert_eq!(sources(&log.refuse_key(bert, "key_4")), [bert.to_string()]);
    let kept = store::list(&log.db, 10).expect("listed");
    let seen = |user: UserId| {
        kept.iter().find(|one| one.source == user.to_string()).map(|alert| alert.seen)
    };
    assert_eq!((kept.len(), seen(anna), seen(bert)), (2, Some(4), Some(1)));
    // A request that was let in, or refused for another reason, is none.
    for (action, outcome) in [("key.refuse", "done"), ("access.denied", "denied")] {
        let more = [json!("key_1"), json!("192.0.2.1"), json!({})];
        log.acknowledge_all();
        assert!(log.tell(action, outcome, &format!("{anna}/key_1"), more).is_empty());
    }
}

#[test]
fn a_key_that_comes_on_after_it_was_acknowledged_is_told_anew_and_counts_apart_from_sign_ins() {
    let (mut log, anna) = (Log::new(), UserId::new());
    log.refuse_key(anna, "key_1");
    log.refuse_key(anna, "key_1");
    assert!(log.fail(Some(anna), "192.0.2.1").is_empty());
    assert!(log.fail(Some(anna), "192.0.2.2").is_empty(), "refused keys are no failed sign-ins");
    log.acknowledge_all();
    let raised = log.refuse_key(anna, "key_1");
    assert_eq!(raised[0].seen, 1, "what was acknowledged does not count again");
    let failed = log.fail(Some(anna), "192.0.2.3");
    assert_eq!((failed[0].rule, failed[0].seen), (Rule::FailedSignIns, 3), "those still count");
}

#[test]
fn a_clock_that_goes_back_neither_hides_nor_invents_anything() {
    let (mut log, anna) = (Log::new(), UserId::new());
    log.now = START.plus(Duration::from_hours(24 * 365));
    log.fail(Some(anna), "192.0.2.1");
    log.fail(Some(anna), "192.0.2.1");
    log.now = START;
    assert!(log.fail(Some(anna), "192.0.2.1").is_empty(), "those of next year do not count");
    log.fail(Some(anna), "192.0.2.1");
    assert!(!log.fail(Some(anna), "192.0.2.1").is_empty());
}

#[test]
fn what_is_counted_is_bounded() {
    let mut log = Log::new();
    let tx = log.db.transaction().expect("begins");
    for seq in 0..21_000 {
        store::add_failure(&tx, &format!("source {seq}"), seq, START).expect("kept");
        if seq < 2_100 {
            store::raise(&tx, Rule::FailedSignIns, &seq.to_string(), 1, START).expect("raised");
        }
    }
    store::prune(&tx, START).expect("pruned");
    let count = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        tx.query_row(&sql, [], |row| row.get(0)).expect("counted")
    };
    assert_eq!((count("monitor_failures"), count("alerts")), (20_000, 2_000));
}
