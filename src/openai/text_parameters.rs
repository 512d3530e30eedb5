//! Every parameter of `/v1/embeddings` and `/v1/rerank`. The check of a request and the tables in
//! docs/openai-compat.md both come from these.

use super::fields::Fields;
use super::parameters::Treatment::{Extension, Honoured, WithoutEffect};
use super::parameters::{Parameter, Treatment, check_against};
use crate::web::ApiError;

const fn row(name: &'static str, treatment: Treatment, accepts: &'static str) -> Parameter {
    Parameter { name, on: &[], treatment, accepts }
}

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

/// Refuses by name whatever is not in the table, and takes out what has no effect.
pub(super) fn check(fields: &mut Fields, table: &'static [Parameter]) -> Result<(), ApiError> {
    check_against(fields, |name| table.iter().find(|parameter| parameter.name == name))
}

/// The tables as Markdown, for docs/openai-compat.md.
#[cfg(test)]
pub(crate) fn markdown() -> (String, String) {
    use std::fmt::Write as _;
    let table = |rows: &[Parameter]| {
        let mut text =
            String::from("| parameter | what happens | accepted |\n| --- | --- | --- |\n");
        for parameter in rows {
            let happens = parameter.treatment.describe();
            // Writing to a text does not fail.
            let _ = writeln!(text, "| `{}` | {happens} | {} |", parameter.name, parameter.accepts);
        }
        text
    };
    (table(EMBEDDINGS), table(RERANK))
}
