//! From what was asked to tokens, and whether they fit: once before the limits, so that they know
//! what to take, and again when the guard has changed a text.

use std::borrow::Cow;
use std::sync::Arc;

use super::catalog::Model;
use super::echo::Echo;
use super::error::GateError;
use super::extent;
use super::generate::Generate;
use super::request::{ExchangeRequest, HeldTo, Input, Purpose};
use crate::engine::{
    AnswerParser, Constraint, Conversation, GenerationRequest, PlaceInLine, PromptOptions, Role,
    Sampling, SharedPrefix, ToolChoice, ToolRules, Weight,
};
use crate::ids::UserId;
use crate::limits::Wanted;

/// No token stands for more bytes than this, so that a text too long by far is refused uncounted.
const TOKEN_BYTES_MAX: usize = 64;
/// Tokens that are left for the answer where the oldest messages give way, and the context is not small.
/// Elsewhere a program is told when its prompt does not fit at all; in a chat, an answer of a few words
/// before the end of the context would help nobody.
const CHAT_ROOM: usize = 256;
/// Texts longer than this are worked on away from the threads that wait for the network.
const INLINE_BYTES_MAX: usize = 16 * 1024;
/// What the guard's work on one more text is like, in bytes of a longer one.
pub(super) const TEXT_WORK: usize = 64;

/// A request whose tokens are known.
pub(super) struct Draft {
    pub(super) engine: Arc<dyn Generate>,
    pub(super) input: Input,
    /// One, or one for each of several inputs.
    pub(super) prompts: Vec<Vec<u32>>,
    pub(super) max_tokens: usize,
    /// Of each prompt.
    pub(super) choices: usize,
    echoes: bool,
    sampling: Sampling,
    pub(super) held_to: Option<HeldTo>,
    pub(super) tools: Option<ToolRules>,
    pub(super) constraint: Option<Constraint>,
    takes_apart: bool,
    stop: Vec<String>,
    logprobs: Option<u8>,
    room_min: usize,
    /// Nobody asked for an answer of some length: a shorter one is better than none.
    may_be_shorter: bool,
    pub(super) today: Option<time::Date>,
    /// The beginning of the prompt that is everybody's.
    pub(super) shared: Option<SharedPrefix>,
    /// Messages that were left out for their age.
    pub(super) dropped: usize,
    /// How many texts it came with.
    texts_count: usize,
}

/// Runs work on a text: here if the text is short, elsewhere if it is long.
pub(super) async fn by_length<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, GateError> {
    if bytes <= INLINE_BYTES_MAX {
        return Ok(work());
    }
    Ok(tokio::task::spawn_blocking(work).await?)
}

impl Draft {
    /// Counts the tokens of a request and bounds its answer by what the context leaves.
    pub(super) async fn make(
        model: &Model,
        request: ExchangeRequest,
        default_max_tokens: usize,
        today: Option<time::Date>,
    ) -> Result<Self, GateError> {
        let engine = model
            .generator()
            .ok_or_else(|| GateError::ModelNotReady("It is not loaded.".to_owned()))?;
        let texts_count = extent::check(&request.input, request.held_to.as_ref())?;
        extent::check_line(&request.input, engine.line())?;
        let context = engine.info().context_tokens;
        let (bytes, drops_oldest) = (request.input.bytes(), request.drops_oldest);
        let mut draft = Self {
            engine,
            input: request.input,
            prompts: Vec::new(),
            may_be_shorter: request.purpose == Purpose::Chat && request.max_tokens.is_none(),
            max_tokens: request
                .max_tokens
                .unwrap_or(default_max_tokens)
                .min(model.answer_tokens_max.unwrap_or(usize::MAX)),
            choices: request.choices.max(1),
            echoes: request.echoes,
            sampling: request.sampling,
            held_to: request.held_to,
            tools: request.tools,
            constraint: None,
            takes_apart: request.takes_apart,
            stop: request.stop,
            logprobs: request.logprobs,
            room_min: if request.drops_oldest { (context / 4).clamp(1, CHAT_ROOM) } else { 1 },
            today,
            shared: None,
            dropped: 0,
            texts_count,
        };
        let bytes = if draft.is_held() { usize::MAX } else { bytes };
        let work = move || {
            draft.constrain()?;
            if drops_oldest { draft.fit() } else { draft.count() }.map(|()| draft)
        };
        by_length(bytes, work).await?
    }

    /// Counts, and leaves out the oldest part of a conversation that has grown longer than the
    /// context. A quarter at a time: the work is that of a few times the whole, at most.
    fn fit(&mut self) -> Result<(), GateError> {
        loop {
            match self.count() {
                Err(GateError::PromptTooLong { .. }) if self.drop_oldest() => {}
                other => return other,
            }
        }
    }

