//! A person's conversations: list, open, rename, delete. Titles are opened here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::error::ChatError;
use super::live::LiveAnswers;
use super::reading::Withdrawals;
use super::sealing::{self, Place};
use super::search::{Page, Searches};
use super::store::{self, ConversationRow, MessageRow};
use crate::access::{Caller, Changes, Registry};
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, Transaction};
use crate::gate::{Gate, Notice};
use crate::ids::{ConversationId, MessageId, SharedPromptId, UserId};
use crate::prompts::Prompts;
use crate::vault::Vault;

const TITLE_BYTES_MAX: usize = 200;
pub(super) const CONVERSATIONS_MAX: u32 = 20_000;
const AUTO_TITLE_CHARS: usize = 48;
/// How long a conversation in which nothing was said is kept.
const EMPTY_KEPT: Duration = Duration::from_hours(24);
const EMPTY_AT_ONCE_MAX: u32 = 500;

/// What the chat is made of.
pub(crate) struct ChatParts {
    /// The road.
    pub(crate) gate: Gate,
    /// The prompts that conversations may stand under.
    pub(crate) prompts: Prompts,
    /// Where conversations are kept.
    pub(crate) db: Db,
    /// What seals them.
    pub(crate) vault: Vault,
    /// The record.
    pub(crate) audit: AuditLog,
    /// The clock.
    pub(crate) clock: Clock,
    /// Who there is.
    pub(crate) registry: Arc<Registry>,
    /// Where answers are written; it outlives the threads that speak HTTP.
    pub(crate) runtime: tokio::runtime::Handle,
    /// The silence after which a stream says that it is still there; none: it does not.
    pub(crate) heartbeat: Option<Duration>,
}

/// The chat. A handle.
#[derive(Clone)]
pub(crate) struct Chat {
    pub(super) parts: Arc<ChatParts>,
    pub(super) live: LiveAnswers,
    pub(super) changes: Changes,
    pub(super) withdrawals: Withdrawals,
    searches: Searches,
}

/// A conversation as its owner sees it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Conversation {
    pub(super) id: ConversationId,
    pub(super) title: String,
    pub(super) model: Option<String>,
    /// The shared prompt that it stands under.
    pub(super) prompt: Option<SharedPromptId>,
    pub(super) pinned: bool,
    created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// A message as its owner sees it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Message {
    pub(super) id: MessageId,
    pub(super) role: String,
    pub(super) content: String,
    created_at: Timestamp,
    model: Option<String>,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<MessageUsage>,
    pub(super) notices: Vec<Notice>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(super) struct MessageUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

/// What a list of conversations is narrowed to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// A text that title or messages contain.
    pub(crate) search: Option<String>,
    /// The last conversation of the page before.
    pub(crate) before: Option<ConversationId>,
    /// How many.
    pub(crate) limit: u32,
}

/// What changes of a conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// Its title.
    pub(crate) title: Option<String>,
    /// Whether it stands before all others.
    pub(crate) pinned: Option<bool>,
    /// The shared prompt that it stands under, or that it stands under none.
    pub(crate) prompt: Option<Option<SharedPromptId>>,
}

impl Chat {
    /// Opens the chat. Answers that the last process did not finish are marked as interrupted;
    /// what was kept of them is there. Blocks for the database.
    pub(crate) fn open(parts: ChatParts) -> Result<Self, ChatError> {
        let interrupted = parts.db.write_blocking(store::mark_interrupted)?;
        if interrupted > 0 {
            tracing::warn!(
                count = interrupted,
                "answers were interrupted by the end of the last run"
            );
        }
        let changes = Changes::new(&parts.db, &parts.audit, &parts.registry);
        let withdrawals = Withdrawals::of(&parts.registry);
        Ok(Self {
            parts: Arc::new(parts),
            live: LiveAnswers::default(),
            changes,
            withdrawals,
            searches: Searches::default(),
        })
    }

    /// The silence after which a stream says that it is still there.
    pub(super) fn heartbeat(&self) -> Option<Duration> {
        self.parts.heartbeat
    }

