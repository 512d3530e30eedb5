//! A conversation as data: what a chat template gives its form. Knows no template and no wire format.

mod values;

use std::borrow::Cow;

use serde_json::{Map, Value};

pub use values::Extent;
use values::{Name, Replace, Seen};

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The frame of the conversation.
    System,
    /// A person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

impl Role {
    /// The name that templates know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// What is said in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Nothing: an answer that only calls tools.
    #[default]
    None,
    /// One text.
    Text(String),
    /// A list of texts.
    Parts(Vec<String>),
}

impl Content {
    /// The whole as one text; parts stand on lines of their own.
    pub fn text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.join("\n"),
        }
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A call of a function that a model asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Tells it from others of the conversation.
    pub id: String,
    /// The function.
    pub name: String,
    /// What it is called with: an object, or the text as it came where that is none.
    pub arguments: Value,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: Content,
    /// The name of the speaker or the tool.
    pub name: Option<String>,
    /// What the model thought before it said this.
    pub reasoning: Option<String>,
    /// Which functions the model calls.
    pub tool_calls: Vec<ToolCall>,
    /// The call that this is the result of.
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A message that says something, and nothing else.
    pub fn new(role: Role, content: impl Into<Content>) -> Self {
        Self {
            role,
            content: content.into(),
            name: None,
            reasoning: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    /// The message with other texts in the place of its own; `replace` sees each by itself.
    #[must_use]
    pub fn with_texts(&self, replace: &mut dyn FnMut(&str) -> String) -> Self {
        self.replaced(Seen::Alone, replace)
    }

    fn replaced(&self, seen: Seen<'_>, replace: &mut Replace<'_>) -> Self {
        Self {
            role: self.role,
            content: match &self.content {
                Content::None => Content::None,
                Content::Text(text) => Content::Text(replace(text)),
                Content::Parts(parts) => {
                    Content::Parts(parts.iter().map(|part| replace(part)).collect())
                }
            },
            name: self.name.as_deref().map(&mut *replace),
            reasoning: self.reasoning.as_deref().map(&mut *replace),
            tool_calls: self
                .tool_calls
                .iter()
                .map(|call| ToolCall {
                    id: replace(&call.id),
                    name: replace(&call.name),
                    arguments: values::replaced(&call.arguments, seen, replace),
                })
                .collect(),
            tool_call_id: self.tool_call_id.as_deref().map(&mut *replace),
        }
    }

    fn collect_texts<'a>(&'a self, texts: &mut Vec<Cow<'a, str>>) {
        match &self.content {
            Content::None => {}
            Content::Text(text) => texts.push(text.into()),
            Content::Parts(parts) => texts.extend(parts.iter().map(Cow::from)),
        }
        texts.extend(self.name.as_deref().map(Cow::from));
        texts.extend(self.reasoning.as_deref().map(Cow::from));
        for call in &self.tool_calls {
            texts.extend([Cow::from(&call.id), Cow::from(&call.name)]);
            values::collect(&call.arguments, None, texts);
        }
        texts.extend(self.tool_call_id.as_deref().map(Cow::from));
    }

    /// How many bytes its texts have.
    fn bytes(&self) -> usize {
        let content: usize = match &self.content {
            Content::None => 0,
            Content::Text(text) => text.len(),
            Content::Parts(parts) => parts.iter().map(String::len).sum(),
        };
        let others = [&self.name, &self.reasoning, &self.tool_call_id];
        let others = others.into_iter().flatten().map(String::len).sum::<usize>();
        let call =
            |call: &ToolCall| call.id.len() + call.name.len() + values::bytes(&call.arguments);
        content + others + self.tool_calls.iter().map(call).sum::<usize>()
    }

    fn extent(&self) -> Extent {
        let parts = match &self.content {
            Content::None => 0,
            Content::Text(_) => 1,
            Content::Parts(parts) => parts.len(),
        };
        let others = [&self.name, &self.reasoning, &self.tool_call_id];
        let others = others.into_iter().flatten().count();
        let mut extent = Extent { texts: parts + others, json_bytes: 0 };
        for call in &self.tool_calls {
            extent.texts += 2;
            extent.add_value(&call.arguments, 0);
        }
        extent
    }
}

/// What a prompt is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The messages, the oldest first.
    pub messages: Vec<Message>,
    /// The functions that the model may call, each as `{"type": "function", "function": …}`.
    pub tools: Vec<Value>,
    /// Names that the template may look at, beside those that it always has. They are data: none
    /// of them is read as a template.
    pub arguments: Map<String, Value>,
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }
}

