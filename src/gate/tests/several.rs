//! Several prompts in one exchange, and prompts that are sent back.

use super::*;

fn several(prompts: &[&str]) -> ExchangeRequest {
    let each = prompts.iter().map(|prompt| Input::Text((*prompt).to_owned()));
    ExchangeRequest { input: Input::Several(each.collect()), ..request("") }
}

/// The texts of the answers, their log-probabilities, and what it took.
async fn answers(
    mut handle: ExchangeHandle,
    count: usize,
) -> (Vec<String>, Vec<Vec<f32>>, ExchangeUsage) {
    let (mut texts, mut tokens) = (vec![String::new(); count], vec![Vec::new(); count]);
    while let Some(event) = handle.next().await {
        match event {
            ExchangeEvent::Text { choice, text, logprobs } => {
                texts[choice].push_str(&text);
                tokens[choice].extend(logprobs.iter().map(|one| one.chosen.logprob));
            }
            ExchangeEvent::Finished { usage, .. } => return (texts, tokens, usage),
            ExchangeEvent::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
    panic!("no end")
}

#[tokio::test]
async fn each_prompt_is_answered_and_all_are_one_exchange() {
    let house = House::new(Scripted::new(&["Good ", "day"], Then::Finish)).await;
    let caller = caller();
    let asked = ExchangeRequest { choices: 2, echoes: true, ..several(&["Hello", "Hi", "Ho"]) };
    let handle = house.gate.run(&caller, asked).await.expect("passes");
    assert_eq!(handle.prompt_tokens, 9);
    let (texts, _, usage) = answers(handle, 6).await;
    let expected = ["Hello", "Hello", "Hi", "Hi", "Ho", "Ho"].map(|text| format!("{text}Good day"));
    assert_eq!(texts, expected);
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (9, 48));
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 57);
    assert_eq!(house.gate.usage(&caller).requests_day.used, 1);
    assert_eq!(house.events().await, ["generation.start started", "generation.end done"]);
    let start: serde_json::Value =
        serde_json::from_slice(&house.records().await[0].body).expect("JSON");
    let detail = &start["detail"];
    assert_eq!((&detail["prompts"], &detail["prompt_tokens"]), (&3.into(), &9.into()));
    let digests: Vec<&str> = detail["prompt_digests"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(serde_json::Value::as_str)
        .collect();
    assert!(digests.len() == 3 && digests[0] != digests[1] && digests[1] != digests[2]);
    // Of the same prompt alone, the digest is the same.
    house.gate.run(&caller, request("Hi")).await.expect("passes");
    let alone: serde_json::Value =
        serde_json::from_slice(&house.records().await[2].body).expect("JSON");
    assert_eq!(alone["detail"]["prompt_digest"], digests[1]);
}

#[tokio::test]
async fn all_prompts_are_reserved_before_any_is_answered() {
    // 5, 2 and 2 tokens of prompts, each with an answer of 8: 33.
    let limits = LimitSet { tokens_per_day: Some(32), ..LimitSet::default() };
    let house = House::with_limits(Scripted::new(&["x"], Then::Finish), limits).await;
    let refused = house.gate.run(&caller(), several(&["Hello", "Hi", "Ho"])).await;
    assert!(matches!(refused, Err(GateError::Limited(_))));
    assert!(house.engine.seen.lock().is_empty());
    house.gate.run(&caller(), several(&["Hello", "Hi"])).await.expect("passes");
}

#[tokio::test]
async fn the_guard_sees_every_prompt_and_one_that_does_not_fit_stops_all() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let long = "a".repeat(300);
    for (prompts, name) in [
        (["Hi", "some forbidden words"], "content_policy"),
        (["Hi", ""], "empty_prompt"),
        (["Hi", &long], "prompt_too_long"),
    ] {
        let error = house.gate.run(&caller(), several(&prompts)).await.expect_err(name);
        assert_eq!(error.name(), name);
    }
    assert!(house.engine.seen.lock().is_empty());
    // What was taken out of one does not move into another.
    let asked =
        ExchangeRequest { echoes: true, ..several(&["Hi", "card 4111 1111 1111 1111", "Ho"]) };
    let handle = house.gate.run(&caller(), asked).await.expect("passes");
    let (texts, ..) = answers(handle, 3).await;
    assert_eq!((texts[0].as_str(), texts[2].as_str()), ("Hix", "Hox"));
    assert!(texts[1].starts_with("card ") && !texts[1].contains("4111"), "{}", texts[1]);
}

#[tokio::test]
async fn what_would_never_have_a_place_or_is_too_much_to_judge_takes_nothing() {
    let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
    let caller = caller();
    let long = "a".repeat(190);
    let judged = |prompts| ExchangeRequest {
        echoes: true,
        logprobs: Some(0),
        choices: 128,
        max_tokens: Some(0),
        ..several(&vec![long.as_str(); prompts])
    };
    // Nine texts where the line has places for eight, and 8 prompts of 190 tokens with 128 answers each.
    for (asked, parameter) in [(several(&["Hi"; 9]), "prompt"), (judged(8), "logprobs")] {
        match house.gate.run(&caller, asked).await {
            Err(GateError::OutOfRange { parameter: told, .. }) => assert_eq!(told, parameter),
            other => panic!("{other:?}"),
        }
    }
    assert!(house.engine.seen.lock().is_empty());
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 0);
    let handle = house.gate.run(&caller, several(&["Hi"; 8])).await.expect("passes");
    assert_eq!(answers(handle, 8).await.0, vec!["x"; 8]);
}

#[tokio::test]
async fn leaving_ends_the_answers_to_all_prompts() {
    let house = House::new(Scripted::new(&["abc "], Then::Hang)).await;
    let caller = caller();
    let handle = house.gate.run(&caller, several(&["Hello", "Hi"])).await.expect("passes");
    assert_eq!(house.engine.alive.load(Ordering::SeqCst), 2);
    drop(handle);
    house.engine_is_idle().await;
}

#[tokio::test]
async fn a_prompt_is_sent_back_with_its_tokens_also_where_nothing_is_answered() {
    let house = House::new(Scripted::new(&["Good"], Then::Finish)).await;
    let asked = |prompt, bound| ExchangeRequest {
        echoes: true,
        logprobs: Some(0),
        max_tokens: Some(bound),
        ..request(prompt)
    };
    let handle = house.gate.run(&caller(), asked("Hey", 8)).await.expect("passes");
    let (texts, tokens, usage) = answers(handle, 1).await;
    assert_eq!((texts[0].as_str(), usage.completion_tokens), ("HeyGood", 4));
    assert!(tokens[0].len() == 7 && tokens[0][0].is_nan(), "nothing stands before the first");
    assert!(tokens[0][1..].iter().all(|logprob| *logprob <= 0.0));
    let caller = caller();
    let handle = house.gate.run(&caller, asked("Hey", 0)).await.expect("passes");
    let (texts, tokens, usage) = answers(handle, 1).await;
    assert_eq!((texts[0].as_str(), tokens[0].len()), ("Hey", 3));
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 0));
    assert_eq!(house.gate.usage(&caller).tokens_day.used, 3);
    // Of a prompt that was changed none is shown.
    let handle = house.gate.run(&caller, asked("4111 1111 1111 1111", 8)).await.expect("passes");
    let (texts, tokens, _) = answers(handle, 1).await;
    assert!(!texts[0].contains("4111") && tokens[0].is_empty(), "{texts:?}");
}
