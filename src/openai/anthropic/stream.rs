//! A streamed message: named events, in the order that Anthropic publishes. `ping` keeps a silent stream
//! open; an error is an event of its own and the end.

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{SIGNATURE, StopView, UsageView, Writer, opened};
use super::blocks::{Blocks, Kind, Step};
use crate::gate::{Ending, ExchangeEvent, ExchangeUsage, Notice};
use crate::ids::RequestId;
use crate::openai::events::{Script, cut_short};
use crate::web::ApiError;
use crate::web::anthropic::AnthropicError;

/// A message on its way.
pub(super) struct Streamed {
    writer: Writer,
    /// Tokens of the prompt.
    prompt_tokens: u64,
    ready: Vec<Bytes>,
    blocks: Blocks,
    /// The block that is open.
    kind: Kind,
    /// Blocks that were closed: the place of the next.
    place: usize,
    /// What the guard did since the beginning.
    notices: Vec<Notice>,
    ending: Ending,
}

/// An event; its data say its name once more.
fn event(name: &str, mut data: Value) -> Bytes {
    data["type"] = name.into();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

impl Script for Streamed {
    const HEARTBEAT: &'static [u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

    fn refuse(error: ApiError, request: RequestId) -> Vec<Bytes> {
        vec![event("error", json!(AnthropicError::new(&error, request)))]
    }

    fn open(&mut self, notices: &[Notice]) -> Vec<Bytes> {
        let usage = ExchangeUsage { prompt_tokens: self.prompt_tokens, ..ExchangeUsage::default() };
        let message = self.writer.message(Vec::new(), StopView::default(), usage, notices);
        vec![event("message_start", json!({ "message": message }))]
    }

    async fn write(&mut self, event: ExchangeEvent) -> Vec<Bytes> {
        match event {
            ExchangeEvent::Finished { ending: Ending::Cancelled, .. } => {
                return self.fail(cut_short());
            }
            ExchangeEvent::Finished { usage, .. } => self.finish(usage),
            ExchangeEvent::Notice(notice) => self.notices.push(notice),
            // What failed is told by `fail`.
            ExchangeEvent::Failed(_) => {}
            said => {
                if let ExchangeEvent::Ended { ending, .. } = said {
                    self.ending = ending;
                }
                for step in self.blocks.take(said) {
                    self.step(step);
                }
            }
        }
        std::mem::take(&mut self.ready)
    }

    fn fail(&mut self, error: ApiError) -> Vec<Bytes> {
        Self::refuse(error, self.writer.request)
    }
}

impl Streamed {
    /// A message with a prompt of so many tokens, of which nothing has come yet.
    pub(super) fn new(writer: Writer, prompt_tokens: u64) -> Self {
        Self {
            writer,
            prompt_tokens,
            ready: Vec::new(),
            blocks: Blocks::default(),
            kind: Kind::Text,
            place: 0,
            notices: Vec::new(),
            ending: Ending::Cancelled,
        }
    }

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
        self.ready.push(event(name, data));
    }

    fn finish(&mut self, usage: ExchangeUsage) {
        let stop = self.writer.stop(self.ending, usage);
        let mut data = json!({ "delta": stop, "usage": UsageView::from(usage) });
        if !self.notices.is_empty() {
            data["strongroom_notices"] = json!(self.notices);
        }
        self.ready.push(event("message_delta", data));
        self.ready.push(event("message_stop", json!({})));
    }
}
