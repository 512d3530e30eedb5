//! Who has lost their rights, and what nobody has a use for.

use super::*;
use crate::access::Withdrawn;
use crate::ids::SessionId;

/// Reads until the access is withdrawn, and says what the last event was.
async fn last_word(reader: Reading) -> (&'static str, Value) {
    drain(reader).await.pop().expect("a last word")
}

#[tokio::test]
async fn a_session_that_is_ended_reads_no_further_and_another_one_does() {
    let room = Room::new(Scripted::new(&["Good day "], Then::Hang)).await;
    let id = room.begin().await;
    let phone = Caller { via: Via::Session(SessionId::new()), ..room.ann.clone() };
    admit(&room.house, &room.registry, &phone);
    let asked = room.say(id, "Hello").await.expect("answers");
    let followed = room.chat.follow(&phone, id).await.expect("is being written");
    let events = room.house.events().await;
    assert_eq!(events.last().map(String::as_str), Some("conversation.read done"));
    let Via::Session(session) = phone.via else { panic!("a browser") };
    room.registry.remove_session(phone.user, session);
    let (name, data) = last_word(followed).await;
    assert_eq!((name, &data["error"]["code"]), ("error", &Value::from("permission_denied")));
    let again = room.chat.follow(&phone, id).await.map(drop);
    assert!(matches!(again, Err(ChatError::Withdrawn(Withdrawn))));
    // The one who asked, in another session, reads to the end.
    assert!(room.chat.stop(room.ann.user, id));
    let (name, data) = last_word(asked).await;
    assert_eq!((name, &data["finish_reason"]), ("done", &Value::from("cancelled")));
}

#[tokio::test]
async fn a_session_that_ran_out_reads_no_further() {
    let room = Room::new(Scripted::new(&["Good day "], Then::Hang)).await;
    let id = room.begin().await;
    let _asked = room.say(id, "Hello").await.expect("answers");
    let followed = room.chat.follow(&room.ann, id).await.expect("is being written");
    room.house.clock.advance(Duration::from_hours(2));
    room.registry.purge(room.house.clock.now());
    assert_eq!(last_word(followed).await.0, "error");
    assert!(room.chat.stop(room.ann.user, id));
}

#[tokio::test]
async fn nothing_is_written_for_who_was_deleted_meanwhile() {
    let room = Room::new(Scripted::new(&["x"], Then::Finish)).await;
    let id = room.begin().await;
    room.registry.remove_person(room.ann.user);
    let (chat, ann) = (&room.chat, &room.ann);
    let said = room.say(id, "Hello").await.map(drop);
    let made = chat.create(ann, None, None, None).await.map(drop);
    let changed = chat.update(ann, id, named("mine")).await.map(drop);
    let deleted = chat.delete(ann, id).await;
    for result in [said, made, changed, deleted] {
        assert!(matches!(result, Err(ChatError::Withdrawn(Withdrawn))), "{result:?}");
    }
    assert_eq!((room.rows("conversations").await, room.rows("messages").await), (1, 0));
    assert!(room.house.engine.seen.lock().is_empty());
    let denied = room.house.events().await.into_iter().filter(|it| it == "access.denied denied");
    assert_eq!(denied.count(), 4);
}

#[tokio::test]
async fn conversations_in_which_nothing_was_said_go_after_a_day() {
    let room = Room::new(Scripted::new(&["x"], Then::Finish)).await;
    let (empty, pinned, used) = (room.begin().await, room.begin().await, room.begin().await);
    room.chat.update(&room.ann, pinned, super::pinned()).await.expect("pins");
    drain(room.say(used, "Hello").await.expect("answers")).await;
    room.house.clock.advance(Duration::from_hours(23));
    assert_eq!(room.chat.delete_empty().await.expect("looks"), 0);
    let young = room.begin().await;
    room.house.clock.advance(Duration::from_hours(2));
    assert_eq!(room.chat.delete_empty().await.expect("deletes"), 1);
    assert!(matches!(room.chat.load(room.ann.user, empty).await, Err(ChatError::NotFound)));
    for left in [pinned, used, young] {
        room.chat.load(room.ann.user, left).await.expect("is there");
    }
    let records = room.house.records().await;
    let last = records.last().expect("a record");
    assert_eq!(
        (last.action.as_str(), last.subject.as_deref()),
        ("conversation.delete", Some(empty.to_string().as_str()))
    );
}
