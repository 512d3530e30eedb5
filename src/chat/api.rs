//! `/api/conversations`.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, Path, Query};
use futures_util::Stream;
use futures_util::stream::unfold;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Ask;
use super::conversations::{Change, Chat, Conversation, Listing, Message};
use super::reading::Reading;
use crate::access::Grant;
use crate::access::permission::Chat as MayChat;
use crate::ids::{ConversationId, MessageId, SharedPromptId};
use crate::web::{self, Answer, ApiError, Body, Empty, ErrorCode};

const LIMIT_MAX: u32 = 200;
const LIMIT_DEFAULT: u32 = 50;
const SEARCH_BYTES_MAX: usize = 200;

/// What a list is narrowed to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    search: Option<String>,
    limit: Option<u32>,
    before: Option<ConversationId>,
}

/// `GET /api/conversations`
pub(crate) async fn list(
    grant: Grant<MayChat>,
    query: Result<Query<ListQuery>, actix_web::Error>,
    chat: Data<Chat>,
) -> Result<Answer<Conversations>, ApiError> {
    let query = query
        .map_err(|_| {
            ApiError::new(ErrorCode::InvalidValue)
                .message("The query takes `search`, `limit` and `before` (a conversation's id).")
        })?
        .into_inner();
    let search = query.search.filter(|search| !search.trim().is_empty());
    if search.as_ref().is_some_and(|search| search.len() > SEARCH_BYTES_MAX) {
        return Err(ApiError::new(ErrorCode::InvalidValue).param("search"));
    }
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let listing = Listing { search, before: query.before, limit };
    let conversations = chat.list(grant.caller().user, listing).await?;
    Ok(Answer::new(&Conversations { conversations }))
}

/// Conversations, the newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Conversations {
    conversations: Vec<Conversation>,
}

/// A conversation with all that was said.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Opened {
    conversation: Conversation,
    messages: Vec<Message>,
    /// The answer that is being written.
    active: Option<Active>,
}

#[derive(Serialize, JsonSchema)]
struct Active {
    message_id: MessageId,
}

/// A new conversation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewConversation {
    title: Option<String>,
    model: Option<String>,
    /// The shared prompt that it stands under.
    prompt: Option<SharedPromptId>,
}

/// `POST /api/conversations`
pub(crate) async fn create(
    grant: Grant<MayChat>,
    body: Body<NewConversation>,
    chat: Data<Chat>,
) -> Result<Answer<Conversation, 201>, ApiError> {
    let Body(NewConversation { title, model, prompt }) = body;
    check_model(model.as_deref())?;
    let conversation = chat.create(grant.caller(), title, model, prompt).await?;
    Ok(Answer::new(&conversation))
}

/// `GET /api/conversations/{id}`
pub(crate) async fn read(
    grant: Grant<MayChat>,
    id: Path<String>,
    chat: Data<Chat>,
) -> Result<Answer<Opened>, ApiError> {
    let (conversation, messages, active) = chat.read(grant.caller(), parse(&id)?).await?;
    let active = active.map(|message_id| Active { message_id });
    Ok(Answer::new(&Opened { conversation, messages, active }))
}

/// What changes in a conversation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConversationChange {
    title: Option<String>,
    pinned: Option<bool>,
    /// A shared prompt's id; an empty text: none.
    prompt: Option<String>,
}

/// `PATCH /api/conversations/{id}`
pub(crate) async fn update(
    grant: Grant<MayChat>,
    id: Path<String>,
    body: Body<ConversationChange>,
    chat: Data<Chat>,
) -> Result<Answer<Conversation>, ApiError> {
    let Body(ConversationChange { title, pinned, prompt }) = body;
    let prompt = prompt.map(|prompt| parse_prompt(&prompt)).transpose()?;
    let change = Change { title, pinned, prompt };
    let conversation = chat.update(grant.caller(), parse(&id)?, change).await?;
    Ok(Answer::new(&conversation))
}

/// `DELETE /api/conversations/{id}`
pub(crate) async fn delete(
    grant: Grant<MayChat>,
    id: Path<String>,
    chat: Data<Chat>,
) -> Result<Empty, ApiError> {
    chat.delete(grant.caller(), parse(&id)?).await?;
    Ok(Empty::empty())
}

/// What a person says, or that they want another answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    /// An id of the sender's making: sent again with the same one, a message is said once.
    id: Option<MessageId>,
    content: Option<String>,
    regenerate: Option<bool>,
    model: Option<String>,
}

/// `POST /api/conversations/{id}/messages`
pub(crate) async fn say(
    grant: Grant<MayChat>,
    id: Path<String>,
    body: Body<NewMessage>,
    chat: Data<Chat>,
) -> Result<HttpResponse, ApiError> {
    let Body(NewMessage { id: message, content, regenerate, model }) = body;
    check_model(model.as_deref())?;
    let ask = match (content, regenerate.unwrap_or(false)) {
        (Some(text), false) => Ask::Say { id: message, text },
        (None, true) if message.is_none() => Ask::Regenerate,
        _ => {
            return Err(ApiError::new(ErrorCode::InvalidRequest)
                .message("Send either `content`, with an `id` or without, or `regenerate`: true.")
                .param("content"));
        }
    };
    let reading = chat.answer(grant.caller(), parse(&id)?, ask, model).await?;
    Ok(event_stream(reading, chat.heartbeat()))
}

/// `GET /api/conversations/{id}/stream`
pub(crate) async fn follow(
    grant: Grant<MayChat>,
    id: Path<String>,
    chat: Data<Chat>,
) -> Result<HttpResponse, ApiError> {
    let reading = chat.follow(grant.caller(), parse(&id)?).await?;
    Ok(event_stream(reading, chat.heartbeat()))
}

/// `POST /api/conversations/{id}/stop`
pub(crate) async fn stop(
    grant: Grant<MayChat>,
    id: Path<String>,
    chat: Data<Chat>,
) -> Result<Empty<202>, ApiError> {
    if chat.stop(grant.caller().user, parse(&id)?) {
        Ok(Empty::empty())
    } else {
        Err(ErrorCode::NotFound.into())
    }
}

/// A text that is no id is the id of nothing.
fn parse(id: &str) -> Result<ConversationId, ApiError> {
    ConversationId::parse(id).map_err(|_| ErrorCode::NotFound.into())
}

fn parse_prompt(text: &str) -> Result<Option<SharedPromptId>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| ApiError::new(ErrorCode::InvalidValue).param("prompt");
    SharedPromptId::parse(text).map(Some).map_err(wrong)
}

fn check_model(model: Option<&str>) -> Result<(), ApiError> {
    match model {
        Some(name) if name.is_empty() || name.len() > 256 => {
            Err(ApiError::new(ErrorCode::InvalidValue).param("model"))
        }
        _ => Ok(()),
    }
}

fn event_stream(reading: Reading, heartbeat: Option<Duration>) -> HttpResponse {
    web::events::stream().streaming(events(reading, heartbeat))
}

pub(super) fn events(
    reading: Reading,
    heartbeat: Option<Duration>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    unfold(reading, move |mut reading| async move {
        let news = match heartbeat {
            None => reading.next().await?,
            Some(silence) => match tokio::time::timeout(silence, reading.next()).await {
                Err(_) => return Some((Ok(Bytes::from_static(b": waiting\n\n")), reading)),
                Ok(news) => news?,
            },
        };
        let mut text = String::new();
        for (name, data) in &news {
            // Writing to a text does not fail.
            let _ = write!(text, "event: {name}\ndata: {data}\n\n");
        }
        Some((Ok(Bytes::from(text)), reading))
    })
}
