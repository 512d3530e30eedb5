//! The thread that owns the model: takes texts of all requests in turn, as many as fit into a step.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::network::Network;
use super::queue::{Job, Queue};
use super::{EmbedInput, STEP_TOKENS};
use crate::engine::error::EngineError;
use crate::engine::kv::{BLOCK_TOKENS, CacheShape, Pool};
use crate::engine::phase::Phase;
use crate::engine::request::Domain;
use crate::engine::scheduler::FairQueue;
use crate::engine::stats::EngineStats;

/// Steps that fail one after the other until no more work is taken.
const FAILURES_MAX: usize = 3;

/// Says that the thread has ended, however it did: nobody is to wait for it.
pub(super) struct Ended(pub(super) Arc<Queue>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.mark_ended();
    }
}

/// The state of the thread.
pub(super) struct Worker {
    network: Network,
    pool: Pool,
    cache: CacheShape,
    chunk: usize,
    queue: Arc<Queue>,
    /// How long a request may wait until one of its texts is taken.
    queue_limit: Option<Duration>,
    jobs: BTreeMap<u64, Job>,
    /// Texts that wait: the number of the job, and the place in it.
    waiting: FairQueue<(u64, usize)>,
    next: u64,
    failures: usize,
    stats: EngineStats,
    /// Requests and tokens that left since the numbers were last told.
    left: (Vec<Domain>, usize),
}

impl Worker {
    pub(super) fn new(
        network: Network,
        pool: Pool,
        cache: CacheShape,
        chunk: usize,
        queue: Arc<Queue>,
    ) -> Self {
        let stats = queue.stats();
        Self {
            network,
            pool,
            cache,
            chunk,
            queue,
            queue_limit: None,
            jobs: BTreeMap::new(),
            waiting: FairQueue::new(),
            next: 0,
            failures: 0,
            stats,
            left: (Vec::new(), 0),
        }
    }

    /// Bounds how long a request may wait.
    pub(super) fn with_queue_limit(self, queue_limit: Option<Duration>) -> Self {
        Self { queue_limit, ..self }
    }

    /// Works until the queue is closed and empty, or its time is over.
    pub(super) fn run(mut self) {
        loop {
            let (arrived, phase) = self.queue.take(self.jobs.is_empty());
            for job in arrived {
                self.accept(job);
            }
            if let Phase::Closing(end) = phase
                && (self.jobs.is_empty() || Instant::now() >= end)
            {
                self.end_where(|_| Some(EngineError::Closed));
                self.publish();
                return;
            }
            let (now, limit) = (Instant::now(), self.queue_limit);
            self.end_where(|job| match job.deadline {
                // To somebody who left nothing needs to be told.
                _ if job.is_left() => Some(EngineError::Closed),
                Some(deadline) if deadline <= now => Some(EngineError::TimeLimit),
                _ if job.has_waited(now, limit) => Some(EngineError::QueueTimeLimit),
                _ => None,
            });
            self.step();
            self.publish();
        }
    }

    fn accept(&mut self, job: Job) {
        for (place, input) in job.inputs.iter().enumerate() {
            self.waiting.push(job.party, input.tokens.len(), (self.next, place));
        }
        self.jobs.insert(self.next, job);
        self.next += 1;
    }

    /// Ends the requests of which `why` says so.
    fn end_where(&mut self, why: impl Fn(&Job) -> Option<EngineError>) {
        let ended: Vec<(u64, EngineError)> =
            self.jobs.iter().filter_map(|(id, job)| Some((*id, why(job)?))).collect();
        for (id, error) in ended {
            self.end(id, Some(error));
        }
    }

    fn end(&mut self, id: u64, failure: Option<EngineError>) {
        let Some(job) = self.jobs.remove(&id) else { return };
        if job.left > 0 {
            self.waiting.take_where(|(of, _)| *of == id);
        }
        self.left.0.push(job.party.domain);
        self.left.1 += job.tokens();
        match &failure {
            None => {
                self.stats.requests_finished_total += 1;
                let ms = job.submitted.elapsed().as_millis();
                self.stats.first_token.add(u64::try_from(ms).unwrap_or(u64::MAX));
            }
            Some(_) if job.is_left() => self.stats.requests_cancelled_total += 1,
            Some(_) => self.stats.requests_failed_total += 1,
        }
        // The numbers are told before the answer: who has it finds itself counted.
        self.publish();
        job.end(failure);
    }

    /// Works on the texts whose turn it is, as many as there is room for.
    fn step(&mut self) {
        let (mut room, mut tokens, mut taken) = (self.pool.total_blocks(), 0, Vec::new());
        let jobs = &self.jobs;
        let text = |(id, place): (u64, usize)| jobs.get(&id).and_then(|job| job.inputs.get(place));
        let blocks = |entry| {
            text(entry).map_or(0, |text: &EmbedInput| text.tokens.len().div_ceil(BLOCK_TOKENS))
        };
        // A step is short, whatever the cache holds; a text that is longer goes alone.
        let length = |entry| text(entry).map_or(0, |text: &EmbedInput| text.tokens.len());
        while let Some(entry) = self.waiting.pop_if(|entry| {
            blocks(*entry) <= room && (tokens == 0 || tokens + length(*entry) <= STEP_TOKENS)
        }) {
            room -= blocks(entry);
            tokens += length(entry);
            taken.push(entry);
        }
        let texts: Vec<&EmbedInput> = taken.iter().filter_map(|entry| text(*entry)).collect();
        if texts.is_empty() {
            return;
        }
        let (network, pool) = (&mut self.network, &mut self.pool);
        let run = AssertUnwindSafe(|| network.run(&texts, self.chunk, pool));
        let result = catch_unwind(run).unwrap_or_else(|_| {
            // The thread pool may have broken with it, so no other step is tried.
            self.failures = FAILURES_MAX;
            Err(candle_core::Error::Msg("it panicked".to_owned()))
        });
        self.stats.steps_total += 1;
        self.stats.prompt_tokens_total += tokens as u64;
        match result {
            Ok(vectors) => {
                self.failures = 0;
                for (entry, vector) in taken.into_iter().zip(vectors) {
                    self.keep(entry, vector);
                }
            }
            Err(error) => {
                tracing::error!(cause = %error, "a step of an embedding model failed");
                self.renew();
                for (id, _) in taken {
                    self.end(id, Some(EngineError::Internal));
                }
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    self.queue.mark_unhealthy();
                    self.end_where(|_| Some(EngineError::Unhealthy));
                }
            }
        }
    }

    /// Keeps what a text gave; with the last one the request is done.
    fn keep(&mut self, (id, place): (u64, usize), vector: Vec<f32>) {
        if !vector.iter().all(|x| x.is_finite()) {
            self.renew();
            self.end(id, Some(EngineError::NotANumber));
            return;
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.results[place] = Some(vector);
        job.left -= 1;
        if job.left == 0 {
            self.end(id, None);
        }
    }

    /// A fresh cache: what is no number in the old one would spoil the texts of others.
    fn renew(&mut self) {
        self.pool = Pool::new(self.cache, self.pool.bytes());
    }

    fn publish(&mut self) {
        self.stats.running = self.jobs.len();
        let (requests, tokens) = std::mem::take(&mut self.left);
        self.queue.publish(&self.stats, requests, tokens);
    }
}
