//! Texts shown as tokens, and tokens as text: the same road up to the record, with no model at work
//! at its end. It takes a request of the limits, and no tokens, as nothing is read by a model. No
//! guard looks: what is shown goes back to whoever sent it.

use super::error::GateError;
use super::loaded::Engines;
use super::prompt::by_length;
use super::record::event;
use super::request::{ExchangeUsage, Purpose};
use super::{Entry, Gate};
use crate::access::Caller;
use crate::audit::{Action, Outcome};
use crate::engine::{Conversation, Piece, PromptOptions, Reading};

/// Bytes of all texts of a request, and of the text that tokens become.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 20;
/// Tokens that are shown as text.
pub(crate) const TOKENS_MAX: usize = 1 << 18;
/// Tokens that are shown with what they stand for.
const PIECES_MAX: usize = 1 << 15;

/// What somebody wants to see as tokens.
#[derive(Clone, Debug)]
pub(crate) enum TokenInput {
    /// A text.
    Text {
        /// The text.
        text: String,
        /// How it is taken.
        reading: Reading,
        /// The parameter that has it.
        parameter: &'static str,
    },
    /// A conversation, by the model's chat template.
    Conversation {
        /// The conversation.
        conversation: Conversation,
        /// Whether it ends where the model's answer begins.
        opens_answer: bool,
    },
}

/// One request to see tokens.
#[derive(Clone, Debug)]
pub(crate) struct ReadAsk {
    /// The model's name or alias; none means the default one.
    pub(crate) model: Option<String>,
    /// What is to be seen.
    pub(crate) input: TokenInput,
    /// Whether the tokens come with what they stand for.
    pub(crate) with_pieces: bool,
}

/// One request to see text.
#[derive(Clone, Debug)]
pub(crate) struct Spell {
    /// The model's name or alias; none means the default one.
    pub(crate) model: Option<String>,
    /// The tokens.
    pub(crate) tokens: Vec<u32>,
}

/// A text in tokens.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// The tokens.
    pub(crate) tokens: Vec<u32>,
    /// What each of them stands for, where that was asked for.
    pub(crate) pieces: Option<Vec<Piece>>,
    /// The most tokens that the model takes, prompt and answer together.
    pub(crate) context: usize,
}

impl Gate {
    /// Shows a text or a conversation as tokens.
    pub(crate) async fn read_tokens(
        &self,
        caller: &Caller,
        ask: ReadAsk,
    ) -> Result<Read, GateError> {
        let ReadAsk { model, input, with_pieces } = ask;
        let date = self.inner.parts.clock.now().date();
        let bytes = input.bytes();
        let work = move |engines: &Engines| {
            let tokens =
                input.tokens(engines, PromptOptions { date, ..PromptOptions::default() })?;
            if with_pieces && tokens.len() > PIECES_MAX {
                let expected =
                    "a text of at most 32768 tokens where they are shown with their pieces";
                return Err(GateError::OutOfRange { parameter: input.parameter(), expected });
            }
            let pieces = || tokens.iter().map(|token| engines.piece(*token)).collect();
            let pieces = with_pieces.then(pieces);
            let count = tokens.len();
            Ok((Read { tokens, pieces, context: engines.info().context_tokens }, count))
        };
        self.tokens(caller, model, bytes, work).await
    }

    /// Shows tokens as text. Control tokens give none.
    pub(crate) async fn spell(&self, caller: &Caller, ask: Spell) -> Result<String, GateError> {
        let Spell { model, tokens } = ask;
        let bytes = tokens.len().saturating_mul(size_of::<u32>());
        let work = move |engines: &Engines| Ok((spelled(engines, &tokens)?, tokens.len()));
        self.tokens(caller, model, bytes, work).await
    }

    /// How many tokens of a model a text of an answer has. It was read and charged already, so nothing
    /// is asked and nothing counts; none where the model is not in memory any more.
    pub(crate) async fn count_tokens(&self, model: &str, text: String) -> Option<u64> {
        let engine = self.inner.parts.catalog.find(Some(model))?.generator()?;
        by_length(text.len(), move || engine.tokenize(&text).len() as u64).await.ok()
    }

