//! Keys that are let in from some networks alone.

use std::path::Path;
use std::pin::{Pin, pin};

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::*;
use crate::audit::{Filter, Record};

/// Long enough for a request to reach its handler.
const MOMENT: Duration = Duration::from_millis(150);
const PATHS: [&str; 3] = ["/v1/models", "/v1/nothing", "/metrics"];

async fn recorded(house: &House, action: Action) -> Vec<Record> {
    let filter = Filter { action: Some(action), limit: 500, ..Filter::default() };
    house.app.audit.page(filter).await.expect("reads")
}

/// A request that a program at this address sends with its key, in one of the headers for it.
async fn call(
    house: &House,
    path: &str,
    from: &str,
    (header, begin): (&str, &str),
    of: &Visitor,
) -> Answer {
    let key = of.key.as_deref().expect("a key");
    let host = if from.contains(':') { format!("[{from}]:4000") } else { format!("{from}:4000") };
    let request = TestRequest::with_uri(path)
        .peer_addr(host.parse().expect("an address"))
        .insert_header(("host", "localhost"))
        .insert_header((header.to_owned(), format!("{begin}{key}")));
    house.call(request).await
}

async fn models(house: &House, from: &str, of: &Visitor) -> Answer {
    call(house, "/v1/models", from, ("authorization", "Bearer "), of).await
}

async fn change(house: &House, by: &Visitor, id: &str, networks: Value) -> Answer {
    let body = json!({ "networks": networks });
    house.send(by, Method::PATCH, &format!("/api/me/keys/{id}"), Some(body)).await
}

/// All of an answer but what is new in each.
fn told(answer: &Answer) -> (StatusCode, Vec<String>, String) {
    let names = answer.headers.iter().filter(|(name, _)| *name != "x-request-id");
    let mut headers: Vec<String> =
        names.map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.sort_unstable();
    (answer.status, headers, answer.body.to_string())
}

