//! A running exchange: a task of its own, between the engine and whoever reads. It passes on what
//! the guard lets through, ends when the reader leaves, when access is withdrawn or when the
//! server ends, and closes the books in every case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, mpsc};

use super::catalog::Model;
use super::error::GateError;
use super::held::Held;
use super::inspect::{Cleared, Seen, Watch};
use super::metrics::Observation;
use super::record::{Begun, Spent, outcome};
use super::request::{Ending, ExchangeEvent, ExchangeHandle, ExchangeUsage, Notice};
use super::running::Place;
use super::{Gate, Generate};
use crate::engine::{
    AnswerParser, EngineError, FinishReason, GenerationEvent, Said, TokenCount, Usage,
};
use crate::limits::Reservation;

/// Events between the exchange and its reader; a reader who does not read stops the engine there.
const EVENTS_MAX: usize = 64;
/// A reader who takes nothing for so long has gone, whatever the network says.
const STALL_MAX: Duration = Duration::from_mins(1);

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
        let Cleared { draft, reservation, notices, watch } = cleared;
        let engine = model.generator().ok_or(GateError::ModelNotFound)?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let stop = Arc::new(Notify::new());
        let handle = ExchangeHandle {
            id: self.begun.caller.request,
            model: model.name.clone(),
            prompt_tokens: self.begun.prompt_tokens,
            queued: 0,
            dropped: draft.dropped,
            notices: notices.clone(),
            events,
            stop: Arc::clone(&stop),
        };
        let parser = draft.parser();
        let request = draft.into_request(self.begun.caller.user);
        let was_redacted = notices.iter().any(|notice| notice.action == "redact");
        let pump = Pump {
            started: None,
            first_token: None,
            usage: None,
            held: Held::new(was_redacted),
            notices: Vec::new(),
            watch,
            parser,
            channel: Channel::Content,
            calls: 0,
            sender,
            stop,
        };
        match engine.generate(request) {
            Ok(stream) => {
                let queued = engine.stats().queued;
                tokio::spawn(self.drive(pump, stream, engine, reservation));
                Ok(ExchangeHandle { queued, ..handle })
            }
            Err(error) => {
                let result = Err(GateError::from(error));
                self.close(&result, reservation, ExchangeUsage::default(), &pump).await;
                result.map(|_: Ending| handle)
            }
        }
    }

    async fn drive(
        mut self,
        mut pump: Pump,
        mut stream: BoxStream<'static, GenerationEvent>,
        engine: Arc<dyn Generate>,
        reservation: Reservation,
    ) {
        let result = pump.run(&mut self.place, &mut stream).await;
        pump.note_start(&mut stream);
        // An engine that is still at work stops within one step; it is kept until here, so that a
        // model that is taken away answers to the end what it has begun.
        drop((stream, engine));
        if !matches!(
            result,
            Ok(Ending::Stop | Ending::ToolCalls | Ending::Length | Ending::ContentFilter)
        ) {
            pump.flush();
        }
        let usage = pump.usage(self.begun.prompt_tokens);
        self.close(&result, reservation, usage, &pump).await;
        let last = match result {
            Ok(ending) => ExchangeEvent::Finished { ending, usage },
            Err(error) => ExchangeEvent::Failed(error),
        };
        // The place is kept until the last word is said, so that a shutdown waits for it.
        let _ = tokio::time::timeout(STALL_MAX, pump.sender.send(last)).await;
    }

    /// Settles the limits, closes the record, counts.
    async fn close(
        &self,
        result: &Result<Ending, GateError>,
        reservation: Reservation,
        usage: ExchangeUsage,
        pump: &Pump,
    ) {
        let accounts = reservation.settle(usage.total());
        let whole = self.at.elapsed();
        let first_token = pump.first_token.map(|at| at.duration_since(self.at));
        let spent = Spent { usage, whole, first_token, notices: &pump.notices };
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
        for notice in &pump.notices {
            metrics.noticed("output", &notice.category, &notice.action, notice.count);
        }
    }
}

