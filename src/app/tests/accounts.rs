//! Set-up, invitations, sign-in, sessions, and what administrators may do to accounts.

use std::time::Duration;

use super::*;

fn set_up(token: &str, password: &str) -> Value {
    json!({ "token": token, "username": "olga", "display_name": "Olga", "password": password })
}

async fn sign_in(house: &House, username: &str, password: &str) -> Answer {
    let body = json!({ "username": username, "password": password });
    house.post(&Visitor::default(), "/api/session", body).await
}

#[actix_web::test]
async fn a_set_up_link_works_once_and_for_half_an_hour() {
    let house = House::new().await;
    let nobody = Visitor::default();
    let first = house.app.accounts.make_setup_secret().await.expect("a link");
    let second = house.app.accounts.make_setup_secret().await.expect("a link");
    let early = house.post(&nobody, "/api/setup", set_up(first.expose(), PASSWORD)).await;
    assert_eq!(early.code(), "link_expired", "a new link replaces the one before");

    house.clock.advance(Duration::from_mins(30));
    let late = house.post(&nobody, "/api/setup", set_up(second.expose(), PASSWORD)).await;
    assert_eq!((late.status, late.code()), (StatusCode::UNAUTHORIZED, "link_expired"));

    let third = house.app.accounts.make_setup_secret().await.expect("a link");
    house.clock.advance(Duration::from_mins(29));
    for weak in ["short", "password1234", "olgaolgaolga", "strongroom 2026"] {
        let refused = house.post(&nobody, "/api/setup", set_up(third.expose(), weak)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{weak}");
        assert_eq!(refused.body["error"]["param"], "password");
        assert!(!refused.body.to_string().contains(weak), "an error repeats no password");
    }
    let owner = house.post(&nobody, "/api/setup", set_up(third.expose(), PASSWORD)).await;
    assert_eq!(owner.status, StatusCode::CREATED);
    assert_eq!(owner.body["person"]["roles"], json!(["owner"]));
    let again = house.post(&nobody, "/api/setup", set_up(third.expose(), PASSWORD)).await;
    assert_eq!(again.code(), "link_expired");
    assert!(house.app.accounts.make_setup_secret().await.is_err(), "there is an owner now");
}

#[actix_web::test]
async fn a_wrong_password_and_an_unknown_name_look_the_same() {
    let house = House::new().await;
    house.owner().await;
    let wrong = sign_in(&house, "olga", "not the password at all").await;
    let unknown = sign_in(&house, "nobody", PASSWORD).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong.body, unknown.body);
    assert_eq!(wrong.cookie, None);
}

#[actix_web::test]
async fn failed_sign_ins_are_slowed_down_and_a_right_one_forgets_them() {
    let house = House::new().await;
    house.owner().await;
    for _ in 0..6 {
        let wrong = sign_in(&house, "olga", "not the password at all").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    }
    let throttled = sign_in(&house, "olga", PASSWORD).await;
    assert_eq!(throttled.code(), "sign_in_throttled");
    assert_eq!(throttled.retry_after, Some(1));
    let filter = crate::audit::Filter {
        action: Some(Action::AuthenticationFailed),
        limit: 10,
        ..crate::audit::Filter::default()
    };
    let told = house.app.audit.page(filter).await.expect("reads");
    assert_eq!(told.len(), 1, "what came too early is on record too");
    assert_eq!(told[0].field("detail")["code"], "sign_in_throttled");
    house.clock.advance(Duration::from_secs(1));
    House::browser(&sign_in(&house, "olga", PASSWORD).await);
    for _ in 0..5 {
        assert_eq!(
            sign_in(&house, "olga", "wrong again, of course").await.code(),
            "wrong_credentials"
        );
    }
    House::browser(&sign_in(&house, "olga", PASSWORD).await);
}

#[actix_web::test]
async fn a_session_ends_when_idle_when_old_and_when_it_is_told_to() {
    let house = House::new().await;
    let mut browser = house.owner().await;
    let settings = house.app.settings.accounts.clone();
    let idle = Duration::from_secs(u64::from(settings.session_idle_hours) * 3_600);
    house.clock.advance(idle.saturating_sub(Duration::from_secs(1)));
    assert_eq!(house.get(&browser, "/api/me").await.status, StatusCode::OK);
    house.clock.advance(idle);
    assert_eq!(house.get(&browser, "/api/me").await.code(), "not_signed_in");

    browser = House::browser(&sign_in(&house, "olga", PASSWORD).await);
    let end =
        house.clock.now().plus(Duration::from_secs(u64::from(settings.session_days) * 86_400));
    while house.clock.now().plus(idle / 2) < end {
        house.clock.advance(idle / 2);
        assert_eq!(house.get(&browser, "/api/me").await.status, StatusCode::OK);
    }
    house.clock.advance(idle / 2);
    assert_eq!(house.get(&browser, "/api/me").await.code(), "not_signed_in", "however much used");

    browser = House::browser(&sign_in(&house, "olga", PASSWORD).await);
    let other = House::browser(&sign_in(&house, "olga", PASSWORD).await);
    let listed = house.get(&browser, "/api/me/sessions").await;
    let sessions = listed.body["sessions"].as_array().expect("a list").clone();
    let foreign = sessions.iter().find(|one| one["current"] == false).expect("the other");
    let path = format!("/api/me/sessions/{}", foreign["id"].as_str().expect("an id"));
    assert!(house.send(&browser, Method::DELETE, &path, None).await.status.is_success());
    assert_eq!(house.get(&other, "/api/me").await.code(), "not_signed_in");
    let out = house.send(&browser, Method::DELETE, "/api/session", None).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(house.get(&browser, "/api/me").await.code(), "not_signed_in");
}

