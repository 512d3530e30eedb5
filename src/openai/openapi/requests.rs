//! The shapes of request bodies, made from the tables of parameters: a parameter that has no effect, or of
//! which only some values are taken, has its shape from its row; what is honoured has one here, by its name.
//! A shape is never narrower than what is read: whatever it excludes is refused.

use serde_json::{Map, Value, json};

use crate::openai::anthropic::{self, Asked};
use crate::openai::parameters::Treatment::{Extension, Honoured, Only, WithoutEffect};
use crate::openai::parameters::{Endpoint, PARAMETERS, Parameter};
use crate::openai::responses;
use crate::openai::template_arguments::EFFORTS;
use crate::openai::text_parameters::{DETOKENIZE, EMBEDDINGS, MODERATIONS, RERANK, TOKENIZE};

/// A body, by the table that says what may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Chat,
    Completions,
    Responses,
    InputTokens,
    Embeddings,
    Rerank,
    Tokenize,
    Detokenize,
    Moderations,
    Messages,
    CountTokens,
}

use Table::{
    Chat, Completions, CountTokens, Detokenize, Embeddings, InputTokens, Messages, Moderations,
    Rerank, Responses, Tokenize,
};

impl Table {
    /// Every one.
    pub(super) const ALL: [Self; 11] = [
        Chat,
        Completions,
        Responses,
        InputTokens,
        Embeddings,
        Rerank,
        Tokenize,
        Detokenize,
        Moderations,
        Messages,
        CountTokens,
    ];

    /// The name of the shape.
    pub(super) fn name(self) -> &'static str {
        match self {
            Chat => "ChatCompletionRequest",
            Completions => "CompletionRequest",
            Responses => "ResponseRequest",
            InputTokens => "InputTokenCountRequest",
            Embeddings => "EmbeddingRequest",
            Rerank => "RerankRequest",
            Tokenize => "TokenizeRequest",
            Detokenize => "DetokenizeRequest",
            Moderations => "ModerationRequest",
            Messages => "MessageRequest",
            CountTokens => "TokenCountRequest",
        }
    }

    /// Its rows.
    pub(super) fn rows(self) -> Vec<Parameter> {
        let on = |endpoint| {
            PARAMETERS.iter().filter(move |row| row.on.contains(&endpoint)).copied().collect()
        };
        match self {
            Chat => on(Endpoint::Chat),
            Completions => on(Endpoint::Completions),
            Responses => responses::rows(),
            InputTokens => responses::rows_of_counts(),
            Embeddings => EMBEDDINGS.to_vec(),
            Rerank => RERANK.to_vec(),
            Tokenize => TOKENIZE.to_vec(),
            Detokenize => DETOKENIZE.to_vec(),
            Moderations => MODERATIONS.to_vec(),
            Messages => anthropic::rows(Asked::Message),
            CountTokens => anthropic::rows(Asked::Count),
        }
    }

    /// What must stand there.
    fn required(self) -> &'static [&'static str] {
        match self {
            Chat | CountTokens => &["messages"],
            Completions => &["prompt"],
            Responses | InputTokens | Embeddings | Moderations => &["input"],
            Rerank => &["query", "documents"],
            Tokenize => &[],
            Detokenize => &["tokens"],
            Messages => &["messages", "max_tokens"],
        }
    }

    /// The shape of the body.
    pub(super) fn schema(self) -> Value {
        let rows = self.rows();
        let properties: Map<String, Value> =
            rows.iter().map(|row| (row.name.to_owned(), self.property(row))).collect();
        json!({
            "type": "object",
            "properties": properties,
            "required": self.required(),
            "additionalProperties": false,
        })
    }

    fn property(self, row: &Parameter) -> Value {
        let mut shape = match row.treatment {
            Honoured | Extension => {
                let shape = self.shape(row.name).unwrap_or_else(|| json!({}));
                // Clients write `null` into what they leave open.
                if self.required().contains(&row.name) { shape } else { nullable(shape) }
            }
            Only(values, _) => {
                let values = values.iter().filter_map(|text| serde_json::from_str(text).ok());
                json!({ "enum": values.chain([Value::Null]).collect::<Vec<_>>() })
            }
            WithoutEffect(_) => json!({}),
        };
        let happens = match row.treatment {
            Honoured => String::new(),
            other => format!(" ({})", other.describe()),
        };
        shape["description"] = format!("{}{happens}", row.accepts).into();
        shape["x-treatment"] = row.treatment.word().into();
        shape
    }

    /// The shape of a parameter that is honoured; none where nobody has written it down.
    fn shape(self, name: &str) -> Option<Value> {
        let of_this = match (self, name) {
            (Chat | Tokenize, "messages") => list(&shape("ChatMessage"), 1, 4096),
            (Messages | CountTokens, "messages") => list(&shape("MessageParam"), 1, 4096),
            (Completions, "prompt") => {
                let tokens = list(&token(), 1, i64::MAX);
                let each = any(&[text(), tokens.clone()]);
                any(&[text(), tokens, list(&each, 1, 32)])
            }
            // None at all is right with `echo` alone.
            (Completions, "max_tokens") => whole(0, u32::MAX.into()),
            (Responses | InputTokens, "input") => {
                any(&[text(), list(&shape("InputItem"), 1, 4096)])
            }
            (Embeddings, "input") => {
                let tokens = list(&token(), 1, i64::MAX);
                any(&[text_of(1, 0), tokens.clone(), list(&any(&[text_of(1, 0), tokens]), 1, 2048)])
            }
            (Moderations, "input") => {
                any(&[text(), list(&text(), 1, 2048), list(&shape("ModerationPart"), 1, 2048)])
            }
            (Chat | Tokenize, "tools") => list(&shape("Tool"), 0, 128),
            (Responses | InputTokens, "tools") => list(&shape("ResponsesTool"), 0, 128),
            (Messages | CountTokens, "tools") => list(&shape("MessagesTool"), 0, 128),
            (Chat, "tool_choice") => shape("ToolChoice"),
            (Responses | InputTokens, "tool_choice") => shape("ResponsesToolChoice"),
            (Messages | CountTokens, "tool_choice") => shape("MessagesToolChoice"),
            (Completions, "logprobs") => whole(0, 5),
            (Chat, "logprobs") => truth(),
            (Responses, "stream_options") => options(&["include_obfuscation"]),
            _ => return in_common(name),
        };
        Some(of_this)
    }
}

