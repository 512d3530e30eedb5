//! One answer on its way from the engine to the reader: taken apart where that is wanted, through the
//! guard, with its tokens beside their text.

use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};

use super::echo::Echo;
use super::error::GateError;
use super::exchange::STALL_MAX;
use super::held::Held;
use super::inspect::{Seen, Watch};
use super::request::{Ending, ExchangeEvent, ExchangeUsage, Notice};
use crate::engine::{
    AnswerParser, EngineError, FinishReason, GenerationEvent, Said, Spoken, TokenCount,
    TokenLogprob, Usage,
};

/// What flows from the engine to the reader, of one answer.
pub(super) struct Pump {
    choice: usize,
    /// The engine's end; none before the answer was begun and after it has ended.
    stream: Option<BoxStream<'static, GenerationEvent>>,
    /// What the engine told when it began to read the prompt.
    started: Option<Started>,
    pub(super) first_token: Option<Instant>,
    usage: Option<Usage>,
    held: Held,
    pub(super) notices: Vec<Notice>,
    watch: Watch,
    /// Takes the answer apart, where that is wanted.
    parser: Option<AnswerParser>,
    /// What is being said at the moment.
    channel: Channel,
    /// Calls that have begun.
    calls: u32,
    sender: mpsc::Sender<ExchangeEvent>,
    /// What it begins with, as long as that was not said.
    echo: Option<Echo>,
    /// Whether it ended by itself: nothing of it is held back any more.
    is_whole: bool,
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
    /// An answer of which nothing has come yet.
    pub(super) fn new(
        choice: usize,
        watch: Watch,
        parser: Option<AnswerParser>,
        held: Held,
        sender: mpsc::Sender<ExchangeEvent>,
    ) -> Self {
        Self {
            choice,
            stream: None,
            started: None,
            first_token: None,
            usage: None,
            held,
            notices: Vec::new(),
            watch,
            parser,
            channel: Channel::Content,
            calls: 0,
            sender,
            echo: None,
            is_whole: false,
        }
    }

    /// Begins the answer with its prompt.
    pub(super) fn echoing(self, echo: Option<Echo>) -> Self {
        Self { echo, ..self }
    }

    /// Takes what the engine gives for this answer.
    pub(super) fn draw_from(&mut self, stream: BoxStream<'static, GenerationEvent>) {
        self.stream = Some(stream);
    }

    /// Runs until the answer ends, or is ended.
    pub(super) async fn run(
        &mut self,
        mut halted: watch::Receiver<bool>,
    ) -> Result<Ending, GateError> {
        loop {
            let Some(stream) = &mut self.stream else {
                return Err(GateError::Engine(EngineError::Internal));
            };
            let event = tokio::select! {
                biased;
                () = self.sender.closed() => return Ok(Ending::Cancelled),
                _ = halted.wait_for(|is_halted| *is_halted) => return Ok(Ending::Cancelled),
                event = stream.next() => event,
            };
            if let Next::End(ending) = self.pass_on(event).await? {
                self.let_go();
                self.is_whole = ending != Ending::Cancelled;
                if self.is_whole {
                    let choice = self.choice;
                    let told = self.send(ExchangeEvent::Ended { choice, ending }).await?;
                    // An answer whose end nobody took is none that was read to its end.
                    if let Next::End(cut) = told {
                        return Ok(cut);
                    }
                }
                return Ok(ending);
            }
        }
    }