    /// Whether there was something to leave out: the last message stays, and what it is the result of.
    fn drop_oldest(&mut self) -> bool {
        let Input::Conversation(Conversation { messages, .. }) = &mut self.input else {
            return false;
        };
        // What the model is told by whoever runs it stays too.
        let first = usize::from(messages.first().is_some_and(|one| one.role == Role::System));
        let Some(last) = messages.len().checked_sub(1).filter(|last| *last > first) else {
            return false;
        };
        let mut cut = (first + (messages.len() - first).div_ceil(4)).min(last);
        // What is left begins with the person, as templates want it.
        while cut < last && messages[cut].role != Role::User {
            cut += 1;
        }
        if messages[cut].role != Role::User {
            return false;
        }
        messages.drain(first..cut);
        self.dropped += cut - first;
        true
    }

    /// Whether log-probabilities are wanted.
    pub(super) fn has_logprobs(&self) -> bool {
        self.logprobs.is_some()
    }

    /// What takes the answer apart, where that is wanted.
    pub(super) fn parser(&self) -> Option<AnswerParser> {
        let Input::Conversation(conversation) = &self.input else { return None };
        if !self.takes_apart {
            return None;
        }
        let name = |tool: &serde_json::Value| tool["function"]["name"].as_str().map(str::to_owned);
        let functions = match self.tools {
            Some(_) => conversation.tools.iter().filter_map(name).collect(),
            None => Vec::new(),
        };
        let is_either = self.calls_or_has_form();
        let is_free = self.constraint.is_none()
            || !is_either
                && self.tools.as_ref().is_some_and(|rules| rules.choice == ToolChoice::Auto);
        let prompt = self.prompts.first().map_or(&[][..], Vec::as_slice);
        let parser = self.engine.parser(prompt, functions, !is_free);
        let parser = if is_either { parser.calling_first() } else { parser };
        Some(parser.stopping_at(self.stop.clone()))
    }

    /// Turns the input into tokens.
    fn count(&mut self) -> Result<(), GateError> {
        let context = self.engine.info().context_tokens;
        for input in self.input.each() {
            let tokens_min = input.bytes() / TOKEN_BYTES_MAX;
            if tokens_min > context {
                return Err(self.too_long(tokens_min));
            }
        }
        let options = PromptOptions { date: self.today, ..PromptOptions::default() };
        let mut prompts = Vec::with_capacity(self.input.each().len());
        for input in self.input.each_mut() {
            prompts.push(read(&*self.engine, input, &options)?);
        }
        self.prompts = prompts;
        let lengths = self.prompts.iter().map(Vec::len);
        if let Some(tokens) = lengths.clone().find(|tokens| tokens + self.room_min > context) {
            return Err(self.too_long(tokens));
        }
        if self.echoes && self.has_logprobs() {
            extent::check_judged(self.prompt_tokens(), self.choices)?;
        }
        match lengths.min() {
            None | Some(0) => {
                Err(GateError::EmptyPrompt { parameter: Some(self.input.parameter()) })
            }
            Some(shortest) => {
                self.max_tokens = self.max_tokens.min(context - shortest);
                Ok(())
            }
        }
    }

    /// How many answers there are to all prompts together.
    pub(super) fn answers(&self) -> usize {
        self.prompts.len() * self.choices
    }

