//! What an answer is held to: a JSON schema, a regular expression, a grammar. Before each choice a
//! mask over the vocabulary says which tokens may come next; the rest cannot be chosen.
//!
//! `llguidance` computes the masks over a trie of the vocabulary's bytes, which is built once for a
//! model, when the first request asks for it. Grammars come from strangers: their size, their nesting
//! and what they may cost are bounded here, and they are compiled away from the engine thread.

mod calls;
mod grammar;
mod trigger;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::{Matcher, ParserFactory};
use parking_lot::Mutex;
use serde_json::Value;
use toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};

use super::error::EngineError;
use super::output::{Format, Shape};
use super::tokenizer::Tokenizer;
pub use calls::{ToolChoice, ToolRules};
pub use grammar::{Grammar, GrammarError};
use trigger::Trigger;

/// Tokens with more bytes than this are never allowed by a mask; published ones have at most 256.
const TOKEN_BYTES_MAX: usize = 256;
/// Stack of the thread that compiles: grammars are compiled by recursion. Reserved, not used.
const COMPILE_STACK_BYTES: usize = 256 << 20;
/// Work for the first states of a lexer; 50 units are about a microsecond.
const COMPILE_FUEL: u64 = 1_000_000;
/// States of a lexer, of one to two kilobytes each.
const LEXER_STATES_MAX: usize = 20_000;
/// Symbols in the rules of a grammar.
const GRAMMAR_SYMBOLS_MAX: usize = 200_000;
/// Lexer work for one mask: about 15 ms.
const STEP_FUEL: u64 = 200_000;
/// Bytes of the grammar of all functions together.
const CALLS_BYTES_MAX: usize = 256 * 1024;
/// Parser items for one mask: about 3 ms.
const STEP_ITEMS_MAX: usize = 50_000;

/// Makes constraints for one model.
#[derive(Default)]
pub(super) struct Constraints {
    factory: Mutex<Option<Arc<ParserFactory>>>,
}

impl Constraints {
    /// Compiles a grammar; blocks, for milliseconds as a rule.
    pub(super) fn compile(
        &self,
        tokenizer: &Tokenizer,
        grammar: &Grammar,
    ) -> Result<Constraint, GrammarError> {
        let matcher = self.matcher(tokenizer, grammar.compiled()?)?;
        Ok(Constraint { matcher: Box::new(matcher), trigger: None })
    }

    /// Compiles what holds calls of functions to their schemas; blocks. Where the model may choose,
    /// it is free until it begins a call, or else held to `form` from the beginning. A schema that
    /// cannot be followed is refused where the function is strict; elsewhere its arguments may be any
    /// object.
    pub(super) fn calls(
        &self,
        tokenizer: &Tokenizer,
        format: &Format,
        tools: &[Value],
        rules: &ToolRules,
        form: Option<&Grammar>,
    ) -> Result<Option<Constraint>, GrammarError> {
        let mut functions = calls::Function::all(tools, rules)?;
        let form = match form {
            Some(_) if rules.choice == ToolChoice::Auto && format.shape == Shape::Bare => {
                return Err(GrammarError::unusable(
                    "the calls of this model cannot be told from other JSON: ask for one or the other",
                ));
            }
            Some(form) if rules.choice == ToolChoice::Auto => Some(form.rule()?),
            // What must call has no other form.
            _ => None,
        };
        let is_auto = rules.choice == ToolChoice::Auto && form.is_none();
        if is_auto && format.shape == Shape::Harmony {
            return Ok(None);
        }
        let control =
            |name: &str| tokenizer.token_named(name).filter(|&token| tokenizer.is_control(token));
        let spelled = |name: &str| match control(name) {
            Some(token) => format!("<[{token}]>"),
            None => serde_json::json!(name).to_string(),
        };
        let compile = |functions: &[calls::Function<'_>]| {
            let (is_whole, is_parallel) = (!is_auto, rules.is_parallel);
            let answer = calls::Answer { is_whole, is_parallel, form: form.as_deref() };
            let text = calls::lark(format, functions, &answer, &spelled);
            if text.len() > CALLS_BYTES_MAX {
                return Err(GrammarError::unusable("the schemas have more than 262144 bytes"));
            }
            self.matcher(tokenizer, TopLevelGrammar::from_lark(text))
        };
        let matcher = match compile(&functions) {
            Err(error) if calls::Function::loosen(&mut functions) => {
                compile(&functions).map_err(|_| error)?
            }
            result => result?,
        };
        let trigger = is_auto.then(|| {
            let control = control(format.open).filter(|_| format.shape != Shape::Bare);
            Trigger::new(format, control, !rules.is_parallel, matcher.clone())
        });
        Ok(Some(Constraint { matcher: Box::new(matcher), trigger: trigger.map(Box::new) }))
    }

