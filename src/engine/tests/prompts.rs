//! Prompts whose own tokens are judged.

use super::*;

/// What was said of the prompt, and of the answer.
fn judged(mut generation: Generation) -> (Vec<TokenLogprob>, Vec<TokenLogprob>, Usage) {
    let (mut prompt, mut answer) = (Vec::new(), Vec::new());
    while let Some(event) = generation.next_blocking() {
        match event {
            GenerationEvent::Prompt(all) => {
                assert!(answer.is_empty(), "the prompt comes first");
                prompt.push(all);
            }
            GenerationEvent::Text { logprobs, .. } => answer.extend(logprobs),
            GenerationEvent::Finished { usage, .. } => {
                assert_eq!(prompt.len(), 1, "it is told once");
                return (prompt.remove(0), answer, usage);
            }
            GenerationEvent::Failed(error) => panic!("{error}"),
            GenerationEvent::Started { .. } => {}
        }
    }
    panic!("the generation ended without an end");
}

fn judging(engine: &Engine, text: &str, max_tokens: usize) -> GenerationRequest {
    GenerationRequest {
        logprobs: Some(2),
        judges_prompt: true,
        ..GenerationRequest::new(engine.tokenize(text), max_tokens, Domain(1))
    }
}

#[test]
fn what_was_an_answer_is_judged_as_a_prompt_as_it_was_when_it_was_written() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let prompt = engine.tokenize(&PARK.repeat(2));
    let mut request = GenerationRequest::new(prompt.clone(), 24, Domain(1));
    request.logprobs = Some(2);
    let mut written = Vec::new();
    let mut generation = engine.generate(request).expect("accepted");
    while let Some(event) = generation.next_blocking() {
        if let GenerationEvent::Text { logprobs, .. } = event {
            written.extend(logprobs);
        }
    }
    let answer = written.iter().map(|one| one.chosen.token);
    let whole: Vec<u32> = prompt.iter().copied().chain(answer).collect();
    // What the cache has of it changes nothing.
    for _ in 0..2 {
        let request = GenerationRequest { prompt: whole.clone(), ..judging(&engine, "a", 0) };
        let (judged, answer, usage) = judged(engine.generate(request).expect("accepted"));
        assert!(answer.is_empty());
        assert_eq!((usage.completion_tokens, usage.prompt_tokens), (0, whole.len()));
        let tokens: Vec<u32> = judged.iter().map(|one| one.chosen.token).collect();
        assert_eq!(tokens, whole[1..]);
        let own = &judged[prompt.len() - 1..];
        assert_eq!(own.len(), written.len());
        for (judged, written) in own.iter().zip(&written) {
            let apart = (judged.chosen.logprob - written.chosen.logprob).abs();
            assert!(apart < 1e-3, "{judged:?} and {written:?}");
            assert_eq!(judged.top.len(), 2);
            assert_eq!(judged.top[0].token, written.top[0].token);
        }
    }
}

#[test]
fn every_answer_to_a_judged_prompt_is_told_and_is_what_it_would_be_alone() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let asked = || GenerationRequest {
        judges_prompt: true,
        logprobs: Some(0),
        ..sampled(&engine, PARK, 20, 1)
    };
    let plain = GenerationRequest { logprobs: Some(0), ..sampled(&engine, PARK, 20, 2) };
    let plain = each(engine.generate_choices(plain, 3).expect("accepted"), told);
    let all = each(engine.generate_choices(asked(), 3).expect("accepted"), judged);
    for ((prompt, answer, _), told) in all.iter().zip(&plain) {
        assert_eq!(prompt, &all[0].0);
        assert!(!prompt.is_empty());
        let tokens = |one: &TokenLogprob| one.chosen.token;
        assert!(answer.iter().map(tokens).eq(told.iter().map(|(token, _)| *token)));
    }
    let nothing = GenerationRequest { judges_prompt: false, ..judging(&engine, "a", 0) };
    assert!(matches!(engine.generate(nothing), Err(EngineError::OutOfRange { .. })));
}

#[test]
fn a_prompt_without_an_answer_is_not_judged_where_nobody_asks_for_it() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let text = PARK.repeat(4);
    for is_cached in [false, true] {
        let request = GenerationRequest { logprobs: None, ..judging(&engine, &text, 0) };
        let mut generation = engine.generate(request).expect("accepted");
        let usage = loop {
            match generation.next_blocking().expect("an end") {
                GenerationEvent::Started { .. } => {}
                GenerationEvent::Finished { reason: FinishReason::Length, usage } => break usage,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((usage.completion_tokens, usage.cached_tokens > 0), (0, is_cached));
    }
}
