//! What the answers of both endpoints share: the frame, the usage, the two ways of writing them.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::chat_answer::{self, CallView, ChatCompletion, Choice, Chunk, ChunkChoice, Delta, Said};
use super::completion_answer::{self, Spelled, TextChoice, TextCompletion};
use super::parameters::Endpoint;
use crate::clock::Timestamp;
use crate::engine::TokenLogprob;
use crate::gate::{Ending, ExchangeEvent, ExchangeUsage, Notice};
use crate::ids::RequestId;

/// What stands in every answer and every chunk, the same in all of one answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Frame {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<String>,
}

/// Tokens, in OpenAI's words.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Usage")]
pub(super) struct UsageView {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: Cached,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(rename = "CachedTokens")]
struct Cached {
    cached_tokens: u64,
}

impl From<ExchangeUsage> for UsageView {
    fn from(usage: ExchangeUsage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.total(),
            prompt_tokens_details: Cached { cached_tokens: usage.cached_tokens },
        }
    }
}

/// Writes the answers to one request.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    endpoint: Endpoint,
    frame: Frame,
    with_usage: bool,
    with_logprobs: bool,
    /// Of each choice.
    spelled: Vec<Spelled>,
}

/// What a writer needs to know about its answer.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub(super) endpoint: Endpoint,
    pub(super) request: RequestId,
    pub(super) model: String,
    pub(super) digest: Option<String>,
    pub(super) created: Timestamp,
    pub(super) is_streamed: bool,
    pub(super) with_usage: bool,
    pub(super) with_logprobs: bool,
    pub(super) choices: usize,
}

/// All that was said in one of the answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) calls: Vec<CallView>,
    pub(super) tokens: Vec<TokenLogprob>,
    pub(super) ending: Option<Ending>,
}

impl Answer {
    /// Takes what was said in it.
    pub(super) fn take(&mut self, event: ExchangeEvent) {
        match event {
            ExchangeEvent::Text { text, logprobs, .. } => {
                self.text.push_str(&text);
                self.tokens.extend(logprobs);
            }
            ExchangeEvent::Reasoning { text, .. } => self.reasoning.push_str(&text),
            ExchangeEvent::Call { id, name, .. } => self.calls.push(CallView::begun(id, name)),
            ExchangeEvent::Arguments { text, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.function.arguments.push_str(&text);
                }
            }
            ExchangeEvent::Ended { ending, .. } => self.ending = Some(ending),
            ExchangeEvent::Started
            | ExchangeEvent::Notice(_)
            | ExchangeEvent::Finished { .. }
            | ExchangeEvent::Failed(_) => {}
        }
    }

    fn message(&self) -> Said<'_> {
        let Self { text, reasoning, calls, .. } = self;
        let reasoning = (!reasoning.is_empty()).then_some(reasoning.as_str());
        Said {
            role: "assistant",
            content: (!text.is_empty() || calls.is_empty()).then_some(text),
            refusal: None,
            reasoning_content: reasoning,
            reasoning,
            tool_calls: calls,
        }
    }
}

impl Writer {
    pub(super) fn new(about: About) -> Self {
        let (prefix, object) = match (about.endpoint, about.is_streamed) {
            (Endpoint::Chat, true) => ("chatcmpl-", "chat.completion.chunk"),
            (Endpoint::Chat, false) => ("chatcmpl-", "chat.completion"),
            (Endpoint::Completions, _) => ("cmpl-", "text_completion"),
        };
        let frame = Frame {
            id: format!("{prefix}{}", hex::encode(about.request.as_bytes())),
            object,
            created: about.created.seconds(),
            model: about.model,
            system_fingerprint: about
                .digest
                .map(|digest| format!("fp_{}", digest.chars().take(10).collect::<String>())),
        };
        Self {
            endpoint: about.endpoint,
            frame,
            with_usage: about.with_usage,
            with_logprobs: about.with_logprobs,
            spelled: vec![Spelled::default(); about.choices],
        }
    }

    /// All answers, whole.
    pub(super) fn whole(
        &self,
        answers: &[Answer],
        usage: ExchangeUsage,
        notices: &[Notice],
    ) -> Value {
        let ending = |answer: &Answer| answer.ending.unwrap_or(Ending::Cancelled).name();
        let each = answers.iter().enumerate();
        let answer = match self.endpoint {
            Endpoint::Chat => serde_json::to_value(ChatCompletion {
                frame: &self.frame,
                choices: each
                    .map(|(index, answer)| Choice {
                        index,
                        message: answer.message(),
                        logprobs: self.with_logprobs.then(|| chat_answer::logprobs(&answer.tokens)),
                        finish_reason: ending(answer),
                    })
                    .collect(),
                usage: usage.into(),
                strongroom_notices: notices,
            }),
            Endpoint::Completions => serde_json::to_value(TextCompletion {
                frame: &self.frame,
                choices: each
                    .map(|(index, answer)| TextChoice {
                        text: &answer.text,
                        index,
                        logprobs: self.with_logprobs.then(|| {
                            completion_answer::logprobs(&answer.tokens, &mut Spelled::default())
                        }),
                        finish_reason: Some(ending(answer)),
                    })
                    .collect(),
                usage: Some(Some(usage.into())),
                strongroom_notices: notices,
            }),
        };
        answer.unwrap_or_default()
    }

