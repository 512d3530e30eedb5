//! A streamed message: named events, in the order that Anthropic publishes. `ping` keeps a silent stream
//! open; an error is an event of its own and the end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};

use super::answer::{SIGNATURE, StopView, UsageView, Writer, opened};
use super::blocks::{Blocks, Kind, Step};
use crate::gate::{Ending, ExchangeEvent, ExchangeHandle, ExchangeUsage, Notice};
use crate::openai::events::{self, Script, cut_short};
use crate::web::anthropic::AnthropicError;
use crate::web::{ApiError, ErrorCode};

struct State {
    writer: Writer,
    ready: VecDeque<Bytes>,
    is_over: bool,
    blocks: Blocks,
    /// The block that is open.
    kind: Kind,
    /// Blocks that were closed: the place of the next.
    place: usize,
    /// What the guard did since the beginning.
    notices: Vec<Notice>,
    ending: Ending,
}

/// The body of a streamed message. Dropping it ends the work.
pub(super) fn body(
    handle: ExchangeHandle,
    writer: Writer,
    heartbeat: Option<Duration>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let usage = ExchangeUsage { prompt_tokens: handle.prompt_tokens, ..ExchangeUsage::default() };
    let message = writer.message(Vec::new(), StopView::default(), usage, &handle.notices);
    let begun = event("message_start", json!({ "message": message }));
    let state = State {
        writer,
        ready: VecDeque::from([begun]),
        is_over: false,
        blocks: Blocks::default(),
        kind: Kind::Text,
        place: 0,
        notices: Vec::new(),
        ending: Ending::Cancelled,
    };
    events::body(handle, state, heartbeat)
}

/// An event; its data say its name once more.
fn event(name: &str, mut data: Value) -> Bytes {
    data["type"] = name.into();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

impl Script for State {
    const HEARTBEAT: &'static [u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

    fn next(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn take(&mut self, event: Option<ExchangeEvent>) {
        match event {
            None => self.fail(&ErrorCode::Internal.into()),
            Some(ExchangeEvent::Failed(error)) => self.fail(&error.into()),
            Some(ExchangeEvent::Finished { ending: Ending::Cancelled, .. }) => {
                self.fail(&cut_short());
            }
            Some(ExchangeEvent::Finished { usage, .. }) => self.finish(usage),
            Some(ExchangeEvent::Notice(notice)) => self.notices.push(notice),
            Some(said) => {
                if let ExchangeEvent::Ended { ending, .. } = said {
                    self.ending = ending;
                }
                for step in self.blocks.take(said) {
                    self.step(step);
                }
            }
        }
    }
}

impl State {
    fn step(&mut self, step: Step) {
        match step {
            Step::Open(kind) => {
                let block = opened(&kind);
                self.kind = kind;
                self.send("content_block_start", json!({ "content_block": block }));
            }
            Step::Piece(text) => self.piece(&text),
            Step::Close => {
                if self.kind == Kind::Thinking {
                    self.delta(json!({ "type": "signature_delta", "signature": SIGNATURE }));
                }
                self.send("content_block_stop", json!({}));
                self.place += 1;
            }
        }
    }

    fn piece(&mut self, text: &str) {
        match self.kind {
            Kind::Thinking if self.writer.manner.hides_thinking => {}
            Kind::Thinking => self.delta(json!({ "type": "thinking_delta", "thinking": text })),
            Kind::Text => self.delta(json!({ "type": "text_delta", "text": text })),
            Kind::ToolUse { .. } => {
                self.delta(json!({ "type": "input_json_delta", "partial_json": text }));
            }
        }
    }

    fn delta(&mut self, delta: Value) {
        self.send("content_block_delta", json!({ "delta": delta }));
    }

    /// Sends an event of the block that is open.
    fn send(&mut self, name: &str, mut data: Value) {
        data["index"] = self.place.into();
        self.ready.push_back(event(name, data));
    }

    fn finish(&mut self, usage: ExchangeUsage) {
        let stop = self.writer.stop(self.ending, usage);
        let mut data = json!({ "delta": stop, "usage": UsageView::from(usage) });
        if !self.notices.is_empty() {
            data["strongroom_notices"] = json!(self.notices);
        }
        self.ready.push_back(event("message_delta", data));
        self.ready.push_back(event("message_stop", json!({})));
        self.is_over = true;
    }

    fn fail(&mut self, error: &ApiError) {
        let error = AnthropicError::new(error, self.writer.request);
        self.ready.push_back(event("error", json!(error)));
        self.is_over = true;
    }
}
