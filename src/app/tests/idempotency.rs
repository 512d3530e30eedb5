//! Requests that name themselves: answered once, whoever sends them how often.

use super::*;

const PATH: &str = "/v1/moderations";

/// Sends a request under a key of its own.
async fn ask(house: &House, from: &Visitor, names: &[&str], body: &Value) -> Answer {
    ask_at(house, from, PATH, names, body).await
}

async fn ask_at(house: &House, from: &Visitor, path: &str, names: &[&str], body: &Value) -> Answer {
    let mut request = TestRequest::with_uri(path)
        .method(Method::POST)
        .peer_addr("192.0.2.7:4000".parse().expect("an address"))
        .insert_header(("host", "localhost"));
    if let Some(key) = &from.key {
        request = request.insert_header(("authorization", format!("Bearer {key}")));
    }
    for name in names {
        request = request.append_header(("idempotency-key", *name));
    }
    house.call(request.set_json(body)).await
}

fn is_again(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

#[actix_web::test]
async fn the_same_request_is_answered_once_and_told_again() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    let (_, program) = house.key(&mia, json!({ "name": "script" })).await;
    let (_, other) = house.key(&mia, json!({ "name": "other" })).await;
    let body = json!({ "input": "Hello there" });
    let first = ask(&house, &program, &["one"], &body).await;
    assert_eq!((first.status, is_again(&first)), (StatusCode::OK, false), "{first:?}");
    let again = ask(&house, &program, &["one"], &body).await;
    assert_eq!((again.status, is_again(&again)), (StatusCode::OK, true));
    assert_eq!(again.body, first.body, "with the same id");
    assert_eq!(again.header("content-type"), first.header("content-type"));
    let new = ask(&house, &program, &["two"], &body).await;
    assert!(!is_again(&new) && new.body["id"] != first.body["id"]);
    assert!(!is_again(&ask(&house, &other, &["one"], &body).await), "each key has its own names");
    assert!(!is_again(&ask(&house, &program, &[], &body).await));
    let reused = ask(&house, &program, &["one"], &json!({ "input": "Else" })).await;
    assert_eq!((reused.status, reused.code()), (StatusCode::BAD_REQUEST, "idempotency_key_reused"));
    assert_eq!(reused.body["error"]["param"], "idempotency-key");
    let told = house.get(&owner, "/api/admin/audit?action=answer.repeat").await;
    assert_eq!(told.body["events"].as_array().map(Vec::len), Some(1));
}

#[actix_web::test]
async fn refusals_that_nobody_counts_are_not_kept() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, program) = house.key(&owner, json!({ "name": "script" })).await;
    let wrong = json!({ "input": "x", "colour": "red", "model": "none" });
    let asked = json!({ "input": "x", "model": "none" });
    for (path, body, code) in [
        (PATH, &wrong, "unknown_parameter"),
        (PATH, &json!({ "input": 7 }), "invalid_value"),
        (PATH, &json!({}), "invalid_request"),
        ("/v1/responses/compact", &json!({}), "unsupported_parameter"),
        ("/v1/embeddings", &asked, "model_not_found"),
        ("/v1/nothing", &asked, "not_found"),
    ] {
        for _ in 0..2 {
            let answer = ask_at(&house, &program, path, &["one"], body).await;
            let is_refused = answer.status.is_client_error() && !is_again(&answer);
            assert!(is_refused, "{path} {code}: {answer:?}");
        }
    }
    // Nothing is written for what no limit counts.
    let told = house.get(&owner, "/api/admin/audit?action=answer.keep").await;
    assert_eq!(told.body["events"].as_array().map(Vec::len), Some(0), "{told:?}");
}

#[actix_web::test]
async fn names_that_are_none_are_refused_and_strangers_learn_nothing() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, mia) = house.person(&owner, "mia", &["member"]).await;
    let (_, program) = house.key(&mia, json!({ "name": "script" })).await;
    let body = json!({ "input": "Hello" });
    let long = "x".repeat(256);
    for names in [&[""][..], &["a", "b"], &[long.as_str()]] {
        let answer = ask(&house, &program, names, &body).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "invalid_value"));
    }
    assert_eq!(ask(&house, &program, &["one"], &body).await.status, StatusCode::OK);
    for names in [&["one"][..], &[""]] {
        let answer = ask(&house, &Visitor::default(), names, &body).await;
        assert_eq!(answer.code(), "invalid_api_key");
    }
    // Whose key is withdrawn gets no answer of theirs any more.
    let disabled = json!({ "disabled": true });
    let path = format!("/api/admin/people/{id}");
    house.send(&owner, Method::PATCH, &path, Some(disabled)).await;
    assert_eq!(ask(&house, &program, &["one"], &body).await.code(), "invalid_api_key");
    // With the person all of it goes.
    house.send(&owner, Method::DELETE, &path, None).await;
    let rows = house.app.db.read(|db| -> Result<i64, crate::db::DbError> {
        Ok(db.query_row("SELECT count(*) FROM kept_answers", [], |row| row.get(0))?)
    });
    assert_eq!(rows.await.expect("counts"), 0);
}

#[actix_web::test]
async fn a_server_that_keeps_no_answers_says_so() {
    let house = House::with(&[("api.idempotency_hours", "0")]).await;
    let owner = house.owner().await;
    let (_, program) = house.key(&owner, json!({ "name": "script" })).await;
    let answer = ask(&house, &program, &["one"], &json!({ "input": "Hello" })).await;
    assert_eq!(answer.code(), "unsupported_parameter");
    assert_eq!(answer.body["error"]["param"], "idempotency-key");
}
