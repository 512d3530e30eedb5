//! Conversations with everything real around them but the model.

mod again;
mod rights;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::answer::Ask;
use super::conversations::{Change, Listing};
use super::error::ChatError;
use super::reading::Reading;
use super::*;
use crate::access::{Caller, Registry, Via};
use crate::config::LimitSet;
use crate::gate::GateError;
use crate::gate::testing::{House, Scripted, Then, admit, caller};
use crate::ids::{ConversationId, MessageId};
use crate::prompts::{Prompts, PromptsParts};

struct Room {
    house: House,
    registry: Arc<Registry>,
    chat: Chat,
    ann: Caller,
}

fn say(text: &str) -> Ask {
    Ask::Say { id: None, text: text.into() }
}

impl Room {
    async fn new(engine: Arc<Scripted>) -> Self {
        Self::in_house(House::new(engine).await).await
    }

    async fn in_house(house: House) -> Self {
        let registry = Arc::new(Registry::new(Duration::from_hours(1)));
        let chat = open(&house, &registry).await;
        let ann = caller();
        house.vault.add_person(ann.user).expect("a data key");
        admit(&house, &registry, &ann);
        Self { house, registry, chat, ann }
    }

    /// Somebody else.
    fn bob(&self) -> Caller {
        let bob = caller();
        self.house.vault.add_person(bob.user).expect("a data key");
        admit(&self.house, &self.registry, &bob);
        bob
    }

    /// Puts other words into a message on disk.
    async fn rewrite(&self, message: MessageId, text: &str) {
        let owner = self.ann.user;
        let place = sealing::Place::Content(message);
        let sealed = sealing::seal(&self.house.vault, owner, place, text).expect("seals");
        let sql = "UPDATE messages SET content = ?3 WHERE id = ?1 AND owner = ?2";
        let write = move |tx: &crate::db::Transaction<'_>| -> Result<(), crate::db::DbError> {
            tx.execute(sql, rusqlite::params![message, owner, sealed])?;
            Ok(())
        };
        self.house.db.write(write).await.expect("writes");
    }

    /// How many rows a table has.
    async fn rows(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        let count = move |db: &crate::db::Connection| -> Result<i64, crate::db::DbError> {
            Ok(db.query_row(&sql, [], |row| row.get(0))?)
        };
        self.house.db.read(count).await.expect("counts")
    }

    async fn begin(&self) -> ConversationId {
        self.chat.create(&self.ann, None, None, None).await.expect("creates").id
    }

    async fn say(&self, id: ConversationId, text: &str) -> Result<Reading, ChatError> {
        self.chat.answer(&self.ann, id, say(text), None).await
    }

    /// Waits until an answer that is being written has this much of it on disk.
    async fn until(&self, id: ConversationId, text: &str) {
        for _ in 0..6_000 {
            let (_, messages) = self.chat.load(self.ann.user, id).await.expect("reads");
            if messages.last().is_some_and(|last| last.content.trim_end() == text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("`{text}` was never kept");
    }

    async fn said(&self, id: ConversationId) -> Vec<(String, String, Option<String>)> {
        let (_, messages, _) = self.chat.read(&self.ann, id).await.expect("reads");
        messages.into_iter().map(|one| (one.role, one.content, one.finish_reason)).collect()
    }
}

async fn open(house: &House, registry: &Arc<Registry>) -> Chat {
    let parts = PromptsParts {
        gate: house.gate.clone(),
        db: house.db.clone(),
        vault: house.vault.clone(),
        audit: house.audit.clone(),
        clock: house.clock.clone(),
        registry: Arc::clone(registry),
    };
    let prompts = tokio::task::spawn_blocking(|| Prompts::open(parts)).await;
    let parts = ChatParts {
        gate: house.gate.clone(),
        prompts: prompts.expect("runs").expect("opens"),
        db: house.db.clone(),
        vault: house.vault.clone(),
        audit: house.audit.clone(),
        clock: house.clock.clone(),
        registry: Arc::clone(registry),
        runtime: tokio::runtime::Handle::current(),
        heartbeat: None,
    };
    tokio::task::spawn_blocking(|| Chat::open(parts)).await.expect("runs").expect("opens")
}

fn named(title: &str) -> Change {
    Change { title: Some(title.to_owned()), ..Change::default() }
}

fn pinned() -> Change {
    Change { pinned: Some(true), ..Change::default() }
}

async fn drain(mut reader: Reading) -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    while let Some(news) = reader.next().await {
        all.extend(news);
    }
    all
}