impl Conversation {
    /// Every text of the caller's that can reach the prompt, names of fields among them.
    pub fn texts(&self) -> Vec<Cow<'_, str>> {
        let mut texts = Vec::new();
        for message in &self.messages {
            message.collect_texts(&mut texts);
        }
        for tool in &self.tools {
            values::collect(tool, None, &mut texts);
        }
        for (name, value) in &self.arguments {
            values::collect(value, Some(name), &mut texts);
        }
        texts
    }

    /// The conversation with other texts in the place of its own; `replace` sees each by itself.
    #[must_use]
    pub fn with_texts(&self, replace: &mut dyn FnMut(&str) -> String) -> Self {
        self.replaced(Seen::Alone, replace)
    }

    /// The same; `replace` sees them as `texts` gives them, in that order, and gives values back with the
    /// names that they came with.
    #[must_use]
    pub fn with_named_texts(&self, replace: &mut dyn FnMut(&str) -> String) -> Self {
        self.replaced(Seen::Named(None), replace)
    }

    fn replaced(&self, seen: Seen<'_>, replace: &mut Replace<'_>) -> Self {
        let messages = self.messages.iter().map(|message| message.replaced(seen, replace));
        let messages = messages.collect();
        let tools = self.tools.iter().map(|tool| values::replaced(tool, seen, replace)).collect();
        let mut arguments = Map::with_capacity(self.arguments.len());
        for (name, value) in &self.arguments {
            let seen = match seen {
                Seen::Alone => Seen::Alone,
                Seen::Named(_) => Seen::Named(Some(Name { old: name, new: name })),
            };
            arguments.insert(name.clone(), values::replaced(value, seen, replace));
        }
        Self { messages, tools, arguments }
    }

    /// How much there is in each part, for a guard to look through: in each message, each tool, and each
    /// argument of the template.
    pub fn extents(&self) -> impl Iterator<Item = (Part, Extent)> {
        let of = |value: &Value, name: &str| {
            let mut extent = Extent::default();
            extent.add_value(value, name.len());
            extent
        };
        let messages = self.messages.iter().map(|message| (Part::Message, message.extent()));
        let tools = self.tools.iter().map(move |tool| (Part::Tool, of(tool, "")));
        let arguments = self.arguments.iter();
        let arguments = arguments.map(move |(name, value)| (Part::Argument, of(value, name)));
        messages.chain(tools).chain(arguments)
    }

    /// Whether tools are offered, called or answered in it.
    pub fn has_tools(&self) -> bool {
        let has = |one: &Message| one.role == Role::Tool || !one.tool_calls.is_empty();
        !self.tools.is_empty() || self.messages.iter().any(has)
    }

    /// How many bytes all texts have together.
    pub fn bytes(&self) -> usize {
        let values = self.tools.iter().chain(self.arguments.values());
        let messages = self.messages.iter().map(Message::bytes);
        messages.chain(values.map(values::bytes)).sum()
    }
}

/// What a conversation has several of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A message.
    Message,
    /// A tool.
    Tool,
    /// An argument of the template.
    Argument,
}

/// Every text of a JSON value, as the guard sees them: names of fields, and texts and numbers with the nearest
/// name.
pub(super) fn texts(value: &Value) -> Vec<Cow<'_, str>> {
    let mut texts = Vec::new();
    values::collect(value, None, &mut texts);
    texts
}

/// How many bytes the texts of a JSON value have.
pub(super) fn bytes(value: &Value) -> usize {
    values::bytes(value)
}

/// How much there is in these texts and this JSON value for a guard to look through.
pub(super) fn extent(texts: usize, value: Option<&Value>) -> Extent {
    let mut extent = Extent { texts, json_bytes: 0 };
    if let Some(value) = value {
        extent.add_value(value, 0);
    }
    extent
}

/// A JSON value with other texts in the place of its own, which `replace` sees as `texts` gives them.
pub(super) fn with_named_texts(value: &Value, replace: &mut dyn FnMut(&str) -> String) -> Value {
    values::replaced(value, Seen::Named(None), replace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_text_of_a_conversation_is_left_out_and_the_order_is_one() {
        let mut call = Message::new(Role::Assistant, Content::Parts(vec!["1".into(), "2".into()]));
        call.name = Some("3".into());
        call.reasoning = Some("4".into());
        call.tool_calls = vec![ToolCall {
            id: "5".into(),
            name: "6".into(),
            arguments: json!({"7": ["8", {"9": true}], "10": null}),
        }];
        let mut result = Message::new(Role::Tool, "11");
        result.tool_call_id = Some("12".into());
        let conversation = Conversation {
            messages: vec![call, result, Message::new(Role::Assistant, Content::None)],
            tools: vec![json!({"13": ["14"]}), json!("15")],
            arguments: Map::from_iter([("language".to_owned(), json!(["16"]))]),
        };
        let expected: Vec<String> = (1..=16).map(|number: i32| number.to_string()).collect();
        let mut seen = Vec::new();
        let doubled = conversation.with_texts(&mut |text| {
            seen.push(text.to_owned());
            format!("{text}{text}")
        });
        assert_eq!(seen, expected);
        assert_eq!(doubled.bytes(), 2 * conversation.bytes());
        // For the guard, values go with their names.
        let named = |text: &String| match text.as_str() {
            "8" => "7: 8".to_owned(),
            "14" => "13: 14".to_owned(),
            "16" => "language: 16".to_owned(),
            _ => text.clone(),
        };
        let expected: Vec<String> = expected.iter().map(named).collect();
        assert_eq!(conversation.texts(), expected);
        let mut seen = Vec::new();
        let same = conversation.with_named_texts(&mut |text| {
            seen.push(text.to_owned());
            text.to_owned()
        });
        assert_eq!((seen, same), (expected, conversation.clone()));
        let counts = conversation.extents().map(|(part, extent)| (part, extent.texts));
        let (message, tool) = (Part::Message, Part::Tool);
        let expected =
            [(message, 10), (message, 2), (message, 0), (tool, 2), (tool, 1), (Part::Argument, 1)];
        assert_eq!(counts.collect::<Vec<_>>(), expected);
    }
}
