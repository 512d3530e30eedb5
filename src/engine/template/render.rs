//! Runs a chat template within its limits.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use regex::Regex;

use super::guard::{MARK, unmarked};
use super::input::{self, Habits};
use super::{PromptError, PromptOptions, filters, operators, python};
use crate::engine::Conversation;
use crate::engine::tokenizer::Tokenizer;

/// A template that compiles, and the names it may use.
pub(super) struct Program {
    environment: Environment<'static>,
    source: String,
    bos: String,
    eos: String,
    habits: Habits,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("bytes", &self.source.len()).finish_non_exhaustive()
    }
}

impl Program {
    pub(super) fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self, PromptError> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(PromptError::Limit("is longer than a template may be"));
        }
        let name = |token: Option<u32>| {
            token.and_then(|token| tokenizer.token_name(token)).unwrap_or_default().to_owned()
        };
        let mut program = Self {
            environment: environment(),
            source: for_minijinja(source),
            bos: name(tokenizer.bos()),
            eos: name(tokenizer.eos()),
            habits: Habits::default(),
        };
        on_a_deep_stack(FUEL_MIN, || {
            program.environment.template_from_str(&program.source).map(|_| ()).map_err(explain)
        })?;
        program.habits = Habits::of(&program);
        Ok(program)
    }

    /// The text of the template.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation.
    pub(super) fn render(
        &self,
        conversation: &Conversation,
        options: &PromptOptions,
    ) -> Result<String, PromptError> {
        self.render_as(conversation, options, self.habits)
    }

    /// Renders a conversation in a given shape.
    pub(super) fn render_as(
        &self,
        conversation: &Conversation,
        options: &PromptOptions,
        habits: Habits,
    ) -> Result<String, PromptError> {
        let (messages, bytes) = (conversation.messages.len(), conversation.bytes());
        let work = messages * FUEL_PER_MESSAGE + bytes / BYTES_PER_FUEL;
        let mut context = input::names(conversation, habits);
        context.push(("add_generation_prompt", options.add_generation_prompt.into()));
        self.render_value(context, options.date, work)
    }

    /// Renders with these names in scope; `work` is fuel for the size of the conversation.
    pub(super) fn render_value(
        &self,
        mut context: Vec<(&str, Value)>,
        date: Option<time::Date>,
        work: usize,
    ) -> Result<String, PromptError> {
        if let Some(date) = date {
            let now = Value::from_function(move |format: &str| filters::strftime(date, format));
            context.push(("strftime_now", now));
        }
        context.push(("bos_token", Value::from(&self.bos)));
        context.push(("eos_token", Value::from(&self.eos)));
        let fuel = FUEL_MIN.saturating_add(work as u64).min(FUEL_MAX);
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        on_a_deep_stack(fuel, || {
            let context = Value::from_pairs(context);
            let text = operators::render(&mut environment, &self.source, syntax(), fuel, context)
                .map_err(explain)?;
            if text.len() > OUTPUT_BYTES_MAX {
                return Err(PromptError::Limit("writes more text than a prompt may have"));
            }
            Ok(text)
        })
    }
}

/// Runs a piece of template work on a thread whose stack its fuel cannot exhaust.
///
/// A template can nest a list in a list for as long as its fuel lasts, and minijinja drops, prints
/// and compares values by recursion: on an ordinary stack that ends the whole server. Measured: at
/// most 560 bytes of stack a level, and at most 0.65 levels for a unit of fuel. The pages are
/// reserved, not used, until something touches them.
fn on_a_deep_stack<T: Send>(
    fuel: u64,
    work: impl FnOnce() -> Result<T, PromptError> + Send,
) -> Result<T, PromptError> {
    let stack = STACK_BYTES_MIN + fuel as usize * STACK_BYTES_PER_FUEL;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("template".into()).stack_size(stack);
        let running = thread
            .spawn_scoped(scope, work)
            .map_err(|_| PromptError::Limit("needs more memory than there is"))?;
        running.join().unwrap_or(Err(PromptError::Template("it met a bug of ours".into())))
    })
}

