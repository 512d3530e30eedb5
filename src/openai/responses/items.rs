//! Items: what a response is made from and of. The one form for what comes in, what goes out and what
//! is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::{Content, Message, Role};
use crate::ids::ResponseId;
use crate::openai::chat_request::framed;
use crate::openai::tools;

/// Something that was said, thought, called or found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    /// Somebody says something.
    Message {
        /// Tells it from others; none until it has its place.
        id: Option<String>,
        /// How far it is.
        status: Status,
        /// Who says it.
        role: Speaker,
        /// What is said.
        content: Vec<Part>,
    },
    /// The model thinks.
    Reasoning {
        /// Tells it from others.
        id: Option<String>,
        /// How far it is.
        status: Status,
        /// What another server said of its thoughts; none is made here.
        summary: Vec<Part>,
        /// What is thought.
        content: Vec<Part>,
    },
    /// The model calls a function.
    FunctionCall {
        /// Tells it from others.
        id: Option<String>,
        /// How far it is.
        status: Status,
        /// What its result names.
        call_id: String,
        /// The function.
        name: String,
        /// JSON.
        arguments: String,
    },
    /// What came of a call.
    FunctionCallOutput {
        /// Tells it from others.
        id: Option<String>,
        /// How far it is.
        status: Status,
        /// The call.
        call_id: String,
        /// What came of it.
        output: Output,
    },
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Speaker {
    /// A person.
    User,
    /// The frame.
    System,
    /// The frame, by its newer name.
    Developer,
    /// The model.
    Assistant,
}

/// How far an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ItemStatus")]
pub(super) enum Status {
    /// It is being written.
    InProgress,
    /// It is whole.
    Completed,
    /// It was cut short.
    Incomplete,
}

/// A part of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    /// A text that comes in.
    InputText {
        /// The text.
        text: String,
    },
    /// A text of the model.
    OutputText {
        /// The text.
        text: String,
        /// Where it quotes from; nowhere, here.
        annotations: Vec<Value>,
        /// Of its tokens, where they were asked for.
        #[schemars(extend("items" = {"$ref": "#/components/schemas/TokenLogprob"}))]
        logprobs: Vec<Value>,
    },
    /// Why a model of another server did not answer.
    Refusal {
        /// Its words.
        refusal: String,
    },
    /// A thought.
    ReasoningText {
        /// The text.
        text: String,
    },
    /// What another server says of thoughts that it does not show.
    SummaryText {
        /// The text.
        text: String,
    },
}

/// What came of a call: a text, or parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "CallOutput")]
pub(super) enum Output {
    /// A text.
    Text(String),
    /// Parts that are texts.
    Parts(Vec<Part>),
}

impl Part {
    /// A text of the model.
    pub(super) fn said(text: impl Into<String>) -> Self {
        Self::OutputText { text: text.into(), annotations: Vec::new(), logprobs: Vec::new() }
    }

    /// Its text.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::InputText { text }
            | Self::OutputText { text, .. }
            | Self::ReasoningText { text }
            | Self::SummaryText { text }
            | Self::Refusal { refusal: text } => text,
        }
    }
}

/// Where an item of a response stands: among those that came in, or those that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Of the input.
    In(usize),
    /// Of the output.
    Out(usize),
}

impl Item {
    /// Its id, once it has its place.
    pub(super) fn id(&self) -> &str {
        let (Self::Message { id, .. }
        | Self::Reasoning { id, .. }
        | Self::FunctionCall { id, .. }
        | Self::FunctionCallOutput { id, .. }) = self;
        id.as_deref().unwrap_or_default()
    }

