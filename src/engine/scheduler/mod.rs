//! One thread owns model and cache. Each step mixes one row for everybody who is generating with a
//! bounded slice of the prompts that are being read, so that a long prompt stalls nobody.

mod answer;
mod draft;
mod fair;
mod inbox;
mod outcome;
mod pace;
mod plan;
mod sequence;
mod speculation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decoder::Decoder;
use super::error::EngineError;
use super::kernels::give_back_memory;
use super::kernels::packed::Instructions;
use super::kv::{BLOCK_TOKENS, Pool};
use super::output::Vocabulary;
use super::phase::Phase;
use super::request::{Domain, FinishReason};
use super::stats::EngineStats;
pub(crate) use draft::DraftModel;
pub(in crate::engine) use fair::FairQueue;
pub(crate) use inbox::Inbox;
use inbox::Mail;
use pace::Pace;
use plan::{Share, rows};
pub(crate) use sequence::{EVENTS_MAX, NewGeneration, Sequence};
pub(crate) use speculation::GUESSES_MAX;
pub use speculation::Speculation;
use speculation::StepCost;

/// Steps that may fail one after the other before no more work is taken.
const FAILURES_MAX: u32 = 3;
/// How long the thread sleeps where there is nothing to do; it is woken for work.
const IDLE: Duration = Duration::from_mins(1);
/// At this look in a row that finds nothing to do, what steps have left goes back to the system.
const LOOKS_TO_REST: u32 = 2;
/// How long it sleeps where every reader is behind, or nothing fits.
const BEHIND: Duration = Duration::from_millis(50);
/// A reader who is behind for so long gives the place to somebody who waits.
const STALL_MAX: Duration = Duration::from_secs(1);
/// Requests that gave their place up for their reader's slowness; more are ended.
const PARKED_MAX: usize = 64;

/// What the thread may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchedulerLimits {
    /// Sequences worked on at once.
    pub(crate) streams_max: usize,
    /// Prompt tokens in a step.
    pub(crate) prefill_chunk_tokens: usize,
    /// Tokens of prompt and answer together.
    pub(crate) context: usize,
    /// Whether tokens are guessed ahead.
    pub(crate) speculation: Speculation,
    /// How long a request may wait for its turn.
    pub(crate) queue_limit: Option<Duration>,
}

/// The engine thread.
pub(crate) struct Scheduler {
    decoder: Decoder,
    pool: Pool,
    vocabulary: Arc<dyn Vocabulary>,
    limits: SchedulerLimits,
    inbox: Arc<Inbox>,
    queue: FairQueue<Sequence>,
    /// In the order in which they got their place.
    running: Vec<Sequence>,
    /// Without a place until their readers have room again.
    parked: Vec<Sequence>,
    stats: EngineStats,
    /// Guesses where the text itself gives none.
    draft: Option<DraftModel>,
    /// What steps have taken.
    cost: StepCost,
    pace: Pace,
    failures: u32,
    /// Whose requests left the waiting line since the last publication.
    left_queue: Vec<Domain>,
}

impl Scheduler {
    pub(crate) fn new(
        decoder: Decoder,
        pool: Pool,
        vocabulary: Arc<dyn Vocabulary>,
        limits: SchedulerLimits,
        inbox: Arc<Inbox>,
        stats: EngineStats,
    ) -> Self {
        Self {
            decoder,
            pool,
            vocabulary,
            limits,
            inbox,
            queue: FairQueue::new(),
            running: Vec::new(),
            parked: Vec::new(),
            stats,
            draft: None,
            cost: StepCost::default(),
            pace: Pace::new(Instructions::best().panel_rows()),
            failures: 0,
            left_queue: Vec::new(),
        }
    }

    /// Has a small model guess.
    pub(crate) fn with_draft(self, draft: Option<DraftModel>) -> Self {
        Self { draft, ..self }
    }

