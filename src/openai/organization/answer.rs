//! A page as OpenAI's clients read it. What is not kept apart is null.

use schemars::JsonSchema;
use serde::Serialize;

use super::query::Query;
use crate::usage::Sum;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Completions,
    Embeddings,
    Moderations,
    Costs,
}

impl Kind {
    /// The name, as the audit log writes it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Costs => "costs",
        }
    }
}

/// Some of the buckets, in the order of time.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsagePage")]
pub(super) struct Page {
    #[schemars(extend("const" = "page"))]
    object: &'static str,
    data: Vec<Bucket>,
    has_more: bool,
    next_page: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageBucket")]
struct Bucket {
    #[schemars(extend("const" = "bucket"))]
    object: &'static str,
    start_time: i64,
    end_time: i64,
    results: Vec<Counted>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "UsageResult")]
enum Counted {
    Completions(Completions),
    Texts(Texts),
    Costs(Costs),
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageOfCompletions")]
struct Completions {
    #[schemars(extend("const" = "organization.usage.completions.result"))]
    object: &'static str,
    input_tokens: u64,
    input_cached_tokens: u64,
    input_uncached_tokens: u64,
    output_tokens: u64,
    input_audio_tokens: u64,
    output_audio_tokens: u64,
    num_model_requests: u64,
    project_id: Option<String>,
    user_id: Option<String>,
    api_key_id: Option<String>,
    model: Option<String>,
    batch: Option<bool>,
    service_tier: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageOfTexts")]
struct Texts {
    #[schemars(extend("enum" = ["organization.usage.embeddings.result", "organization.usage.moderations.result"]))]
    object: &'static str,
    input_tokens: u64,
    num_model_requests: u64,
    project_id: Option<String>,
    user_id: Option<String>,
    api_key_id: Option<String>,
    model: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageCosts")]
struct Costs {
    #[schemars(extend("const" = "organization.costs.result"))]
    object: &'static str,
    amount: Amount,
    line_item: Option<String>,
    project_id: Option<String>,
    user_id: Option<String>,
    api_key_id: Option<String>,
    quantity: Option<f64>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UsageCost")]
struct Amount {
    value: f64,
    currency: String,
}

impl Page {
    /// The page of these sums, which are in the order of time.
    pub(super) fn new(kind: Kind, query: &Query, sums: Vec<Sum>, currency: &str) -> Self {
        let width = query.span.width.seconds();
        let mut sums = sums.into_iter().peekable();
        let data = (query.span.first..query.span.end).map(|slot| {
            let mut results = Vec::new();
            while let Some(sum) = sums.next_if(|sum| sum.slot == Some(slot)) {
                results.push(counted(kind, sum, currency));
            }
            let (start_time, end_time) = (slot * width, (slot + 1) * width);
            Bucket { object: "bucket", start_time, end_time, results }
        });
        let (data, next_page) = (data.collect(), query.next_page());
        Self { object: "page", data, has_more: next_page.is_some(), next_page }
    }
}

fn counted(kind: Kind, sum: Sum, currency: &str) -> Counted {
    let Sum { user: user_id, model, requests: num_model_requests, tokens, cost, .. } = sum;
    // What came without a key has none.
    let api_key_id = sum.key.filter(|key| !key.is_empty());
    let texts = |object, user_id, api_key_id, model| {
        let (input_tokens, project_id) = (tokens.input, None);
        Counted::Texts(Texts {
            object,
            input_tokens,
            num_model_requests,
            project_id,
            user_id,
            api_key_id,
            model,
        })
    };
    match kind {
        Kind::Completions => Counted::Completions(Completions {
            object: "organization.usage.completions.result",
            input_tokens: tokens.input,
            input_cached_tokens: tokens.cached,
            input_uncached_tokens: tokens.input.saturating_sub(tokens.cached),
            output_tokens: tokens.output,
            input_audio_tokens: 0,
            output_audio_tokens: 0,
            num_model_requests,
            project_id: None,
            user_id,
            api_key_id,
            model,
            batch: None,
            service_tier: None,
        }),
        Kind::Embeddings => {
            texts("organization.usage.embeddings.result", user_id, api_key_id, model)
        }
        Kind::Moderations => {
            texts("organization.usage.moderations.result", user_id, api_key_id, model)
        }
        Kind::Costs => Counted::Costs(Costs {
            object: "organization.costs.result",
            amount: Amount { value: cost.approximate(), currency: currency.to_ascii_lowercase() },
            line_item: model,
            project_id: None,
            user_id,
            api_key_id,
            quantity: None,
        }),
    }
}
