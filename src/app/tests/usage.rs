//! Reports of use: who may read them, what they say, and that reading them is on record.

use super::*;
use crate::ids::{KeyId, UserId};
use crate::usage::{Tokens, User};

/// The day that the house's clock stands at, and its first second.
const TODAY: &str = "2027-01-15";
const MIDNIGHT: i64 = 1_799_971_200;

async fn enter(house: &House, user: &str, key: Option<&str>, kind: &'static str, input: u64) {
    let user = User {
        person: Some(UserId::parse(user).expect("an id")),
        key: key.map(|key| KeyId::parse(key).expect("an id")),
    };
    let prices = &house.app.settings.models.prices;
    let tokens = Tokens { input, cached: 0, output: 1 };
    let entry = Ledger::new(&house.clock, prices).entry(user, "guide", kind, tokens);
    house.app.db.write(move |tx| entry.store_in(tx)).await.expect("stores");
}

/// How often reports were read, as the record has it.
async fn reads(house: &House, owner: &Visitor) -> usize {
    let told = house.get(owner, "/api/admin/audit?action=usage.read").await;
    told.body["events"].as_array().expect("a list").len()
}

#[actix_web::test]
async fn a_report_says_who_used_what_and_is_on_record() {
    let price = ("models.prices.guide.input", "2");
    let house = House::with(&[price, ("usage.currency", "EUR")]).await;
    let owner = house.owner().await;
    let (mia, _) = house.person(&owner, "mia", &["member"]).await;
    let (ben, _) = house.person(&owner, "ben", &["member"]).await;
    enter(&house, &mia, None, "chat", 10).await;
    enter(&house, &mia, Some(&KeyId::new().to_string()), "api", 20).await;
    enter(&house, &ben, None, "chat", 30).await;
    assert_eq!(reads(&house, &owner).await, 0);
    let found = house.get(&owner, "/api/admin/usage?group_by=person").await;
    assert_eq!(found.status, StatusCode::OK, "{found:?}");
    let body = &found.body;
    assert_eq!((&body["to"], &body["currency"]), (&json!(TODAY), &json!("EUR")));
    let rows = body["rows"].as_array().expect("a list");
    let of = |id: &str| rows.iter().find(|row| row["person_id"] == id).expect("a row").clone();
    assert_eq!(
        (&of(&mia)["person"], &of(&mia)["used"]["input_tokens"]),
        (&json!("mia"), &json!(30))
    );
    assert_eq!(of(&ben)["used"]["cost"], "0.00006");
    assert_eq!(
        (&body["total"]["requests"], &body["total"]["cost"]),
        (&json!(3), &json!("0.00012"))
    );
    let keys = house.get(&owner, &format!("/api/admin/usage?group_by=key&person={mia}")).await;
    assert_eq!(keys.body["rows"].as_array().map(Vec::len), Some(2));
    assert_eq!(reads(&house, &owner).await, 2);
    let told = house.get(&owner, "/api/admin/audit?action=usage.read").await;
    let detail = &told.body["events"][0]["detail"];
    assert_eq!((&detail["people"], &detail["to"]), (&json!([mia]), &json!(TODAY)));
    // Whoever is deleted is named no more, and what they used stays counted.
    house.send(&owner, Method::DELETE, &format!("/api/admin/people/{ben}"), None).await;
    let found = house.get(&owner, "/api/admin/usage?group_by=person").await;
    assert_eq!(found.body["total"], body["total"]);
    assert!(!found.body.to_string().contains("\"ben\""), "{found:?}");
}

#[actix_web::test]
async fn a_table_comes_as_a_file() {
    let house = House::new().await;
    let owner = house.owner().await;
    let found = house.get(&owner, "/api/admin/usage?group_by=model&format=csv").await;
    assert_eq!(found.header("content-type"), Some("text/csv; charset=utf-8"));
    let name = format!("attachment; filename=\"usage-2026-12-17-{TODAY}.csv\"");
    assert_eq!(found.header("content-disposition"), Some(&*name));
}

