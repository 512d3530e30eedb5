//! Conversations and messages as rows. Every statement names the owner: what is not yours is not
//! there.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::{ConversationId, MessageId, SharedPromptId, UserId};
use crate::vault::Sealed;

/// A conversation, its title sealed.
#[derive(Clone, Debug)]
pub(super) struct ConversationRow {
    pub(super) id: ConversationId,
    pub(super) title: Sealed,
    pub(super) model: Option<String>,
    /// The shared prompt that it stands under.
    pub(super) prompt: Option<SharedPromptId>,
    pub(super) pinned: bool,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// A message, its text sealed.
#[derive(Clone, Debug)]
pub(super) struct MessageRow {
    pub(super) id: MessageId,
    pub(super) role: String,
    pub(super) content: Sealed,
    pub(super) model: Option<String>,
    pub(super) created_at: Timestamp,
    pub(super) state: String,
    pub(super) finish_reason: Option<String>,
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) notices: String,
}

/// How an answer ended, for its row.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) content: Sealed,
    pub(super) state: &'static str,
    pub(super) finish_reason: &'static str,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) notices: String,
    pub(super) at: Timestamp,
}

const CONVERSATION: &str = "id, title, model, prompt, pinned, created_at, updated_at";
const MESSAGE: &str = "id, role, content, model, created_at, state, finish_reason, prompt_tokens, \
                       completion_tokens, notices";

fn conversation_row(row: &Row<'_>) -> rusqlite::Result<ConversationRow> {
    Ok(ConversationRow {
        id: row.get(0)?,
        title: row.get(1)?,
        model: row.get(2)?,
        prompt: row.get(3)?,
        pinned: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
    })
}

fn message_row(row: &Row<'_>) -> rusqlite::Result<MessageRow> {
    let count = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    Ok(MessageRow {
        id: row.get(0)?,
        role: row.get(1)?,
        content: row.get(2)?,
        model: row.get(3)?,
        created_at: row.get(4)?,
        state: row.get(5)?,
        finish_reason: row.get(6)?,
        prompt_tokens: count(row.get(7)?),
        completion_tokens: count(row.get(8)?),
        notices: row.get(9)?,
    })
}

/// An answer that was to take the place of another, which still stands before it.
const REPLACEMENT: &str = "'assistant' = (
    SELECT before.role FROM messages AS before
    WHERE before.conversation = messages.conversation AND before.seq < messages.seq
    ORDER BY before.seq DESC LIMIT 1)";

/// Marks what was being written when the last process ended; what was to replace an answer is
/// given up, and that answer stands. Says how many were marked.
pub(super) fn mark_interrupted(tx: &Transaction<'_>) -> Result<usize, DbError> {
    tx.execute(&format!("DELETE FROM messages WHERE state = 'writing' AND {REPLACEMENT}"), [])?;
    Ok(tx.execute(
        "UPDATE messages SET state = 'interrupted', finish_reason = 'interrupted'
         WHERE state = 'writing'",
        [],
    )?)
}

/// Adds a conversation.
pub(super) fn add(
    tx: &Transaction<'_>,
    owner: UserId,
    row: &ConversationRow,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO conversations (id, owner, title, model, prompt, pinned, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            row.id,
            owner,
            row.title,
            row.model,
            row.prompt,
            row.pinned,
            row.created_at,
            row.updated_at
        ],
    )?;
    Ok(())
}

/// How many conversations a person has.
pub(super) fn count(connection: &Connection, owner: UserId) -> Result<u32, DbError> {
    let sql = "SELECT count(*) FROM conversations WHERE owner = ?1";
    Ok(connection.query_row(sql, [owner], |row| row.get(0))?)
}

/// One conversation.
pub(super) fn find(
    connection: &Connection,
    owner: UserId,
    id: ConversationId,
) -> Result<Option<ConversationRow>, DbError> {
    let sql = format!("SELECT {CONVERSATION} FROM conversations WHERE id = ?1 AND owner = ?2");
    Ok(connection.query_row(&sql, params![id, owner], conversation_row).optional()?)
}

/// A person's conversations, pinned and newest first, from the one after `before` on.
pub(super) fn page(
    connection: &Connection,
    owner: UserId,
    before: Option<ConversationId>,
    limit: u32,
) -> Result<Vec<ConversationRow>, DbError> {
    let sql = format!(
        "SELECT {CONVERSATION} FROM conversations WHERE owner = ?1 AND (?2 IS NULL
           OR (pinned, updated_at, id) <
              (SELECT pinned, updated_at, id FROM conversations WHERE id = ?2 AND owner = ?1))
         ORDER BY pinned DESC, updated_at DESC, id DESC LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![owner, before, limit], conversation_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Changes a conversation; says whether it was there.
pub(super) fn update(
    tx: &Transaction<'_>,
    owner: UserId,
    id: ConversationId,
    title: Option<&Sealed>,
    pinned: Option<bool>,
) -> Result<bool, DbError> {
    let changed = tx.execute(
        "UPDATE conversations SET title = coalesce(?3, title), pinned = coalesce(?4, pinned)
         WHERE id = ?1 AND owner = ?2",
        params![id, owner, title, pinned],
    )?;
    Ok(changed == 1)
}

/// Puts a conversation under another shared prompt, or under none.
pub(super) fn set_prompt(
    tx: &Transaction<'_>,
    owner: UserId,
    id: ConversationId,
    prompt: Option<SharedPromptId>,
) -> Result<(), DbError> {
    let sql = "UPDATE conversations SET prompt = ?3 WHERE id = ?1 AND owner = ?2";
    tx.execute(sql, params![id, owner, prompt])?;
    Ok(())
}

/// Puts a conversation back to what it was before something was said in it.
pub(super) fn put_back(
    tx: &Transaction<'_>,
    owner: UserId,
    id: ConversationId,
    title: Option<&Sealed>,
    model: Option<&str>,
    updated_at: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE conversations SET title = coalesce(?3, title), model = ?4, updated_at = ?5
         WHERE id = ?1 AND owner = ?2",
        params![id, owner, title, model, updated_at],
    )?;
    Ok(())
}

