//! Alerts and posture through the routes, over a log that real sign-ins have written.

use std::time::Duration;

use super::*;
use crate::monitor::posture::{Depth, Facts, Process, Sources, judge};

async fn fail_ten_times(house: &House) {
    for _ in 0..10 {
        // Longer than the delay after failures, and all within a quarter of an hour.
        house.clock.advance(Duration::from_secs(20));
        let body = json!({ "username": "olga", "password": "not the password at all" });
        let answer = house.post(&Visitor::default(), "/api/session", body).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
}

fn titles(answer: &Answer) -> Vec<&str> {
    let alerts = answer.body["alerts"].as_array().expect("a list");
    let open = alerts.iter().filter(|one| one["acknowledged_at"].is_null());
    let mut titles: Vec<_> = open.filter_map(|one| one["title"].as_str()).collect();
    titles.sort_unstable();
    titles
}

#[actix_web::test]
async fn failed_sign_ins_come_up_as_alerts_and_go_when_they_are_acknowledged() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, auditor) = house.person(&owner, "aude", &["auditor"]).await;
    fail_ten_times(&house).await;
    let alerts = &house.app.monitor.alerts;
    assert_eq!(alerts.evaluate().await.expect("evaluated"), 2);
    assert_eq!(alerts.evaluate().await.expect("evaluated"), 0, "nothing is counted twice");
    house.clock.advance(Duration::from_mins(10));
    let body = json!({ "username": "olga", "password": PASSWORD });
    let signed_in = house.post(&Visitor::default(), "/api/session", body).await;
    assert!(signed_in.status.is_success(), "{signed_in:?}");
    assert_eq!(alerts.evaluate().await.expect("evaluated"), 1);

    let listed = house.get(&auditor, "/api/admin/alerts").await;
    assert_eq!(
        titles(&listed),
        [
            "Many failed sign-ins: 192.0.2.7",
            "Many failed sign-ins: olga",
            "Sign-in after many failed ones: olga",
        ]
    );
    let overview = house.get(&owner, "/api/admin/overview").await;
    assert_eq!(overview.body["alerts_open"], 3);
    assert_eq!(overview.body["practices"].as_array().map(Vec::len), Some(6));

    for one in listed.body["alerts"].as_array().expect("a list") {
        let path = format!("/api/admin/alerts/{}/acknowledge", one["id"].as_str().expect("id"));
        let refused = house.post(&auditor, &path, json!({})).await;
        assert_eq!(refused.code(), "permission_denied");
        let done = house.post(&owner, &path, json!({})).await;
        assert_eq!(done.status, StatusCode::NO_CONTENT, "{done:?}");
        assert_eq!(house.post(&owner, &path, json!({})).await.code(), "not_found");
    }
    let listed = house.get(&owner, "/api/admin/alerts").await;
    assert!(titles(&listed).is_empty());
    assert_eq!(listed.body["alerts"][0]["acknowledged_by"], "olga");
    let closed = house.get(&owner, "/api/admin/audit?action=alert.close").await;
    assert_eq!(closed.body["events"].as_array().map(Vec::len), Some(3));
}

