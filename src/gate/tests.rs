//! The road, walked with everything real around it but the model.

mod choices;
mod ends;
mod several;

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::testing::{House, Scripted, Then, caller, caller_with_key, request};
use super::*;
use crate::config::LimitSet;
use crate::engine;
use crate::ids::KeyId;

async fn read_all(mut handle: ExchangeHandle) -> (String, Option<ExchangeEvent>) {
    let (mut text, mut last) = (String::new(), None);
    while let Some(event) = handle.next().await {
        if let ExchangeEvent::Text { text: piece, .. } = &event {
            text.push_str(piece);
        }
        last = Some(event);
    }
    (text, last)
}

#[tokio::test]
async fn an_exchange_is_recorded_before_and_after_and_settled() {
    let house = House::new(Scripted::new(&["Good ", "day"], Then::Finish)).await;
    let caller = caller();
    let handle = house.gate.run(&caller, request("Hello")).await.expect("passes");
    assert_eq!((handle.model.as_str(), handle.prompt_tokens), ("m", 5));
    assert_eq!(house.events().await[0], "generation.start started");
    let (text, last) = read_all(handle).await;
    assert_eq!(text, "Good day");
    let Some(ExchangeEvent::Finished { ending, usage }) = last else { panic!("{last:?}") };
    assert_eq!((ending, usage.prompt_tokens, usage.completion_tokens), (Ending::Stop, 5, 8));
    assert_eq!(house.events().await, ["generation.start started", "generation.end done"]);
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 13);
}

#[tokio::test]
async fn the_record_has_counts_and_a_digest_and_no_text() {
    let house = House::new(Scripted::new(&["banana"], Then::Finish)).await;
    let handle = house.gate.run(&caller(), request("pineapple")).await.expect("passes");
    read_all(handle).await;
    let records = house.records().await;
    let bodies: Vec<String> =
        records.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect();
    assert!(bodies[0].contains("\"prompt_tokens\":9") && bodies[0].contains("prompt_digest"));
    assert!(bodies[1].contains("\"completion_tokens\":6"));
    for body in &bodies {
        assert!(!body.contains("pineapple") && !body.contains("banana"), "{body}");
    }
}

#[tokio::test]
async fn nothing_runs_where_the_record_cannot_be_written() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let sql = "CREATE TRIGGER full BEFORE INSERT ON audit_events
               BEGIN SELECT raise(ABORT, 'no'); END";
    let fill = move |tx: &rusqlite::Transaction<'_>| -> Result<(), crate::db::DbError> {
        Ok(tx.execute_batch(sql)?)
    };
    house.db.write(fill).await.expect("fills");
    let caller = caller();
    let error = house.gate.run(&caller, request("Hello")).await.expect_err("refused");
    assert!(matches!(error, GateError::NotRecorded));
    assert!(house.engine.seen.lock().is_empty());
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 0, "nothing ran");
}

#[tokio::test]
async fn a_reader_who_leaves_ends_the_work_and_is_charged_for_what_came() {
    let house = House::new(Scripted::new(&["abc "], Then::Hang)).await;
    let caller = caller();
    let mut handle = house.gate.run(&caller, request("Hello")).await.expect("passes");
    assert!(matches!(handle.next().await, Some(ExchangeEvent::Started)));
    assert!(matches!(handle.next().await, Some(ExchangeEvent::Text { .. })));
    drop(handle);
    house.engine_is_idle().await;
    house.gate.drain(Duration::from_secs(5)).await;
    assert_eq!(house.events().await[1], "generation.end cancelled");
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 9);
}

#[tokio::test]
async fn what_was_generated_is_charged_also_where_no_text_came_of_it() {
    let engine = Scripted::new(&["abc "], Then::Hang);
    engine.unseen.store(7, Ordering::SeqCst);
    let house = House::new(engine).await;
    let caller = caller();
    let mut handle = house.gate.run(&caller, request("Hello")).await.expect("passes");
    assert!(matches!(handle.next().await, Some(ExchangeEvent::Started)));
    assert!(matches!(handle.next().await, Some(ExchangeEvent::Text { .. })));
    handle.stop();
    let (_, last) = read_all(handle).await;
    let Some(ExchangeEvent::Finished { usage, .. }) = last else { panic!("{last:?}") };
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (5, 11));
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 16);
}

