//! Groups of people: who may make them, what is on record, and what becomes of rows and people that go.

use super::*;
use crate::audit::Filter;

async fn made(house: &House, by: &Visitor, body: Value) -> String {
    let answer = house.post(by, "/api/admin/groups", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.body["id"].as_str().expect("an id").to_owned()
}

async fn changed(house: &House, by: &Visitor, id: &str, body: Value) -> Answer {
    house.send(by, Method::PATCH, &format!("/api/admin/groups/{id}"), Some(body)).await
}

async fn groups(house: &House, by: &Visitor) -> Value {
    house.get(by, "/api/admin/groups").await.body
}

/// The names of the groups on somebody's own page.
async fn own(house: &House, of: &Visitor) -> Vec<String> {
    let me = house.get(of, "/api/me").await.body;
    let groups = me["usage"]["groups"].as_array().expect("a list").clone();
    groups.iter().map(|group| group["name"].as_str().expect("a name").to_owned()).collect()
}

#[actix_web::test]
async fn a_group_is_made_changed_and_deleted_and_every_step_is_on_record() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (mia, browser) = house.person(&owner, "mia", &["member"]).await;
    let limits = json!({ "tokens_per_month": 1_000, "concurrent": 2 });
    let id =
        made(&house, &owner, json!({ "name": " Research ", "limits": limits, "add": [mia] })).await;
    assert_eq!(own(&house, &browser).await, ["Research"]);
    let list = groups(&house, &owner).await;
    assert_eq!(list["groups"][0]["limits"]["tokens_per_month"], 1_000, "{list}");
    assert_eq!(list["groups"][0]["limits"]["tokens_per_day"], Value::Null);
    assert_eq!(list["groups"][0]["members"], json!([{ "id": mia, "username": "mia" }]));
    let answer = changed(&house, &owner, &id, json!({ "name": "Science" })).await;
    assert_eq!(
        answer.body["limits"]["tokens_per_month"], 1_000,
        "what is absent stays: {answer:?}"
    );
    let answer =
        changed(&house, &owner, &id, json!({ "limits": { "tokens_per_day": 7 }, "remove": [mia] }))
            .await;
    assert_eq!(answer.body["limits"]["tokens_per_month"], Value::Null, "all of its limits");
    assert!(own(&house, &browser).await.is_empty());
    changed(&house, &owner, &id, json!({ "add": [mia, mia] })).await;

    let house = house.reopened(|_| {}).await;
    assert_eq!(own(&house, &browser).await, ["Science"]);
    let path = format!("/api/admin/groups/{id}");
    assert_eq!(
        house.send(&owner, Method::DELETE, &path, None).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(house.send(&owner, Method::DELETE, &path, None).await.code(), "not_found");
    assert_eq!(changed(&house, &owner, &id, json!({ "name": "Again" })).await.code(), "not_found");
    assert!(own(&house, &browser).await.is_empty());

    let filter = Filter { action: Some(Action::GroupChange), limit: 10, ..Filter::default() };
    let mut told = house.app.audit.page(filter).await.expect("reads");
    told.reverse();
    let details: Vec<Value> = told.iter().map(|record| record.field("detail")).collect();
    let changes: Vec<&Value> = details.iter().map(|detail| &detail["change"]).collect();
    assert_eq!(changes, ["made", "changed", "changed", "changed", "deleted"]);
    assert_eq!(details[0]["tokens_per_month"], 1_000);
    assert_eq!(details[0]["added"], json!([mia]));
    assert_eq!((&details[2]["tokens_per_day"], &details[2]["removed"]), (&json!(7), &json!([mia])));
    assert!(!json!(details).to_string().contains("Science"), "names stay sealed");
}

#[actix_web::test]
async fn what_is_not_accepted_names_the_parameter_and_changes_nothing() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (mia, browser) = house.person(&owner, "mia", &["member"]).await;
    let id = made(&house, &owner, json!({ "name": "Research" })).await;
    let nobody = crate::ids::UserId::new().to_string();
    let many = vec![mia.clone(); 33];
    for (body, param) in [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "a\u{7}b" }), "name"),
        (json!({ "name": "a".repeat(61) }), "name"),
        (json!({ "name": "Other", "limits": { "tokens_per_day": 0 } }), "limits.tokens_per_day"),
        (
            json!({ "name": "Other", "limits": { "tokens_per_day": 1_u64 << 41 } }),
            "limits.tokens_per_day",
        ),
        (json!({ "name": "Other", "limits": { "tokens_per_day": -1 } }), "limits.tokens_per_day"),
        (json!({ "name": "Other", "limits": { "tokens_per_year": 1 } }), "tokens_per_year"),
        (json!({ "name": "Other", "add": [nobody] }), "add"),
        (json!({ "name": "Other", "add": many }), "add"),
        (json!({ "name": "Research" }), "name"),
    ] {
        let answer = house.post(&owner, "/api/admin/groups", body.clone()).await;
        assert!(answer.status.is_client_error(), "{body}: {answer:?}");
        assert_eq!(answer.body["error"]["param"], param, "{body}: {answer:?}");
    }
    let answer = changed(&house, &owner, &id, json!({ "limits": { "concurrent": 0 } })).await;
    assert_eq!(answer.body["error"]["param"], "limits.concurrent");
    assert_eq!(
        house.post(&browser, "/api/admin/groups", json!({ "name": "Mine" })).await.code(),
        "permission_denied"
    );
    assert_eq!(groups(&house, &owner).await["groups"].as_array().map(Vec::len), Some(1));
}