    /// The road of both, on its own task: a caller who goes away while texts are worked on keeps their
    /// place until that is done.
    async fn tokens<T: Send + 'static>(
        &self,
        caller: &Caller,
        model: Option<String>,
        bytes: usize,
        work: impl FnOnce(&Engines) -> Result<(T, usize), GateError> + Send + 'static,
    ) -> Result<T, GateError> {
        let (gate, by) = (self.clone(), caller.clone());
        let road = async move {
            let entry = gate.enter(&by, Purpose::Tokens).await?;
            let result = gate.tokens_road(entry, model.as_deref(), bytes, work).await;
            gate.counted(result)
        };
        self.inner.parts.runtime.spawn(road).await?
    }

    /// The work gives what is shown, and how many tokens it has.
    async fn tokens_road<T: Send + 'static>(
        &self,
        entry: Entry,
        model: Option<&str>,
        bytes: usize,
        work: impl FnOnce(&Engines) -> Result<(T, usize), GateError> + Send + 'static,
    ) -> Result<T, GateError> {
        let Entry { caller, mut place, mut reservation, .. } = entry;
        let model = self.authorise(&caller, Purpose::Tokens, model).await?;
        let (model, lease) = self.ready(&caller, &model, &mut place, None).await?;
        place.keep(lease);
        self.narrow(&caller, &model, &mut reservation).await?;
        let engines = model
            .engine
            .clone()
            .ok_or_else(|| GateError::ModelNotReady("It is not loaded.".to_owned()))?;
        let (made, tokens) = by_length(bytes, move || work(&engines)).await??;
        let shown = event(&caller, Action::TokensRead, Outcome::Done)
            .subject(&model.name)
            .with("tokens", tokens);
        let used = self.used(&caller, &model.name, Purpose::Tokens, ExchangeUsage::default());
        self.record_used(Some(reservation.settle(0)), Some(used), vec![shown]).await?;
        Ok(made)
    }
}

impl TokenInput {
    fn bytes(&self) -> usize {
        match self {
            Self::Text { text, .. } => text.len(),
            Self::Conversation { conversation, .. } => conversation.bytes(),
        }
    }

    /// The parameter that has it.
    const fn parameter(&self) -> &'static str {
        match self {
            Self::Text { parameter, .. } => parameter,
            Self::Conversation { .. } => "messages",
        }
    }

    /// The tokens; bounded before it costs anything.
    fn tokens(&self, engines: &Engines, options: PromptOptions) -> Result<Vec<u32>, GateError> {
        if self.bytes() > TEXT_BYTES_MAX {
            let expected = "at most 1048576 bytes of text";
            return Err(GateError::OutOfRange { parameter: self.parameter(), expected });
        }
        match (self, engines) {
            (Self::Text { text, reading, .. }, _) => Ok(engines.read(text, *reading)),
            (Self::Conversation { conversation, opens_answer }, Engines::Generate(engine)) => {
                let options = PromptOptions { add_generation_prompt: *opens_answer, ..options };
                Ok(engine.prompt(conversation, &options)?)
            }
            (Self::Conversation { .. }, Engines::Embed(_)) => {
                Err(GateError::WrongKind(engines.kind()))
            }
        }
    }
}

