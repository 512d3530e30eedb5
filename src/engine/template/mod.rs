//! Chat templates: messages to the text a model was trained on, and that text to tokens.
//!
//! A template is a program from somebody else's file. It runs in minijinja with a budget for
//! instructions and bytes, a limit on depth and a limit on what it writes, and it sees the
//! conversation, a date that is given to it, and nothing else (`render`). Text of people cannot
//! become a control token, whatever stands in it (`guard`).

mod filters;
mod guard;
mod input;
mod known;
mod operators;
mod python;
mod render;
mod told;

pub use input::is_reserved;
pub(super) use told::told;

use super::Conversation;
use super::gguf::File;
use super::tokenizer::Tokenizer;

/// How a conversation becomes a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptOptions {
    /// Whether the prompt ends where the model's answer begins.
    pub add_generation_prompt: bool,
    /// The date that templates may name. There is no other clock for them.
    pub date: Option<time::Date>,
}

impl Default for PromptOptions {
    fn default() -> Self {
        Self { add_generation_prompt: true, date: None }
    }
}

/// Why a conversation cannot become a prompt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The conversation is empty.
    #[error("there are no messages")]
    Empty,
    /// The template itself refuses the conversation, with the reason it gives.
    #[error("the model's chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template takes too long, makes too much text or goes too deep.
    #[error("the model's chat template was stopped: it {0}")]
    Limit(&'static str),
    /// The template is wrong or uses what is not known.
    #[error("the model's chat template failed: {0}")]
    Template(String),
}

/// A compiled chat template, for one tokenizer.
#[derive(Debug)]
pub struct Template {
    program: render::Program,
    guard: guard::Guard,
    is_own: bool,
}

impl Template {
    /// The template in a model file, or where it has none the one its tokens tell of.
    pub fn from_gguf(file: &File, tokenizer: &Tokenizer) -> Result<Self, PromptError> {
        let own = file
            .string("tokenizer.chat_template")
            .map_err(|error| PromptError::Template(error.to_string()))?;
        let source = own.unwrap_or_else(|| known::by_tokens(tokenizer));
        Ok(Self { is_own: own.is_some(), ..Self::new(source, tokenizer)? })
    }

    /// A template from its source.
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self, PromptError> {
        let program = render::Program::new(source, tokenizer)?;
        Ok(Self { program, guard: guard::Guard::new(tokenizer)?, is_own: true })
    }

    /// Renders with any names in scope, without the guard: for looking at what a template does
    /// and for comparing it with other implementations. Prompts come from `prompt_tokens`.
    pub fn render(
        &self,
        names: &serde_json::Map<String, serde_json::Value>,
        date: Option<time::Date>,
    ) -> Result<String, PromptError> {
        let context = names.iter().map(|(name, json)| (name.as_str(), input::value(json)));
        self.program.render_value(context.collect(), date, RENDER_WORK)
    }

    /// Its text.
    pub(super) fn source(&self) -> &str {
        self.program.source()
    }

    /// Whether it gives tools to the model.
    pub(super) fn knows_tools(&self) -> bool {
        self.source().contains("tools")
    }

    /// Whether the model file brought it.
    pub fn is_own(&self) -> bool {
        self.is_own
    }
}

/// Turns a conversation into tokens. Text of people never becomes a control token.
pub fn prompt_tokens(
    tokenizer: &Tokenizer,
    template: &Template,
    conversation: &Conversation,
    options: &PromptOptions,
) -> Result<Vec<u32>, PromptError> {
    if conversation.messages.is_empty() {
        return Err(PromptError::Empty);
    }
    let guard = &template.guard;
    let text = template.program.render(&guard.mark(conversation), options)?;
    // The same conversation with a mark around every character of people's text: whatever the
    // template cuts out of it or puts beside it, no control token can come of that. If both ways
    // have the same control tokens, none of them is made of people's text. If not, the template
    // took the marks apart, and the second way is the prompt.
    let certain = template.program.render(&guard.mark_everything(conversation), options)?;
    let same =
        guard::control_tokens(tokenizer, &text).eq(guard::control_tokens(tokenizer, &certain));
    let text = if same { text } else { certain };
    let mut tokens = guard::encode(tokenizer, &text);
    if tokenizer.adds_bos() && tokens.first().copied() != tokenizer.bos() {
        tokens.splice(0..0, tokenizer.bos());
    }
    Ok(tokens)
}

/// Fuel for `Template::render`, whose names are of unknown size.
const RENDER_WORK: usize = 100_000;

#[cfg(test)]
mod tests;
