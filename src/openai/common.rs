//! What both endpoints read in the same way: sampling, stops, bounds, streaming.

use serde_json::Value;

use super::fields::{Fields, wrong};
use crate::engine::Sampling;
use crate::web::ApiError;

const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 256;
const BIASES_MAX: usize = 1024;
const TOP_K_MAX: i64 = 1_000_000;

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
    if let Some(name) = options.names().next() {
        return Err(super::parameters::unknown(&options.path(name)));
    }
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
        // The whole range of a signed number is a seed; which number it becomes does not matter.
        seed: fields.whole("seed", i64::MIN..=i64::MAX)?.map(i64::cast_unsigned),
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32,
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32,
        repetition_penalty: fields.number("repetition_penalty", 0.1..=10.0)?.unwrap_or(1.0) as f32,
        logit_bias: logit_bias(fields)?,
    };
    // A share of nothing keeps the most likely token alone.
    if sampling.top_p <= 0.0 {
        sampling.top_p = 1.0;
        sampling.top_k = 1;
    }
    Ok(sampling)
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

/// Reads `stop`.
pub(super) fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let refused = || wrong("stop", "a text, or a list of up to 16 texts of 1 to 256 bytes");
    let texts = match fields.take("stop") {
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