fn spelled(engines: &Engines, tokens: &[u32]) -> Result<String, GateError> {
    let refused = |expected| GateError::OutOfRange { parameter: "tokens", expected };
    if tokens.len() > TOKENS_MAX {
        return Err(refused("at most 262144 tokens"));
    }
    let vocabulary = engines.info().vocabulary;
    if tokens.iter().any(|token| *token as usize >= vocabulary) {
        return Err(refused("tokens of the model's vocabulary"));
    }
    let bytes: usize = tokens.iter().map(|token| engines.piece(*token).bytes.len()).sum();
    if bytes > TEXT_BYTES_MAX {
        return Err(refused("tokens of at most 1048576 bytes of text"));
    }
    Ok(engines.detokenize(tokens))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{House, Scripted, Then, caller, caller_with_key};
    use super::*;
    use crate::config::LimitSet;
    use crate::engine::tokenizer::Special;
    use crate::engine::{EngineError, Message, Role};
    use crate::ids::KeyId;

    fn ask(text: &str) -> ReadAsk {
        let reading = Reading { is_framed: true, special: Special::Plain };
        let input = TokenInput::Text { text: text.to_owned(), reading, parameter: "prompt" };
        ReadAsk { model: None, input, with_pieces: false }
    }

    async fn house() -> House {
        House::new(Scripted::new(&[], Then::Finish)).await
    }

    #[tokio::test]
    async fn texts_become_tokens_and_tokens_texts_on_record_without_a_word() {
        let house = house().await;
        let caller = caller();
        let asked = ReadAsk { with_pieces: true, ..ask("pineapple") };
        let read = house.gate.read_tokens(&caller, asked).await.expect("passes");
        assert_eq!((read.tokens.len(), read.context), (9, 200));
        assert_eq!(read.pieces.expect("asked for")[0].bytes, b"p");
        let spell = Spell { model: None, tokens: read.tokens };
        assert_eq!(house.gate.spell(&caller, spell).await.expect("passes"), "pineapple");
        assert_eq!(house.events().await, ["tokens.read done", "tokens.read done"]);
        for record in house.records().await {
            let body = String::from_utf8_lossy(&record.body).into_owned();
            assert!(body.contains("\"tokens\":9") && !body.contains("pineapple"), "{body}");
        }
        assert!(house.engine.seen.lock().is_empty(), "no model has read it");
        assert_eq!(house.gate.usage(&caller).tokens_day.used, 0);
        assert_eq!(house.gate.usage(&caller).requests_day.used, 2);
    }

    #[tokio::test]
    async fn a_conversation_goes_by_the_template() {
        let house = house().await;
        let conversation = vec![Message::new(Role::User, "Hi")].into();
        let input = TokenInput::Conversation { conversation, opens_answer: false };
        let asked = ReadAsk { input, ..ask("") };
        let read = house.gate.read_tokens(&caller(), asked).await.expect("passes");
        assert_eq!(read.tokens.len(), "User:Hi\n".len());
    }

    #[tokio::test]
    async fn models_keys_and_limits_stand_in_the_way_as_everywhere() {
        let house = house().await;
        let closed = ReadAsk { model: Some("closed".into()), ..ask("x") };
        let refused = house.gate.read_tokens(&caller(), closed).await;
        assert!(matches!(refused, Err(GateError::ModelNotFound)));
        let key = caller_with_key(KeyId::new(), Some(vec!["other".into()]));
        let refused = house.gate.spell(&key, Spell { model: None, tokens: vec![1] }).await;
        assert!(matches!(refused, Err(GateError::ModelNotFound)));
        let mut weak = caller();
        weak.permissions = crate::access::permission::BuiltinRole::Auditor.permissions();
        let refused = house.gate.read_tokens(&weak, ask("x")).await;
        assert!(matches!(refused, Err(GateError::NotPermitted)));
        let one = LimitSet { requests_per_minute: Some(1), ..LimitSet::default() };
        let house = House::with_limits(Scripted::new(&[], Then::Finish), one).await;
        let caller = caller();
        house.gate.read_tokens(&caller, ask("x")).await.expect("passes");
        let refused = house.gate.read_tokens(&caller, ask("x")).await;
        assert!(matches!(refused, Err(GateError::Limited(_))));
        let house = house.that_withdrew_everything();
        let refused = house.gate.read_tokens(&caller, ask("x")).await;
        assert!(matches!(refused, Err(GateError::Revoked)));
    }

    #[tokio::test]
    async fn work_that_panics_is_a_fault_of_the_server_and_not_its_end() {
        let house = house().await;
        for bytes in [0, TEXT_BYTES_MAX] {
            let work = |_: &Engines| -> Result<((), usize), GateError> { panic!("a fault") };
            let broken = house.gate.tokens(&caller(), None, bytes, work).await;
            assert!(
                matches!(broken, Err(GateError::Engine(EngineError::Internal))),
                "{bytes}: {broken:?}"
            );
        }
        house.gate.read_tokens(&caller(), ask("x")).await.expect("the next one passes");
        let cancelled = tokio::spawn(std::future::pending::<()>());
        cancelled.abort();
        let error = cancelled.await.expect_err("it was cancelled");
        assert!(matches!(GateError::from(error), GateError::ShuttingDown));
    }

    #[tokio::test]
    async fn what_is_too_long_or_no_token_is_refused() {
        let house = house().await;
        let long = ask(&"x".repeat(TEXT_BYTES_MAX + 1));
        let refused = house.gate.read_tokens(&caller(), long).await;
        assert!(matches!(refused, Err(GateError::OutOfRange { parameter: "prompt", .. })));
        for tokens in [vec![256], vec![1; TOKENS_MAX + 1]] {
            let refused = house.gate.spell(&caller(), Spell { model: None, tokens }).await;
            assert!(matches!(refused, Err(GateError::OutOfRange { parameter: "tokens", .. })));
        }
    }
}
