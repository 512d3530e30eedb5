//! Many at once: budgets hold, whoever comes, goes or waits.

use super::*;

#[test]
fn sixty_four_of_all_kinds_share_a_cache_for_eight() {
    let Some(lone) = engine(STORIES, options()) else { return };
    // Four blocks of this model, at 40,960 bytes, hold a prompt of middle length with most of its answer;
    // whoever grows beyond that pushes another out.
    let budget = 8 * 4 * 40_960;
    let tight = EngineOptions {
        kv_budget_bytes: budget,
        prefill_chunk_tokens: 32,
        streams_max: 12,
        queue_max: 100,
        speculation: Speculation::On,
        ..options()
    };
    let Some(engine) = engine(STORIES, tight) else { return };
    let total = engine.stats().kv_total_bytes;
    assert!(total <= budget);
    let request = |engine: &Engine, number: usize| {
        let text = ["Once upon a time", &PARK.repeat(3), PARK][number % 3].to_owned();
        let mut request = sampled(engine, &text, 80 + number % 50, (number % 7) as u128);
        request.sampling.seed = Some(number as u64);
        request
    };
    let choices = |number: usize| if number % 8 == 5 { 3 } else { 1 };
    let mut running = Vec::new();
    for number in 0..64 {
        let all = engine.generate_choices(request(&engine, number), choices(number));
        running.push((number, all.expect("the queue is long enough")));
    }
    let within = || {
        let stats = engine.stats();
        assert!(stats.kv_used_bytes + stats.kv_cached_bytes <= total, "{stats:?}");
        assert!(stats.running <= 12, "{stats:?}");
    };
    // Each is read by somebody of its own, so that the cache is full of all who have a place.
    let read = |(number, all): (usize, Vec<Generation>)| {
        if number % 9 == 4 {
            let count = all.len();
            all.into_iter().map(begun).for_each(drop);
            return (number, count, Vec::new());
        }
        let texts = all.into_iter().map(|one| {
            within();
            finish(one).0
        });
        (number, 0, texts.collect())
    };
    let read: Vec<_> = std::thread::scope(|scope| {
        let reading: Vec<_> =
            running.into_iter().map(|one| scope.spawn(move || read(one))).collect();
        reading.into_iter().map(|one| one.join().expect("reads to the end")).collect()
    });
    let (mut gone, mut answered) = (0, 0);
    for (number, dropped, texts) in read {
        gone += dropped;
        let expected = lone.generate_choices(request(&lone, number), choices(number));
        for (text, expected) in texts.into_iter().zip(expected.expect("accepted")) {
            assert_eq!(text, finish(expected).0, "request {number}");
            answered += 1;
        }
    }
    let stats = engine.stats();
    assert_eq!((answered, gone), (64 + 16 - gone, gone));
    assert!(stats.preemptions_total > 0, "{stats:?}");
    assert_eq!(stats.requests_failed_total, 0, "{stats:?}");
    assert_eq!((stats.kv_used_bytes, stats.queued, stats.running), (0, 0, 0));
}

/// An answer of which something was said, or that has ended.
fn begun(mut generation: Generation) -> Generation {
    while let Some(event) = generation.next_blocking() {
        if matches!(event, GenerationEvent::Text { .. }) {
            break;
        }
    }
    generation
}

