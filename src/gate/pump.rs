//! One answer on its way from the engine to the reader: through the guard, with its tokens beside
//! their text.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{mpsc, watch};

use super::Generate;
use super::error::GateError;
use super::exchange::STALL_MAX;
use super::inspect::{Seen, Watch};
use super::request::{Ending, ExchangeEvent, ExchangeUsage, Notice};
use crate::engine::{EngineError, FinishReason, GenerationEvent, TokenLogprob, Usage};

/// What flows from the engine to the reader, of one answer.
pub(super) struct Pump {
    choice: usize,
    /// What the model said so far, for counting where the engine did not come to tell.
    answer: String,
    pub(super) first_token: Option<Instant>,
    usage: Option<Usage>,
    held: Held,
    pub(super) notices: Vec<Notice>,
    watch: Watch,
    sender: mpsc::Sender<ExchangeEvent>,
    /// Whether it ended by itself: nothing of it is held back any more.
    is_whole: bool,
}

/// What to do after an event.
enum Next {
    GoOn,
    End(Ending),
}

impl Pump {
    /// An answer of which nothing has come yet.
    pub(super) fn new(
        choice: usize,
        watch: Watch,
        sender: mpsc::Sender<ExchangeEvent>,
        was_redacted: bool,
    ) -> Self {
        Self {
            choice,
            answer: String::new(),
            first_token: None,
            usage: None,
            held: Held { is_withheld: was_redacted, ..Held::default() },
            notices: Vec::new(),
            watch,
            sender,
            is_whole: false,
        }
    }

    /// Runs until the answer ends, or is ended.
    pub(super) async fn run(
        &mut self,
        mut stream: BoxStream<'static, GenerationEvent>,
        mut halted: watch::Receiver<bool>,
    ) -> Result<Ending, GateError> {
        loop {
            let event = tokio::select! {
                biased;
                () = self.sender.closed() => return Ok(Ending::Cancelled),
                _ = halted.wait_for(|is_halted| *is_halted) => return Ok(Ending::Cancelled),
                event = stream.next() => event,
            };
            if let Next::End(ending) = self.pass_on(event).await? {
                self.is_whole = ending != Ending::Cancelled;
                if self.is_whole {
                    let choice = self.choice;
                    self.send(ExchangeEvent::Ended { choice, ending }).await?;
                }
                return Ok(ending);
            }
        }
    }

    async fn pass_on(&mut self, event: Option<GenerationEvent>) -> Result<Next, GateError> {
        match event {
            // All of them read the prompt at once: it is told once.
            Some(GenerationEvent::Started) if self.choice > 0 => Ok(Next::GoOn),
            Some(GenerationEvent::Started) => self.send(ExchangeEvent::Started).await,
            Some(GenerationEvent::Text { text, logprobs }) => {
                self.first_token.get_or_insert_with(Instant::now);
                self.answer.push_str(&text);
                self.held.push(text.len(), logprobs);
                let seen = self.watch.push(&text);
                self.let_through(seen).await
            }
            Some(GenerationEvent::Finished { reason, usage }) => {
                self.usage = Some(usage);
                let seen = self.watch.finish();
                let mut next = self.let_through(seen).await?;
                let logprobs = self.held.rest();
                if matches!(next, Next::GoOn) && !logprobs.is_empty() {
                    let (choice, text) = (self.choice, String::new());
                    next = self.send(ExchangeEvent::Text { choice, text, logprobs }).await?;
                }
                match (next, reason) {
                    (Next::End(ending), _) => Ok(Next::End(ending)),
                    (Next::GoOn, FinishReason::Stop) => Ok(Next::End(Ending::Stop)),
                    (Next::GoOn, FinishReason::Length) => Ok(Next::End(Ending::Length)),
                    (Next::GoOn, FinishReason::Cancelled) => Err(GateError::ShuttingDown),
                }
            }
            Some(GenerationEvent::Failed(error)) => Err(error.into()),
            None => Err(GateError::Engine(EngineError::Internal)),
        }
    }

    /// Sends what the guard has seen and let through.
    async fn let_through(&mut self, seen: Vec<Seen>) -> Result<Next, GateError> {
        for one in seen {
            match one {
                Seen::Text(text) => {
                    let logprobs = self.held.release(text.len());
                    let event = ExchangeEvent::Text { choice: self.choice, text, logprobs };
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
    pub(super) fn flush(&mut self) {
        if self.is_whole {
            return;
        }
        for one in self.watch.finish() {
            let event = match one {
                Seen::Text(text) => {
                    let logprobs = self.held.release(text.len());
                    ExchangeEvent::Text { choice: self.choice, text, logprobs }
                }
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

    async fn send(&mut self, event: ExchangeEvent) -> Result<Next, GateError> {
        match tokio::time::timeout(STALL_MAX, self.sender.send(event)).await {
            Ok(Ok(())) => Ok(Next::GoOn),
            // The reader has left, or stands there without reading.
            Ok(Err(_)) | Err(_) => Ok(Next::End(Ending::Cancelled)),
        }
    }

    /// What it took. An answer that was cut short is counted by the text that came.
    pub(super) fn usage(&self, engine: &dyn Generate) -> ExchangeUsage {
        let Some(usage) = self.usage else {
            return ExchangeUsage {
                completion_tokens: engine.tokenize(&self.answer).len() as u64,
                decode: self.first_token.map_or(Duration::ZERO, |first| first.elapsed()),
                ..ExchangeUsage::default()
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

/// Log-probabilities whose text the guard still holds back.
#[derive(Default)]
struct Held {
    pushed: usize,
    released: usize,
    queue: std::collections::VecDeque<(usize, Vec<TokenLogprob>)>,
    is_withheld: bool,
}

impl Held {
    fn push(&mut self, bytes: usize, logprobs: Vec<TokenLogprob>) {
        self.pushed += bytes;
        if !logprobs.is_empty() && !self.is_withheld {
            self.queue.push_back((self.pushed, logprobs));
        }
    }

    /// The log-probabilities of all text that is out after so many more bytes.
    fn release(&mut self, bytes: usize) -> Vec<TokenLogprob> {
        self.released += bytes;
        let mut out = Vec::new();
        while self.queue.front().is_some_and(|(end, _)| *end <= self.released) {
            out.extend(self.queue.pop_front().into_iter().flat_map(|(_, logprobs)| logprobs));
        }
        out
    }

    /// The log-probabilities of tokens without a text of their own, at the end.
    fn rest(&mut self) -> Vec<TokenLogprob> {
        self.queue.drain(..).flat_map(|(_, logprobs)| logprobs).collect()
    }

    fn withhold(&mut self) {
        self.is_withheld = true;
        self.queue.clear();
    }
}