#[tokio::test]
async fn whoever_leaves_the_waiting_line_is_charged_nothing() {
    let house = House::new(Scripted::new(&["abc "], Then::Wait)).await;
    let caller = caller();
    let handle = house.gate.run(&caller, request("Hello")).await.expect("passes");
    handle.stop();
    let (_, last) = read_all(handle).await;
    let Some(ExchangeEvent::Finished { ending, usage }) = last else { panic!("{last:?}") };
    assert_eq!((ending, usage), (Ending::Cancelled, ExchangeUsage::default()));
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 0);
}

#[tokio::test]
async fn stopping_ends_the_work_and_tells_what_it_took() {
    let house = House::new(Scripted::new(&["abc "], Then::Hang)).await;
    let handle = house.gate.run(&caller(), request("Hello")).await.expect("passes");
    handle.stop();
    let (_, last) = read_all(handle).await;
    assert!(matches!(last, Some(ExchangeEvent::Finished { ending: Ending::Cancelled, .. })));
    house.engine_is_idle().await;
}

#[tokio::test]
async fn withdrawn_access_ends_the_answer() {
    let house = House::new(Scripted::new(&["abc "], Then::Hang)).await;
    let caller = caller_with_key(KeyId::new(), None);
    let key = caller.key().expect("a key").id;
    let handle = house.gate.run(&caller, request("Hello")).await.expect("passes");
    assert_eq!(house.gate.revoke(&Revocation::Key(key)), 1);
    let (_, last) = read_all(handle).await;
    assert!(matches!(last, Some(ExchangeEvent::Failed(GateError::Revoked))));
    house.engine_is_idle().await;
    assert_eq!(house.events().await[1], "generation.end stopped");
}

#[tokio::test]
async fn whoever_lost_access_while_their_request_was_read_is_not_let_on() {
    let engine = Scripted::new(&["never"], Then::Finish);
    let house = House::new(engine).await.that_withdrew_everything();
    let refused = house.gate.run(&caller(), request("Hello")).await.map(drop);
    assert!(matches!(refused, Err(GateError::Revoked)), "{refused:?}");
    assert_eq!(house.events().await, ["access.denied denied"]);
    assert!(house.engine.seen.lock().is_empty());
    assert_eq!(house.gate.inner.running.count(), 0);
}

#[tokio::test]
async fn a_shutdown_ends_what_does_not_end_by_itself_and_lets_nobody_in() {
    let house = House::new(Scripted::new(&["abc "], Then::Hang)).await;
    let handle = house.gate.run(&caller(), request("Hello")).await.expect("passes");
    let reading = tokio::spawn(read_all(handle));
    house.gate.drain(Duration::from_millis(20)).await;
    let (text, last) = reading.await.expect("reads");
    assert_eq!(text, "abc ");
    assert!(matches!(last, Some(ExchangeEvent::Failed(GateError::ShuttingDown))));
    assert_eq!(house.events().await[1], "generation.end cancelled");
    let error = house.gate.run(&caller(), request("Hello")).await.expect_err("closed");
    assert!(matches!(error, GateError::ShuttingDown));
}

#[tokio::test]
async fn an_engine_that_fails_or_refuses_leaves_closed_books() {
    let house = House::new(Scripted::new(&["ab"], Then::Fail)).await;
    let handle = house.gate.run(&caller(), request("Hello")).await.expect("passes");
    let (text, last) = read_all(handle).await;
    assert_eq!(text, "ab");
    assert!(matches!(last, Some(ExchangeEvent::Failed(GateError::Engine(_)))));
    assert_eq!(house.events().await[1], "generation.end failed");

    let house = House::new(Scripted::new(&[], Then::Refuse)).await;
    let caller = caller();
    let error = house.gate.run(&caller, request("Hello")).await.expect_err("busy");
    assert!(matches!(error, GateError::Busy));
    assert_eq!(house.events().await, ["generation.start started", "generation.end failed"]);
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 0);
}

#[tokio::test]
async fn whoever_is_denied_again_and_again_does_not_fill_the_log() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let (one, other) = (caller(), caller());
    let asked = || ExchangeRequest { model: Some("closed".into()), ..request("Hello") };
    for _ in 0..40 {
        let error = house.gate.run(&one, asked()).await.expect_err("not open");
        assert!(matches!(error, GateError::ModelNotFound));
    }
    assert_eq!(house.events().await.len(), 30);
    house.gate.run(&other, asked()).await.expect_err("not open");
    assert_eq!(house.events().await.len(), 31, "somebody else's is on record");
}

