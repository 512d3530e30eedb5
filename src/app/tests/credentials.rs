//! Every way in which a credential can be presented, and that only the right one opens.

use std::time::Duration;

use super::roles::path_of;
use super::*;

fn with(header: &[(&str, &str)], path: &str) -> TestRequest {
    let mut request = TestRequest::with_uri(path).append_header(("host", "localhost"));
    for (name, value) in header {
        request = request.append_header((*name, *value));
    }
    request
}

#[actix_web::test]
async fn class_05_one_well_formed_header_opens_and_nothing_else() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, program) = house.key(&owner, json!({ "name": "script" })).await;
    let key = program.key.expect("a key");
    let bearer = format!("Bearer {key}");
    let lower = format!("bearer {key}");
    for good in [&bearer, &lower] {
        let answer = house.call(with(&[("authorization", good)], "/v1/models")).await;
        assert_eq!(answer.status, StatusCode::OK, "the scheme's case does not matter (RFC 9110)");
    }
    let changed = format!("Bearer {}", key.replace(&key[5..7], "zz"));
    let longer = format!("{bearer}a");
    let cut = &bearer[..bearer.len() - 1];
    let cookie = format!("__Host-strongroom={}", owner.cookie.as_deref().expect("a cookie"));
    let refused: &[&[(&str, &str)]] = &[
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer")],
        &[("authorization", &key)],
        &[("authorization", &format!("Basic {key}"))],
        &[("authorization", &changed)],
        &[("authorization", &longer)],
        &[("authorization", cut)],
        &[("authorization", &bearer), ("authorization", &bearer)],
        &[("authorization", &bearer), ("cookie", &cookie)],
        &[("cookie", &cookie)],
        &[("x-api-key", &key), ("authorization", &changed)],
    ];
    for headers in refused {
        let answer = house.call(with(headers, "/v1/models")).await;
        let expected = [StatusCode::UNAUTHORIZED, StatusCode::BAD_REQUEST];
        assert!(expected.contains(&answer.status), "{} headers: {answer:?}", headers.len());
        assert!(answer.body["error"]["message"].is_string());
    }
    // An address that leads elsewhere than it says takes neither, whatever stands behind it.
    for path in ["/%76%31/models", "/v%31/models", "/v1%2fmodels", "/%6detrics"] {
        for header in [("cookie", cookie.as_str()), ("authorization", &bearer)] {
            let answer = house.call(with(&[header], path)).await;
            assert_eq!(answer.code(), "not_found", "{path} {}: {answer:?}", header.0);
        }
    }
    let web = house.call(with(&[("authorization", &bearer)], "/api/me")).await;
    assert_eq!(web.code(), "not_signed_in", "a key does not open the web app");
}

#[actix_web::test]
async fn a_change_needs_the_page_s_own_token_and_origin() {
    let house = House::new().await;
    let owner = house.owner().await;
    let other = {
        let (_, mia) = house.person(&owner, "mia", &["member"]).await;
        mia.csrf
    };
    let name = json!({ "display_name": "New" });
    for csrf in [None, Some(String::new()), Some("0".repeat(64)), other] {
        let visitor = Visitor { csrf, ..owner.clone() };
        let answer = house.send(&visitor, Method::PATCH, "/api/me", Some(name.clone())).await;
        assert_eq!(answer.code(), "cross_origin");
    }
    let cookie = format!("__Host-strongroom={}", owner.cookie.as_deref().expect("a cookie"));
    let csrf = owner.csrf.as_deref().expect("a token");
    for (header, value, fits) in [
        ("sec-fetch-site", "cross-site", false),
        ("sec-fetch-site", "same-site", false),
        ("sec-fetch-site", "same-origin", true),
        ("origin", "https://evil.example", false),
        ("origin", "null", false),
        ("origin", "https://localhost", true),
    ] {
        let headers = [("cookie", cookie.as_str()), ("x-strongroom-csrf", csrf), (header, value)];
        let request = with(&headers, "/api/me").method(Method::PATCH).set_json(name.clone());
        let answer = house.call(request).await;
        assert_eq!(answer.status.is_success(), fits, "{header}: {value}: {answer:?}");
    }
}

