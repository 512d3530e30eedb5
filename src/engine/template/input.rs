//! What a template sees of a conversation: the names and shapes of transformers.
//!
//! Templates agree on little: whether content may be a list of parts or nothing at all, whether the
//! arguments of a call are an object or a text. What one template takes is found out once, by
//! rendering small conversations; then every conversation is given to it in the shape it takes.

use std::collections::HashMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use serde_json::{Map, Value as Json, json};

use super::PromptOptions;
use super::guard::{MARK, unmarked};
use super::render::Program;
use crate::engine::{Content, Conversation, Message, Role, ToolCall};

/// The shapes that one template takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Habits {
    /// What becomes of a content of many parts.
    parts: Parts,
    /// Whether an answer that only calls tools may have no content.
    takes_no_content: bool,
    /// Whether arguments of a call have to be a text.
    needs_text_arguments: bool,
}

/// What a template takes for content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    /// A text: parts are joined.
    Joined,
    /// A text or a list of parts.
    Kept,
    /// A list of parts, even of one.
    Needed,
}

/// What most templates take.
impl Default for Habits {
    fn default() -> Self {
        Self { parts: Parts::Joined, takes_no_content: true, needs_text_arguments: false }
    }
}

impl Habits {
    /// Finds out what a template takes.
    pub(super) fn of(program: &Program) -> Self {
        let shown = |habits: Self, message: Message, of: &[&str]| {
            let messages = vec![Message::new(Role::User, "a question"), message];
            let options =
                PromptOptions { add_generation_prompt: false, ..PromptOptions::default() };
            let text = program.render_as(&messages.into(), &options, habits);
            text.is_ok_and(|text| of.iter().all(|of| text.contains(of)) && !text.contains("None"))
        };
        let usual = Self::default();
        let found = Self { parts: Parts::of(program), ..usual };
        let call = |content: Content| Message {
            tool_calls: vec![ToolCall {
                id: "call00001".to_owned(),
                name: PROBE.to_owned(),
                arguments: json!({ OTHER_PROBE: 1 }),
            }],
            ..Message::new(Role::Assistant, content)
        };
        let text_arguments = Self { needs_text_arguments: true, ..found };
        let with_text = "an answer";
        let needs_text_arguments = !shown(found, call(with_text.into()), &[PROBE, OTHER_PROBE])
            && shown(text_arguments, call(with_text.into()), &[PROBE, OTHER_PROBE]);
        let found = Self { needs_text_arguments, ..found };
        let without = Self { takes_no_content: false, ..found };
        let takes_no_content = shown(found, call(Content::None), &[PROBE])
            || !shown(without, call(Content::None), &[PROBE]);
        Self { takes_no_content, ..found }
    }
}

impl Parts {
    fn of(program: &Program) -> Self {
        let asked = |content: Content, parts| {
            let messages = vec![Message::new(Role::User, content)];
            let habits = Habits { parts, ..Habits::default() };
            let text = program.render_as(&messages.into(), &PromptOptions::default(), habits);
            text.unwrap_or_default()
        };
        let parts = Content::Parts(vec![PROBE.to_owned(), OTHER_PROBE.to_owned()]);
        let kept = asked(parts, Self::Kept);
        let is_printed = ["'text'", "\"text\""].iter().any(|printed| kept.contains(printed));
        if is_printed || !kept.contains(PROBE) || !kept.contains(OTHER_PROBE) {
            Self::Joined
        } else if asked(PROBE.into(), Self::Kept).contains(PROBE) {
            Self::Kept
        } else {
            Self::Needed
        }
    }
}

/// The names that a template may use for a conversation.
pub(super) fn names(conversation: &Conversation, habits: Habits) -> Vec<(&str, Value)> {
    let messages = conversation.messages.iter().map(|message| message_value(message, habits));
    let mut names: Vec<(&str, Value)> = conversation
        .arguments
        .iter()
        .filter(|(name, _)| !is_reserved(name))
        .map(|(name, json)| (name.as_str(), value(json)))
        .collect();
    if names.iter().all(|(name, _)| *name != "documents") {
        names.push(("documents", Value::from(())));
    }
    names.push(("messages", messages.collect()));
    names.push((
        "tools",
        match conversation.tools.as_slice() {
            [] => Value::from(()),
            tools => tools.iter().map(value).collect(),
        },
    ));
    names
}

fn message_value(message: &Message, habits: Habits) -> Value {
    let calls = !message.tool_calls.is_empty();
    let part = |text: &String| json!({ "type": "text", "text": text });
    let content = match &message.content {
        Content::None if calls && habits.takes_no_content => json!(null),
        Content::Parts(parts) if habits.parts != Parts::Joined => parts.iter().map(part).collect(),
        content if habits.parts == Parts::Needed => json!([part(&content.text())]),
        content => json!(content.text()),
    };
    let mut fields = vec![("role", json!(message.role.name())), ("content", content)];
    if let Some(name) = &message.name {
        fields.push(("name", json!(name)));
    }
    if let Some(reasoning) = &message.reasoning {
        // Every family has its own word for it.
        for word in ["reasoning_content", "reasoning", "thinking"] {
            fields.push((word, json!(reasoning)));
        }
    }
    if calls {
        let call = |call: &ToolCall| {
            let arguments = match &call.arguments {
                object if habits.needs_text_arguments && !object.is_string() => {
                    json!(super::filters::json(object))
                }
                arguments => arguments.clone(),
            };
            let function = json!({ "name": call.name, "arguments": arguments });
            json!({ "id": call.id, "type": "function", "function": function })
        };
        fields.push(("tool_calls", message.tool_calls.iter().map(call).collect()));
    }
    if let Some(id) = &message.tool_call_id {
        fields.push(("tool_call_id", json!(id)));
    }
    Value::from_pairs(fields.iter().map(|(name, json)| (*name, value(json))))
}

/// A JSON value for templates.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => Value::from(whole),
            (_, Some(whole), _) => Value::from(whole),
            (.., float) => Value::from(float.unwrap_or_default()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(value).collect(),
        Json::Object(fields) if fields.keys().any(|name| name.contains(MARK)) => {
            Value::from_object(MarkedMap::new(fields))
        }
        Json::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(name, json)| (name.as_str(), value(json))))
        }
    }
}

/// A map whose names have marks of the guard in them, and are found without.
#[derive(Debug)]
struct MarkedMap {
    names: Vec<Value>,
    values: HashMap<String, Value>,
}

impl MarkedMap {
    fn new(fields: &Map<String, Json>) -> Self {
        let plain = |(name, json): (&String, &Json)| (unmarked(name).into_owned(), value(json));
        Self {
            names: fields.keys().map(|name| Value::from(name.as_str())).collect(),
            values: fields.iter().map(plain).collect(),
        }
    }
}

impl Object for MarkedMap {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.values.get(unmarked(key.as_str()?).as_ref()).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.names.clone())
    }
}

/// Whether a name has a meaning of its own in every template, so that no caller may give it one.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// What transformers and Jinja put in scope.
const RESERVED: [&str; 19] = [
    "messages",
    "tools",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "bos_token",
    "eos_token",
    "raise_exception",
    "strftime_now",
    "range",
    "dict",
    "namespace",
    "lipsum",
    "cycler",
    "joiner",
    "debug",
    "loop",
    "self",
    "caller",
];

/// Texts that no template writes by itself.
const PROBE: &str = "zqprobeone";
const OTHER_PROBE: &str = "zqprobetwo";