fn row(role: &str, text: &str, ending: Option<&str>) -> (String, String, Option<String>) {
    (role.into(), text.into(), ending.map(str::to_owned))
}

#[tokio::test]
async fn what_was_said_is_kept_and_the_title_comes_from_its_first_words() {
    let room = Room::new(Scripted::new(&["Good ", "day."], Then::Finish)).await;
    let id = room.begin().await;
    let events = drain(room.say(id, "Hello there").await.expect("answers")).await;
    assert_eq!(events.first().map(|event| event.0), Some("start"));
    let (name, done) = events.last().expect("ends");
    assert_eq!((*name, &done["finish_reason"]), ("done", &Value::from("stop")));
    assert_eq!(done["usage"]["completion_tokens"], 9);
    assert_eq!(done["tokens_per_second"], 90.0);
    assert_eq!(
        room.said(id).await,
        [row("user", "Hello there", None), row("assistant", "Good day.", Some("stop"))]
    );
    let listed = room.chat.list(room.ann.user, Listing { limit: 9, ..Listing::default() }).await;
    assert_eq!(listed.expect("lists")[0].title, "Hello there");
    drain(room.say(id, "And you?").await.expect("answers")).await;
    let seen = room.house.engine.seen.lock().last().cloned().expect("seen");
    assert_eq!(seen, "User:Hello there\nAssistant:Good day.\nUser:And you?\n");
}

#[tokio::test]
async fn nothing_that_people_write_is_on_disk_in_clear() {
    let room = Room::new(Scripted::new(&["pineapple"], Then::Finish)).await;
    let id = room.begin().await;
    drain(room.say(id, "banana pudding").await.expect("answers")).await;
    room.chat.update(&room.ann, id, named("rhubarb")).await.expect("renames");
    let mut files = vec![room.house.dir.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).expect("lists").flatten().map(|e| e.path()));
            continue;
        }
        let bytes = std::fs::read(&path).expect("reads");
        for word in ["banana", "pineapple", "rhubarb"] {
            let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "{word} stands in {}", path.display());
        }
    }
}

#[tokio::test]
async fn somebody_elses_conversation_is_not_there() {
    let room = Room::new(Scripted::new(&["x "], Then::Hang)).await;
    let id = room.begin().await;
    let reader = room.say(id, "Hello").await.expect("answers");
    let bob = room.bob();
    let chat = &room.chat;
    assert!(matches!(chat.read(&bob, id).await, Err(ChatError::NotFound)));
    assert!(matches!(chat.delete(&bob, id).await, Err(ChatError::NotFound)));
    let renamed = chat.update(&bob, id, named("mine")).await;
    assert!(matches!(renamed, Err(ChatError::NotFound)));
    let said = chat.answer(&bob, id, say("Hi"), None).await;
    assert!(matches!(said.map(drop), Err(ChatError::NotFound)));
    assert!(!chat.stop(bob.user, id));
    assert!(matches!(chat.follow(&bob, id).await.map(drop), Err(ChatError::NotFound)));
    let all = Listing { limit: 9, ..Listing::default() };
    assert!(chat.list(bob.user, all).await.expect("lists").is_empty());
    assert!(chat.stop(room.ann.user, id));
    drain(reader).await;
}

