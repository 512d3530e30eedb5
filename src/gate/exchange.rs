//! A running exchange: a task of its own, between the engine and whoever reads. It passes on what
//! the guard lets through of each answer, ends when the reader leaves, when access is withdrawn or
//! when the server ends, and closes the books in every case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use futures_util::stream::BoxStream;
use tokio::sync::{Notify, mpsc, watch};

use super::catalog::Model;
use super::error::GateError;
use super::inspect::Cleared;
use super::metrics::Observation;
use super::pump::Pump;
use super::record::{Begun, Spent, outcome};
use super::request::{Ending, ExchangeEvent, ExchangeHandle, ExchangeUsage};
use super::running::Place;
use super::{Gate, Generate};
use crate::engine::GenerationEvent;
use crate::limits::Reservation;

/// Events between the exchange and its reader; a reader who does not read stops the engine there.
const EVENTS_MAX: usize = 64;
/// A reader who takes nothing for so long has gone, whatever the network says.
pub(super) const STALL_MAX: Duration = Duration::from_mins(1);

/// An exchange that is on record and about to start.
pub(super) struct Exchange {
    gate: Gate,
    place: Place,
    begun: Begun,
    at: Instant,
}

impl Exchange {
    pub(super) fn new(gate: Gate, place: Place, begun: Begun, at: Instant) -> Self {
        Self { gate, place, begun, at }
    }

    /// Hands the prompt to the engine and lets the exchange run by itself. Where the engine does
    /// not take it, the books are closed before the caller hears of it.
    pub(super) async fn start(
        self,
        model: &Model,
        cleared: Cleared,
    ) -> Result<ExchangeHandle, GateError> {
        let Cleared { draft, reservation, notices, watches } = cleared;
        let engine = model.generator().ok_or(GateError::ModelNotFound)?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let stop = Arc::new(Notify::new());
        let handle = ExchangeHandle {
            id: self.begun.caller.request,
            model: model.name.clone(),
            prompt_tokens: self.begun.prompt_tokens,
            queued: 0,
            notices: notices.clone(),
            events,
            stop: Arc::clone(&stop),
        };
        let choices = draft.choices;
        let request = draft.into_request(self.begun.caller.user);
        let was_redacted = notices.iter().any(|notice| notice.action == "redact");
        let pumps: Vec<Pump> = watches
            .into_iter()
            .enumerate()
            .map(|(choice, watch)| Pump::new(choice, watch, sender.clone(), was_redacted))
            .collect();
        match engine.generate_choices(request, choices) {
            Ok(streams) => {
                let queued = engine.stats().queued;
                let answers = Answers { pumps, sender, stop };
                tokio::spawn(self.drive(answers, streams, engine, reservation));
                Ok(ExchangeHandle { queued, ..handle })
            }
            Err(error) => {
                let result = Err(GateError::from(error));
                self.close(&result, reservation, ExchangeUsage::default(), &pumps).await;
                result.map(|_: Ending| handle)
            }
        }
    }

    async fn drive(
        mut self,
        mut answers: Answers,
        streams: Vec<BoxStream<'static, GenerationEvent>>,
        engine: Arc<dyn Generate>,
        reservation: Reservation,
    ) {
        let result = answers.run(&mut self.place, streams).await;
        for pump in &mut answers.pumps {
            pump.flush();
        }
        let usage = answers.usage(&*engine, self.begun.prompt_tokens);
        self.close(&result, reservation, usage, &answers.pumps).await;
        let last = match result {
            Ok(ending) => ExchangeEvent::Finished { ending, usage },
            Err(error) => ExchangeEvent::Failed(error),
        };
        // The place is kept until the last word is said, so that a shutdown waits for it.
        let _ = tokio::time::timeout(STALL_MAX, answers.sender.send(last)).await;
    }

    /// Settles the limits, closes the record, counts.
    async fn close(
        &self,
        result: &Result<Ending, GateError>,
        reservation: Reservation,
        usage: ExchangeUsage,
        pumps: &[Pump],
    ) {
        let accounts = reservation.settle(usage.total());
        let whole = self.at.elapsed();
        let first_token = pumps.iter().filter_map(|pump| pump.first_token).min();
        let first_token = first_token.map(|at| at.duration_since(self.at));
        let notices: Vec<_> = pumps.iter().flat_map(|pump| pump.notices.clone()).collect();
        let spent = Spent { usage, whole, first_token, notices: &notices };
        self.gate.record_end(&self.begun, Some(accounts), result, &spent).await;
        let metrics = &self.gate.inner.metrics;
        metrics.observe(&Observation {
            model: &self.begun.model,
            purpose: self.begun.purpose.name(),
            outcome: outcome(result).name(),
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            whole,
            first_token,
            decode: usage.decode,
        });
        for notice in &notices {
            metrics.noticed("output", &notice.category, &notice.action, notice.count);
        }
    }
}

/// The answers of an exchange.
struct Answers {
    pumps: Vec<Pump>,
    sender: mpsc::Sender<ExchangeEvent>,
    stop: Arc<Notify>,
}

impl Answers {
    /// Runs until all answers have ended, one way or another; one's failure ends the others. The
    /// streams are dropped on return: an engine that is still at work stops within one step.
    async fn run(
        &mut self,
        place: &mut Place,
        streams: Vec<BoxStream<'static, GenerationEvent>>,
    ) -> Result<Ending, GateError> {
        let (halt, halted) = watch::channel(false);
        let pairs = self.pumps.iter_mut().zip(streams);
        let all = try_join_all(pairs.map(|(pump, stream)| pump.run(stream, halted.clone())));
        let mut all = std::pin::pin!(all);
        loop {
            tokio::select! {
                biased;
                end = place.ended() => return Err(end.into()),
                () = self.stop.notified() => drop(halt.send_replace(true)),
                endings = &mut all => {
                    return endings.map(|all| all.into_iter().max().unwrap_or(Ending::Cancelled));
                }
            }
        }
    }

    /// What all of it took; the prompt counts once.
    fn usage(&self, engine: &dyn Generate, prompt_tokens: u64) -> ExchangeUsage {
        let nothing = ExchangeUsage { prompt_tokens, ..ExchangeUsage::default() };
        self.pumps.iter().fold(nothing, |sum, pump| {
            let one = pump.usage(engine);
            ExchangeUsage {
                prompt_tokens: sum.prompt_tokens,
                cached_tokens: sum.cached_tokens.max(one.cached_tokens),
                completion_tokens: sum.completion_tokens + one.completion_tokens,
                decode: sum.decode.max(one.decode),
            }
        })
    }
}