/// The settings that transformers gives Jinja2, and our limits.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax());
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(DEPTH_MAX);
    environment.set_debug(false);
    environment.set_unknown_method_callback(method);
    filters::install(&mut environment);
    environment
}

/// Methods of Python's types; those that look at the ends of a text do not see the guard's marks.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let plain = |value: &Value| match value.as_str() {
        Some(text) if text.contains(MARK) => Value::from(unmarked(text)),
        _ => value.clone(),
    };
    match name {
        "startswith" | "endswith" if value.as_str().is_some() => {
            let args: Vec<Value> = args.iter().map(plain).collect();
            unknown_method_callback(state, &plain(value), name, &args)
        }
        "strip" | "lstrip" | "rstrip" if args.is_empty() => match value.as_str() {
            Some(text) if name == "strip" => Ok(text.trim_matches(python::is_space).into()),
            Some(text) if name == "lstrip" => Ok(text.trim_start_matches(python::is_space).into()),
            Some(text) => Ok(text.trim_end_matches(python::is_space).into()),
            None => unknown_method_callback(state, value, name, args),
        },
        _ => unknown_method_callback(state, value, name, args),
    }
}

/// The source as minijinja takes it: Jinja2 reads every end of a line as `\n`, and transformers
/// adds a `generation` block, which prints its body and keeps its names to itself.
fn for_minijinja(source: &str) -> String {
    static GENERATION: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").ok());
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    match GENERATION.as_ref() {
        Some(tag) => tag.replace_all(&source, "{%$1 ${2}with $3%}").into_owned(),
        None => source,
    }
}

fn syntax() -> SyntaxConfig {
    // Fails for unusual delimiters only; these are the usual ones.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    syntax.unwrap_or_default()
}

/// Says what went wrong without quoting what was rendered.
fn explain(error: Error) -> PromptError {
    if error.kind() == ErrorKind::OutOfFuel {
        return PromptError::Limit("takes too many steps");
    }
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    while let Some(cause) = source {
        if let Some(filters::Refusal(reason)) = cause.downcast_ref() {
            return PromptError::Refused(reason.chars().take(REASON_CHARS_MAX).collect());
        }
        if cause.downcast_ref::<Error>().is_some_and(|cause| cause.kind() == ErrorKind::OutOfFuel) {
            return PromptError::Limit("takes too many steps");
        }
        source = cause.source();
    }
    let detail = error.detail().unwrap_or_default();
    if detail.contains("recursion limit") || detail.contains("recursion") {
        return PromptError::Limit("goes too deep");
    }
    let line = error.line().map_or(String::new(), |line| format!(", line {line}"));
    let kind = error.kind();
    // The detail of other kinds may quote values, and values are people's text.
    let detail = match kind {
        ErrorKind::SyntaxError
        | ErrorKind::UnknownFilter
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownMethod => format!(": {detail}"),
        _ => String::new(),
    };
    PromptError::Template(format!("{kind}{detail}{line}"))
}

/// The longest template; the longest published one has 20 KB.
const SOURCE_BYTES_MAX: usize = 1 << 20;
/// The longest output. A prompt of a million tokens is about 4 MB, and marks quadruple it. While it
/// is being written, fuel bounds it.
const OUTPUT_BYTES_MAX: usize = 32 << 20;
/// Fuel of a render: instructions, and 64 bytes each of what is made.
const FUEL_MAX: u64 = 600_000;
/// Fuel whatever the conversation; published templates need under 10,000 for a short one.
const FUEL_MIN: u64 = 150_000;
/// Fuel for each message.
const FUEL_PER_MESSAGE: usize = 1_000;
/// Bytes of text for one unit of fuel.
const BYTES_PER_FUEL: usize = 8;
/// Stack for each unit of fuel: almost three times what was measured.
const STACK_BYTES_PER_FUEL: usize = 1_024;
/// Stack for everything else.
const STACK_BYTES_MIN: usize = 4 << 20;
/// Nesting of calls and loops; published templates stay below 20.
const DEPTH_MAX: usize = 100;
/// How much of a template's own reason is passed on.
const REASON_CHARS_MAX: usize = 300;
