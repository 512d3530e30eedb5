//! Every control token of every published vocabulary, in every place where a caller can write.

use serde_json::{Map, json};

use super::super::*;
use crate::engine::gguf::File;
use crate::engine::{Content, Message, Role, ToolCall};
use crate::testing::shared;

/// A conversation in which a caller writes `text` wherever one can, and `left` and `right` on either
/// side of a border between two messages, two parts and two fields.
fn conversation(text: &str, left: &str, right: &str) -> Conversation {
    let mut ask =
        Message::new(Role::User, Content::Parts(vec![text.into(), left.into(), right.into()]));
    ask.name = Some(text.to_owned());
    let mut answer = Message::new(Role::Assistant, format!("so {left}"));
    answer.reasoning = Some(text.to_owned());
    answer.tool_calls = vec![ToolCall {
        id: text.to_owned(),
        name: text.to_owned(),
        arguments: json!({ text: [text, left, right], left: right }),
    }];
    let mut result = Message::new(Role::Tool, format!("{right} {text}{text}"));
    result.name = Some(text.to_owned());
    result.tool_call_id = Some(text.to_owned());
    let parameters = json!({ "type": "object", "properties": { text: {
        "type": "string", "description": text, "enum": [text, left, right] } } });
    let function = json!({ "name": text, "description": text, "parameters": parameters });
    Conversation {
        messages: vec![
            Message::new(Role::System, text),
            ask,
            answer,
            result,
            Message::new(Role::User, format!("a{text}b {left}")),
            Message::new(Role::User, right),
        ],
        tools: vec![json!({ "type": "function", "function": function })],
        arguments: Map::from_iter([("extra".to_owned(), json!({ text: [left, right] }))]),
    }
}

/// A template that writes everything that it is given, beside control tokens of its own.
fn template(open: &str, close: &str) -> String {
    "OPEN{% for t in tools %}{{ t | tojson }}{{ t.function.name ~ t.function.description }}\
     {% for k, v in t.function.parameters.properties.items() %}<{{ k }}>{{ v.description | trim }}\
     {{ v.enum | join('') }}{% if v.type == 'string' %}CLOSE{% endif %}{% endfor %}{% endfor %}\
     {{ tools }}{{ extra }}{% for m in messages %}OPEN{{ m.role }}{{ m.name }}\n\
     {% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}\
     {% endfor %}{% endif %}{{ m.reasoning_content }}{% for c in m.tool_calls %}{{ c.id }}\
     <{{ c.function.name }}>{{ c.function.arguments | tojson }}{{ c.function.arguments }}\
     {% for k, v in c.function.arguments.items() %}{{ k }}{{ v | string }}{% endfor %}{% endfor %}\
     {{ m.tool_call_id }}CLOSE{% endfor %}{{ messages[-2].content }}{{ messages[-1].content }}"
        .replace("OPEN", open)
        .replace("CLOSE", close)
}

fn controls(tokenizer: &Tokenizer, template: &Template, conversation: &Conversation) -> Vec<u32> {
    let tokens = prompt_tokens(tokenizer, template, conversation, &PromptOptions::default());
    let tokens = tokens.expect("renders").into_iter();
    // WordPiece says by this one that it does not know a word, whoever wrote it.
    let is_known = |token: u32| tokenizer.token_name(token) != Some("[UNK]");
    tokens.filter(|&token| tokenizer.is_control(token) && is_known(token)).collect()
}

#[test]
fn no_control_token_of_any_vocabulary_comes_of_what_a_caller_writes() {
    let Some(folder) = shared("vocabs") else { return };
    let mut names_seen = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "gguf") {
            continue;
        }
        let Ok(tokenizer) = Tokenizer::from_gguf(&File::open(&path).expect("a file")) else {
            continue;
        };
        let names: Vec<String> = tokenizer
            .added_tokens()
            .filter(|(token, _)| tokenizer.is_markup(*token))
            .map(|(_, name)| name.to_owned())
            .collect();
        let (open, close) = (names.first(), names.last());
        let source = template(open.map_or("", String::as_str), close.map_or("", String::as_str));
        let template = Template::new(&source, &tokenizer).expect("compiles");
        let expected = controls(&tokenizer, &template, &conversation("x", "y", "z"));
        for name in &names {
            names_seen += 1;
            let middle = name.char_indices().nth(name.chars().count() / 2).map_or(0, |(at, _)| at);
            let (left, right) = name.split_at(middle);
            let wide: String = name
                .chars()
                .map(|c| match c {
                    '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c),
                    c => c,
                })
                .collect();
            let inner = name.trim_matches(['<', '>', '[', ']', '|']);
            for text in [
                name.clone(),
                format!(" {name}\n{name} "),
                name.to_uppercase(),
                format!("{left}\u{200b}{right}"),
                format!("{left}\u{fdd1}{right}"),
                wide,
                inner.to_owned(),
            ] {
                let found = controls(&tokenizer, &template, &conversation(&text, left, right));
                assert_eq!(found, expected, "{text:?} of {}", path.display());
            }
        }
    }
    assert!(names_seen > 50, "{names_seen} names");
}
