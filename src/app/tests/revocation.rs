//! What is withdrawn is withdrawn: whoever hangs up, and whatever happens at the same time.

use std::pin::{Pin, pin};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::*;
use crate::db::{DbError, Transaction};

/// Long enough for a request to reach the thread that writes.
const MOMENT: Duration = Duration::from_millis(150);

/// Keeps the thread that writes busy until told.
fn hold_writes(house: &House) -> Sender<()> {
    let db = house.app.db.clone();
    let ((go, wait), (begun, is_held)) = (channel::<()>(), channel::<()>());
    std::thread::spawn(move || {
        db.write_blocking(move |_: &Transaction<'_>| -> Result<(), DbError> {
            begun.send(()).expect("somebody waits");
            wait.recv().map_err(|_| DbError::Closed)
        })
    });
    is_held.recv().expect("it holds");
    go
}

async fn settled(house: &House) {
    house.app.db.write(|_| -> Result<(), DbError> { Ok(()) }).await.expect("writes");
}

#[actix_web::test]
async fn a_client_that_hangs_up_does_not_undo_what_it_revoked() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, mia) = house.person(&owner, "mia", &["member"]).await;
    let (_, program) = house.key(&mia, json!({ "name": "script" })).await;
    let (key_id, second) = house.key(&mia, json!({ "name": "second" })).await;
    for (who, method, path, body) in [
        (&mia, Method::DELETE, format!("/api/me/keys/{key_id}"), None),
        (&owner, Method::PATCH, format!("/api/admin/people/{id}"), Some(json!({"disabled": true}))),
    ] {
        let go = hold_writes(&house);
        let gone = timeout(MOMENT, house.send(who, method, &path, body)).await;
        assert!(gone.is_err(), "nobody waits for the answer");
        go.send(()).expect("the writer waits");
        settled(&house).await;
        let answer = house.get(&second, "/v1/models").await;
        assert_eq!(answer.code(), "invalid_api_key", "{path}");
    }
    assert_eq!(house.get(&mia, "/api/me").await.code(), "not_signed_in");
    assert_eq!(house.get(&program, "/v1/models").await.code(), "invalid_api_key");
}

#[actix_web::test]
async fn a_change_that_waits_behind_the_loss_of_its_right_is_not_made() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, adam) = house.person(&owner, "adam", &["admin"]).await;
    let go = hold_writes(&house);
    let path = format!("/api/admin/people/{id}");
    let mut demote =
        pin!(house.send(&owner, Method::PATCH, &path, Some(json!({"roles": ["member"]}))));
    assert!(timeout(MOMENT, demote.as_mut()).await.is_err());
    let body = json!({ "username": "eve", "display_name": "Eve", "roles": ["admin"] });
    let mut invite = pin!(house.post(&adam, "/api/admin/people", body));
    assert!(timeout(MOMENT, invite.as_mut()).await.is_err());
    go.send(()).expect("the writer waits");
    assert_eq!(demote.await.status, StatusCode::OK);
    assert_eq!(invite.await.code(), "not_signed_in");
    let people = house.get(&owner, "/api/admin/people").await;
    assert_eq!(people.body["people"].as_array().map(Vec::len), Some(2));
    let denied = house.get(&owner, "/api/admin/audit?action=access.denied").await;
    assert_eq!(denied.body["events"][0]["detail"]["reason"], "withdrawn", "{denied:?}");
}

#[actix_web::test]
async fn whoever_is_let_in_and_takes_their_time_is_looked_at_again() {
    let house = House::new().await;
    let owner = house.owner().await;
    let (id, mia) = house.person(&owner, "mia", &["member"]).await;
    let (_, program) = house.key(&mia, json!({ "name": "script" })).await;
    let (send, pieces) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let pieces = tokio_stream::wrappers::UnboundedReceiverStream::new(pieces);
    let body: Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, PayloadError>>>> =
        Box::pin(pieces.map(Ok));
    let request = TestRequest::with_uri("/v1/completions")
        .method(Method::POST)
        .insert_header(("host", "localhost"))
        .insert_header(("content-type", "application/json"))
        .insert_header(("authorization", format!("Bearer {}", program.key.expect("a key"))));
    let mut slow = pin!(house.call_with(request, Some(Payload::from(body))));
    send.send(Bytes::from_static(b"{\"model\": \"guide\", ")).expect("open");
    assert!(timeout(MOMENT, slow.as_mut()).await.is_err(), "the body is not whole yet");
    let path = format!("/api/admin/people/{id}");
    let off = house.send(&owner, Method::PATCH, &path, Some(json!({ "disabled": true }))).await;
    assert_eq!(off.status, StatusCode::OK);
    send.send(Bytes::from_static(b"\"prompt\": \"Hello\"}")).expect("open");
    drop(send);
    assert_eq!(slow.await.code(), "invalid_api_key");
}

#[actix_web::test]
async fn the_oldest_session_gives_way_to_the_thirty_third() {
    let house = House::new().await;
    let first = house.owner().await;
    let body = json!({ "username": "olga", "password": PASSWORD });
    let mut last = first.clone();
    for _ in 0..32 {
        house.clock.advance(Duration::from_secs(1));
        let answer = house.post(&Visitor::default(), "/api/session", body.clone()).await;
        last = House::browser(&answer);
    }
    assert_eq!(house.get(&first, "/api/me").await.code(), "not_signed_in");
    let listed = house.get(&last, "/api/me/sessions").await;
    assert_eq!(listed.body["sessions"].as_array().map(Vec::len), Some(32));
}
