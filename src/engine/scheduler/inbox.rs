//! The door between the callers and the engine thread.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::sequence::Sequence;
use crate::engine::error::EngineError;
use crate::engine::generation::Wake;
use crate::engine::phase::Phase;
use crate::engine::places::Places;
use crate::engine::request::Domain;
use crate::engine::stats::EngineStats;

/// Shared by the handles and the thread.
pub(crate) struct Inbox {
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
    queue_max: usize,
}

struct State {
    arrived: VecDeque<Sequence>,
    /// Of the requests that wait, here or with the scheduler.
    waiting: Places,
    forget: Vec<Domain>,
    poked: bool,
    phase: Phase,
    stats: EngineStats,
}

/// What came in since the last look.
pub(super) struct Mail {
    pub(super) arrived: VecDeque<Sequence>,
    pub(super) forget: Vec<Domain>,
    pub(super) phase: Phase,
}

impl Inbox {
    /// Takes at most `queue_max` waiting requests.
    pub(crate) fn new(queue_max: usize, stats: EngineStats) -> Self {
        let state = State {
            arrived: VecDeque::new(),
            waiting: Places::new(queue_max),
            forget: Vec::new(),
            poked: false,
            phase: Phase::Open,
            stats,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), ended: Condvar::new(), queue_max }
    }

    /// Queues a request.
    pub(crate) fn submit(&self, sequence: Sequence) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        state.phase.admit()?;
        let domain = sequence.party().domain;
        let has_place = if sequence.is_score() {
            // Judgements leave most of the line to people, who are told at once when it is full.
            let part = (self.queue_max / 4).max(1);
            state.waiting.take_among(part, domain)
        } else {
            state.waiting.take(domain)
        };
        if !has_place {
            return Err(EngineError::Busy);
        }
        sequence.line.set(state.waiting.taken());
        state.arrived.push_back(sequence);
        self.work.notify_one();
        Ok(())
    }

    /// How many requests of one domain an empty line has places for.
    pub(crate) fn places(&self) -> usize {
        self.state.lock().waiting.for_one()
    }

    /// Asks to forget what is cached for a domain.
    pub(crate) fn forget(&self, domain: Domain) {
        self.state.lock().forget.push(domain);
        self.work.notify_one();
    }

    /// Lets nothing new in; running requests may go on for the time given.
    pub(crate) fn close(&self, limit: Duration) {
        let mut state = self.state.lock();
        // A thread that is not asleep yet sees it too.
        state.poked = true;
        state.phase.close(limit);
        self.work.notify_one();
    }

    /// Waits until the thread has ended.
    pub(crate) fn wait_ended(&self) {
        let mut state = self.state.lock();
        while state.phase != Phase::Ended {
            self.ended.wait(&mut state);
        }
    }

    /// The numbers as of the last step.
    pub(crate) fn stats(&self) -> EngineStats {
        let state = self.state.lock();
        EngineStats {
            queued: state.waiting.taken(),
            healthy: state.phase == Phase::Open,
            ..state.stats.clone()
        }
    }

    /// Takes what came in. With `wait`, sleeps until something comes or that time is over.
    pub(super) fn take(&self, wait: Option<Duration>) -> Mail {
        let mut state = self.state.lock();
        if let Some(wait) = wait {
            let end = Instant::now() + wait;
            let before = state.phase;
            while state.arrived.is_empty()
                && state.forget.is_empty()
                && !state.poked
                && state.phase == before
            {
                if self.work.wait_until(&mut state, end).timed_out() {
                    break;
                }
            }
        }
        state.poked = false;
        Mail {
            arrived: std::mem::take(&mut state.arrived),
            forget: std::mem::take(&mut state.forget),
            phase: state.phase,
        }
    }

    /// Publishes the numbers and whose requests no longer wait, each named once for each.
    pub(super) fn publish(&self, stats: &EngineStats, no_longer_waiting: Vec<Domain>) {
        let mut state = self.state.lock();
        for domain in no_longer_waiting {
            state.waiting.leave(domain);
        }
        state.stats.clone_from(stats);
    }

    /// Takes no more work because steps keep failing.
    pub(super) fn mark_unhealthy(&self) {
        self.state.lock().phase.mark_unhealthy();
    }

    /// The thread is about to end, or has broken off. What arrived too late is told so.
    pub(crate) fn mark_ended(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Ended;
        self.ended.notify_all();
        let late = std::mem::take(&mut state.arrived);
        drop(state);
        for mut sequence in late {
            sequence.fail(EngineError::Closed);
        }
    }
}

impl Wake for Inbox {
    fn wake(&self) {
        self.state.lock().poked = true;
        self.work.notify_one();
    }
}
