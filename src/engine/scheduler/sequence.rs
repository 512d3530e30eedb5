//! One request inside of the engine: its tokens, its blocks, and where what comes of it goes.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::answer::{Generate, Judged};
use super::speculation::Record;
use crate::engine::constraint::Constraint;
use crate::engine::error::EngineError;
use crate::engine::kv::BlockTable;
use crate::engine::output::{Output, Vocabulary};
use crate::engine::party::{Owners, Party, Weight};
use crate::engine::request::{Domain, FinishReason, GenerationEvent, Score, TokenCount, Usage};
use crate::engine::sampling::{LogSoftmax, Sampler};

/// Events of one token at most: its text, what was held back, and the end.
const EVENTS_A_TOKEN: usize = 3;

/// A request that is waiting or being worked on.
pub(crate) struct Sequence {
    pub(super) id: u64,
    pub(super) owners: Owners,
    weight: Weight,
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
    /// How its guesses went.
    pub(super) record: Record,
    /// Other answers to the same prompt, which wait for this one to read it.
    followers: Vec<Self>,
    /// Whether nothing of it may be kept, wherever it stands.
    is_forgotten: bool,
    /// Whether its domain paid for its turn.
    is_paid: bool,
    /// Where it waits.
    pub(crate) line: crate::engine::PlaceInLine,
}

enum Work {
    Generate(Box<Generate>),
    Score(Scoring),
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
    pub(crate) owners: Owners,
    pub(crate) weight: Weight,
    pub(crate) prompt: Vec<u32>,
    pub(crate) sampler: Sampler,
    pub(crate) constraint: Option<Constraint>,
    pub(crate) output: Output,
    pub(crate) events: mpsc::Sender<GenerationEvent>,
    pub(crate) max_tokens: usize,
    pub(crate) logprobs: Option<u8>,
    pub(crate) judges_prompt: bool,
    pub(crate) time_limit: Option<Duration>,
}

/// How many events fit between engine and reader.
pub(crate) const EVENTS_MAX: usize = 64;

impl Sequence {
    /// A generation.
    pub(crate) fn generate(new: NewGeneration) -> Self {
        let NewGeneration {
            id,
            owners,
            weight,
            prompt,
            sampler,
            constraint,
            output,
            events,
            max_tokens,
            logprobs,
            judges_prompt,
            time_limit,
        } = new;
        let generate = Generate {
            sampler,
            constraint,
            output,
            events,
            max_tokens,
            logprobs,
            // What nobody is told is not computed.
            judged: logprobs.filter(|_| judges_prompt).map(|_| Judged::default()),
            generated: 0,
            counted: TokenCount::default(),
        };
        let mut sequence = Self::new(id, owners, prompt, Work::Generate(Box::new(generate)));
        sequence.weight = weight;
        sequence.deadline = time_limit.map(|limit| sequence.submitted + limit);
        sequence
    }

    /// Several answers to one prompt, which is read once.
    pub(crate) fn generate_all(all: Vec<NewGeneration>) -> Option<Self> {
        let mut all = all.into_iter().map(Self::generate);
        let mut first = all.next()?;
        first.followers = all.collect();
        Some(first)
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
        Self::new(id, domain.into(), tokens, Work::Score(scoring))
    }

    fn new(id: u64, owners: Owners, tokens: Vec<u32>, work: Work) -> Self {
        Self {
            id,
            owners,
            weight: Weight::default(),
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
            record: Record::default(),
            followers: Vec::new(),
            is_forgotten: false,
            is_paid: false,
            line: crate::engine::PlaceInLine::default(),
        }
    }

    /// Keeps nothing of it in the cache from now on, also where it gives its place to others.
    pub(super) fn forget(&mut self) {
        self.is_forgotten = true;
        self.table.forget();
        self.followers.iter_mut().for_each(Self::forget);
    }

    /// How many places it takes: one for each answer.
    pub(super) fn places(&self) -> usize {
        1 + self.followers.len()
    }

    /// The other answers to this prompt, now that it is read: each goes on from the same tokens and
    /// the same logits, with a table of its own.
    pub(super) fn take_followers(
        &mut self,
        mut share: impl FnMut(&BlockTable) -> BlockTable,
    ) -> Vec<Self> {
        let mut followers = std::mem::take(&mut self.followers);
        for follower in &mut followers {
            follower.table = share(&self.table);
            follower.computed = self.computed;
            if let (Work::Generate(own), Work::Generate(other)) = (&self.work, &mut follower.work) {
                other.judged.clone_from(&own.judged);
            }
        }
        followers
    }

    /// Whose turn it takes.
    pub(super) fn party(&self) -> Party {
        Party { domain: self.owners.own, weight: self.weight }
    }

    /// What it costs its domain in the waiting line.
    pub(super) fn cost(&self) -> usize {
        match &self.work {
            Work::Generate(generate) => self.tokens.len() + generate.max_tokens * self.places(),
            Work::Score(_) => self.tokens.len(),
        }
    }

    /// Notes whether its domain paid for its turn, and for those that follow it.
    pub(super) fn note_paid(&mut self, is_paid: bool) {
        self.is_paid = is_paid;
        self.followers.iter_mut().for_each(|one| one.note_paid(is_paid));
    }

