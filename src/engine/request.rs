//! What goes into the engine and what comes out of it: plain data, no behaviour.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::constraint::Constraint;
use super::error::EngineError;
use super::output::AnswerParser;
use super::party::{SharedPrefix, Weight};

/// Whose cache a request may share: prompts of one domain never speed up those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(pub u128);

/// One generation, in tokens.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// The prompt, as `Engine::prompt` or `Engine::tokenize` made it.
    pub prompt: Vec<u32>,
    /// How many tokens may be generated at most; cut to what is left of the context.
    pub max_tokens: usize,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// What the answer is held to, as `Engine::constrain` made it.
    pub constraint: Option<Constraint>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// What takes the answer apart, as `Engine::parser` made it. Then control tokens that mean
    /// something are shown, marked, and a text that ends the answer ends it in what is said, not in
    /// what is thought or called: the parser of whoever reads has to look for the same ones.
    pub parser: Option<AnswerParser>,
    /// Whose cache may be shared.
    pub domain: Domain,
    /// The beginning of the prompt that is kept for everybody who is told the same.
    pub shared: Option<SharedPrefix>,
    /// How much of the engine the domain gets beside others.
    pub weight: Weight,
    /// Log-probabilities of the chosen token and of this many alternatives.
    pub logprobs: Option<u8>,
    /// Whether the tokens of the prompt are judged too, with as many alternatives. Then the prompt is
    /// read anew, whatever the cache has of it, and `max_tokens` may be 0; without `logprobs` it may be
    /// 0, and no more.
    pub judges_prompt: bool,
    /// How long the request may take from submission to its end; `None` sets no limit.
    pub time_limit: Option<Duration>,
    /// Where the request stands while it waits, for whoever keeps a handle of it.
    pub line: PlaceInLine,
}

impl GenerationRequest {
    /// A greedy request without stops or limits of its own.
    pub fn new(prompt: Vec<u32>, max_tokens: usize, domain: Domain) -> Self {
        Self {
            prompt,
            max_tokens,
            sampling: Sampling::default(),
            constraint: None,
            stop: Vec::new(),
            parser: None,
            domain,
            shared: None,
            weight: Weight::default(),
            logprobs: None,
            judges_prompt: false,
            time_limit: None,
            line: PlaceInLine::default(),
        }
    }
}

/// How the next token is chosen from the model's distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 always takes the most likely token.
    pub temperature: f32,
    /// Keeps the most likely tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps this many of the most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps tokens at least this likely, relative to the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Keeps the tokens whose surprise is nearest to the expected one, until they together reach
    /// this probability; 1 keeps all.
    pub typical_p: f32,
    /// Makes the choice repeatable; `None` draws a seed.
    pub seed: Option<u64>,
    /// Subtracted once from the logit of every token already generated.
    pub presence_penalty: f32,
    /// Subtracted for every time a token was generated already.
    pub frequency_penalty: f32,
    /// Divides the likelihood of tokens in the prompt or the answer; 1 has no effect.
    pub repetition_penalty: f32,
    /// The last tokens of prompt and answer that the repetition penalty looks at; `None`: all.
    pub repetition_last_n: Option<usize>,
    /// Lets no passage be repeated; `None` has no effect.
    pub dry: Option<Dry>,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            typical_p: 1.0,
            seed: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            repetition_last_n: None,
            dry: None,
            logit_bias: Vec::new(),
        }
    }
}

/// Don't Repeat Yourself: lowers the logit of a token that would go on with a passage that stood
/// there before, by `multiplier * base ^ (length of the passage - allowed_length)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// The cost of the first token beyond the allowed length; 0 has no effect.
    pub multiplier: f32,
    /// By how much each further token costs more.
    pub base: f32,
    /// Passages shorter than this may be repeated.
    pub allowed_length: usize,
    /// The last tokens of prompt and answer that are looked at; `None`: all.
    pub last_n: Option<usize>,
    /// Texts that end a passage: none goes on across them.
    pub sequence_breakers: Vec<String>,
}

impl Default for Dry {
    /// The values that its author recommends.
    fn default() -> Self {
        Self {
            multiplier: 0.8,
            base: 1.75,
            allowed_length: 2,
            last_n: None,
            sequence_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).into(),
        }
    }
}

/// What happens to a generation, in order.
#[derive(Clone, Debug)]
pub enum GenerationEvent {
    /// The prompt has a place and is being read.
    Started {
        /// Tokens of it that were in the cache already.
        cached_tokens: usize,
        /// What is generated from here on, as the engine counts it.
        generated: TokenCount,
    },
    /// How likely each token of the prompt was but the first, before which nothing stands; where that
    /// was asked for, and before any of the answer.
    Prompt(Vec<TokenLogprob>),
    /// A piece of the answer: whole characters, never part of a stop text where there is no parser
    /// to end the answer before it.
    Text {
        /// The piece.
        text: String,
        /// One entry for each token of the piece, if they were asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
    },
    /// The answer could not be completed.
    Failed(EngineError),
}

/// How many tokens of an answer were generated so far. Handles of one count: the engine's grows, and
/// the reader's tells of it even where the answer is cut short.
#[derive(Clone, Debug, Default)]
pub struct TokenCount(Arc<AtomicU64>);

impl TokenCount {
    /// The count as it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts more.
    pub fn add(&self, tokens: u64) {
        self.0.fetch_add(tokens, Ordering::Relaxed);
    }
}

/// Where a request stands in the line of those that wait for the engine. Handles of one place: the
/// engine's changes as others leave the line, and the reader's tells of it.
#[derive(Clone, Debug, Default)]
pub struct PlaceInLine(Arc<AtomicUsize>);

impl PlaceInLine {
    /// How many wait that came before, itself among them; 0 where it does not wait. Whose turn is next
    /// is a matter of fair shares too: somebody who came later may pass.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(in crate::engine) fn set(&self, place: usize) {
        self.0.store(place, Ordering::Relaxed);
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it.
    Stop,
    /// A stop text appeared; its place among them.
    StopText(usize),
    /// The token limit or the context was reached.
    Length,
    /// Nobody was listening any more, or the engine is shutting down.
    Cancelled,
}

/// What a generation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, the end token included.
    pub completion_tokens: usize,
    /// Tokens of the prompt that were in the cache already.
    pub cached_tokens: usize,
    /// From submission until the prompt got its place.
    pub queue_ms: u64,
    /// From there until the first token.
    pub prefill_ms: u64,
    /// From the first token until the end.
    pub decode_ms: u64,
}

/// A token of the answer and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token that was chosen.
    pub chosen: Candidate,
    /// The most likely tokens at this place, best first.
    pub top: Vec<Candidate>,
    /// How many bytes of the answer's text came with it; none of a part of a character.
    pub text_bytes: usize,
}

/// A token that stood to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its number in the vocabulary.
    pub token: u32,
    /// Its bytes; not always whole characters.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability under the model, before penalties and filters.
    pub logprob: f32,
}

/// A text to be judged by the model: how likely is this continuation of that prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreItem {
    /// What stands before; at least one token.
    pub prefix: Vec<u32>,
    /// What is judged; at least one token.
    pub continuation: Vec<u32>,
}

/// The model's judgement of one continuation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The sum of the log-probabilities of its tokens.
    pub sum_logprob: f64,
    /// How many tokens it has.
    pub tokens: usize,
    /// Whether the model, always taking the most likely token, would have said just this.
    pub is_greedy: bool,
}