#[actix_web::test]
async fn a_key_from_outside_of_its_networks_comes_up_as_an_alert_and_on_its_owners_page() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, auditor) = house.person(&owner, "aude", &["auditor"]).await;
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    let from = |address: &str, of: &Visitor| {
        TestRequest::with_uri("/v1/models")
            .peer_addr(format!("{address}:4000").parse().expect("an address"))
            .insert_header(("host", "localhost"))
            .insert_header(("x-api-key", of.key.clone().expect("a key")))
    };
    let alerts = &house.app.monitor.alerts;
    let mut programs = Vec::new();
    for name in ["one", "two"] {
        let body = json!({ "name": name, "networks": ["192.0.2.0/24"] });
        programs.push(house.key(&mia, body).await.1);
    }
    for program in &programs {
        assert_eq!(house.call(from("192.0.2.9", program)).await.status, StatusCode::OK);
    }
    assert_eq!(alerts.evaluate().await.expect("evaluated"), 0, "they came from where they may");
    // More than is put on record one by one.
    for at in 0..50 {
        let refused = house.call(from("203.0.113.5", &programs[at % 2])).await;
        assert_eq!(refused.code(), "invalid_api_key");
    }
    assert_eq!(alerts.evaluate().await.expect("evaluated"), 1, "one for all keys of a person");
    for visitor in [&owner, &auditor] {
        let listed = house.get(visitor, "/api/admin/alerts").await;
        assert_eq!(titles(&listed), ["API key from outside of its networks: mia"]);
        let alert = &listed.body["alerts"][0];
        assert_eq!((&alert["rule"], &alert["severity"]), (&json!("key_elsewhere"), &json!("high")));
        assert!(
            alert["message"].as_str().is_some_and(|it| it.starts_with("30 refused")),
            "{alert}"
        );
    }
    assert_eq!(house.get(&mia, "/api/admin/alerts").await.code(), "permission_denied");
    let keys = house.get(&mia, "/api/me/keys").await.body["keys"].clone();
    for key in keys.as_array().expect("a list") {
        assert_eq!(key["turned_away"]["address"], "203.0.113.5", "{key}");
    }
    let listed = house.get(&owner, "/api/admin/alerts").await;
    let id = listed.body["alerts"][0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/admin/alerts/{id}/acknowledge");
    assert_eq!(house.post(&owner, &path, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(alerts.evaluate().await.expect("evaluated"), 0);
    house.clock.advance(Duration::from_mins(2));
    house.call(from("203.0.113.5", &programs[0])).await;
    assert_eq!(alerts.evaluate().await.expect("evaluated"), 1, "it goes on");
}

/// One item's state.
fn state(posture: &Value, id: &str) -> String {
    let practices = posture["practices"].as_array().expect("a list").iter();
    let mut items = practices.flat_map(|one| one["items"].as_array().expect("a list"));
    let item = items.find(|item| item["id"] == id).unwrap_or_else(|| panic!("no item {id}"));
    item["state"].as_str().expect("text").to_owned()
}

#[actix_web::test]
async fn the_page_and_the_command_beside_the_server_see_the_same_posture() {
    let house = House::new().await;
    let owner = house.owner().await;
    let before = house.get(&owner, "/api/admin/posture").await;
    assert_eq!(state(&before.body, "audit_verified"), "due");
    house.app.monitor.do_what_is_due().await.expect("checked");
    let after = house.get(&owner, "/api/admin/posture").await;
    assert_eq!(state(&after.body, "audit_verified"), "met");
    for (id, expected) in [
        ("owners", "due"),
        ("mfa", "due"),
        ("key_source", "due"),
        ("file_modes", "met"),
        ("advisories", "due"),
        ("backup", "due"),
        ("limits", "met"),
        ("fairness_run", "due"),
    ] {
        assert_eq!(state(&after.body, id), expected, "{id}");
    }
    let read = house.get(&owner, "/api/admin/audit?action=posture.read").await;
    assert_eq!(read.body["events"].as_array().map(Vec::len), Some(2));

    let db = crate::db::open_to_read(&house.app.home.database()).expect("opens beside the server");
    let guard = guard_in_words(&house.app.settings);
    let sources = Sources {
        settings: &house.app.settings,
        data: house.app.home.data(),
        process: Process::other(),
        depth: Depth::Contents,
        digests: &crate::monitor::posture::Digests::default(),
        fairness: last_fairness_run,
        guard: guard.as_deref(),
    };
    let facts = Facts::gather(&db, &sources, house.clock.now()).expect("gathered");
    let seen = serde_json::to_value(judge(&facts)).expect("JSON");
    for practice in seen["practices"].as_array().expect("a list") {
        for item in practice["items"].as_array().expect("a list") {
            let id = item["id"].as_str().expect("text");
            assert_eq!(item["state"].as_str(), Some(&*state(&after.body, id)), "{id}");
        }
    }
}

/// Looks for what is due after so many hours, and then the log is to have been verified so often.
async fn look_after(house: &House, steps: [(u64, usize); 3]) {
    for (hours, expected) in steps {
        house.clock.advance(Duration::from_hours(hours));
        house.app.monitor.do_what_is_due().await.expect("checked");
        let page = house.app.audit.page(crate::audit::Filter {
            action: Some(Action::AuditVerify),
            limit: 10,
            ..crate::audit::Filter::default()
        });
        assert_eq!(page.await.expect("read").len(), expected, "after {hours} hours");
    }
}

#[actix_web::test]
async fn a_daily_check_is_made_once_a_day() {
    let house = House::new().await;
    look_after(&house, [(0, 1), (23, 1), (1, 2)]).await;
}

#[actix_web::test]
async fn a_clock_that_once_was_a_year_ahead_does_not_end_the_daily_check() {
    let house = House::new().await;
    let right = house.clock.now();
    house.clock.set(right.plus(Duration::from_hours(24 * 365)));
    house.app.monitor.do_what_is_due().await.expect("checked");
    house.clock.set(right);
    look_after(&house, [(0, 2), (23, 2), (1, 3)]).await;
}