#[actix_web::test]
async fn a_key_ends_when_it_expires_when_it_is_revoked_and_when_its_owner_loses_the_right() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, mia) = house.person(&owner, "mia", &["member"]).await;
    let works =
        async |visitor: &Visitor| house.get(visitor, "/v1/models").await.status == StatusCode::OK;

    let (_, short) = house.key(&mia, json!({ "name": "a day", "expires_in_days": 1 })).await;
    let (revoked_id, revoked) = house.key(&mia, json!({ "name": "revoked" })).await;
    let (_, lasting) = house.key(&mia, json!({ "name": "lasting" })).await;
    assert!(works(&short).await && works(&revoked).await && works(&lasting).await);

    let path = format!("/api/me/keys/{revoked_id}");
    let foreign = house.send(&owner, Method::DELETE, &path, None).await;
    assert_eq!(foreign.code(), "not_found", "somebody else's key is not there");
    assert!(works(&revoked).await);
    let key = revoked_id.clone();
    let used = move |tx: &crate::db::Transaction<'_>| -> Result<(), crate::db::DbError> {
        tx.execute("INSERT INTO limit_minutes VALUES (?1, 1, 1, 1, 1)", [&key])?;
        tx.execute("INSERT INTO limit_days VALUES (?1, 1, 1, 1)", [&key])?;
        tx.execute("INSERT INTO limit_months VALUES (?1, 1, 1, 1)", [&key])?;
        Ok(())
    };
    house.app.db.write(used).await.expect("writes");
    assert!(house.send(&mia, Method::DELETE, &path, None).await.status.is_success());
    assert!(!works(&revoked).await);
    let rows = house.app.db.read(move |db| -> Result<i64, crate::db::DbError> {
        let sql = "SELECT (SELECT count(*) FROM limit_minutes WHERE account = ?1)
            + (SELECT count(*) FROM limit_days WHERE account = ?1)
            + (SELECT count(*) FROM limit_months WHERE account = ?1)";
        Ok(db.query_row(sql, [revoked_id], |row| row.get(0))?)
    });
    assert_eq!(rows.await.expect("counts"), 0, "what it used went with it");

    house.clock.advance(Duration::from_hours(24));
    assert!(!works(&short).await);
    assert!(works(&lasting).await);

    let body = json!({ "username": "olga", "password": PASSWORD });
    let owner = House::browser(&house.post(&Visitor::default(), "/api/session", body).await);
    let path = format!("/api/admin/people/{id}");
    let body = json!({ "roles": ["auditor"] });
    assert!(house.send(&owner, Method::PATCH, &path, Some(body)).await.status.is_success());
    assert_eq!(house.get(&lasting, "/v1/models").await.code(), "permission_denied");
}

#[actix_web::test]
async fn a_key_cannot_hold_more_than_its_owner_or_its_scopes() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    for scopes in [json!(["metrics.read"]), json!(["people.manage"]), json!(["nothing"]), json!([])]
    {
        let body = json!({ "name": "more", "scopes": scopes });
        let refused = house.post(&mia, "/api/me/keys", body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{scopes}");
        assert_eq!(refused.body["error"]["param"], "scopes");
    }
    let (_, reader) =
        house.key(&owner, json!({ "name": "prometheus", "scopes": ["metrics.read"] })).await;
    assert_eq!(house.get(&reader, "/metrics").await.status, StatusCode::OK);
    assert_eq!(house.get(&reader, "/v1/models").await.code(), "permission_denied");
}

