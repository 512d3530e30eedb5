//! The whole engine over real model files.

mod choices;
mod forms;
mod load;
mod prompts;
mod speculation;

use super::*;
use crate::testing::shared;

fn options() -> EngineOptions {
    EngineOptions {
        kv_budget_bytes: 64 << 20,
        kv_precision: KvPrecision::F32,
        // What is measured decides about guesses otherwise; the tests of guesses turn them on.
        speculation: Speculation::Off,
        ..EngineOptions::default()
    }
}

fn engine(name: &str, options: EngineOptions) -> Option<Engine> {
    Some(Engine::load(Weights::File(shared(name)?), options, &LoadProgress::new()).expect("loads"))
}

fn finish(mut generation: Generation) -> (String, FinishReason, Usage) {
    let mut text = String::new();
    while let Some(event) = generation.next_blocking() {
        match event {
            GenerationEvent::Started { .. } | GenerationEvent::Prompt(_) => {}
            GenerationEvent::Text { text: piece, .. } => text.push_str(&piece),
            GenerationEvent::Finished { reason, usage } => return (text, reason, usage),
            GenerationEvent::Failed(error) => panic!("{error}"),
        }
    }
    panic!("the generation ended without an end");
}

/// Reads many at once: who is not read gives the place up after a while.
fn each<T: Send + 'static>(all: Vec<Generation>, read: fn(Generation) -> T) -> Vec<T> {
    let readers: Vec<_> =
        all.into_iter().map(|one| std::thread::spawn(move || read(one))).collect();
    readers.into_iter().map(|reader| reader.join().expect("reads")).collect()
}

/// The tokens and the bits of their log-probabilities, with those of the alternatives.
fn told(mut generation: Generation) -> Vec<(u32, Vec<u32>)> {
    let mut told = Vec::new();
    while let Some(event) = generation.next_blocking() {
        match event {
            GenerationEvent::Text { logprobs, .. } => {
                for one in logprobs {
                    let all = std::iter::once(&one.chosen).chain(&one.top);
                    let bits = all.map(|candidate| candidate.logprob.to_bits()).collect();
                    told.push((one.chosen.token, bits));
                }
            }
            GenerationEvent::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
    told
}

const STORIES: &str = "weights/stories260K/stories260K.gguf";
const BABY: &str = "weights/babyllama-tok105/babyllama.gguf";

fn ask(engine: &Engine, text: &str, max_tokens: usize, domain: u128) -> Generation {
    let request = GenerationRequest::new(engine.tokenize(text), max_tokens, Domain(domain));
    engine.generate(request).expect("accepted")
}

fn sampled(engine: &Engine, text: &str, max_tokens: usize, domain: u128) -> GenerationRequest {
    let mut request = GenerationRequest::new(engine.tokenize(text), max_tokens, Domain(domain));
    request.sampling = Sampling {
        temperature: 1.0,
        top_k: 50,
        typical_p: 0.95,
        top_p: 0.95,
        min_p: 0.01,
        repetition_penalty: 1.1,
        repetition_last_n: Some(24),
        dry: Some(Dry::default()),
        seed: Some(11),
        ..Sampling::default()
    };
    request
}

const PARK: &str =
    "Once upon a time there was a little dog and a big cat and they played in the park all day. ";

#[test]
fn a_real_model_tells_a_story() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let (text, reason, usage) = finish(ask(&engine, "Once upon a time", 80, 1));
    assert!(text.split_whitespace().count() > 20, "{text}");
    assert!(text.contains("was"), "{text}");
    assert!(matches!(reason, FinishReason::Length | FinishReason::Stop));
    assert!(usage.completion_tokens <= 80 && usage.prompt_tokens >= 4);
}

#[test]
fn the_engines_count_is_there_from_the_start_and_outlives_a_cancelled_answer() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let mut whole = ask(&engine, "Once upon a time", 20, 1);
    let Some(GenerationEvent::Started { generated, .. }) = whole.next_blocking() else {
        panic!("it starts first");
    };
    assert_eq!(finish(whole).2.completion_tokens as u64, generated.get());
    let mut cut = ask(&engine, "Once upon a time", 60, 1);
    let Some(GenerationEvent::Started { generated, cached_tokens }) = cut.next_blocking() else {
        panic!("it starts first");
    };
    assert_eq!(cached_tokens, 0, "the prompt is shorter than a block");
    for _ in 0..5 {
        assert!(matches!(cut.next_blocking(), Some(GenerationEvent::Text { .. })));
    }
    drop(cut);
    assert!((5..60).contains(&generated.get()), "{}", generated.get());
}

