//! The shapes of bodies, held against what reads them.

use serde_json::{Value, json};

use super::*;
use crate::openai::fields::Fields;
use crate::openai::moderations::request as moderation_request;
use crate::openai::{chat_request, completion_request, text_request, token_request};
use crate::web::body::parse;

/// A body that is read, with what some of its parameters need.
fn body(table: Table) -> Value {
    let messages = json!([{"role": "user", "content": "a"}]);
    match table {
        Chat => json!({"messages": messages, "logprobs": true}),
        Completions => json!({"prompt": "a", "echo": true}),
        Responses | InputTokens | Embeddings | Moderations => json!({"input": "a"}),
        Rerank => json!({"query": "a", "documents": ["a"]}),
        Tokenize => json!({"prompt": "a"}),
        Detokenize => json!({"tokens": [1]}),
        Messages => json!({"messages": messages, "max_tokens": 1}),
        CountTokens => json!({"messages": messages}),
    }
}

/// The parameter at which a body is refused; none where it is read.
fn refused_at(table: Table, body: &Value) -> Option<String> {
    let fields: Fields = parse(body.to_string().as_bytes()).expect("well-formed");
    let read = match table {
        Chat => chat_request::read(fields).map(drop),
        Completions => completion_request::read(fields).map(drop),
        Responses => responses::check(fields),
        InputTokens => responses::check_count(fields),
        Embeddings => text_request::embeddings(fields).map(drop),
        Rerank => text_request::rerank(fields).map(drop),
        Tokenize => token_request::tokenize(fields).map(drop),
        Detokenize => token_request::detokenize(fields).map(drop),
        Moderations => moderation_request::read(fields).map(drop),
        Messages => anthropic::check(Asked::Message, fields),
        CountTokens => anthropic::check(Asked::Count, fields),
    };
    read.err().map(|error| error.at_fault().unwrap_or("nothing").to_owned())
}

fn properties(table: Table) -> Map<String, Value> {
    table.schema()["properties"].as_object().expect("an object").clone()
}

#[test]
fn every_row_of_a_table_is_a_property_and_every_honoured_one_has_a_shape() {
    for table in Table::ALL {
        let properties = properties(table);
        let rows = table.rows();
        assert_eq!(rows.len(), properties.len(), "{table:?}");
        for row in &rows {
            assert!(properties.contains_key(row.name), "{table:?}: {}", row.name);
            let is_honoured = matches!(row.treatment, Honoured | Extension);
            let has_shape = table.shape(row.name).is_some();
            assert!(has_shape || !is_honoured, "{table:?}: `{}` has no shape here", row.name);
        }
        for name in table.required() {
            assert!(properties.contains_key(*name), "{table:?}: {name}");
        }
    }
}

#[test]
fn what_is_required_is_missed_and_nothing_else_is() {
    for table in Table::ALL {
        let whole = body(table);
        assert_eq!(refused_at(table, &whole), None, "{table:?}");
        for name in table.required() {
            let mut less = whole.clone();
            less.as_object_mut().expect("an object").remove(*name);
            assert_eq!(refused_at(table, &less).as_deref(), Some(*name), "{table:?}");
        }
        for name in properties(table).keys().filter(|name| whole.get(name.as_str()).is_none()) {
            let mut more = whole.clone();
            more[name] = Value::Null;
            assert_eq!(refused_at(table, &more), None, "{table:?}: {name}: null");
        }
        let mut more = whole.clone();
        more["colour"] = Value::Null;
        assert_eq!(refused_at(table, &more).as_deref(), Some("colour"), "{table:?}");
    }
}

