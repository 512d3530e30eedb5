//! What was used, and what it cost.

use super::{Field, Gives, Operation, get, query};
use crate::web::ErrorCode;

const USAGE: &str = "Usage";
const SECONDS: &str = r#"{"type": "integer", "minimum": 0, "maximum": 1099511627776}"#;
const NAMES: &str = r#"{"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 128}, "maxItems": 32}"#;

const START: Field = Field {
    is_required: true,
    ..query("start_time", SECONDS, "the seconds since 1970 from which on to count")
};
const END: Field = query(
    "end_time",
    SECONDS,
    "the seconds since 1970 up to which to count, after `start_time`; now where absent",
);
const PAGE: Field = query(
    "page",
    r#"{"type": "string", "pattern": "^page_[0-9]+$"}"#,
    "the `next_page` of an answer to the same request",
);
const WIDTH: Field = query(
    "bucket_width",
    r#"{"enum": ["1h", "1d"], "default": "1d"}"#,
    "how long a bucket is; by the hour for the last 35 days",
);
const LIMIT: Field = query(
    "limit",
    r#"{"type": "integer", "minimum": 1, "maximum": 168}"#,
    "so many buckets at most: up to 31 days (7 where absent), or up to 168 hours (24 where absent)",
);
const PEOPLE: Field = query(
    "user_ids",
    r#"{"type": "array", "items": {"type": "string", "pattern": "^(system|usr_[0-9a-f]{32})$"}, "maxItems": 32}"#,
    "only what these people used; also as `user_ids[]`",
);
const KEYS: Field = query(
    "api_key_ids",
    r#"{"type": "array", "items": {"type": "string", "pattern": "^key_[0-9a-f]{32}$"}, "maxItems": 32}"#,
    "only what came with these keys; also as `api_key_ids[]`",
);
const OF_MODELS: Field = query("models", NAMES, "only what these models did; also as `models[]`");
const GROUPS: Field = query(
    "group_by",
    r#"{"type": "array", "items": {"enum": ["user_id", "api_key_id", "model"]}}"#,
    "what the results of a bucket are kept apart by; also as `group_by[]`",
);

const OF_USE: &[Field] = &[START, END, WIDTH, LIMIT, PAGE, PEOPLE, KEYS, OF_MODELS, GROUPS];
const OF_COMPLETIONS: &[Field] = &[
    START,
    END,
    WIDTH,
    LIMIT,
    PAGE,
    PEOPLE,
    KEYS,
    OF_MODELS,
    GROUPS,
    query("batch", r#"{"enum": ["false"]}"#, "there are no batches"),
];
const OF_COSTS: &[Field] = &[
    START,
    END,
    query("bucket_width", r#"{"enum": ["1d"]}"#, "costs are given by the day"),
    query(
        "limit",
        r#"{"type": "integer", "minimum": 1, "maximum": 180, "default": 7}"#,
        "so many buckets at most",
    ),
    PAGE,
    KEYS,
    query("line_items", NAMES, "only what these models cost; also as `line_items[]`"),
    query(
        "group_by",
        r#"{"type": "array", "items": {"enum": ["user_id", "api_key_id", "line_item"]}}"#,
        "what the results of a bucket are kept apart by; also as `group_by[]`",
    ),
];

const fn used(path: &'static str, id: &'static str, fields: &'static [Field]) -> Operation {
    Operation {
        fields,
        refusals: &[
            ErrorCode::InvalidValue,
            ErrorCode::UnknownParameter,
            ErrorCode::UnsupportedParameter,
        ],
        ..get(path, id, USAGE, Gives::Json("UsagePage"))
    }
}

/// The table.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        summary: "Sums up the tokens of chats, texts and evaluations by the hour or the day. The key is that of somebody who may see everybody's use.",
        ..used("/v1/organization/usage/completions", "usageOfCompletions", OF_COMPLETIONS)
    },
    Operation {
        summary: "Sums up the tokens that vectors and ranks were made from.",
        ..used("/v1/organization/usage/embeddings", "usageOfEmbeddings", OF_USE)
    },
    Operation {
        summary: "Sums up what was held against the guard's policy.",
        ..used("/v1/organization/usage/moderations", "usageOfModerations", OF_USE)
    },
    Operation {
        summary: "Sums up what everything cost by the day, at the prices of the configuration.",
        ..used("/v1/organization/costs", "costs", OF_COSTS)
    },
];
