//! One turn of a conversation: what is said, put on disk with the place of the answer, and taken
//! away again where the gate refuses it.

use super::answer::Ask;
use super::conversations::{Chat, Message, title_from};
use super::error::ChatError;
use super::live::Reader;
use super::sealing::{self, Place};
use super::store::{self, MessageRow};
use super::told;
use crate::access::Caller;
use crate::clock::Timestamp;
use crate::db::Transaction;
use crate::engine::{self, Role};
use crate::gate::Purpose;
use crate::ids::{ConversationId, MessageId, RequestId, SharedPromptId, UserId};

const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const MESSAGES_MAX: usize = 4_000;
/// How the place of an answer ended whose question was not let through after it was on disk.
pub(super) const REFUSED: &str = "refused";

/// One turn of a conversation, as it is being prepared.
pub(super) struct Turn {
    pub(super) request: RequestId,
    pub(super) owner: UserId,
    pub(super) conversation: ConversationId,
    /// The person's message: a new one with its text, or the last one.
    pub(super) asked: MessageId,
    pub(super) text: Option<String>,
    pub(super) answer: MessageId,
    /// Earlier answers to the same message, which the new one takes the place of.
    pub(super) replaced: Vec<MessageId>,
    pub(super) model: Option<String>,
    pub(super) title: Option<String>,
    pub(super) before: Before,
}

/// What comes of a message.
pub(super) enum Prepared {
    /// A turn, and what the model is to see.
    Turn(Box<Turn>, Vec<engine::Message>),
    /// It was said before, and this is its answer.
    Answered(Reader),
}

/// What a turn changes of its conversation, as it was.
pub(super) struct Before {
    pub(super) model: Option<String>,
    pub(super) updated_at: Timestamp,
}

impl Chat {
    /// Reads the conversation and says what is to be stored and what the model is to see.
    pub(super) async fn prepare(
        &self,
        caller: &Caller,
        id: ConversationId,
        ask: Ask,
        model: Option<String>,
        answer: MessageId,
    ) -> Result<Prepared, ChatError> {
        let owner = caller.user;
        let (conversation, mut messages) = self.load(owner, id).await?;
        if let Some(reader) = told::answer(&ask, &messages)? {
            return Ok(Prepared::Answered(reader));
        }
        if messages.len() >= MESSAGES_MAX {
            return Err(ChatError::TooMany("messages in this conversation"));
        }
        let before =
            Before { model: conversation.model.clone(), updated_at: conversation.updated_at };
        let model = model.or(conversation.model);
        let mut turn = Turn {
            request: caller.request,
            owner,
            conversation: id,
            asked: MessageId::new(),
            text: None,
            answer,
            replaced: Vec::new(),
            model,
            title: None,
            before,
        };
        match ask {
            Ask::Say { id, text } => {
                if text.trim().is_empty() || text.len() > MESSAGE_BYTES_MAX {
                    let expected = "a text of 1 to 262144 bytes";
                    return Err(ChatError::Invalid { param: "content", expected });
                }
                turn.title = conversation.title.is_empty().then(|| title_from(&text));
                turn.text = Some(text);
                turn.asked = id.unwrap_or(turn.asked);
            }
            Ask::Regenerate => {
                while let Some(last) = messages.pop_if(|last| last.role != "user") {
                    turn.replaced.push(last.id);
                }
                turn.asked = messages.last().ok_or(ChatError::NothingToRegenerate)?.id;
            }
        }
        let system = self.system_message(caller, conversation.prompt, turn.model.as_deref())?;
        let mut history: Vec<engine::Message> = system.into_iter().collect();
        for message in without_refused(messages).into_iter().filter_map(said) {
            push_turn(&mut history, message);
        }
        if let Some(content) = turn.text.clone() {
            push_turn(&mut history, engine::Message::new(Role::User, content));
        }
        Ok(Prepared::Turn(Box::new(turn), history))
    }

    /// Whether a conversation of the caller may stand under this prompt.
    pub(super) fn check_prompt(
        &self,
        caller: &Caller,
        prompt: Option<SharedPromptId>,
    ) -> Result<(), ChatError> {
        let is_there = prompt.is_none_or(|id| self.parts.prompts.find(caller, id).is_some());
        is_there.then_some(()).ok_or(ChatError::NoPrompt)
    }

    /// What the model is told first, where a conversation stands under a shared prompt: the very
    /// text, so that its beginning is found in the cache. No other model than those that the prompt is
    /// for is told it: it would tell it on.
    fn system_message(
        &self,
        caller: &Caller,
        prompt: Option<SharedPromptId>,
        model: Option<&str>,
    ) -> Result<Option<engine::Message>, ChatError> {
        let Some(id) = prompt else { return Ok(None) };
        let prompt = self.parts.prompts.find(caller, id).ok_or(ChatError::NoPrompt)?;
        // Where nobody knows which model it will be, it is none that the prompt is for.
        let is_for = match self.parts.gate.asked(caller, Purpose::Chat, model) {
            Some(model) => prompt.shared.is_for(&model.name),
            None => prompt.shared.is_for_all(),
        };
        if !is_for {
            return Err(ChatError::NoPrompt);
        }
        Ok(Some(engine::Message::new(Role::System, prompt.shared.text)))
    }