/// The shape of a number that is the same wherever it stands.
fn number_in_common(name: &str) -> Option<Value> {
    Some(match name {
        "max_tokens" | "max_completion_tokens" | "max_output_tokens" | "top_n" => {
            whole(1, u32::MAX.into())
        }
        "n" | "best_of" => whole(1, 128),
        "top_logprobs" => whole(0, 20),
        "top_k" => whole(0, 1_000_000),
        "dimensions" => whole(1, 65_536),
        "seed" => whole(i64::MIN, i64::MAX),
        "repeat_last_n" | "dry_penalty_last_n" => whole(-1, 100_000_000),
        "dry_allowed_length" => whole(1, 100_000_000),
        "temperature" => number(0.0, 2.0),
        "top_p" | "min_p" => number(0.0, 1.0),
        "typical_p" => json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 1 }),
        "presence_penalty" | "frequency_penalty" => number(-2.0, 2.0),
        "repetition_penalty" => number(0.1, 10.0),
        "dry_multiplier" => number(0.0, 100.0),
        "dry_base" => number(1.0, 100.0),
        _ => return None,
    })
}

/// The shape of a parameter that is the same wherever it stands.
fn in_common(name: &str) -> Option<Value> {
    Some(match name {
        "model" => {
            let mut model = text_of(1, 256);
            model["examples"] = json!(["guide"]);
            model
        }
        "prompt" | "content" | "instructions" => text(),
        "query" | "guided_regex" | "guided_grammar" => text_of(1, 0),
        "previous_response_id" => text_of(1, 128),
        "stream"
        | "store"
        | "parallel_tool_calls"
        | "enable_thinking"
        | "echo"
        | "truncate"
        | "return_documents"
        | "add_special_tokens"
        | "add_special"
        | "parse_special"
        | "return_token_strs"
        | "with_pieces"
        | "add_generation_prompt" => truth(),
        "stream_options" => options(&["include_usage", "include_obfuscation"]),
        "dry_sequence_breakers" => list(&text_of(1, 64), 0, 64),
        "stop" | "stop_sequences" => any(&[text_of(1, 256), list(&text_of(1, 256), 0, 16)]),
        "logit_bias" => json!({
            "type": "object", "maxProperties": 1024, "propertyNames": { "pattern": "^[0-9]+$" },
            "additionalProperties": number(-100.0, 100.0),
        }),
        "chat_template_kwargs" => json!({
            "type": "object", "maxProperties": 32,
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$" },
        }),
        "metadata" => json!({
            "type": "object", "maxProperties": 16, "propertyNames": { "maxLength": 64 },
            "additionalProperties": text_of(0, 512),
        }),
        "encoding_format" => json!({ "enum": ["float", "base64"] }),
        "truncation" => json!({ "enum": ["disabled", "auto"] }),
        "reasoning_effort" => {
            json!({ "enum": EFFORTS })
        }
        "include" => {
            let names = json!(["message.output_text.logprobs", "reasoning.encrypted_content"]);
            json!({ "type": "array", "items": { "enum": names } })
        }
        "documents" => {
            let document = json!({
                "type": "object", "properties": { "text": text() }, "required": ["text"],
                "additionalProperties": { "type": "null" },
            });
            list(&any(&[text(), document]), 1, 2048)
        }
        "tokens" => list(&token(), 0, 262_144),
        "response_format" => shape("ResponseFormat"),
        "structured_outputs" => shape("StructuredOutputs"),
        "guided_json" => json!({ "type": ["object", "string"] }),
        "guided_choice" => list(&text_of(1, 0), 1, 1024),
        "text" => shape("ResponsesText"),
        "reasoning" => shape("Reasoning"),
        "system" => any(&[text(), list(&shape("TextBlock"), 0, 4096)]),
        "thinking" => shape("Thinking"),
        "output_config" => shape("OutputConfig"),
        _ => return number_in_common(name),
    })
}