#[tokio::test]
async fn who_may_not_is_refused_and_it_is_on_record() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let asked = |model: &str| ExchangeRequest { model: Some(model.into()), ..request("Hello") };
    let evaluation = ExchangeRequest { purpose: Purpose::Evaluation, ..request("Hello") };
    let error = house.gate.run(&caller(), evaluation).await.expect_err("not a member's");
    assert!(matches!(error, GateError::NotPermitted));
    let error = house.gate.run(&caller(), asked("closed")).await.expect_err("not open");
    assert!(matches!(error, GateError::ModelNotFound));
    assert_eq!(house.events().await, ["access.denied denied", "access.denied denied"]);
    let error = house.gate.run(&caller(), asked("none")).await.expect_err("not there");
    assert!(matches!(error, GateError::ModelNotFound));
    let bound = caller_with_key(KeyId::new(), Some(vec!["other".into()]));
    let error = house.gate.run(&bound, asked("m")).await.expect_err("not the key's");
    assert!(matches!(error, GateError::ModelNotFound));
    assert!(house.gate.models(&bound).is_empty());
    let names: Vec<String> =
        house.gate.models(&caller()).iter().map(|model| model.name.clone()).collect();
    assert_eq!(names, ["m"]);
    assert!(house.engine.seen.lock().is_empty());
}

#[tokio::test]
async fn a_flood_of_denials_is_within_the_bound_of_all_refusals() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let bound = caller_with_key(KeyId::new(), Some(vec!["other".into()]));
    for _ in 0..40 {
        let error = house.gate.run(&bound, request("Hello")).await.expect_err("not the key's");
        assert!(matches!(error, GateError::ModelNotFound));
    }
    assert_eq!(house.events().await, ["access.denied denied"; 30]);
}

#[tokio::test]
async fn whoever_is_denied_has_used_a_request() {
    let two = LimitSet { requests_per_minute: Some(2), ..LimitSet::default() };
    let house = House::with_limits(Scripted::new(&["x"], Then::Finish), two).await;
    let bound = caller_with_key(KeyId::new(), Some(vec!["other".into()]));
    for _ in 0..2 {
        let error = house.gate.run(&bound, request("Hello")).await.expect_err("not the key's");
        assert!(matches!(error, GateError::ModelNotFound));
    }
    let error = house.gate.run(&bound, request("Hello")).await.expect_err("over the pace");
    assert!(matches!(error, GateError::Limited(_)), "{error:?}");
    let denied = "access.denied denied";
    assert_eq!(house.events().await, [denied, denied, "generation.refuse denied"]);
}

#[tokio::test]
async fn what_fails_before_its_tokens_are_reserved_has_used_a_request() {
    let limits = LimitSet { requests_per_minute: Some(3), ..LimitSet::default() };
    let house = House::with_limits(Scripted::new(&["x"], Then::Finish), limits).await;
    let caller = caller();
    for prompt in ["a".repeat(1_000_000), "a".repeat(200), String::new()] {
        let error = house.gate.run(&caller, request(&prompt)).await.expect_err("does not fit");
        assert!(matches!(error, GateError::PromptTooLong { .. } | GateError::EmptyPrompt { .. }));
    }
    let error = house.gate.run(&caller, request("Hello")).await.expect_err("over the pace");
    assert!(matches!(error, GateError::Limited(_)), "{error:?}");
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 0);
}

#[tokio::test]
async fn an_alias_is_the_model_that_it_stands_for() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let asked = ExchangeRequest { model: Some("gpt-4o".into()), ..request("Hello") };
    let handle = house.gate.run(&caller(), asked).await.expect("passes");
    assert_eq!(handle.model, "m");
}

#[tokio::test]
async fn limits_refuse_before_the_engine_and_are_on_record_once() {
    let one = LimitSet { requests_per_minute: Some(1), ..LimitSet::default() };
    let house = House::with_limits(Scripted::new(&["x"], Then::Finish), one).await;
    let caller = caller();
    read_all(house.gate.run(&caller, request("Hello")).await.expect("passes")).await;
    for _ in 0..3 {
        let error = house.gate.run(&caller, request("Hello")).await.expect_err("limited");
        assert!(matches!(error, GateError::Limited(_)));
    }
    assert_eq!(house.engine.seen.lock().len(), 1);
    let events = house.events().await;
    assert_eq!(events[2..], ["generation.refuse denied".to_owned()]);
}

