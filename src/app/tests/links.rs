//! Invitations and resets: for how long, and in whose hands, they work.

use super::*;

async fn redeem(house: &House, link: &str, password: &str) -> Answer {
    let body = json!({ "token": link, "password": password });
    house.post(&Visitor::default(), "/api/invitation", body).await
}

async fn reset(house: &House, by: &Visitor, id: &str) -> String {
    let answer = house.post(by, &format!("/api/admin/people/{id}/reset"), json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    link_secret(&answer)
}

async fn change(house: &House, by: &Visitor, id: &str, body: Value) {
    let answer =
        house.send(by, Method::PATCH, &format!("/api/admin/people/{id}"), Some(body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

const NEW: &str = "nine yellow kites up high";

#[actix_web::test]
async fn a_link_does_not_outlive_a_change_of_what_it_opens() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, mia) = house.person(&owner, "mia", &["member"]).await;

    let link = reset(&house, &owner, &id).await;
    change(&house, &owner, &id, json!({ "roles": ["operator"] })).await;
    assert_eq!(redeem(&house, &link, NEW).await.code(), "link_expired", "other roles");

    let link = reset(&house, &owner, &id).await;
    change(&house, &owner, &id, json!({ "disabled": true })).await;
    change(&house, &owner, &id, json!({ "disabled": false })).await;
    assert_eq!(redeem(&house, &link, NEW).await.code(), "link_expired", "disabled in between");

    let body = json!({ "username": "mia", "password": PASSWORD });
    drop(mia);
    let mia = House::browser(&house.post(&Visitor::default(), "/api/session", body).await);
    let link = reset(&house, &owner, &id).await;
    let body = json!({ "current": PASSWORD, "new": NEW });
    let changed = house.post(&mia, "/api/me/password", body).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT, "{changed:?}");
    assert_eq!(redeem(&house, &link, PASSWORD).await.code(), "link_expired", "another password");
}

#[actix_web::test]
async fn a_link_works_only_as_long_as_its_maker_could_make_it() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (adam_id, adam) = house.person(&owner, "adam", &["admin"]).await;
    let (mia_id, _) = house.person(&owner, "mia", &["member"]).await;

    let link = reset(&house, &adam, &mia_id).await;
    change(&house, &owner, &adam_id, json!({ "roles": ["member"] })).await;
    assert_eq!(redeem(&house, &link, NEW).await.code(), "link_expired", "no administrator now");

    let link = reset(&house, &owner, &mia_id).await;
    House::browser(&redeem(&house, &link, NEW).await);
}

/// Sessions and links that were ended on record.
async fn ended(house: &House) -> (usize, usize) {
    let count = async |action: Action| {
        let filter = crate::audit::Filter {
            action: Some(action),
            limit: 100,
            ..crate::audit::Filter::default()
        };
        house.app.audit.page(filter).await.expect("reads").len()
    };
    (count(Action::SessionEnd).await, count(Action::InvitationEnd).await)
}

async fn signed_in(house: &House) -> Visitor {
    let body = json!({ "username": "olga", "password": PASSWORD });
    House::browser(&house.post(&Visitor::default(), "/api/session", body).await)
}

#[actix_web::test]
async fn what_a_clock_that_was_ahead_has_dated_does_not_outlive_its_time() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, _) = house.person(&owner, "mia", &["member"]).await;
    let right = house.clock.now();
    // Not so far that the owner's session ends, and further than a clock is in doubt for.
    let ahead = right.plus(Duration::from_hours(3));
    house.clock.set(ahead);
    let link = reset(&house, &owner, &id).await;
    let wrong = signed_in(&house).await;
    let unused = signed_in(&house).await;
    house.clock.set(right);
    assert_eq!(redeem(&house, &link, NEW).await.code(), "link_expired");
    assert_eq!(house.get(&wrong, "/api/me").await.code(), "not_signed_in");
    let house = house.reopened(|_| {}).await;
    assert_eq!(house.get(&unused, "/api/me").await.code(), "not_signed_in");
    assert_eq!(
        house.get(&owner, "/api/me").await.status,
        StatusCode::OK,
        "begun at the right time"
    );
    let sessions = house.get(&owner, "/api/me/sessions").await;
    assert_eq!(sessions.body["sessions"].as_array().map(Vec::len), Some(1), "{sessions:?}");
    signed_in(&house).await;
    house.clock.advance(Duration::from_mins(59));
    house.app.keep().await;
    assert_eq!(ended(&house).await, (0, 0), "it may be the clock that is wrong");
    house.clock.advance(Duration::from_mins(1));
    house.app.keep().await;
    assert_eq!(ended(&house).await, (2, 1), "nobody has set it right");
    // They do not begin again when the time has come.
    house.clock.set(ahead.plus(Duration::from_mins(1)));
    assert_eq!(redeem(&house, &link, NEW).await.code(), "link_expired");
    for old in [&wrong, &unused] {
        assert_eq!(house.get(old, "/api/me").await.code(), "not_signed_in");
    }
    let house = house.reopened(|_| {}).await;
    for old in [&wrong, &unused] {
        assert_eq!(house.get(old, "/api/me").await.code(), "not_signed_in");
    }
    assert_eq!(house.get(&owner, "/api/me").await.status, StatusCode::OK);
}

