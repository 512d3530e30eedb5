//! Who can write to the database file, and has not the keys, becomes nobody by it.

use super::*;

/// What somebody with the file does to it: a statement with the ids of olga (?1) and mia (?2).
async fn after(statement: &'static str) -> (House, Visitor, Visitor, String) {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, mia) = house.person(&owner, "mia", &["member"]).await;
    let (_, program) = house.key(&mia, json!({ "name": "script" })).await;
    let me = house.get(&owner, "/api/me").await;
    let olga = me.body["person"]["id"].as_str().expect("an id").to_owned();
    let reset = house.post(&owner, &format!("/api/admin/people/{id}/reset"), json!({})).await;
    let house = house
        .reopened(move |file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            let changed = db.execute(statement, [&olga, &id]).expect("changes");
            assert!(changed > 0, "{statement}");
        })
        .await;
    (house, mia, program, link_secret(&reset))
}

async fn told_of(house: &House, table: &str) -> bool {
    let filter = crate::audit::Filter {
        action: Some(Action::RowRefused),
        limit: 10,
        ..crate::audit::Filter::default()
    };
    let told = house.app.audit.page(filter).await.expect("reads");
    told.iter().any(|record| record.field("detail")["table"] == table)
}

#[actix_web::test]
async fn a_house_that_nobody_touched_opens_as_it_was() {
    let statement = "UPDATE sessions SET last_seen_at = last_seen_at WHERE user IN (?1, ?2)";
    let (house, mia, program, link) = after(statement).await;
    assert_eq!(house.get(&mia, "/api/me").await.status, StatusCode::OK);
    assert_eq!(house.get(&program, "/v1/models").await.status, StatusCode::OK);
    let body = json!({ "token": link, "password": "nine yellow kites up high" });
    House::browser(&house.post(&Visitor::default(), "/api/invitation", body).await);
    assert!(!told_of(&house, "users").await);
}

#[actix_web::test]
async fn somebody_else_s_password_or_role_makes_an_account_of_nobody() {
    for statement in [
        "UPDATE users SET password = (SELECT password FROM users WHERE id = ?1) WHERE id = ?2",
        "INSERT INTO user_roles SELECT id, 'owner' FROM users WHERE id = ?2 AND id <> ?1",
        "UPDATE users SET disabled = 1 - disabled WHERE id = ?2 AND id <> ?1",
    ] {
        let (house, mia, program, _) = after(statement).await;
        assert_eq!(house.get(&mia, "/api/me").await.code(), "not_signed_in", "{statement}");
        assert_eq!(house.get(&program, "/v1/models").await.code(), "invalid_api_key");
        let body = json!({ "username": "mia", "password": PASSWORD });
        let answer = house.post(&Visitor::default(), "/api/session", body).await;
        assert_eq!(answer.code(), "wrong_credentials", "{statement}");
        assert!(told_of(&house, "users").await, "{statement}");
    }
}

#[actix_web::test]
async fn what_was_made_for_one_person_does_not_open_another_s_account() {
    let moved = "UPDATE sessions SET user = ?1 WHERE user = ?2";
    let (house, mia, ..) = after(moved).await;
    assert_eq!(house.get(&mia, "/api/me").await.code(), "not_signed_in");
    assert!(told_of(&house, "sessions").await);

    let moved = "UPDATE api_keys SET user = ?1 WHERE user = ?2";
    let (house, _, program, _) = after(moved).await;
    assert_eq!(house.get(&program, "/v1/models").await.code(), "invalid_api_key");
    assert!(told_of(&house, "api_keys").await);

    let moved = "UPDATE links SET user = ?1 WHERE user = ?2";
    let (house, _, _, link) = after(moved).await;
    let body = json!({ "token": link, "password": "nine yellow kites up high" });
    let answer = house.post(&Visitor::default(), "/api/invitation", body).await;
    assert_eq!(answer.code(), "link_expired");
    house.app.tell().await.expect("recorded");
    assert!(told_of(&house, "links").await);
}
