//! Shared system prompts: who keeps them, how they are kept, and whose conversations stand under them.

use super::*;

fn body(name: &str, text: &str) -> Value {
    json!({ "name": name, "text": text, "roles": null, "models": null })
}

async fn add(house: &House, by: &Visitor, body: Value) -> Value {
    let made = house.post(by, "/api/admin/prompts", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    made.body
}

#[actix_web::test]
async fn prompts_are_kept_sealed_and_outlive_the_server() {
    let house = House::new().await;
    let owner = house.owner().await;
    let text = "Answer as the night librarian would.";
    let made = add(&house, &owner, body("Librarian", text)).await;
    let path = format!("/api/admin/prompts/{}", made["id"].as_str().expect("an id"));
    let changed =
        json!({ "name": "Night", "text": text, "roles": ["member"], "models": ["guide"] });
    let answer = house.send(&owner, Method::PATCH, &path, Some(changed)).await;
    assert_eq!((answer.status, &answer.body["name"]), (StatusCode::OK, &json!("Night")));
    let house = house
        .reopened(|file| {
            for file in [file.to_owned(), file.with_extension("db-wal")] {
                let bytes = std::fs::read(file).unwrap_or_default();
                let holds = |what: &str| bytes.windows(what.len()).any(|at| at == what.as_bytes());
                assert!(!holds("night librarian") && !holds("Librarian") && !holds("Night"));
            }
        })
        .await;
    let list = house.get(&owner, "/api/admin/prompts").await.body;
    assert_eq!(list["prompts"].as_array().map(Vec::len), Some(1));
    assert_eq!((&list["prompts"][0]["text"], &list["most"]), (&json!(text), &json!(64)));
    assert_eq!(list["prompts"][0]["roles"], json!(["member"]));
    let gone = house.send(&owner, Method::DELETE, &path, None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let again = house.send(&owner, Method::DELETE, &path, None).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let events = house.get(&owner, "/api/admin/audit?action=prompt.change").await.body;
    let events = events["events"].as_array().expect("a list").clone();
    assert_eq!(events.len(), 3);
    assert!(!json!(events).to_string().contains("librarian"));
}

#[actix_web::test]
async fn a_prompt_that_does_not_open_is_left_out_and_told_and_stops_nothing() {
    let house = House::new().await;
    let owner = house.owner().await;
    let bad = add(&house, &owner, body("Bad", "Speak of the sea.")).await;
    let good = add(&house, &owner, body("Good", "Speak of the land.")).await;
    let id = bad["id"].as_str().expect("an id").to_owned();
    let damaged = id.clone();
    let house = house
        .reopened(move |file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            let change = "UPDATE shared_prompts SET content = (
                SELECT content FROM shared_prompts WHERE id <> ?1) WHERE id = ?1";
            assert_eq!(db.execute(change, [&damaged]).expect("changes"), 1);
            for name in ["'none'", "'a/b ?'", "CAST(x'ff00fe' AS TEXT)"] {
                let change = format!(
                    "INSERT INTO shared_prompts SELECT {name}, content, 1, 1
                    FROM shared_prompts WHERE id = ?1"
                );
                assert_eq!(db.execute(&change, [&damaged]).expect("changes"), 1);
            }
        })
        .await;
    let list = house.get(&owner, "/api/admin/prompts").await.body;
    assert_eq!(list["prompts"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["prompts"][0]["id"], good["id"]);
    let says = |at: usize| list["unreadable"][at]["says"].as_str().unwrap_or_default().to_owned();
    let mut all = [0, 1, 2, 3].map(says);
    all.sort();
    let mut expected = ["???".to_owned(), "a/b??".to_owned(), "none".to_owned(), id.clone()];
    expected.sort();
    assert_eq!((all, &list["unreadable_count"]), (expected, &json!(4)), "{list}");
    let refused = house.get(&owner, "/api/admin/audit?action=access.row_refused").await.body;
    let events = refused["events"].as_array().expect("a list");
    assert_eq!(events.len(), 4, "{refused}");
    assert!(events.iter().any(|event| event["subject"] == json!(id)), "{refused}");
    // The others work; nobody is told by halves.
    let made = house.post(&owner, "/api/conversations", json!({ "prompt": good["id"] })).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let refused = house.post(&owner, "/api/conversations", json!({ "prompt": id })).await;
    assert_eq!(refused.code(), "prompt_gone");
    // They are there until somebody deletes them, whatever they are called.
    let house = house.reopened(|_| {}).await;
    let list = house.get(&owner, "/api/admin/prompts").await.body;
    for (done, row) in list["unreadable"].as_array().expect("a list").iter().enumerate() {
        let path = format!("/api/admin/prompts/{}", row["id"].as_str().expect("a name"));
        let gone = house.send(&owner, Method::DELETE, &path, None).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{row}: {gone:?}");
        let again = house.send(&owner, Method::DELETE, &path, None).await;
        assert_eq!(again.status, StatusCode::NOT_FOUND, "{row}");
        let left = house.get(&owner, "/api/admin/prompts").await.body;
        assert_eq!(left["unreadable_count"], json!(3 - done), "{left}");
    }
    let house = house.reopened(|_| {}).await;
    let list = house.get(&owner, "/api/admin/prompts").await.body;
    assert_eq!((&list["unreadable"], &list["unreadable_count"]), (&json!([]), &json!(0)));
    assert_eq!(list["prompts"].as_array().map(Vec::len), Some(1), "{list}");
}

#[actix_web::test]
async fn any_number_of_rows_that_do_not_open_is_told_by_the_first_and_a_count() {
    let house = House::new().await;
    let owner = house.owner().await;
    let house = house
        .reopened(|file| {
            let db = rusqlite::Connection::open(file).expect("opens");
            let many =
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
                INSERT INTO shared_prompts SELECT 'no ' || i, x'00', i, i FROM n";
            assert_eq!(db.execute(many, []).expect("changes"), 100);
        })
        .await;
    let list = house.get(&owner, "/api/admin/prompts").await.body;
    assert_eq!(list["unreadable"].as_array().map(Vec::len), Some(64));
    assert_eq!(list["unreadable_count"], json!(100));
    let told = house.get(&owner, "/api/admin/audit?action=access.row_refused&limit=500").await.body;
    let events = told["events"].as_array().expect("a list");
    assert_eq!((events.len(), &events[0]["detail"]["more"]), (65, &json!(36)));
}

#[actix_web::test]
async fn what_breaks_a_rule_is_refused_by_name() {
    let house = House::new().await;
    let owner = house.owner().await;
    add(&house, &owner, body("Taken", "x")).await;
    let with = |field: &str, value: Value| {
        let mut body = body("Free", "x");
        body[field] = value;
        body
    };
    for (body, param) in [
        (with("name", json!(" ")), "name"),
        (with("name", json!("x".repeat(61))), "name"),
        (with("name", json!("a\nb")), "name"),
        (with("name", json!("Taken")), "name"),
        (with("text", json!(" \n")), "text"),
        (with("text", json!("x".repeat(32_769))), "text"),
        (with("roles", json!([])), "roles"),
        (with("roles", json!(["janitor"])), "roles"),
        (with("models", json!([])), "models"),
        (with("models", json!(["none"])), "models"),
    ] {
        let answer = house.post(&owner, "/api/admin/prompts", body).await;
        assert_eq!(answer.body["error"]["param"], param, "{answer:?}");
    }
    for number in 1..64 {
        add(&house, &owner, body(&number.to_string(), "x")).await;
    }
    let answer = house.post(&owner, "/api/admin/prompts", body("64", "x")).await;
    assert_eq!(answer.code(), "conflict");
}

#[actix_web::test]
async fn whoever_does_not_keep_them_sees_the_names_of_their_own_alone() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, admin) = house.person(&owner, "adam", &["admin"]).await;
    let (_, member) = house.person(&owner, "mia", &["member"]).await;
    let (_, operator) = house.person(&owner, "otto", &["operator"]).await;
    let mut for_operators = body("For operators", "Speak of machines.");
    for_operators["roles"] = json!(["operator"]);
    let for_operators = add(&house, &admin, for_operators).await;
    let for_all = add(&house, &admin, body("For all", "Speak plainly.")).await;
    for one in [&member, &operator] {
        assert_eq!(house.get(one, "/api/admin/prompts").await.code(), "permission_denied");
        let made = house.post(one, "/api/admin/prompts", body("Mine", "x")).await;
        assert_eq!(made.code(), "permission_denied");
    }
    let choices = house.get(&member, "/api/prompts").await.body;
    assert_eq!(
        choices,
        json!({ "prompts": [{ "id": for_all["id"], "name": "For all", "models": null }] })
    );
    let both = house.get(&operator, "/api/prompts").await.body;
    assert_eq!(both["prompts"].as_array().map(Vec::len), Some(2));
    let asked = json!({ "prompt": for_operators["id"] });
    let refused = house.post(&member, "/api/conversations", asked.clone()).await;
    assert_eq!(
        (refused.code(), &refused.body["error"]["param"]),
        ("prompt_gone", &json!("prompt"))
    );
    let made = house.post(&operator, "/api/conversations", asked).await;
    assert_eq!((made.status, &made.body["prompt"]), (StatusCode::CREATED, &for_operators["id"]));
}