#[tokio::test]
async fn an_answer_goes_on_unwatched_and_can_be_followed_and_stopped() {
    let room = Room::new(Scripted::new(&["Good ", "day "], Then::Hang)).await;
    let id = room.begin().await;
    drop(room.say(id, "Hello").await.expect("answers"));
    assert!(matches!(room.say(id, "Again").await, Err(ChatError::Answering)));
    let mut reader = room.chat.follow(&room.ann, id).await.expect("is being written");
    let mut text = String::new();
    while !text.ends_with("day ") {
        for (name, data) in reader.next().await.expect("goes on") {
            if name == "delta" {
                text.push_str(data["text"].as_str().expect("a text"));
            }
        }
    }
    assert_eq!(text, "Good day ");
    let (_, messages, active) = room.chat.read(&room.ann, id).await.expect("reads");
    assert!(active.is_some() && messages.len() == 1);
    assert!(room.chat.stop(room.ann.user, id));
    let rest = drain(reader).await;
    assert_eq!(rest.last().map(|(_, data)| &data["finish_reason"]), Some(&"cancelled".into()));
    assert_eq!(room.said(id).await[1], row("assistant", "Good day ", Some("cancelled")));
    room.house.engine_is_idle().await;
}

#[tokio::test]
async fn what_the_gate_refuses_leaves_the_conversation_as_it_was() {
    let room = Room::new(Scripted::new(&[], Then::Refuse)).await;
    let id = room.begin().await;
    let refused = room.say(id, "Hello").await;
    assert!(matches!(refused, Err(ChatError::Gate(GateError::Busy))));
    assert!(room.said(id).await.is_empty());
    let (before, _, _) = room.chat.read(&room.ann, id).await.expect("reads");
    let named = room.chat.answer(&room.ann, id, say("Hi"), Some("nobody".into())).await;
    assert!(named.is_err());
    let (after, _, _) = room.chat.read(&room.ann, id).await.expect("reads");
    assert_eq!((after.title.as_str(), &after.model), ("", &None));
    assert_eq!(after.updated_at, before.updated_at);
    for text in ["", "  \n"] {
        assert!(matches!(room.say(id, text).await, Err(ChatError::Invalid { .. })));
    }
    let nothing = room.chat.answer(&room.ann, id, Ask::Regenerate, None).await;
    assert!(matches!(nothing, Err(ChatError::NothingToRegenerate)));
}

#[tokio::test]
async fn an_answer_that_fails_keeps_what_came() {
    let room = Room::new(Scripted::new(&["Good"], Then::Fail)).await;
    let id = room.begin().await;
    let events = drain(room.say(id, "Hello").await.expect("answers")).await;
    assert_eq!(events.last().map(|event| event.0), Some("error"));
    assert_eq!(room.said(id).await[1], row("assistant", "Good", Some("interrupted")));
}

#[tokio::test]
async fn regenerating_takes_the_place_of_the_last_answer() {
    let room = Room::new(Scripted::new(&["Good day"], Then::Finish)).await;
    let id = room.begin().await;
    drain(room.say(id, "Hello").await.expect("answers")).await;
    let again = room.chat.answer(&room.ann, id, Ask::Regenerate, None).await.expect("answers");
    drain(again).await;
    assert_eq!(room.said(id).await.len(), 2);
    assert_eq!(*room.house.engine.seen.lock(), ["User:Hello\n", "User:Hello\n"]);
}

#[tokio::test]
async fn what_was_being_written_when_the_server_died_is_there_and_marked() {
    let room = Room::new(Scripted::new(&["Good day "], Then::Hang)).await;
    let id = room.begin().await;
    let _watched = room.say(id, "Hello").await.expect("answers");
    room.until(id, "Good day").await;
    // A second process over the same database: the first one was killed.
    let again = open(&room.house, &room.registry).await;
    let (_, messages, _) = again.read(&room.ann, id).await.expect("reads");
    assert_eq!(messages[0].content, "Hello");
    assert_eq!(messages[1].content.trim_end(), "Good day");
    assert_eq!(messages[1].finish_reason.as_deref(), Some("interrupted"));
}

#[tokio::test]
async fn turns_without_an_answer_reach_the_model_as_one() {
    let room = Room::new(Scripted::new(&["x"], Then::Finish)).await;
    let id = room.begin().await;
    drain(room.say(id, "Hello").await.expect("answers")).await;
    let (_, messages) = room.chat.load(room.ann.user, id).await.expect("reads");
    room.rewrite(messages[1].id, "").await;
    drain(room.say(id, "Are you there?").await.expect("answers")).await;
    let seen = room.house.engine.seen.lock().last().cloned().expect("seen");
    assert_eq!(seen, "User:Hello\n\nAre you there?\n");
}

