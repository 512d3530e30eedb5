//! Requests that come more than once: to whom they are answered again, with what, and for how long.

use std::sync::Arc;
use std::time::Duration;

use super::error::IdempotencyError;
use super::state::{
    ANSWER_BYTES_MAX, ANSWERS, Answer, Claim, Idempotency, IdempotencyParts, Key, Stand,
};
use super::store;
use crate::access::{Caller, Registry};
use crate::db::{DbError, Transaction};
use crate::gate::testing::{House, Scripted, Then, admit, caller, caller_with_key};
use crate::guard::Policy;
use crate::ids::{KeyId, UserId};
use crate::openai::kept::{Room, make_room};
use crate::vault::Sealed;

const HERE: &str = "/v1/completions";
const BODY: &[u8] = b"{\"prompt\": \"Hi\"}";

struct Desk {
    house: House,
    registry: Arc<Registry>,
    once: Idempotency,
    ann: Caller,
}

impl Desk {
    async fn new() -> Self {
        Self::with_hours(24).await
    }

    async fn with_hours(hours: u32) -> Self {
        let house = House::new(Scripted::new(&["ok"], Then::Finish)).await;
        let registry = Arc::new(Registry::new(Duration::from_hours(10_000)));
        let ann = caller();
        let once = Self::once(&house, &registry, hours, &Policy::builtin().expect("it is good"));
        let desk = Self { house, registry, once, ann };
        desk.let_in(&desk.ann);
        desk
    }

    fn once(house: &House, registry: &Arc<Registry>, hours: u32, policy: &Policy) -> Idempotency {
        let parts = IdempotencyParts {
            db: house.db.clone(),
            vault: house.vault.clone(),
            audit: house.audit.clone(),
            clock: house.clock.clone(),
            registry: Arc::clone(registry),
            gate: house.gate.clone(),
            hours,
        };
        Idempotency::new(parts, policy)
    }

    fn let_in(&self, caller: &Caller) {
        self.house.vault.add_person(caller.user).expect("a key");
        admit(&self.house, &self.registry, caller);
    }

    async fn begin(
        &self,
        caller: &Caller,
        key: &str,
        body: &[u8],
    ) -> Result<Stand, IdempotencyError> {
        self.once.begin(caller, &named(key), HERE, body).await
    }

    /// A request that has no answer yet.
    async fn is_new(&self, caller: &Caller, key: &str) -> Claim {
        match self.begin(caller, key, BODY).await {
            Ok(Stand::New(claim)) => *claim,
            Ok(Stand::Kept(answer)) => panic!("{answer:?}"),
            Err(error) => panic!("{error}"),
        }
    }

    async fn answer(&self, key: &str, said: &str) {
        keep(self.is_new(&self.ann, key).await, said).await;
    }

    /// What is sent again.
    async fn again(&self, key: &str) -> Answer {
        match self.begin(&self.ann, key, BODY).await {
            Ok(Stand::Kept(answer)) => answer,
            Ok(Stand::New(_)) => panic!("it has no answer"),
            Err(error) => panic!("{error}"),
        }
    }

    async fn rows(&self) -> i64 {
        let read = |db: &crate::db::Connection| -> Result<i64, DbError> {
            Ok(db.query_row("SELECT count(*) FROM kept_answers", [], |row| row.get(0))?)
        };
        self.house.db.read(read).await.expect("reads")
    }
}

fn named(key: &str) -> Key {
    Key::parse(key.as_bytes()).expect("a key")
}

async fn keep(claim: Claim, said: &str) {
    claim.keep(200, "application/json".to_owned(), said.as_bytes().to_vec()).await;
}

#[test]
fn names_of_requests_are_printable_and_short() {
    for good in ["a", "stainless-node-retry-0a1b", "with space", &"x".repeat(255)] {
        assert!(Key::parse(good.as_bytes()).is_ok(), "{good}");
    }
    for bad in ["", "tab\there", "é", "nul\0", "\u{7f}", &"x".repeat(256)] {
        assert!(matches!(Key::parse(bad.as_bytes()), Err(IdempotencyError::NoKey)), "{bad:?}");
    }
}