#[actix_web::test]
async fn only_who_may_read_use_does_and_everybody_sees_their_own() {
    let house = House::new().await;
    let owner = house.owner().await;
    for (role, may) in [
        ("admin", true),
        ("auditor", true),
        ("operator", false),
        ("member", false),
        ("service", false),
    ] {
        let (_, visitor) = house.person(&owner, &format!("the-{role}"), &[role]).await;
        let found = house.get(&visitor, "/api/admin/usage").await;
        assert_eq!(found.status == StatusCode::OK, may, "{role}: {found:?}");
        assert_eq!(found.code() == "permission_denied", !may, "{role}");
    }
    let (mia, visitor) = house.person(&owner, "mia", &["member"]).await;
    let (ben, _) = house.person(&owner, "ben", &["member"]).await;
    enter(&house, &mia, None, "chat", 10).await;
    enter(&house, &ben, None, "chat", 500).await;
    let before = reads(&house, &owner).await;
    let own = house.get(&visitor, "/api/me/usage?group_by=person,model").await;
    assert_eq!(own.body["rows"].as_array().map(Vec::len), Some(1), "{own:?}");
    assert_eq!(own.body["total"]["input_tokens"], 10);
    assert_eq!(reads(&house, &owner).await, before, "one's own is nobody's business");
    let other = house.get(&visitor, &format!("/api/me/usage?person={ben}")).await;
    assert_eq!(other.code(), "invalid_value");
    assert_eq!(house.get(&Visitor::default(), "/api/me/usage").await.code(), "not_signed_in");
    let wrong = house.get(&owner, "/api/admin/usage?from=yesterday").await;
    assert_eq!((wrong.code(), &wrong.body["error"]["param"]), ("invalid_value", &json!("from")));
}

#[actix_web::test]
async fn programs_read_use_with_a_key_that_may() {
    let house = House::with(&[("models.prices.guide.input", "0.5")]).await;
    let owner = house.owner().await;
    let (_, plain) = house.key(&owner, json!({ "name": "plain" })).await;
    let (_, reader) = house.key(&owner, json!({ "name": "books", "scopes": ["usage.read"] })).await;
    let (mia, visitor) = house.person(&owner, "mia", &["member"]).await;
    let refused =
        house.post(&visitor, "/api/me/keys", json!({ "name": "more", "scopes": ["usage.read"] }));
    assert_eq!(refused.await.body["error"]["param"], "scopes");
    let key = KeyId::new().to_string();
    enter(&house, &mia, Some(&key), "api", 10).await;
    enter(&house, &mia, Some(&key), "embeddings", 20).await;
    enter(&house, &mia, Some(&key), "rerank", 40).await;
    let since = format!("start_time={MIDNIGHT}");
    let kinds = ["usage/completions", "usage/embeddings", "usage/moderations", "costs"];
    for kind in kinds {
        let path = format!("/v1/organization/{kind}?{since}");
        assert_eq!(house.get(&plain, &path).await.code(), "permission_denied", "{kind}");
        assert_eq!(house.get(&owner, &path).await.code(), "invalid_api_key", "{kind}");
        let found = house.get(&reader, &path).await;
        assert_eq!(
            (found.status, &found.body["object"]),
            (StatusCode::OK, &json!("page")),
            "{kind}"
        );
    }
    assert_eq!(house.get(&reader, "/v1/models").await.code(), "permission_denied");
    assert_eq!(reads(&house, &owner).await, kinds.len());
    let at = |kind: &str, rest: &str| format!("/v1/organization/{kind}?{since}{rest}");
    let found = house.get(&reader, &at("usage/completions", "&group_by[]=user_id")).await;
    let result = &found.body["data"][0]["results"][0];
    assert_eq!((&result["user_id"], &result["input_tokens"]), (&json!(mia), &json!(10)));
    let found = house.get(&reader, &at("costs", "&group_by=api_key_id")).await;
    let result = &found.body["data"][0]["results"][0];
    assert_eq!(result["amount"], json!({ "value": 0.000_035, "currency": "usd" }), "of all kinds");
    assert_eq!(result["api_key_id"], key.as_str());
    // As many as may be asked for are on record, each by its name.
    let keys: Vec<String> = (0..32).map(|_| KeyId::new().to_string()).collect();
    let listed = format!("&api_key_ids={}", keys.join("&api_key_ids="));
    let found = house.get(&reader, &at("costs", &format!("{listed}&line_items=guide"))).await;
    assert_eq!(found.status, StatusCode::OK, "{found:?}");
    let told = house.get(&owner, "/api/admin/audit?action=usage.read").await;
    let detail = &told.body["events"][0]["detail"];
    assert_eq!((&detail["keys"], &detail["models"]), (&json!(keys), &json!(["guide"])));
    let more = format!("{listed}&api_key_ids={key}");
    assert_eq!(house.get(&reader, &at("costs", &more)).await.body["error"]["param"], "api_key_ids");
    let refused = house.get(&reader, &at("costs", "&project_ids=p")).await;
    assert_eq!(refused.code(), "unsupported_parameter");
}