    fn matcher(
        &self,
        tokenizer: &Tokenizer,
        top: TopLevelGrammar,
    ) -> Result<Matcher, GrammarError> {
        let factory = self.factory(tokenizer)?;
        let compile = || {
            // Bugs of the compiler on a stranger's grammar are that request's end, no other's.
            let made = std::panic::catch_unwind(AssertUnwindSafe(|| {
                Matcher::new(factory.create_parser(top))
            }));
            let mut matcher = made.map_err(|_| GrammarError::unusable("it cannot be compiled"))?;
            match matcher.get_error() {
                Some(reason) => Err(GrammarError::unusable(&reason)),
                // A grammar that nothing of this vocabulary fits is found out now.
                None => matcher
                    .compute_mask_or_eos()
                    .map_err(|error| GrammarError::unusable(&error.to_string())),
            }?;
            Ok(matcher)
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("grammar".into());
            thread
                .stack_size(COMPILE_STACK_BYTES)
                .spawn_scoped(scope, compile)
                .map_err(|_| GrammarError::unusable("there is no memory to compile it"))?
                .join()
                .unwrap_or_else(|_| Err(GrammarError::unusable("it cannot be compiled")))
        })
    }

    fn factory(&self, tokenizer: &Tokenizer) -> Result<Arc<ParserFactory>, GrammarError> {
        let mut factory = self.factory.lock();
        if let Some(factory) = &*factory {
            return Ok(Arc::clone(factory));
        }
        // The vocabulary is a stranger's too, and the trie has limits that it asserts.
        let made =
            std::panic::catch_unwind(AssertUnwindSafe(|| new_factory(tokenizer))).ok().flatten();
        let made = Arc::new(made.ok_or(GrammarError::Unavailable)?);
        *factory = Some(Arc::clone(&made));
        Ok(made)
    }
}

fn new_factory(tokenizer: &Tokenizer) -> Option<ParserFactory> {
    let size = u32::try_from(tokenizer.vocabulary()).ok()?;
    let ends = tokenizer.end_tokens();
    let mut words: Vec<Vec<u8>> = (0..size).map(|token| word(tokenizer, token)).collect();
    for &end in ends {
        // An end is an end, whatever its bytes.
        words.get_mut(end as usize)?.clear();
    }
    let info = TokRxInfo::new(size, *ends.first()?);
    let trie = TokTrie::from(&info, &words).with_eos_tokens(ends);
    let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::general_slices();
    let capabilities = InferenceCapabilities { ff_tokens: false, ..Default::default() };
    let mut factory = ParserFactory::new(&tokens, capabilities, &slices).ok()?;
    // It would write prompts to the terminal and put them into errors.
    factory.quiet();
    *factory.limits_mut() = ParserLimits {
        initial_lexer_fuel: COMPILE_FUEL,
        step_lexer_fuel: STEP_FUEL,
        step_max_items: STEP_ITEMS_MAX,
        max_lexer_states: LEXER_STATES_MAX,
        max_grammar_size: GRAMMAR_SYMBOLS_MAX,
        verbose_errors: false,
        ..ParserLimits::default()
    };
    Some(factory)
}

/// The bytes by which a grammar knows a token. Control tokens are known by their names behind a byte
/// that no text has, so that text never allows them.
fn word(tokenizer: &Tokenizer, token: u32) -> Vec<u8> {
    let bytes = if tokenizer.is_control(token) {
        let name = tokenizer.token_name(token).unwrap_or_default();
        [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()
    } else {
        tokenizer.token_bytes(token).to_vec()
    };
    if bytes.len() > TOKEN_BYTES_MAX { Vec::new() } else { bytes }
}

/// A grammar with a place in it: what has been said, and so what may come next.
pub struct Constraint {
    matcher: Box<Matcher>,
    /// What it waits for before it binds anything; none: it binds from the beginning.
    trigger: Option<Box<Trigger>>,
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

impl Clone for Constraint {
    /// A constraint of its own at the same place: what one accepts, the other does not see.
    fn clone(&self) -> Self {
        Self { matcher: Box::new(self.matcher.deep_clone()), trigger: self.trigger.clone() }
    }
}

impl Constraint {
    /// Notes how the prompt ends: what is written within a thought is no call.
    pub(crate) fn begin(&mut self, is_thinking: bool) {
        if let Some(trigger) = &mut self.trigger {
            trigger.begin(is_thinking);
        }
    }

    /// Takes what may not come next out of the logits: it becomes negative infinity. An end token
    /// stays only where the grammar is satisfied.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), EngineError> {
        if self.trigger.as_ref().is_some_and(|trigger| !trigger.is_pulled) {
            return Ok(());
        }
        let mask = self.matcher.compute_mask_or_eos().map_err(|_| EngineError::Constraint)?;
        if let Some(trigger) = self.trigger.as_mut().filter(|trigger| !trigger.is_once)
            && self.matcher.is_stopped()
        {
            // The call is complete, and the model is free again.
            trigger.is_pulled = false;
            return Ok(());
        }
        let mut words = mask.as_slice().iter();
        for logits in logits.chunks_mut(u32::BITS as usize) {
            let word = words.next().copied().unwrap_or(0);
            if word == u32::MAX {
                continue;
            }
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        Ok(())
    }

    /// Notes that an allowed token was chosen.
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), EngineError> {
        if let Some(trigger) = self.trigger.as_mut().filter(|trigger| !trigger.is_pulled) {
            if let Some(begun) = trigger.pull(token) {
                let mut matcher = trigger.calls();
                // What does not begin as a call does is no call.
                trigger.is_pulled = matcher.consume_tokens(&begun).is_ok();
                *self.matcher = matcher;
            }
            return Ok(());
        }
        if self.matcher.is_stopped() {
            // Only an end can follow, and nothing follows an end.
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|_| EngineError::Constraint)
    }
}

#[cfg(test)]
mod tests;