    /// Works until the inbox is closed and all is done.
    pub(crate) fn run(mut self) {
        let mut wait = Some(IDLE);
        let mut idle_looks = 0_u32;
        loop {
            let mail = self.inbox.take(wait);
            let is_closing = matches!(mail.phase, Phase::Closing(_));
            if !self.accept(mail) {
                break;
            }
            self.drop_abandoned();
            self.park();
            self.admit();
            if !self.left_queue.is_empty() {
                self.publish();
            }
            let mut shares = self.plan();
            self.speculate(&mut shares);
            wait = if shares.is_empty() {
                match self.is_idle() {
                    // The next look is the last.
                    true if is_closing => None,
                    true => {
                        idle_looks = idle_looks.saturating_add(1);
                        if idle_looks == LOOKS_TO_REST {
                            give_back_memory();
                        }
                        Some(IDLE)
                    }
                    false => Some(BEHIND),
                }
            } else {
                self.step(&shares);
                idle_looks = 0;
                None
            };
            self.publish();
        }
    }

    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.queue.len() == 0 && self.parked.is_empty()
    }

    /// Takes the mail in; false where the thread is to end.
    fn accept(&mut self, mut mail: Mail) -> bool {
        for domain in std::mem::take(&mut mail.forget) {
            self.forget(domain, &mut mail);
        }
        let is_open = matches!(mail.phase, Phase::Open);
        if is_open {
            for sequence in mail.arrived {
                self.queue.push(sequence.party(), sequence.cost(), sequence);
            }
        } else {
            let is_broken = matches!(mail.phase, Phase::Unhealthy);
            let error = if is_broken { EngineError::Unhealthy } else { EngineError::Closed };
            self.turn_away(mail.arrived.into(), |_| error.clone());
        }
        match mail.phase {
            Phase::Open | Phase::Unhealthy => true,
            Phase::Ended => false,
            Phase::Closing(end) => {
                // Those that gave their place to others had begun: they may end too.
                let waiting = self.queue.take_where(|one| !one.has_started());
                self.turn_away(waiting, |_| EngineError::Closed);
                if Instant::now() >= end {
                    let begun = self.queue.take_where(|_| true);
                    let all = self.running.drain(..).chain(self.parked.drain(..)).chain(begun);
                    for sequence in all.collect::<Vec<_>>() {
                        self.end(sequence, Ok(FinishReason::Cancelled));
                    }
                }
                !self.is_idle()
            }
        }
    }

    /// Ends those that wait.
    fn turn_away(&mut self, waiting: Vec<Sequence>, error: impl Fn(&Sequence) -> EngineError) {
        if waiting.is_empty() {
            return;
        }
        for one in &waiting {
            self.queue.give_back(one.party().domain, one.unneeded());
        }
        let never_had_a_place = waiting.iter().filter(|one| !one.has_started());
        self.left_queue.extend(never_had_a_place.map(|one| one.party().domain));
        // Before they hear of it: whoever has seen the end finds the place in the line free.
        self.publish();
        for mut one in waiting {
            let error = error(&one);
            one.fail(error);
        }
    }

    /// Forgets what is cached for a domain, and what those will leave behind who are still at it.
    fn forget(&mut self, domain: Domain, mail: &mut Mail) {
        self.pool.forget(domain);
        let forget = |one: &mut Sequence| {
            if one.owners.includes(domain) {
                one.forget();
            }
        };
        self.queue.each(forget);
        let arrived = mail.arrived.iter_mut();
        self.running.iter_mut().chain(&mut self.parked).chain(arrived).for_each(forget);
    }

    /// Lets go of what nobody waits for, and of what took too long.
    fn drop_abandoned(&mut self) {
        let now = Instant::now();
        let limit = self.limits.queue_limit;
        let waited = |one: &Sequence| limit.is_some_and(|limit| one.has_waited(now, limit));
        let gone = |one: &Sequence| one.is_abandoned() || one.is_late(now) || waited(one);
        let gone = self.queue.take_where(gone);
        for one in &gone {
            if one.is_abandoned() {
                self.stats.requests_cancelled_total += 1;
            } else {
                self.stats.requests_failed_total += 1;
            }
        }
        let why = |one: &Sequence| {
            if one.is_late(now) { EngineError::TimeLimit } else { EngineError::QueueTimeLimit }
        };
        self.turn_away(gone, why);
        let leaves = |one: &mut Sequence| one.is_abandoned() || one.is_late(now);
        let parked = self.parked.extract_if(.., leaves);
        let gone: Vec<Sequence> = self.running.extract_if(.., leaves).chain(parked).collect();
        for sequence in gone {
            let is_late = sequence.is_late(now);
            let outcome =
                if is_late { Err(EngineError::TimeLimit) } else { Ok(FinishReason::Cancelled) };
            self.end(sequence, outcome);
        }
    }

    /// Takes the places of those whose readers do not read, where others wait for one; who has
    /// room again may come back.
    fn park(&mut self) {
        let back: Vec<Sequence> = self.parked.extract_if(.., |one| one.has_room()).collect();
        for sequence in back {
            self.queue.push_back_in_front(sequence.party(), sequence);
        }
        let now = Instant::now();
        let is_wanted = self.queue.len() > 0;
        let stalled = |one: &mut Sequence| one.is_stalled(now, STALL_MAX) && is_wanted;
        for mut sequence in self.running.extract_if(.., stalled).collect::<Vec<_>>() {
            if self.parked.len() >= PARKED_MAX {
                self.end(sequence, Err(EngineError::TimeLimit));
                continue;
            }
            self.pool.release(&mut sequence.table);
            sequence.lose_place();
            self.stats.preemptions_total += 1;
            self.parked.push(sequence);
        }
    }

    /// Gives places to those whose turn it is and whose prompt fits.
    fn admit(&mut self) {
        loop {
            let taken: usize = self.running.iter().map(Sequence::places).sum();
            let places = self.limits.streams_max.saturating_sub(taken);
            if places == 0 {
                return;
            }
            let available = self.pool.available_blocks();
            // What the prompts of those that run will still take is theirs, and a block for each is
            // kept back, so that a new prompt does not at once push another sequence out.
            let missing = |one: &Sequence| {
                one.tokens.len().div_ceil(BLOCK_TOKENS).saturating_sub(one.table.blocks().len())
                    + one.places()
            };
            let kept: usize = self.running.iter().map(missing).sum();
            let fits = |one: &Sequence| {
                one.places() <= places
                    && one.tokens.len().div_ceil(BLOCK_TOKENS) + kept <= available
            };
            let Some((mut sequence, is_paid)) = self.queue.pop_paid_if(fits) else { return };
            if !sequence.has_started() {
                sequence.note_paid(is_paid);
                sequence.line.set(0);
                self.left_queue.push(sequence.party().domain);
            }
            let (table, cached) =
                self.pool.start(sequence.owners, &sequence.tokens, sequence.reusable());
            self.stats.cached_tokens_total += cached as u64;
            self.stats.prefix_lookups_total += 1;
            self.stats.prefix_hits_total += u64::from(cached > 0);
            self.stats.cached_shared_tokens_total += sequence.owners.shared_of(cached) as u64;
            sequence.start(table, cached);
            self.running.push(sequence);
        }
    }

    fn step(&mut self, shares: &[Share]) {
        self.stats.steps_total += 1;
        let begun = Instant::now();
        let of_prompts = shares
            .iter()
            .filter(|share| !self.running[share.index].is_decoding())
            .map(|share| share.to - share.from)
            .sum();
        let outcome = {
            let step = rows(&self.running, shares);
            let (decoder, pool) = (&self.decoder, &mut self.pool);
            catch_unwind(AssertUnwindSafe(|| decoder.forward(&step, pool)))
        };
        match outcome {
            Ok(Ok(logits)) => {
                self.failures = 0;
                let rows = shares.iter().map(|share| share.end() - share.from).sum();
                let seconds = begun.elapsed().as_secs_f64();
                self.cost.note(rows, seconds);
                self.pace.note(rows, of_prompts, seconds);
                self.take(shares, logits);
            }
            Ok(Err(error)) => {
                tracing::error!(cause = %error, "a step of the engine failed");
                self.fail_step(shares);
            }
            Err(_) => {
                // What it left half-done is not known, so no other step is tried.
                tracing::error!("a step of the engine panicked");
                self.failures = FAILURES_MAX;
                self.fail_step(shares);
                let rest = self.running.drain(..).chain(self.parked.drain(..));
                for sequence in rest.collect::<Vec<_>>() {
                    self.end(sequence, Err(EngineError::Unhealthy));
                }
            }
        }
    }

    /// Tells those that wait how many still do that came before them.
    fn tell_places(&mut self) {
        let mut waiting = Vec::new();
        self.queue.each(|one| {
            if !one.has_started() {
                waiting.push(one.id);
            }
        });
        waiting.sort_unstable();
        self.queue.each(|one| {
            if let Ok(before) = waiting.binary_search(&one.id) {
                one.line.set(before + 1);
            }
        });
    }

    fn publish(&mut self) {
        if !self.left_queue.is_empty() {
            self.tell_places();
        }
        let bytes = self.pool.shape().block_bytes();
        let used = self.pool.total_blocks() - self.pool.available_blocks();
        self.stats.running = self.running.len();
        self.stats.kv_used_bytes = used * bytes;
        self.stats.kv_cached_bytes = self.pool.idle_blocks() * bytes;
        self.inbox.publish(&self.stats, std::mem::take(&mut self.left_queue));
    }
}
