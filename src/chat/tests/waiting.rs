//! Questions whose model is not in memory.

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::*;
use crate::chat::api::events;
use crate::gate::{Catalog, Engines, Model, NotReady, Taken};

/// One model, which comes when it is told to.
struct Slow {
    away: Arc<Model>,
    ready: Arc<Model>,
    /// Whether it is there, or why it does not come.
    state: Mutex<Option<Result<(), NotReady>>>,
    changes: watch::Sender<()>,
}

impl Slow {
    fn of(house: &House) -> Arc<Self> {
        let named = || Model::new("m", house.clock.now());
        let engine = Engines::Generate(Arc::clone(&house.engine) as _);
        Arc::new(Self {
            away: Arc::new(named()),
            ready: Arc::new(named().ready(engine, &house.clock)),
            state: Mutex::default(),
            changes: watch::channel(()).0,
        })
    }

    fn become_so(&self, state: Result<(), NotReady>) {
        *self.state.lock() = Some(state);
        self.changes.send_replace(());
    }
}

impl Catalog for Slow {
    fn find(&self, _: Option<&str>) -> Option<Arc<Model>> {
        let is_there = matches!(*self.state.lock(), Some(Ok(())));
        Some(Arc::clone(if is_there { &self.ready } else { &self.away }))
    }

    fn all(&self) -> Vec<Arc<Model>> {
        self.find(None).into_iter().collect()
    }

