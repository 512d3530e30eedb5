//! Values of every parameter that stands in an address.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::examples::{Example, UNSUPPORTED, of};
use crate::common::GUIDE;

const DAY_S: i64 = 86_400;

/// What the requests are about.
pub struct Known {
    /// A response that is kept, one of its items, and a key.
    pub response: String,
    pub item: String,
    pub key: String,
}

/// When yesterday began: usage is asked for from then on.
pub fn yesterday() -> i64 {
    (OffsetDateTime::now_utc().unix_timestamp() / DAY_S - 1) * DAY_S
}

/// A list that is as long as it may be, and one that is longer.
fn full(name: &str) -> [Value; 2] {
    [32, 33].map(|length| json!(vec![name; length]))
}

/// What is asked of use and of costs.
fn used(known: &Known) -> Vec<Example> {
    let (from, [keys, too_many]) = (yesterday(), full(&known.key));
    vec![
        of("start_time", [json!(from), json!(0)])
            .not([json!(-1), json!("1e9"), json!("x"), json!(1_i64 << 41), json!([from, from])])
            .required(),
        of("end_time", [json!(from + 1), json!(from + 9 * DAY_S)]).not([
            json!(from),
            json!(-1),
            json!("x"),
        ]),
        of("page", [json!(format!("page_{}", from + DAY_S))]).not([
            json!(2),
            json!("page_x"),
            json!("page_7"),
            json!(format!("page_{}", from - DAY_S)),
        ]),
        of("api_key_ids", [json!(known.key), keys]).not([json!("sr-1"), json!(""), too_many]),
    ]
}

fn names(name: &'static str) -> Example {
    let [names, too_many] = full(GUIDE);
    let long = json!("x".repeat(129));
    of(name, [json!(GUIDE), json!(["nobody", GUIDE]), names]).not([json!(""), long, too_many])
}

fn groups(by: &str, other: &str) -> Example {
    let all = json!(format!("user_id,api_key_id,{by}"));
    of("group_by", [json!(by), json!(["user_id", by]), all])
        .not([json!(other), json!("colour"), json!("")])
        .not_by(UNSUPPORTED, [json!("project_id"), json!("service_tier"), json!("batch")])
}

pub fn usage(known: &Known) -> Vec<Example> {
    let [people, too_many] = full("system");
    let mut all = used(known);
    all.extend([
        of("bucket_width", [json!("1d"), json!("1h")])
            .not([json!("1w"), json!(7)])
            .not_by(UNSUPPORTED, [json!("1m")]),
        of("limit", [json!(1), json!(31)]).not([json!(0), json!(32), json!(1.5), json!("x")]),
        of("user_ids", [json!("system"), people]).not([json!("olga"), json!(""), too_many]),
        names("models"),
        groups("model", "line_item"),
    ]);
    all
}

pub fn usage_of_completions(known: &Known) -> Vec<Example> {
    let mut all = usage(known);
    all.push(of("batch", [json!(false)]));
    all
}

pub fn costs(known: &Known) -> Vec<Example> {
    let mut all = used(known);
    all.extend([
        of("bucket_width", [json!("1d")]).not_by(UNSUPPORTED, [json!("1h"), json!("1m")]),
        of("limit", [json!(1), json!(180)]).not([json!(0), json!(181), json!(1.5), json!("x")]),
        names("line_items"),
        groups("line_item", "model"),
    ]);
    all
}

fn included() -> Example {
    let both = ["message.output_text.logprobs", "reasoning.encrypted_content"];
    of("include", [json!(both[0]), json!(both)])
        .not_by(UNSUPPORTED, [json!("x"), json!(""), json!("file_search_call.results")])
}

pub fn response() -> Vec<Example> {
    vec![
        included(),
        of("stream", [json!(false)]),
        of("include_obfuscation", [json!(true), json!(false)]).not([json!(1), json!("yes")]),
    ]
}

pub fn input_items(known: &Known) -> Vec<Example> {
    vec![
        included(),
        of("after", [json!(known.item)]).not([json!("x"), json!("")]),
        of("limit", [json!(1), json!(100)]).not([json!(0), json!(101), json!(1.5), json!("x")]),
        of("order", [json!("asc"), json!("desc")]).not([json!("up"), json!("")]),
    ]
}

/// Of Anthropic's clients.
pub fn models() -> Vec<Example> {
    vec![
        of("limit", [json!(1), json!(1_000)]).not([json!(0), json!(1_001), json!(1.5), json!("x")]),
        of("after_id", [json!(GUIDE)]).not([json!("nobody"), json!(""), json!([GUIDE, GUIDE])]),
        of("before_id", [json!(GUIDE)]).not([json!("nobody"), json!(""), json!([GUIDE, GUIDE])]),
        of("lifecycle", [json!("active"), json!(["retired", "deprecated"])])
            .not([json!("new"), json!("")]),
    ]
}
