//! Every parameter of the published specification, and what this server does with it. The one
//! table: the check of a request and docs/openai-compat.md both come from it.

#[cfg(test)]
use std::fmt::Write as _;

use serde_json::Value;

use super::fields::Fields;
use crate::web::{ApiError, ErrorCode};

/// Where a parameter belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
}

/// What is done with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It does what the specification says.
    Honoured,
    /// It does what this text says; not in the specification.
    Extension,
    /// It is taken and has no effect, for this reason.
    WithoutEffect(&'static str),
    /// Only these values are taken (JSON), all of which mean what happens anyway; every other one
    /// is refused, for this reason.
    Only(&'static [&'static str], &'static str),
}

impl Treatment {
    /// In one word, for programs that read the specification.
    pub(super) fn word(self) -> &'static str {
        match self {
            Honoured => "honoured",
            Extension => "extension",
            WithoutEffect(_) => "without_effect",
            Only(..) => "restricted",
        }
    }

    /// In words, for the documentation.
    pub(super) fn describe(self) -> String {
        match self {
            Honoured => "honoured".to_owned(),
            Extension => "honoured; an extension".to_owned(),
            WithoutEffect(reason) => format!("no effect: {reason}"),
            Only(_, reason) => format!("other values are refused with 400: {reason}"),
        }
    }
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) on: &'static [Endpoint],
    pub(super) treatment: Treatment,
    /// What is accepted, for the documentation.
    pub(super) accepts: &'static str,
}

use Endpoint::{Chat, Completions};
use Treatment::{Extension, Honoured, Only, WithoutEffect};

const BOTH: &[Endpoint] = &[Chat, Completions];
const CHAT: &[Endpoint] = &[Chat];
const TEXT: &[Endpoint] = &[Completions];

const fn row(
    name: &'static str,
    on: &'static [Endpoint],
    treatment: Treatment,
    accepts: &'static str,
) -> Parameter {
    Parameter { name, on, treatment, accepts }
}

/// A row of a table for one endpoint of its own.
pub(super) const fn own_row(
    name: &'static str,
    treatment: Treatment,
    accepts: &'static str,
) -> Parameter {
    row(name, &[], treatment, accepts)
}

const OLD_TOOLS: &str = "the older form of `tools`";
const NO_SOUND: &str = "this server works with text only";

