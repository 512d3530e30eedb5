//! What the gate needs of an engine, and no more. The engine in `engine/` is the one that serves;
//! the benchmark of the controls puts one in its place that only echoes.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};

use serde_json::Value;

use crate::engine::{
    AnswerParser, Constraint, Conversation, Domain, Engine, EngineError, EngineStats, Generation,
    GenerationEvent, GenerationRequest, Grammar, GrammarError, ModelInfo, Piece, PromptError,
    PromptOptions, Reading, Score, ScoreItem, ToolRules,
};

/// A loaded model that turns tokens into tokens.
pub trait Generate: Send + Sync + 'static {
    /// What is known about the model.
    fn info(&self) -> &ModelInfo;
    /// Turns a conversation into a prompt; texts never become control tokens.
    fn prompt(
        &self,
        conversation: &Conversation,
        options: &PromptOptions,
    ) -> Result<Vec<u32>, PromptError>;
    /// Turns plain text into tokens; control tokens in it stay text.
    fn tokenize(&self, text: &str) -> Vec<u32>;
    /// Turns tokens into text.
    fn detokenize(&self, tokens: &[u32]) -> String;
    /// Turns a text into tokens that somebody wants to see.
    fn read(&self, text: &str, reading: Reading) -> Vec<u32>;
    /// A token as it stands in the vocabulary.
    fn piece(&self, token: u32) -> Piece;
    /// Compiles a grammar that an answer is to be held to. Blocks.
    fn constrain(&self, grammar: &Grammar) -> Result<Constraint, GrammarError>;
    /// Compiles what holds calls of functions to their schemas, and an answer that calls none to a form.
    /// Blocks.
    fn constrain_calls(
        &self,
        tools: &[Value],
        rules: &ToolRules,
        form: Option<&Grammar>,
    ) -> Result<Option<Constraint>, GrammarError>;
    /// What takes the answer to a prompt apart.
    fn parser(&self, prompt: &[u32], functions: Vec<String>, is_forced: bool) -> AnswerParser;
    /// Queues a generation. Dropping the stream cancels it within one step.
    fn generate(
        &self,
        request: GenerationRequest,
    ) -> Result<BoxStream<'static, GenerationEvent>, EngineError>;
    /// Queues several answers to one prompt, one stream for each. Here each reads it by itself.
    fn generate_choices(
        &self,
        request: GenerationRequest,
        choices: usize,
    ) -> Result<Vec<BoxStream<'static, GenerationEvent>>, EngineError> {
        (0..choices).map(|_| self.generate(request.clone())).collect()
    }
    /// How many requests of one person may wait at once where nobody else does.
    fn line(&self) -> usize {
        usize::MAX
    }
    /// How likely the model finds each continuation.
    fn score(
        &self,
        items: Vec<ScoreItem>,
        domain: Domain,
    ) -> BoxFuture<'_, Result<Vec<Score>, EngineError>>;
    /// What the engine does right now and has done.
    fn stats(&self) -> EngineStats;
    /// Keeps nothing of what it has computed for a domain.
    fn forget(&self, domain: Domain);
    /// Takes no more requests.
    fn shutdown(&self);
    /// Waits until nothing runs any more after `shutdown`; blocks.
    fn wait_closed(&self) {}
}

fn events(mut generation: Generation) -> BoxStream<'static, GenerationEvent> {
    stream::poll_fn(move |context| generation.poll_next(context)).boxed()
}

impl Generate for Engine {
    fn info(&self) -> &ModelInfo {
        Self::info(self)
    }

    fn prompt(
        &self,
        conversation: &Conversation,
        options: &PromptOptions,
    ) -> Result<Vec<u32>, PromptError> {
        Self::prompt(self, conversation, options)
    }

    fn tokenize(&self, text: &str) -> Vec<u32> {
        Self::tokenize(self, text)
    }

    fn detokenize(&self, tokens: &[u32]) -> String {
        Self::detokenize(self, tokens)
    }

    fn read(&self, text: &str, reading: Reading) -> Vec<u32> {
        Self::read(self, text, reading)
    }

    fn piece(&self, token: u32) -> Piece {
        Self::piece(self, token)
    }

    fn constrain(&self, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        Self::constrain(self, grammar)
    }

    fn constrain_calls(
        &self,
        tools: &[Value],
        rules: &ToolRules,
        form: Option<&Grammar>,
    ) -> Result<Option<Constraint>, GrammarError> {
        Self::constrain_calls(self, tools, rules, form)
    }

    fn parser(&self, prompt: &[u32], functions: Vec<String>, is_forced: bool) -> AnswerParser {
        Self::parser(self, prompt, functions, is_forced)
    }

    fn generate(
        &self,
        request: GenerationRequest,
    ) -> Result<BoxStream<'static, GenerationEvent>, EngineError> {
        Self::generate(self, request).map(events)
    }

    fn generate_choices(
        &self,
        request: GenerationRequest,
        choices: usize,
    ) -> Result<Vec<BoxStream<'static, GenerationEvent>>, EngineError> {
        let all = Self::generate_choices(self, request, choices)?;
        Ok(all.into_iter().map(events).collect())
    }

    fn line(&self) -> usize {
        Self::line(self)
    }

    fn score(
        &self,
        items: Vec<ScoreItem>,
        domain: Domain,
    ) -> BoxFuture<'_, Result<Vec<Score>, EngineError>> {
        Box::pin(Self::score(self, items, domain))
    }

    fn stats(&self) -> EngineStats {
        Self::stats(self)
    }

    fn forget(&self, domain: Domain) {
        Self::forget(self, domain);
    }

    fn shutdown(&self) {
        Self::shutdown(self);
    }

    fn wait_closed(&self) {
        Self::wait_closed(self);
    }
}
