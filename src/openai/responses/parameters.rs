//! Every parameter of `/v1/responses` as it is published, and what this server does with it. The check of
//! a request and the table in docs/openai-compat.md both come from here.

use crate::openai::fields::Fields;
use crate::openai::parameters::Treatment::{Honoured, Only, WithoutEffect};
use crate::openai::parameters::{
    PARAMETERS as OF_CHATS, Parameter, Treatment, check_against, own_row as row,
};
use crate::web::ApiError;

const USER: Treatment = WithoutEffect("the account behind the key is the user");
const CACHE: Treatment = WithoutEffect("the cache is in memory only");

/// What OpenAI publishes.
const PARAMETERS: &[Parameter] = &[
    row("model", Honoured, "the name or alias of a model that the caller may use"),
    row(
        "input",
        Honoured,
        "a text, or up to 4096 items: `message`, `reasoning`, `function_call`, `function_call_output`, `item_reference`; texts only",
    ),
    row("instructions", Honoured, "a text, which stands before everything else as the system's"),
    row("stream", Honoured, "true or false"),
    row("stream_options", Honoured, "`include_obfuscation` has no effect"),
    row("max_output_tokens", Honoured, "a whole number from 1; what is thought counts too"),
    row("temperature", Honoured, "0 to 2; 1 where absent"),
    row("top_p", Honoured, "0 to 1; 1 where absent"),
    row("top_logprobs", Honoured, "0 to 20; from 1 on the log-probabilities are sent"),
    row(
        "include",
        Honoured,
        "`message.output_text.logprobs`; `reasoning.encrypted_content` has no effect: thoughts come in clear",
    ),
    row(
        "text",
        Honoured,
        "`format`: `text`, `json_object`, `json_schema`, every schema enforced, `strict` or not; `verbosity`: `medium`",
    ),
    row("tools", Honoured, "up to 128 functions; OpenAI's own tools are refused"),
    row(
        "tool_choice",
        Honoured,
        "`none`, `auto`, `required`, one function, or `allowed_tools` with some of them",
    ),
    row("parallel_tool_calls", Honoured, "true or false; true where absent"),
    row(
        "reasoning",
        Honoured,
        "`effort`: `none` to `max`, told to the model's chat template; `summary` has no effect: thoughts come whole; `context`: `auto`; `mode`: `standard`",
    ),
    row(
        "metadata",
        Honoured,
        "up to 16 texts of up to 512 characters; they come back in the answer",
    ),
    row(
        "truncation",
        Honoured,
        "`disabled` (the default): what is too long is refused; `auto`: the oldest messages are left out, and it is said so",
    ),
    row(
        "store",
        Honoured,
        "true or false; where absent as `api.store_responses` says (true, as published)",
    ),
    row("previous_response_id", Honoured, "the id of a response of one's own that is kept"),
    row(
        "conversation",
        Only(&[], "conversations belong to the web app; see `previous_response_id`"),
        "nothing",
    ),
    row("prompt", Only(&[], "no prompts are kept for the API; send the text"), "nothing"),
    row("background", Only(&["false"], "the answer is written while the caller waits"), "false"),
    row("background_options", Only(&[], "the answer is written while the caller waits"), "nothing"),
    row(
        "context_management",
        Only(&["[]"], "nothing is left out of a conversation"),
        "an empty list",
    ),
    row("image", Only(&[], "this server works with text only"), "nothing"),
    row("moderation", Only(&[], "the server's own guard looks at every text"), "nothing"),
    row("access_programs", Only(&[], "they belong to OpenAI's models"), "nothing"),
    row(
        "service_tier",
        Only(&["\"auto\"", "\"default\""], "there is one tier"),
        "`auto`, `default`",
    ),
    row("max_tool_calls", WithoutEffect("it counts calls of OpenAI's own tools"), "anything"),
    row("user", USER, "anything"),
    row("safety_identifier", USER, "anything"),
    row("prompt_cache_key", WithoutEffect("the cache is kept apart by account"), "anything"),
    row("prompt_cache_retention", CACHE, "anything"),
    row("prompt_cache_options", CACHE, "anything but `prewarm`: true, which asks for no answer"),
];

/// What only a count can have.
const PERSONALITY: Parameter =
    row("personality", Only(&[], "say it in the instructions"), "nothing");

/// Of these, what is sent where tokens are counted.
const COUNTED: &[&str] = &[
    "model",
    "input",
    "instructions",
    "text",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "truncation",
    "previous_response_id",
    "conversation",
    "personality",
    "chat_template_kwargs",
    "enable_thinking",
];

