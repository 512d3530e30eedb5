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

/// What somebody with the file does to it, after the guide was kept for owners.
async fn after_access(statement: &'static str) -> (House, Visitor) {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    let only = json!({ "roles": ["owner"] });
    let answer = house.send(&owner, Method::PATCH, "/api/admin/models/guide", Some(only)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(models_of(&house, &mia).await, 0);
    let between = move |file: &std::path::Path| {
        let db = rusqlite::Connection::open(file).expect("opens");
        assert!(db.execute(statement, []).expect("changes") > 0, "{statement}");
    };
    (house.reopened(between).await, mia)
}

async fn models_of(house: &House, visitor: &Visitor) -> usize {
    let answer = house.get(visitor, "/api/models").await;
    answer.body["models"].as_array().expect("a list").len()
}

#[actix_web::test]
async fn whoever_rewrites_who_may_use_a_model_closes_it() {
    for statement in [
        "UPDATE model_access SET roles = '[\"member\"]'",
        "UPDATE model_access SET roles = '[\"member\"]', mac = NULL",
        "UPDATE model_access SET roles = '[\"member\"]', mac = zeroblob(32)",
        "UPDATE model_access SET mac = (SELECT mac FROM users LIMIT 1)",
    ] {
        let (house, mia) = after_access(statement).await;
        assert_eq!(models_of(&house, &mia).await, 0, "{statement}");
        assert!(told_of(&house, "model_access").await, "{statement}");
        // Whoever manages models says anew who may use it.
        let body = json!({ "username": "olga", "password": PASSWORD });
        let owner = House::browser(&house.post(&Visitor::default(), "/api/session", body).await);
        assert_eq!(models_of(&house, &owner).await, 0, "{statement}: it is closed to all");
        let both = json!({ "roles": ["owner", "member"] });
        let answer = house.send(&owner, Method::PATCH, "/api/admin/models/guide", Some(both)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(models_of(&house, &mia).await, 1, "{statement}");
    }
}

#[actix_web::test]
async fn rows_of_access_from_before_they_were_bound_hold_where_the_log_says_the_same() {
    let (house, mia) = after_access("UPDATE model_access SET mac = NULL").await;
    let body = json!({ "username": "olga", "password": PASSWORD });
    let owner = House::browser(&house.post(&Visitor::default(), "/api/session", body).await);
    assert_eq!((models_of(&house, &owner).await, models_of(&house, &mia).await), (1, 0));
    assert!(!told_of(&house, "model_access").await);
    let house = house.reopened(|file| {
        let db = rusqlite::Connection::open(file).expect("opens");
        let count = "SELECT count(*) FROM model_access WHERE length(mac) = 32";
        let bound: i64 = db.query_row(count, [], |row| row.get(0)).expect("counts");
        assert_eq!(bound, 1, "it was bound");
    });
    assert_eq!(models_of(&house.await, &owner).await, 1);
}

#[actix_web::test]
async fn a_log_that_was_changed_confirms_nothing() {
    let (house, _) = after_access("UPDATE model_access SET mac = NULL").await;
    let owner_before = house.app.library.all()[0].roles.clone();
    assert_eq!(owner_before, Some(vec!["owner".to_owned()]));
    let house = house
        .reopened(move |file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            let change = "UPDATE audit_events SET body = CAST(replace(CAST(body AS TEXT),
                '[\"owner\"]', '[\"member\"]') AS BLOB) WHERE action = 'model.access'";
            assert!(db.execute(change, []).expect("changes") > 0);
            let change = "UPDATE model_access SET roles = '[\"member\"]', mac = NULL";
            assert!(db.execute(change, []).expect("changes") > 0);
        })
        .await;
    assert_eq!(house.app.library.all()[0].roles, Some(Vec::new()));
    assert!(told_of(&house, "model_access").await);
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
