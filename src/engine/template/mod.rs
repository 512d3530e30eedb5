//! Chat templates: messages to the text a model was trained on, and that text to tokens.

use super::Message;
use super::gguf::File;
use super::tokenizer::Tokenizer;

/// How a conversation becomes a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptOptions {
    /// Whether the prompt ends where the model's answer begins.
    pub add_generation_prompt: bool,
    /// For models that can think aloud: whether they should. `None` leaves it to the template.
    pub enable_thinking: Option<bool>,
    /// The date that templates may name. There is no other clock for them.
    pub date: Option<time::Date>,
}

impl Default for PromptOptions {
    fn default() -> Self {
        Self { add_generation_prompt: true, enable_thinking: None, date: None }
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
    #[error("the model's chat template was stopped: {0}")]
    Limit(&'static str),
    /// The template is wrong or uses what is not known.
    #[error("the model's chat template failed: {0}")]
    Template(String),
}

/// A compiled chat template.
#[derive(Debug)]
pub struct Template {}

impl Template {
    /// The template in a model file, or a known one where it has none.
    pub fn from_gguf(_file: &File, _tokenizer: &Tokenizer) -> Result<Self, PromptError> {
        Ok(Self {})
    }
}

/// Turns a conversation into tokens. Text of people never becomes a control token.
pub fn prompt_tokens(
    _tokenizer: &Tokenizer,
    _template: &Template,
    messages: &[Message],
    _options: &PromptOptions,
) -> Result<Vec<u32>, PromptError> {
    if messages.is_empty() {
        return Err(PromptError::Empty);
    }
    Ok(Vec::new())
}