/// What chats have beside that, by the same names.
const EXTENSIONS: &[&str] = &[
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "repeat_last_n",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "seed",
    "stop",
    "chat_template_kwargs",
    "enable_thinking",
];

/// Refuses by name whatever this server cannot do, and takes out what has no effect.
pub(super) fn check(fields: &mut Fields) -> Result<(), ApiError> {
    check_against(fields, |name| {
        PARAMETERS.iter().find(|parameter| parameter.name == name).or_else(|| extension(name))
    })
}

/// The same, where tokens are counted and nothing is answered.
pub(super) fn check_count(fields: &mut Fields) -> Result<(), ApiError> {
    check_against(fields, |name| {
        let all = PARAMETERS.iter().chain([&PERSONALITY]);
        let mut all = all.filter(|parameter| COUNTED.contains(&parameter.name));
        let counts = |name: &&str| COUNTED.contains(name);
        all.find(|one| one.name == name).or_else(|| extension(Some(name).filter(counts)?))
    })
}

fn extension(name: &str) -> Option<&'static Parameter> {
    let is_taken = EXTENSIONS.contains(&name);
    OF_CHATS.iter().find(|parameter| is_taken && parameter.name == name)
}

/// Every row, those of chats among them.
pub(in crate::openai) fn rows() -> Vec<Parameter> {
    let extensions = EXTENSIONS.iter().filter_map(|name| {
        extension(name).map(|row| Parameter { treatment: Treatment::Extension, ..*row })
    });
    PARAMETERS.iter().copied().chain(extensions).collect()
}

/// The rows of a count.
pub(in crate::openai) fn rows_of_counts() -> Vec<Parameter> {
    let mut all = rows();
    all.push(PERSONALITY);
    all.retain(|row| COUNTED.contains(&row.name));
    all
}

/// The table as Markdown, for docs/openai-compat.md.
#[cfg(test)]
pub(crate) fn markdown() -> String {
    crate::openai::text_parameters::table(&rows())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::ErrorCode;
    use crate::web::body::parse;

    /// What OpenAI's specification lists, as openai-python 3.54 has it.
    const PUBLISHED: &[&str] = &[
        "access_programs",
        "background",
        "background_options",
        "context_management",
        "conversation",
        "image",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ];

    #[test]
    fn every_published_parameter_is_in_the_table_and_no_other() {
        let mut listed: Vec<&str> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
        listed.sort_unstable();
        assert_eq!(listed, PUBLISHED);
        assert!(EXTENSIONS.iter().all(|name| extension(name).is_some()));
        assert!(EXTENSIONS.iter().all(|name| !PUBLISHED.contains(name)));
    }

    fn checked(body: &str) -> Result<(), ErrorCode> {
        let mut fields: Fields = parse(body.as_bytes()).expect(body);
        check(&mut fields).map_err(|error| error.code())
    }

    #[test]
    fn a_count_has_what_goes_before_an_answer_and_nothing_of_the_answer() {
        let counted = |body: &str| {
            let mut fields: Fields = parse(body.as_bytes()).expect(body);
            check_count(&mut fields).map_err(|error| error.code())
        };
        for name in COUNTED {
            let expected = match *name {
                "conversation" | "personality" => Err(ErrorCode::UnsupportedParameter),
                _ => Ok(()),
            };
            assert_eq!(counted(&format!("{{\"{name}\": \"x\"}}")), expected, "{name}");
        }
        for name in ["stream", "max_output_tokens", "store", "temperature", "seed", "colour"] {
            let body = format!("{{\"{name}\": 1}}");
            assert_eq!(counted(&body), Err(ErrorCode::UnknownParameter), "{name}");
        }
    }

    #[test]
    fn values_that_change_nothing_pass_and_all_others_are_refused_by_name() {
        for parameter in PARAMETERS {
            let (accepted, refused): (&[&str], &[&str]) = match parameter.treatment {
                Only(accepted, _) => (accepted, &["7", "\"other\"", "{\"a\": 1}", "[{}]", "true"]),
                WithoutEffect(_) => (&["7", "\"other\"", "{}"], &[]),
                _ => continue,
            };
            for value in accepted.iter().chain(&["null"]) {
                let body = format!("{{\"{}\": {value}}}", parameter.name);
                assert_eq!(checked(&body), Ok(()), "{body}");
            }
            for value in refused {
                let body = format!("{{\"{}\": {value}}}", parameter.name);
                assert_eq!(checked(&body), Err(ErrorCode::UnsupportedParameter), "{body}");
            }
        }
        for body in ["{\"messages\": []}", "{\"n\": 2}", "{\"response_format\": {}}", "{\"\": 1}"] {
            assert_eq!(checked(body), Err(ErrorCode::UnknownParameter), "{body}");
        }
    }
}
