//! A streamed answer: server-sent events, as OpenAI's clients read them. The first chunk carries
//! the role, the last before `[DONE]` the reason (and, if asked for, one more the usage); an error
//! is an event of its own and the end. Dropping the stream ends the work.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::Value;

use super::answer::Writer;
use super::chat_answer::CallView;
use super::events::{self, Script};
use crate::gate::{ExchangeEvent, ExchangeHandle};
use crate::web::ApiError;

struct State {
    writer: Writer,
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
    events::body(handle, State { writer, ready, is_over: false }, heartbeat)
}

fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

impl Script for State {
    const HEARTBEAT: &'static [u8] = b": waiting\n\n";

    fn next(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn take(&mut self, event: Option<ExchangeEvent>) {
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
                self.ready.extend(self.writer.notice(&notice).iter().map(data));
            }
            Some(ExchangeEvent::Finished { usage, .. }) => {
                self.ready.extend(self.writer.usage(usage).iter().map(data));
                self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                self.is_over = true;
            }
            Some(ExchangeEvent::Failed(error)) => self.fail(error.into()),
            None => self.fail(crate::web::ErrorCode::Internal.into()),
        }
    }
}

impl State {
    fn fail(&mut self, error: ApiError) {
        let body = serde_json::to_value(error.body()).unwrap_or_default();
        self.ready.push_back(data(&body));
        self.is_over = true;
    }
}
