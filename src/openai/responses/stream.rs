//! A response as it comes to be: what happens in an exchange becomes items, and each step of that is an
//! event with a number. Who asked for the whole gets what stands there at the end.

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{End, Head, Response, Standing};
use super::items::{Item, Part, Place, Speaker, Status};
use super::state::{Kept, Responses};
use crate::access::Caller;
use crate::clock::Clock;
use crate::engine::TokenLogprob;
use crate::gate::{Ending, ExchangeEvent, ExchangeUsage, Gate, Notice};
use crate::ids::{RequestId, ResponseId};
use crate::openai::chat_answer;
use crate::openai::events::Script;
use crate::web::ApiError;

/// A response that is being written.
pub(super) struct Composer {
    head: Head,
    standing: Standing,
    output: Vec<Item>,
    /// Whether the last item goes on.
    is_open: bool,
    /// White space between items, which makes no item of its own.
    blank: (String, Vec<TokenLogprob>),
    notices: Vec<Notice>,
    /// Of the next event.
    number: u64,
}

impl Composer {
    /// A response of which nothing has come yet.
    pub(super) fn new(head: Head, notices: Vec<Notice>) -> Self {
        Self {
            head,
            standing: Standing::InProgress,
            output: Vec::new(),
            is_open: false,
            blank: (String::new(), Vec::new()),
            notices,
            number: 0,
        }
    }

    /// The response as it stands.
    pub(super) fn response(&self) -> Value {
        let response = Response::new(&self.head, &self.standing, &self.output, &self.notices);
        serde_json::to_value(response).unwrap_or_default()
    }

    /// The event that says that there is a response.
    pub(super) fn created(&mut self) -> Value {
        self.of_all("response.created")
    }

    /// Takes what happened, and gives the events of it; those of the end come from `ended`.
    pub(super) fn take(&mut self, event: ExchangeEvent) -> Vec<Value> {
        let mut events = Vec::new();
        match event {
            ExchangeEvent::Started => events.push(self.of_all("response.in_progress")),
            ExchangeEvent::Text { text, logprobs, .. } => {
                self.blank.0.push_str(&text);
                self.blank.1.extend(logprobs);
                if self.goes_on(is_message) || !self.blank.0.trim().is_empty() {
                    self.say(&mut events);
                }
            }
            ExchangeEvent::Reasoning { text, .. } => self.think(&text, &mut events),
            ExchangeEvent::Call { id, name, .. } => {
                let (status, arguments) = (Status::InProgress, String::new());
                let call = Item::FunctionCall { id: None, status, call_id: id, name, arguments };
                self.begin(call, &mut events);
            }
            ExchangeEvent::Arguments { text, .. } => self.argue(&text, &mut events),
            ExchangeEvent::Notice(notice) => self.notices.push(notice),
            ExchangeEvent::Ended { ending, .. } => {
                if self.output.is_empty() {
                    self.say(&mut events);
                }
                self.close(status_of(ending), &mut events);
            }
            ExchangeEvent::Finished { .. } | ExchangeEvent::Failed(_) => {}
        }
        events
    }

    /// Notes that nothing more comes.
    pub(super) fn end(&mut self, end: End) {
        self.standing = Standing::Ended(end);
        self.leave();
    }

    /// Notes that it could not be completed.
    pub(super) fn fail(&mut self, error: ApiError) {
        self.standing = Standing::Failed(error);
        self.leave();
    }

    /// What goes on when the response does not is left as it is.
    fn leave(&mut self) {
        if self.is_open {
            self.is_open = false;
            self.mark(Status::Incomplete);
        }
    }

    /// All that was thought.
    pub(super) fn thoughts(&self) -> String {
        let thoughts = self.output.iter().filter_map(|item| match item {
            Item::Reasoning { content, .. } => Some(content),
            _ => None,
        });
        thoughts.flatten().map(Part::text).collect()
    }

    /// The event that says how it ended.
    pub(super) fn last(&mut self) -> Value {
        match self.standing.status() {
            "completed" => self.of_all("response.completed"),
            "incomplete" => self.of_all("response.incomplete"),
            _ => self.of_all("response.failed"),
        }
    }