    /// Begins a conversation.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        title: Option<String>,
        model: Option<String>,
        prompt: Option<SharedPromptId>,
    ) -> Result<Conversation, ChatError> {
        let title = checked_title(title.unwrap_or_default())?;
        self.check_prompt(caller, prompt)?;
        let (owner, id, now) = (caller.user, ConversationId::new(), self.parts.clock.now());
        let sealed = sealing::seal(&self.parts.vault, owner, Place::Title(id), &title)?;
        let row = ConversationRow {
            id,
            title: sealed,
            model,
            prompt,
            pinned: false,
            created_at: now,
            updated_at: now,
        };
        let event = event(caller, Action::ConversationCreate, id);
        let (audit, kept) = (self.parts.audit.clone(), row.clone());
        let change = move |tx: &Transaction<'_>| -> Result<(), ChatError> {
            if store::count(tx, owner)? >= CONVERSATIONS_MAX {
                return Err(ChatError::TooMany("conversations"));
            }
            store::add(tx, owner, &kept)?;
            audit.record_in(tx, event)?;
            Ok(())
        };
        self.changes.make(caller, change, |()| ()).await?;
        Ok(shown(&row, title))
    }

    /// Lists or searches a person's conversations.
    pub(crate) async fn list(
        &self,
        owner: UserId,
        listing: Listing,
    ) -> Result<Vec<Conversation>, ChatError> {
        let Listing { search, before, limit } = listing;
        if let Some(search) = search {
            let page = Page { owner, before, limit };
            return self.searches.run(&self.parts, page, search).await;
        }
        let vault = self.parts.vault.clone();
        self.parts
            .db
            .read(move |db| -> Result<_, ChatError> {
                let rows = store::page(db, owner, before, limit)?;
                rows.iter().map(|row| opened(&vault, owner, row)).collect()
            })
            .await
    }

    /// Opens a conversation with its messages; that it was opened goes on record.
    pub(crate) async fn read(
        &self,
        caller: &Caller,
        id: ConversationId,
    ) -> Result<(Conversation, Vec<Message>, Option<MessageId>), ChatError> {
        // Asked first: an answer that ends in between is found among the messages.
        let live = self.live.find(caller.user, id);
        let (conversation, messages) = self.load(caller.user, id).await?;
        self.parts.audit.record(event(caller, Action::ConversationRead, id)).await?;
        let is_shown =
            |message: &Message| !live.as_ref().is_some_and(|live| live.hides(message.id));
        let messages = messages.into_iter().filter(is_shown).collect();
        Ok((conversation, messages, live.map(|live| live.message)))
    }

    pub(super) async fn load(
        &self,
        owner: UserId,
        id: ConversationId,
    ) -> Result<(Conversation, Vec<Message>), ChatError> {
        let vault = self.parts.vault.clone();
        self.parts
            .db
            .read(move |db| -> Result<_, ChatError> {
                let row = store::find(db, owner, id)?.ok_or(ChatError::NotFound)?;
                let conversation = opened(&vault, owner, &row)?;
                let rows = store::messages(db, owner, id)?;
                let messages =
                    rows.iter().map(|row| message(&vault, owner, row)).collect::<Result<_, _>>()?;
                Ok((conversation, messages))
            })
            .await
    }

    /// Renames or pins a conversation, or puts it under another prompt.
    pub(crate) async fn update(
        &self,
        caller: &Caller,
        id: ConversationId,
        change: Change,
    ) -> Result<Conversation, ChatError> {
        let (owner, Change { title, pinned, prompt }) = (caller.user, change);
        if let Some(prompt) = prompt {
            self.check_prompt(caller, prompt)?;
        }
        let title = title.map(checked_title).transpose()?;
        let seal =
            |title: &String| sealing::seal(&self.parts.vault, owner, Place::Title(id), title);
        let sealed = title.as_ref().map(seal).transpose()?;
        let event = event(caller, Action::ConversationUpdate, id)
            .with("renamed", sealed.is_some())
            .with("pinned", pinned)
            .with("prompt", prompt.flatten().map(|prompt| prompt.to_string()));
        let (audit, vault) = (self.parts.audit.clone(), self.parts.vault.clone());
        let change = move |tx: &Transaction<'_>| -> Result<_, ChatError> {
            if !store::update(tx, owner, id, sealed.as_ref(), pinned)? {
                return Err(ChatError::NotFound);
            }
            if let Some(prompt) = prompt {
                store::set_prompt(tx, owner, id, prompt)?;
            }
            audit.record_in(tx, event)?;
            let row = store::find(tx, owner, id)?.ok_or(ChatError::NotFound)?;
            opened(&vault, owner, &row)
        };
        self.changes.make(caller, change, |_| ()).await
    }

    /// Deletes a conversation with everything in it, and ends the answer that is being written.
    pub(crate) async fn delete(
        &self,
        caller: &Caller,
        id: ConversationId,
    ) -> Result<(), ChatError> {
        let owner = caller.user;
        let event = event(caller, Action::ConversationDelete, id);
        let audit = self.parts.audit.clone();
        let change = move |tx: &Transaction<'_>| -> Result<(), ChatError> {
            if !store::delete(tx, owner, id)? {
                return Err(ChatError::NotFound);
            }
            audit.record_in(tx, event)?;
            Ok(())
        };
        self.changes.make(caller, change, |()| ()).await?;
        if let Some(live) = self.live.find(owner, id) {
            live.stop.notify_one();
        }
        Ok(())
    }

    /// Deletes conversations that were begun a day ago or longer and in which nothing was said: a
    /// browser makes one before its first message, and may not come to send that.
    pub(crate) async fn delete_empty(&self) -> Result<usize, ChatError> {
        let before = self.parts.clock.now().minus(EMPTY_KEPT);
        let audit = self.parts.audit.clone();
        self.parts
            .db
            .write(move |tx| -> Result<usize, ChatError> {
                let deleted = store::delete_empty(tx, before, EMPTY_AT_ONCE_MAX)?;
                for id in &deleted {
                    let event =
                        Event::new(Action::ConversationDelete, Outcome::Done, Actor::System)
                            .subject(id)
                            .with("reason", "empty");
                    audit.record_in(tx, event)?;
                }
                Ok(deleted.len())
            })
            .await
    }
}

