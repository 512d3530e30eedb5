//! A conversation as data: what a chat template gives its form. Knows no template and no wire format.

use std::borrow::Cow;

use serde_json::{Map, Value};

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

    /// The message with other texts in the place of its own; `replace` sees them in the order of
    /// `Conversation::texts`.
    #[must_use]
    pub fn with_texts(&self, replace: &mut dyn FnMut(&str) -> String) -> Self {
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
                    arguments: with_texts(&call.arguments, replace),
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
            collect_texts(&call.arguments, texts);
        }
        texts.extend(self.tool_call_id.as_deref().map(Cow::from));
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
            collect_texts(tool, &mut texts);
        }
        for value in self.arguments.values() {
            collect_texts(value, &mut texts);
        }
        texts
    }

    /// The conversation with other texts in the place of its own; `replace` sees them in the order
    /// of `texts`.
    #[must_use]
    pub fn with_texts(&self, replace: &mut dyn FnMut(&str) -> String) -> Self {
        let arguments = self.arguments.iter();
        Self {
            messages: self.messages.iter().map(|message| message.with_texts(replace)).collect(),
            tools: self.tools.iter().map(|tool| with_texts(tool, replace)).collect(),
            arguments: arguments
                .map(|(name, value)| (name.clone(), with_texts(value, replace)))
                .collect(),
        }
    }

    /// Whether tools are offered, called or answered in it.
    pub fn has_tools(&self) -> bool {
        let has = |one: &Message| one.role == Role::Tool || !one.tool_calls.is_empty();
        !self.tools.is_empty() || self.messages.iter().any(has)
    }

    /// How many bytes all texts have together.
    pub fn bytes(&self) -> usize {
        self.texts().iter().map(|text| text.len()).sum()
    }
}

/// A JSON value with other texts in the place of its own. Its depth is bounded by its parser. A number
/// whose text is another one becomes that text.
pub(super) fn with_texts(value: &Value, replace: &mut dyn FnMut(&str) -> String) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(number) => {
            let text = number.to_string();
            let replaced = replace(&text);
            if replaced == text { value.clone() } else { Value::String(replaced) }
        }
        Value::String(text) => Value::String(replace(text)),
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| with_texts(item, replace)).collect())
        }
        Value::Object(fields) => {
            let mut replaced = Map::with_capacity(fields.len());
            for (name, value) in fields {
                let new_name = replace(name);
                let value = match value {
                    Value::String(text) => {
                        let both = replace(&named(name, text));
                        let rest = |name: &&str| both.strip_prefix(*name)?.strip_prefix(NAMED);
                        let text = [name.as_str(), &new_name].iter().find_map(rest);
                        Value::String(text.unwrap_or(&both).to_owned())
                    }
                    other => with_texts(other, replace),
                };
                replaced.insert(new_name, value);
            }
            Value::Object(replaced)
        }
    }
}

/// What stands between a name and its text.
const NAMED: &str = ": ";

/// A text of a field with its name: `hunter2` is a secret where it is the `password`.
fn named(name: &str, text: &str) -> String {
    [name, NAMED, text].concat()
}

/// Every text of a JSON value: names of fields, texts with the name of their field, numbers.
pub(super) fn texts(value: &Value) -> Vec<Cow<'_, str>> {
    let mut texts = Vec::new();
    collect_texts(value, &mut texts);
    texts
}

fn collect_texts<'a>(value: &'a Value, texts: &mut Vec<Cow<'a, str>>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => texts.push(number.to_string().into()),
        Value::String(text) => texts.push(text.into()),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(fields) => {
            for (name, value) in fields {
                texts.push(name.into());
                match value {
                    Value::String(text) => texts.push(named(name, text).into()),
                    other => collect_texts(other, texts),
                }
            }
        }
    }
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
        assert_eq!(conversation.texts(), expected);
        let mut seen = Vec::new();
        let doubled = conversation.with_texts(&mut |text| {
            seen.push(text.to_owned());
            format!("{text}{text}")
        });
        assert_eq!(seen, expected);
        assert_eq!(doubled.texts(), expected.iter().map(|text| text.repeat(2)).collect::<Vec<_>>());
        assert_eq!(doubled.bytes(), 2 * conversation.bytes());
    }

    #[test]
    fn a_text_is_seen_with_the_name_of_its_field_and_a_number_as_a_text() {
        let value = json!({"password": "hunter2", "card": 4_111_111_111_111_111_u64, "n": [1.5]});
        let expected = ["password", "password: hunter2", "card", "4111111111111111", "n", "1.5"];
        assert_eq!(texts(&value), expected);
        assert_eq!(with_texts(&value, &mut str::to_owned), value);
        let hidden = with_texts(&value, &mut |text| {
            text.replace("hunter2", "[secret]").replace("4111111111111111", "[card]")
        });
        assert_eq!(hidden, json!({"password": "[secret]", "card": "[card]", "n": [1.5]}));
        // What takes the name along with the text leaves nothing of the text.
        let whole = with_texts(&value, &mut |text| text.replace("password: hunter2", "[both]"));
        assert_eq!(whole["password"], "[both]");
    }
}
