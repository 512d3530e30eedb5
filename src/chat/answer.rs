//! An answer in a conversation: what was said is on disk before the engine starts, what is being
//! said is kept every second, and it goes on when nobody watches.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::{Instrument, Span};

use super::conversations::{Chat, event};
use super::error::ChatError;
use super::live::{Asked, Claim, Reader};
use super::reading::Reading;
use super::sealing::{self, Place};
use super::store::{self, Ended};
use super::turn::{Prepared, REFUSED, Turn};
use crate::access::Caller;
use crate::audit::Action;
use crate::engine::{self, Sampling};
use crate::gate::{
    Ending, ExchangeEvent, ExchangeHandle, ExchangeRequest, ExchangeUsage, GateError, Input,
    Notice, Purpose,
};
use crate::ids::{ConversationId, MessageId, RequestId, UserId};
use crate::web::ApiError;

/// How long the last answers may take to be stored.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// A wait for a place that is shorter than this is none.
const AT_ONCE: Duration = Duration::from_millis(50);
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// What a person asks for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// To answer this. Said again under the same id, it is answered once.
    Say {
        /// The message's id, where its sender made one.
        id: Option<MessageId>,
        /// What is said.
        text: String,
    },
    /// To answer the last message anew.
    Regenerate,
}

impl Ask {
    fn asked(&self) -> Option<Asked> {
        match self {
            Self::Say { id: Some(id), text } => Some(Asked { id: *id, text: text.clone() }),
            Self::Say { id: None, .. } | Self::Regenerate => None,
        }
    }
}

impl Chat {
    /// Stores what a person says and begins the answer. The reader gets it from its beginning;
    /// it goes on without a reader. A message that is here already, under the id that its sender
    /// made, is not said twice: the reader gets the answer that it has.
    pub(crate) async fn answer(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        ask: Ask,
        model: Option<String>,
    ) -> Result<Reading, ChatError> {
        let (owner, asked) = (caller.user, ask.asked());
        let claim = loop {
            let claim = self.live.claim(owner, conversation, MessageId::new(), asked.as_ref());
            if let Some(claim) = claim {
                break claim;
            }
            let Some(live) = self.live.find(owner, conversation) else { continue };
            if asked.is_none() || live.asked != asked {
                return Err(ChatError::Answering);
            }
            // The same message once more. If the first one is refused, this one tries by itself.
            if live.has_begun().await {
                return self.read_again(caller, conversation, Reader::new(live)).await;
            }
        };
        let (chat, by) = (self.clone(), caller.clone());
        // On its own task: a browser that goes away half-way leaves nothing half-written.
        let begin = async move { chat.begin(&by, conversation, ask, model, claim).await };
        let begun = self.parts.runtime.spawn(begin.instrument(Span::current()));
        match begun.await.unwrap_or_else(|error| Err(ChatError::Gate(error.into())))? {
            Begun::Now(reader) => self.reading(caller, reader),
            Begun::Before(reader) => self.read_again(caller, conversation, reader).await,
        }
    }

    /// Follows an answer that somebody may not have seen yet; that they do goes on record.
    async fn read_again(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        reader: Reader,
    ) -> Result<Reading, ChatError> {
        self.parts.audit.record(event(caller, Action::ConversationRead, conversation)).await?;
        self.reading(caller, reader)
    }

