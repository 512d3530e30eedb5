//! Several answers to one prompt.

use super::*;

#[test]
fn several_answers_read_their_prompt_once_and_each_repeats() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let prompt = PARK.repeat(2);
    let all = |domain| engine.generate_choices(sampled(&engine, &prompt, 40, domain), 4);
    let first = each(all(1).expect("accepted"), finish);
    let stats = engine.stats();
    let prompt_tokens = first[0].2.prompt_tokens;
    assert_eq!(stats.prompt_tokens_total, prompt_tokens as u64);
    assert_eq!(stats.requests_finished_total, 4);
    assert_eq!(stats.kv_used_bytes, 0);
    for (index, (text, _, usage)) in first.iter().enumerate() {
        assert_eq!(usage.prompt_tokens, prompt_tokens);
        assert!(first[..index].iter().all(|(other, ..)| other != text), "{text} came twice");
    }
    // The first is what the seed gives alone; all are the same in company and in any batch.
    let alone = finish(engine.generate(sampled(&engine, &prompt, 40, 2)).expect("accepted"));
    assert_eq!(alone.0, first[0].0);
    let company = ask(&engine, "Once upon a time", 60, 3);
    let again = each(all(4).expect("accepted"), finish);
    finish(company);
    for (first, again) in first.iter().zip(&again) {
        assert_eq!((&first.0, first.1), (&again.0, again.1));
    }
}

#[test]
fn one_answers_end_does_not_end_the_others() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let request = sampled(&engine, PARK, 60, 1);
    let whole = each(engine.generate_choices(request.clone(), 3).expect("accepted"), finish);
    let mut some = engine.generate_choices(request, 3).expect("accepted");
    // The one that reads the prompt for all goes first.
    drop(some.remove(0));
    let rest = each(some, finish);
    for (rest, whole) in rest.iter().zip(&whole[1..]) {
        assert_eq!((&rest.0, rest.1), (&whole.0, whole.1));
    }
    assert_eq!(engine.stats().requests_cancelled_total, 1);
}

#[test]
fn several_answers_survive_a_cache_that_holds_few() {
    let Some(alone) = engine(STORIES, options()) else { return };
    let whole = |engine: &Engine| -> Vec<String> {
        let request = |domain| sampled(engine, PARK, 120, domain);
        let all = (1..5)
            .flat_map(|domain| engine.generate_choices(request(domain), 4).expect("accepted"));
        each(all.collect(), |one| finish(one).0)
    };
    let expected = whole(&alone);
    let crowded = EngineOptions {
        kv_budget_bytes: 1 << 19,
        prefill_chunk_tokens: 16,
        streams_max: 6,
        ..options()
    };
    let Some(engine) = engine(STORIES, crowded) else { return };
    assert_eq!(whole(&engine), expected);
    assert!(engine.stats().preemptions_total > 0, "the cache was large enough for all");
    assert_eq!(engine.stats().kv_used_bytes, 0);
    for choices in [0, 7] {
        let request = sampled(&engine, PARK, 10, 1);
        let refused = engine.generate_choices(request, choices).expect_err("refused");
        assert!(matches!(refused, EngineError::OutOfRange { parameter: "n", .. }));
    }
}
