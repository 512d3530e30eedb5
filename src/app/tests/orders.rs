//! Orders from the console, to a running server and where none runs.

use super::*;

async fn ask(house: &House, order: Order) -> Result<Value> {
    let operator = Operator::of(&house.app);
    tokio::task::spawn_blocking(move || operator.perform(order)).await.expect("ends")
}

fn delete(username: &str) -> Order {
    Order::Delete { username: username.into() }
}

#[actix_web::test]
async fn a_person_who_is_deleted_beside_the_running_server_is_out_at_once() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, mia) = house.person(&owner, "mia", &["member"]).await;
    ask(&house, delete("mia")).await.expect("deleted");
    assert_eq!(house.get(&mia, "/api/me").await.code(), "not_signed_in");
    let told = house.get(&owner, "/api/admin/audit?action=person.delete").await;
    let event = &told.body["events"][0];
    assert_eq!((event["subject"].as_str(), event["actor"].as_str()), (Some(&*id), Some("system")));
}

#[actix_web::test]
async fn nobody_and_the_last_owner_are_not_deleted_at_the_console() {
    let house = House::new().await;
    let owner = house.owner().await;
    for (name, reason) in [("mia", "nobody called `mia`"), ("olga", "the last owner")] {
        let error = ask(&house, delete(name)).await.expect_err(name);
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert_eq!(house.get(&owner, "/api/me").await.status, StatusCode::OK);
}

#[actix_web::test]
async fn a_person_is_deleted_where_no_server_runs() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (_, mia) = house.person(&owner, "mia", &["auditor"]).await;
    let house = house
        .reopened(|database| {
            let data = database.parent().expect("a directory").display().to_string();
            let work = move || {
                let flags = [("server.data_dir".to_owned(), data)];
                let config = Config::from_layers(None, &[], &flags).expect("settings");
                let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
                let home = Home::open_existing(config.settings()).expect("a home");
                let operator = Operator::open(home.with_clock(clock), config.settings());
                operator.expect("opens").perform(delete("mia")).expect("deleted");
            };
            std::thread::spawn(work).join().expect("ends");
        })
        .await;
    assert_eq!(house.get(&mia, "/api/me").await.code(), "not_signed_in");
    assert_eq!(house.get(&owner, "/api/me").await.status, StatusCode::OK);
    let sign_in = json!({ "username": "mia", "password": PASSWORD });
    let refused = house.post(&Visitor::default(), "/api/session", sign_in).await;
    assert_eq!(refused.code(), "wrong_credentials");
}

#[actix_web::test]
async fn a_reset_link_from_the_console_opens_the_account_of_the_only_owner_and_of_anybody() {
    let house = House::new().await;
    let owner = house.owner().await;
    house.person(&owner, "mia", &["member"]).await;
    for name in ["olga", "mia"] {
        let made = ask(&house, Order::Reset { username: name.into() }).await.expect("a link");
        let body = json!({ "token": made["secret"], "password": "nine yellow kites up high" });
        House::browser(&house.post(&Visitor::default(), "/api/invitation", body).await);
    }
    assert_eq!(house.get(&owner, "/api/me").await.code(), "not_signed_in", "sessions end");
}

#[actix_web::test]
async fn a_key_that_is_revoked_at_the_console_is_out_whatever_became_of_its_row() {
    let house = House::new().await;
    let owner = house.owner().await;
    let me = house.get(&owner, "/api/me").await;
    let owner_id = me.body["person"]["id"].as_str().expect("an id");
    let (_, mia) = house.person(&owner, "mia", &["member"]).await;
    for statement in [
        format!("UPDATE api_keys SET user = '{owner_id}' WHERE id = ?1"),
        "DELETE FROM api_keys WHERE id = ?1".to_owned(),
    ] {
        let (id, program) = house.key(&mia, json!({ "name": "script" })).await;
        let (sql, key) = (statement.clone(), id.clone());
        let write = move |tx: &crate::db::Transaction<'_>| -> Result<usize, crate::db::DbError> {
            Ok(tx.execute(&sql, [&key])?)
        };
        assert_eq!(house.app.db.write(write).await.expect("written"), 1);
        assert_eq!(house.get(&program, "/v1/models").await.status, StatusCode::OK, "{statement}");
        let revoke = || Order::Key { key: KeyOrder::Revoke { key: id.clone() } };
        ask(&house, revoke()).await.expect("revoked");
        let answer = house.get(&program, "/v1/models").await;
        assert_eq!(answer.code(), "invalid_api_key", "{statement}");
        let error = ask(&house, revoke()).await.expect_err("it is gone");
        assert!(error.to_string().contains("there is no key"), "{error}");
    }
    let told = house.get(&owner, "/api/admin/audit?action=key.revoke").await;
    assert_eq!(told.body["events"].as_array().map(Vec::len), Some(2), "{:?}", told.body);
}
