//! The body of `/v1/responses` becomes a request to the gate, and what the answer repeats of it.

use serde_json::{Map, Value, json};

use super::answer::Echo;
use super::input::{self, Given};
use super::items::{self, Item};
use super::{parameters, tools};
use crate::engine::{Conversation, Grammar};
use crate::gate::{ExchangeRequest, HeldTo, Input, Purpose, ReadAsk, TokenInput};
use crate::openai::fields::{Fields, wrong};
use crate::openai::{common, held_to, template_arguments};
use crate::web::{ApiError, ErrorCode};

const TOP_LOGPROBS_MAX: i64 = 20;
const ID_BYTES_MAX: usize = 128;
const PAIRS_MAX: usize = 16;
const KEY_CHARS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 512;
const LOGPROBS: &str = "message.output_text.logprobs";

/// What somebody asks for.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// What the model is to go on from, without what went before.
    pub(super) input: Vec<Given>,
    /// The response that it goes on from.
    pub(super) previous: Option<String>,
    /// Whether the response is to be kept, where that was said.
    pub(super) stores: Option<bool>,
    /// What the answer repeats.
    pub(super) echo: Echo,
    /// Whether the answer comes in events.
    pub(super) is_streamed: bool,
    /// All but the messages.
    exchange: ExchangeRequest,
}

impl Ask {
    /// The model that was named.
    pub(super) fn model(&self) -> Option<&str> {
        self.exchange.model.as_deref()
    }

    /// The request to count the tokens of all that.
    pub(super) fn tokens(self, before: &[Item], input: &[Item]) -> ReadAsk {
        let ExchangeRequest { model, input, .. } = self.exchange(before, input);
        let conversation = match input {
            Input::Conversation(conversation) => conversation,
            // A response is one always.
            _ => Conversation::default(),
        };
        let input = TokenInput::Conversation { conversation, opens_answer: true };
        ReadAsk { model, input, with_pieces: false }
    }

    /// The request to the gate: with these items, and after those that went before.
    pub(super) fn exchange(&self, before: &[Item], input: &[Item]) -> ExchangeRequest {
        let mut request = self.exchange.clone();
        if let Input::Conversation(conversation) = &mut request.input {
            let instructions = self.echo.instructions.as_deref();
            conversation.messages = items::messages(instructions, before.iter().chain(input));
        }
        request
    }
}

/// Reads the body of a count.
pub(super) fn count(mut fields: Fields) -> Result<Ask, ApiError> {
    parameters::check_count(&mut fields)?;
    read_all(fields)
}

/// Reads the body.
pub(super) fn read(mut fields: Fields) -> Result<Ask, ApiError> {
    refuse_prewarming(&fields)?;
    parameters::check(&mut fields)?;
    read_all(fields)
}

fn read_all(mut fields: Fields) -> Result<Ask, ApiError> {
    let (tools, asked) = tools::read(&mut fields)?;
    let (arguments, reasoning) = thinking(&mut fields)?;
    let (held_to, text) = text(&mut fields)?;
    let number = |name: &str| fields.peek(name).and_then(Value::as_f64).unwrap_or(1.0);
    let (temperature, top_p) = (number("temperature"), number("top_p"));
    let (logprobs, top_logprobs) = logprobs(&mut fields)?;
    let max_tokens = common::tokens_max(&mut fields, "max_output_tokens")?;
    let previous = previous(&mut fields)?;
    let stores = fields.truth("store")?;
    let truncation = word(&mut fields, "truncation", &["disabled", "auto"])?;
    let drops_oldest = truncation.as_deref() == Some("auto");
    let echo = Echo {
        background: false,
        instructions: fields.text("instructions")?,
        max_output_tokens: max_tokens,
        max_tool_calls: None,
        metadata: metadata(&mut fields)?,
        parallel_tool_calls: asked.parallel_tool_calls,
        previous_response_id: previous.clone(),
        reasoning,
        service_tier: "default",
        store: false,
        temperature,
        text,
        tool_choice: asked.tool_choice,
        tools: asked.tools,
        top_logprobs,
        top_p,
        truncation: if drops_oldest { "auto" } else { "disabled" },
    };
    let conversation = Conversation { tools: tools.offered, arguments, ..Conversation::default() };
    let exchange = ExchangeRequest {
        purpose: Purpose::Api,
        model: common::model(&mut fields)?,
        input: Input::Conversation(conversation),
        tools: tools.rules,
        takes_apart: true,
        drops_oldest,
        max_tokens,
        choices: 1,
        echoes: false,
        sampling: common::sampling(&mut fields)?,
        held_to,
        stop: common::stop(&mut fields, "stop")?,
        logprobs,
    };
    let is_streamed = streamed(&mut fields)?;
    let input = input::read(&mut fields)?;
    Ok(Ask { input, previous, stores, echo, is_streamed, exchange })
}