/// The table.
pub(super) const PARAMETERS: &[Parameter] = &[
    row("model", BOTH, Honoured, "the name or alias of a model that the caller may use"),
    row("messages", CHAT, Honoured, "at least one; texts, or lists of text parts"),
    row(
        "prompt",
        TEXT,
        Honoured,
        "a text, a list of token numbers, or up to 32 of these, each answered by itself",
    ),
    row("stream", BOTH, Honoured, "true or false"),
    row("stream_options", BOTH, Honoured, "`include_usage`; `include_obfuscation` has no effect"),
    row("max_tokens", BOTH, Honoured, "a whole number from 1; with `echo`, from 0"),
    row("max_completion_tokens", CHAT, Honoured, "a whole number from 1; goes before max_tokens"),
    row("temperature", BOTH, Honoured, "0 to 2; 1 where absent"),
    row("top_p", BOTH, Honoured, "0 to 1; 1 where absent"),
    row("top_k", BOTH, Extension, "0 (no bound) to 1000000"),
    row("min_p", BOTH, Extension, "0 to 1"),
    row("typical_p", BOTH, Extension, "above 0, up to 1; 1 has no effect"),
    row("repetition_penalty", BOTH, Extension, "0.1 to 10; 1 has no effect"),
    row("repeat_last_n", BOTH, Extension, "tokens that repetition_penalty looks at; -1: all"),
    row("dry_multiplier", BOTH, Extension, "0 (no effect) to 100"),
    row("dry_base", BOTH, Extension, "1 to 100; 1.75 where absent"),
    row("dry_allowed_length", BOTH, Extension, "a whole number from 1; 2 where absent"),
    row("dry_penalty_last_n", BOTH, Extension, "tokens that DRY looks at; -1: all"),
    row(
        "dry_sequence_breakers",
        BOTH,
        Extension,
        "up to 64 texts; newline, `:`, `\"`, `*` where absent",
    ),
    row("presence_penalty", BOTH, Honoured, "-2 to 2"),
    row("frequency_penalty", BOTH, Honoured, "-2 to 2"),
    row("logit_bias", BOTH, Honoured, "up to 1024 token numbers, each from -100 to 100"),
    row("seed", BOTH, Honoured, "a whole number; the same seed repeats the same answer"),
    row(
        "stop",
        BOTH,
        Honoured,
        "a text, or a list of up to 16, each of up to 256 bytes; of a chat, in what is said alone",
    ),
    row("logprobs", BOTH, Honoured, "chat: true or false; completions: 0 to 5"),
    row("top_logprobs", CHAT, Honoured, "0 to 20; needs logprobs"),
    row(
        "chat_template_kwargs",
        CHAT,
        Extension,
        "up to 32 names and values that the model's chat template may look at",
    ),
    row("enable_thinking", CHAT, Extension, "true or false, for models that can think aloud"),
    row(
        "n",
        BOTH,
        Honoured,
        "1 to 128 for all prompts together, and no more to one than the server works on at once",
    ),
    row("best_of", TEXT, Only(&["1"], "all answers that are made are sent; see `n`"), "1"),
    row("echo", TEXT, Honoured, "true or false: the prompt before its answer, with its `logprobs`"),
    row("suffix", TEXT, Only(&["\"\""], "the models here write forward only"), "an empty text"),
    row(
        "response_format",
        CHAT,
        Honoured,
        "`text`, `json_object`, `json_schema`; every schema is enforced, `strict` or not",
    ),
    row(
        "structured_outputs",
        BOTH,
        Extension,
        "one of `json` (a schema), `regex`, `choice`, `grammar` (Lark), `json_object`",
    ),
    row("guided_json", BOTH, Extension, "a JSON schema, as an object or a text"),
    row("guided_regex", BOTH, Extension, "a regular expression for the whole answer"),
    row("guided_choice", BOTH, Extension, "a list of texts, one of which is the answer"),
    row("guided_grammar", BOTH, Extension, "a grammar (Lark)"),
    row("tools", CHAT, Honoured, "up to 128 functions"),
    row("tool_choice", CHAT, Honoured, "`none`, `auto`, `required`, or one function by its name"),
    row("parallel_tool_calls", CHAT, Honoured, "true or false; true where absent"),
    row("functions", CHAT, Only(&["[]"], OLD_TOOLS), "an empty list"),
    row("function_call", CHAT, Only(&["\"none\"", "\"auto\""], OLD_TOOLS), "`none`, `auto`"),
    row("modalities", CHAT, Only(&["[\"text\"]"], NO_SOUND), "`[\"text\"]`"),
    row("audio", CHAT, Only(&[], NO_SOUND), "nothing"),
    row("prediction", CHAT, Only(&[], "predicted outputs are not supported"), "nothing"),
    row("web_search_options", CHAT, Only(&[], "this server opens no connections"), "nothing"),
    row("moderation", CHAT, Only(&[], "the server's own guard looks at every text"), "nothing"),
    row(
        "reasoning_effort",
        CHAT,
        Honoured,
        "`none` to `max`, for models that can think aloud: told to the chat template",
    ),
    row("verbosity", CHAT, Only(&["\"medium\""], "ask for it in the prompt"), "`medium`"),
    row("store", CHAT, Only(&["false"], "chats are not kept; responses are"), "false"),
    row(
        "service_tier",
        BOTH,
        Only(&["\"auto\"", "\"default\""], "there is one tier"),
        "`auto`, `default`",
    ),
    row(
        "metadata",
        CHAT,
        WithoutEffect("belongs to stored answers, and chats are not stored"),
        "anything",
    ),
    row("user", BOTH, WithoutEffect("the account behind the key is the user"), "anything"),
    row(
        "safety_identifier",
        CHAT,
        WithoutEffect("the account behind the key is the user"),
        "anything",
    ),
    row("prompt_cache_key", CHAT, WithoutEffect("the cache is kept apart by account"), "anything"),
    row("prompt_cache_retention", CHAT, WithoutEffect("the cache is in memory only"), "anything"),
    row("prompt_cache_options", CHAT, WithoutEffect("the cache is in memory only"), "anything"),
];

/// Refuses by name whatever this server cannot do, and takes out what has no effect. What is left
/// is honoured.
pub(super) fn check(fields: &mut Fields, endpoint: Endpoint) -> Result<(), ApiError> {
    check_against(fields, |name| {
        let mut all = PARAMETERS.iter();
        all.find(|parameter| parameter.name == name && parameter.on.contains(&endpoint))
    })
}