/// What flows from the engine to the reader.
struct Pump {
    /// What the engine told when it began to read the prompt.
    started: Option<Started>,
    first_token: Option<Instant>,
    usage: Option<Usage>,
    held: Held,
    notices: Vec<Notice>,
    watch: Watch,
    /// Takes the answer apart, where that is wanted.
    parser: Option<AnswerParser>,
    /// What is being said at the moment.
    channel: Channel,
    /// Calls that have begun.
    calls: u32,
    sender: mpsc::Sender<ExchangeEvent>,
    stop: Arc<Notify>,
}

/// Of a prompt that has a place: what of it was in the cache, and the engine's own count of what it
/// generates.
struct Started {
    cached_tokens: usize,
    generated: TokenCount,
}

/// What a piece of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    Content,
    Reasoning,
    Arguments,
}

/// What to do after an event.
enum Next {
    GoOn,
    End(Ending),
}

impl Pump {
    /// Runs until the answer ends, one way or another.
    async fn run(
        &mut self,
        place: &mut Place,
        stream: &mut BoxStream<'static, GenerationEvent>,
    ) -> Result<Ending, GateError> {
        loop {
            let event = tokio::select! {
                biased;
                end = place.ended() => return Err(end.into()),
                () = self.sender.closed() => return Ok(Ending::Cancelled),
                () = self.stop.notified() => return Ok(Ending::Cancelled),
                event = stream.next() => event,
            };
            let next = tokio::select! {
                biased;
                end = place.ended() => return Err(end.into()),
                next = self.pass_on(event) => next?,
            };
            if let Next::End(ending) = next {
                return Ok(ending);
            }
        }
    }

    /// An exchange that ended at once may have begun unheard: the start is the first event.
    fn note_start(&mut self, stream: &mut BoxStream<'static, GenerationEvent>) {
        if self.started.is_none()
            && let Some(Some(GenerationEvent::Started { cached_tokens, generated })) =
                stream.next().now_or_never()
        {
            self.started = Some(Started { cached_tokens, generated });
        }
    }

    async fn pass_on(&mut self, event: Option<GenerationEvent>) -> Result<Next, GateError> {
        match event {
            Some(GenerationEvent::Started { cached_tokens, generated }) => {
                self.started = Some(Started { cached_tokens, generated });
                self.send(ExchangeEvent::Started).await
            }
            Some(GenerationEvent::Text { text, logprobs }) => {
                self.first_token.get_or_insert_with(Instant::now);
                let parts = match &mut self.parser {
                    Some(parser) => parser.push(&text),
                    None => vec![Said::Content(text)],
                };
                self.held.wait(logprobs);
                self.take_parts(parts).await
            }
            Some(GenerationEvent::Finished { reason, usage }) => {
                self.usage = Some(usage);
                let rest = self.parser.as_mut().map(AnswerParser::finish).unwrap_or_default();
                if let Next::End(ending) = self.take_parts(rest).await? {
                    return Ok(Next::End(ending));
                }
                let seen = self.watch.finish();
                let mut next = self.let_through(seen).await?;
                let logprobs = self.held.rest();
                if matches!(next, Next::GoOn) && !logprobs.is_empty() {
                    next = self.send(ExchangeEvent::Text { text: String::new(), logprobs }).await?;
                }
                match (next, reason) {
                    (Next::End(ending), _) => Ok(Next::End(ending)),
                    (Next::GoOn, FinishReason::Stop) if self.calls > 0 => {
                        Ok(Next::End(Ending::ToolCalls))
                    }
                    (Next::GoOn, FinishReason::Stop) => Ok(Next::End(Ending::Stop)),
                    (Next::GoOn, FinishReason::Length) => Ok(Next::End(Ending::Length)),
                    (Next::GoOn, FinishReason::Cancelled) => Err(GateError::Unloaded),
                }
            }
            Some(GenerationEvent::Failed(error)) => Err(error.into()),
            None => Err(GateError::Engine(EngineError::Internal)),
        }
    }

