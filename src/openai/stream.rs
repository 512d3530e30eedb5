//! A streamed answer: server-sent events, as OpenAI's clients read them. The first chunk carries
//! the role, the last before `[DONE]` the reason (and, if asked for, one more the usage); an error
//! is an event of its own and the end, and so is what was cut short. Dropping the stream ends the
//! work.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::Value;

use super::answer::Writer;
use super::chat_answer::CallView;
use crate::gate::{Ending, ExchangeEvent, ExchangeHandle};
use crate::web::{ApiError, ErrorCode};

struct State {
    handle: ExchangeHandle,
    writer: Writer,
    heartbeat: Option<Duration>,
    ready: VecDeque<Bytes>,
    is_over: bool,
}

/// The body of a streamed answer.
pub(super) fn body(
    handle: ExchangeHandle,
    writer: Writer,
    heartbeat: Option<Duration>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let ready = writer.opening(&handle.notices).iter().map(data).collect();
    let state = State { handle, writer, heartbeat, ready, is_over: false };
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

fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

impl State {
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
        match event {
            Some(ExchangeEvent::Started) => {}
            Some(ExchangeEvent::Text { choice, text, logprobs }) => {
                self.ready.push_back(data(&self.writer.piece(choice, &text, &logprobs)));
            }
            Some(ExchangeEvent::Ended { choice, ending }) => {
                self.ready.push_back(data(&self.writer.finish(choice, ending)));
            }
            Some(ExchangeEvent::Reasoning { choice, text }) => {
                self.ready.push_back(data(&self.writer.reasoning(choice, &text)));
            }
            Some(ExchangeEvent::Call { choice, index, id, name }) => {
                let call = CallView { index: Some(index), ..CallView::begun(id, name) };
                self.ready.push_back(data(&self.writer.call(choice, call)));
            }
            Some(ExchangeEvent::Arguments { choice, index, text }) => {
                let piece = CallView::piece(index, text);
                self.ready.push_back(data(&self.writer.call(choice, piece)));
            }
            Some(ExchangeEvent::Notice(notice)) => {
                self.ready.push_back(data(&self.writer.notice(&notice)));
            }
            // `[DONE]` would tell that what came before is whole.
            Some(ExchangeEvent::Finished { ending: Ending::Cancelled, .. }) => {
                self.fail(cut_short())
            }
            Some(ExchangeEvent::Finished { usage, .. }) => {
                self.ready.extend(self.writer.usage(usage).iter().map(data));
                self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                self.is_over = true;
            }
            Some(ExchangeEvent::Failed(error)) => self.fail(error.into()),
            None => self.fail(ErrorCode::Internal.into()),
        }
    }

    fn fail(&mut self, error: ApiError) {
        let body = serde_json::to_value(error.body()).unwrap_or_default();
        self.ready.push_back(data(&body));
        self.is_over = true;
    }
}
