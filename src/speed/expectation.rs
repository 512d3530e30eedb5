//! How well a model expects a text: its perplexity (Jelinek et al., 1977), which says what a
//! quantization of the weights or of the cache costs.

use serde::Serialize;

use super::SpeedError;
use crate::engine::{
    Cost, Domain, Engine, EngineOptions, KvPrecision, LoadProgress, ScoreItem, Speculation, Weights,
};

/// Tokens that are looked at together. The second half of them is judged, each token after all before
/// it; so does llama.cpp.
const WINDOW: usize = 512;
/// Fewer say nothing.
const WINDOW_MIN: usize = 32;
/// Windows between two words of how far it is.
const TOLD: usize = 8;

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Expectation {
    /// The exponential function of the mean of what each token's probability lacks, as a logarithm: of
    /// how many tokens the model is undecided between.
    pub perplexity: f64,
    /// How many tokens were judged.
    pub tokens: usize,
    /// How many stand in a window.
    pub window: usize,
}

/// Loads a model and lets it judge a text. `say` hears what is being done. Blocks.
pub fn expectation(
    weights: Weights,
    text: &str,
    kv_precision: KvPrecision,
    say: &mut dyn FnMut(&str),
) -> Result<Expectation, SpeedError> {
    say("reading the model");
    if Cost::of(weights.clone(), kv_precision)?.is_none() {
        return Err(SpeedError::Vectors);
    }
    let options =
        EngineOptions { kv_precision, speculation: Speculation::Off, ..EngineOptions::default() };
    let engine = Engine::load(weights, options, &LoadProgress::new())?;
    let judged = judge(&engine, text, say);
    engine.shutdown();
    engine.wait_closed();
    judged
}

fn judge(
    engine: &Engine,
    text: &str,
    say: &mut dyn FnMut(&str),
) -> Result<Expectation, SpeedError> {
    let window = WINDOW.min(engine.info().context_tokens);
    let first = engine.tokenize("");
    let tokens = engine.tokenize(text);
    let items = windows(&tokens, &first, window);
    let judged: usize = items.iter().map(|item| item.continuation.len()).sum();
    if judged == 0 {
        return Err(SpeedError::ShortText { tokens: tokens.len(), needed: window.max(WINDOW_MIN) });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut sum = 0.0;
    for (number, some) in items.chunks(TOLD).enumerate() {
        say(&format!("judging the text: {} of {} windows", number * TOLD, items.len()));
        let scores = runtime.block_on(engine.score(some.to_vec(), Domain(1)))?;
        sum += scores.iter().map(|score| score.sum_logprob).sum::<f64>();
    }
    Ok(Expectation { perplexity: (-sum / judged as f64).exp(), tokens: judged, window })
}

/// The text in whole windows, each of which begins as a text of its own: with `first`.
fn windows(tokens: &[u32], first: &[u32], window: usize) -> Vec<ScoreItem> {
    let own = window.saturating_sub(first.len());
    if own < WINDOW_MIN {
        return Vec::new();
    }
    let cut = |tokens: &[u32]| {
        let whole = [first, tokens].concat();
        let (prefix, continuation) = whole.split_at(window / 2 + 1);
        ScoreItem { prefix: prefix.to_vec(), continuation: continuation.to_vec() }
    };
    tokens[first.len().min(tokens.len())..].chunks_exact(own).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_whole_windows_that_begin_alike() {
        let tokens: Vec<u32> = (0..200).collect();
        let items = windows(&tokens, &[0], 64);
        assert_eq!(items.len(), 199 / 63);
        for (number, item) in items.iter().enumerate() {
            let own = 1 + 63 * number as u32;
            assert_eq!((item.prefix.len(), item.continuation.len()), (33, 31));
            assert_eq!(item.prefix[..3], [0, own, own + 1]);
            assert_eq!(item.continuation[30], own + 62);
        }
        let items = windows(&tokens, &[], 64);
        assert_eq!((items.len(), items[0].prefix[0], items[2].continuation[30]), (3, 0, 191));
        assert!(windows(&tokens, &[0], 32).is_empty() && windows(&[], &[0], 64).is_empty());
        assert!(windows(&tokens[..63], &[0], 64).is_empty());
    }
}