#[actix_web::test]
async fn a_new_password_ends_every_other_session() {
    let house = House::new().await;
    let browser = house.owner().await;
    let other = House::browser(&sign_in(&house, "olga", PASSWORD).await);
    let new = "eight purple ferries at noon";
    let body = json!({ "current": "a wrong current one", "new": new });
    let wrong = house.post(&browser, "/api/me/password", body).await;
    assert_eq!(wrong.code(), "wrong_credentials");
    let body = json!({ "current": PASSWORD, "new": new });
    let changed = house.post(&browser, "/api/me/password", body).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
    assert_eq!(house.get(&browser, "/api/me").await.status, StatusCode::OK);
    assert_eq!(house.get(&other, "/api/me").await.code(), "not_signed_in");
    assert_eq!(sign_in(&house, "olga", PASSWORD).await.code(), "wrong_credentials");
    House::browser(&sign_in(&house, "olga", new).await);
}

#[actix_web::test]
async fn nobody_gives_what_they_do_not_hold() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, admin) = house.person(&owner, "adam", &["admin"]).await;
    let (auditor_id, _) = house.person(&owner, "aude", &["auditor"]).await;
    let (member_id, _) = house.person(&admin, "mia", &["member"]).await;
    for role in ["owner", "auditor"] {
        let body = json!({ "username": "eve", "display_name": "Eve", "roles": [role] });
        assert_eq!(house.post(&admin, "/api/admin/people", body).await.code(), "permission_denied");
        let path = format!("/api/admin/people/{member_id}");
        let body = json!({ "roles": ["member", role] });
        let raised = house.send(&admin, Method::PATCH, &path, Some(body)).await;
        assert_eq!(raised.code(), "permission_denied");
    }
    let reset = format!("/api/admin/people/{auditor_id}/reset");
    assert_eq!(house.post(&admin, &reset, json!({})).await.code(), "permission_denied");
    let path = format!("/api/admin/people/{auditor_id}");
    let off = house.send(&admin, Method::PATCH, &path, Some(json!({ "disabled": true }))).await;
    assert_eq!(off.code(), "permission_denied");
    let path = format!("/api/admin/people/{member_id}");
    let up = house.send(&admin, Method::PATCH, &path, Some(json!({ "roles": ["operator"] }))).await;
    assert_eq!(up.status, StatusCode::OK, "{up:?}");
}

#[actix_web::test]
async fn the_last_owner_stays() {
    let house = House::new().await;
    let owner = house.owner().await;
    let me = house.get(&owner, "/api/me").await;
    let path = format!("/api/admin/people/{}", me.body["person"]["id"].as_str().expect("an id"));
    for change in [json!({ "roles": ["member"] }), json!({ "disabled": true })] {
        let refused = house.send(&owner, Method::PATCH, &path, Some(change)).await;
        assert_eq!(refused.code(), "conflict", "{refused:?}");
    }
    house.person(&owner, "otto", &["owner"]).await;
    let change = json!({ "roles": ["member"] });
    let allowed = house.send(&owner, Method::PATCH, &path, Some(change)).await;
    assert_eq!(allowed.status, StatusCode::OK, "with a second owner, the first may go");
}

#[actix_web::test]
async fn a_disabled_account_is_out_at_once_with_sessions_keys_and_links() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, mia) = house.person(&owner, "mia", &["member"]).await;
    let (_, program) = house.key(&mia, json!({ "name": "script" })).await;
    assert_eq!(house.get(&program, "/v1/models").await.status, StatusCode::OK);
    let reset = house.post(&owner, &format!("/api/admin/people/{id}/reset"), json!({})).await;
    let path = format!("/api/admin/people/{id}");
    let off = house.send(&owner, Method::PATCH, &path, Some(json!({ "disabled": true }))).await;
    assert_eq!(off.status, StatusCode::OK);
    assert_eq!(house.get(&mia, "/api/me").await.code(), "not_signed_in");
    assert_eq!(house.get(&program, "/v1/models").await.code(), "invalid_api_key");
    assert_eq!(sign_in(&house, "mia", PASSWORD).await.code(), "wrong_credentials");
    let body = json!({ "token": link_secret(&reset), "password": "nine yellow kites up high" });
    let redeemed = house.post(&Visitor::default(), "/api/invitation", body).await;
    assert_eq!(redeemed.code(), "link_expired");
}

#[actix_web::test]
async fn an_invitation_works_once_and_a_reset_ends_what_was_open() {
    let house = House::new().await;
    let owner = house.owner().await;
    let body = json!({ "username": "mia", "display_name": "Mia", "roles": ["member"] });
    let invited = house.post(&owner, "/api/admin/people", body.clone()).await;
    let taken = house.post(&owner, "/api/admin/people", body).await;
    assert_eq!(taken.code(), "conflict");
    let redeem = |token: String, password: &str| json!({ "token": token, "password": password });
    let nobody = Visitor::default();
    let body = redeem(link_secret(&invited), PASSWORD);
    let mia = House::browser(&house.post(&nobody, "/api/invitation", body.clone()).await);
    assert_eq!(house.post(&nobody, "/api/invitation", body).await.code(), "link_expired");

    let id = invited.body["person"]["id"].as_str().expect("an id");
    let reset = house.post(&owner, &format!("/api/admin/people/{id}/reset"), json!({})).await;
    assert_eq!(house.get(&mia, "/api/me").await.status, StatusCode::OK, "nothing ends before");
    let body = redeem(link_secret(&reset), "nine yellow kites up high");
    House::browser(&house.post(&nobody, "/api/invitation", body).await);
    assert_eq!(house.get(&mia, "/api/me").await.code(), "not_signed_in");
}