/// The same, with what `find` knows of.
pub(super) fn check_against(
    fields: &mut Fields,
    find: impl Fn(&str) -> Option<&'static Parameter>,
) -> Result<(), ApiError> {
    let names: Vec<String> = fields.names().map(str::to_owned).collect();
    for name in names {
        let parameter = find(&name).ok_or_else(|| unknown(&name))?;
        match parameter.treatment {
            Honoured | Extension => {}
            WithoutEffect(_) => drop(fields.take(&name)),
            Only(accepted, reason) => {
                if fields.peek(&name).is_some_and(|value| !is_among(value, accepted)) {
                    return Err(unsupported(&name, parameter, reason));
                }
                fields.take(&name);
            }
        }
    }
    Ok(())
}

fn is_among(value: &Value, accepted: &[&str]) -> bool {
    accepted.iter().any(|text| serde_json::from_str::<Value>(text).is_ok_and(|one| one == *value))
}

/// A parameter that is in no table.
pub(super) fn unknown(name: &str) -> ApiError {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    ApiError::new(ErrorCode::UnknownParameter)
        .message(format!("There is no parameter `{shown}` here."))
        .param(shown)
}

/// A value that cannot be done.
pub(super) fn unsupported(name: &str, parameter: &Parameter, reason: &str) -> ApiError {
    ApiError::new(ErrorCode::UnsupportedParameter)
        .message(format!(
            "`{name}` with this value is not supported: {reason}. Accepted: {}.",
            parameter.accepts
        ))
        .param(name)
}

/// The table as Markdown, for docs/openai-compat.md.
#[cfg(test)]
pub(crate) fn markdown() -> String {
    let mut text = String::from("| parameter | chat | completions | what happens | accepted |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for parameter in PARAMETERS {
        let mark = |endpoint| if parameter.on.contains(&endpoint) { "yes" } else { "" };
        let happens = parameter.treatment.describe();
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {happens} | {} |",
            parameter.name,
            mark(Chat),
            mark(Completions),
            parameter.accepts.replace('|', "\\|"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::body::parse;

    /// What OpenAI's specification lists for the two endpoints, as of 2026.
    const PUBLISHED_CHAT: &[&str] = &[
        "messages",
        "model",
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ];
    const PUBLISHED_COMPLETIONS: &[&str] = &[
        "model",
        "prompt",
        "best_of",
        "echo",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "n",
        "presence_penalty",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "suffix",
        "temperature",
        "top_p",
        "user",
    ];

    #[test]
    fn every_published_parameter_is_in_the_table() {
        for (endpoint, names) in [(Chat, PUBLISHED_CHAT), (Completions, PUBLISHED_COMPLETIONS)] {
            for name in names {
                let found = PARAMETERS.iter().any(|p| p.name == *name && p.on.contains(&endpoint));
                assert!(found, "{name}");
            }
        }
    }

    #[test]
    fn names_stand_once() {
        for (place, parameter) in PARAMETERS.iter().enumerate() {
            assert!(PARAMETERS[..place].iter().all(|other| other.name != parameter.name));
        }
    }

    fn checked(endpoint: Endpoint, body: &str) -> Result<(), ErrorCode> {
        let mut fields: Fields = parse(body.as_bytes()).expect(body);
        check(&mut fields, endpoint).map_err(|error| error.code())
    }

    #[test]
    fn values_that_change_nothing_pass_and_all_others_are_refused_by_name() {
        for parameter in PARAMETERS {
            let Only(accepted, _) = parameter.treatment else { continue };
            for endpoint in parameter.on {
                for value in accepted.iter().chain(&["null"]) {
                    let body = format!("{{\"{}\": {value}}}", parameter.name);
                    assert_eq!(checked(*endpoint, &body), Ok(()), "{body}");
                }
                for value in ["7", "\"other\"", "{\"type\":\"json_object\"}", "[{}]", "true"] {
                    let body = format!("{{\"{}\": {value}}}", parameter.name);
                    let expected = Err(ErrorCode::UnsupportedParameter);
                    assert_eq!(checked(*endpoint, &body), expected, "{body}");
                }
            }
        }
    }

    #[test]
    fn unknown_parameters_and_those_of_the_other_endpoint_are_refused() {
        for (endpoint, body) in [
            (Chat, "{\"colour\": 1}"),
            (Chat, "{\"prompt\": \"x\"}"),
            (Completions, "{\"messages\": []}"),
            (Completions, "{\"\": null}"),
        ] {
            assert_eq!(checked(endpoint, body), Err(ErrorCode::UnknownParameter), "{body}");
        }
    }
}