#[test]
fn the_bounds_of_numbers_are_those_at_which_they_are_refused() {
    let mut count = 0;
    for table in Table::ALL {
        for (name, shape) in properties(table) {
            let (Some(least), Some(most)) = (shape.get("minimum"), shape.get("maximum")) else {
                continue;
            };
            count += 1;
            let with = |value: Value| {
                let mut body = body(table);
                body[&name] = value;
                refused_at(table, &body)
            };
            for value in [least, most] {
                assert_eq!(with(value.clone()), None, "{table:?}: {name}: {value}");
            }
            let beyond = match (least.as_i64(), most.as_i64()) {
                (Some(least), Some(most)) => {
                    [least.checked_sub(1), most.checked_add(1)].map(|value| value.map(Value::from))
                }
                _ => [least.as_f64().map(|it| it - 0.01), most.as_f64().map(|it| it + 0.01)]
                    .map(|value| value.map(Value::from)),
            };
            for value in beyond.into_iter().flatten() {
                assert_eq!(with(value.clone()), Some(name.clone()), "{table:?}: {value}");
            }
        }
    }
    assert!(count > 50, "{count} numbers");
}

#[test]
fn lists_and_texts_end_where_they_are_refused() {
    let words = |count: usize| vec!["a"; count];
    let messages = |count: usize| vec![json!({"role": "user", "content": "a"}); count];
    let function = |at: usize| json!({"type": "function", "function": {"name": format!("f{at}")}});
    let tools = |count: usize| (0..count).map(function).collect::<Vec<_>>();
    for (table, name, most, of) in [
        (Chat, "messages", 4096, &(|count| json!(messages(count))) as &dyn Fn(usize) -> Value),
        (Chat, "tools", 128, &|count| json!(tools(count))),
        (Chat, "stop", 16, &|count| json!(words(count))),
        (Chat, "dry_sequence_breakers", 64, &|count| json!(words(count))),
        (Completions, "prompt", 32, &|count| json!(words(count))),
        (Chat, "guided_choice", 1024, &|count| json!(words(count))),
        (Messages, "messages", 4096, &|count| json!(messages(count))),
        (Embeddings, "input", 2048, &|count| json!(words(count))),
        (Moderations, "input", 2048, &|count| json!(words(count))),
        (Rerank, "documents", 2048, &|count| json!(words(count))),
    ] {
        let shape = table.shape(name).expect(name).to_string();
        assert!(shape.contains(&format!("\"maxItems\":{most}")), "{table:?}: {name}: {shape}");
        let with = |count: usize| {
            let mut body = body(table);
            body[name] = of(count);
            refused_at(table, &body)
        };
        assert_eq!(with(most), None, "{table:?}: {name}");
        assert!(with(most + 1).is_some(), "{table:?}: {name}");
    }
    for (name, most) in [("model", 256), ("stop", 256)] {
        let mut body = body(Chat);
        body[name] = "a".repeat(most).into();
        assert_eq!(refused_at(Chat, &body), None, "{name}");
        body[name] = "a".repeat(most + 1).into();
        assert_eq!(refused_at(Chat, &body).as_deref(), Some(name));
    }
}

#[test]
fn texts_and_tokens_may_stand_beside_each_other_in_a_prompt() {
    let with = |prompt: Value| refused_at(Completions, &json!({ "prompt": prompt }));
    for prompt in [json!("a"), json!([1, 2]), json!(["a", [1, 2]]), json!([[1], "a"])] {
        assert_eq!(with(prompt.clone()), None, "{prompt}");
    }
    for prompt in [json!([]), json!([[]]), json!(["a", 1]), json!([1, "a"]), json!([[["a"]]])] {
        assert_eq!(with(prompt.clone()).as_deref(), Some("prompt"), "{prompt}");
    }
    // No answer at all is right where the prompt is one.
    let none = |echo: bool| json!({"prompt": "a", "max_tokens": 0, "echo": echo});
    assert_eq!(refused_at(Completions, &none(true)), None);
    assert_eq!(refused_at(Completions, &none(false)).as_deref(), Some("max_tokens"));
}

#[test]
fn every_degree_of_thinking_that_the_shape_names_is_read() {
    let shape = Chat.shape("reasoning_effort").expect("a shape");
    let degrees = shape["enum"].as_array().expect("a list").clone();
    let with = |degree: Value| {
        let mut body = body(Chat);
        body["reasoning_effort"] = degree;
        refused_at(Chat, &body)
    };
    assert!(degrees.len() > 3, "{shape}");
    for degree in degrees {
        assert_eq!(with(degree.clone()), None, "{degree}");
    }
    assert_eq!(with(json!("huge")).as_deref(), Some("reasoning_effort"));
}
