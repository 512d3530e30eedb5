//! Every parameter that stands in an address, behind its `?`, and what this server does with it. The one
//! table: the check of a request and the tables in docs/openai-compat.md and docs/anthropic-compat.md come
//! from it.

use super::parameters::Treatment::{Honoured, Only, WithoutEffect};
use super::parameters::{Parameter, own_row as row, unknown, unsupported};
use crate::web::ApiError;

/// Where a parameter belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// `GET /v1/organization/usage/completions`
    UsageOfCompletions,
    /// `GET /v1/organization/usage/embeddings` and `…/moderations`
    OtherUsage,
    /// `GET /v1/organization/costs`
    Costs,
    /// `GET /v1/responses/{id}`
    Response,
    /// `GET /v1/responses/{id}/input_items`
    InputItems,
    /// `GET /v1/models`, as Anthropic's clients ask for it.
    TheirModels,
}

use Address::{Costs, InputItems, OtherUsage, Response, TheirModels, UsageOfCompletions};

const USED: &[Address] = &[UsageOfCompletions, OtherUsage];
const ALL_USED: &[Address] = &[UsageOfCompletions, OtherUsage, Costs];
const KEPT: &[Address] = &[Response, InputItems];

const WHOLE: &str = "a response that is kept is given whole";

/// The table. Values that are the only ones stand here as they stand in an address.
const ROWS: &[(&[Address], Parameter)] = &[
    (
        ALL_USED,
        row(
            "start_time",
            Honoured,
            "seconds since 1970; needed. The bucket that it lies in is given whole",
        ),
    ),
    (
        ALL_USED,
        row(
            "end_time",
            Honoured,
            "seconds since 1970, after `start_time`; the present where absent or to come. The bucket that it lies in is given whole",
        ),
    ),
    (
        USED,
        row(
            "bucket_width",
            Honoured,
            "`1d` (the default), or `1h` for the last 35 days; `1m` is refused",
        ),
    ),
    (&[Costs], row("bucket_width", Only(&["1d"], "costs are given by the day"), "`1d`")),
    (
        USED,
        row(
            "limit",
            Honoured,
            "buckets of a page: up to 31 days (7 where absent), or up to 168 hours (24)",
        ),
    ),
    (&[Costs], row("limit", Honoured, "buckets of a page: up to 180 days (7 where absent)")),
    (ALL_USED, row("page", Honoured, "the `next_page` of the answer before")),
    (
        USED,
        row("group_by", Honoured, "some of `user_id`, `api_key_id`, `model`; others are refused"),
    ),
    (
        &[Costs],
        row(
            "group_by",
            Honoured,
            "some of `user_id`, `api_key_id`, `line_item`; others are refused",
        ),
    ),
    (USED, row("user_ids", Honoured, "up to 32 ids of people; `system` is the server itself")),
    (ALL_USED, row("api_key_ids", Honoured, "up to 32 ids of keys")),
    (USED, row("models", Honoured, "up to 32 models, by their own names")),
    (&[Costs], row("line_items", Honoured, "up to 32 models, by their own names")),
    (
        &[UsageOfCompletions],
        row("batch", Only(&["false"], "use is not kept apart by batch"), "false"),
    ),
    (ALL_USED, row("project_ids", Only(&[], "there are no projects here"), "nothing")),
    (
        KEPT,
        row(
            "include",
            Honoured,
            "`message.output_text.logprobs`, `reasoning.encrypted_content`: what was kept is shown, whichever is named",
        ),
    ),
    (&[Response], row("stream", Only(&["false"], WHOLE), "false")),
    (&[Response], row("starting_after", Only(&[], WHOLE), "nothing")),
    (
        &[Response],
        row(
            "include_obfuscation",
            Honoured,
            "true or false: both without effect, as nothing streams",
        ),
    ),
    (&[InputItems], row("after", Honoured, "the id of an item of this response")),
    (&[InputItems], row("limit", Honoured, "1 to 100; 20 where absent")),
    (&[InputItems], row("order", Honoured, "`desc` (the default) or `asc`")),
    (&[TheirModels], row("limit", Honoured, "1 to 1000; 20 where absent")),
    (&[TheirModels], row("after_id", Honoured, "the id of a model of the list")),
    (
        &[TheirModels],
        row("before_id", Honoured, "the id of a model of the list; not beside `after_id`"),
    ),
    (
        &[TheirModels],
        row(
            "lifecycle",
            Honoured,
            "some of `active`, `deprecated`, `retired`; all models here are in the first",
        ),
    ),
    (&[TheirModels], row("beta", WithoutEffect("the address of betas gives the same"), "anything")),
    (
        &[TheirModels],
        row("workspace_id", WithoutEffect("there are no workspaces here"), "anything"),
    ),
];