/// Notes that something was said in a conversation, and with which model.
pub(super) fn touch(
    tx: &Transaction<'_>,
    owner: UserId,
    id: ConversationId,
    model: Option<&str>,
    at: Timestamp,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE conversations SET updated_at = ?3, model = coalesce(?4, model)
         WHERE id = ?1 AND owner = ?2",
        params![id, owner, at, model],
    )?;
    Ok(())
}

/// Deletes a conversation with all its messages; says whether it was there.
pub(super) fn delete(
    tx: &Transaction<'_>,
    owner: UserId,
    id: ConversationId,
) -> Result<bool, DbError> {
    tx.execute("DELETE FROM messages WHERE conversation = ?1 AND owner = ?2", params![id, owner])?;
    let sql = "DELETE FROM conversations WHERE id = ?1 AND owner = ?2";
    Ok(tx.execute(sql, params![id, owner])? == 1)
}

/// Deletes conversations in which nothing was ever said and that nobody pinned, unchanged since
/// `before`: at most `count_max`, and says which.
pub(super) fn delete_empty(
    tx: &Transaction<'_>,
    before: Timestamp,
    count_max: u32,
) -> Result<Vec<ConversationId>, DbError> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM conversations WHERE id IN (
             SELECT id FROM conversations AS one WHERE updated_at < ?1 AND pinned = 0
               AND NOT EXISTS (SELECT 1 FROM messages WHERE conversation = one.id)
             LIMIT ?2)
         RETURNING id",
    )?;
    let rows = statement.query_map(params![before, count_max], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The messages of a conversation, in order.
pub(super) fn messages(
    connection: &Connection,
    owner: UserId,
    conversation: ConversationId,
) -> Result<Vec<MessageRow>, DbError> {
    let sql = format!(
        "SELECT {MESSAGE} FROM messages WHERE conversation = ?1 AND owner = ?2 ORDER BY seq"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![conversation, owner], message_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether a message has this id, wherever it is.
pub(super) fn has_message(connection: &Connection, id: MessageId) -> Result<bool, DbError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM messages WHERE id = ?1)";
    Ok(connection.query_row(sql, [id], |row| row.get(0))?)
}

/// Adds a message at the end of a conversation.
pub(super) fn add_message(
    tx: &Transaction<'_>,
    owner: UserId,
    conversation: ConversationId,
    row: &MessageRow,
) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO messages (id, conversation, owner, seq, role, content, model, created_at,
                               state)
         VALUES (?1, ?2, ?3,
                 (SELECT coalesce(max(seq), 0) + 1 FROM messages WHERE conversation = ?2),
                 ?4, ?5, ?6, ?7, ?8)",
        params![
            row.id,
            conversation,
            owner,
            row.role,
            row.content,
            row.model,
            row.created_at,
            row.state
        ],
    )?;
    Ok(())
}

/// Takes messages away.
pub(super) fn remove_messages(
    tx: &Transaction<'_>,
    owner: UserId,
    ids: &[MessageId],
) -> Result<(), DbError> {
    let mut statement = tx.prepare_cached("DELETE FROM messages WHERE id = ?1 AND owner = ?2")?;
    for id in ids {
        statement.execute(params![id, owner])?;
    }
    Ok(())
}

/// Ends, as interrupted, whatever a failed write left behind in this conversation.
pub(super) fn interrupt(
    tx: &Transaction<'_>,
    owner: UserId,
    conversation: ConversationId,
) -> Result<(), DbError> {
    tx.execute(
        &format!(
            "DELETE FROM messages
             WHERE conversation = ?1 AND owner = ?2 AND state = 'writing' AND {REPLACEMENT}"
        ),
        params![conversation, owner],
    )?;
    tx.execute(
        "UPDATE messages SET state = 'interrupted', finish_reason = 'interrupted'
         WHERE conversation = ?1 AND owner = ?2 AND state = 'writing'",
        params![conversation, owner],
    )?;
    Ok(())
}

/// Keeps what an answer is so far.
pub(super) fn checkpoint(
    tx: &Transaction<'_>,
    owner: UserId,
    id: MessageId,
    content: &Sealed,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE messages SET content = ?3 WHERE id = ?1 AND owner = ?2 AND state = 'writing'",
        params![id, owner, content],
    )?;
    Ok(())
}

/// Keeps a whole answer.
pub(super) fn end_message(
    tx: &Transaction<'_>,
    owner: UserId,
    conversation: ConversationId,
    id: MessageId,
    ended: &Ended,
) -> Result<(), DbError> {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    tx.execute(
        "UPDATE messages SET content = ?3, state = ?4, finish_reason = ?5, prompt_tokens = ?6,
                             completion_tokens = ?7, notices = ?8
         WHERE id = ?1 AND owner = ?2 AND state = 'writing'",
        params![
            id,
            owner,
            ended.content,
            ended.state,
            ended.finish_reason,
            signed(ended.prompt_tokens),
            signed(ended.completion_tokens),
            ended.notices
        ],
    )?;
    touch(tx, owner, conversation, None, ended.at)
}