/// Greedy tokens and logits by candle-transformers, an implementation that is not ours.
fn reference(path: &std::path::Path, prompt: &[u32], steps: usize) -> (Vec<Vec<f32>>, Vec<u32>) {
    use candle_core::{Device, Tensor};
    use candle_transformers::models::quantized_llama::ModelWeights;
    let mut file = std::fs::File::open(path).expect("opens");
    let content = candle_core::quantized::gguf_file::Content::read(&mut file).expect("reads");
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).expect("loads");
    let (mut tokens, mut rows) = (prompt.to_vec(), Vec::new());
    let mut at = 0;
    for _ in 0..steps {
        let input =
            Tensor::new(&tokens[at..], &Device::Cpu).and_then(|t| t.unsqueeze(0)).expect("input");
        let logits = model.forward(&input, at).and_then(|t| t.squeeze(0)).expect("forward");
        let row: Vec<f32> = logits.to_vec1().expect("row");
        at = tokens.len();
        let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("some") as u32;
        tokens.push(best);
        rows.push(row);
    }
    (rows, tokens[prompt.len()..].to_vec())
}

#[test]
fn logits_and_greedy_text_are_those_of_another_implementation() {
    for name in [STORIES, BABY] {
        let Some(path) = shared(name) else { return };
        let engine = Engine::load(Weights::File(path.clone()), options(), &LoadProgress::new())
            .expect("loads");
        let prompt = engine.tokenize("Once upon a time there was a little");
        let (rows, tokens) = reference(&path, &prompt, 64);
        // Log-probabilities of the same greedy path, from ours.
        let mut request = GenerationRequest::new(prompt, 64, Domain(1));
        request.logprobs = Some(20);
        let mut generation = engine.generate(request).expect("accepted");
        let mut index = 0;
        while let Some(event) = generation.next_blocking() {
            let GenerationEvent::Text { logprobs, .. } = event else { continue };
            for one in logprobs {
                assert_eq!(one.chosen.token, tokens[index], "{name}, token {index}");
                let row = &rows[index];
                let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = row.iter().map(|x| f64::from(x - top).exp()).sum();
                for candidate in &one.top {
                    let theirs = f64::from(row[candidate.token as usize] - top) - sum.ln();
                    let ours = f64::from(candidate.logprob);
                    assert!(
                        (ours - theirs).abs() < 1e-3,
                        "{name}, token {index}: {ours} and {theirs}"
                    );
                }
                index += 1;
            }
        }
        assert!(index >= 32, "{name}: only {index} tokens were compared");
    }
}

#[test]
fn batched_chunked_and_crowded_answers_equal_lone_ones() {
    let prompts: Vec<String> = (0..16)
        .map(|i| {
            format!(
                "Once upon a time there {} a {}",
                ["was", "lived"][i % 2],
                "little dog and a big cat ".repeat(i)
            )
        })
        .collect();
    let Some(alone) = engine(STORIES, options()) else { return };
    let lone: Vec<String> =
        prompts.iter().map(|prompt| finish(ask(&alone, prompt, 40, 1)).0).collect();
    // A cache for about two of sixteen, prompts in slices of 24 tokens.
    let info = alone.info();
    assert!(info.context_tokens >= 256);
    let crowded = EngineOptions {
        kv_budget_bytes: 1 << 20,
        prefill_chunk_tokens: 24,
        streams_max: 16,
        ..options()
    };
    let Some(engine) = engine(STORIES, crowded) else { return };
    let budget = engine.stats().kv_total_bytes;
    assert!(budget <= 1 << 20);
    let running: Vec<Generation> =
        prompts.iter().enumerate().map(|(i, prompt)| ask(&engine, prompt, 40, i as u128)).collect();
    for (index, generation) in running.into_iter().enumerate() {
        assert_eq!(finish(generation).0, lone[index], "prompt {index}");
        assert!(engine.stats().kv_used_bytes <= budget);
    }
    assert_eq!(engine.stats().kv_used_bytes, 0);
}