#[actix_web::test]
async fn class_05_a_key_from_elsewhere_is_answered_as_one_that_is_not_there_by_every_header() {
    let house = House::new().await;
    let owner = house.owner().await;
    let networks = json!(["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]);
    let scopes = json!(["api.use", "metrics.read"]);
    let body = json!({ "name": "script", "networks": networks, "scopes": scopes });
    let (_, program) = house.key(&owner, body).await;
    let (gone_id, gone) = house.key(&owner, json!({ "name": "gone" })).await;
    house.send(&owner, Method::DELETE, &format!("/api/me/keys/{gone_id}"), None).await;
    for form in [("authorization", "Bearer "), ("authorization", "bearer "), ("x-api-key", "")] {
        for from in
            ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.9", "2001:db8:ffff::1", "198.51.100.7"]
        {
            for (path, status) in PATHS.into_iter().zip([200, 404, 200]) {
                let answer = call(&house, path, from, form, &program).await;
                assert_eq!(answer.status, status, "{path} from {from} by {form:?}: {answer:?}");
            }
        }
        for from in [
            "192.0.1.255",
            "192.0.3.0",
            "::ffff:192.0.3.1",
            "2001:db9::1",
            "198.51.100.8",
            "::192.0.2.1",
        ] {
            for path in PATHS {
                let answer = call(&house, path, from, form, &program).await;
                assert_eq!(answer.code(), "invalid_api_key", "{path} from {from} by {form:?}");
                let never = call(&house, path, from, form, &gone).await;
                assert_eq!(told(&answer), told(&never), "{path} from {from} by {form:?}");
            }
        }
    }
    // Nobody knows where this one came from.
    let request = TestRequest::with_uri("/v1/models")
        .insert_header(("host", "localhost"))
        .insert_header(("x-api-key", program.key.expect("a key")));
    assert_eq!(house.call(request).await.code(), "invalid_api_key");
}

#[actix_web::test]
async fn a_key_from_elsewhere_is_on_record_up_to_a_bound_and_its_owner_sees_it() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    let (id, program) =
        house.key(&mia, json!({ "name": "script", "networks": ["10.0.0.0/8"] })).await;
    // Strangers who try keys out fill their own bound, and not that of people.
    let request = |household: u32| {
        TestRequest::with_uri("/v1/models")
            .peer_addr(format!("[2001:db8:0:{household:x}::1]:4000").parse().expect("an address"))
            .insert_header(("host", "localhost"))
            .insert_header(("authorization", "Bearer sr-0"))
    };
    for household in 0..21 {
        for _ in 0..30 {
            assert_eq!(house.call(request(household)).await.code(), "invalid_api_key");
        }
    }
    for last in 0..40 {
        assert_eq!(
            models(&house, &format!("203.0.113.{last}"), &program).await.code(),
            "invalid_api_key"
        );
    }
    let events = recorded(&house, Action::KeyRefuse).await;
    assert_eq!(events.len(), 30);
    let first = events.last().expect("thirty");
    assert_eq!(first.field("subject"), id.as_str());
    assert_eq!(first.field("address"), "203.0.113.0");
    assert_eq!(first.field("outcome"), "denied");
    let actor = first.field("actor");
    assert!(actor.as_str().is_some_and(|actor| actor.ends_with(&format!("/{id}"))), "{actor}");
    let secret = program.key.as_deref().expect("a key");
    assert!(events.iter().all(|event| !String::from_utf8_lossy(&event.body).contains(secret)));

    let key = house.get(&mia, "/api/me/keys").await.body["keys"][0].clone();
    assert_eq!(key["turned_away"]["address"], "203.0.113.39", "{key}");
    assert_eq!(key["turned_away"]["at"], key["created_at"], "the clock stands still");
    assert_eq!(key["last_used_at"], Value::Null, "it was not used by that: {key}");
    // What is let in now is no reproach any more.
    let changed = change(&house, &mia, &id, json!(["10.0.0.0/8", "203.0.113.0/24"])).await;
    assert_eq!(changed.body["turned_away"], Value::Null, "{changed:?}");
    assert_eq!(models(&house, "203.0.113.39", &program).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn networks_are_changed_by_the_key_s_owner_alone_shown_on_record_and_kept() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    let limits = json!({ "tokens_per_month": 1_000_000 });
    let (id, program) = house.key(&mia, json!({ "name": "script", "limits": limits })).await;
    assert_eq!(models(&house, "203.0.113.5", &program).await.status, StatusCode::OK);
    for (who, what) in [(&owner, "somebody else's"), (&mia, "no")] {
        let id = if what == "no" { format!("key_{}", "0".repeat(32)) } else { id.clone() };
        assert_eq!(
            change(&house, who, &id, json!(["::1"])).await.code(),
            "not_found",
            "{what} key"
        );
    }
    let networks = json!(["10.0.0.0/8", "::ffff:192.0.2.7", "192.0.2.7/32", "2001:DB8::/32"]);
    let shown = json!(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]);
    let changed = change(&house, &mia, &id, networks).await;
    assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    assert_eq!(changed.body["networks"], shown);
    assert_eq!(changed.body["name"], "script");
    let events = recorded(&house, Action::KeyNetworks).await;
    assert_eq!(events.len(), 1, "what was refused changed nothing");
    assert_eq!(events[0].field("subject"), id.as_str());
    assert_eq!(events[0].field("detail")["networks"], shown);
    let house = house.reopened(|_| {}).await;
    assert_eq!(house.get(&mia, "/api/me/keys").await.body["keys"][0]["networks"], shown);
    assert_eq!(models(&house, "203.0.113.5", &program).await.code(), "invalid_api_key");
    assert_eq!(models(&house, "192.0.2.7", &program).await.status, StatusCode::OK);
    // Everywhere again.
    assert_eq!(change(&house, &mia, &id, json!([])).await.body["networks"], json!([]));
    assert_eq!(models(&house, "203.0.113.5", &program).await.status, StatusCode::OK);
    let house = house.reopened(|_| {}).await;
    assert_eq!(models(&house, "203.0.113.5", &program).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn bad_networks_are_refused_by_name_and_change_nothing() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, program) =
        house.key(&owner, json!({ "name": "script", "networks": ["192.0.2.7"] })).await;
    let many: Vec<String> = (0..17).map(|last| format!("10.0.0.{last}")).collect();
    for (networks, says) in [
        (json!(["10.0.0.1", "10.1.2.3/8"]), "Network 2 of the list is `10.1.2.3/8`, "),
        (json!(["10.1.2.3/8"]), "Write `10.0.0.0/8`, or `10.1.2.3` for that address alone."),
        (json!(["2001:db8::1/32"]), "Write `2001:db8::/32`, or `2001:db8::1` for"),
        (
            json!(["10.0.0.0/33"]),
            "Network 1 of the list must have a number from 0 to 32 behind the `/`",
        ),
        (json!(["::/129"]), "a number from 0 to 128"),
        (json!(["vermilion.example"]), "Network 1 of the list is no IPv4 or IPv6 address"),
        (json!([""]), "Network 1 of the list is no IPv4"),
        (json!(many), "a list of up to 16"),
    ] {
        let body = json!({ "name": "other", "networks": networks });
        let made = house.post(&owner, "/api/me/keys", body).await;
        for answer in [made, change(&house, &owner, &id, networks.clone()).await] {
            assert_eq!(answer.code(), "invalid_value", "{networks}: {answer:?}");
            assert_eq!(answer.body["error"]["param"], "networks", "{networks}: {answer:?}");
            let message = answer.body["error"]["message"].as_str().expect("words");
            assert!(
                message.contains(says) && !message.contains("vermilion"),
                "{networks}: {message}"
            );
        }
    }
    for body in
        [json!({}), json!({ "networks": null }), json!({ "networks": ["::1"], "name": "x" })]
    {
        let path = format!("/api/me/keys/{id}");
        let answer = house.send(&owner, Method::PATCH, &path, Some(body.clone())).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {answer:?}");
    }
    let keys = house.get(&owner, "/api/me/keys").await.body["keys"].clone();
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}");
    assert_eq!(keys[0]["networks"], json!(["192.0.2.7"]));
    assert_eq!(models(&house, "192.0.2.7", &program).await.status, StatusCode::OK);
    let made = recorded(&house, Action::KeyCreate).await;
    assert_eq!(made[0].field("detail")["networks"], json!(["192.0.2.7"]));
}

