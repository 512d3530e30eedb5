//! The door between the callers and the thread.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::EmbedInput;
use crate::engine::error::EngineError;
use crate::engine::party::Party;
use crate::engine::phase::Phase;
use crate::engine::places::Places;
use crate::engine::request::Domain;
use crate::engine::stats::EngineStats;

/// Tokens that may wait, of all requests together.
const WAITING_TOKENS_MAX: usize = 1 << 22;

/// A request on its way through the thread.
pub(super) struct Job {
    pub(super) inputs: Vec<EmbedInput>,
    pub(super) party: Party,
    pub(super) deadline: Option<Instant>,
    pub(super) submitted: Instant,
    pub(super) results: Vec<Option<Vec<f32>>>,
    pub(super) left: usize,
    reply: oneshot::Sender<Result<Vec<Vec<f32>>, EngineError>>,
}

impl Job {
    pub(super) fn new(
        inputs: Vec<EmbedInput>,
        party: Party,
        deadline: Option<Instant>,
        submitted: Instant,
        reply: oneshot::Sender<Result<Vec<Vec<f32>>, EngineError>>,
    ) -> Self {
        let left = inputs.len();
        Self { inputs, party, deadline, submitted, results: vec![None; left], left, reply }
    }

    pub(super) fn tokens(&self) -> usize {
        self.inputs.iter().map(|input| input.tokens.len()).sum()
    }

    /// Whether it has waited for longer than this and nothing of it is done.
    pub(super) fn has_waited(&self, now: Instant, limit: Option<Duration>) -> bool {
        let is_untouched = self.left == self.inputs.len();
        let waited = now.saturating_duration_since(self.submitted);
        is_untouched && limit.is_some_and(|limit| waited >= limit)
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_left(&self) -> bool {
        self.reply.is_closed()
    }

    /// Tells what came of it. Nobody need be there to hear it.
    pub(super) fn end(self, failure: Option<EngineError>) {
        let result = match failure {
            Some(error) => Err(error),
            None => self.results.into_iter().collect::<Option<_>>().ok_or(EngineError::Internal),
        };
        let _ = self.reply.send(result);
    }
}

/// Shared by the handles and the thread.
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
}

struct State {
    arrived: Vec<Job>,
    /// Of the requests that are here or with the thread.
    requests: Places,
    /// Their tokens.
    tokens: usize,
    phase: Phase,
    stats: EngineStats,
}

impl Queue {
    pub(super) fn new(queue_max: usize, stats: EngineStats) -> Self {
        let phase = Phase::Open;
        let requests = Places::new(queue_max.max(1));
        let state = State { arrived: Vec::new(), requests, tokens: 0, phase, stats };
        Self { state: Mutex::new(state), work: Condvar::new(), ended: Condvar::new() }
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        state.phase.admit()?;
        let tokens = job.tokens();
        let is_too_much =
            state.requests.taken() > 0 && state.tokens.saturating_add(tokens) > WAITING_TOKENS_MAX;
        if is_too_much || !state.requests.take(job.party.domain) {
            return Err(EngineError::Busy);
        }
        state.tokens += tokens;
        state.arrived.push(job);
        self.work.notify_one();
        Ok(())
    }

    pub(super) fn close(&self, limit: Duration) {
        self.state.lock().phase.close(limit);
        self.work.notify_one();
    }

    pub(super) fn stats(&self) -> EngineStats {
        let state = self.state.lock();
        EngineStats { healthy: state.phase == Phase::Open, ..state.stats.clone() }
    }

    /// Takes what came in. With `wait`, sleeps until something comes or the queue is closed.
    pub(super) fn take(&self, wait: bool) -> (Vec<Job>, Phase) {
        let mut state = self.state.lock();
        while wait && state.arrived.is_empty() && !matches!(state.phase, Phase::Closing(_)) {
            self.work.wait(&mut state);
        }
        (std::mem::take(&mut state.arrived), state.phase)
    }

    /// Publishes the numbers, and what has left: whose requests, each named once for each, and how
    /// many tokens they had.
    pub(super) fn publish(&self, stats: &EngineStats, requests: Vec<Domain>, tokens: usize) {
        let mut state = self.state.lock();
        for domain in requests {
            state.requests.leave(domain);
        }
        state.tokens = state.tokens.saturating_sub(tokens);
        state.stats.clone_from(stats);
        state.stats.queued = state.requests.taken().saturating_sub(stats.running);
    }

    pub(super) fn mark_unhealthy(&self) {
        self.state.lock().phase.mark_unhealthy();
    }

    /// The thread is about to end, or has broken off. What arrived too late is told so.
    pub(super) fn mark_ended(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Ended;
        self.ended.notify_all();
        let late = std::mem::take(&mut state.arrived);
        drop(state);
        for job in late {
            job.end(Some(EngineError::Closed));
        }
    }

    pub(super) fn wait_ended(&self) {
        let mut state = self.state.lock();
        while state.phase != Phase::Ended {
            self.ended.wait(&mut state);
        }
    }
}
