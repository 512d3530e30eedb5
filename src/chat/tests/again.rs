//! Messages that are sent again, answers that are made again.

use super::*;

/// Words under an id.
fn say_as(id: MessageId, text: &str) -> Ask {
    Ask::Say { id: Some(id), text: text.into() }
}

impl Room {
    async fn ask(&self, id: ConversationId, ask: Ask) -> Result<Reading, ChatError> {
        self.chat.answer(&self.ann, id, ask, None).await
    }

    /// What stands on disk, shown or not: roles and texts.
    async fn kept(&self, id: ConversationId) -> Vec<(String, String)> {
        let (_, messages) = self.chat.load(self.ann.user, id).await.expect("reads");
        messages.into_iter().map(|one| (one.role, one.content)).collect()
    }
}

fn kept(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn a_message_that_comes_again_is_answered_once_and_tells_the_same() {
    let room = Room::new(Scripted::new(&["Good ", "day."], Then::Finish)).await;
    let (id, message) = (room.begin().await, MessageId::new());
    let first = drain(room.ask(id, say_as(message, "Hello")).await.expect("answers")).await;
    let used = room.house.gate.usage(&room.ann).tokens_day.used;
    let again = drain(room.ask(id, say_as(message, "Hello")).await.expect("is there")).await;
    assert_eq!(first[0].1["user_message_id"], message.to_string());
    assert_eq!(again[0], first[0]);
    let text = |events: &[(&str, Value)]| -> String {
        let deltas = events.iter().filter(|(name, _)| *name == "delta");
        deltas.filter_map(|(_, data)| data["text"].as_str()).collect()
    };
    assert_eq!((text(&again), text(&first)), ("Good day.".into(), "Good day.".into()));
    let last = |events: &[(&str, Value)]| events.last().map(|(_, data)| data["usage"].clone());
    assert_eq!(last(&again), last(&first));
    assert_eq!(room.rows("messages").await, 2);
    assert_eq!(room.house.engine.seen.lock().len(), 1);
    assert_eq!(room.house.gate.usage(&room.ann).tokens_day.used, used, "charged once");
    let events = room.house.events().await;
    assert_eq!(events.last().map(String::as_str), Some("conversation.read done"));
}

#[tokio::test]
async fn a_message_that_comes_again_while_it_is_answered_joins_in() {
    let room = Room::new(Scripted::new(&["Good day "], Then::Hang)).await;
    let (id, message) = (room.begin().await, MessageId::new());
    let first = room.ask(id, say_as(message, "Hello")).await.expect("answers");
    let again = room.ask(id, say_as(message, "Hello")).await.expect("joins in");
    for other in [say_as(message, "Hallo"), say_as(MessageId::new(), "Hello"), say("Hello")] {
        assert!(matches!(room.ask(id, other).await.map(drop), Err(ChatError::Answering)));
    }
    assert!(room.chat.stop(room.ann.user, id));
    let (first, again) = (drain(first).await, drain(again).await);
    assert_eq!(first.last(), again.last());
    assert_eq!(room.kept(id).await, kept(&[("user", "Hello"), ("assistant", "Good day ")]));
}

#[tokio::test]
async fn an_id_stands_for_one_message() {
    let room = Room::new(Scripted::new(&["x"], Then::Finish)).await;
    let (id, message) = (room.begin().await, MessageId::new());
    let said = drain(room.ask(id, say_as(message, "Hello")).await.expect("answers")).await;
    let answer = said[0].1["message_id"].as_str().and_then(|id| MessageId::parse(id).ok());
    let elsewhere = room.begin().await;
    for (place, ask) in [
        (id, say_as(message, "Something else")),
        (id, say_as(answer.expect("an id"), "x")),
        (elsewhere, say_as(message, "Hello")),
    ] {
        assert!(matches!(room.ask(place, ask).await.map(drop), Err(ChatError::IdInUse)));
    }
    assert!(room.kept(elsewhere).await.is_empty());
    assert_eq!(room.rows("messages").await, 2);
}

#[tokio::test]
async fn what_was_refused_may_be_sent_again_under_its_id() {
    let room = Room::new(Scripted::new(&[], Then::Refuse)).await;
    let (id, message) = (room.begin().await, MessageId::new());
    for _ in 0..2 {
        let refused = room.ask(id, say_as(message, "Hello")).await;
        assert!(matches!(refused.map(drop), Err(ChatError::Gate(GateError::Busy))));
    }
    assert_eq!(room.house.engine.seen.lock().len(), 2);
}

#[tokio::test]
async fn an_answer_gives_way_to_a_new_one_and_not_to_none() {
    for then in [Then::Finish, Then::Fail] {
        let room = Room::new(Scripted::new(&[], then)).await;
        let id = room.begin().await;
        drain(room.say(id, "Hello").await.expect("answers")).await;
        let (_, messages) = room.chat.load(room.ann.user, id).await.expect("reads");
        room.rewrite(messages[1].id, "Good day").await;
        drain(room.ask(id, Ask::Regenerate).await.expect("answers")).await;
        let stands = kept(&[("user", "Hello"), ("assistant", "Good day")]);
        assert_eq!(room.kept(id).await, stands, "{then:?}");
    }
}

#[tokio::test]
async fn the_old_answer_stands_until_the_new_one_has_ended() {
    let room = Room::new(Scripted::new(&["word "], Then::Hang)).await;
    let id = room.begin().await;
    let first = room.say(id, "Hello").await.expect("answers");
    assert!(room.chat.stop(room.ann.user, id));
    drain(first).await;
    let (_, before) = room.chat.load(room.ann.user, id).await.expect("reads");
    room.rewrite(before[1].id, "Good day").await;
    let again = room.ask(id, Ask::Regenerate).await.expect("answers");
    let (_, shown, active) = room.chat.read(&room.ann, id).await.expect("reads");
    assert_eq!(shown.len(), 1, "the old one is not shown beside the new one");
    assert!(active.is_some());
    room.until(id, "word").await;
    assert_eq!(room.kept(id).await.len(), 3, "and is on disk");
    // As if the server had died here.
    let next = open(&room.house, &room.registry).await;
    let (_, messages) = next.load(room.ann.user, id).await.expect("reads");
    assert_eq!(messages.iter().map(|one| one.id).collect::<Vec<_>>(), [before[0].id, before[1].id]);
    drop(again);
}

#[tokio::test]
async fn a_new_answer_takes_the_place_of_the_old_one_when_it_ends() {
    let room = Room::new(Scripted::new(&["word "], Then::Hang)).await;
    let id = room.begin().await;
    for ask in [say("Hello"), Ask::Regenerate] {
        let reader = room.ask(id, ask).await.expect("answers");
        room.until(id, "word").await;
        assert!(room.chat.stop(room.ann.user, id));
        drain(reader).await;
    }
    assert_eq!(room.kept(id).await, kept(&[("user", "Hello"), ("assistant", "word ")]));
}