#[actix_web::test]
async fn whoever_is_let_in_is_not_any_more_once_the_list_is_narrower() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, program) = house.key(&owner, json!({ "name": "script" })).await;
    let (send, pieces) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let pieces = tokio_stream::wrappers::UnboundedReceiverStream::new(pieces);
    let body: Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, PayloadError>>>> =
        Box::pin(pieces.map(Ok));
    let request = TestRequest::with_uri("/v1/completions")
        .method(Method::POST)
        .peer_addr("203.0.113.5:4000".parse().expect("an address"))
        .insert_header(("host", "localhost"))
        .insert_header(("content-type", "application/json"))
        .insert_header(("authorization", format!("Bearer {}", program.key.expect("a key"))));
    let mut slow = pin!(house.call_with(request, Some(Payload::from(body))));
    send.send(Bytes::from_static(b"{\"model\": \"guide\", ")).expect("open");
    assert!(timeout(MOMENT, slow.as_mut()).await.is_err(), "the body is not whole yet");
    assert_eq!(change(&house, &owner, &id, json!(["192.0.2.7"])).await.status, StatusCode::OK);
    send.send(Bytes::from_static(b"\"prompt\": \"Hello\"}")).expect("open");
    drop(send);
    assert_eq!(slow.await.code(), "invalid_api_key");
}

#[actix_web::test]
async fn behind_a_trusted_proxy_it_is_the_client_s_address_that_counts() {
    let trusted = [
        ("server.trusted_proxies", "[\"127.0.0.1\"]"),
        ("server.forwarded_header", "x-forwarded-for"),
    ];
    let house = House::with(&trusted).await;
    let owner = house.owner().await;
    let (_, program) =
        house.key(&owner, json!({ "name": "script", "networks": ["203.0.113.0/24"] })).await;
    let key = program.key.expect("a key");
    for (peer, header, is_in) in [
        ("127.0.0.1", "203.0.113.5", true),
        ("127.0.0.1", "198.51.100.1, 203.0.113.5", true),
        ("127.0.0.1", "203.0.113.5, 198.51.100.1", false),
        ("127.0.0.1", "", false),
        // Anybody can send the header.
        ("192.0.2.1", "203.0.113.5", false),
        ("203.0.113.5", "192.0.2.1", true),
    ] {
        let request = TestRequest::with_uri("/v1/models")
            .peer_addr(format!("{peer}:4000").parse().expect("an address"))
            .insert_header(("host", "localhost"))
            .insert_header(("x-forwarded-for", header))
            .insert_header(("authorization", format!("Bearer {key}")));
        let answer = house.call(request).await;
        assert_eq!(answer.status.is_success(), is_in, "{peer} for {header:?}: {answer:?}");
    }
}

fn tamper(file: &Path, sql: &str) {
    let db = rusqlite::Connection::open(file).expect("opens");
    assert!(db.execute(sql, []).expect("changes") > 0, "{sql}");
}

