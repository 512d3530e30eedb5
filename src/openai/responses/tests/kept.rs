//! Responses that are kept: for their person alone, as long as they are used.

use std::time::Duration;

use super::*;
use crate::access::registry::{KeyEntry, KeyTerms};
use crate::access::{Caller, KeyContext, Networks, Registry, Via};
use crate::config::LimitSet;
use crate::db::{Db, DbError, Transaction};
use crate::gate::testing::admit;
use crate::ids::{KeyId, UserId};
use crate::openai::kept::{Room, make_room};
use crate::openai::responses::error::ResponseError;
use crate::openai::responses::items::Place;
use crate::openai::responses::state::{Before, Kept, RESPONSES, Responses, ResponsesParts, Use};
use crate::openai::responses::store;
use crate::vault::Sealed;

struct Desk {
    house: House,
    registry: Arc<Registry>,
    responses: Responses,
    ann: Caller,
}

impl Desk {
    async fn new() -> Self {
        Self::with_days(30).await
    }

    async fn with_days(days: u32) -> Self {
        let house = House::new(Scripted::new(&["ok"], Then::Finish)).await;
        let registry = Arc::new(Registry::new(Duration::from_hours(10_000)));
        let responses = Responses::new(ResponsesParts {
            db: house.db.clone(),
            vault: house.vault.clone(),
            audit: house.audit.clone(),
            clock: house.clock.clone(),
            registry: Arc::clone(&registry),
            gate: house.gate.clone(),
            days,
            by_default: true,
        });
        let ann = caller();
        let desk = Self { house, registry, responses, ann };
        desk.let_in(&desk.ann);
        desk
    }

    fn let_in(&self, caller: &Caller) {
        self.house.vault.add_person(caller.user).expect("a data key");
        admit(&self.house, &self.registry, caller);
    }

    fn bob(&self) -> Caller {
        let bob = caller();
        self.let_in(&bob);
        bob
    }

    /// Keeps an answer to a text, and gives its id.
    async fn answer(&self, text: &str, previous: Option<ResponseId>) -> ResponseId {
        let mut change = json!({ "input": text });
        if let Some(previous) = previous {
            change["previous_response_id"] = previous.to_string().into();
        }
        let ask = ask(&change);
        let before = self.before(&ask).await.expect("is there");
        let mut head = head(&ask, &self.house);
        head.echo.store = true;
        let (id, mut input) = (head.id, before.input);
        for (at, item) in input.iter_mut().enumerate() {
            item.settle(id, Place::In(at));
        }
        let mut composer = Composer::new(head, Vec::new());
        let said =
            ExchangeEvent::Text { choice: 0, text: format!("re: {text}"), logprobs: Vec::new() };
        composer.take(said);
        composer.take(ExchangeEvent::Ended { choice: 0, ending: Ending::Stop });
        let (usage, at) = (ExchangeUsage::default(), self.house.clock.now());
        composer.end(End { ending: Ending::Stop, usage, reasoning_tokens: 0, at });
        let kept = Kept { response: composer.response(), input };
        self.responses.keep(&self.ann, id, &kept, before.used).await.expect("keeps");
        id
    }

    async fn before(&self, ask: &Ask) -> Result<Before, ResponseError> {
        self.responses.before(&self.ann, ask).await
    }

    async fn read(&self, caller: &Caller, id: ResponseId) -> Result<Kept, ResponseError> {
        self.responses.read(caller, id, Use::Shown).await
    }

    async fn rows(&self) -> i64 {
        count(&self.house.db).await
    }
}

async fn count(db: &Db) -> i64 {
    let read = |db: &crate::db::Connection| -> Result<i64, DbError> {
        Ok(db.query_row("SELECT count(*) FROM responses", [], |row| row.get(0))?)
    };
    db.read(read).await.expect("reads")
}

fn texts(items: &[Item]) -> Vec<&str> {
    let parts = items.iter().filter_map(|item| match item {
        Item::Message { content, .. } => Some(content),
        _ => None,
    });
    parts.flatten().map(super::super::items::Part::text).collect()
}