/// Whether a body is read.
#[cfg(test)]
pub(in crate::openai) fn check(fields: Fields) -> Result<(), ApiError> {
    read(fields).map(drop)
}

/// The same of a count.
#[cfg(test)]
pub(in crate::openai) fn check_count(fields: Fields) -> Result<(), ApiError> {
    count(fields).map(drop)
}

fn previous(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    const NAME: &str = "previous_response_id";
    match fields.text(NAME)? {
        Some(id) if !(1..=ID_BYTES_MAX).contains(&id.len()) => {
            Err(wrong(NAME, "the id of a response"))
        }
        id => Ok(id),
    }
}

/// What asks for a full cache and no answer would get one, if it were left out in silence.
fn refuse_prewarming(fields: &Fields) -> Result<(), ApiError> {
    const NAME: &str = "prompt_cache_options";
    let asks = fields.peek(NAME).and_then(|options| options.get("prewarm"));
    if asks.is_some_and(|asks| *asks != Value::Bool(false) && !asks.is_null()) {
        let path = format!("{NAME}.prewarm");
        return Err(unsupported(&path, "every request is answered"));
    }
    Ok(())
}

/// A value that this server does nothing for.
pub(super) fn unsupported(path: &str, reason: &str) -> ApiError {
    ApiError::new(ErrorCode::UnsupportedParameter)
        .message(format!("`{path}` with this value is not supported: {reason}."))
        .param(path)
}

/// Reads `stream` and `stream_options`.
fn streamed(fields: &mut Fields) -> Result<bool, ApiError> {
    let is_streamed = fields.truth("stream")?.unwrap_or(false);
    if let Some(options) = fields.take("stream_options") {
        let mut options = Fields::nested("stream_options".into(), options)?;
        options.truth("include_obfuscation")?;
        options.nothing_left()?;
    }
    Ok(is_streamed)
}

/// Reads what is told to the chat template, and how the answer repeats it.
fn thinking(fields: &mut Fields) -> Result<(Map<String, Value>, Value), ApiError> {
    let mut arguments = template_arguments::read(fields)?;
    let mut effort = None;
    if let Some(value) = fields.take("reasoning") {
        let mut asked = Fields::nested("reasoning".into(), value)?;
        effort = word(&mut asked, "effort", template_arguments::EFFORTS)?;
        for name in ["summary", "generate_summary"] {
            word(&mut asked, name, &["auto", "concise", "detailed"])?;
        }
        for (name, only) in [("context", "auto"), ("mode", "standard")] {
            let path = asked.path(name);
            if asked.text(name)?.is_some_and(|asked| asked != only) {
                let reason = format!(
                    "what the model sees of earlier thoughts, its chat template says; accepted: `{only}`"
                );
                return Err(unsupported(&path, &reason));
            }
        }
        asked.nothing_left()?;
    }
    if let Some(effort) = &effort {
        template_arguments::add_effort(&mut arguments, effort);
    }
    Ok((arguments, json!({ "effort": effort, "summary": null })))
}

/// Reads one of several words.
fn word(fields: &mut Fields, name: &str, words: &[&str]) -> Result<Option<String>, ApiError> {
    let path = fields.path(name);
    match fields.text(name)? {
        Some(text) if !words.contains(&&*text) => {
            Err(wrong(&path, &format!("`{}`", words.join("`, `"))))
        }
        text => Ok(text),
    }
}

/// Reads what the answer is held to, and how the answer repeats it.
fn text(fields: &mut Fields) -> Result<(Option<HeldTo>, Value), ApiError> {
    let mut format = json!({ "type": "text" });
    let mut held = None;
    if let Some(value) = fields.take("text") {
        let mut text = Fields::nested("text".into(), value)?;
        if word(&mut text, "verbosity", &["low", "medium", "high"])?
            .is_some_and(|it| it != "medium")
        {
            return Err(unsupported("text.verbosity", "ask for it in the instructions"));
        }
        if let Some(asked) = text.take("format") {
            format.clone_from(&asked);
            held = form(asked)?.map(|grammar| HeldTo { grammar, parameter: "text.format" });
        }
        text.nothing_left()?;
    }
    Ok((held, json!({ "format": format, "verbosity": "medium" })))
}

