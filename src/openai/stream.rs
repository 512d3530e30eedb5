//! The script of chats and completions: the first chunk carries the role, the last before `[DONE]` the
//! reason (and, if asked for, one more the usage).

use bytes::Bytes;
use serde_json::Value;

use super::answer::Writer;
use super::chat_answer::CallView;
use super::events::{Script, cut_short};
use crate::gate::{Ending, ExchangeEvent, Notice};
use crate::ids::RequestId;
use crate::web::ApiError;

fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

fn told(error: &ApiError) -> Vec<Bytes> {
    vec![data(&serde_json::to_value(error.body()).unwrap_or_default())]
}

impl Script for Writer {
    fn refuse(error: ApiError, _: RequestId) -> Vec<Bytes> {
        told(&error)
    }

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
        told(&error)
    }
}
