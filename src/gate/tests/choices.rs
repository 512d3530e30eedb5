//! Several answers to one prompt, on the road.

use super::*;

#[tokio::test]
async fn of_several_answers_every_token_is_charged_and_the_prompt_once() {
    let house = House::new(Scripted::new(&["Good ", "day"], Then::Finish)).await;
    let caller = caller();
    let asked = ExchangeRequest { choices: 3, ..request("Hello") };
    let mut handle = house.gate.run(&caller, asked).await.expect("passes");
    let mut texts = vec![String::new(); 3];
    let mut ended = Vec::new();
    while let Some(event) = handle.next().await {
        match event {
            ExchangeEvent::Text { choice, text, .. } => texts[choice].push_str(&text),
            ExchangeEvent::Ended { choice, ending } => ended.push((choice, ending)),
            ExchangeEvent::Finished { ending, usage } => {
                assert_eq!((ending, usage.prompt_tokens), (Ending::Stop, 5));
                assert_eq!(usage.completion_tokens, 24);
            }
            ExchangeEvent::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [0, 1, 2].map(|choice| (choice, Ending::Stop)));
    assert!(texts.iter().all(|text| text == "Good day"));
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 29);
    assert_eq!(house.events().await, ["generation.start started", "generation.end done"]);
}

#[tokio::test]
async fn several_answers_are_reserved_before_they_are_made() {
    // 5 tokens of prompt; one answer of 8 fits, three do not.
    let limits = LimitSet { tokens_per_day: Some(20), ..LimitSet::default() };
    let engine = Scripted::new(&["x"], Then::Finish);
    let house = House::with_limits(engine, limits).await;
    let asked = |choices| ExchangeRequest { choices, ..request("Hello") };
    let refused = house.gate.run(&caller(), asked(3)).await.expect_err("too many");
    assert!(matches!(refused, GateError::Limited(_)), "{refused}");
    read_all(house.gate.run(&caller(), asked(1)).await.expect("passes")).await;
}

#[tokio::test]
async fn leaving_ends_all_answers() {
    let house = House::new(Scripted::new(&["abc "], Then::Hang)).await;
    let asked = ExchangeRequest { choices: 3, ..request("Hello") };
    let handle = house.gate.run(&caller(), asked).await.expect("passes");
    drop(handle);
    house.engine_is_idle().await;
}

#[tokio::test]
async fn of_answers_that_are_cut_short_each_is_charged_as_far_as_it_came() {
    let engine = Scripted::new(&["abc "], Then::Hang);
    engine.unseen.store(7, Ordering::SeqCst);
    let house = House::new(engine).await;
    let caller = caller();
    let asked = ExchangeRequest { choices: 3, ..request("Hello") };
    let mut handle = house.gate.run(&caller, asked).await.expect("passes");
    assert!(matches!(handle.next().await, Some(ExchangeEvent::Started)));
    for _ in 0..3 {
        assert!(matches!(handle.next().await, Some(ExchangeEvent::Text { .. })));
    }
    handle.stop();
    let (_, last) = read_all(handle).await;
    let Some(ExchangeEvent::Finished { usage, .. }) = last else { panic!("{last:?}") };
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (5, 33));
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 38);
}

#[tokio::test]
async fn several_answers_that_never_began_are_charged_nothing() {
    let house = House::new(Scripted::new(&["abc "], Then::Wait)).await;
    let caller = caller();
    let asked = ExchangeRequest { choices: 3, ..request("Hello") };
    let handle = house.gate.run(&caller, asked).await.expect("passes");
    handle.stop();
    let (_, last) = read_all(handle).await;
    let Some(ExchangeEvent::Finished { ending, usage }) = last else { panic!("{last:?}") };
    assert_eq!((ending, usage), (Ending::Cancelled, ExchangeUsage::default()));
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 0);
}

#[tokio::test]
async fn each_answer_is_taken_apart_and_watched_by_itself() {
    let said = [
        "<tool_call>{\"name\": \"pay\", \"arguments\": {\"card\": \"4111 11",
        "11 1111 1111\", \"for\": \"tea\"}}</tool_call>",
    ];
    let house = House::new(Scripted::new(&said, Then::Finish)).await;
    let asked = ExchangeRequest { choices: 2, ..with_tool("tea") };
    let mut handle = house.gate.run(&caller(), asked).await.expect("passes");
    let (mut ids, mut ended) = (Vec::new(), Vec::new());
    let mut arguments = vec![String::new(); 2];
    while let Some(event) = handle.next().await {
        match event {
            ExchangeEvent::Call { choice, index, id, name } => {
                assert_eq!((index, name.as_str()), (0, "pay"));
                ids.push((choice, id));
            }
            ExchangeEvent::Arguments { choice, index, text } => {
                assert_eq!(index, 0);
                arguments[choice].push_str(&text);
            }
            ExchangeEvent::Ended { choice, ending } => ended.push((choice, ending)),
            _ => {}
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [0, 1].map(|choice| (choice, Ending::ToolCalls)));
    ids.sort_unstable();
    assert!(matches!(&ids[..], [(0, first), (1, second)] if first != second), "{ids:?}");
    for arguments in arguments {
        assert!(!arguments.contains("4111"), "{arguments}");
        let read: serde_json::Value = serde_json::from_str(&arguments).expect("still JSON");
        assert_eq!(read["for"], "tea");
    }
}