fn form(value: Value) -> Result<Option<Grammar>, ApiError> {
    let mut fields = Fields::nested("text.format".into(), value)?;
    let grammar = match fields.text("type")?.as_deref() {
        Some("text") => None,
        Some("json_object") => Some(Grammar::JsonObject),
        Some("json_schema") => Some(held_to::named_schema(&mut fields)?),
        _ => return Err(wrong("text.format.type", "`text`, `json_object` or `json_schema`")),
    };
    fields.nothing_left()?;
    Ok(grammar)
}

/// Reads `include` and `top_logprobs`: what the engine is asked for, and what the answer repeats.
fn logprobs(fields: &mut Fields) -> Result<(Option<u8>, u8), ApiError> {
    let top = fields.whole("top_logprobs", 0..=TOP_LOGPROBS_MAX)?.unwrap_or(0);
    let top = u8::try_from(top).unwrap_or(0);
    let mut is_wanted = top > 0;
    let items = match fields.take("include") {
        None => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(wrong("include", "a list of names")),
    };
    for (place, item) in items.iter().enumerate() {
        check_included(&format!("include[{place}]"), item.as_str().unwrap_or_default())?;
        is_wanted |= item == LOGPROBS;
    }
    Ok((is_wanted.then_some(top), top))
}

/// Refuses a name in `include` that means nothing here.
pub(super) fn check_included(path: &str, name: &str) -> Result<(), ApiError> {
    const THOUGHTS: &str = "reasoning.encrypted_content";
    if [LOGPROBS, THOUGHTS].contains(&name) {
        return Ok(());
    }
    Err(unsupported(path, &format!("there are `{LOGPROBS}` and `{THOUGHTS}`")))
}