    /// Puts the person's message and the place of the answer on disk, in one transaction.
    pub(super) async fn store_turn(&self, caller: &Caller, turn: &Turn) -> Result<(), ChatError> {
        let (vault, owner, now) = (&self.parts.vault, turn.owner, self.parts.clock.now());
        let row = |id, role: &str, text: &str, state: &str| -> Result<MessageRow, ChatError> {
            Ok(MessageRow {
                id,
                role: role.into(),
                content: sealing::seal(vault, owner, Place::Content(id), text)?,
                model: turn.model.clone(),
                created_at: now,
                state: state.into(),
                finish_reason: None,
                prompt_tokens: None,
                completion_tokens: None,
                notices: "[]".into(),
            })
        };
        let asked =
            turn.text.as_ref().map(|text| row(turn.asked, "user", text, "complete")).transpose()?;
        let answer = row(turn.answer, "assistant", "", "writing")?;
        let place = Place::Title(turn.conversation);
        let title = turn.title.as_ref().map(|title| sealing::seal(vault, owner, place, title));
        let (title, id, model) = (title.transpose()?, turn.conversation, turn.model.clone());
        let change = move |tx: &Transaction<'_>| -> Result<(), ChatError> {
            // The owner is asked once more: what follows writes below this conversation.
            if !store::update(tx, owner, id, title.as_ref(), None)? {
                return Err(ChatError::NotFound);
            }
            store::interrupt(tx, owner, id)?;
            if let Some(asked) = &asked {
                if store::has_message(tx, asked.id)? {
                    return Err(ChatError::IdInUse);
                }
                store::add_message(tx, owner, id, asked)?;
            }
            store::add_message(tx, owner, id, &answer)?;
            store::touch(tx, owner, id, model.as_deref(), now)?;
            Ok(())
        };
        self.changes.make(caller, change, |()| ()).await
    }

    /// Leaves the conversation as it was before the turn.
    pub(super) async fn take_back(&self, turn: &Turn) -> Result<(), ChatError> {
        let (owner, id) = (turn.owner, turn.conversation);
        let asked = turn.text.is_some().then_some(turn.asked);
        let messages: Vec<MessageId> = asked.into_iter().chain([turn.answer]).collect();
        let untitled = |_: &String| sealing::seal(&self.parts.vault, owner, Place::Title(id), "");
        let title = turn.title.as_ref().map(untitled).transpose()?;
        let (model, updated_at) = (turn.before.model.clone(), turn.before.updated_at);
        self.parts
            .db
            .write(move |tx| -> Result<(), ChatError> {
                store::remove_messages(tx, owner, &messages)?;
                let title = title.as_ref();
                Ok(store::put_back(tx, owner, id, title, model.as_deref(), updated_at)?)
            })
            .await
    }
}

/// Without the questions that did not pass, and what stands in the place of their answers: they would
/// hold up every question after them.
fn without_refused(messages: Vec<Message>) -> Vec<Message> {
    let mut kept: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        if message.finish_reason.as_deref() == Some(REFUSED) {
            kept.pop_if(|asked| asked.role == "user");
        } else {
            kept.push(message);
        }
    }
    kept
}

/// Adds what was said. Two turns of a person in a row, where an answer never came, become one:
/// many templates take only turns that alternate.
fn push_turn(history: &mut Vec<engine::Message>, message: engine::Message) {
    match history.last_mut() {
        Some(last) if last.role == Role::User && message.role == Role::User => {
            let together = format!("{}\n\n{}", last.content.text(), message.content.text());
            last.content = together.into();
        }
        _ => history.push(message),
    }
}

/// What the model sees of a message; an answer that never began is nothing to see.
fn said(message: Message) -> Option<engine::Message> {
    let role = if message.role == "user" { Role::User } else { Role::Assistant };
    let is_said = role == Role::User || !message.content.is_empty();
    is_said.then(|| engine::Message::new(role, message.content))
}

#[cfg(test)]
mod tests {
    use super::MESSAGE_BYTES_MAX;

    #[test]
    fn the_page_knows_the_longest_message() {
        let page = include_str!("../../static/js/chat/message.js");
        let line = format!("export const MESSAGE_BYTES_MAX = {} * 1024;", MESSAGE_BYTES_MAX / 1024);
        assert!(page.lines().any(|found| found == line), "no line `{line}`");
    }
}
