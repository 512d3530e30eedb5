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