/// Reads `metadata`.
fn metadata(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    let is_short = |text: &str, chars_max| text.chars().count() <= chars_max;
    let is_pair = |(key, value): (&String, &Value)| {
        is_short(key, KEY_CHARS_MAX)
            && value.as_str().is_some_and(|value| is_short(value, VALUE_CHARS_MAX))
    };
    match fields.take("metadata") {
        None => Ok(Map::new()),
        Some(Value::Object(pairs)) if pairs.len() <= PAIRS_MAX && pairs.iter().all(is_pair) => {
            Ok(pairs)
        }
        Some(_) => {
            Err(wrong("metadata", "up to 16 texts of up to 512 characters, by names of up to 64"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Role, ToolChoice};
    use crate::web::body::parse;

    fn ask(change: &Value) -> Result<Ask, ApiError> {
        let mut body = json!({"model": "m", "input": "Hi"});
        for (name, value) in change.as_object().expect("an object") {
            body[name] = value.clone();
        }
        read(parse(body.to_string().as_bytes()).expect("well-formed"))
    }

    fn accepted(change: Value) -> Ask {
        ask(&change).unwrap_or_else(|error| panic!("{change} gave {error}"))
    }

    fn conversation(ask: &Ask) -> Conversation {
        let Input::Conversation(conversation) = request_of(ask).input else {
            panic!("a conversation")
        };
        conversation
    }

    fn request_of(ask: &Ask) -> ExchangeRequest {
        let items = ask.input.iter().filter_map(|given| match given {
            Given::Item(item) => Some(item.clone()),
            Given::Reference(_) => None,
        });
        ask.exchange(&[], &items.collect::<Vec<_>>())
    }

    #[test]
    fn every_honoured_parameter_reaches_the_engine() {
        let ask = accepted(json!({
            "instructions": "Be brief.", "max_output_tokens": 5, "temperature": 0.5, "top_p": 0.9,
            "top_k": 40, "seed": 3, "stop": "a", "top_logprobs": 2, "stream": true,
            "stream_options": {"include_obfuscation": false}, "include": ["reasoning.encrypted_content"],
            "metadata": {"a": "b"}, "truncation": "disabled", "store": false, "previous_response_id": "resp_1", "background": false,
            "reasoning": {"effort": "low", "summary": "auto", "context": "auto", "mode": "standard"},
            "tools": [{"type": "function", "name": "f"}], "tool_choice": "required",
            "parallel_tool_calls": false, "user": "x", "prompt_cache_options": {"mode": "implicit"},
        }));
        let request = request_of(&ask);
        assert_eq!((request.max_tokens, request.choices, request.logprobs), (Some(5), 1, Some(2)));
        assert_eq!((request.sampling.temperature, request.sampling.top_k), (0.5, 40));
        assert_eq!((request.sampling.seed, request.stop), (Some(3), vec!["a".to_owned()]));
        let rules = request.tools.expect("tools may be called");
        assert_eq!((rules.choice, rules.is_parallel), (ToolChoice::Required, false));
        let conversation = conversation(&ask);
        assert_eq!(conversation.messages[0].role, Role::System);
        assert_eq!(conversation.messages[1].content.text(), "Hi");
        assert_eq!(
            Value::Object(conversation.arguments),
            json!({"enable_thinking": true, "thinking": true, "reasoning_effort": "low"})
        );
        assert!(ask.is_streamed);
        assert_eq!((ask.stores, ask.previous.as_deref()), (Some(false), Some("resp_1")));
        assert_eq!(ask.echo.temperature, 0.5);
        assert_eq!(Value::Object(ask.echo.metadata), json!({"a": "b"}));
        assert_eq!(ask.echo.reasoning["effort"], "low");
    }

    #[test]
    fn what_is_left_open_is_as_published() {
        let ask = accepted(json!({}));
        let request = request_of(&ask);
        assert_eq!((ask.stores, &ask.previous, request.drops_oldest), (None, &None, false));
        assert!(request_of(&accepted(json!({"truncation": "auto"}))).drops_oldest);
        assert_eq!((request.max_tokens, request.logprobs), (None, None));
        assert!(request.held_to.is_none() && request.tools.is_none());
        assert_eq!(conversation(&ask).arguments.len(), 0);
        assert_eq!(ask.echo.text, json!({"format": {"type": "text"}, "verbosity": "medium"}));
        assert_eq!(ask.echo.tool_choice, "auto");
        let off = conversation(&accepted(json!({"reasoning": {"effort": "none"}}))).arguments;
        assert_eq!(Value::Object(off), json!({"enable_thinking": false, "thinking": false}));
        let logprobs = json!({"include": ["message.output_text.logprobs"]});
        assert_eq!(request_of(&accepted(logprobs)).logprobs, Some(0));
    }

    #[test]
    fn the_answer_is_held_to_every_form() {
        let schema = json!({"type": "object"});
        let format = json!({"type": "json_schema", "name": "x", "schema": schema, "strict": true});
        for (format, grammar) in [
            (json!({"type": "text"}), None),
            (json!({"type": "json_object"}), Some(Grammar::JsonObject)),
            (format, Some(Grammar::JsonSchema(schema))),
        ] {
            let tools = json!([{"type": "function", "name": "f"}]);
            let text = json!({"format": format, "verbosity": "medium"});
            let ask = accepted(json!({"text": text, "tools": tools}));
            assert!(request_of(&ask).tools.is_some());
            assert_eq!(request_of(&ask).held_to.map(|held| held.grammar), grammar);
            assert_eq!(ask.echo.text["format"], format);
        }
    }

    #[test]
    fn what_is_not_accepted_is_refused_by_name() {
        let many: Map<String, Value> = (0..17).map(|at| (format!("k{at}"), json!("v"))).collect();
        for (change, param) in [
            (json!({"input": null}), "input"),
            (json!({"instructions": 1}), "instructions"),
            (json!({"max_output_tokens": 0}), "max_output_tokens"),
            (json!({"temperature": 3}), "temperature"),
            (json!({"top_logprobs": 21}), "top_logprobs"),
            (json!({"include": ["file_search_call.results"]}), "include[0]"),
            (json!({"include": "x"}), "include"),
            (json!({"metadata": many}), "metadata"),
            (json!({"metadata": {"a": 1}}), "metadata"),
            (json!({"metadata": {"a": "x".repeat(513)}}), "metadata"),
            (json!({"reasoning": {"effort": "much"}}), "reasoning.effort"),
            (json!({"reasoning": {"summary": "long"}}), "reasoning.summary"),
            (json!({"reasoning": {"mode": "pro"}}), "reasoning.mode"),
            (json!({"reasoning": {"context": "all_turns"}}), "reasoning.context"),
            (json!({"reasoning": {"colour": 1}}), "reasoning.colour"),
            (json!({"text": {"verbosity": "low"}}), "text.verbosity"),
            (json!({"text": {"format": {"type": "xml"}}}), "text.format.type"),
            (json!({"text": {"format": {"type": "json_schema"}}}), "text.format.name"),
            (json!({"text": {"format": {"type": "text", "x": 1}}}), "text.format.x"),
            (json!({"text": {"x": 1}}), "text.x"),
            (json!({"stream_options": {"include_usage": true}}), "stream_options.include_usage"),
            (json!({"prompt_cache_options": {"prewarm": true}}), "prompt_cache_options.prewarm"),
            (json!({"truncation": "most"}), "truncation"),
            (json!({"store": "yes"}), "store"),
            (json!({"previous_response_id": ""}), "previous_response_id"),
            (json!({"messages": []}), "messages"),
        ] {
            let error = ask(&change).err().unwrap_or_else(|| panic!("{change} passed"));
            let body = serde_json::to_value(error.body()).expect("plain");
            assert_eq!(body["error"]["param"], param, "{change}");
        }
    }
}