#[tokio::test]
async fn the_same_request_has_the_same_answer_and_is_on_record() {
    let desk = Desk::new().await;
    desk.answer("k", "{\"id\": 1}").await;
    for _ in 0..2 {
        let again = desk.again("k").await;
        assert_eq!((again.status, again.body.as_str()), (200, "{\"id\": 1}"));
        assert_eq!(again.kind, "application/json");
    }
    assert_eq!(
        desk.house.events().await,
        ["answer.keep done", "answer.repeat done", "answer.repeat done"]
    );
    assert_eq!(desk.house.gate.usage(&desk.ann).tokens_day.used, 0);
    assert_eq!(desk.house.gate.usage(&desk.ann).requests_day.used, 2, "each counts as a request");
}

#[tokio::test]
async fn a_name_is_of_its_person_and_key_alone() {
    let desk = Desk::new().await;
    desk.answer("k", "mine").await;
    let bob = caller();
    desk.let_in(&bob);
    let with_key = |id| Caller { user: desk.ann.user, ..caller_with_key(id, None) };
    let (one, other) = (with_key(KeyId::new()), with_key(KeyId::new()));
    let _held = [
        desk.is_new(&bob, "k").await,
        desk.is_new(&one, "k").await,
        desk.is_new(&other, "k").await,
        desk.is_new(&desk.ann, "K").await,
    ];
}

#[tokio::test]
async fn a_name_is_of_one_request() {
    let desk = Desk::new().await;
    let claim = desk.is_new(&desk.ann, "k").await;
    let other = async |address: &str, body: &[u8]| {
        desk.once.begin(&desk.ann, &named("k"), address, body).await.map(drop)
    };
    // While it is being answered, and afterwards.
    assert!(matches!(other(HERE, BODY).await, Err(IdempotencyError::UnderWay)));
    assert!(matches!(other(HERE, b"{}").await, Err(IdempotencyError::Reused)));
    keep(claim, "x").await;
    assert!(other(HERE, BODY).await.is_ok());
    assert!(matches!(other(HERE, b"{}").await, Err(IdempotencyError::Reused)));
    assert!(matches!(other("/v1/messages", BODY).await, Err(IdempotencyError::Reused)));
}

#[tokio::test]
async fn what_came_to_no_answer_is_answered_anew() {
    let desk = Desk::new().await;
    drop(desk.is_new(&desk.ann, "k").await);
    desk.answer("k", "x").await;
    assert_eq!(desk.again("k").await.body, "x");
    // Nor is what is too long, or no text.
    let long = "x".repeat(ANSWER_BYTES_MAX + 1);
    desk.answer("long", &long).await;
    drop(desk.is_new(&desk.ann, "long").await);
    let claim = desk.is_new(&desk.ann, "bytes").await;
    claim.keep(200, "application/json".into(), vec![0xff]).await;
    drop(desk.is_new(&desk.ann, "bytes").await);
    assert_eq!(desk.rows().await, 1);
}

#[tokio::test]
async fn what_no_longer_lets_an_answer_out_does_not_send_it_again() {
    let desk = Desk::new().await;
    desk.answer("k", "x").await;
    let promoted = Caller { roles: vec!["owner".into()], ..desk.ann.clone() };
    drop(desk.is_new(&promoted, "k").await);
    // The same house with another rule, and without the model.
    let policy = Policy::read("t", "[phrases]\ndenied = [\"x\"]").expect("a policy");
    let other = Desk::once(&desk.house, &desk.registry, 24, &policy);
    let begun = other.begin(&desk.ann, &named("k"), HERE, BODY).await;
    assert!(matches!(begun, Ok(Stand::New(_))));
    let Desk { house, registry, ann, .. } = desk;
    let house = house.with_catalog(Arc::new(Nothing));
    let once = Desk::once(&house, &registry, 24, &Policy::builtin().expect("it is good"));
    assert!(matches!(once.begin(&ann, &named("k"), HERE, BODY).await, Ok(Stand::New(_))));
}

#[tokio::test]
async fn whoever_is_let_in_no_more_gets_nothing() {
    let desk = Desk::new().await;
    desk.answer("k", "x").await;
    let Desk { house, registry, ann, .. } = desk;
    let house = house.that_withdrew_everything();
    let once = Desk::once(&house, &registry, 24, &Policy::builtin().expect("it is good"));
    let begun = once.begin(&ann, &named("k"), HERE, BODY).await;
    assert!(matches!(begun, Err(IdempotencyError::Gate(_))));
}