#[tokio::test]
async fn a_key_that_is_limited_to_other_models_opens_none_of_it() {
    let desk = Desk::new().await;
    let id = desk.answer("first", None).await;
    let with_key = |models: &[&str]| {
        let models: Option<Vec<String>> = Some(models.iter().map(|name| (*name).into()).collect());
        let limits = LimitSet::default();
        let (id, user, scopes) = (KeyId::new(), desk.ann.user, desk.ann.permissions);
        let networks = Networks::default();
        let terms = KeyTerms { scopes, models: models.clone(), limits, networks, expires_at: None };
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(id.as_bytes());
        let entry = KeyEntry::new(id, user, terms);
        desk.registry.put_key(hash, entry);
        Caller { via: Via::Key(KeyContext { id, models, limits }), ..desk.ann.clone() }
    };
    let on = ask(&json!({ "previous_response_id": id.to_string() }));
    let other = with_key(&["other"]);
    assert!(matches!(desk.read(&other, id).await, Err(ResponseError::NotFound)));
    let result = desk.responses.before(&other, &on).await;
    assert!(matches!(result, Err(ResponseError::NothingBefore { .. })));
    assert!(matches!(desk.responses.delete(&other, id).await, Err(ResponseError::NotFound)));
    // Not even that it is there, as a cancellation would tell.
    assert!(!desk.responses.has(&other, id).await.expect("reads"));
    assert!(desk.responses.has(&desk.ann, id).await.expect("reads"));
    assert_eq!(desk.rows().await, 1);
    // By an alias of its model too.
    for name in ["m", "gpt-4o"] {
        let key = with_key(&[name]);
        assert!(desk.responses.has(&key, id).await.expect("reads"));
        assert!(
            desk.read(&key, id).await.is_ok() && desk.responses.before(&key, &on).await.is_ok()
        );
    }
}

#[tokio::test]
async fn what_is_kept_is_there_for_its_person_alone_until_they_delete_it() {
    let desk = Desk::new().await;
    let id = desk.answer("first", None).await;
    let kept = desk.read(&desk.ann, id).await.expect("is there");
    assert_eq!(kept.response["id"], id.to_string());
    assert_eq!(kept.response["output"][0]["content"][0]["text"], "re: first");
    assert_eq!(texts(&kept.input), ["first"]);
    let bob = desk.bob();
    let asked = ask(&json!({ "previous_response_id": id.to_string() }));
    let reference = format!("msg_{}o0", hex::encode(id.as_bytes()));
    let named = ask(&json!({ "input": [{"type": "item_reference", "id": reference}] }));
    assert!(matches!(desk.read(&bob, id).await, Err(ResponseError::NotFound)));
    assert!(matches!(desk.responses.delete(&bob, id).await, Err(ResponseError::NotFound)));
    for ask in [&asked, &named] {
        let result = desk.responses.before(&bob, ask).await;
        assert!(matches!(result, Err(ResponseError::NothingBefore { .. })));
        assert!(desk.before(ask).await.is_ok());
    }
    assert!(matches!(desk.read(&desk.ann, ResponseId::new()).await, Err(ResponseError::NotFound)));
    desk.responses.delete(&desk.ann, id).await.expect("deletes");
    assert!(matches!(desk.read(&desk.ann, id).await, Err(ResponseError::NotFound)));
    assert_eq!(desk.rows().await, 0);
    let events = desk.house.events().await;
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    assert_eq!(
        events,
        [
            "response.store done",
            "response.read done",
            "response.read done",
            "response.read done",
            "response.delete done"
        ]
    );
}

#[tokio::test]
async fn a_conversation_is_read_from_its_beginning_and_not_with_a_gap() {
    let desk = Desk::new().await;
    let first = desk.answer("one", None).await;
    let second = desk.answer("two", Some(first)).await;
    let third = desk.answer("three", Some(second)).await;
    let next = ask(&json!({"input": "four", "previous_response_id": third.to_string()}));
    let before = desk.before(&next).await.expect("is there");
    assert_eq!(texts(&before.items), ["one", "re: one", "two", "re: two", "three", "re: three"]);
    assert_eq!(texts(&before.input), ["four"]);
    assert_eq!(before.used, [third, second, first]);
    desk.responses.delete(&desk.ann, second).await.expect("deletes");
    let gap = desk.before(&next).await;
    assert!(
        matches!(gap, Err(ResponseError::NothingBefore { param }) if param == "previous_response_id")
    );
    for id in ["resp_1", "x", &UserId::new().to_string(), &ResponseId::new().to_string()] {
        let next = ask(&json!({ "previous_response_id": id }));
        assert!(desk.before(&next).await.is_err(), "{id}");
    }
}

#[tokio::test]
async fn items_are_found_by_their_ids() {
    let desk = Desk::new().await;
    let id = desk.answer("one", None).await;
    let digits = hex::encode(id.as_bytes());
    let named = |id: &str| json!({ "input": [{"id": id}, {"role": "user", "content": "two"}] });
    for (place, text) in [("i0", "one"), ("o0", "re: one")] {
        let asked = ask(&named(&format!("msg_{digits}{place}")));
        let before = desk.before(&asked).await.expect("is there");
        assert_eq!(texts(&before.input), [text, "two"]);
        assert_eq!((before.items.len(), before.used.as_slice()), (0, &[id][..]));
    }
    for wrong in [format!("msg_{digits}o1"), format!("fc_{digits}o0"), "msg_mine".to_owned()] {
        let before = desk.before(&ask(&named(&wrong))).await;
        let is_named =
            matches!(before, Err(ResponseError::NothingBefore { param }) if param == "input[0].id");
        assert!(is_named, "{wrong}");
    }
}