#[actix_web::test]
async fn a_clock_that_is_behind_ends_nothing() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, _) = house.person(&owner, "mia", &["member"]).await;
    let link = reset(&house, &owner, &id).await;
    let right = house.clock.now();
    house.clock.set(right.minus(Duration::from_hours(48)));
    assert_eq!(house.get(&owner, "/api/me").await.code(), "not_signed_in");
    house.app.keep().await;
    // Two days behind, as a machine starts that has not asked for the time yet.
    let house = house.reopened(|_| {}).await;
    assert_eq!(house.get(&owner, "/api/me").await.code(), "not_signed_in");
    assert_eq!(redeem(&house, &link, NEW).await.code(), "link_expired");
    signed_in(&house).await;
    house.app.keep().await;
    assert_eq!(ended(&house).await, (0, 0));
    house.clock.set(right.plus(Duration::from_mins(1)));
    assert_eq!(house.get(&owner, "/api/me").await.status, StatusCode::OK);
    House::browser(&redeem(&house, &link, NEW).await);
    house.app.keep().await;
    assert_eq!(ended(&house).await, (0, 0));
}

#[actix_web::test]
async fn a_set_up_link_of_a_clock_that_was_ahead_makes_no_owner() {
    let house = House::new().await;
    let right = house.clock.now();
    house.clock.set(right.plus(Duration::from_hours(24 * 365)));
    let link = house.app.accounts.make_setup_secret().await.expect("a link");
    house.clock.set(right);
    let body = json!({
        "token": link.expose(), "username": "olga", "display_name": "Olga", "password": PASSWORD,
    });
    let refused = house.post(&Visitor::default(), "/api/setup", body).await;
    assert_eq!(refused.code(), "link_expired");
    house.owner().await;
}

#[actix_web::test]
async fn guesses_at_links_are_slowed_down_and_a_right_one_is_not_a_guess() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, _) = house.person(&owner, "mia", &["member"]).await;
    let link = reset(&house, &owner, &id).await;
    for _ in 0..15 {
        let weak = redeem(&house, &link, "short").await;
        assert_eq!(weak.status, StatusCode::BAD_REQUEST, "a right link is not used up: {weak:?}");
    }
    for _ in 0..11 {
        let guess = crate::access::token::make(crate::access::token::TokenKind::Link);
        let guess = guess.expect("random");
        assert_eq!(redeem(&house, guess.expose(), NEW).await.code(), "link_expired");
    }
    let throttled = redeem(&house, &link, NEW).await;
    assert_eq!((throttled.code(), throttled.retry_after), ("sign_in_throttled", Some(1)));
    let set_up = json!({ "token": link, "username": "eve", "password": NEW });
    let set_up = house.post(&Visitor::default(), "/api/setup", set_up).await;
    assert_eq!(set_up.code(), "sign_in_throttled", "whatever the kind of link");
    house.clock.advance(Duration::from_secs(1));
    House::browser(&redeem(&house, &link, NEW).await);
}

#[actix_web::test]
async fn guesses_at_one_s_own_password_are_slowed_down() {
    let house = House::new().await;
    let owner = house.owner().await;
    let body = json!({ "current": "not the password at all", "new": NEW });
    for _ in 0..6 {
        let wrong = house.post(&owner, "/api/me/password", body.clone()).await;
        assert_eq!(wrong.code(), "wrong_credentials");
    }
    let body = json!({ "current": PASSWORD, "new": NEW });
    let throttled = house.post(&owner, "/api/me/password", body.clone()).await;
    assert_eq!(throttled.code(), "sign_in_throttled");
    house.clock.advance(Duration::from_secs(1));
    let (one, other) = tokio::join!(
        house.post(&owner, "/api/me/password", body.clone()),
        house.post(&owner, "/api/me/password", body)
    );
    assert_eq!(one.status, StatusCode::NO_CONTENT, "{one:?}");
    assert_eq!(other.code(), "busy", "one at a time");
}