#[tokio::test]
async fn answers_are_kept_for_their_time_and_not_where_none_is() {
    let desk = Desk::new().await;
    desk.answer("k", "x").await;
    desk.house.clock.advance(Duration::from_hours(23));
    assert_eq!(desk.again("k").await.body, "x");
    assert_eq!(desk.once.expire().await.expect("expires"), 0);
    desk.house.clock.advance(Duration::from_hours(1));
    drop(desk.is_new(&desk.ann, "k").await);
    assert_eq!(desk.once.expire().await.expect("expires"), 1);
    assert_eq!((desk.rows().await, desk.once.expire().await.expect("expires")), (0, 0));
    assert_eq!(desk.house.events().await.last().map(String::as_str), Some("answer.expire done"));
    let desk = Desk::with_hours(0).await;
    assert!(matches!(desk.begin(&desk.ann, "k", BODY).await, Err(IdempotencyError::KeepsNone)));
}

#[tokio::test]
async fn a_row_that_was_moved_or_changed_does_not_open() {
    let desk = Desk::new().await;
    desk.answer("a", "of a").await;
    desk.answer("b", "of b").await;
    let swap = |tx: &Transaction<'_>| -> Result<(), DbError> {
        tx.execute(
            "UPDATE kept_answers SET content = (SELECT max(content) FROM kept_answers)",
            [],
        )?;
        Ok(())
    };
    desk.house.db.write(swap).await.expect("writes");
    let mut opened = 0;
    for key in ["a", "b"] {
        match desk.begin(&desk.ann, key, BODY).await {
            Ok(Stand::Kept(answer)) => {
                assert_eq!(answer.body, format!("of {key}"));
                opened += 1;
            }
            Ok(Stand::New(_)) => panic!("it is there"),
            Err(error) => assert!(matches!(error, IdempotencyError::Vault(_)), "{error}"),
        }
    }
    assert_eq!(opened, 1, "the one that was not written over");
}

#[tokio::test]
async fn there_is_room_for_so_many_and_the_oldest_leave() {
    let desk = Desk::new().await;
    let (now, owner, other) = (desk.house.clock.now(), desk.ann.user, UserId::new());
    let place = crate::vault::Aad { table: "t", column: "c", row: "r", owner: "o" };
    let scope = crate::vault::Scope::Person(owner);
    let sealed: Sealed = desk.house.vault.seal(scope, &place, &[0; 100]).expect("seals");
    let bytes = i64::try_from(sealed.as_bytes().len()).expect("short");
    let fill = move |tx: &Transaction<'_>| -> Result<[usize; 3], DbError> {
        for at in 0..5_u64 {
            let at_time = now.plus(Duration::from_secs(at));
            store::put(tx, owner, &format!("of-ann-{at}"), &sealed, at_time)?;
        }
        store::put(tx, other, "of-bob", &sealed, now)?;
        let all = Room { count_max: 5, bytes_max: 5 * bytes };
        let none = make_room(tx, ANSWERS, owner, all)?;
        let by_count = make_room(tx, ANSWERS, owner, Room { count_max: 4, ..all })?;
        let by_bytes = make_room(tx, ANSWERS, owner, Room { bytes_max: 2 * bytes, ..all })?;
        assert!(store::find(tx, owner, "of-ann-4", now)?.is_some());
        assert!(store::find(tx, owner, "of-ann-2", now)?.is_none());
        assert!(store::find(tx, owner, "of-bob", now.minus(Duration::from_secs(1)))?.is_none());
        Ok([none, by_count, by_bytes])
    };
    assert_eq!(desk.house.db.write(fill).await.expect("writes"), [0, 1, 2]);
    assert_eq!(desk.rows().await, 3);
}

#[tokio::test]
async fn all_that_is_kept_for_a_person_can_be_forgotten_and_nothing_of_others() {
    let desk = Desk::new().await;
    desk.answer("a", "x").await;
    desk.answer("b", "x").await;
    let bob = caller();
    desk.let_in(&bob);
    keep(desk.is_new(&bob, "a").await, "x").await;
    let owner = desk.ann.user;
    let forget = move |tx: &Transaction<'_>| super::forget(tx, owner);
    assert_eq!(desk.house.db.write(forget).await.expect("writes"), 2);
    drop(desk.is_new(&desk.ann, "a").await);
    assert!(matches!(desk.begin(&bob, "a", BODY).await, Ok(Stand::Kept(_))));
}

/// A catalog without a model.
struct Nothing;

impl crate::gate::Catalog for Nothing {
    fn find(&self, _: Option<&str>) -> Option<Arc<crate::gate::Model>> {
        None
    }

    fn all(&self) -> Vec<Arc<crate::gate::Model>> {
        Vec::new()
    }
}