    /// What its domain paid for and did not need: of answers that ended before their bound.
    pub(super) fn unneeded(&self) -> usize {
        let Work::Generate(generate) = &self.work else { return 0 };
        if !self.is_paid {
            return 0;
        }
        let own = generate.max_tokens.saturating_sub(generate.generated);
        own + self.followers.iter().map(Self::unneeded).sum::<usize>()
    }

    /// How many leading tokens may be taken from the cache: those whose logits nobody needs.
    pub(super) fn reusable(&self) -> usize {
        match &self.work {
            Work::Generate(generate) if generate.judges() => 0,
            Work::Generate(_) => self.tokens.len() - 1,
            Work::Score(scoring) => scoring.from - 1,
        }
    }

    /// Notes that it has a place, with so many tokens from the cache.
    pub(super) fn start(&mut self, table: BlockTable, cached: usize) {
        self.table = table;
        if self.is_forgotten {
            self.table.forget();
        }
        self.computed = cached;
        if self.started.is_none() {
            let now = Instant::now();
            self.note_start(now, cached);
            self.followers.iter_mut().for_each(|one| one.note_start(now, cached));
        }
    }

    fn note_start(&mut self, now: Instant, cached: usize) {
        self.started = Some(now);
        self.cached_tokens = cached;
        if let Work::Generate(generate) = &self.work {
            // A reader that left is noticed by `is_abandoned`.
            let generated = generate.counted.clone();
            let started = GenerationEvent::Started { cached_tokens: cached, generated };
            let _ = generate.events.try_send(started);
        }
    }

    /// Notes that it has lost its place: it will be computed anew from its tokens.
    pub(super) fn lose_place(&mut self) {
        self.computed = 0;
        // Everything is judged again, the tokens that were judged before too.
        match &mut self.work {
            Work::Generate(generate) => generate.judge_anew(),
            Work::Score(scoring) => (scoring.sum, scoring.is_greedy) = (0.0, true),
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

    /// Whether each of its rows gives logits, which are large: it is read in smaller pieces then.
    pub(super) fn judges_all(&self) -> bool {
        matches!(&self.work, Work::Generate(generate) if generate.judges())
    }

    /// Whether the logits after this token are needed.
    pub(super) fn wants_logits(&self, position: usize) -> bool {
        match &self.work {
            // Those of the last token and of what may follow it.
            Work::Generate(generate) => position + 1 >= self.tokens.len() || generate.judges(),
            Work::Score(scoring) => {
                position + 1 >= scoring.from && position + 1 < self.tokens.len()
            }
        }
    }

    /// Whether nobody waits for it any more, nor for those that follow it.
    pub(super) fn is_abandoned(&self) -> bool {
        let is_gone = match &self.work {
            Work::Generate(generate) => generate.events.is_closed(),
            Work::Score(scoring) => scoring.reply.as_ref().is_none_or(oneshot::Sender::is_closed),
        };
        is_gone && self.followers.iter().all(Self::is_abandoned)
    }

    /// Whether its time is up.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Whether it waited for its turn for so long. Judgements are patient.
    pub(super) fn has_waited(&self, now: Instant, limit: Duration) -> bool {
        let is_new = self.started.is_none() && !self.is_score();
        is_new && now.duration_since(self.submitted) >= limit
    }

    /// Whether its reader can take what the next token may bring.
    pub(super) fn has_room(&self) -> bool {
        match &self.work {
            Work::Generate(generate) => generate.events.capacity() >= EVENTS_A_TOKEN,
            Work::Score(_) => true,
        }
    }

    /// How many tokens may be guessed: no more than may be generated, and read, beside the next.
    pub(super) fn guess_room(&self, context: usize) -> usize {
        let Work::Generate(generate) = &self.work else { return 0 };
        let left = generate.max_tokens.saturating_sub(generate.generated);
        let left = left.min(context.saturating_sub(self.tokens.len()));
        left.min(generate.events.capacity() / EVENTS_A_TOKEN).saturating_sub(1)
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
                if position + 1 < self.prompt_tokens {
                    generate.judge(logits, self.tokens[position + 1], vocabulary)?;
                    return Ok(None);
                }
                generate.tell_judged();
                if generate.max_tokens == 0 {
                    return Ok(Some(FinishReason::Length));
                }
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
        for mut one in std::mem::take(&mut self.followers) {
            one.finish(reason);
        }
        let usage = self.usage();
        match &mut self.work {
            Work::Generate(generate) => {
                // What is held back behind a stop text is not sent.
                if !matches!(reason, FinishReason::StopText(_)) {
                    generate.send_rest();
                }
                generate.emit(GenerationEvent::Finished { reason, usage });
            }
            Work::Score(scoring) => {
                let tokens = self.prompt_tokens - scoring.from;
                let score = match reason {
                    FinishReason::Stop => {
                        Ok(Score { sum_logprob: scoring.sum, tokens, is_greedy: scoring.is_greedy })
                    }
                    FinishReason::StopText(_) | FinishReason::Length | FinishReason::Cancelled => {
                        Err(EngineError::Closed)
                    }
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
        for mut one in std::mem::take(&mut self.followers) {
            one.fail(error.clone());
        }
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
