//! What the ledger is told, by every road and whatever became of the exchange.

use super::super::testing::{House, Scripted, Then, caller, caller_with_key, request};
use super::super::{ExchangeEvent, ExchangeHandle, ReadAsk, ScoreText, Spell, TokenInput};
use super::*;
use crate::db::{Connection, DbError};
use crate::engine::Reading;
use crate::engine::tokenizer::Special;
use crate::gate::ExchangeRequest;
use crate::ids::KeyId;

async fn read_all(mut handle: ExchangeHandle) -> Option<ExchangeEvent> {
    let mut last = None;
    while let Some(event) = handle.next().await {
        last = Some(event);
    }
    last
}

/// Every row of the ledger: kind, model, requests, tokens and cost in millionths of a millionth.
async fn ledger(house: &House) -> Vec<String> {
    let sql = "SELECT kind || ' ' || model || ' ' || requests || ' ' || input_tokens || '+'
             || cached_tokens || '+' || output_tokens || ' '
             || (cost_micro * 1000000 + cost_pico)
         FROM usage_days ORDER BY kind, model, user, key";
    let read = move |db: &Connection| -> Result<Vec<String>, DbError> {
        let mut statement = db.prepare(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    house.db.read(read).await.expect("reads")
}

#[tokio::test]
async fn an_exchange_is_in_the_ledger_when_its_reader_hears_of_its_end() {
    let house = House::new(Scripted::new(&["Good ", "day"], Then::Finish)).await;
    let handle = house.gate.run(&caller(), request("Hello")).await.expect("passes");
    let id = handle.id;
    assert_eq!(ledger(&house).await, Vec::<String>::new(), "not before its end");
    let last = read_all(handle).await;
    assert!(matches!(last, Some(ExchangeEvent::Finished { .. })), "{id}: {last:?}");
    // 5 tokens at 0.5 and 8 at 1.5 millionths.
    assert_eq!(ledger(&house).await, ["api m 1 5+0+8 14500000"]);
}

#[tokio::test]
async fn by_person_key_and_purpose_it_is_kept_apart() {
    let house = House::new(Scripted::new(&["ab"], Then::Finish)).await;
    let ann = caller();
    let by_key = Caller { user: ann.user, ..caller_with_key(KeyId::new(), None) };
    let chat = ExchangeRequest { purpose: Purpose::Chat, ..request("Hi") };
    for (who, asked) in
        [(&ann, chat.clone()), (&ann, chat), (&by_key, request("Hi")), (&caller(), request("Hi"))]
    {
        read_all(house.gate.run(who, asked).await.expect("passes")).await;
    }
    let one = "api m 1 2+0+2 4000000";
    assert_eq!(ledger(&house).await, [one, one, "chat m 2 4+0+4 8000000"]);
    let keys = move |db: &Connection| -> Result<Vec<String>, DbError> {
        let sql = "SELECT user || '/' || key FROM usage_hours WHERE key <> ''";
        let mut statement = db.prepare(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let keys = house.db.read(keys).await.expect("reads");
    let key = by_key.key().expect("a key").id;
    assert_eq!(keys, [format!("{}/{key}", ann.user)]);
}

#[tokio::test]
async fn what_was_not_finished_counts_what_it_took() {
    let house = House::new(Scripted::new(&["abc "], Then::Hang)).await;
    let mut handle = house.gate.run(&caller(), request("Hello")).await.expect("passes");
    while !matches!(handle.next().await.expect("a text"), ExchangeEvent::Text { .. }) {}
    drop(handle);
    house.engine_is_idle().await;
    house.gate.drain(Duration::from_secs(5)).await;
    assert_eq!(ledger(&house).await, ["api m 1 5+0+4 8500000"], "the reader left");

    let house = House::new(Scripted::new(&["ab"], Then::Fail)).await;
    let handle = house.gate.run(&caller(), request("Hello")).await.expect("passes");
    assert!(matches!(read_all(handle).await, Some(ExchangeEvent::Failed(_))));
    assert_eq!(ledger(&house).await, ["api m 1 5+0+2 5500000"], "the engine failed");

    let house = House::new(Scripted::new(&["abc "], Then::Wait)).await;
    let handle = house.gate.run(&caller(), request("Hello")).await.expect("passes");
    handle.stop();
    read_all(handle).await;
    assert_eq!(ledger(&house).await, ["api m 1 0+0+0 0"], "it never had a turn");

    let house = House::new(Scripted::new(&[], Then::Refuse)).await;
    house.gate.run(&caller(), request("Hello")).await.expect_err("busy");
    assert_eq!(ledger(&house).await, ["api m 1 0+0+0 0"], "there was no place");
}

#[tokio::test]
async fn what_was_never_begun_is_not_in_the_ledger() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let closed = ExchangeRequest { model: Some("closed".into()), ..request("Hello") };
    house.gate.run(&caller(), closed).await.expect_err("not open");
    house.gate.run(&caller(), request("forbidden words")).await.expect_err("refused");
    assert_eq!(ledger(&house).await, Vec::<String>::new());
}

#[tokio::test]
async fn other_roads_enter_what_they_take() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let caller = caller();
    house.gate.moderate(&caller, vec![vec!["a heron".to_owned()]]).await.expect("passes");
    let reading = Reading { is_framed: false, special: Special::Plain };
    let input = TokenInput::Text { text: "heron".into(), reading, parameter: "prompt" };
    let ask = ReadAsk { model: None, input, with_pieces: false };
    house.gate.read_tokens(&caller, ask).await.expect("passes");
    house.gate.spell(&caller, Spell { model: None, tokens: vec![97] }).await.expect("passes");
    let text = ScoreText { prefix: "A".into(), continuation: "B".into() };
    house.gate.score(&Caller::system(), None, vec![text]).await.expect("passes");
    assert_eq!(
        ledger(&house).await,
        ["evaluation m 1 2+0+0 1000000", "moderation guard 1 0+0+0 0", "tokens m 2 0+0+0 0"]
    );
    let nobody = |db: &Connection| -> Result<String, DbError> {
        let sql = "SELECT user FROM usage_days WHERE kind = 'evaluation'";
        Ok(db.query_row(sql, [], |row| row.get(0))?)
    };
    assert_eq!(house.db.read(nobody).await.expect("reads"), "system");
}

#[tokio::test]
async fn the_ledger_and_the_record_are_written_together_or_not_at_all() {
    let house = House::new(Scripted::new(&["ab"], Then::Finish)).await;
    let sql = "CREATE TRIGGER full BEFORE INSERT ON usage_hours
               BEGIN SELECT raise(ABORT, 'no'); END";
    let fill = move |tx: &crate::db::Transaction<'_>| -> Result<(), DbError> {
        Ok(tx.execute_batch(sql)?)
    };
    house.db.write(fill).await.expect("fills");
    read_all(house.gate.run(&caller(), request("Hello")).await.expect("passes")).await;
    assert_eq!(house.events().await, ["generation.start started"]);
    assert_eq!(ledger(&house).await, Vec::<String>::new());
    assert!(
        house.gate.metrics_text().contains("strongroom_records_lost_total 1"),
        "and an operator is told"
    );
}