#[test]
fn a_repeated_prompt_comes_from_its_own_domain_only_and_gives_the_same() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let prompt = "Once upon a time there was a little dog and a big cat and they played in the park all day long. ".repeat(2);
    let first = finish(ask(&engine, &prompt, 20, 1));
    let again = finish(ask(&engine, &prompt, 20, 1));
    let other = finish(ask(&engine, &prompt, 20, 2));
    assert_eq!(first.2.cached_tokens, 0);
    assert!(again.2.cached_tokens >= 32);
    assert_eq!(other.2.cached_tokens, 0);
    assert_eq!((&first.0, &first.0), (&again.0, &other.0));
}

#[test]
fn a_seed_repeats_alone_and_in_company() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let seeded = |domain: u128| {
        let mut request =
            GenerationRequest::new(engine.tokenize("Once upon a time"), 40, Domain(domain));
        request.sampling =
            Sampling { temperature: 1.0, top_p: 0.9, seed: Some(7), ..Sampling::default() };
        engine.generate(request).expect("accepted")
    };
    let alone = finish(seeded(1)).0;
    let company: Vec<Generation> = (2..8).map(seeded).collect();
    for generation in company {
        assert_eq!(finish(generation).0, alone);
    }
}

#[test]
fn a_dropped_generation_gives_its_place_back() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let mut generation = ask(&engine, "Once upon a time", 400, 1);
    while !matches!(generation.next_blocking(), Some(GenerationEvent::Text { .. })) {}
    drop(generation);
    for _ in 0..1_000 {
        let stats = engine.stats();
        if stats.running == 0 && stats.kv_used_bytes == 0 && stats.requests_cancelled_total == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{:?}", engine.stats());
}

#[test]
fn who_does_not_read_gives_the_place_to_who_waits_and_gets_it_back() {
    let Some(lone) = engine(STORIES, options()) else { return };
    let whole = finish(ask(&lone, "Once upon a time", 200, 1)).0;
    let Some(engine) = engine(STORIES, EngineOptions { streams_max: 1, ..options() }) else {
        return;
    };
    let slow = ask(&engine, "Once upon a time", 200, 1);
    // There is one place, and the slow reader has it: this ends only where it is given up.
    assert_eq!(finish(ask(&engine, "Once upon a time", 200, 2)).0, whole);
    assert!(engine.stats().preemptions_total >= 1);
    assert_eq!(finish(slow).0, whole);
    assert_eq!(engine.stats().kv_used_bytes, 0);
}

#[tokio::test]
async fn a_judgement_that_lost_its_place_counts_nothing_twice() {
    hold_judgements(KvPrecision::F32).await;
}

#[tokio::test]
async fn nor_does_one_whose_cache_is_in_bytes() {
    hold_judgements(KvPrecision::Q8).await;
}

#[test]
fn a_cache_in_bytes_changes_what_a_model_expects_by_little() {
    let Some(path) = shared(STORIES) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
    let scored = |kv_precision| {
        let options = EngineOptions { kv_precision, ..options() };
        let engine = Engine::load(Weights::File(path.clone()), options, &LoadProgress::new());
        let engine = engine.expect("loads");
        let item = ScoreItem {
            prefix: engine.tokenize("Once upon a time"),
            continuation: engine.tokenize(&", there was a little girl named Lily. ".repeat(12)),
        };
        let scores = runtime.block_on(engine.score(vec![item], Domain(1))).expect("scored");
        scores[0].sum_logprob / scores[0].tokens as f64
    };
    let [exact, halves, bytes] = [KvPrecision::F32, KvPrecision::F16, KvPrecision::Q8].map(scored);
    assert!((halves - exact).abs() < 1e-3, "{halves} and {exact}");
    assert!((bytes - exact).abs() < 2e-2 && bytes != exact, "{bytes} and {exact}");
}

