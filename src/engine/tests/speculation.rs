//! Guessed tokens change nothing but the number of steps.

use std::collections::HashMap;

use super::*;

fn with(speculation: Speculation, kv_precision: KvPrecision) -> EngineOptions {
    EngineOptions { kv_precision, speculation, ..options() }
}

fn requests(engine: &Engine) -> Vec<GenerationRequest> {
    let greedy = |text: &str| {
        let mut request = GenerationRequest::new(engine.tokenize(text), 100, Domain(1));
        request.logprobs = Some(5);
        request
    };
    let repeated = PARK.repeat(2);
    let mut all = vec![greedy("Once upon a time"), greedy(&repeated)];
    for seed in 0..6 {
        let mut request = sampled(engine, &repeated, 100, 1);
        request.sampling.seed = Some(seed);
        request.logprobs = Some(2);
        if seed % 2 == 0 {
            // Without DRY the model repeats itself, and guesses come true.
            request.sampling.dry = None;
            request.sampling.temperature = 0.5;
            request.sampling.presence_penalty = 0.2;
            request.sampling.frequency_penalty = 0.1;
            request.sampling.logit_bias = vec![(5, 1.5), (60, -4.0)];
        }
        all.push(request);
    }
    all
}

fn ask_all(engine: &Engine) -> Vec<Vec<(u32, Vec<u32>)>> {
    let running = requests(engine).into_iter().map(|one| engine.generate(one).expect("accepted"));
    each(running.collect(), told)
}

#[test]
fn guesses_change_no_bit_of_an_answer() {
    for name in [STORIES, BABY] {
        for precision in [KvPrecision::F16, KvPrecision::F32] {
            let Some(plain) = engine(name, with(Speculation::Off, precision)) else { return };
            let Some(guessing) = engine(name, with(Speculation::On, precision)) else { return };
            let expected = ask_all(&plain);
            assert_eq!(plain.stats().guessed_tokens_total, 0);
            // All at once, so that guesses of one stand beside tokens of others.
            assert!(ask_all(&guessing) == expected, "{name}");
            let stats = guessing.stats();
            assert!(stats.guessed_right_total > 0, "{name}: {stats:?}");
            assert!(stats.guessed_right_total < stats.guessed_tokens_total, "{name}: {stats:?}");
            assert_eq!(stats.kv_used_bytes, 0);
        }
    }
}

#[test]
fn guesses_take_no_room_that_others_need() {
    let Some(plain) = engine(STORIES, with(Speculation::Off, KvPrecision::F32)) else { return };
    let tight = EngineOptions {
        kv_budget_bytes: 1 << 20,
        prefill_chunk_tokens: 24,
        ..with(Speculation::On, KvPrecision::F32)
    };
    let Some(guessing) = engine(STORIES, tight) else { return };
    assert!(ask_all(&guessing) == ask_all(&plain));
    assert!(guessing.stats().preemptions_total > 0);
    assert_eq!(guessing.stats().kv_used_bytes, 0);
}

#[test]
fn a_draft_model_changes_the_number_of_steps_alone() {
    let Some(path) = shared(STORIES) else { return };
    let Some(plain) = engine(STORIES, with(Speculation::Off, KvPrecision::F16)) else { return };
    // The model guesses for itself: with greedy choice, nearly always right.
    let drafted = |kv_budget_bytes| EngineOptions {
        draft: Some(path.clone()),
        kv_budget_bytes,
        ..with(Speculation::On, KvPrecision::F16)
    };
    let expected = ask_all(&plain);
    // With little room, the small model guesses for some and not for others.
    for budget in [64 << 20, 1 << 20] {
        let Some(guessing) = engine(STORIES, drafted(budget)) else { return };
        assert!(guessing.stats().kv_total_bytes <= budget);
        assert!(ask_all(&guessing) == expected, "with {budget} bytes");
    }
    let Some(guessing) = engine(STORIES, drafted(64 << 20)) else { return };
    let once = |engine: &Engine| {
        let (text, _, usage) = finish(ask(engine, "Once upon a time", 90, 1));
        (text, usage.completion_tokens, engine.stats().steps_total)
    };
    let Some(fresh) = engine(STORIES, with(Speculation::Off, KvPrecision::F16)) else { return };
    let (plain, guessed) = (once(&fresh), once(&guessing));
    assert_eq!((&plain.0, plain.1), (&guessed.0, guessed.1));
    assert!(guessed.2 * 3 < plain.2, "{} steps instead of {}", guessed.2, plain.2);
}