    async fn begin(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        ask: Ask,
        model: Option<String>,
        claim: Claim,
    ) -> Result<Begun, ChatError> {
        // Before anything is read, sealed or written for them: whether it is their turn at all.
        let entry = self.parts.gate.enter(caller, Purpose::Chat).await?;
        let prepared = self.prepare(caller, conversation, ask, model, claim.live.message).await?;
        let (turn, history) = match prepared {
            Prepared::Turn(turn, history) => (*turn, history),
            Prepared::Answered(reader) => return Ok(Begun::Before(reader)),
        };
        claim.live.replaces(turn.replaced.clone());
        self.store_turn(caller, &turn).await?;
        let request = ExchangeRequest {
            purpose: Purpose::Chat,
            model: turn.model.clone(),
            input: Input::Conversation(history.into()),
            max_tokens: None,
            choices: 1,
            echoes: false,
            sampling: sampling(),
            held_to: None,
            tools: None,
            takes_apart: false,
            drops_oldest: true,
            stop: Vec::new(),
            logprobs: None,
        };
        let way = match self.parts.gate.proceed(entry, request).await {
            Ok(way) => way,
            Err(error) => {
                // Nothing was acknowledged: the conversation is as it was.
                self.take_back(&turn).await?;
                return Err(error.into());
            }
        };
        let live = Arc::clone(&claim.live);
        live.event("start", json!({ "user_message_id": turn.asked, "message_id": turn.answer }));
        let (chat, by) = (self.clone(), caller.clone());
        let work = async move { chat.see_through(&by, turn, way, claim).await };
        self.parts.runtime.spawn(work.instrument(Span::current()));
        Ok(Begun::Now(Reader::new(live)))
    }