async fn hold_judgements(kv_precision: KvPrecision) {
    let Some(path) = shared(STORIES) else { return };
    let options = || EngineOptions { kv_precision, ..options() };
    let load = |options: EngineOptions| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            Engine::load(Weights::File(path), options, &LoadProgress::new())
        })
    };
    let lone = load(options()).await.expect("joined").expect("loads");
    let item = |i: usize| ScoreItem {
        prefix: lone.tokenize(&format!("Once upon a time number {i}")),
        continuation: lone.tokenize(&"there was a little dog and a big cat ".repeat(9)),
    };
    let items: Vec<ScoreItem> = (0..6).map(item).collect();
    let alone = lone.score(items.clone(), Domain(1)).await.expect("scored");
    // As many blocks of either.
    let kv_budget_bytes = if kv_precision == KvPrecision::Q8 { 5 << 16 } else { 1 << 20 };
    let crowded = EngineOptions { kv_budget_bytes, prefill_chunk_tokens: 8, ..options() };
    let crowded = load(crowded).await.expect("joined").expect("loads");
    let older: Vec<Generation> =
        (2..5).map(|domain| ask(&crowded, "Once upon a time", 300, domain)).collect();
    let readers: Vec<_> =
        older.into_iter().map(|one| tokio::task::spawn_blocking(|| finish(one))).collect();
    let mut rounds = 0;
    // Who is pushed out depends on the course of things; it happens within a few rounds.
    while crowded.stats().preemptions_total == 0 || rounds == 0 {
        let scores = crowded.score(items.clone(), Domain(1)).await.expect("scored");
        for (score, alone) in scores.iter().zip(&alone) {
            assert_eq!(score.sum_logprob.to_bits(), alone.sum_logprob.to_bits());
            assert_eq!((score.tokens, score.is_greedy), (alone.tokens, alone.is_greedy));
        }
        rounds += 1;
        assert!(rounds < 50, "nothing was ever pushed out");
    }
    for reader in readers {
        reader.await.expect("joined");
    }
}

#[test]
fn requests_that_cannot_be_are_refused() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let context = engine.info().context_tokens;
    let vocabulary = engine.info().vocabulary as u32;
    for (prompt, max_tokens, wanted) in [
        (vec![], 1, EngineError::Empty),
        (
            vec![1; context],
            1,
            EngineError::PromptTooLong { tokens: context, tokens_max: context - 1 },
        ),
        (vec![vocabulary], 1, EngineError::UnknownToken { token: vocabulary }),
        (vec![1], 0, EngineError::OutOfRange { parameter: "max_tokens", expected: "at least 1" }),
    ] {
        let request = GenerationRequest::new(prompt, max_tokens, Domain(1));
        assert_eq!(engine.generate(request).expect_err("refused"), wanted);
    }
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_in_it() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let whole = finish(ask(&engine, "Once upon a time", 60, 1)).0;
    let stop = whole.split_whitespace().nth(8).expect("words").to_owned();
    let mut request = GenerationRequest::new(engine.tokenize("Once upon a time"), 60, Domain(1));
    request.stop = vec!["<never>".to_owned(), stop.clone()];
    let (text, reason, _) = finish(engine.generate(request).expect("accepted"));
    assert_eq!(reason, FinishReason::StopText(1));
    assert!(whole.starts_with(&text) && !text.contains(&stop));
}

#[tokio::test]
async fn scores_are_the_sums_of_what_generation_reports() {
    let Some(path) = shared(STORIES) else { return };
    let engine = tokio::task::spawn_blocking(move || {
        Engine::load(Weights::File(path), options(), &LoadProgress::new()).expect("loads")
    })
    .await
    .expect("joined");
    let prefix = engine.tokenize("Once upon a time there was");
    let mut request = GenerationRequest::new(prefix.clone(), 12, Domain(1));
    request.logprobs = Some(0);
    let mut generation = engine.generate(request).expect("accepted");
    let (mut continuation, mut sum) = (Vec::new(), 0.0);
    while let Some(event) = generation.next().await {
        if let GenerationEvent::Text { logprobs, .. } = event {
            for one in logprobs {
                continuation.push(one.chosen.token);
                sum += f64::from(one.chosen.logprob);
            }
        }
    }
    let other = vec![continuation[1], continuation[0]];
    let tokens = continuation.len();
    let items = vec![
        ScoreItem { prefix: prefix.clone(), continuation },
        ScoreItem { prefix, continuation: other },
    ];
    let scores = engine.score(items, Domain(2)).await.expect("scored");
    assert!((scores[0].sum_logprob - sum).abs() < 1e-3, "{} and {sum}", scores[0].sum_logprob);
    assert!(scores[0].is_greedy && scores[0].tokens == tokens);
    assert!(!scores[1].is_greedy && scores[1].sum_logprob < 0.0);
}

#[test]
fn after_shutdown_nothing_new_is_taken_and_what_runs_may_end() {
    let Some(engine) = engine(STORIES, options()) else { return };
    let running = ask(&engine, "Once upon a time", 30, 1);
    engine.shutdown();
    let refused = engine.generate(GenerationRequest::new(vec![1], 1, Domain(1)));
    assert!(matches!(refused, Err(EngineError::Closed)));
    // It ran, or was still waiting when the door closed.
    drop(running);
    engine.wait_closed();
}
