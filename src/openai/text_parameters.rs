//! Every parameter of `/v1/embeddings`, `/v1/rerank`, `/v1/moderations`, `/v1/tokenize` and
//! `/v1/detokenize`. The check of a request and the tables in
//! docs/openai-compat.md both come from these.

use super::fields::Fields;
use super::parameters::Treatment::{Extension, Honoured, Only, WithoutEffect};
use super::parameters::{Parameter, check_against, own_row as row};
use crate::web::ApiError;

const MODEL: &str = "the name or alias of a model of this kind that the caller may use";
const TRUNCATE: &str =
    "true: the end of a text that is too long is left out; false (the default): it is refused";

/// Of `/v1/embeddings`, as OpenAI publishes it.
pub(super) const EMBEDDINGS: &[Parameter] = &[
    row("model", Honoured, MODEL),
    row(
        "input",
        Honoured,
        "a text, up to 2048 texts, a list of token numbers, or up to 2048 such lists; none empty",
    ),
    row("encoding_format", Honoured, "`float` (the default) or `base64`"),
    row("dimensions", Honoured, "fewer numbers than the model gives, for models made for that"),
    row("truncate", Extension, TRUNCATE),
    row("user", WithoutEffect("the account behind the key is the user"), "anything"),
];

/// Of `/v1/rerank`, which has the form of Jina's and Cohere's.
pub(super) const RERANK: &[Parameter] = &[
    row("model", Honoured, MODEL),
    row("query", Honoured, "a text, not empty"),
    row("documents", Honoured, "up to 2048 texts, or objects with a `text`"),
    row("top_n", Honoured, "a whole number from 1: so many of the best"),
    row("return_documents", Honoured, "true or false (the default)"),
    row("truncate", Extension, TRUNCATE),
];

const ANY_MODEL: &str = "the name or alias of a model that the caller may use, of any kind";
const FRAME: &str = "true or false: the tokens that the model expects around a text; the default is \
    true with `prompt`, false with `content`, and the chat template's with `messages`";

/// Of `/v1/tokenize`, by the names of vLLM and of llama.cpp.
pub(super) const TOKENIZE: &[Parameter] = &[
    row("model", Honoured, ANY_MODEL),
    row("prompt", Honoured, "a text; this, `content` or `messages`"),
    row("content", Honoured, "the same by llama.cpp's name"),
    row("messages", Honoured, "a conversation, as in a chat; by the model's chat template"),
    row("add_special_tokens", Honoured, FRAME),
    row("add_special", Honoured, "the same by llama.cpp's name"),
    row(
        "parse_special",
        Honoured,
        "true: the names of control tokens in a text become those tokens, which no request to a \
        model can have; false (the default, unlike llama.cpp's): they are text",
    ),
    row(
        "return_token_strs",
        Honoured,
        "true or false (the default): the tokens' names beside them",
    ),
    row("with_pieces", Honoured, "true or false (the default): each token as `{id, piece}`"),
    row("add_generation_prompt", Honoured, "with `messages`: true (the default) or false"),
    row("tools", Honoured, "with `messages`: functions, as in a chat"),
    row("chat_template_kwargs", Honoured, "with `messages`: as in a chat"),
    row("enable_thinking", Extension, "with `messages`: as in a chat"),
    row("continue_final_message", Only(&["false"], "a chat ends where the answer begins"), "false"),
];

/// Of `/v1/detokenize`.
pub(super) const DETOKENIZE: &[Parameter] = &[
    row("model", Honoured, ANY_MODEL),
    row("tokens", Honoured, "up to 262144 token numbers, of up to 1 MiB of text"),
];

/// Of `/v1/moderations`, as OpenAI publishes it.
pub(super) const MODERATIONS: &[Parameter] = &[
    row("input", Honoured, "a text, up to 2048 texts, or a list of text parts, which is one input"),
    row("model", WithoutEffect("the guard answers, whatever model is named"), "anything"),
];

/// Refuses by name whatever is not in the table, and takes out what has no effect.
pub(super) fn check(fields: &mut Fields, table: &'static [Parameter]) -> Result<(), ApiError> {
    check_against(fields, |name| table.iter().find(|parameter| parameter.name == name))
}

/// A table as Markdown, for docs/openai-compat.md.
#[cfg(test)]
pub(super) fn table(rows: &[Parameter]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("| parameter | what happens | accepted |\n| --- | --- | --- |\n");
    for parameter in rows {
        let happens = parameter.treatment.describe();
        // Writing to a text does not fail.
        let _ = writeln!(text, "| `{}` | {happens} | {} |", parameter.name, parameter.accepts);
    }
    text
}

/// The tables.
#[cfg(test)]
pub(crate) fn markdown() -> [(&'static str, String); 5] {
    [
        ("embeddings", table(EMBEDDINGS)),
        ("rerank", table(RERANK)),
        ("tokenize", table(TOKENIZE)),
        ("detokenize", table(DETOKENIZE)),
        ("moderations", table(MODERATIONS)),
    ]
}
