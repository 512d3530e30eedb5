//! Refusals on record and how many of them; addresses behind a proxy; a clock that was wrong.

use super::*;
use crate::audit::{Filter, Record};

async fn recorded(house: &House, action: Action) -> Vec<Record> {
    let filter = Filter { action: Some(action), limit: 500, ..Filter::default() };
    house.app.audit.page(filter).await.expect("reads")
}

fn from(address: &str, headers: &[(&str, &str)]) -> TestRequest {
    let peer = format!("{address}:4000").parse().expect("an address");
    let mut request =
        TestRequest::with_uri("/api/me").peer_addr(peer).insert_header(("host", "localhost"));
    for (name, value) in headers {
        request = request.append_header((*name, *value));
    }
    request
}

#[actix_web::test]
async fn a_flood_of_refusals_is_counted_and_the_count_is_recorded() {
    let house = House::new().await;
    for last in 0..40 {
        // One household, by any of its addresses.
        let request = from(&format!("[2001:db8::{last:x}]"), &[]);
        assert_eq!(house.call(request).await.code(), "not_signed_in");
    }
    assert_eq!(recorded(&house, Action::AuthenticationFailed).await.len(), 30);
    house.app.tell().await.expect("recorded");
    house.app.tell().await.expect("nothing more to tell");
    let counted = recorded(&house, Action::RefusalsCounted).await;
    assert_eq!(counted.len(), 1);
    assert_eq!(counted[0].field("detail")["count"], 10);
}

#[actix_web::test]
async fn strangers_do_not_crowd_out_what_is_told_of_people() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    for household in 0..21 {
        for _ in 0..30 {
            house.call(from(&format!("[2001:db8:0:{household:x}::1]"), &[])).await;
        }
    }
    assert_eq!(recorded(&house, Action::AuthenticationFailed).await.len(), 500, "of 600, a page");
    assert_eq!(house.get(&mia, "/api/admin/audit").await.code(), "permission_denied");
    assert_eq!(recorded(&house, Action::AccessDenied).await.len(), 1);
}

#[actix_web::test]
async fn behind_a_trusted_proxy_everybody_has_their_own_address() {
    let trusted = [
        ("server.trusted_proxies", "[\"127.0.0.1\"]"),
        ("server.forwarded_header", "x-forwarded-for"),
    ];
    let house = House::with(&trusted).await;
    for (peer, seen) in [("127.0.0.1", "203.0.113.5"), ("192.0.2.1", "192.0.2.1")] {
        house.call(from(peer, &[("x-forwarded-for", "198.51.100.1, 203.0.113.5")])).await;
        let events = recorded(&house, Action::AuthenticationFailed).await;
        assert_eq!(events[0].field("address"), seen);
    }
}

#[actix_web::test]
async fn nobody_hides_behind_the_header_that_the_proxy_does_not_write() {
    let trusted = ("server.trusted_proxies", "[\"127.0.0.1\"]");
    let (x, f) = (("x-forwarded-for", "203.0.113.5"), ("forwarded", "for=198.51.100.1"));
    for (written, seen) in [("x-forwarded-for", "203.0.113.5"), ("forwarded", "198.51.100.1")] {
        let house = House::with(&[trusted, ("server.forwarded_header", written)]).await;
        house.call(from("127.0.0.1", &[x, f])).await;
        let events = recorded(&house, Action::AuthenticationFailed).await;
        assert_eq!(events[0].field("address"), seen, "the proxy writes {written}");
    }
}

#[actix_web::test]
async fn behind_a_proxy_that_ends_tls_the_cookie_is_bound_to_this_host() {
    let own = [("server.plain_http", "true"), ("server.public_https", "true")];
    let house = House::with(&own).await;
    let owner = house.owner().await;
    assert_eq!(house.get(&owner, "/api/me").await.status, StatusCode::OK, "as `__Host-`");
    assert!(shell(&house.app.settings).is_https, "and so HSTS is sent");
}

#[actix_web::test]
async fn a_jump_of_the_clock_is_on_record_and_stops_nothing() {
    let house = House::new().await;
    let owner = house.owner().await;
    let right = house.clock.now();
    house.clock.set(right.plus(Duration::from_hours(24 * 365)));
    assert_eq!(house.get(&owner, "/api/me").await.code(), "not_signed_in");
    house.app.tell().await.expect("recorded");
    house.clock.set(right);
    house.clock.advance(Duration::from_mins(1));
    assert_eq!(house.get(&owner, "/api/me").await.code(), "not_signed_in", "it has ended");
    let body = json!({ "username": "olga", "password": PASSWORD });
    let owner = House::browser(&house.post(&Visitor::default(), "/api/session", body).await);
    assert_eq!(house.get(&owner, "/api/me").await.status, StatusCode::OK, "real time decides");
    house.app.tell().await.expect("recorded");
    let jumps = recorded(&house, Action::ClockJump).await;
    assert_eq!(jumps.len(), 2, "there and back");
    let house = house.reopened(|_| {}).await;
    house.app.tell().await.expect("recorded");
    let jumps = recorded(&house, Action::ClockJump).await;
    assert!(jumps[0].field("detail")["behind_ms"].as_i64() > Some(3_600_000), "{jumps:?}");
    let posture = house.get(&owner, "/api/admin/posture").await;
    assert!(posture.body.to_string().contains("\"clock\""), "{:?}", posture.body);
}

#[actix_web::test]
async fn a_schedule_names_a_suite_that_there_is() {
    let suites = [crate::evals::COUNTERFACTUAL_NAME, crate::evals::CROWS_NAME];
    assert_eq!(crate::config::SUITES, suites);
}