    /// How many tokens all prompts have together.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(Vec::len).sum()
    }

    /// The prompts, each once, and the longest answers to them.
    fn most(&self) -> usize {
        let context = self.engine.info().context_tokens;
        let room = |prompt: usize| self.max_tokens.min(context.saturating_sub(prompt));
        let one = |prompt: &Vec<u32>| prompt.len() + room(prompt.len()) * self.choices;
        self.prompts.iter().map(one).sum()
    }

    fn too_long(&self, tokens: usize) -> GateError {
        GateError::PromptTooLong {
            parameter: Some(self.input.parameter()),
            tokens,
            context: self.engine.info().context_tokens,
        }
    }

    /// What the request may take: its prompts, each once, and the longest answers.
    pub(super) fn wanted(&self) -> Wanted {
        let (prompts, most) = (self.prompt_tokens(), self.most());
        if !self.may_be_shorter {
            return Wanted::exactly(most as u64);
        }
        let enough = most.min(prompts + self.room_min * self.answers());
        let least = prompts + self.answers();
        Wanted { least: least as u64, enough: enough as u64, most: most as u64 }
    }

    /// Bounds each answer by what was taken for prompts and answers together.
    pub(super) fn bound(&mut self, tokens: u64) {
        self.keep_within(usize::try_from(tokens).unwrap_or(usize::MAX));
    }

    fn keep_within(&mut self, taken: usize) {
        if self.most() > taken {
            let room = taken.saturating_sub(self.prompt_tokens()) / self.answers().max(1);
            self.max_tokens = self.max_tokens.min(room);
        }
    }

    /// The texts, those of names and tools among them.
    pub(super) fn texts(&self) -> Vec<Cow<'_, str>> {
        texts(&self.input, self.held_to.as_ref())
    }

    /// Of how many parts the texts are: messages, tools, arguments of the template, a form.
    pub(super) fn parts(&self) -> usize {
        parts(&self.input, self.held_to.as_ref())
    }

    /// How long the texts are.
    pub(super) fn bytes(&self) -> usize {
        self.input.bytes() + self.held_to.as_ref().map_or(0, |held| held.grammar.bytes())
    }

    /// How much work it is to look through the texts, as so many bytes of one.
    pub(super) fn work(&self) -> usize {
        self.bytes() + TEXT_WORK * self.texts_count
    }

    /// Puts the guard's texts in the place of the caller's. The whole does not become larger than
    /// what was taken for it: where placeholders are longer, the answer's bound gives way.
    pub(super) fn replace(&mut self, texts: Vec<String>) -> Result<(), GateError> {
        let (taken, wanted) = (self.most(), self.max_tokens);
        let mut texts = texts.into_iter();
        let mut replace = |_: &str| texts.next().unwrap_or_default();
        for input in self.input.each_mut() {
            match input {
                Input::Conversation(conversation) => {
                    *conversation = conversation.with_named_texts(&mut replace);
                }
                Input::Text(old) => *old = replace(old),
                Input::Tokens(_) | Input::Several(_) => {}
            }
        }
        if let Some(held) = &mut self.held_to {
            held.grammar = held.grammar.with_texts(&mut replace);
        }
        // What was taken out of a form or of tools must not come back as what an answer has to say.
        if self.is_held() {
            self.constrain()?;
        }
        self.count()?;
        self.keep_within(taken);
        if self.max_tokens == 0 && wanted > 0 || self.prompt_tokens() > taken {
            return Err(self.too_long(self.prompt_tokens()));
        }
        Ok(())
    }

    /// What each answer to the prompt at this place begins with, where prompts are echoed.
    pub(super) fn echo(&self, place: usize, shows_logprobs: bool) -> Option<Echo> {
        let Input::Text(text) = self.input.each().get(place).filter(|_| self.echoes)? else {
            return None;
        };
        // What the model expects before a text is none of it.
        let framed = self.engine.tokenize("").len();
        let prompt = &self.prompts[place];
        let first = prompt.first().filter(|_| framed == 0).map(|first| self.engine.piece(*first));
        let first = first.map(|piece| (prompt[0], piece.bytes));
        let shows_logprobs = shows_logprobs && self.has_logprobs();
        Some(Echo { text: text.clone(), first, framed, shows_logprobs })
    }

    /// What the engine is asked for, of each prompt.
    pub(super) fn into_requests(self, user: UserId, weight: Weight) -> Vec<GenerationRequest> {
        let parser = self.parser();
        let judges_prompt = self.echoes && (self.logprobs.is_some() || self.max_tokens == 0);
        let one = |prompt| GenerationRequest {
            parser: parser.clone(),
            prompt,
            max_tokens: self.max_tokens,
            sampling: self.sampling.clone(),
            constraint: self.constraint.clone(),
            stop: self.stop.clone(),
            domain: super::domain(user),
            shared: self.shared,
            weight,
            logprobs: self.logprobs,
            judges_prompt,
            time_limit: None,
            line: PlaceInLine::default(),
        };
        self.prompts.into_iter().map(one).collect()
    }
}

/// The texts of a request.
pub(super) fn texts<'a>(input: &'a Input, held_to: Option<&'a HeldTo>) -> Vec<Cow<'a, str>> {
    let mut texts = Vec::new();
    for input in input.each() {
        match input {
            Input::Conversation(conversation) => texts.extend(conversation.texts()),
            Input::Text(text) => texts.push(text.as_str().into()),
            Input::Tokens(_) | Input::Several(_) => {}
        }
    }
    texts.extend(held_to.into_iter().flat_map(|held| held.grammar.texts()));
    texts
}

/// Of how many parts they are.
pub(super) fn parts(input: &Input, held_to: Option<&HeldTo>) -> usize {
    let of_input = match input {
        Input::Conversation(Conversation { messages, tools, arguments }) => {
            messages.len() + tools.len() + arguments.len()
        }
        Input::Text(_) | Input::Tokens(_) => 1,
        Input::Several(all) => all.len(),
    };
    of_input + usize::from(held_to.is_some())
}

/// One input in tokens. Those that were given are read as text, so that no token of the caller's is a
/// control of the template.
fn read(
    engine: &dyn Generate,
    input: &mut Input,
    options: &PromptOptions,
) -> Result<Vec<u32>, GateError> {
    if let Input::Tokens(tokens) = input {
        let vocabulary = engine.info().vocabulary;
        if tokens.iter().any(|token| *token as usize >= vocabulary) {
            return Err(GateError::UnknownToken);
        }
        *input = Input::Text(engine.detokenize(tokens));
    }
    match input {
        Input::Conversation(conversation) => Ok(engine.prompt(conversation, options)?),
        Input::Text(text) => Ok(engine.tokenize(text)),
        Input::Tokens(_) | Input::Several(_) => Ok(Vec::new()),
    }
}