#[actix_web::test]
async fn class_05_a_key_whose_networks_were_rewritten_is_not_let_in_from_anywhere() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, bound) = house.key(&owner, json!({ "name": "bound", "networks": ["192.0.2.7"] })).await;
    let (_, free) = house.key(&owner, json!({ "name": "free" })).await;
    let mut house = house;
    // Each stands in for what was there, and is taken back before the next.
    for statement in [
        "UPDATE api_keys SET networks = NULL WHERE networks IS NOT NULL",
        "UPDATE api_keys SET networks = '[]' WHERE networks IS NOT NULL",
        "UPDATE api_keys SET networks = '[\"0.0.0.0/0\"]' WHERE networks IS NOT NULL",
        "UPDATE api_keys SET networks = '[\"192.0.2.7\", \"192.0.2.8\"]' WHERE networks IS NOT NULL",
        "UPDATE api_keys SET networks = 'nonsense' WHERE networks IS NOT NULL",
        "UPDATE api_keys SET networks = CAST(x'ff00' AS TEXT) WHERE networks IS NOT NULL",
        "UPDATE api_keys SET networks = NULL, limits = networks WHERE networks IS NOT NULL",
        "UPDATE api_keys SET networks = NULL, models = networks WHERE networks IS NOT NULL",
    ] {
        house = house
            .reopened(|file| {
                let db = rusqlite::Connection::open(file).expect("opens");
                db.execute_batch("CREATE TABLE as_it_was AS SELECT * FROM api_keys")
                    .expect("copied");
                tamper(file, statement);
            })
            .await;
        for from in ["192.0.2.7", "203.0.113.5"] {
            assert_eq!(models(&house, from, &bound).await.code(), "invalid_api_key", "{statement}");
            assert_eq!(models(&house, from, &free).await.status, StatusCode::OK, "{statement}");
        }
        assert!(!recorded(&house, Action::RowRefused).await.is_empty(), "{statement}");
        house = house
            .reopened(|file| {
                let db = rusqlite::Connection::open(file).expect("opens");
                let back = "DELETE FROM api_keys; INSERT INTO api_keys SELECT * FROM as_it_was; DROP TABLE as_it_was";
                db.execute_batch(back).expect("put back");
            })
            .await;
        assert_eq!(models(&house, "192.0.2.7", &bound).await.status, StatusCode::OK, "{statement}");
    }
}

#[actix_web::test]
async fn a_row_that_was_changed_under_the_running_server_is_not_bound_anew() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, program) =
        house.key(&owner, json!({ "name": "script", "networks": ["192.0.2.7"] })).await;
    let job = |tx: &crate::db::Transaction<'_>| -> Result<usize, crate::db::DbError> {
        Ok(tx.execute("UPDATE api_keys SET scopes = '[\"api.use\",\"metrics.read\"]'", [])?)
    };
    assert_eq!(house.app.db.write(job).await.expect("forged"), 1);
    assert_eq!(change(&house, &owner, &id, json!([])).await.code(), "conflict");
    assert_eq!(models(&house, "203.0.113.5", &program).await.code(), "invalid_api_key");
    let house = house.reopened(|_| {}).await;
    assert_eq!(models(&house, "192.0.2.7", &program).await.code(), "invalid_api_key");
    assert!(!recorded(&house, Action::RowRefused).await.is_empty());
}

#[actix_web::test]
async fn keys_from_before_there_were_networks_go_on_working_and_can_be_given_some() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, plain) = house.key(&owner, json!({ "name": "plain" })).await;
    let limits = json!({ "tokens_per_month": 1_000_000 });
    let body = json!({ "name": "limited", "limits": limits, "expires_in_days": 7 });
    let (id, limited) = house.key(&owner, body).await;
    let (_, bound) = house.key(&owner, json!({ "name": "bound", "networks": ["192.0.2.7"] })).await;
    // As a server wrote it whose newest step was the sixteenth; nobody's networks are forgotten by that.
    let house = house
        .reopened(|file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            let back = "ALTER TABLE api_keys DROP COLUMN networks; DELETE FROM schema_steps WHERE number > 16";
            db.execute_batch(back).expect("put back");
        })
        .await;
    for (key, status) in [(&plain, 200), (&limited, 200), (&bound, 401)] {
        assert_eq!(models(&house, "192.0.2.7", key).await.status, status, "{key:?}");
    }
    let listed = house.get(&owner, "/api/me/keys").await.body;
    let keys = listed["keys"].as_array().expect("a list");
    let old = keys.iter().find(|key| key["id"] == id.as_str()).expect("it is there");
    assert_eq!(old["networks"], json!([]), "{listed}");
    assert_eq!(old["limits"]["tokens_per_month"], 1_000_000, "{listed}");
    assert_eq!(change(&house, &owner, &id, json!(["192.0.2.7"])).await.status, StatusCode::OK);
    let house = house.reopened(|_| {}).await;
    assert_eq!(models(&house, "192.0.2.7", &limited).await.status, StatusCode::OK);
    assert_eq!(models(&house, "203.0.113.5", &limited).await.code(), "invalid_api_key");
    assert_eq!(models(&house, "203.0.113.5", &plain).await.status, StatusCode::OK);
}