#[tokio::test]
async fn prompts_that_leave_no_room_are_refused_and_never_cut() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    for (prompt, fits) in [("a".repeat(199), true), ("a".repeat(200), false)] {
        let result = house.gate.run(&caller(), request(&prompt)).await;
        assert_eq!(result.is_ok(), fits, "{}", prompt.len());
    }
    let far_too_long = request(&"a".repeat(1_000_000));
    let error = house.gate.run(&caller(), far_too_long).await.expect_err("too long");
    assert!(matches!(error, GateError::PromptTooLong { .. }));
    let error = house.gate.run(&caller(), request("")).await.expect_err("empty");
    assert!(matches!(error, GateError::EmptyPrompt { parameter: Some("prompt") }));
    assert_eq!(house.engine.seen.lock().len(), 1);
}

#[tokio::test]
async fn token_prompts_are_read_as_text_and_strange_tokens_refused() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let tokens =
        |tokens: &[u32]| ExchangeRequest { input: Input::Tokens(tokens.to_vec()), ..request("") };
    house.gate.run(&caller(), tokens(&[72, 105])).await.expect("passes");
    assert_eq!(*house.engine.seen.lock(), ["Hi"]);
    let error = house.gate.run(&caller(), tokens(&[72, 256])).await.expect_err("unknown");
    assert!(matches!(error, GateError::UnknownToken));
}

#[tokio::test]
async fn scores_come_in_order_and_are_on_record() {
    let house = House::new(Scripted::new(&[], Then::Finish)).await;
    let text = |prefix: &str, continuation: &str| ScoreText {
        prefix: prefix.into(),
        continuation: continuation.into(),
    };
    let owner = Caller {
        permissions: crate::access::permission::BuiltinRole::Owner.permissions(),
        ..caller()
    };
    let texts = vec![text("The sky is ", "blue"), text("It", " is")];
    let scores = house.gate.score(&owner, None, texts).await.expect("scores");
    // The space at the end of the first prefix goes with the word after it.
    assert_eq!(scores.iter().map(|score| score.tokens).collect::<Vec<_>>(), [5, 3]);
    assert_eq!(house.events().await, ["generation.start started", "generation.end done"]);
    let error = house.gate.score(&caller(), None, Vec::new()).await.expect_err("a member");
    assert!(matches!(error, GateError::NotPermitted));
}

