//! Texts to vectors, and texts judged against a query: the same road as every generation. Nothing
//! that a model wrote leaves, so there is no watch at its end.

use std::time::Instant;

use tokio::sync::oneshot;

use super::catalog::Model;
use super::error::GateError;
use super::loaded::Engines;
use super::metrics::Observation;
use super::prompt::by_length;
use super::record::{Begun, Spent, event, outcome};
use super::request::{Ending, ExchangeUsage, Notice, Purpose};
use super::running::Place;
use super::{Entry, Gate, domain, fits};
use crate::access::Caller;
use crate::audit::{Action, Outcome};
use crate::engine::{Cut, Dimensions, EmbedInput, EmbedRequest, Embedder, EngineError, Weight};
use crate::guard::Direction;
use crate::ids::RequestId;
use crate::limits::{Reservation, ReservedFor, Wanted};

/// Texts of one request.
pub(crate) const TEXTS_MAX: usize = 2_048;
/// Tokens of one request, of all its texts together.
const TOKENS_MAX: usize = 300_000;

/// What somebody wants to know of texts.
#[derive(Clone, Debug)]
pub(crate) enum EmbedTexts {
    /// A vector of each.
    Each(Vec<EmbedText>),
    /// How well each document answers the query.
    Ranked {
        /// The query.
        query: String,
        /// The documents.
        documents: Vec<String>,
    },
}

