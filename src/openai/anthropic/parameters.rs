//! Every parameter of `/v1/messages` and `/v1/messages/count_tokens`, as Anthropic publishes them, and
//! what this server does with it. The check of a request and docs/anthropic-compat.md both come from it.

#[cfg(test)]
use std::fmt::Write as _;

use crate::openai::fields::Fields;
use crate::openai::parameters::Treatment::{Extension, Honoured, Only, WithoutEffect};
use crate::openai::parameters::{Parameter, check_against, own_row as row};
use crate::web::ApiError;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::openai) enum Asked {
    /// An answer.
    Message,
    /// How many tokens the prompt has.
    Count,
}

const NOT_KEPT: &str = "answers are not kept for the API";
const NO_CONNECTIONS: &str = "this server opens no connections and runs no programs";
const ONE_ACCOUNT: &str = "the account behind the key is the user";
const NO_ACCOUNTS: &str = "no money is taken here";
const NO_COMPACTION: &str = "the prompt is read as it is sent";

/// The table. Those from `temperature` to `top_k` are of the versions of the API before the present.
const PARAMETERS: &[Parameter] = &[
    row("model", Honoured, "the name or alias of a model that the caller may use"),
    row(
        "messages",
        Honoured,
        "at least one, the last of them not the assistant's; texts, or lists of blocks: `text`, `tool_use`, `tool_result`, `thinking`",
    ),
    row("system", Honoured, "a text, or a list of `text` blocks"),
    row("max_tokens", Honoured, "a whole number from 1; required"),
    row("stream", Honoured, "true or false"),
    row("stop_sequences", Honoured, "up to 16 texts, each of up to 256 bytes"),
    row("tools", Honoured, "up to 128 tools of the type `custom`"),
    row(
        "tool_choice",
        Honoured,
        "`auto`, `any`, `none`, or `tool` with a name; `disable_parallel_tool_use`",
    ),
    row(
        "thinking",
        Honoured,
        "`enabled`, `disabled` or `adaptive`, for models that can think aloud; `display`; `budget_tokens` has no effect",
    ),
    row(
        "output_config",
        Honoured,
        "`format` with a `json_schema`, which is enforced; `effort`, for models that ask for it",
    ),
    row("temperature", Honoured, "0 to 2; 1 where absent"),
    row("top_p", Honoured, "0 to 1; 1 where absent"),
    row("top_k", Honoured, "0 (no bound) to 1000000"),
    row("min_p", Extension, "0 to 1"),
    row("repetition_penalty", Extension, "0.1 to 10; 1 has no effect"),
    row("seed", Extension, "a whole number; the same seed repeats the same answer"),
    row("metadata", WithoutEffect(ONE_ACCOUNT), "anything"),
    row("user_profile_id", WithoutEffect(ONE_ACCOUNT), "anything"),
    row("workspace_id", WithoutEffect("there are no workspaces"), "anything"),
    row(
        "cache_control",
        WithoutEffect("every prompt is kept in the cache, apart by account"),
        "anything",
    ),
    row(
        "service_tier",
        Only(&["\"auto\"", "\"standard_only\""], "there is one tier"),
        "`auto`, `standard_only`",
    ),
    row("speed", Only(&["\"standard\""], "there is one speed"), "`standard`"),
    row("inference_geo", Only(&[], "the model answers where this server stands"), "nothing"),
    row("container", Only(&[], NO_CONNECTIONS), "nothing"),
    row("mcp_servers", Only(&["[]"], NO_CONNECTIONS), "an empty list"),
    row("diagnostics", Only(&[], NOT_KEPT), "nothing"),
    row("thread", Only(&[], NOT_KEPT), "nothing"),
    row("context_management", Only(&[], NO_COMPACTION), "nothing"),
    row("compaction", Only(&[], NO_COMPACTION), "nothing"),
    row("billing_policy", Only(&[], NO_ACCOUNTS), "nothing"),
    row("fallback_credit_token", Only(&[], NO_ACCOUNTS), "nothing"),
    row("fallbacks", Only(&["[]"], "the model that is asked for answers"), "an empty list"),
    row("output_format", Only(&[], "the older form of `output_config.format`"), "nothing"),
    row("betas", Only(&[], "a header, `anthropic-beta`"), "nothing"),
];

/// Of these, the parameters of an answer, which a count has not.
const ANSWER: &[&str] = &[
    "max_tokens",
    "stream",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "metadata",
    "service_tier",
    "inference_geo",
    "container",
    "diagnostics",
    "thread",
    "fallback_credit_token",
    "fallbacks",
];