    /// Gives it the id of its place, where its sender gave it none.
    pub(super) fn settle(&mut self, response: ResponseId, place: Place) {
        let prefix = match self {
            Self::Message { .. } => "msg",
            Self::Reasoning { .. } => "rs",
            Self::FunctionCall { .. } => "fc",
            Self::FunctionCallOutput { .. } => "fco",
        };
        let (Self::Message { id, .. }
        | Self::Reasoning { id, .. }
        | Self::FunctionCall { id, .. }
        | Self::FunctionCallOutput { id, .. }) = self;
        id.get_or_insert_with(|| {
            let digits = hex::encode(response.as_bytes());
            match place {
                Place::In(at) => format!("{prefix}_{digits}i{at}"),
                Place::Out(at) => format!("{prefix}_{digits}o{at}"),
            }
        });
    }
}

/// The response in which an item with this id stands, and where; none for ids that were not given here.
pub(super) fn place_of(id: &str) -> Option<(ResponseId, Place)> {
    const DIGITS: usize = 32;
    let (prefix, rest) = id.split_once('_')?;
    let digits = rest.get(..DIGITS).filter(|_| ["msg", "rs", "fc", "fco"].contains(&prefix))?;
    let response = ResponseId::parse(&format!("resp_{digits}")).ok()?;
    let place = rest.get(DIGITS + 1..)?.parse().ok()?;
    match rest.get(DIGITS..=DIGITS)? {
        "i" => Some((response, Place::In(place))),
        "o" => Some((response, Place::Out(place))),
        _ => None,
    }
}

/// What the model is to go on from, as a chat template takes it: what is thought, said and called in one
/// breath is one message.
pub(super) fn messages<'a>(
    instructions: Option<&str>,
    items: impl IntoIterator<Item = &'a Item>,
) -> Vec<Message> {
    let frame = instructions.map(|text| Message::new(Role::System, text));
    let mut said: Vec<Message> = frame.into_iter().collect();
    for item in items {
        match item {
            Item::Message { role: Speaker::Assistant, content, .. } => {
                let content = whole(content);
                match said.last_mut().filter(|last| is_thought(last)) {
                    Some(thought) => thought.content = content,
                    None => said.push(Message::new(Role::Assistant, content)),
                }
            }
            Item::Message { role, content, .. } => {
                let role = if *role == Speaker::User { Role::User } else { Role::System };
                said.push(Message::new(role, whole(content)));
            }
            Item::Reasoning { summary, content, .. } => {
                let parts = if content.is_empty() { summary } else { content };
                let reasoning = Some(whole(parts).text()).filter(|text| !text.is_empty());
                let thought = Message::new(Role::Assistant, Content::None);
                said.push(Message { reasoning, ..thought });
            }
            Item::FunctionCall { call_id, name, arguments, .. } => {
                let call = tools::made(call_id.clone(), name.clone(), arguments.clone());
                if let Some(last) = said.last_mut().filter(|last| last.role == Role::Assistant) {
                    last.tool_calls.push(call);
                } else {
                    let caller = Message::new(Role::Assistant, Content::None);
                    said.push(Message { tool_calls: vec![call], ..caller });
                }
            }
            Item::FunctionCallOutput { call_id, output, .. } => {
                let content = match output {
                    Output::Text(text) => Content::Text(text.clone()),
                    Output::Parts(parts) => whole(parts),
                };
                let tool_call_id = Some(call_id.clone());
                said.push(Message { tool_call_id, ..Message::new(Role::Tool, content) });
            }
        }
    }
    // A thought that was cut short before a word was said.
    for alone in said.iter_mut().filter(|one| is_thought(one)) {
        alone.content = Content::Text(String::new());
    }
    framed(said)
}

/// Whether it is a thought after which nothing has come yet.
fn is_thought(message: &Message) -> bool {
    message.role == Role::Assistant
        && message.content == Content::None
        && message.tool_calls.is_empty()
}

