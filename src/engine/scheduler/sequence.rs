//! One request inside of the engine: its tokens, its blocks, and where what comes of it goes.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::engine::constraint::Constraint;
use crate::engine::error::EngineError;
use crate::engine::kv::BlockTable;
use crate::engine::output::{Output, Vocabulary};
use crate::engine::request::{
    Candidate, Domain, FinishReason, GenerationEvent, Score, TokenCount, TokenLogprob, Usage,
};
use crate::engine::sampling::{LogSoftmax, Logprob, Sampler, logprobs};

/// Events of one token at most: its text, what was held back, and the end.
const EVENTS_A_TOKEN: usize = 3;

/// A request that is waiting or being worked on.
pub(crate) struct Sequence {
    pub(super) id: u64,
    pub(super) domain: Domain,
    /// The prompt, then what was generated.
    pub(super) tokens: Vec<u32>,
    prompt_tokens: usize,
    pub(super) table: BlockTable,
    /// How many tokens have their keys and values in the cache.
    pub(super) computed: usize,
    cached_tokens: usize,
    work: Work,
    submitted: Instant,
    started: Option<Instant>,
    first_token: Option<Instant>,
    deadline: Option<Instant>,
    /// Since when its reader has had no room for more.
    stalled: Option<Instant>,
}

enum Work {
    Generate(Box<Generate>),
    Score(Scoring),
}

struct Generate {
    sampler: Sampler,
    constraint: Option<Constraint>,
    output: Output,
    events: mpsc::Sender<GenerationEvent>,
    max_tokens: usize,
    logprobs: Option<u8>,
    generated: usize,
    /// The same count, as the reader sees it.
    counted: TokenCount,
}

struct Scoring {
    /// Tokens from here on are judged.
    from: usize,
    sum: f64,
    is_greedy: bool,
    reply: Option<oneshot::Sender<Result<Score, EngineError>>>,
}

/// What is to be generated, checked.
pub(crate) struct NewGeneration {
    pub(crate) id: u64,
    pub(crate) domain: Domain,
    pub(crate) prompt: Vec<u32>,
    pub(crate) sampler: Sampler,
    pub(crate) constraint: Option<Constraint>,
    pub(crate) output: Output,
    pub(crate) events: mpsc::Sender<GenerationEvent>,
    pub(crate) max_tokens: usize,
    pub(crate) logprobs: Option<u8>,
    pub(crate) time_limit: Option<Duration>,
}

/// How many events fit between engine and reader.
pub(crate) const EVENTS_MAX: usize = 64;

impl Sequence {
    /// A generation.
    pub(crate) fn generate(new: NewGeneration) -> Self {
        let NewGeneration {
            id,
            domain,
            prompt,
            sampler,
            constraint,
            output,
            events,
            max_tokens,
            logprobs,
            time_limit,
        } = new;
        let generate = Generate {
            sampler,
            constraint,
            output,
            events,
            max_tokens,
            logprobs,
            generated: 0,
            counted: TokenCount::default(),
        };
        let mut sequence = Self::new(id, domain, prompt, Work::Generate(Box::new(generate)));
        sequence.deadline = time_limit.map(|limit| sequence.submitted + limit);
        sequence
    }

    /// A judgement of the tokens from `from` on.
    pub(crate) fn score(
        id: u64,
        domain: Domain,
        tokens: Vec<u32>,
        from: usize,
        reply: oneshot::Sender<Result<Score, EngineError>>,
    ) -> Self {
        let scoring = Scoring { from, sum: 0.0, is_greedy: true, reply: Some(reply) };
        Self::new(id, domain, tokens, Work::Score(scoring))
    }

    fn new(id: u64, domain: Domain, tokens: Vec<u32>, work: Work) -> Self {
        Self {
            id,
            domain,
            prompt_tokens: tokens.len(),
            tokens,
            table: BlockTable::default(),
            computed: 0,
            cached_tokens: 0,
            work,
            submitted: Instant::now(),
            started: None,
            first_token: None,
            deadline: None,
            stalled: None,
        }
    }

    /// What it costs its domain in the waiting line.
    pub(super) fn cost(&self) -> usize {
        match &self.work {
            Work::Generate(generate) => self.tokens.len() + generate.max_tokens,
            Work::Score(_) => self.tokens.len(),
        }
    }