    /// Lets go of the engine's end: an engine that is still at work stops within one step.
    pub(super) fn let_go(&mut self) {
        // An answer that was ended at once may have begun unheard: the start is the first event.
        if let Some(mut stream) = self.stream.take()
            && self.started.is_none()
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
                // It is told once, when the first of them reads its prompt.
                let mut next = Next::GoOn;
                if self.choice == 0 {
                    next = self.send(ExchangeEvent::Started).await?;
                }
                match self.echo.take_if(|echo| !echo.waits()) {
                    Some(echo) if matches!(next, Next::GoOn) => self.echo(echo, Vec::new()).await,
                    _ => Ok(next),
                }
            }
            Some(GenerationEvent::Prompt(judged)) => match self.echo.take() {
                Some(echo) => self.echo(echo, judged).await,
                None => Ok(Next::GoOn),
            },
            Some(GenerationEvent::Text { text, logprobs }) => {
                self.first_token.get_or_insert_with(Instant::now);
                self.held.wait(&text, logprobs);
                let parts = match &mut self.parser {
                    Some(parser) => parser.push(&text),
                    None => vec![Spoken { at: 0..text.len(), said: Said::Content(text) }],
                };
                self.take_parts(parts).await
            }
            Some(GenerationEvent::Finished { reason, usage }) => {
                self.usage = Some(usage);
                self.finish(reason).await
            }
            Some(GenerationEvent::Failed(error)) => Err(error.into()),
            None => Err(GateError::Engine(EngineError::Internal)),
        }
    }

    /// Sends what was held back of an answer that is complete.
    async fn finish(&mut self, reason: FinishReason) -> Result<Next, GateError> {
        let rest = self.parser.as_mut().map(AnswerParser::finish).unwrap_or_default();
        if let Next::End(ending) = self.take_parts(rest).await? {
            return Ok(Next::End(ending));
        }
        let seen = self.watch.finish();
        let mut next = self.let_through(seen).await?;
        let logprobs = self.held.rest();
        if matches!(next, Next::GoOn) && !logprobs.is_empty() {
            let (choice, text) = (self.choice, String::new());
            next = self.send(ExchangeEvent::Text { choice, text, logprobs }).await?;
        }
        // A stop text may be found last of all, in what was held back.
        let stopped = self.parser.as_ref().and_then(AnswerParser::stopped);
        let reason = match (reason, stopped) {
            (FinishReason::Stop | FinishReason::Length, Some(which)) => {
                FinishReason::StopText(which)
            }
            (reason, _) => reason,
        };
        match (next, reason) {
            (Next::End(ending), _) => Ok(Next::End(ending)),
            (Next::GoOn, FinishReason::Stop | FinishReason::StopText(_)) if self.calls > 0 => {
                Ok(Next::End(Ending::ToolCalls))
            }
            (Next::GoOn, FinishReason::Stop) => Ok(Next::End(Ending::Stop)),
            (Next::GoOn, FinishReason::StopText(which)) => Ok(Next::End(Ending::StopText(which))),
            (Next::GoOn, FinishReason::Length) => Ok(Next::End(Ending::Length)),
            (Next::GoOn, FinishReason::Cancelled) => Err(GateError::Unloaded),
        }
    }

    /// Shows the parts of an answer to the guard, one channel after the other. What it holds back of
    /// one is let out before the next begins, and stays the context of what follows.
    async fn take_parts(&mut self, parts: Vec<Spoken>) -> Result<Next, GateError> {
        for Spoken { said, at } in parts {
            let (channel, text) = match said {
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
            self.held.push(&text, at, channel == Channel::Content);
            let seen = self.watch.push(&text);
            let next = self.let_through(seen).await?;
            if matches!(next, Next::End(_)) {
                return Ok(next);
            }
        }
        Ok(Next::GoOn)
    }

    /// Says the text of the prompt. It is the caller's own, and the guard has seen it on its way in.
    async fn echo(&mut self, echo: Echo, judged: Vec<TokenLogprob>) -> Result<Next, GateError> {
        let (text, logprobs) = echo.said(judged);
        let choice = self.choice;
        self.send(ExchangeEvent::Text { choice, text, logprobs }).await
    }

    async fn begin_call(&mut self, name: String) -> Result<Next, GateError> {
        let held = self.watch.finish();
        let next = self.let_through(held).await?;
        if matches!(next, Next::End(_)) {
            return Ok(next);
        }
        let (choice, index) = (self.choice, self.calls);
        self.calls += 1;
        self.channel = Channel::Arguments;
        self.send(ExchangeEvent::Call { choice, index, id: call_id()?, name }).await
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
                    if let Next::End(ending) = self.send(ExchangeEvent::Notice(notice)).await? {
                        return Ok(Next::End(ending));
                    }
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
        let (choice, logprobs) = (self.choice, self.held.release(text.len()));
        match self.channel {
            Channel::Content => ExchangeEvent::Text { choice, text, logprobs },
            Channel::Reasoning => ExchangeEvent::Reasoning { choice, text },
            Channel::Arguments => {
                ExchangeEvent::Arguments { choice, index: self.calls.saturating_sub(1), text }
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

    /// What it took, the prompt included. An answer that was cut short is counted as far as the
    /// engine came with it: one that never had a place took nothing.
    pub(super) fn usage(&self, prompt_tokens: u64) -> ExchangeUsage {
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