/// One part is a text; several stay parts, as some templates take them.
fn whole(parts: &[Part]) -> Content {
    match parts {
        [one] => Content::Text(one.text().to_owned()),
        several => Content::Parts(several.iter().map(|part| part.text().to_owned()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn items(value: Value) -> Vec<Item> {
        serde_json::from_value(value).expect("items")
    }

    #[test]
    fn what_is_thought_said_and_called_in_one_breath_is_one_message() {
        let all = items(json!([
            {"type": "message", "id": null, "status": "completed", "role": "user",
             "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "reasoning", "id": null, "status": "completed", "summary": [],
             "content": [{"type": "reasoning_text", "text": "So"}]},
            {"type": "message", "id": null, "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "text": "Well.", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": null, "status": "completed", "call_id": "1", "name": "f",
             "arguments": "{\"x\": 1}"},
            {"type": "function_call", "id": null, "status": "completed", "call_id": "2", "name": "g",
             "arguments": "no JSON"},
            {"type": "function_call_output", "id": null, "status": "completed", "call_id": "1",
             "output": "one"},
            {"type": "message", "id": null, "status": "completed", "role": "developer",
             "content": [{"type": "input_text", "text": "Be kind."}]},
        ]));
        let said = messages(Some("Be brief."), &all);
        let roles: Vec<Role> = said.iter().map(|one| one.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
        assert_eq!(said[0].content.text(), "Be brief.\n\nBe kind.");
        assert_eq!(said[1].content, Content::Parts(vec!["a".into(), "b".into()]));
        assert_eq!(said[2].reasoning.as_deref(), Some("So"));
        assert_eq!(said[2].content, Content::Text("Well.".into()));
        assert_eq!(said[2].tool_calls.len(), 2);
        assert_eq!(said[2].tool_calls[0].arguments, json!({"x": 1}));
        assert_eq!(said[2].tool_calls[1].arguments, json!("no JSON"));
        assert_eq!(said[3].tool_call_id.as_deref(), Some("1"));
    }

    #[test]
    fn a_thought_without_an_answer_and_a_call_without_a_word_keep_their_places() {
        let thought = json!({"type": "reasoning", "id": "r", "status": "incomplete", "content": [],
            "summary": [{"type": "summary_text", "text": "Hm"}]});
        let said = messages(None, &items(json!([thought])));
        assert_eq!(said[0].reasoning.as_deref(), Some("Hm"));
        assert_eq!(said[0].content, Content::Text(String::new()));
        let call = json!({"type": "function_call", "id": null, "status": "completed", "call_id": "1",
            "name": "f", "arguments": "{}"});
        let said = messages(None, &items(json!([thought, call])));
        assert_eq!(said.len(), 1);
        assert_eq!((&said[0].content, said[0].tool_calls.len()), (&Content::None, 1));
    }

    #[test]
    fn items_have_the_ids_of_their_places_unless_they_came_with_others() {
        let call = json!({"type": "function_call", "id": null, "status": "completed", "call_id": "1",
            "name": "f", "arguments": "{}"});
        let mut named = call.clone();
        named["id"] = json!("fc_mine");
        let response = ResponseId::new();
        let mut both = items(json!([call, named]));
        for (at, item) in both.iter_mut().enumerate() {
            item.settle(response, Place::Out(at));
        }
        let digits = hex::encode(response.as_bytes());
        assert_eq!(both[0].id(), format!("fc_{digits}o0"));
        assert_eq!(both[1].id(), "fc_mine");
        assert_eq!(place_of(both[0].id()), Some((response, Place::Out(0))));
        assert_eq!(place_of(&format!("msg_{digits}i17")), Some((response, Place::In(17))));
        for id in [
            "",
            "fc_mine",
            "msg_",
            &format!("msg_{digits}"),
            &format!("msg_{digits}x1"),
            &format!("msg_{digits}o"),
            &format!("msg_{digits}o-1"),
            &format!("usr_{digits}o1"),
            &format!("msg_{}é{digits}", &digits[..31]),
        ] {
            assert_eq!(place_of(id), None, "{id}");
        }
    }
}