#[test]
fn a_draft_model_of_another_vocabulary_is_not_used() {
    let Some(path) = shared(BABY) else { return };
    let options = EngineOptions { draft: Some(path), ..with(Speculation::On, KvPrecision::F16) };
    let Some(engine) = engine(STORIES, options) else { return };
    let (text, ..) = finish(ask(&engine, "Once upon a time", 40, 1));
    let Some(plain) = super::engine(STORIES, with(Speculation::Off, KvPrecision::F16)) else {
        return;
    };
    assert_eq!(text, finish(ask(&plain, "Once upon a time", 40, 1)).0);
}

#[test]
fn a_text_that_repeats_takes_fewer_steps() {
    let list = "Tim has a red ball. Tom has a blue ball. ".repeat(6);
    let steps = |speculation| {
        let engine = engine(STORIES, with(speculation, KvPrecision::F16))?;
        let mut request = GenerationRequest::new(engine.tokenize(&list), 120, Domain(1));
        // The model is held to the words of the list, as who copies a passage is.
        let mut words = engine.tokenize(&list);
        words.sort_unstable();
        words.dedup();
        request.sampling.logit_bias = words.into_iter().map(|token| (token, 50.0)).collect();
        let (_, _, usage) = finish(engine.generate(request).expect("accepted"));
        Some((engine.stats().steps_total, usage.completion_tokens))
    };
    let (Some(plain), Some(guessing)) = (steps(Speculation::Off), steps(Speculation::On)) else {
        return;
    };
    assert_eq!(plain.1, guessing.1);
    assert!(guessing.0 * 3 < plain.0 * 2, "{} steps instead of {}", guessing.0, plain.0);
}

/// The critical values of the chi-squared distribution at 0.001, by degrees of freedom from 1.
const CRITICAL: [f64; 12] =
    [10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12, 27.88, 29.59, 31.26, 32.91];

#[test]
fn draws_with_guesses_follow_the_models_own_distribution() {
    let Some(path) = shared(STORIES) else { return };
    // A small model guesses at every place, so that every second token is drawn beside a guess.
    let options = EngineOptions { draft: Some(path), ..with(Speculation::On, KvPrecision::F32) };
    let Some(engine) = engine(STORIES, options) else { return };
    let prompt = engine.tokenize("Once upon a time");
    let draw = |seed: u64| {
        let mut request = GenerationRequest::new(prompt.clone(), 3, Domain(1));
        request.logprobs = Some(0);
        request.sampling = Sampling { temperature: 1.0, seed: Some(seed), ..Sampling::default() };
        request
    };
    let mut pairs = Vec::new();
    for some in (0..1_600_u64).collect::<Vec<_>>().chunks(100) {
        let running: Vec<_> =
            some.iter().map(|&seed| engine.generate(draw(seed)).expect("accepted")).collect();
        for generation in running {
            let tokens = told(generation);
            if let [(first, _), (second, _), ..] = tokens[..] {
                pairs.push((first, second));
            }
        }
    }
    assert!(engine.stats().guessed_tokens_total > 800);
    // The second token is drawn beside guesses. Its distribution, after the most frequent first one,
    // is what the model says when it is asked for one token alone.
    let mut firsts: HashMap<u32, usize> = HashMap::new();
    for (first, _) in &pairs {
        *firsts.entry(*first).or_default() += 1;
    }
    let (&first, &total) = firsts.iter().max_by_key(|(_, count)| **count).expect("some");
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for (_, second) in pairs.iter().filter(|(one, _)| *one == first) {
        *counts.entry(*second).or_default() += 1;
    }
    let after = [&prompt[..], &[first]].concat();
    let mut request = GenerationRequest::new(after, 1, Domain(2));
    request.logprobs = Some(20);
    let mut generation = engine.generate(request).expect("accepted");
    let mut top = Vec::new();
    while let Some(event) = generation.next_blocking() {
        if let GenerationEvent::Text { logprobs, .. } = event {
            top.extend(logprobs.into_iter().flat_map(|one| one.top));
        }
    }
    let (mut statistic, mut bins, mut rest) = (0.0, 0, (1.0, total));
    for candidate in top {
        let share = f64::from(candidate.logprob).exp();
        let (expected, seen) = (share * total as f64, counts.get(&candidate.token).copied());
        if expected < 5.0 || bins == 11 {
            break;
        }
        let seen = seen.unwrap_or(0);
        statistic += (seen as f64 - expected).powi(2) / expected;
        rest = (rest.0 - share, rest.1 - seen);
        bins += 1;
    }
    let expected = rest.0 * total as f64;
    assert!(total > 100 && bins >= 1 && expected > 5.0, "{total} draws, {bins} bins, {expected}");
    statistic += (rest.1 as f64 - expected).powi(2) / expected;
    assert!(statistic < CRITICAL[bins - 1], "{statistic} with {bins} degrees of freedom");
}
