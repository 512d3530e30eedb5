//! Streams that begin before their model is there.

use std::future::pending;

use futures_util::Stream;
use tokio::sync::oneshot;

use super::*;
use crate::openai::events::{Opening, Whole};
use crate::web::{ApiError, ErrorCode};

const BEAT: Option<Duration> = Some(Duration::from_millis(5));

async fn all(body: impl Stream<Item = Result<bytes::Bytes, std::convert::Infallible>>) -> String {
    let bytes: Vec<u8> = body.map(|part| part.expect("never fails").to_vec()).concat().await;
    String::from_utf8(bytes).expect("whole characters")
}

#[tokio::test]
async fn while_a_model_comes_there_are_heartbeats_and_then_the_answer() {
    let house = House::new(Scripted::new(&["Good ", "day"], Then::Finish)).await;
    let handle = house.gate.run(&caller(), request("Hi")).await.expect("passes");
    let (arrives, arrived) = oneshot::channel();
    let coming = async move { Ok(arrived.await.expect("it is sent")) };
    let whole = Whole::default();
    let opening = Opening::Comes(Box::pin(coming));
    let mut body = Box::pin(events::written(opening, RequestId::new(), BEAT, whole.clone()));
    for _ in 0..3 {
        let beat = body.next().await.expect("a comment").expect("never fails");
        assert_eq!(&beat[..], b": waiting\n\n");
    }
    assert!(arrives.send((handle, writer(Endpoint::Chat, true, false, false))).is_ok());
    let rest = all(body).await;
    assert!(rest.contains("Good ") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert!(whole.is_known());
}

#[tokio::test]
async fn a_model_that_does_not_come_is_an_event_and_the_end() {
    let error = ApiError::new(ErrorCode::ModelMemory);
    let opening = Opening::<Writer>::Comes(Box::pin(async { Err(error) }));
    let whole = Whole::default();
    let told = all(events::written(opening, RequestId::new(), None, whole.clone())).await;
    assert!(!whole.is_known());
    let event = told.strip_prefix("data: ").expect("an event").trim_end();
    let event: Value = serde_json::from_str(event).expect("one event alone");
    assert_eq!(event["error"]["code"], "model_memory");
}

#[tokio::test]
async fn without_heartbeats_nothing_is_sent_before_the_model_is_there() {
    let opening = Opening::<Writer>::Comes(Box::pin(pending()));
    let body = events::written(opening, RequestId::new(), None, Whole::default());
    let mut body = std::pin::pin!(body);
    let first = tokio::time::timeout(Duration::from_millis(50), body.next()).await;
    assert!(first.is_err());
}

#[tokio::test]
async fn what_was_cut_short_is_not_whole() {
    let house = House::new(Scripted::new(&["Good"], Then::Fail)).await;
    let handle = house.gate.run(&caller(), request("Hi")).await.expect("passes");
    let whole = Whole::default();
    let opening = Opening::Open(handle, writer(Endpoint::Chat, true, false, false));
    all(events::written(opening, RequestId::new(), None, whole.clone())).await;
    assert!(!whole.is_known());
}
