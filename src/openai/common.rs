//! What both endpoints read in the same way: sampling, stops, bounds, streaming.

use serde_json::Value;

use super::fields::{Fields, wrong};
use crate::engine::{Dry, Sampling};
use crate::web::ApiError;

/// What the specification allows; the engine may have places for fewer.
const CHOICES_MAX: i64 = 128;
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 256;
const BIASES_MAX: usize = 1024;
const TOP_K_MAX: i64 = 1_000_000;
/// More tokens than any context has.
const LAST_N_MAX: i64 = 100_000_000;
const BREAKERS_MAX: usize = 64;
const BREAKER_BYTES_MAX: usize = 64;

/// How the answer is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) is_streamed: bool,
    pub(super) with_usage: bool,
}

/// Reads `stream` and `stream_options`.
pub(super) fn delivery(fields: &mut Fields) -> Result<Delivery, ApiError> {
    let is_streamed = fields.truth("stream")?.unwrap_or(false);
    let Some(options) = fields.take("stream_options") else {
        return Ok(Delivery { is_streamed, with_usage: false });
    };
    let mut options = Fields::nested("stream_options".into(), options)?;
    let with_usage = options.truth("include_usage")?.unwrap_or(false);
    // Padding against the reading of lengths; TLS records here carry several chunks each.
    options.truth("include_obfuscation")?;
    options.nothing_left()?;
    if !is_streamed && with_usage {
        return Err(wrong("stream_options", "only together with `stream`"));
    }
    Ok(Delivery { is_streamed, with_usage })
}

/// Reads everything that says how tokens are chosen.
pub(super) fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    let top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0) as f32;
    let top_k = fields.whole("top_k", 0..=TOP_K_MAX)?.unwrap_or(0);
    let mut sampling = Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0) as f32,
        top_p,
        top_k: u32::try_from(top_k).unwrap_or(0),
        min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0) as f32,
        typical_p: typical_p(fields)?,
        // The whole range of a signed number is a seed; which number it becomes does not matter.
        seed: fields.whole("seed", i64::MIN..=i64::MAX)?.map(i64::cast_unsigned),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32,
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32,
        repetition_penalty: fields.number("repetition_penalty", 0.1..=10.0)?.unwrap_or(1.0) as f32,
        repetition_last_n: last_n(fields, "repeat_last_n")?,
        dry: dry(fields)?,
        logit_bias: logit_bias(fields)?,
    };
    // A share of nothing keeps the most likely token alone.
    if sampling.top_p <= 0.0 {
        sampling.top_p = 1.0;
        sampling.top_k = 1;
    }
    Ok(sampling)
}

fn typical_p(fields: &mut Fields) -> Result<f32, ApiError> {
    match fields.number("typical_p", 0.0..=1.0)?.unwrap_or(1.0) as f32 {
        share if share > 0.0 => Ok(share),
        _ => Err(wrong("typical_p", "a number above 0, up to 1")),
    }
}

/// How many of the last tokens are looked at; -1, or nothing, means all.
fn last_n(fields: &mut Fields, name: &str) -> Result<Option<usize>, ApiError> {
    Ok(fields.whole(name, -1..=LAST_N_MAX)?.and_then(|count| usize::try_from(count).ok()))
}

/// Reads the penalty on repeated passages; it is off where its multiplier is not given, or 0.
fn dry(fields: &mut Fields) -> Result<Option<Dry>, ApiError> {
    let multiplier = fields.number("dry_multiplier", 0.0..=100.0)?.unwrap_or(0.0) as f32;
    let usual = Dry::default();
    let base = fields.number("dry_base", 1.0..=100.0)?.map_or(usual.base, |base| base as f32);
    let allowed = fields.whole("dry_allowed_length", 1..=LAST_N_MAX)?;
    let dry = Dry {
        multiplier,
        base,
        allowed_length: allowed
            .and_then(|length| usize::try_from(length).ok())
            .unwrap_or(usual.allowed_length),
        last_n: last_n(fields, "dry_penalty_last_n")?,
        sequence_breakers: breakers(fields)?.unwrap_or(usual.sequence_breakers),
    };
    Ok((multiplier > 0.0).then_some(dry))
}

fn breakers(fields: &mut Fields) -> Result<Option<Vec<String>>, ApiError> {
    const NAME: &str = "dry_sequence_breakers";
    let refused = || wrong(NAME, "a list of up to 64 texts of 1 to 64 bytes");
    let items = match fields.take(NAME) {
        None => return Ok(None),
        Some(Value::Array(items)) if items.len() <= BREAKERS_MAX => items,
        Some(_) => return Err(refused()),
    };
    let text = |item| match item {
        Value::String(text) if (1..=BREAKER_BYTES_MAX).contains(&text.len()) => Ok(text),
        _ => Err(refused()),
    };
    items.into_iter().map(text).collect::<Result<_, _>>().map(Some)
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(value) = fields.take("logit_bias") else { return Ok(Vec::new()) };
    let expected = "up to 1024 token numbers, each with a number from -100 to 100";
    let refused = || wrong("logit_bias", expected);
    let Value::Object(entries) = value else { return Err(refused()) };
    if entries.len() > BIASES_MAX {
        return Err(refused());
    }
    entries
        .iter()
        .map(|(token, bias)| {
            let digits_only = token.bytes().all(|byte| byte.is_ascii_digit());
            let token = token.parse::<u32>().ok().filter(|_| digits_only);
            let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
            token.zip(bias).map(|(token, bias)| (token, bias as f32)).ok_or_else(refused)
        })
        .collect()
}

/// Reads the texts that end an answer.
pub(super) fn stop(fields: &mut Fields, name: &str) -> Result<Vec<String>, ApiError> {
    let refused = || wrong(name, "a text, or a list of up to 16 texts of 1 to 256 bytes");
    let texts = match fields.take(name) {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) if items.len() <= STOPS_MAX => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(refused()),
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(refused()),
    };
    if texts.iter().all(|text| (1..=STOP_BYTES_MAX).contains(&text.len())) {
        Ok(texts)
    } else {
        Err(refused())
    }
}

/// Reads how many answers are asked for.
pub(super) fn choices(fields: &mut Fields) -> Result<usize, ApiError> {
    let count = fields.whole("n", 1..=CHOICES_MAX)?;
    Ok(count.and_then(|count| usize::try_from(count).ok()).unwrap_or(1))
}

/// Reads a bound on the answer.
pub(super) fn tokens_max(fields: &mut Fields, name: &str) -> Result<Option<usize>, ApiError> {
    let bound = fields.whole(name, 1..=i64::from(u32::MAX))?;
    Ok(bound.and_then(|bound| usize::try_from(bound).ok()))
}

/// Reads `model`. It is required by the specification; where it is left out the default is used,
/// as the clients of local servers expect.
pub(super) fn model(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let model = fields.text("model")?;
    match &model {
        Some(name) if name.is_empty() || name.len() > 256 => {
            Err(wrong("model", "the name of a model"))
        }
        _ => Ok(model),
    }
}
