//! Deleting a person.

use super::*;
use crate::ids::UserId;
use crate::vault::{Aad, Scope};

async fn delete(house: &House, by: &Visitor, id: &str) -> Answer {
    house.send(by, Method::DELETE, &format!("/api/admin/people/{id}"), None).await
}

#[actix_web::test]
async fn a_deleted_person_is_gone_with_all_that_was_theirs() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, mia) = house.person(&owner, "mia", &["member"]).await;
    let (_, program) = house.key(&mia, json!({ "name": "script" })).await;
    let begun = house.post(&mia, "/api/conversations", json!({ "title": "Mine" })).await;
    assert!(begun.status.is_success(), "{begun:?}");
    let reset = house.post(&owner, &format!("/api/admin/people/{id}/reset"), json!({})).await;
    let user = UserId::parse(&id).expect("an id");
    let place = Aad { table: "t", column: "c", row: "r", owner: "o" };
    let vault = house.app.home.vault.clone();
    let sealed = vault.seal(Scope::Person(user), &place, b"words").expect("seals");

    let of_model = format!("{id}/0123456789abcdef");
    let used = move |tx: &crate::db::Transaction<'_>| -> Result<(), crate::db::DbError> {
        tx.execute("INSERT INTO limit_minutes VALUES (?1, 1, 1, 1, 1)", [&of_model])?;
        tx.execute("INSERT INTO limit_months VALUES (?1, 1, 1, 1)", [&of_model])?;
        Ok(())
    };
    house.app.db.write(used).await.expect("writes");

    assert_eq!(delete(&house, &owner, &id).await.status, StatusCode::NO_CONTENT);
    assert_eq!(house.get(&mia, "/api/me").await.code(), "not_signed_in");
    assert_eq!(house.get(&program, "/v1/models").await.code(), "invalid_api_key");
    assert!(vault.open(Scope::Person(user), &place, &sealed).is_err(), "the key is destroyed");
    let body = json!({ "token": link_secret(&reset), "password": "nine yellow kites up high" });
    let redeemed = house.post(&Visitor::default(), "/api/invitation", body).await;
    assert_eq!(redeemed.code(), "link_expired");
    assert_eq!(delete(&house, &owner, &id).await.code(), "not_found");
    let rows = house.app.db.read(|db| -> Result<i64, crate::db::DbError> {
        let sql = "SELECT (SELECT count(*) FROM conversations) + (SELECT count(*) FROM api_keys)
            + (SELECT count(*) FROM links) + (SELECT count(*) FROM users) - 1
            + (SELECT count(*) FROM limit_minutes) + (SELECT count(*) FROM limit_months)";
        Ok(db.query_row(sql, [], |row| row.get(0))?)
    });
    assert_eq!(rows.await.expect("counts"), 0);
    let told = house.get(&owner, "/api/admin/audit?action=person.delete").await;
    assert_eq!(told.body["events"][0]["subject"], id.as_str());
    // The name is free again, and is somebody else's.
    let (again, _) = house.person(&owner, "mia", &["member"]).await;
    assert_ne!(again, id);
}

#[actix_web::test]
async fn nobody_deletes_whom_they_do_not_reach_and_the_last_owner_stays() {
    let house = House::new().await;
    let owner = house.owner().await;
    let me = house.get(&owner, "/api/me").await;
    let owner_id = me.body["person"]["id"].as_str().expect("an id").to_owned();
    let (_, adam) = house.person(&owner, "adam", &["admin"]).await;
    let (auditor, _) = house.person(&owner, "aude", &["auditor"]).await;
    assert_eq!(delete(&house, &adam, &owner_id).await.code(), "permission_denied");
    assert_eq!(delete(&house, &adam, &auditor).await.code(), "permission_denied");
    assert_eq!(delete(&house, &owner, &owner_id).await.code(), "conflict");
    assert_eq!(delete(&house, &owner, "usr_nobody").await.code(), "not_found");
    assert_eq!(house.get(&owner, "/api/me").await.status, StatusCode::OK, "nothing was deleted");
}

#[actix_web::test]
async fn the_operator_deletes_at_the_console_and_a_crash_leaves_no_key() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, _) = house.person(&owner, "mia", &["member"]).await;
    let user = UserId::parse(&id).expect("an id");
    house.app.accounts.delete(None, user).await.expect("deleted");
    // As if the key had outlived a crash right after the rows were gone.
    house.app.home.vault.add_person(user).expect("a key");
    // And a record that somebody forged who can write to the database alone.
    let (kept, _) = house.person(&owner, "kim", &["member"]).await;
    let there = UserId::parse(&kept).expect("an id");
    let sql = "UPDATE audit_events SET action = 'person.delete', subject = ?1 WHERE seq = 2";
    let forge = move |tx: &crate::db::Transaction<'_>| -> Result<usize, crate::db::DbError> {
        Ok(tx.execute(sql, [&kept])?)
    };
    assert_eq!(house.app.db.write(forge).await.expect("forged"), 1);
    let house = house.reopened(|_| {}).await;
    let place = Aad { table: "t", column: "c", row: "r", owner: "o" };
    let sealed = house.app.home.vault.seal(Scope::Person(there), &place, b"words");
    assert!(sealed.is_ok(), "who has an account keeps their key, whatever the log says");
    let sealed = house.app.home.vault.seal(Scope::Person(user), &place, b"words");
    assert!(sealed.is_err(), "the key is gone");
    assert_eq!(house.get(&owner, "/api/me").await.status, StatusCode::OK);
}

#[actix_web::test]
async fn key_files_of_old_backups_are_deleted_where_backups_are_made() {
    let house = House::with(&[("backup.key_file_days", "30")]).await;
    house.owner().await;
    let own = house.data.path().join("data/backups");
    let elsewhere = house.data.path().join("elsewhere");
    let back_up = async |to: &std::path::Path| {
        let (operator, to) = (Operator::of(&house.app), to.to_owned());
        let work = move || operator.perform(Order::Backup { to });
        let made = tokio::task::spawn_blocking(work).await.expect("runs").expect("made");
        std::path::PathBuf::from(made["keys"].as_str().expect("a path"))
    };
    let old = [back_up(&own).await, back_up(&elsewhere).await];
    house.clock.advance(Duration::from_hours(24 * 20));
    let newer = [back_up(&own).await, back_up(&elsewhere).await];
    house.app.expire_key_files().await;
    assert!(old.iter().chain(&newer).all(|file| file.exists()), "none is a month old");
    house.clock.advance(Duration::from_hours(24 * 20));
    house.app.expire_key_files().await;
    assert!(!old[0].exists() && newer[0].exists(), "once a day");
    assert!(old[1].exists(), "nobody knows of that place until it is used again");
    back_up(&elsewhere).await;
    assert!(!old[1].exists() && newer[1].exists(), "after a backup");
    let filter = crate::audit::Filter {
        action: Some(Action::BackupExpire),
        limit: 10,
        ..crate::audit::Filter::default()
    };
    let told = house.app.audit.page(filter).await.expect("reads");
    let told: Vec<&str> = told.iter().map(|record| record.outcome.as_str()).collect();
    assert_eq!(told, ["done", "started", "done", "started"], "the newest first");
    house.clock.advance(Duration::from_hours(24 * 365));
    house.app.expire_key_files().await;
    assert!(newer[0].exists(), "the newest stays");
}