    fn say(&mut self, events: &mut Vec<Value>) {
        let (text, tokens) = std::mem::take(&mut self.blank);
        if !self.goes_on(is_message) {
            let (status, role) = (Status::InProgress, Speaker::Assistant);
            self.begin(Item::Message { id: None, status, role, content: Vec::new() }, events);
            self.begin_part(Part::said(""), events);
        }
        let tokens = logprobs(&tokens);
        if let Some(Item::Message { content, .. }) = self.output.last_mut()
            && let Some(Part::OutputText { text: said, logprobs, .. }) = content.last_mut()
        {
            said.push_str(&text);
            logprobs.extend(tokens.iter().cloned());
        }
        if !(text.is_empty() && tokens.is_empty()) {
            let fields = json!({ "content_index": 0, "delta": text, "logprobs": tokens });
            events.push(self.of_item("response.output_text.delta", fields));
        }
    }

    fn think(&mut self, text: &str, events: &mut Vec<Value>) {
        if !self.goes_on(|item| matches!(item, Item::Reasoning { .. })) {
            let (summary, content) = (Vec::new(), Vec::new());
            let status = Status::InProgress;
            self.begin(Item::Reasoning { id: None, status, summary, content }, events);
            self.begin_part(Part::ReasoningText { text: String::new() }, events);
        }
        if let Some(Item::Reasoning { content, .. }) = self.output.last_mut()
            && let Some(Part::ReasoningText { text: thought }) = content.last_mut()
        {
            thought.push_str(text);
        }
        let fields = json!({ "content_index": 0, "delta": text });
        events.push(self.of_item("response.reasoning_text.delta", fields));
    }

    fn argue(&mut self, text: &str, events: &mut Vec<Value>) {
        if let Some(Item::FunctionCall { arguments, .. }) = self.output.last_mut() {
            arguments.push_str(text);
            let fields = json!({ "delta": text });
            events.push(self.of_item("response.function_call_arguments.delta", fields));
        }
    }

    /// Whether the last item is such a one, and open.
    fn goes_on(&self, is_such: impl Fn(&Item) -> bool) -> bool {
        self.is_open && self.output.last().is_some_and(is_such)
    }

    /// Begins an item, after the end of the one before it.
    fn begin(&mut self, mut item: Item, events: &mut Vec<Value>) {
        self.close(Status::Completed, events);
        item.settle(self.head.id, Place::Out(self.output.len()));
        let shown = json!({ "output_index": self.output.len(), "item": item });
        self.output.push(item);
        self.is_open = true;
        events.push(self.event("response.output_item.added", shown));
    }

    fn begin_part(&mut self, part: Part, events: &mut Vec<Value>) {
        let fields = json!({ "content_index": 0, "part": part });
        if let Some(Item::Message { content, .. } | Item::Reasoning { content, .. }) =
            self.output.last_mut()
        {
            content.push(part);
        }
        events.push(self.of_item("response.content_part.added", fields));
    }

    /// Ends the item that goes on.
    fn close(&mut self, status: Status, events: &mut Vec<Value>) {
        if !self.is_open {
            return;
        }
        self.is_open = false;
        self.mark(status);
        let Some(item) = self.output.last().cloned() else { return };
        match &item {
            Item::Message { content, .. } | Item::Reasoning { content, .. } => {
                for part in content {
                    let (kind, fields) = match part {
                        Part::OutputText { text, logprobs, .. } => (
                            "response.output_text.done",
                            json!({ "content_index": 0, "text": text, "logprobs": logprobs }),
                        ),
                        other => (
                            "response.reasoning_text.done",
                            json!({ "content_index": 0, "text": other.text() }),
                        ),
                    };
                    events.push(self.of_item(kind, fields));
                    let fields = json!({ "content_index": 0, "part": part });
                    events.push(self.of_item("response.content_part.done", fields));
                }
            }
            Item::FunctionCall { name, arguments, .. } => {
                let fields = json!({ "name": name, "arguments": arguments });
                events.push(self.of_item("response.function_call_arguments.done", fields));
            }
            Item::FunctionCallOutput { .. } => {}
        }
        let fields = json!({ "output_index": self.output.len() - 1, "item": item });
        events.push(self.event("response.output_item.done", fields));
    }

    fn mark(&mut self, now: Status) {
        if let Some(
            Item::Message { status, .. }
            | Item::Reasoning { status, .. }
            | Item::FunctionCall { status, .. }
            | Item::FunctionCallOutput { status, .. },
        ) = self.output.last_mut()
        {
            *status = now;
        }
    }

    /// An event of the response as a whole.
    fn of_all(&mut self, kind: &'static str) -> Value {
        let response = self.response();
        self.event(kind, json!({ "response": response }))
    }