#[tokio::test]
async fn whoever_is_over_their_pace_is_refused_before_anything_is_written() {
    let one = LimitSet { requests_per_minute: Some(1), ..LimitSet::default() };
    let house = House::with_limits(Scripted::new(&["x"], Then::Finish), one).await;
    let room = Room::in_house(house).await;
    let id = room.begin().await;
    drain(room.say(id, "Hello").await.expect("answers")).await;
    let sql = "CREATE TRIGGER full BEFORE INSERT ON messages BEGIN SELECT raise(ABORT, 'no'); END";
    let full = move |tx: &rusqlite::Transaction<'_>| -> Result<(), crate::db::DbError> {
        Ok(tx.execute_batch(sql)?)
    };
    room.house.db.write(full).await.expect("fills");
    let refused = room.say(id, "And again").await.map(drop);
    assert!(matches!(refused, Err(ChatError::Gate(GateError::Limited(_)))), "{refused:?}");
}

#[tokio::test]
async fn a_long_conversation_is_one_request_however_often_it_is_cut() {
    let two = LimitSet { requests_per_minute: Some(2), ..LimitSet::default() };
    let house = House::with_limits(Scripted::new(&["yes"], Then::Finish), two).await;
    let room = Room::in_house(house).await;
    let id = room.begin().await;
    let long = "word ".repeat(24);
    drain(room.say(id, &long).await.expect("answers")).await;
    let events = drain(room.say(id, &"word ".repeat(8)).await.expect("is cut")).await;
    assert!(events.iter().any(|(_, data)| data["action"] == "trimmed"), "{events:?}");
}

#[tokio::test]
async fn a_long_conversation_is_cut_at_its_beginning_and_says_so() {
    let room = Room::new(Scripted::new(&["yes"], Then::Finish)).await;
    let id = room.begin().await;
    for _ in 0..6 {
        let events = drain(room.say(id, &"word ".repeat(8)).await.expect("answers")).await;
        if events.iter().any(|(name, data)| *name == "notice" && data["category"] == "context") {
            assert!(room.house.engine.seen.lock().last().is_some_and(|p| p.starts_with("User:")));
            return;
        }
    }
    panic!("the conversation was never cut");
}

#[tokio::test]
async fn searching_finds_titles_and_messages_of_ones_own() {
    let room = Room::new(Scripted::new(&["Pineapples grow."], Then::Finish)).await;
    let id = room.begin().await;
    drain(room.say(id, "Fruit?").await.expect("answers")).await;
    room.begin().await;
    for (search, count) in [("pineAPPLE", 1), ("fruit", 1), ("banana", 0)] {
        let listing = Listing { search: Some(search.into()), limit: 9, before: None };
        let found = room.chat.list(room.ann.user, listing).await.expect("searches");
        assert_eq!(found.len(), count, "{search}");
    }
}

#[tokio::test]
async fn pages_follow_one_another_and_pinned_ones_come_first() {
    let room = Room::new(Scripted::new(&["x"], Then::Finish)).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(room.begin().await);
        room.house.clock.advance(Duration::from_secs(1));
    }
    room.chat.update(&room.ann, made[1], pinned()).await.expect("pins");
    let expected = [made[1], made[4], made[3], made[2], made[0]];
    let mut before = None;
    for pair in expected.chunks(2) {
        let listing = Listing { search: None, before, limit: 2 };
        let page = room.chat.list(room.ann.user, listing).await.expect("lists");
        assert_eq!(page.iter().map(|one| one.id).collect::<Vec<_>>(), pair);
        before = pair.last().copied();
    }
}

#[tokio::test]
async fn deleting_takes_the_messages_along() {
    let room = Room::new(Scripted::new(&["x"], Then::Finish)).await;
    let id = room.begin().await;
    drain(room.say(id, "Hello").await.expect("answers")).await;
    room.chat.delete(&room.ann, id).await.expect("deletes");
    assert!(matches!(room.chat.read(&room.ann, id).await, Err(ChatError::NotFound)));
    assert_eq!(room.rows("messages").await, 0);
    let events = room.house.events().await;
    assert_eq!(events.last().map(String::as_str), Some("conversation.delete done"));
}