/// What is to be honoured of a query, each name as it was written: a list may have `[]` behind its name.
/// Refuses by name whatever is not in the table or cannot be done, and leaves out what has no effect.
pub(super) fn honoured(
    query: &[(String, String)],
    address: Address,
) -> Result<Vec<(&str, &str)>, ApiError> {
    let mut left = Vec::new();
    for (name, value) in query {
        let plain = name.strip_suffix("[]").unwrap_or(name);
        let mut rows = ROWS.iter().filter(|(on, _)| on.contains(&address));
        let (_, row) = rows.find(|(_, row)| row.name == plain).ok_or_else(|| unknown(name))?;
        match row.treatment {
            WithoutEffect(_) => {}
            Only(accepted, _) if accepted.contains(&value.as_str()) => {}
            Only(_, reason) => return Err(unsupported(name, row, reason)),
            _ => left.push((name.as_str(), value.as_str())),
        }
    }
    Ok(left)
}

/// The tables as Markdown: the page, the name, the table.
#[cfg(test)]
pub(crate) fn markdown() -> [(&'static str, &'static str, String); 3] {
    let used = [
        ("usage of completions", UsageOfCompletions),
        ("other usage", OtherUsage),
        ("costs", Costs),
    ];
    let kept = [("a response", Response), ("input items", InputItems)];
    let of_theirs = ROWS.iter().filter(|(on, _)| on.contains(&TheirModels)).map(|(_, row)| *row);
    let theirs = super::text_parameters::table(&of_theirs.collect::<Vec<_>>());
    [
        ("openai-compat.md", "usage", table(&used)),
        ("openai-compat.md", "kept", table(&kept)),
        ("anthropic-compat.md", "models", theirs),
    ]
}

/// The rows of these addresses, with a column for each.
#[cfg(test)]
fn table(columns: &[(&str, Address)]) -> String {
    use std::fmt::Write as _;
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let lines = " --- |".repeat(columns.len() + 3);
    let mut text =
        format!("| parameter | {} | what happens | accepted |\n|{lines}\n", names.join(" | "));
    for (on, row) in ROWS {
        let marks: Vec<&str> =
            columns.iter().map(|(_, one)| if on.contains(one) { "yes" } else { "" }).collect();
        if marks.iter().any(|mark| !mark.is_empty()) {
            let (marks, happens) = (marks.join(" | "), row.treatment.describe());
            // Writing to a text does not fail.
            let _ = writeln!(text, "| `{}` | {marks} | {happens} | {} |", row.name, row.accepts);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::ErrorCode;

    #[test]
    fn a_name_stands_once_for_each_address() {
        for (place, (on, row)) in ROWS.iter().enumerate() {
            let same = ROWS[..place].iter().filter(|(_, other)| other.name == row.name);
            for (others, _) in same {
                assert!(on.iter().all(|address| !others.contains(address)), "{}", row.name);
            }
        }
    }

    /// What is left, or the code and the parameter of the refusal.
    fn read(address: Address, query: &[(&str, &str)]) -> Result<String, (ErrorCode, String)> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let query: Vec<(String, String)> = query.iter().map(pair).collect();
        match honoured(&query, address) {
            Ok(left) => {
                let texts = left.iter().map(|(name, value)| format!("{name}={value}"));
                Ok(texts.collect::<Vec<_>>().join("&"))
            }
            Err(error) => Err((error.code(), error.at_fault().unwrap_or_default().to_owned())),
        }
    }

    #[test]
    fn what_has_no_effect_is_left_out_and_what_cannot_be_done_is_refused_by_name() {
        let (unknown, unsupported) = (ErrorCode::UnknownParameter, ErrorCode::UnsupportedParameter);
        let kept = read(Response, &[("stream", "false"), ("include[]", "x"), ("include", "y")]);
        assert_eq!(kept.as_deref(), Ok("include[]=x&include=y"));
        let theirs = read(TheirModels, &[("beta", "true"), ("workspace_id", ""), ("limit", "1")]);
        assert_eq!(theirs.as_deref(), Ok("limit=1"));
        for (address, name, value, code) in [
            (Response, "stream", "true", unsupported),
            (Response, "stream", "\"false\"", unsupported),
            (Response, "starting_after", "", unsupported),
            (Response, "after", "x", unknown),
            (InputItems, "stream", "false", unknown),
            (Costs, "models", "a", unknown),
            (Costs, "project_ids[]", "p", unsupported),
            (OtherUsage, "batch", "false", unknown),
            (UsageOfCompletions, "batch", "true", unsupported),
            (TheirModels, "order", "asc", unknown),
            (TheirModels, "", "", unknown),
        ] {
            assert_eq!(read(address, &[(name, value)]), Err((code, name.to_owned())), "{name}");
        }
    }
}