#[tokio::test]
async fn a_row_that_was_moved_or_changed_does_not_open() {
    let desk = Desk::new().await;
    let (one, two) = (desk.answer("one", None).await, desk.answer("two", None).await);
    let bob = desk.bob();
    let change = |sql: &'static str, id: ResponseId, other: String| {
        let write = move |tx: &Transaction<'_>| -> Result<(), DbError> {
            tx.execute(sql, rusqlite::params![id, other])?;
            Ok(())
        };
        desk.house.db.write(write)
    };
    let copy = "UPDATE responses SET content = (SELECT content FROM responses WHERE id = ?2) WHERE id = ?1";
    change(copy, one, two.to_string()).await.expect("writes");
    assert!(matches!(desk.read(&desk.ann, one).await, Err(ResponseError::Vault(_))));
    let give = "UPDATE responses SET owner = ?2 WHERE id = ?1";
    change(give, two, bob.user.to_string()).await.expect("writes");
    assert!(matches!(desk.read(&bob, two).await, Err(ResponseError::Vault(_))));
    assert!(matches!(desk.read(&desk.ann, two).await, Err(ResponseError::NotFound)));
}

#[tokio::test]
async fn what_nobody_uses_goes_and_what_is_gone_on_from_stays() {
    let desk = Desk::new().await;
    let day = Duration::from_hours(24);
    let first = desk.answer("one", None).await;
    let unused = desk.answer("other", None).await;
    desk.house.clock.advance(day * 29);
    assert_eq!(desk.responses.expire().await.expect("looks"), 0);
    let second = desk.answer("two", Some(first)).await;
    desk.house.clock.advance(day * 2);
    assert_eq!(desk.responses.expire().await.expect("deletes"), 1);
    assert!(desk.read(&desk.ann, unused).await.is_err());
    for id in [first, second] {
        assert!(desk.read(&desk.ann, id).await.is_ok());
    }
    desk.house.clock.advance(day * 31);
    assert_eq!(desk.responses.expire().await.expect("deletes"), 2);
    assert_eq!(desk.rows().await, 0);
    let expired = desk.house.events().await;
    assert_eq!(expired.iter().filter(|event| *event == "response.expire done").count(), 2);
}

#[tokio::test]
async fn the_configuration_says_whether_anything_is_kept() {
    let desk = Desk::new().await;
    let keeps = |asked| desk.responses.keeps(asked).expect("says so");
    assert_eq!([None, Some(true), Some(false)].map(keeps), [true, true, false]);
    let none = Desk::with_days(0).await;
    assert!(matches!(none.responses.keeps(None), Ok(false)));
    assert!(matches!(none.responses.keeps(Some(false)), Ok(false)));
    assert!(matches!(none.responses.keeps(Some(true)), Err(ResponseError::KeepsNone)));
    // What was kept under another configuration goes.
    none.answer("one", None).await;
    none.house.clock.advance(Duration::from_secs(1));
    assert_eq!(none.responses.expire().await.expect("deletes"), 1);
}

#[tokio::test]
async fn where_there_is_no_room_the_oldest_goes_first_and_the_newest_stays() {
    let desk = Desk::new().await;
    let (owner, now) = (desk.ann.user, desk.house.clock.now());
    let add = |bytes: usize, after: u64, room: Room| {
        let id = ResponseId::new();
        let at = now.plus(Duration::from_secs(after));
        let write = move |tx: &Transaction<'_>| -> Result<usize, DbError> {
            store::add(tx, owner, id, &Sealed::from_stored(vec![0; bytes]), at)?;
            make_room(tx, RESPONSES, owner, room)
        };
        let written = desk.house.db.write(write);
        async move { (id, written.await.expect("writes")) }
    };
    let room = Room { count_max: 3, bytes_max: 100 };
    let (oldest, dropped) = add(10, 0, room).await;
    assert_eq!(dropped, 0);
    for after in 1..=2 {
        assert_eq!(add(10, after, room).await.1, 0);
    }
    assert_eq!(add(10, 3, room).await.1, 1);
    let find = move |db: &crate::db::Connection| store::find(db, owner, oldest);
    assert!(desk.house.db.read(find).await.expect("reads").is_none());
    assert_eq!(add(75, 4, room).await.1, 1);
    assert_eq!(desk.rows().await, 3);
    // One that is larger than all the room is the only one.
    assert_eq!(add(500, 5, room).await.1, 3);
    assert_eq!(desk.rows().await, 1);
}