    /// The chunks that open a stream, one for each answer; the older form has none but what tells of
    /// the guard.
    pub(super) fn opening(&self, notices: &[Notice]) -> Vec<Value> {
        let chunk = |choice| {
            let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
            self.chunk(choice, delta, None, None, if choice == 0 { notices } else { &[] })
        };
        match self.endpoint {
            Endpoint::Chat => (0..self.spelled.len()).map(chunk).collect(),
            Endpoint::Completions if notices.is_empty() => Vec::new(),
            Endpoint::Completions => vec![self.text_chunk(TextChoice::default(), notices)],
        }
    }

    /// A chunk with a piece of an answer.
    pub(super) fn piece(&mut self, choice: usize, text: &str, tokens: &[TokenLogprob]) -> Value {
        match self.endpoint {
            Endpoint::Chat => {
                let logprobs = self.with_logprobs.then(|| chat_answer::logprobs(tokens));
                let delta = Delta { content: Some(text), ..Delta::default() };
                self.chunk(choice, delta, logprobs, None, &[])
            }
            Endpoint::Completions => {
                let spelled = self.spelled.get_mut(choice).filter(|_| self.with_logprobs);
                let logprobs = spelled.map(|spelled| completion_answer::logprobs(tokens, spelled));
                let piece = TextChoice { text, index: choice, logprobs, finish_reason: None };
                self.text_chunk(piece, &[])
            }
        }
    }

    /// A chunk with a piece of what the model thinks.
    pub(super) fn reasoning(&self, choice: usize, text: &str) -> Value {
        let text = Some(text);
        let delta = Delta { reasoning_content: text, reasoning: text, ..Delta::default() };
        self.chunk(choice, delta, None, None, &[])
    }

    /// A chunk with a call, or a piece of one.
    pub(super) fn call(&self, choice: usize, call: CallView) -> Value {
        let delta = Delta { tool_calls: Some([call]), ..Delta::default() };
        self.chunk(choice, delta, None, None, &[])
    }

    /// A chunk that says what the guard did.
    pub(super) fn notice(&self, notice: &Notice) -> Value {
        let notices = std::slice::from_ref(notice);
        match self.endpoint {
            Endpoint::Chat => self.chunk(0, Delta::default(), None, None, notices),
            Endpoint::Completions => self.text_chunk(TextChoice::default(), notices),
        }
    }

    /// The chunk that ends an answer.
    pub(super) fn finish(&self, choice: usize, ending: Ending) -> Value {
        match self.endpoint {
            Endpoint::Chat => self.chunk(choice, Delta::default(), None, Some(ending), &[]),
            Endpoint::Completions => {
                let finish_reason = Some(ending.name());
                let end = TextChoice { index: choice, finish_reason, ..TextChoice::default() };
                self.text_chunk(end, &[])
            }
        }
    }

    /// The chunk with the usage, where the stream was asked to carry it.
    pub(super) fn usage(&self, usage: ExchangeUsage) -> Option<Value> {
        let usage = Some(Some(usage.into()));
        let frame = &self.frame;
        let chunk = match self.endpoint {
            Endpoint::Chat => serde_json::to_value(Chunk {
                frame,
                choices: Vec::new(),
                usage,
                strongroom_notices: None,
            }),
            Endpoint::Completions => serde_json::to_value(TextCompletion {
                frame,
                choices: Vec::new(),
                usage,
                strongroom_notices: &[],
            }),
        };
        self.with_usage.then(|| chunk.unwrap_or_default())
    }

    fn chunk(
        &self,
        index: usize,
        delta: Delta<'_>,
        logprobs: Option<chat_answer::Logprobs>,
        ending: Option<Ending>,
        notices: &[Notice],
    ) -> Value {
        let finish_reason = ending.map(Ending::name);
        let chunk = Chunk {
            frame: &self.frame,
            choices: vec![ChunkChoice { index, delta, logprobs, finish_reason }],
            usage: self.with_usage.then_some(None),
            strongroom_notices: (!notices.is_empty()).then_some(notices),
        };
        serde_json::to_value(chunk).unwrap_or_default()
    }

    fn text_chunk(&self, choice: TextChoice<'_>, notices: &[Notice]) -> Value {
        let chunk = TextCompletion {
            frame: &self.frame,
            choices: vec![choice],
            usage: self.with_usage.then_some(None),
            strongroom_notices: notices,
        };
        serde_json::to_value(chunk).unwrap_or_default()
    }
}