/// A title from the first words of a conversation: whole words, one line.
pub(super) fn title_from(text: &str) -> String {
    let mut title = String::new();
    for word in text.split_whitespace() {
        let longer = title.chars().count() + 1 + word.chars().count();
        if !title.is_empty() && longer > AUTO_TITLE_CHARS {
            title.push('…');
            break;
        }
        if !title.is_empty() {
            title.push(' ');
        }
        title.extend(word.chars().take(AUTO_TITLE_CHARS));
    }
    title
}

fn checked_title(title: String) -> Result<String, ChatError> {
    let title = title.trim().to_owned();
    if title.len() > TITLE_BYTES_MAX || title.chars().any(char::is_control) {
        return Err(ChatError::Invalid { param: "title", expected: "one line of up to 200 bytes" });
    }
    Ok(title)
}

pub(super) fn event(caller: &Caller, action: Action, id: ConversationId) -> Event {
    Event::new(action, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request)
        .subject(id)
}

fn shown(row: &ConversationRow, title: String) -> Conversation {
    Conversation {
        id: row.id,
        title,
        model: row.model.clone(),
        prompt: row.prompt,
        pinned: row.pinned,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

pub(super) fn opened(
    vault: &Vault,
    owner: UserId,
    row: &ConversationRow,
) -> Result<Conversation, ChatError> {
    let title = sealing::open(vault, owner, Place::Title(row.id), &row.title)?;
    Ok(shown(row, title))
}

fn message(vault: &Vault, owner: UserId, row: &MessageRow) -> Result<Message, ChatError> {
    let usage = row.prompt_tokens.zip(row.completion_tokens);
    Ok(Message {
        id: row.id,
        role: row.role.clone(),
        content: sealing::open(vault, owner, Place::Content(row.id), &row.content)?,
        created_at: row.created_at,
        model: row.model.clone(),
        finish_reason: row.finish_reason.clone(),
        usage: usage.map(|(prompt_tokens, completion_tokens)| MessageUsage {
            prompt_tokens,
            completion_tokens,
        }),
        notices: serde_json::from_str(&row.notices).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_made_of_the_first_words() {
        for (text, title) in [
            ("Hello", "Hello"),
            ("  two\n lines ", "two lines"),
            ("", ""),
            (
                "What is the difference between a duck and a goose in winter?",
                "What is the difference between a duck and a…",
            ),
        ] {
            assert_eq!(title_from(text), title);
        }
        assert_eq!(title_from(&"x".repeat(500)).chars().count(), AUTO_TITLE_CHARS);
    }

    #[test]
    fn titles_of_more_than_a_line_are_refused() {
        assert!(checked_title("a\nb".into()).is_err());
        assert!(checked_title("x".repeat(201)).is_err());
        assert_eq!(checked_title(" a ".into()).expect("fits"), "a");
    }
}