/// Refuses by name whatever this server cannot do, and takes out what has no effect. What is left
/// is honoured.
pub(super) fn check(fields: &mut Fields, asked: Asked) -> Result<(), ApiError> {
    check_against(fields, |name| {
        PARAMETERS.iter().find(|parameter| parameter.name == name && is_on(name, asked))
    })
}

fn is_on(name: &str, asked: Asked) -> bool {
    asked == Asked::Message || !ANSWER.contains(&name)
}

/// Every row of what is asked for.
pub(in crate::openai) fn rows(asked: Asked) -> Vec<Parameter> {
    PARAMETERS.iter().filter(|row| is_on(row.name, asked)).copied().collect()
}

/// The table as Markdown, for docs/anthropic-compat.md.
#[cfg(test)]
pub(crate) fn markdown() -> String {
    let mut text =
        String::from("| parameter | messages | count_tokens | what happens | accepted |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for parameter in PARAMETERS {
        let happens = parameter.treatment.describe();
        let counted = if is_on(parameter.name, Asked::Count) { "yes" } else { "" };
        // Writing to a text does not fail.
        let _ = writeln!(
            text,
            "| `{}` | yes | {counted} | {happens} | {} |",
            parameter.name, parameter.accepts
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::ErrorCode;
    use crate::web::body::parse;

    /// What the client of 2026 (2.10) can send, to the stable address or to that of betas.
    const PUBLISHED: &[&str] = &[
        "max_tokens",
        "messages",
        "model",
        "billing_policy",
        "cache_control",
        "compaction",
        "container",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "inference_geo",
        "mcp_servers",
        "metadata",
        "output_config",
        "output_format",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "thread",
        "tool_choice",
        "tools",
        "betas",
        "user_profile_id",
        "workspace_id",
        // Of older clients.
        "temperature",
        "top_k",
        "top_p",
    ];
    const PUBLISHED_COUNT: &[&str] = &[
        "messages",
        "model",
        "billing_policy",
        "cache_control",
        "compaction",
        "context_management",
        "mcp_servers",
        "output_config",
        "output_format",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
        "betas",
        "user_profile_id",
        "workspace_id",
    ];

    fn checked(asked: Asked, body: &str) -> Result<(), ErrorCode> {
        let mut fields: Fields = parse(body.as_bytes()).expect(body);
        check(&mut fields, asked).map_err(|error| error.code())
    }

    #[test]
    fn every_published_parameter_is_in_the_table_once() {
        for (asked, names) in [(Asked::Message, PUBLISHED), (Asked::Count, PUBLISHED_COUNT)] {
            for name in names {
                let rows = PARAMETERS.iter().filter(|row| row.name == *name);
                assert_eq!(rows.count(), 1, "{name}");
                assert!(is_on(name, asked), "{name}");
            }
        }
        assert!(ANSWER.iter().all(|name| PARAMETERS.iter().any(|row| row.name == *name)));
    }

    #[test]
    fn values_that_change_nothing_pass_and_all_others_are_refused_by_name() {
        for parameter in PARAMETERS {
            let body = |value: &str| format!("{{\"{}\": {value}}}", parameter.name);
            match parameter.treatment {
                Honoured | Extension => {}
                WithoutEffect(_) => {
                    assert_eq!(checked(Asked::Message, &body("{\"a\": 1}")), Ok(()));
                }
                Only(accepted, _) => {
                    for value in accepted.iter().chain(&["null"]) {
                        assert_eq!(
                            checked(Asked::Message, &body(value)),
                            Ok(()),
                            "{}",
                            body(value)
                        );
                    }
                    for value in ["7", "\"other\"", "{\"type\": \"x\"}", "[{}]", "true"] {
                        let expected = Err(ErrorCode::UnsupportedParameter);
                        assert_eq!(checked(Asked::Message, &body(value)), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn unknown_parameters_and_those_of_an_answer_where_it_is_counted_are_refused() {
        let expected = Err(ErrorCode::UnknownParameter);
        for body in ["{\"colour\": 1}", "{\"n\": 1}", "{\"stop\": \"x\"}"] {
            assert_eq!(checked(Asked::Message, body), expected, "{body}");
        }
        for name in ANSWER {
            assert_eq!(checked(Asked::Count, &format!("{{\"{name}\": null}}")), expected, "{name}");
        }
    }
}