    /// Shows the parts of an answer to the guard, one channel after the other. What it holds back of
    /// one is let out before the next begins, and stays the context of what follows.
    async fn take_parts(&mut self, parts: Vec<Said>) -> Result<Next, GateError> {
        for part in parts {
            let (channel, text) = match part {
                Said::Content(text) => (Channel::Content, text),
                Said::Reasoning(text) => (Channel::Reasoning, text),
                Said::Arguments(text) => (Channel::Arguments, text),
                Said::Call(name) => {
                    let next = self.begin_call(name).await?;
                    if matches!(next, Next::End(_)) {
                        return Ok(next);
                    }
                    continue;
                }
            };
            if channel != self.channel {
                let held = self.watch.finish();
                let next = self.let_through(held).await?;
                if matches!(next, Next::End(_)) {
                    return Ok(next);
                }
                self.channel = channel;
            }
            self.held.push(text.len(), channel == Channel::Content);
            let seen = self.watch.push(&text);
            let next = self.let_through(seen).await?;
            if matches!(next, Next::End(_)) {
                return Ok(next);
            }
        }
        Ok(Next::GoOn)
    }

    async fn begin_call(&mut self, name: String) -> Result<Next, GateError> {
        let held = self.watch.finish();
        let next = self.let_through(held).await?;
        if matches!(next, Next::End(_)) {
            return Ok(next);
        }
        let index = self.calls;
        self.calls += 1;
        self.channel = Channel::Arguments;
        self.send(ExchangeEvent::Call { index, id: call_id()?, name }).await
    }

    /// Sends what the guard has seen and let through.
    async fn let_through(&mut self, seen: Vec<Seen>) -> Result<Next, GateError> {
        for one in seen {
            match one {
                Seen::Text(text) => {
                    let event = self.said(text);
                    if let Next::End(ending) = self.send(event).await? {
                        return Ok(Next::End(ending));
                    }
                }
                Seen::Notice(notice) => {
                    // What is withheld from the text is withheld from its tokens too.
                    self.held.withhold();
                    self.notices.push(notice.clone());
                    self.send(ExchangeEvent::Notice(notice)).await?;
                }
                Seen::Stop => return Ok(Next::End(Ending::ContentFilter)),
            }
        }
        Ok(Next::GoOn)
    }

    /// Lets out what the guard still held of an answer that was cut short, if the reader has room.
    fn flush(&mut self) {
        for one in self.watch.finish() {
            let event = match one {
                Seen::Text(text) => self.said(text),
                Seen::Notice(notice) => {
                    self.held.withhold();
                    self.notices.push(notice.clone());
                    ExchangeEvent::Notice(notice)
                }
                Seen::Stop => return,
            };
            if self.sender.try_send(event).is_err() {
                return;
            }
        }
    }

    /// The event for a text of the channel that is being said.
    fn said(&mut self, text: String) -> ExchangeEvent {
        let logprobs = self.held.release(text.len());
        match self.channel {
            Channel::Content => ExchangeEvent::Text { text, logprobs },
            Channel::Reasoning => ExchangeEvent::Reasoning(text),
            Channel::Arguments => {
                ExchangeEvent::Arguments { index: self.calls.saturating_sub(1), text }
            }
        }
    }

    async fn send(&mut self, event: ExchangeEvent) -> Result<Next, GateError> {
        match tokio::time::timeout(STALL_MAX, self.sender.send(event)).await {
            Ok(Ok(())) => Ok(Next::GoOn),
            // The reader has left, or stands there without reading.
            Ok(Err(_)) | Err(_) => Ok(Next::End(Ending::Cancelled)),
        }
    }

    /// What it took. An exchange that was cut short is counted as far as the engine came with it:
    /// one that never had a place took nothing.
    fn usage(&self, prompt_tokens: u64) -> ExchangeUsage {
        let Some(usage) = self.usage else {
            let Some(started) = &self.started else { return ExchangeUsage::default() };
            return ExchangeUsage {
                prompt_tokens,
                cached_tokens: started.cached_tokens as u64,
                completion_tokens: started.generated.get(),
                decode: self.first_token.map_or(Duration::ZERO, |first| first.elapsed()),
            };
        };
        ExchangeUsage {
            prompt_tokens: usage.prompt_tokens as u64,
            cached_tokens: usage.cached_tokens as u64,
            completion_tokens: usage.completion_tokens as u64,
            decode: Duration::from_millis(usage.decode_ms),
        }
    }
}

/// Tells a call from others: nine letters and digits, the form that the strictest templates take.
fn call_id() -> Result<String, GateError> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let random = getrandom::u64().map_err(|_| GateError::Engine(EngineError::Internal))?;
    let letter = |at: u32| char::from(LETTERS[(random >> (5 * at) & 31) as usize]);
    Ok((0..9).map(letter).collect())
}