#[actix_web::test]
async fn nobody_is_in_more_groups_than_a_request_can_count_on() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (mia, browser) = house.person(&owner, "mia", &["member"]).await;
    for number in 0..16 {
        made(&house, &owner, json!({ "name": format!("g{number}"), "add": [mia] })).await;
    }
    let one_more = json!({ "name": "one more", "add": [mia] });
    let answer = house.post(&owner, "/api/admin/groups", one_more).await;
    assert_eq!((answer.code(), &answer.body["error"]["param"]), ("conflict", &json!("add")));
    assert_eq!(own(&house, &browser).await.len(), 16);
}

#[actix_web::test]
async fn whoever_is_deleted_is_in_no_group_any_more() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (mia, _) = house.person(&owner, "mia", &["member"]).await;
    let (kim, _) = house.person(&owner, "kim", &["member"]).await;
    made(&house, &owner, json!({ "name": "Research", "add": [mia, kim] })).await;
    // Whoever is switched off stays a member.
    let off = json!({ "disabled": true });
    house.send(&owner, Method::PATCH, &format!("/api/admin/people/{kim}"), Some(off)).await;
    house.send(&owner, Method::DELETE, &format!("/api/admin/people/{mia}"), None).await;
    let members = json!([{ "id": kim, "username": "kim" }]);
    assert_eq!(groups(&house, &owner).await["groups"][0]["members"], members);
    let roster = house.app.groups.all().0;
    assert_eq!(roster[0].group.members.len(), 1, "the limiter has forgotten them too");
    let house = house.reopened(|_| {}).await;
    assert_eq!(groups(&house, &owner).await["groups"][0]["members"], members);
}

#[actix_web::test]
async fn a_group_that_does_not_open_limits_nobody_and_is_told_and_deleted() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (mia, browser) = house.person(&owner, "mia", &["member"]).await;
    let bad = made(&house, &owner, json!({ "name": "Bad", "add": [mia] })).await;
    let good = made(&house, &owner, json!({ "name": "Good", "add": [mia] })).await;
    let damaged = bad.clone();
    let house = house
        .reopened(move |file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            let change = "UPDATE user_groups SET content = (
                SELECT content FROM user_groups WHERE id <> ?1) WHERE id = ?1";
            assert_eq!(db.execute(change, [&damaged]).expect("changes"), 1);
            let nameless = "INSERT INTO user_groups VALUES (CAST(x'ff00' AS TEXT), x'00')";
            assert_eq!(db.execute(nameless, []).expect("changes"), 1);
        })
        .await;
    let list = groups(&house, &owner).await;
    assert_eq!(list["unreadable"], json!([bad]), "{list}");
    assert_eq!(list["groups"][0]["id"], json!(good), "{list}");
    assert_eq!(own(&house, &browser).await, ["Good"]);
    let refused = house.get(&owner, "/api/admin/audit?action=access.row_refused").await.body;
    assert_eq!(refused["events"].as_array().map(Vec::len), Some(2), "{refused}");
    let path = format!("/api/admin/groups/{bad}");
    assert_eq!(
        house.send(&owner, Method::DELETE, &path, None).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(groups(&house, &owner).await["unreadable"], json!([]));
}

#[actix_web::test]
async fn a_key_whose_limits_were_rewritten_is_not_let_in() {
    for statement in [
        "UPDATE api_keys SET limits = NULL",
        "UPDATE api_keys SET limits = '{\"tokens_per_month\":999999}'",
        "UPDATE api_keys SET limits = '{}'",
    ] {
        let house = House::new().await;
        let owner = house.owner().await;
        let limits = json!({ "tokens_per_month": 10 });
        let (_, program) = house.key(&owner, json!({ "name": "script", "limits": limits })).await;
        let (_, free) = house.key(&owner, json!({ "name": "free" })).await;
        assert_eq!(house.get(&program, "/v1/models").await.status, StatusCode::OK);
        let sql = format!("{statement} WHERE limits IS NOT NULL");
        let house = house
            .reopened(move |file| {
                let db = rusqlite::Connection::open(file).expect("opens");
                assert_eq!(db.execute(&sql, []).expect("changes"), 1, "{sql}");
            })
            .await;
        assert_eq!(
            house.get(&program, "/v1/models").await.code(),
            "invalid_api_key",
            "{statement}"
        );
        assert_eq!(house.get(&free, "/v1/models").await.status, StatusCode::OK);
    }
}

#[actix_web::test]
async fn the_limits_of_a_key_are_shown_and_on_record_and_bad_ones_make_none() {
    let house = House::new().await;
    let owner = house.owner().await;
    for (limits, param) in [
        (json!({ "tokens_per_month": 0 }), "limits.tokens_per_month"),
        (json!({ "requests_per_minute": 1_u64 << 40 }), "limits.requests_per_minute"),
        (json!({ "tokens_per_day": "7" }), "limits.tokens_per_day"),
        (json!({ "tokens": 7 }), "tokens"),
    ] {
        let body = json!({ "name": "script", "limits": limits });
        let answer = house.post(&owner, "/api/me/keys", body).await;
        assert_eq!(answer.body["error"]["param"], param, "{limits}: {answer:?}");
    }
    let limits = json!({ "tokens_per_month": 10, "requests_per_day": 3 });
    house.key(&owner, json!({ "name": "script", "limits": limits })).await;
    let list = house.get(&owner, "/api/me/keys").await.body;
    assert_eq!(list["keys"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["keys"][0]["limits"]["tokens_per_month"], 10, "{list}");
    let filter = Filter { action: Some(Action::KeyCreate), limit: 1, ..Filter::default() };
    let told = house.app.audit.page(filter).await.expect("reads");
    let detail = told[0].field("detail");
    assert_eq!((&detail["tokens_per_month"], &detail["requests_per_day"]), (&json!(10), &json!(3)));
}