    /// How many leading tokens may be taken from the cache: those whose logits nobody needs.
    pub(super) fn reusable(&self) -> usize {
        match &self.work {
            Work::Generate(_) => self.tokens.len() - 1,
            Work::Score(scoring) => scoring.from - 1,
        }
    }

    /// Notes that it has a place, with so many tokens from the cache.
    pub(super) fn start(&mut self, table: BlockTable, cached: usize) {
        self.table = table;
        self.computed = cached;
        if self.started.is_none() {
            self.started = Some(Instant::now());
            self.cached_tokens = cached;
            if let Work::Generate(generate) = &self.work {
                // A reader that left is noticed by `is_abandoned`.
                let generated = generate.counted.clone();
                let _ = generate
                    .events
                    .try_send(GenerationEvent::Started { cached_tokens: cached, generated });
            }
        }
    }

    /// Notes that it has lost its place: it will be computed anew from its tokens.
    pub(super) fn lose_place(&mut self) {
        self.computed = 0;
        if let Work::Score(scoring) = &mut self.work {
            // Everything is judged again, the tokens that were judged before too.
            scoring.sum = 0.0;
            scoring.is_greedy = true;
        }
    }

    /// Whether it is a judgement.
    pub(super) fn is_score(&self) -> bool {
        matches!(self.work, Work::Score(_))
    }

    /// Whether its reader has had no room for so long.
    pub(super) fn is_stalled(&mut self, now: Instant, limit: Duration) -> bool {
        if self.has_room() {
            self.stalled = None;
            return false;
        }
        now.duration_since(*self.stalled.get_or_insert(now)) >= limit
    }

    /// Whether it had a place before.
    pub(super) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// Whether it needs only the next token, not the prompt.
    pub(super) fn is_decoding(&self) -> bool {
        self.computed + 1 == self.tokens.len() && self.tokens.len() > self.prompt_tokens
    }

    /// Whether the logits after this token are needed.
    pub(super) fn wants_logits(&self, position: usize) -> bool {
        match &self.work {
            Work::Generate(_) => position + 1 == self.tokens.len(),
            Work::Score(scoring) => {
                position + 1 >= scoring.from && position + 1 < self.tokens.len()
            }
        }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        match &self.work {
            Work::Generate(generate) => generate.events.is_closed(),
            Work::Score(scoring) => scoring.reply.as_ref().is_none_or(oneshot::Sender::is_closed),
        }
    }

    /// Whether its time is up.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Whether its reader can take what the next token may bring.
    pub(super) fn has_room(&self) -> bool {
        match &self.work {
            Work::Generate(generate) => generate.events.capacity() >= EVENTS_A_TOKEN,
            Work::Score(_) => true,
        }
    }

    /// Takes the logits that follow the token at `position`; gives how it ended, if it did.
    pub(super) fn take_logits(
        &mut self,
        position: usize,
        logits: &[f32],
        vocabulary: &dyn Vocabulary,
        context: usize,
    ) -> Result<Option<FinishReason>, EngineError> {
        match &mut self.work {
            Work::Score(scoring) => {
                let Some(&judged) = self.tokens.get(position + 1) else { return Ok(None) };
                let softmax = LogSoftmax::new(logits)?;
                scoring.sum += softmax.of(judged);
                scoring.is_greedy &= softmax.best() == judged;
                Ok((position + 2 == self.tokens.len()).then_some(FinishReason::Stop))
            }
            Work::Generate(generate) => {
                self.first_token.get_or_insert_with(Instant::now);
                let (token, reason) = generate.next(logits, vocabulary)?;
                let Some(token) = token else { return Ok(reason) };
                self.tokens.push(token);
                let is_full = self.tokens.len() >= context;
                Ok(reason.or(is_full.then_some(FinishReason::Length)))
            }
        }
    }

