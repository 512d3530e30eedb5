//! How likely a model finds given continuations: for the evaluations, on the same road as every
//! generation but for the guard, since nothing that is generated leaves.

use std::time::Instant;

use super::error::GateError;
use super::prompt::by_length;
use super::record::{Begun, Spent, event};
use super::request::{Ending, ExchangeUsage, Purpose};
use super::{Gate, subject};
use crate::access::Caller;
use crate::audit::{Action, Outcome};
use crate::engine::{Score, ScoreItem};

/// A text and what might follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScoreText {
    /// What stands before.
    pub(crate) prefix: String,
    /// What is judged.
    pub(crate) continuation: String,
}

/// The most items of one request.
const ITEMS_MAX: usize = 4096;

impl Gate {
    /// Judges continuations, in the order in which they are given.
    pub(crate) async fn score(
        &self,
        caller: &Caller,
        model: Option<&str>,
        texts: Vec<ScoreText>,
    ) -> Result<Vec<Score>, GateError> {
        let begun_at = Instant::now();
        let mut place = self.inner.running.enter(caller)?;
        let model = self.authorise(caller, Purpose::Evaluation, model).await?;
        let (model, lease) = self.ready(caller, &model, &mut place, None).await?;
        place.keep(lease);
        let engine = model.generator().ok_or(GateError::ModelNotFound)?;
        if texts.len() > ITEMS_MAX {
            return Err(GateError::OutOfRange { parameter: "items", expected: "at most 4096" });
        }
        let count = texts.len();
        let bytes = texts.iter().map(|text| text.prefix.len() + text.continuation.len()).sum();
        let counting = engine.clone();
        let items: Vec<ScoreItem> = by_length(bytes, move || {
            texts.iter().map(|text| item(&*counting, text)).collect::<Result<_, _>>()
        })
        .await??;
        let tokens: usize =
            items.iter().map(|item| item.prefix.len() + item.continuation.len()).sum();
        // Evaluations are the server's own work: they are counted, and no limit of a person
        // stands in their way.
        let record = event(caller, Action::GenerationStart, Outcome::Started)
            .subject(&model.name)
            .with("purpose", "score")
            .with("model_sha256", model.digest.clone())
            .with("items", count)
            .with("prompt_tokens", tokens);
        self.record(None, vec![record]).await?;
        let result = tokio::select! {
            end = place.ended() => Err(GateError::from(end)),
            scores = engine.score(items, super::domain(subject(caller).user)) => {
                scores.map_err(GateError::from)
            }
        };
        let begun = Begun {
            caller: caller.clone(),
            purpose: Purpose::Evaluation,
            model: model.name.clone(),
            prompt_tokens: tokens as u64,
        };
        let usage = ExchangeUsage { prompt_tokens: tokens as u64, ..ExchangeUsage::default() };
        let whole = begun_at.elapsed();
        let spent = Spent { usage, whole, first_token: None, notices: &[] };
        let ending = result.as_ref().map(|_| Ending::Stop).map_err(Clone::clone);
        self.record_end(&begun, None, &ending, &spent).await;
        result
    }
}

/// Splits the tokens of the whole text where the prefix ends. A space at the end of the prefix
/// belongs to what follows, as tokenizers join it to the next word.
fn item(engine: &dyn super::Generate, text: &ScoreText) -> Result<ScoreItem, GateError> {
    let kept = text.prefix.trim_end();
    let moved = &text.prefix[kept.len()..];
    let continuation = format!("{moved}{}", text.continuation);
    let whole = engine.tokenize(&format!("{kept}{continuation}"));
    let before = engine.tokenize(kept).len().clamp(1, whole.len().saturating_sub(1).max(1));
    if whole.len() < 2 {
        return Err(GateError::EmptyPrompt { parameter: None });
    }
    let (prefix, continuation) = whole.split_at(before);
    Ok(ScoreItem { prefix: prefix.to_vec(), continuation: continuation.to_vec() })
}
