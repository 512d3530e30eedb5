//! A message that comes once more: a browser that lost its connection cannot know whether the first
//! one arrived, and sends it again under the same id.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::Ask;
use super::conversations::Message;
use super::error::ChatError;
use super::live::{Live, Reader};

/// The answer that this very message has; none where it is new.
pub(super) fn answer(ask: &Ask, messages: &[Message]) -> Result<Option<Reader>, ChatError> {
    let Ask::Say { id: Some(id), text } = ask else { return Ok(None) };
    let Some(at) = messages.iter().position(|message| message.id == *id) else { return Ok(None) };
    let question = &messages[at];
    let answer = messages.get(at + 1).filter(|next| next.role == "assistant");
    match answer {
        Some(answer) if question.role == "user" && question.content == *text => {
            let live = Live::ended(answer.id, events(question, answer), answer.content.clone());
            Ok(Some(Reader::new(Arc::new(live))))
        }
        _ => Err(ChatError::IdInUse),
    }
}

/// What its first reader was told, but for the text.
fn events(question: &Message, answer: &Message) -> Vec<(&'static str, Value)> {
    let start = json!({ "user_message_id": question.id, "message_id": answer.id });
    let ending = answer.finish_reason.as_deref().unwrap_or("interrupted");
    let done = json!({
        "finish_reason": ending,
        "usage": answer.usage,
        "tokens_per_second": Value::Null,
    });
    let notices = answer.notices.iter().map(|notice| ("notice", json!(notice)));
    [("start", start)].into_iter().chain(notices).chain([("done", done)]).collect()
}
