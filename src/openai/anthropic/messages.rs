//! The messages of a request become a conversation: turns in turn, as chat templates want them.

use serde_json::Value;

use super::content::{self, Block, Place, ToolResult};
use crate::engine::{Content, Message, Role};
use crate::openai::fields::{Fields, wrong};
use crate::web::{ApiError, ErrorCode};

const MESSAGES_MAX: usize = 4096;

/// Reads `system` and `messages`. All that is said by the system becomes one message at the start, and
/// neighbours of one role become one: chat templates know no other order.
pub(super) fn read(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let mut turns = Turns::default();
    if let Some(value) = fields.take("system") {
        turns.frame.extend(content::texts("system", value)?);
    }
    let refused = || wrong("messages", "a list of 1 to 4096 messages");
    let items = match fields.take("messages") {
        Some(Value::Array(items)) if (1..=MESSAGES_MAX).contains(&items.len()) => items,
        Some(_) => return Err(refused()),
        None => {
            return Err(ApiError::new(ErrorCode::InvalidRequest)
                .message("The parameter `messages` is missing.")
                .param("messages"));
        }
    };
    let last = items.len() - 1;
    for (place, item) in items.into_iter().enumerate() {
        turns.take(Fields::nested(format!("messages[{place}]"), item)?)?;
    }
    match turns.messages.last().map(|message| message.role) {
        None => Err(wrong("messages", "a message of the user")),
        Some(Role::Assistant) => Err(ApiError::new(ErrorCode::UnsupportedParameter)
            .message("The last message is the assistant's: the beginning of an answer cannot be given here (prefill).")
            .param(format!("messages[{last}].role"))),
        Some(_) => Ok(turns.all()),
    }
}

#[derive(Default)]
struct Turns {
    /// What the system says.
    frame: Vec<String>,
    messages: Vec<Message>,
}

impl Turns {
    fn all(self) -> Vec<Message> {
        let frame = self.frame.join("\n\n");
        let frame = (!frame.is_empty()).then(|| Message::new(Role::System, frame));
        frame.into_iter().chain(self.messages).collect()
    }

    fn take(&mut self, mut fields: Fields) -> Result<(), ApiError> {
        let role_path = fields.path("role");
        let role = fields.text("role")?;
        let path = fields.path("content");
        let refused = || wrong(&path, "a text or a list of blocks");
        let value = fields.take("content").ok_or_else(refused)?;
        fields.nothing_left()?;
        match role.as_deref() {
            Some("user") => self.user(content::read(&path, value, Place::User)?),
            Some("assistant") => self.assistant(content::read(&path, value, Place::Assistant)?),
            Some("system") => self.frame.extend(content::texts(&path, value)?),
            _ => return Err(wrong(&role_path, "user, assistant or system")),
        }
        Ok(())
    }

    /// What a person says, with what came of calls in messages of its own.
    fn user(&mut self, blocks: Vec<Block>) {
        for block in blocks {
            match block {
                Block::Text(text) => self.say(Role::User, text),
                Block::Result(ToolResult { call, text }) => self
                    .messages
                    .push(Message { tool_call_id: Some(call), ..Message::new(Role::Tool, text) }),
                Block::Thinking(_) | Block::Call(_) => {}
            }
        }
    }

    fn assistant(&mut self, blocks: Vec<Block>) {
        // An answer of nothing is an answer: the turns stay in turn.
        let answer = self.turn(Role::Assistant);
        for block in blocks {
            match block {
                Block::Text(text) => add(&mut answer.content, text),
                Block::Thinking(text) if text.is_empty() => {}
                Block::Thinking(text) => match &mut answer.reasoning {
                    Some(before) => {
                        before.push_str("\n\n");
                        before.push_str(&text);
                    }
                    none => *none = Some(text),
                },
                Block::Call(call) => answer.tool_calls.push(call),
                Block::Result(_) => {}
            }
        }
    }

    fn say(&mut self, role: Role, text: String) {
        add(&mut self.turn(role).content, text);
    }

    /// The last message where it is of this role, or a new one.
    fn turn(&mut self, role: Role) -> &mut Message {
        if self.messages.last().is_none_or(|last| last.role != role) {
            self.messages.push(Message::new(role, Content::None));
        }
        let last = self.messages.len() - 1;
        &mut self.messages[last]
    }
}

/// Adds a text to a content, in which it stays a part of its own.
fn add(content: &mut Content, text: String) {
    *content = match std::mem::take(content) {
        Content::None => Content::Text(text),
        Content::Text(first) => Content::Parts(vec![first, text]),
        Content::Parts(mut parts) => {
            parts.push(text);
            Content::Parts(parts)
        }
    };
}
