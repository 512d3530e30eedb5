//! Tools for templates that know of none: the conversation tells of them in words, in the form that
//! most models have seen.

use serde_json::json;

use crate::engine::output::TOLD;
use crate::engine::{Conversation, Message, Role};

/// The conversation with its tools, calls and results as texts.
pub(in crate::engine) fn told(conversation: &Conversation) -> Conversation {
    let mut messages: Vec<Message> = Vec::new();
    for message in &conversation.messages {
        let told = as_text(message);
        match messages.last_mut() {
            // Results that follow each other, and a question behind them, are one turn.
            Some(last) if last.role == Role::User && told.role == Role::User => {
                last.content = format!("{}\n{}", last.content.text(), told.content.text()).into();
            }
            _ => messages.push(told),
        }
    }
    if !conversation.tools.is_empty() {
        let about = about(conversation);
        // Not every template takes a system message of its own.
        match messages.iter_mut().find(|one| matches!(one.role, Role::System | Role::User)) {
            Some(first) if first.role == Role::System => {
                first.content = format!("{}\n\n{about}", first.content.text()).into();
            }
            Some(first) => first.content = format!("{about}\n\n{}", first.content.text()).into(),
            None => messages.insert(0, Message::new(Role::User, about)),
        }
    }
    let arguments = conversation.arguments.clone();
    Conversation { messages, tools: Vec::new(), arguments }
}

fn about(conversation: &Conversation) -> String {
    let functions: Vec<String> =
        conversation.tools.iter().map(|tool| tool["function"].to_string()).collect();
    format!(
        "You can call these functions:\n{}\nTo call one, write:\n{}\n{{\"name\": <its name>, \"arguments\": <an object>}}\n{}",
        functions.join("\n"),
        TOLD.open,
        TOLD.close,
    )
}

fn as_text(message: &Message) -> Message {
    let mut told = message.clone();
    if message.role == Role::Tool {
        told.role = Role::User;
        told.tool_call_id = None;
        told.content =
            format!("<tool_response>\n{}\n</tool_response>", message.content.text()).into();
    }
    if !message.tool_calls.is_empty() {
        let mut lines = vec![message.content.text()];
        lines.retain(|text| !text.is_empty());
        for call in std::mem::take(&mut told.tool_calls) {
            let call = json!({"name": call.name, "arguments": call.arguments});
            lines.push(format!("{}\n{call}\n{}", TOLD.open, TOLD.close));
        }
        told.content = lines.join("\n").into();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ToolCall;

    #[test]
    fn tools_calls_and_results_become_texts_and_turns_take_turns() {
        let mut call = Message::new(Role::Assistant, "Let me see.");
        call.tool_calls =
            vec![ToolCall { id: "1".into(), name: "add".into(), arguments: json!({"a": 1}) }];
        let conversation = Conversation {
            messages: vec![
                Message::new(Role::User, "How much?"),
                call,
                Message::new(Role::Tool, "2"),
                Message::new(Role::Tool, "3"),
            ],
            tools: vec![json!({"type": "function", "function": {"name": "add"}})],
            ..Conversation::default()
        };
        let told = told(&conversation);
        let roles: Vec<Role> = told.messages.iter().map(|one| one.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
        let texts: Vec<String> = told.messages.iter().map(|one| one.content.text()).collect();
        assert!(texts[0].contains("{\"name\":\"add\"}") && texts[0].ends_with("How much?"));
        assert!(texts[1].contains("<tool_call>\n{\"name\":\"add\",\"arguments\":{\"a\":1}}"));
        assert!(texts[2].contains('2') && texts[2].contains('3'));
        assert!(!told.has_tools());
    }
}