    /// Writes the answer down as it comes, until it ends.
    pub(super) async fn write(&self, turn: &Turn, mut handle: ExchangeHandle, claim: Claim) {
        let live = Arc::clone(&claim.live);
        let mut notices = handle.notices.clone();
        if handle.dropped > 0 {
            notices.push(Notice::trimmed(handle.dropped));
        }
        for notice in &notices {
            live.notice(notice);
        }
        // Whoever has a place at once is told of no queue.
        let first = tokio::time::timeout(AT_ONCE, handle.next()).await;
        let mut waits = first.is_err();
        let mut first = first.unwrap_or_default();
        let mut every = tokio::time::interval(CHECKPOINT_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut kept = 0;
        let result = loop {
            let event = tokio::select! {
                biased;
                event = std::future::ready(first.take()), if first.is_some() => event,
                event = handle.next() => event,
                () = live.stop.notified() => {
                    handle.stop();
                    continue;
                }
                _ = every.tick() => {
                    if waits {
                        live.waits("queued", json!({ "position": handle.line.get().max(1) }));
                    }
                    let text = live.text();
                    if text.len() > kept {
                        kept = text.len();
                        self.checkpoint(turn, &text).await;
                    }
                    continue;
                }
            };
            match event {
                Some(ExchangeEvent::Started) => {
                    waits = false;
                    live.starts();
                }
                Some(ExchangeEvent::Text { text, .. }) => live.say(&text),
                // There is one answer, and it is not taken apart.
                Some(
                    ExchangeEvent::Reasoning { .. }
                    | ExchangeEvent::Call { .. }
                    | ExchangeEvent::Arguments { .. }
                    | ExchangeEvent::Ended { .. },
                ) => {}
                Some(ExchangeEvent::Notice(notice)) => {
                    live.notice(&notice);
                    notices.push(notice);
                }
                Some(ExchangeEvent::Finished { ending, usage }) => break Ok((ending, usage)),
                Some(ExchangeEvent::Failed(error)) => break Err(error),
                None => break Err(GateError::Engine(engine::EngineError::Internal)),
            }
        };
        self.close(turn, &notices, result, claim).await;
    }

    /// Keeps an answer as it ended, and tells its end.
    pub(super) async fn close(
        &self,
        turn: &Turn,
        notices: &[Notice],
        result: Result<(Ending, ExchangeUsage), GateError>,
        claim: Claim,
    ) {
        let live = Arc::clone(&claim.live);
        let stored = self.store_end(turn, &live.text(), notices, &result).await;
        // Before the last word: whoever has read it can ask the next question.
        claim.make_room();
        let failed = |error: ApiError| error_event(&error, turn.request);
        live.end(Some(match (stored, result) {
            (Err(error), _) => failed(error.into()),
            (Ok(()), Err(error)) => failed(error.into()),
            (Ok(()), Ok((ending, usage))) => ("done", done(ending, usage)),
        }));
    }

    async fn checkpoint(&self, turn: &Turn, text: &str) {
        let (owner, id) = (turn.owner, turn.answer);
        let result: Result<(), ChatError> = async {
            let sealed = sealing::seal(&self.parts.vault, owner, Place::Content(id), text)?;
            self.parts
                .db
                .write(move |tx| Ok::<_, ChatError>(store::checkpoint(tx, owner, id, &sealed)?))
                .await
        }
        .await;
        if let Err(error) = result {
            tracing::warn!(cause = %error, "an answer could not be kept half-way");
        }
    }

    async fn store_end(
        &self,
        turn: &Turn,
        text: &str,
        notices: &[Notice],
        result: &Result<(Ending, ExchangeUsage), GateError>,
    ) -> Result<(), ChatError> {
        let (owner, conversation, id) = (turn.owner, turn.conversation, turn.answer);
        let (state, finish_reason, usage) = match result {
            Ok((ending, usage)) => ("complete", ending.name(), *usage),
            Err(error) => {
                let why = if error.is_of_what_was_said() { REFUSED } else { "interrupted" };
                ("interrupted", why, ExchangeUsage::default())
            }
        };
        let ended = Ended {
            content: sealing::seal(&self.parts.vault, owner, Place::Content(id), text)?,
            state,
            finish_reason,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            notices: json!(notices).to_string(),
            at: self.parts.clock.now(),
        };
        // An answer gives way to a new one, not to none.
        let replaced = turn.replaced.clone();
        let given_up =
            if replaced.is_empty() || !text.trim().is_empty() { replaced } else { vec![id] };
        self.parts
            .db
            .write(move |tx| {
                store::end_message(tx, owner, conversation, id, &ended)?;
                Ok(store::remove_messages(tx, owner, &given_up)?)
            })
            .await
    }

    /// Asks for the end of the answer that is being written; says whether there is one.
    pub(crate) fn stop(&self, owner: UserId, conversation: ConversationId) -> bool {
        let live = self.live.find(owner, conversation);
        live.inspect(|live| live.stop.notify_one()).is_some()
    }

    /// Waits, at the end of the server, until every answer is on disk as it ended.
    pub(crate) async fn finish(&self) {
        if tokio::time::timeout(FINISH_MAX, self.live.emptied()).await.is_err() {
            tracing::warn!("some answers could not be kept to their end");
        }
    }

    /// Follows the answer that is being written, from its beginning.
    pub(crate) async fn follow(
        &self,
        caller: &Caller,
        conversation: ConversationId,
    ) -> Result<Reading, ChatError> {
        let live = self.live.find(caller.user, conversation).ok_or(ChatError::NotFound)?;
        self.read_again(caller, conversation, Reader::new(live)).await
    }
}

/// Whether an answer began just now, or is one that was there.
enum Begun {
    Now(Reader),
    Before(Reader),
}

/// What a reader is told of an error. What an answer of its own says in headers stands in the event:
/// when to ask again, and what the log has it under.
pub(super) fn error_event(error: &ApiError, request: RequestId) -> (&'static str, Value) {
    let mut event = json!(error.body());
    event["request_id"] = json!(request.to_string());
    event["retry_after"] =
        json!(error.wait().map(|wait| wait.as_millis().div_ceil(1_000).max(1) as u64));
    ("error", event)
}

fn done(ending: Ending, usage: ExchangeUsage) -> Value {
    let seconds = usage.decode.as_secs_f64();
    let rate = if seconds > 0.0 { usage.completion_tokens as f64 / seconds } else { 0.0 };
    json!({
        "finish_reason": ending.name(),
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        },
        "tokens_per_second": (rate * 10.0).round() / 10.0,
    })
}

/// How answers in the web app are drawn: a little variety, nothing unlikely.
fn sampling() -> Sampling {
    Sampling { temperature: 0.7, top_p: 0.9, min_p: 0.05, ..Sampling::default() }
}
