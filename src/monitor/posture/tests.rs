//! Every item in each of its states: facts are made by hand, and a change of one of them changes
//! the verdict on what it is about and on nothing else.

use std::time::Duration;

use serde_json::json;

use super::facts::{Counts, Last};
use super::place::{CertificateSeen, ModelSeen, Modes};
use super::*;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::vault::SourceKind;
use crate::web::tls::CertificateFacts;

const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

fn days(count: u64) -> Timestamp {
    NOW.minus(Duration::from_hours(24 * count))
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of the facts")]
fn last(count: u64, is_done: bool, detail: serde_json::Value) -> Option<Last> {
    Some(Last { at: days(count), is_done, detail })
}

/// A server of which all is as it should be.
fn good() -> Facts {
    let facts = CertificateFacts {
        not_before: days(1),
        not_after: NOW.plus(Duration::from_hours(24 * 80)),
        hosts: Vec::new(),
    };
    Facts {
        now: NOW,
        settings: Config::defaults().settings().clone(),
        counts: Counts { people: 5, owners: 2, keys: 3, ..Counts::default() },
        certificate: Ok(CertificateSeen { is_own_authority: true, facts }),
        root_key: Ok((SourceKind::Passphrase, days(10))),
        modes: Ok(Modes { directory: 0o700, ..Modes::default() }),
        is_core_off: Some(true),
        models: vec![("a".into(), ModelSeen::Same)],
        verified: last(1, true, json!({ "size": 7 })),
        backup: last(1, true, json!({})),
        advisories: last(1, true, json!({ "vulnerabilities": 0, "warnings": 1 })),
        clock: None,
        newest_record: Some(NOW),
        alerts_open: 0,
        fairness: Some(FairnessRun { at: days(3), suite: "crows".into(), model: "a".into() }),
        guard: Some("the built-in policy".into()),
    }
}

fn states(facts: &Facts) -> Vec<(&'static str, State)> {
    let items = judge(facts).practices.into_iter().flat_map(|one| one.items);
    items.map(|item| (item.id, item.state)).collect()
}

/// What changes when the facts do.
fn check(change: impl FnOnce(&mut Facts), id: &'static str, state: State) {
    let mut facts = good();
    change(&mut facts);
    let changed: Vec<_> =
        states(&facts).into_iter().filter(|one| !states(&good()).contains(one)).collect();
    assert_eq!(changed, [(id, state)]);
}

fn valid_until(facts: &mut Facts, until: Timestamp) {
    if let Ok(seen) = &mut facts.certificate {
        seen.facts.not_after = until;
    }
}

#[test]
fn of_a_good_server_only_the_second_factor_is_due() {
    let open: Vec<_> = states(&good()).into_iter().filter(|one| one.1 != State::Met).collect();
    assert_eq!(open, [("mfa", State::Due)]);
}

#[test]
fn a_clock_that_was_wrong_is_told() {
    check(|facts| facts.clock = last(6, true, json!({})), "clock", State::Due);
    let ahead = Some(NOW.plus(Duration::from_hours(2)));
    check(|facts| facts.newest_record = ahead, "clock", State::Failing);
}

#[test]
fn people_and_keys_are_judged() {
    check(|facts| facts.counts.owners = 1, "owners", State::Due);
    check(|facts| facts.counts.owners = 5, "owners", State::Due);
    check(|facts| facts.counts.people_unused = 1, "accounts_unused", State::Due);
    check(|facts| facts.counts.keys_endless = 1, "keys_expiry", State::Due);
    check(|facts| facts.counts.keys_unused = 1, "keys_unused", State::Due);
}

#[test]
fn encryption_is_judged() {
    check(|facts| valid_until(facts, NOW.plus(Duration::from_hours(24 * 9))), "tls", State::Due);
    check(|facts| valid_until(facts, NOW), "tls", State::Failing);
    check(|facts| facts.certificate = Err("gone".into()), "tls", State::Failing);
    check(|facts| facts.root_key = Ok((SourceKind::File, days(1))), "key_source", State::Due);
    let old = (SourceKind::Passphrase, days(365));
    check(|facts| facts.root_key = Ok(old), "key_age", State::Due);
    check(|facts| facts.is_core_off = Some(false), "core_dumps", State::Failing);
    let open = Modes { directory: 0o750, ..Modes::default() };
    check(|facts| facts.modes = Ok(open), "file_modes", State::Failing);
    let open = Modes { directory: 0o700, open_count: 1, ..Modes::default() };
    check(|facts| facts.modes = Ok(open), "file_modes", State::Failing);
}

#[test]
fn plain_http_is_due_and_leaves_no_certificate_in_use() {
    let mut facts = good();
    facts.settings.server.plain_http = true;
    let due: Vec<_> = states(&facts).into_iter().filter(|one| one.1 != State::Met).collect();
    assert_eq!(due.iter().map(|one| one.0).collect::<Vec<_>>(), ["mfa", "tls", "plain_http"]);
}

#[test]
fn updates_are_judged() {
    let found = |facts: &mut Facts| {
        facts.advisories = last(0, true, json!({ "vulnerabilities": 1, "warnings": 0 }));
    };
    check(found, "advisories", State::Failing);
    check(|facts| facts.advisories = None, "advisories", State::Due);
    check(|facts| facts.advisories = last(0, false, json!({})), "advisories", State::Due);
    let old = || last(7, true, json!({ "vulnerabilities": 0 }));
    check(|facts| facts.advisories = old(), "advisories", State::Due);
    for (seen, state) in [
        (ModelSeen::Changed, State::Failing),
        (ModelSeen::Unreadable, State::Failing),
        (ModelSeen::NotRecorded, State::Due),
    ] {
        check(|facts| facts.models.push(("b".into(), seen)), "model_digests", state);
    }
}

#[test]
fn monitoring_guard_limits_and_fairness_are_judged() {
    check(|facts| facts.verified = None, "audit_verified", State::Due);
    check(|facts| facts.verified = last(7, true, json!({})), "audit_verified", State::Due);
    check(|facts| facts.verified = last(0, false, json!({})), "audit_verified", State::Failing);
    check(|facts| facts.backup = None, "backup", State::Due);
    check(|facts| facts.backup = last(8, true, json!({})), "backup", State::Due);
    check(|facts| facts.backup = last(0, false, json!({})), "backup", State::Failing);
    check(|facts| facts.alerts_open = 1, "alerts", State::Due);
    check(|facts| facts.guard = None, "guard", State::Failing);
    check(|facts| facts.settings.limits.person.concurrent = Some(0), "limits", State::Due);
    check(|facts| facts.fairness = None, "fairness_run", State::Due);
    let settings = |facts: &mut Facts| facts.settings.monitor.fairness_days = 3;
    check(settings, "fairness_run", State::Due);
}

#[test]
fn what_is_not_met_says_what_to_do_and_what_is_met_does_not() {
    let mut facts = good();
    facts.root_key = Err("gone".into());
    facts.guard = None;
    for practice in judge(&facts).practices {
        for item in practice.items {
            assert_eq!(item.action.is_none(), item.state == State::Met, "{}", item.id);
            assert!(!item.evidence.is_empty(), "{}", item.id);
        }
    }
}

#[test]
fn the_json_is_what_the_page_and_the_command_promise() {
    let json = serde_json::to_value(judge(&good())).expect("JSON");
    let practices = json["practices"].as_array().expect("a list");
    let ids: Vec<_> = practices.iter().filter_map(|one| one["id"].as_str()).collect();
    let six = ["access", "encryption", "updates", "monitoring", "adversarial", "fairness"];
    assert_eq!(ids, six);
    for practice in practices {
        assert!(practice["title"].is_string());
        for item in practice["items"].as_array().expect("a list") {
            let keys: Vec<_> = item.as_object().expect("an object").keys().collect();
            assert_eq!(keys, ["id", "title", "state", "evidence", "action"]);
            let state = item["state"].as_str().expect("text");
            assert!(["met", "due", "failing"].contains(&state));
        }
    }
}