    /// An event of the last item.
    fn of_item(&mut self, kind: &'static str, mut fields: Value) -> Value {
        fields["item_id"] = self.output.last().map(Item::id).into();
        fields["output_index"] = self.output.len().saturating_sub(1).into();
        self.event(kind, fields)
    }

    fn event(&mut self, kind: &'static str, mut fields: Value) -> Value {
        fields["type"] = kind.into();
        fields["sequence_number"] = self.number.into();
        self.number += 1;
        fields
    }
}

fn is_message(item: &Item) -> bool {
    matches!(item, Item::Message { .. })
}

/// How an item is left by the end of the answer.
fn status_of(ending: Ending) -> Status {
    match ending {
        Ending::Stop | Ending::StopText(_) | Ending::ToolCalls => Status::Completed,
        Ending::Length | Ending::ContentFilter | Ending::Cancelled => Status::Incomplete,
    }
}

/// Log-probabilities, as chats have them.
fn logprobs(tokens: &[TokenLogprob]) -> Vec<Value> {
    if tokens.is_empty() {
        return Vec::new();
    }
    let mut value = serde_json::to_value(chat_answer::logprobs(tokens)).unwrap_or_default();
    match value["content"].take() {
        Value::Array(tokens) => tokens,
        _ => Vec::new(),
    }
}

/// Brings a response to its end.
pub(super) struct Closing {
    pub(super) gate: Gate,
    pub(super) clock: Clock,
    /// Where it is to be kept.
    pub(super) keeping: Option<Keeping>,
}

/// What it takes to keep a response.
pub(super) struct Keeping {
    pub(super) responses: Responses,
    pub(super) caller: Caller,
    /// What came in.
    pub(super) input: Vec<Item>,
    /// The responses that it goes on from.
    pub(super) used: Vec<ResponseId>,
}

impl Closing {
    /// Notes in a response how it ended, and keeps it where that is wanted: before its last word, so
    /// that whoever has read that can go on from it.
    pub(super) async fn close(
        &mut self,
        composer: &mut Composer,
        ending: Ending,
        usage: ExchangeUsage,
    ) -> Result<(), ApiError> {
        let thoughts = composer.thoughts();
        let reasoning_tokens = if thoughts.is_empty() {
            0
        } else {
            self.gate.count_tokens(&composer.head.model, thoughts).await.unwrap_or(0)
        };
        // Read again by itself a text may have more tokens than it came in.
        let reasoning_tokens = reasoning_tokens.min(usage.completion_tokens);
        composer.end(End { ending, usage, reasoning_tokens, at: self.clock.now() });
        let Some(keeping) = self.keeping.take().filter(|_| composer.standing.status() != "failed")
        else {
            return Ok(());
        };
        let Keeping { responses, caller, input, used } = keeping;
        let kept = Kept { response: composer.response(), input };
        Ok(responses.keep(&caller, composer.head.id, &kept, used).await?)
    }
}

/// Writes a response in events.
pub(super) struct Writing {
    pub(super) composer: Composer,
    pub(super) closing: Closing,
}

fn wire(event: &Value) -> Bytes {
    let kind = event["type"].as_str().unwrap_or_default();
    Bytes::from(format!("event: {kind}\ndata: {event}\n\n"))
}

impl Script for Writing {
    /// There is no response of which this would be the end: the event is OpenAI's for that.
    fn refuse(error: ApiError, _: RequestId) -> Vec<Bytes> {
        let mut event = json!({ "type": "error", "sequence_number": 0 });
        let body = serde_json::to_value(error.body()).unwrap_or_default();
        for name in ["code", "message", "param"] {
            event[name] = body["error"][name].clone();
        }
        vec![wire(&event)]
    }

    fn open(&mut self, _: &[Notice]) -> Vec<Bytes> {
        vec![wire(&self.composer.created())]
    }

    async fn write(&mut self, event: ExchangeEvent) -> Vec<Bytes> {
        let Self { composer, closing } = self;
        match event {
            ExchangeEvent::Finished { ending, usage } => {
                if let Err(error) = closing.close(composer, ending, usage).await {
                    composer.fail(error);
                }
                vec![wire(&composer.last())]
            }
            other => composer.take(other).iter().map(wire).collect(),
        }
    }

    fn fail(&mut self, error: ApiError) -> Vec<Bytes> {
        self.composer.fail(error);
        vec![wire(&self.composer.last())]
    }

    fn is_whole(&self) -> bool {
        matches!(self.composer.standing, Standing::Ended(_))
    }
}