    /// Ends it: tells its reader how.
    pub(super) fn finish(&mut self, reason: FinishReason) {
        let usage = self.usage();
        match &mut self.work {
            Work::Generate(generate) => {
                if reason != FinishReason::Stop || !generate.is_stopped() {
                    generate.send(generate_rest);
                }
                generate.emit(GenerationEvent::Finished { reason, usage });
            }
            Work::Score(scoring) => {
                let tokens = self.prompt_tokens - scoring.from;
                let score = match reason {
                    FinishReason::Stop => {
                        Ok(Score { sum_logprob: scoring.sum, tokens, is_greedy: scoring.is_greedy })
                    }
                    FinishReason::Length | FinishReason::Cancelled => Err(EngineError::Closed),
                };
                if let Some(reply) = scoring.reply.take() {
                    // Nobody waits any more: nothing is lost.
                    let _ = reply.send(score);
                }
            }
        }
    }

    /// Ends it with an error.
    pub(super) fn fail(&mut self, error: EngineError) {
        match &mut self.work {
            Work::Generate(generate) => generate.emit(GenerationEvent::Failed(error)),
            Work::Score(scoring) => {
                if let Some(reply) = scoring.reply.take() {
                    // Nobody waits any more: nothing is lost.
                    let _ = reply.send(Err(error));
                }
            }
        }
    }

    /// Milliseconds from its submission to its first token.
    pub(super) fn first_token_ms(&self) -> Option<u64> {
        self.first_token.map(|at| ms(at - self.submitted))
    }

    /// What it took so far.
    pub(super) fn usage(&self) -> Usage {
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        let first = self.first_token.unwrap_or(now);
        let completion_tokens = match &self.work {
            Work::Generate(generate) => generate.generated,
            Work::Score(_) => 0,
        };
        Usage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens,
            cached_tokens: self.cached_tokens,
            queue_ms: ms(started - self.submitted),
            prefill_ms: ms(first.saturating_duration_since(started)),
            decode_ms: ms(now.saturating_duration_since(first)),
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Generate {
    /// Chooses the next token. No token where the answer ended with an end token.
    fn next(
        &mut self,
        logits: &[f32],
        vocabulary: &dyn Vocabulary,
    ) -> Result<(Option<u32>, Option<FinishReason>), EngineError> {
        let token = self.choose(logits)?;
        self.generated += 1;
        self.counted.add(1);
        if vocabulary.is_end(token) {
            return Ok((None, Some(FinishReason::Stop)));
        }
        self.sampler.accept(token);
        let logprob = match self.logprobs {
            None => None,
            Some(top) => {
                let (chosen, top) = logprobs(logits, token, top.into())?;
                let candidate = |one: Logprob| Candidate {
                    token: one.token,
                    bytes: vocabulary.bytes(one.token),
                    logprob: one.logprob,
                };
                let top = top.into_iter().map(candidate).collect();
                Some(TokenLogprob { chosen: candidate(chosen), top })
            }
        };
        let piece = self.output.push(token, logprob);
        if let Some(event) = piece.event {
            self.emit(event);
        }
        if piece.stopped {
            self.max_tokens = 0;
            return Ok((Some(token), Some(FinishReason::Stop)));
        }
        let is_last = self.generated >= self.max_tokens;
        Ok((Some(token), is_last.then_some(FinishReason::Length)))
    }

    /// Chooses among what the constraint allows.
    fn choose(&mut self, logits: &[f32]) -> Result<u32, EngineError> {
        let Some(constraint) = &mut self.constraint else {
            return self.sampler.choose(logits, self.generated);
        };
        let mut allowed = logits.to_vec();
        constraint.mask(&mut allowed)?;
        let token = self.sampler.choose(&allowed, self.generated)?;
        constraint.accept(token)?;
        Ok(token)
    }

    /// Whether a stop text was found: what was held back behind it is not sent.
    fn is_stopped(&self) -> bool {
        self.max_tokens == 0
    }

    fn send(&mut self, rest: impl FnOnce(&mut Output) -> Option<GenerationEvent>) {
        if let Some(event) = rest(&mut self.output) {
            self.emit(event);
        }
    }

    /// There is room: a sequence whose reader is behind is not given a row. A reader that left is
    /// noticed by `is_abandoned`.
    fn emit(&mut self, event: GenerationEvent) {
        let _ = self.events.try_send(event);
    }
}

fn generate_rest(output: &mut Output) -> Option<GenerationEvent> {
    output.finish().event
}