#[tokio::test]
async fn a_card_number_never_reaches_the_engine_and_comes_back_to_its_sender() {
    let house = House::new(Scripted::new(&["Charged [ca", "rd-1]."], Then::Finish)).await;
    let handle =
        house.gate.run(&caller(), request("Charge 4111 1111 1111 1111")).await.expect("passes");
    let notice = |n: &Notice| (n.category.clone(), n.action.clone(), n.count);
    let notices: Vec<_> = handle.notices.iter().map(notice).collect();
    assert_eq!(notices, [("personal.card".to_owned(), "redact".to_owned(), 1)]);
    let (text, _) = read_all(handle).await;
    assert_eq!(text, "Charged 4111 1111 1111 1111.");
    assert_eq!(*house.engine.seen.lock(), ["Charge [card-1]"]);
    let records = house.records().await;
    let bodies = || records.iter().map(|record| String::from_utf8_lossy(&record.body));
    assert!(bodies().all(|body| !body.contains("4111")));
    assert!(bodies().any(|body| body.contains(r#""guard":["personal.card:redact:1"]"#)));
}

#[tokio::test]
async fn what_the_policy_refuses_is_on_record_and_costs_nothing() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let caller = caller();
    let asked = request("Some Forbidden words");
    let error = house.gate.run(&caller, asked).await.expect_err("refused");
    assert!(
        matches!(&error, GateError::Refused { categories } if categories == &["denied"]),
        "{error:?}"
    );
    assert_eq!(house.events().await, ["generation.refuse denied"]);
    assert!(house.engine.seen.lock().is_empty());
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 0);
}

#[tokio::test]
async fn a_chat_takes_a_shorter_answer_where_the_limits_leave_no_longer_one() {
    let limited = |tokens| LimitSet { tokens_per_minute: Some(tokens), ..LimitSet::default() };
    let chat = || ExchangeRequest { purpose: Purpose::Chat, max_tokens: None, ..request("Hello") };
    let house = House::with_limits(Scripted::new(&["x"], Then::Finish), limited(40)).await;
    read_all(house.gate.run(&caller(), chat()).await.expect("passes")).await;
    let start = &house.records().await[0];
    let body = String::from_utf8_lossy(&start.body).into_owned();
    assert!(body.contains("\"max_tokens\":35"), "{body}");
    // A program that named no bound is told, and so is a chat that does not fit at all.
    let program = ExchangeRequest { purpose: Purpose::Api, ..chat() };
    let error = house.gate.run(&caller(), program).await.expect_err("never fits");
    assert!(matches!(error, GateError::Limited(refusal) if refusal.retry_after.is_none()));
    let house = House::with_limits(Scripted::new(&["x"], Then::Finish), limited(5)).await;
    let error = house.gate.run(&caller(), chat()).await.expect_err("never fits");
    let told = crate::web::ApiError::from(error);
    assert_eq!(told.code(), crate::web::ErrorCode::RequestExceedsLimit);
    assert!(told.to_string().contains("limit of 5 "), "{told}");
}

#[tokio::test]
async fn a_prompt_that_placeholders_make_too_long_is_on_record_and_costs_nothing() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let caller = caller();
    let asked = request(&"pwd=a1b2c3d4 ".repeat(15));
    let error = house.gate.run(&caller, asked).await.expect_err("grows over the context");
    assert!(matches!(error, GateError::PromptTooLong { .. }), "{error:?}");
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 0);
    let records = house.records().await;
    assert_eq!(house.events().await, ["generation.refuse denied"]);
    let detail = records[0].field("detail");
    assert_eq!(detail["reason"], "prompt_too_long");
    assert_eq!(detail["guard"], serde_json::json!(["secret.assigned:redact:15"]));
}

/// A conversation with one function, whose schema says `told`.
fn with_tool(told: &str) -> ExchangeRequest {
    let schema = serde_json::json!({"type": "object", "properties": {"a": {"enum": [told]}}});
    let function = serde_json::json!({"name": "pay", "parameters": schema});
    let tools = vec![serde_json::json!({"type": "function", "function": function})];
    let messages = vec![engine::Message::new(engine::Role::User, "Hi")];
    let rules = engine::ToolRules { choice: engine::ToolChoice::Auto, is_parallel: true };
    ExchangeRequest {
        input: Input::Conversation(engine::Conversation { tools, ..messages.into() }),
        tools: Some(rules),
        takes_apart: true,
        ..request("")
    }
}

#[tokio::test]
async fn schemas_and_grammars_are_inspected_as_prompts_are() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let asked = with_tool("some forbidden words");
    let error = house.gate.run(&caller(), asked).await.expect_err("refused");
    assert!(matches!(error, GateError::Refused { .. }), "{error:?}");
    assert!(house.engine.seen.lock().is_empty());
}

#[tokio::test]
async fn what_the_guard_takes_out_of_answers_it_takes_out_of_arguments() {
    let said = [
        "<tool_call>{\"name\": \"pay\", \"arguments\": {\"card\": \"4111 11",
        "11 1111 1111\", \"for\": \"tea\"}}</tool_call>",
    ];
    let house = House::new(Scripted::new(&said, Then::Finish)).await;
    let mut handle = house.gate.run(&caller(), with_tool("tea")).await.expect("passes");
    let (mut arguments, mut name, mut ending) = (String::new(), None, None);
    while let Some(event) = handle.next().await {
        match event {
            ExchangeEvent::Call { name: called, .. } => name = Some(called),
            ExchangeEvent::Arguments { text, .. } => arguments.push_str(&text),
            ExchangeEvent::Finished { ending: how, .. } => ending = Some(how),
            _ => {}
        }
    }
    assert_eq!((name.as_deref(), ending), (Some("pay"), Some(Ending::ToolCalls)));
    assert!(!arguments.contains("4111"), "{arguments}");
    let read: serde_json::Value = serde_json::from_str(&arguments).expect("still JSON");
    assert_eq!(read["for"], "tea");
}