/// A text, in one form or the other.
#[derive(Clone, Debug)]
pub(crate) enum EmbedText {
    /// As it is.
    Text(String),
    /// Tokens; they are read as the text that they stand for, so that none of them is a control.
    Tokens(Vec<u32>),
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct EmbedAsk {
    /// The model's name or alias; none means the first of the kind that is needed.
    pub(crate) model: Option<String>,
    /// The texts.
    pub(crate) texts: EmbedTexts,
    /// What is done with one that is too long.
    pub(crate) cut: Cut,
    /// How many numbers a vector is to have; none: as many as the model gives.
    pub(crate) dimensions: Option<usize>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Embedded {
    /// The request at hand.
    pub(crate) id: RequestId,
    /// The model's own name.
    pub(crate) model: String,
    /// For each text a vector of length 1, or the logit of "it answers the query".
    pub(crate) vectors: Vec<Vec<f32>>,
    /// Tokens of all texts, those around them among them.
    pub(crate) tokens: u64,
    /// What the guard did.
    pub(crate) notices: Vec<Notice>,
}

impl EmbedAsk {
    /// What it is for.
    pub(crate) fn purpose(&self) -> Purpose {
        match self.texts {
            EmbedTexts::Each(_) => Purpose::Embeddings,
            EmbedTexts::Ranked { .. } => Purpose::Rerank,
        }
    }
}

impl Gate {
    /// The road for texts. Dropping the future ends the work.
    pub(crate) async fn embed(
        &self,
        caller: &Caller,
        ask: EmbedAsk,
    ) -> Result<Embedded, GateError> {
        let (gate, by) = (self.clone(), caller.clone());
        let (present, left) = oneshot::channel::<()>();
        // On its own task: a caller who goes away half-way leaves no half-written books.
        let road = async move {
            let entry = gate.enter(&by, ask.purpose()).await?;
            let result = gate.embed_road(entry, ask, left).await;
            gate.counted(result)
        };
        let result = self.inner.parts.runtime.spawn(road).await;
        drop(present);
        result?
    }

    async fn embed_road(
        &self,
        entry: Entry,
        ask: EmbedAsk,
        left: oneshot::Receiver<()>,
    ) -> Result<Embedded, GateError> {
        let purpose = ask.purpose();
        // The place is kept to the end, so that a shutdown waits for the last record.
        let Entry { caller, mut place, mut reservation, begun: at } = entry;
        let caller = &caller;
        let model = self.authorise(caller, purpose, ask.model.as_deref()).await?;
        let (model, lease) = self.ready(caller, &model, &mut place, None).await?;
        place.keep(lease);
        fits(&model, purpose)?;
        self.narrow(caller, &model, &mut reservation).await?;
        let draft = EmbedDraft::make(&model, ask).await?;
        let wanted = Wanted::exactly(draft.tokens as u64);
        self.reserve(caller, &model, &mut reservation, wanted).await?;
        let (draft, reservation, notices) =
            self.inspect_texts(caller, &model, draft, reservation).await?;
        let accounts = reservation.reserved_for();
        let begun =
            match self.record_texts(caller, &model, purpose, &draft, &notices, accounts).await {
                Ok(begun) => begun,
                Err(error) => {
                    // Nothing ran, and nothing is on disk.
                    reservation.settle(0);
                    return Err(error);
                }
            };
        let (tokens, dimensions) = (draft.tokens as u64, draft.dimensions);
        let engine = draft.engine.clone();
        let result = run(draft, caller, self.weight(caller), &mut place, left).await;
        self.close_texts(&begun, reservation, &result, at).await;
        let mut vectors = result?;
        if let Some(count) = dimensions {
            let kind = engine.dimensions();
            vectors = vectors.into_iter().map(|vector| kind.cut(vector, count)).collect();
        }
        Ok(Embedded { id: caller.request, model: model.name.clone(), vectors, tokens, notices })
    }

    /// Holds every text against the policy, and puts the guard's in the place of the caller's.
    async fn inspect_texts(
        &self,
        caller: &Caller,
        model: &Model,
        draft: EmbedDraft,
        reservation: Reservation,
    ) -> Result<(EmbedDraft, Reservation, Vec<Notice>), GateError> {
        let (bytes, guard) = (draft.bytes(), self.guard().clone());
        let work = move || {
            // How many texts there may be, the API itself says.
            let verdict = guard.inspect(&draft.texts, 1, Direction::Input);
            (draft, verdict)
        };
        let (mut draft, verdict) = by_length(bytes, work).await?;
        let (reservation, notices) = self.rule(caller, model, &verdict, reservation).await?;
        if let Some(texts) = verdict.texts {
            let bytes = texts.iter().map(String::len).sum();
            draft.texts = texts;
            draft = match by_length(bytes, move || draft.count()).await.flatten() {
                Ok(draft) => draft,
                Err(error) => {
                    return Err(self.refuse(caller, model, reservation, &notices, error).await);
                }
            };
        }
        Ok((draft, reservation, notices))
    }

    async fn record_texts(
        &self,
        caller: &Caller,
        model: &Model,
        purpose: Purpose,
        draft: &EmbedDraft,
        found: &[Notice],
        accounts: ReservedFor,
    ) -> Result<Begun, GateError> {
        // A number that is no token stands between the texts.
        let all: Vec<u32> = draft
            .inputs
            .iter()
            .flat_map(|input| input.tokens().iter().copied().chain([u32::MAX]))
            .collect();
        let start = event(caller, Action::GenerationStart, Outcome::Started)
            .subject(&model.name)
            .with("purpose", purpose.name())
            .with("model_sha256", model.digest.clone())
            .with("texts", draft.inputs.len())
            .with("prompt_tokens", draft.tokens)
            .with("prompt_digest", self.prompt_digest(&all)?)
            .with("guard", super::record::notices(found));
        self.record(Some(accounts), vec![start]).await?;
        Ok(Begun {
            caller: caller.clone(),
            purpose,
            model: model.name.clone(),
            prompt_tokens: draft.tokens as u64,
        })
    }

    /// Settles the limits, closes the record, counts.
    async fn close_texts(
        &self,
        begun: &Begun,
        reservation: Reservation,
        result: &Result<Vec<Vec<f32>>, GateError>,
        at: Instant,
    ) {
        // What the engine had no place for took nothing.
        let prompt_tokens =
            if matches!(result, Err(GateError::Busy)) { 0 } else { begun.prompt_tokens };
        let usage = ExchangeUsage { prompt_tokens, ..ExchangeUsage::default() };
        let accounts = reservation.settle(usage.total());
        let (whole, first_token) = (at.elapsed(), None);
        let spent = Spent { usage, whole, first_token, notices: &[] };
        let ending = match result {
            Ok(vectors) if vectors.is_empty() => Ok(Ending::Cancelled),
            Ok(_) => Ok(Ending::Stop),
            Err(error) => Err(error.clone()),
        };
        self.record_end(begun, Some(accounts), &ending, &spent).await;
        self.inner.metrics.observe(&Observation {
            model: &begun.model,
            purpose: begun.purpose.name(),
            outcome: outcome(&ending).name(),
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: 0,
            whole,
            first_token,
            decode: usage.decode,
        });
    }
}

/// Lets the engine work until it is done, the caller has left, or access is withdrawn. No vectors:
/// nobody waits for them.
async fn run(
    draft: EmbedDraft,
    caller: &Caller,
    weight: Weight,
    place: &mut Place,
    left: oneshot::Receiver<()>,
) -> Result<Vec<Vec<f32>>, GateError> {
    let EmbedDraft { engine, inputs, .. } = draft;
    let request = EmbedRequest { inputs, domain: domain(caller.user), weight, time_limit: None };
    let running = engine.embed(request)?;
    tokio::select! {
        biased;
        end = place.ended() => Err(end.into()),
        _ = left => Ok(Vec::new()),
        made = running.wait() => made.map_err(GateError::from),
    }
}

/// A request whose tokens are known.
struct EmbedDraft {
    engine: Embedder,
    /// The texts, and for a judgement the query in front of them.
    texts: Vec<String>,
    is_ranked: bool,
    cut: Cut,
    dimensions: Option<usize>,
    inputs: Vec<EmbedInput>,
    /// Of all inputs together.
    tokens: usize,
}

impl EmbedDraft {
    async fn make(model: &Model, ask: EmbedAsk) -> Result<Self, GateError> {
        let Some(Engines::Embed(engine)) = model.engine.clone() else {
            return Err(GateError::ModelNotReady("It is being loaded.".to_owned()));
        };
        let kind = engine.dimensions();
        if ask.dimensions.is_some_and(|count| !kind.allow(count)) {
            let expected = match kind {
                Dimensions::Nested(_) => "32 up to the number that the model's vectors have",
                Dimensions::Fixed(_) | Dimensions::Rank => {
                    "the number that the model's vectors have, as it was not made for shorter ones"
                }
            };
            return Err(GateError::OutOfRange { parameter: "dimensions", expected });
        }
        let EmbedAsk { texts, cut, dimensions, .. } = ask;
        let bytes = match &texts {
            EmbedTexts::Each(texts) => texts.iter().map(EmbedText::bytes).sum(),
            EmbedTexts::Ranked { query, documents } => {
                query.len() + documents.iter().map(String::len).sum::<usize>()
            }
        };
        let count = move || {
            let is_ranked = matches!(texts, EmbedTexts::Ranked { .. });
            let texts = read(&engine, texts)?;
            let draft =
                Self { engine, texts, is_ranked, cut, dimensions, inputs: Vec::new(), tokens: 0 };
            draft.count()
        };
        by_length(bytes, count).await?
    }

    /// Turns the texts into tokens.
    fn count(mut self) -> Result<Self, GateError> {
        let (query, texts) = match self.texts.split_first() {
            // Cut into tokens once, not anew for every document.
            Some((query, texts)) if self.is_ranked => (Some(self.engine.encode(query)), texts),
            _ => (None, &self.texts[..]),
        };
        let (mut inputs, mut tokens) = (Vec::with_capacity(texts.len()), 0_usize);
        for (place, text) in texts.iter().enumerate() {
            let made = match &query {
                Some(query) => self.engine.pair(query, text, self.cut),
                None => self.engine.text(text, self.cut),
            };
            let input = made.map_err(|error| match error {
                EngineError::PromptTooLong { tokens, tokens_max } => {
                    let parameter = if query.is_some() { "documents" } else { "input" };
                    GateError::TextTooLong { parameter, place, tokens, tokens_max }
                }
                other => other.into(),
            })?;
            tokens += input.tokens().len();
            if tokens > TOKENS_MAX {
                let parameter = if query.is_some() { "documents" } else { "input" };
                let expected = "texts of at most 300000 tokens together";
                return Err(GateError::OutOfRange { parameter, expected });
            }
            inputs.push(input);
        }
        (self.inputs, self.tokens) = (inputs, tokens);
        Ok(self)
    }

    fn bytes(&self) -> usize {
        self.texts.iter().map(String::len).sum()
    }
}

/// The texts as text.
fn read(engine: &Embedder, texts: EmbedTexts) -> Result<Vec<String>, GateError> {
    let vocabulary = engine.info().vocabulary;
    let one = |text| match text {
        EmbedText::Text(text) => Ok(text),
        EmbedText::Tokens(tokens) if tokens.iter().any(|one| *one as usize >= vocabulary) => {
            let expected = "tokens of the model's vocabulary";
            Err(GateError::OutOfRange { parameter: "input", expected })
        }
        EmbedText::Tokens(tokens) => Ok(engine.detokenize(&tokens)),
    };
    match texts {
        EmbedTexts::Each(texts) => texts.into_iter().map(one).collect(),
        EmbedTexts::Ranked { query, documents } => {
            Ok(std::iter::once(query).chain(documents).collect())
        }
    }
}

impl EmbedText {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Tokens(tokens) => tokens.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::testing::{House, Scripted, Then, caller};
    use super::super::{Catalog, Model};
    use super::*;
    use crate::engine::{EngineOptions, LoadProgress, Loaded, Weights};

    struct Only(Arc<Model>);

    impl Catalog for Only {
        fn find(&self, _: Option<&str>) -> Option<Arc<Model>> {
            Some(Arc::clone(&self.0))
        }

        fn all(&self) -> Vec<Arc<Model>> {
            vec![Arc::clone(&self.0)]
        }
    }

    async fn house() -> (House, Engines) {
        let file = "tests/engine/embeddings/bert-mean.gguf";
        let weights = Weights::File(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        let loaded = Loaded::load(weights, EngineOptions::default(), &LoadProgress::new());
        let engines = Engines::from(loaded.expect("loads"));
        let house = House::new(Scripted::new(&[], Then::Finish)).await;
        let model = Model::new("m", house.clock.now()).ready(engines.clone(), &house.clock);
        (house.with_catalog(Arc::new(Only(Arc::new(model)))), engines)
    }

    fn ask(texts: &[&str]) -> EmbedAsk {
        let texts = texts.iter().map(|text| EmbedText::Text((*text).to_owned())).collect();
        let texts = EmbedTexts::Each(texts);
        EmbedAsk { model: None, texts, cut: Cut::Never, dimensions: None }
    }

    #[tokio::test]
    async fn texts_are_on_record_without_a_word_of_them() {
        let (house, _) = house().await;
        let made = house.gate.embed(&caller(), ask(&["t9 t10", "t11"])).await.expect("passes");
        assert_eq!((made.vectors.len(), made.tokens), (2, 7));
        assert_eq!(house.events().await, ["generation.start started", "generation.end done"]);
        let records: String = house
            .records()
            .await
            .iter()
            .map(|record| String::from_utf8_lossy(&record.body).into_owned())
            .collect();
        assert!(records.contains("embeddings") && !records.contains("t9 t10"), "{records}");
    }

    #[tokio::test]
    async fn what_the_guard_refuses_reaches_no_engine() {
        let (house, engines) = house().await;
        let refused = house.gate.embed(&caller(), ask(&["t9", "forbidden words"])).await;
        assert!(matches!(refused, Err(GateError::Refused { .. })));
        assert_eq!(house.events().await, ["generation.refuse denied"]);
        assert_eq!(engines.stats().steps_total, 0);
    }

    #[tokio::test]
    async fn a_judgement_is_not_to_be_had_of_a_model_that_makes_vectors() {
        let (house, _) = house().await;
        let texts = EmbedTexts::Ranked { query: "t9".into(), documents: vec!["t10".into()] };
        let refused = house.gate.embed(&caller(), EmbedAsk { texts, ..ask(&[]) }).await;
        assert!(matches!(refused, Err(GateError::WrongKind(_))));
        let house = house.that_withdrew_everything();
        let refused = house.gate.embed(&caller(), ask(&["t9"])).await;
        assert!(matches!(refused, Err(GateError::Revoked)));
    }
}
