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
async fn after_access(statement: &'static str) -> (House, Visitor, Visitor) {
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
    (house.reopened(between).await, owner, mia)
}

async fn models_of(house: &House, visitor: &Visitor) -> usize {
    let answer = house.get(visitor, "/api/models").await;
    answer.body["models"].as_array().expect("a list").len()
}

async fn give(house: &House, owner: &Visitor, roles: Value) {
    let roles = json!({ "roles": roles });
    let answer = house.send(owner, Method::PATCH, "/api/admin/models/guide", Some(roles)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

#[actix_web::test]
async fn whoever_rewrites_who_may_use_a_model_closes_it() {
    for statement in [
        "DELETE FROM model_access",
        "UPDATE model_access SET roles = '[\"member\"]'",
        "UPDATE model_access SET roles = 'null'",
        "UPDATE model_access SET model = 'other'",
        "UPDATE model_access SET roles = CAST(x'ff' AS TEXT)",
        "INSERT INTO model_access (model, roles) VALUES ('other', '[\"member\"]')",
        "DELETE FROM model_access_sum",
        "UPDATE model_access_sum SET mac = zeroblob(32)",
        "UPDATE model_access_sum SET mac = (SELECT mac FROM users LIMIT 1)",
        "UPDATE model_access_sum SET closed = 1",
    ] {
        let (house, owner, mia) = after_access(statement).await;
        assert_eq!(models_of(&house, &mia).await, 0, "{statement}");
        assert!(told_of(&house, "model_access").await, "{statement}");
        // Whoever manages models says anew who may use it.
        assert_eq!(models_of(&house, &owner).await, 0, "{statement}: it is closed to all");
        give(&house, &owner, json!(["owner", "member"])).await;
        assert_eq!(models_of(&house, &mia).await, 1, "{statement}");
        let house = house.reopened(|_| {}).await;
        assert_eq!(models_of(&house, &mia).await, 1, "{statement}: it is believed again");
    }
}

#[actix_web::test]
async fn both_the_rows_and_their_digest_taken_away_open_nothing() {
    let (house, owner, mia) = after_access("DELETE FROM model_access").await;
    let between = |file: &std::path::Path| {
        let db = rusqlite::Connection::open(file).expect("opens");
        assert_eq!(db.execute("DELETE FROM model_access_sum", []).expect("changes"), 1);
    };
    let house = house.reopened(between).await;
    assert_eq!(models_of(&house, &mia).await, 0);
    // What nobody has spoken of since stays closed, and what everybody may use has to be said.
    give(&house, &owner, Value::Null).await;
    assert_eq!(models_of(&house, &mia).await, 1);
    let house = house.reopened(|_| {}).await;
    assert_eq!(models_of(&house, &mia).await, 1);
    let house = house
        .reopened(|file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            let kept = "SELECT roles || closed FROM model_access, model_access_sum";
            let kept: String = db.query_row(kept, [], |row| row.get(0)).expect("a row");
            assert_eq!(kept, "null1", "open by word, where others are closed");
        })
        .await;
    assert_eq!(models_of(&house, &mia).await, 1);
}

#[actix_web::test]
async fn a_table_that_is_changed_under_the_running_server_is_not_signed_with_the_next_change() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    give(&house, &owner, json!(["owner"])).await;
    let job = |tx: &crate::db::Transaction<'_>| -> Result<usize, crate::db::DbError> {
        Ok(tx.execute("INSERT INTO model_access (model, roles) VALUES ('new', 'null')", [])?)
    };
    assert_eq!(house.app.db.write(job).await.expect("forged"), 1);
    give(&house, &owner, json!(["owner", "auditor"])).await;
    assert_eq!((models_of(&house, &owner).await, models_of(&house, &mia).await), (1, 0));
    let count = |db: &crate::db::Connection| -> Result<i64, crate::db::DbError> {
        Ok(db.query_row("SELECT count(*) FROM model_access", [], |row| row.get(0))?)
    };
    assert_eq!(house.app.db.read(count).await.expect("reads"), 1, "the forged row is gone");
    house.app.tell().await.expect("recorded");
    assert!(told_of(&house, "model_access").await);
}

/// A house whose table is as before it was bound: a row without digest, and `said` on record.
async fn from_before(said: &[&str], row: &'static str) -> (House, Visitor, Visitor) {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    for role in said {
        let event = Event::new(Action::ModelAccess, Outcome::Done, Actor::System)
            .subject("guide")
            .with("roles", vec![(*role).to_owned()]);
        house.app.audit.record(event).await.expect("recorded");
    }
    let house = house
        .reopened(move |file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            let insert = "INSERT INTO model_access (model, roles) VALUES ('guide', ?1)";
            assert_eq!(db.execute(insert, [row]).expect("changes"), 1);
            assert_eq!(db.execute("DELETE FROM model_access_sum", []).expect("changes"), 1);
        })
        .await;
    (house, owner, mia)
}

#[actix_web::test]
async fn a_table_from_before_it_was_bound_is_taken_over_once_where_the_log_says_the_same() {
    let (house, owner, mia) = from_before(&["member", "owner"], "[\"owner\"]").await;
    assert_eq!((models_of(&house, &owner).await, models_of(&house, &mia).await), (1, 0));
    assert!(!told_of(&house, "model_access").await);
    let house = house.reopened(|_| {}).await;
    assert_eq!(models_of(&house, &owner).await, 1, "it was bound");
    let house = house
        .reopened(|file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            assert_eq!(db.execute("DELETE FROM model_access_sum", []).expect("changes"), 1);
        })
        .await;
    assert_eq!(models_of(&house, &owner).await, 0, "once");
    assert!(told_of(&house, "model_access").await);
}

#[actix_web::test]
async fn a_table_from_before_that_the_log_does_not_confirm_lets_nobody_in() {
    for (said, row) in [
        (&["owner", "member"][..], "[\"owner\"]"),
        (&["owner"][..], "[\"member\"]"),
        (&["owner"][..], "null"),
        (&[][..], "[\"member\"]"),
    ] {
        let (house, _, _) = from_before(said, row).await;
        let roles = house.app.library.all()[0].roles.clone();
        assert_eq!(roles, Some(Vec::new()), "{said:?} {row}");
        assert!(told_of(&house, "model_access").await, "{said:?} {row}");
    }
}

#[actix_web::test]
async fn a_log_that_was_changed_confirms_nothing() {
    let (house, _, _) = from_before(&["owner"], "[\"owner\"]").await;
    assert_eq!(house.app.library.all()[0].roles, Some(vec!["owner".to_owned()]));
    let house = house
        .reopened(move |file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            let change = "UPDATE audit_events SET body = CAST(replace(CAST(body AS TEXT),
                '\"bound\":true', '\"bound\":null') AS BLOB) WHERE action = 'model.access'";
            assert!(db.execute(change, []).expect("changes") > 0);
            assert_eq!(db.execute("DELETE FROM model_access_sum", []).expect("changes"), 1);
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
