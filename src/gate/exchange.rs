//! A running exchange: a task of its own, between the engine and whoever reads. It passes on what
//! the guard lets through of each answer, ends when the reader leaves, when access is withdrawn or
//! when the server ends, and closes the books in every case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::sync::{Notify, mpsc, watch};

use super::catalog::Model;
use super::error::GateError;
use super::held::Held;
use super::inspect::Cleared;
use super::metrics::Observation;
use super::prompt::by_length;
use super::pump::Pump;
use super::record::{Begun, Spent, outcome};
use super::request::{Ending, ExchangeEvent, ExchangeHandle, ExchangeUsage, Notice};
use super::running::Place;
use super::{Gate, Generate};
use crate::engine::{EngineError, PlaceInLine};
use crate::limits::Reservation;

/// Events between the exchange and its reader; a reader who does not read stops the engine there.
const EVENTS_MAX: usize = 64;
/// A reader who takes nothing for so long has gone, whatever the network says. Tests do not wait.
pub(super) const STALL_MAX: Duration =
    if cfg!(test) { Duration::from_millis(500) } else { Duration::from_mins(1) };

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
        let (sender, events) = mpsc::channel(EVENTS_MAX + 1);
        // The last word has its room from the start: a reader who comes back late still hears it.
        let last_word = sender.clone().try_reserve_owned().expect("a new channel has room");
        let stop = Arc::new(Notify::new());
        let handle = ExchangeHandle {
            id: self.begun.caller.request,
            model: model.name.clone(),
            prompt_tokens: self.begun.prompt_tokens,
            line: PlaceInLine::default(),
            dropped: draft.dropped,
            notices: notices.clone(),
            events,
            stop: Arc::clone(&stop),
        };
        // Of a prompt that was changed none is shown.
        let is_withheld =
            !draft.has_logprobs() || notices.iter().any(|notice| notice.action == "redact");
        let choices = draft.choices;
        let lengths: Vec<u64> = draft.prompts.iter().map(|prompt| prompt.len() as u64).collect();
        let mut pumps = Vec::with_capacity(watches.len());
        for (choice, watch) in watches.into_iter().enumerate() {
            let parser = draft.parser();
            let held = Held::new(parser.is_some(), is_withheld);
            let echo = draft.echo(choice / choices, !is_withheld);
            pumps.push(Pump::new(choice, watch, parser, held, sender.clone()).echoing(echo));
        }
        let weight = self.gate.weight(&self.begun.caller);
        let tokens = draft.prompt_tokens();
        let requests = draft.into_requests(self.begun.caller.user, weight);
        let line = requests.last().map(|last| last.line.clone()).unwrap_or_default();
        let maker = Arc::clone(&engine);
        // Each answer has a sampler that has seen the prompt.
        let work = tokens.saturating_mul(choices).saturating_mul(size_of::<u32>());
        let make = move || -> Result<Vec<_>, EngineError> {
            let mut streams = Vec::with_capacity(requests.len() * choices);
            for request in requests {
                streams.extend(maker.generate_choices(request, choices)?);
            }
            Ok(streams)
        };
        let made = by_length(work, make).await;
        match made.and_then(|made| made.map_err(GateError::from)) {
            Ok(streams) => {
                pumps.iter_mut().zip(streams).for_each(|(pump, stream)| pump.draw_from(stream));
                let answers = Answers { pumps, choices, lengths, last_word, stop };
                tokio::spawn(self.drive(answers, engine, reservation));
                Ok(ExchangeHandle { line, ..handle })
            }
            Err(error) => {
                let result = Err(error);
                self.close(&result, reservation, &Took::default()).await;
                result.map(|_: Ending| handle)
            }
        }
    }

    async fn drive(
        mut self,
        mut answers: Answers,
        engine: Arc<dyn Generate>,
        reservation: Reservation,
    ) {
        let result = answers.run(&mut self.place).await;
        answers.pumps.iter_mut().for_each(Pump::let_go);
        // The engine is kept until here, so that a model that is taken away answers to the end what
        // it has begun.
        drop(engine);
        answers.pumps.iter_mut().for_each(Pump::flush);
        let took = answers.took();
        self.close(&result, reservation, &took).await;
        let last = match result {
            Ok(ending) => ExchangeEvent::Finished { ending, usage: took.usage },
            Err(error) => ExchangeEvent::Failed(error),
        };
        // The place is kept until the last word is said, so that a shutdown waits for it.
        answers.last_word.send(last);
    }

    /// Settles the limits, closes the record, counts.
    async fn close(
        &self,
        result: &Result<Ending, GateError>,
        reservation: Reservation,
        took: &Took,
    ) {
        let Took { usage, first_token, notices } = took;
        let accounts = reservation.settle(usage.total());
        let whole = self.at.elapsed();
        let first_token = first_token.map(|at| at.duration_since(self.at));
        let spent = Spent { usage: *usage, whole, first_token, notices };
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
        for notice in notices {
            metrics.noticed("output", &notice.category, &notice.action, notice.count);
        }
    }
}

/// What the answers of an exchange took, and what the guard did to them.
#[derive(Default)]
struct Took {
    usage: ExchangeUsage,
    first_token: Option<Instant>,
    notices: Vec<Notice>,
}

/// The answers of an exchange.
struct Answers {
    pumps: Vec<Pump>,
    /// How many of them there are to each prompt.
    choices: usize,
    /// Tokens of each prompt.
    lengths: Vec<u64>,
    last_word: mpsc::OwnedPermit<ExchangeEvent>,
    stop: Arc<Notify>,
}

impl Answers {
    /// Runs until all answers have ended, one way or another; one's failure ends the others.
    async fn run(&mut self, place: &mut Place) -> Result<Ending, GateError> {
        let (halt, halted) = watch::channel(false);
        let all = try_join_all(self.pumps.iter_mut().map(|pump| pump.run(halted.clone())));
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

    fn took(&self) -> Took {
        Took {
            usage: self.usage(),
            first_token: self.pumps.iter().filter_map(|pump| pump.first_token).min(),
            notices: self.pumps.iter().flat_map(|pump| pump.notices.clone()).collect(),
        }
    }

    /// The tokens of all of it; a prompt counts once, where any of its answers was begun.
    fn usage(&self) -> ExchangeUsage {
        let each = self.pumps.chunks(self.choices).zip(&self.lengths);
        let each = each.map(|(pumps, length)| usage_of(pumps, *length));
        each.fold(ExchangeUsage::default(), |sum, one| ExchangeUsage {
            prompt_tokens: sum.prompt_tokens + one.prompt_tokens,
            cached_tokens: sum.cached_tokens + one.cached_tokens,
            completion_tokens: sum.completion_tokens + one.completion_tokens,
            decode: sum.decode.max(one.decode),
        })
    }
}

/// What the answers to one prompt took.
fn usage_of(pumps: &[Pump], prompt_tokens: u64) -> ExchangeUsage {
    pumps.iter().fold(ExchangeUsage::default(), |sum, pump| {
        let one = pump.usage(prompt_tokens);
        ExchangeUsage {
            prompt_tokens: sum.prompt_tokens.max(one.prompt_tokens),
            cached_tokens: sum.cached_tokens.max(one.cached_tokens),
            completion_tokens: sum.completion_tokens + one.completion_tokens,
            decode: sum.decode.max(one.decode),
        }
    })
}