#[actix_web::test]
async fn a_conversation_is_put_under_another_prompt_or_under_none() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (one, two) = (
        add(&house, &owner, body("1", "One.")).await,
        add(&house, &owner, body("2", "Two.")).await,
    );
    let made = house.post(&owner, "/api/conversations", json!({ "prompt": one["id"] })).await.body;
    let path = format!("/api/conversations/{}", made["id"].as_str().expect("an id"));
    let change = async |prompt: Value| {
        house.send(&owner, Method::PATCH, &path, Some(json!({ "prompt": prompt }))).await
    };
    assert_eq!(change(two["id"].clone()).await.body["prompt"], two["id"]);
    let pinned = house.send(&owner, Method::PATCH, &path, Some(json!({ "pinned": true }))).await;
    assert_eq!(pinned.body["prompt"], two["id"]);
    assert_eq!(change(json!("")).await.body["prompt"], Value::Null);
    assert_eq!(change(json!("x")).await.code(), "invalid_value");
    assert_eq!(change(two["id"].clone()).await.body["prompt"], two["id"]);
    let gone = format!("/api/admin/prompts/{}", two["id"].as_str().expect("an id"));
    house.send(&owner, Method::DELETE, &gone, None).await;
    // Nothing is said without the instructions that somebody relies on.
    let said = json!({ "content": "Hello" });
    let refused = house.post(&owner, &format!("{path}/messages"), said).await;
    assert_eq!(
        (refused.code(), &refused.body["error"]["param"]),
        ("prompt_gone", &json!("prompt"))
    );
}
