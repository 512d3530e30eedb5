//! Streamed answers: server-sent events, as clients of the API read them. What an event of an exchange
//! is on the wire, a script says; a silent stream is kept open with comments, an error is an event of
//! its own and the end, and so is what was cut short. Dropping the stream ends the work.
//!
//! Here too is the script of chats and completions: the first chunk carries the role, the last before
//! `[DONE]` the reason (and, if asked for, one more the usage).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::Value;

use super::answer::Writer;
use super::chat_answer::CallView;
use crate::gate::{Ending, ExchangeEvent, ExchangeHandle, Notice};
use crate::web::{ApiError, ErrorCode};

/// What stands on the wire for what happens in an exchange.
pub(super) trait Script {
    /// What comes first; what the guard did to the prompt is known by then.
    fn open(&mut self, notices: &[Notice]) -> Vec<Bytes>;
    /// What an event is. `Finished` is the last that comes here, and what it is the end.
    async fn write(&mut self, event: ExchangeEvent) -> Vec<Bytes>;
    /// What an error on the way is, and the end.
    fn fail(&mut self, error: ApiError) -> Vec<Bytes>;
}

struct State<S> {
    handle: ExchangeHandle,
    script: S,
    heartbeat: Option<Duration>,
    ready: VecDeque<Bytes>,
    is_over: bool,
}

/// The body of a streamed answer.
pub(super) fn body<S: Script>(
    handle: ExchangeHandle,
    mut script: S,
    heartbeat: Option<Duration>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let ready = script.open(&handle.notices).into();
    let state = State { handle, script, heartbeat, ready, is_over: false };
    unfold(state, |mut state| async move {
        loop {
            if let Some(bytes) = state.ready.pop_front() {
                return Some((Ok(bytes), state));
            }
            if state.is_over {
                return None;
            }
            state.step().await;
        }
    })
}

/// What a reader is told who let an answer stand until it was given up.
pub(super) fn cut_short() -> ApiError {
    ApiError::new(ErrorCode::RequestTimeout)
        .message("The answer was not read for so long that it was ended before it was complete.")
}

impl<S: Script> State<S> {
    async fn step(&mut self) {
        let event = match self.heartbeat {
            None => self.handle.next().await,
            Some(silence) => {
                if let Ok(event) = tokio::time::timeout(silence, self.handle.next()).await {
                    event
                } else {
                    self.ready.push_back(Bytes::from_static(b": waiting\n\n"));
                    return;
                }
            }
        };
        let (written, is_over) = match event {
            Some(ExchangeEvent::Failed(error)) => (self.script.fail(error.into()), true),
            None => (self.script.fail(ErrorCode::Internal.into()), true),
            Some(event) => {
                let is_over = matches!(event, ExchangeEvent::Finished { .. });
                (self.script.write(event).await, is_over)
            }
        };
        self.ready.extend(written);
        self.is_over = is_over;
    }
}

fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

impl Script for Writer {
    fn open(&mut self, notices: &[Notice]) -> Vec<Bytes> {
        self.opening(notices).iter().map(data).collect()
    }

    async fn write(&mut self, event: ExchangeEvent) -> Vec<Bytes> {
        match event {
            // What failed is told by `fail`.
            ExchangeEvent::Started | ExchangeEvent::Failed(_) => Vec::new(),
            ExchangeEvent::Text { choice, text, logprobs } => {
                vec![data(&self.piece(choice, &text, &logprobs))]
            }
            ExchangeEvent::Ended { choice, ending } => vec![data(&self.finish(choice, ending))],
            ExchangeEvent::Reasoning { choice, text } => vec![data(&self.reasoning(choice, &text))],
            ExchangeEvent::Call { choice, index, id, name } => {
                let call = CallView { index: Some(index), ..CallView::begun(id, name) };
                vec![data(&self.call(choice, call))]
            }
            ExchangeEvent::Arguments { choice, index, text } => {
                vec![data(&self.call(choice, CallView::piece(index, text)))]
            }
            ExchangeEvent::Notice(notice) => vec![data(&self.notice(&notice))],
            // `[DONE]` would tell that what came before is whole.
            ExchangeEvent::Finished { ending: Ending::Cancelled, .. } => self.fail(cut_short()),
            ExchangeEvent::Finished { usage, .. } => {
                let done = Bytes::from_static(b"data: [DONE]\n\n");
                self.usage(usage).iter().map(data).chain([done]).collect()
            }
        }
    }

    fn fail(&mut self, error: ApiError) -> Vec<Bytes> {
        vec![data(&serde_json::to_value(error.body()).unwrap_or_default())]
    }
}