#[test]
fn who_leaves_costs_one_step_at_most() {
    let Some(engine) = engine(STORIES, options()) else { return };
    for _ in 0..20 {
        let cancelled = engine.stats().requests_cancelled_total;
        let mut generation = ask(&engine, "Once upon a time", 400, 1);
        while !matches!(generation.next_blocking(), Some(GenerationEvent::Text { .. })) {}
        drop(generation);
        // Read after the reader has left: one step may be under way, none begins.
        let before = engine.stats().steps_total;
        for _ in 0..2_000 {
            if engine.stats().requests_cancelled_total > cancelled {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let stats = engine.stats();
        assert_eq!(stats.requests_cancelled_total, cancelled + 1, "{stats:?}");
        assert!(stats.steps_total <= before + 1, "{} after {before}", stats.steps_total);
    }
}

#[test]
fn a_full_queue_says_so_at_once() {
    let small = EngineOptions { streams_max: 1, queue_max: 2, ..options() };
    let Some(engine) = engine(STORIES, small) else { return };
    let mut running = Vec::new();
    let refused = (0..50).find_map(|_| {
        let request = GenerationRequest::new(engine.tokenize("Once"), 400, Domain(1));
        match engine.generate(request) {
            Ok(generation) => {
                running.push(generation);
                None
            }
            Err(error) => Some(error),
        }
    });
    assert_eq!(refused, Some(EngineError::Busy));
    assert!(running.len() <= 4, "{}", running.len());
}

#[test]
fn a_line_that_one_has_filled_has_places_for_others() {
    let small = EngineOptions { streams_max: 1, queue_max: 16, ..options() };
    let Some(engine) = engine(STORIES, small) else { return };
    let mut held = Vec::new();
    // The first has the place, as soon as it is seen there.
    let mut fill = |domain: u128| {
        let before = held.len();
        let refused = (0..40).find_map(|_| {
            let mut request = GenerationRequest::new(engine.tokenize("Once"), 400, Domain(domain));
            request.sampling.logit_bias = vec![(1, -1_000.0), (2, -1_000.0)];
            match engine.generate(request) {
                Ok(generation) => {
                    held.push(generation);
                    None
                }
                Err(error) => Some(error),
            }
        });
        assert_eq!(refused, Some(EngineError::Busy), "domain {domain}");
        held.len() - before
    };
    assert_eq!(engine.line(), 8, "as many as one request may have prompts");
    let taken: Vec<usize> = (1..=4).map(&mut fill).collect();
    // Half of the line, half of what is left, and so on; one more where one has begun meanwhile.
    for (place, (taken, most)) in taken.iter().zip([8, 4, 2, 1]).enumerate() {
        assert!((most..=most + 3).contains(taken), "{place}: {taken} of {most}");
    }
    drop(held);
    for _ in 0..2_000 {
        if engine.stats().queued == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(engine.stats().queued, 0);
}

#[test]
fn whoever_waits_moves_up_as_others_leave_the_line() {
    let small = EngineOptions { streams_max: 1, queue_max: 16, ..options() };
    let Some(engine) = engine(STORIES, small) else { return };
    let endless = |domain: u128| {
        let mut request = GenerationRequest::new(engine.tokenize("Once"), 400, Domain(domain));
        request.sampling.logit_bias = vec![(1, -1_000.0), (2, -1_000.0)];
        request
    };
    let first = begun(engine.generate(endless(1)).expect("accepted"));
    let (requests, mut waiting): (Vec<_>, Vec<_>) = (2..6)
        .map(|domain| {
            let request = endless(domain);
            let generation = engine.generate(request.clone()).expect("there is room");
            (request, Some(generation))
        })
        .unzip();
    let last = || requests[3].line.get();
    // None of them has to have left the line for that, but those before may have.
    assert!((1..=4).contains(&last()), "{}", last());
    let until = |most: usize| {
        let begun = std::time::Instant::now();
        while last() > most {
            assert!(begun.elapsed() < Duration::from_mins(2), "{} of {most}", last());
            std::thread::yield_now();
        }
    };
    // Who gives up is before nobody any more.
    waiting[1] = None;
    until(3);
    waiting[2] = None;
    until(2);
    waiting[0] = None;
    until(1);
    drop(first);
    until(0);
    drop(waiting);
}

#[test]
fn who_waits_or_works_too_long_is_told_which() {
    let limited = EngineOptions {
        streams_max: 1,
        queue_limit: Some(Duration::ZERO),
        request_limit: None,
        ..options()
    };
    let Some(engine) = engine(STORIES, limited.clone()) else { return };
    let ended = |mut generation: Generation| {
        std::iter::from_fn(|| generation.next_blocking()).find_map(|event| match event {
            GenerationEvent::Failed(error) => Some(error),
            _ => None,
        })
    };
    assert_eq!(ended(ask(&engine, "Once", 5, 1)), Some(EngineError::QueueTimeLimit));
    assert_eq!(engine.stats().queued, 0);
    let limited =
        EngineOptions { queue_limit: None, request_limit: Some(Duration::ZERO), ..limited };
    let Some(path) = shared(STORIES) else { return };
    let engine = Engine::load(Weights::File(path), limited, &LoadProgress::new()).expect("loads");
    assert_eq!(ended(ask(&engine, "Once", 5, 1)), Some(EngineError::TimeLimit));
}

/// What reading a prompt costs decides when its first token comes. It is the same whether somebody
/// else has asked the same before or nobody has; only one's own questions make it less.
#[test]
fn the_prompts_of_others_leave_no_trace_in_the_cost_of_ones_own() {
    let prompt = PARK.repeat(3);
    let cost = |engine: &Engine, domain: u128| {
        let before = engine.stats();
        let (_, _, usage) = finish(ask(engine, &prompt, 1, domain));
        let after = engine.stats();
        let read = after.prompt_tokens_total - before.prompt_tokens_total;
        (read, after.steps_total - before.steps_total, usage.cached_tokens)
    };
    let Some(cold) = engine(STORIES, options()) else { return };
    let alone = cost(&cold, 1);
    let Some(warm) = engine(STORIES, options()) else { return };
    for other in 2..6 {
        cost(&warm, other);
        cost(&warm, other);
    }
    assert_eq!(cost(&warm, 1), alone);
    let again = cost(&warm, 1);
    assert!(again.0 < alone.0 && again.2 > 0, "{again:?} and {alone:?}");
}