    fn take(&self, _: &str, _: bool) -> Taken {
        let state = self.state.lock().clone();
        match (state, &self.ready.in_use) {
            (Some(Err(why)), _) => Taken::No(why),
            (Some(Ok(())), Some(in_use)) => Taken::Ready(Arc::clone(&self.ready), in_use.lease()),
            _ => Taken::Wait,
        }
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

async fn room(engine: Arc<Scripted>) -> (Room, Arc<Slow>) {
    let house = House::new(engine).await;
    let slow = Slow::of(&house);
    (Room::in_house(house.with_catalog(Arc::clone(&slow) as _)).await, slow)
}

/// Reads up to an event of this name.
async fn up_to(reader: &mut Reading, name: &str) -> Value {
    loop {
        let news = reader.next().await.expect("it is told before the end");
        if let Some((_, data)) = news.into_iter().find(|(told, _)| *told == name) {
            return data;
        }
    }
}

#[tokio::test]
async fn a_question_is_taken_before_its_model_is_there_and_answered_when_it_is() {
    let (room, slow) = room(Scripted::new(&["Good ", "day."], Then::Finish)).await;
    let id = room.begin().await;
    let mut reader = room.say(id, "Hello").await.expect("is taken");
    assert_eq!(up_to(&mut reader, "loading").await, serde_json::json!({"percent": null}));
    assert!(matches!(room.say(id, "Again").await, Err(ChatError::Answering)));
    // As a page does that is loaded anew.
    drop(reader);
    let (_, messages, active) = room.chat.read(&room.ann, id).await.expect("reads");
    assert!(active.is_some() && messages.len() == 1);
    let mut reader = room.chat.follow(&room.ann, id).await.expect("is waited for");
    up_to(&mut reader, "loading").await;
    slow.become_so(Ok(()));
    let rest = drain(reader).await;
    assert_eq!(rest.first().map(|event| event.0), Some("started"), "{rest:?}");
    let answer = row("assistant", "Good day.", Some("stop"));
    assert_eq!(room.said(id).await, [row("user", "Hello", None), answer]);
}

#[tokio::test]
async fn whoever_stops_a_wait_leaves_the_line() {
    let (room, _slow) = room(Scripted::new(&[], Then::Finish)).await;
    // One person has a quarter of eight places.
    let (first, second, third) = (room.begin().await, room.begin().await, room.begin().await);
    let mut reader = room.say(first, "Hello").await.expect("waits");
    let _second = room.say(second, "Hello").await.expect("waits");
    let full =
        |said: Result<Reading, ChatError>| matches!(said, Err(ChatError::Gate(GateError::Busy)));
    assert!(full(room.say(third, "Hello").await));
    assert!(room.said(third).await.is_empty(), "a refusal leaves nothing");
    up_to(&mut reader, "loading").await;
    assert!(room.chat.stop(room.ann.user, first));
    let (name, data) = drain(reader).await.pop().expect("a last word");
    assert_eq!((name, &data["finish_reason"]), ("done", &"cancelled".into()));
    assert_eq!(room.said(first).await[1], row("assistant", "", Some("cancelled")));
    let free = async {
        while full(room.say(third, "Hello").await) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), free).await.expect("the place is free");
    for waiting in [second, third] {
        assert!(room.chat.stop(room.ann.user, waiting));
    }
}

#[tokio::test]
async fn a_model_that_does_not_come_is_an_event_and_the_question_stays() {
    let (room, slow) = room(Scripted::new(&["x"], Then::Finish)).await;
    let id = room.begin().await;
    let reader = room.say(id, "Hello").await.expect("is taken");
    slow.become_so(Err(NotReady::Cancelled));
    let (name, data) = drain(reader).await.pop().expect("a last word");
    assert_eq!((name, &data["error"]["code"]), ("error", &"model_not_ready".into()));
    assert_eq!(data["request_id"], room.ann.request.to_string());
    assert_eq!(data["retry_after"], Value::Null);
    assert_eq!(room.said(id).await[1], row("assistant", "", Some("interrupted")));
    slow.become_so(Ok(()));
    drain(room.say(id, "Are you there?").await.expect("answers")).await;
    let seen = room.house.engine.seen.lock().last().cloned().expect("seen");
    assert_eq!(seen, "User:Hello\n\nAre you there?\n");
}

#[tokio::test]
async fn what_does_not_pass_after_a_wait_holds_up_no_later_question() {
    let (room, slow) = room(Scripted::new(&["x"], Then::Finish)).await;
    let id = room.begin().await;
    let reader = room.say(id, &"a".repeat(300)).await.expect("is taken");
    slow.become_so(Ok(()));
    let (name, data) = drain(reader).await.pop().expect("a last word");
    assert_eq!((name, &data["error"]["code"]), ("error", &"context_length_exceeded".into()));
    assert_eq!(room.said(id).await[1], row("assistant", "", Some("refused")));
    drain(room.say(id, "Hi").await.expect("answers")).await;
    let seen = room.house.engine.seen.lock().last().cloned().expect("seen");
    assert_eq!(seen, "User:Hi\n");
}

#[tokio::test]
async fn what_the_guard_refuses_is_not_waited_for() {
    let (room, _slow) = room(Scripted::new(&[], Then::Finish)).await;
    let id = room.begin().await;
    let refused = room.say(id, "Say forbidden words").await.map(drop);
    assert!(matches!(refused, Err(ChatError::Gate(GateError::Refused { .. }))), "{refused:?}");
    assert!(room.said(id).await.is_empty());
}

#[tokio::test]
async fn a_wait_in_silence_has_heartbeats() {
    let (room, _slow) = room(Scripted::new(&[], Then::Finish)).await;
    let id = room.begin().await;
    let reader = room.say(id, "Hello").await.expect("is taken");
    let mut body = Box::pin(events(reader, Some(Duration::from_millis(5))));
    let first = body.next().await.expect("an event").expect("never fails");
    assert!(first.starts_with(b"event: start\n"), "{first:?}");
    while body.next().await.expect("it goes on").expect("never fails")[..] != *b": waiting\n\n" {}
    assert!(room.chat.stop(room.ann.user, id));
}

#[tokio::test]
async fn who_has_no_place_at_once_is_told_of_the_queue() {
    let room = Room::new(Scripted::new(&[], Then::Wait)).await;
    let id = room.begin().await;
    let mut reader = room.say(id, "Hello").await.expect("is taken");
    assert_eq!(up_to(&mut reader, "queued").await, serde_json::json!({"position": 1}));
    assert!(room.chat.stop(room.ann.user, id));
    let last = drain(reader).await.pop().expect("a last word");
    assert_eq!(last.1["finish_reason"], "cancelled");
}