#[actix_web::test]
async fn a_key_for_an_alias_opens_its_model_and_one_for_a_model_that_is_not_there_is_not_made() {
    let house = House::new().await;
    let owner = house.owner().await;
    let alias = json!({ "alias": "gpt-4o", "model": "guide" });
    let named = house.post(&owner, "/api/admin/model-aliases", alias).await;
    assert_eq!(named.status, StatusCode::CREATED, "{named:?}");
    let (_, old_client) =
        house.key(&owner, json!({ "name": "old client", "models": ["gpt-4o"] })).await;
    for path in ["/v1/models/gpt-4o", "/v1/models/guide"] {
        assert_eq!(house.get(&old_client, path).await.body["id"], "guide", "{path}");
    }
    let listed = house.get(&old_client, "/v1/models").await;
    assert_eq!(listed.body["data"].as_array().map(Vec::len), Some(1));
    for models in [json!(["gpt-5"]), json!(["guide", "gudie"]), json!([""]), json!([])] {
        let body = json!({ "name": "misspelt", "models": models });
        let refused = house.post(&owner, "/api/me/keys", body).await;
        assert_eq!(refused.code(), "invalid_value", "{models}");
        assert_eq!(refused.body["error"]["param"], "models");
    }
    let taken = house.send(&owner, Method::DELETE, "/api/admin/model-aliases/gpt-4o", None).await;
    assert!(taken.status.is_success(), "{taken:?}");
    assert_eq!(house.get(&old_client, "/v1/models/guide").await.code(), "model_not_found");
}

#[actix_web::test]
async fn whoever_has_a_good_key_is_told_of_limits_by_every_answer_and_nobody_else_is() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, script) = house.key(&owner, json!({ "name": "script" })).await;
    let (_, reader) =
        house.key(&owner, json!({ "name": "prometheus", "scopes": ["metrics.read"] })).await;
    let (id, gone) = house.key(&owner, json!({ "name": "gone" })).await;
    house.send(&owner, Method::DELETE, &format!("/api/me/keys/{id}"), None).await;
    let nobody = Visitor::default();
    let told = "x-ratelimit-limit-requests";
    for (visitor, method, path, code, is_told) in [
        (&script, Method::GET, "/v1/models", "", true),
        (&script, Method::GET, "/v1/models/nothing", "model_not_found", true),
        (&reader, Method::GET, "/v1/models", "permission_denied", true),
        (&script, Method::GET, "/v1/nothing", "not_found", true),
        (&script, Method::GET, "/v1", "not_found", true),
        (&script, Method::DELETE, "/v1/models", "method_not_allowed", true),
        (&script, Method::GET, "/v2/models", "not_found", false),
        (&reader, Method::GET, "/metrics", "", false),
        (&gone, Method::GET, "/v1/nothing", "invalid_api_key", false),
        (&gone, Method::DELETE, "/v1/models", "invalid_api_key", false),
        (&nobody, Method::GET, "/v1/nothing", "not_found", false),
        (&owner, Method::GET, "/v1/nothing", "not_found", false),
        (&owner, Method::GET, "/api/nothing", "not_found", false),
    ] {
        let answer = house.send(visitor, method.clone(), path, None).await;
        assert_eq!(answer.code(), code, "{method} {path}");
        assert_eq!(answer.header(told).is_some(), is_told, "{method} {path}: {answer:?}");
    }
    // Keys are not tried out without a trace at addresses that are not there.
    let path = "/api/admin/audit?action=access.authentication_failed";
    let events = house.get(&owner, path).await.body["events"].clone();
    assert_eq!(events.as_array().map(Vec::len), Some(2), "{events}");
}

#[actix_web::test]
async fn a_method_that_an_address_does_not_take_is_refused_with_those_that_it_does() {
    let house = House::new().await;
    let nobody = Visitor::default();
    for row in routes::all().table() {
        let path = path_of(row.path);
        let answer = house.send(&nobody, Method::PUT, &path, None).await;
        assert_eq!(answer.code(), "method_not_allowed", "{path}");
        let allowed = answer.header("allow").expect("a header");
        assert!(allowed.split(", ").any(|one| one == row.method.as_str()), "{path}: {allowed}");
    }
    let answer = house.send(&nobody, Method::PUT, "/api/me/keys", None).await;
    assert_eq!(answer.header("allow"), Some("GET, POST"));
}

#[actix_web::test]
async fn class_17_a_request_for_another_host_is_not_answered() {
    let house = House::new().await;
    for host in ["evil.example", "localhost.evil.example", "", "127.0.0.1.nip.io"] {
        let request = TestRequest::with_uri("/api/status").insert_header(("host", host));
        assert_eq!(house.call(request).await.code(), "wrong_host", "{host}");
    }
    let twice = TestRequest::with_uri("/api/status")
        .append_header(("host", "localhost"))
        .append_header(("host", "localhost"));
    assert_eq!(house.call(twice).await.code(), "invalid_request");
}