/// The shape of this name.
pub(super) fn shape(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// A text of so many characters; 0: no bound above. Where bytes are counted, it has no more of these.
fn text_of(least: u32, most: u32) -> Value {
    let mut shape = json!({ "type": "string", "minLength": least });
    if most > 0 {
        shape["maxLength"] = most.into();
    }
    shape
}

fn truth() -> Value {
    json!({ "type": "boolean" })
}

fn whole(least: i64, most: i64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn number(least: f64, most: f64) -> Value {
    json!({ "type": "number", "minimum": least, "maximum": most })
}

/// The number of a token.
fn token() -> Value {
    whole(0, u32::MAX.into())
}

/// A list; `i64::MAX`: of any length.
fn list(of: &Value, least: i64, most: i64) -> Value {
    let mut shape = json!({ "type": "array", "items": of, "minItems": least });
    if most < i64::MAX {
        shape["maxItems"] = most.into();
    }
    shape
}

fn any(of: &[Value]) -> Value {
    json!({ "anyOf": of })
}

/// An object of truth values, where `null` is none.
fn options(names: &[&str]) -> Value {
    let properties: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), nullable(truth()))).collect();
    json!({
        "type": "object", "properties": properties, "additionalProperties": { "type": "null" },
    })
}

/// The same, or `null`.
fn nullable(mut shape: Value) -> Value {
    if let Some(values) = shape.get_mut("enum").and_then(Value::as_array_mut) {
        values.push(Value::Null);
        return shape;
    }
    if let Some(all) = shape.get_mut("anyOf").and_then(Value::as_array_mut) {
        all.push(json!({ "type": "null" }));
        return shape;
    }
    match shape.get("type").cloned() {
        Some(Value::Array(mut kinds)) => {
            kinds.push("null".into());
            shape["type"] = kinds.into();
            shape
        }
        Some(kind) => {
            shape["type"] = json!([kind, "null"]);
            shape
        }
        None => any(&[shape, json!({ "type": "null" })]),
    }
}

#[cfg(test)]
mod tests;
