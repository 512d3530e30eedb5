//! How model families write what is more than text: what they think first, and calls of functions.
//! One table; the template of a model tells which row is its own.

/// Stands around the names of control tokens in an answer, so that text that spells one is not taken
/// for one: a noncharacter, which no text may contain (Unicode 23.7).
pub(crate) const MARK: char = '\u{fdd0}';

/// How a family writes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One object with a name and arguments between two marks; more calls are marked anew.
    Tagged,
    /// A list of such objects behind one mark.
    List,
    /// The whole answer is such an object.
    Bare,
    /// The name behind one mark, the arguments behind another.
    Named,
    /// OpenAI's harmony: every part of an answer says in its head what it is.
    Harmony,
}

/// How one family writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// The name, for tests and documentation.
    pub(crate) name: &'static str,
    /// What the template of the family has in it: all of these.
    told_by: &'static [&'static str],
    pub(crate) shape: Shape,
    /// What stands before a call; empty where nothing does.
    pub(crate) open: &'static str,
    /// What stands behind it; empty where nothing does. For `Named`, what stands before arguments.
    pub(crate) close: &'static str,
    /// The name of the field with the arguments.
    pub(crate) arguments: &'static str,
}

const fn row(
    name: &'static str,
    told_by: &'static [&'static str],
    shape: Shape,
    marks: [&'static str; 2],
    arguments: &'static str,
) -> Format {
    Format { name, told_by, shape, open: marks[0], close: marks[1], arguments }
}

/// The formats, the more particular before the more general.
pub(crate) const FORMATS: &[Format] = &[
    row("harmony", &["<|channel|>", "<|message|>"], Shape::Harmony, ["", ""], "arguments"),
    row(
        "mistral-named",
        &["[TOOL_CALLS]", "[ARGS]"],
        Shape::Named,
        ["[TOOL_CALLS]", "[ARGS]"],
        "arguments",
    ),
    row("mistral", &["[TOOL_CALLS]"], Shape::List, ["[TOOL_CALLS]", ""], "arguments"),
    row("hermes", &["<tool_call>"], Shape::Tagged, ["<tool_call>", "</tool_call>"], "arguments"),
    row(
        "phi",
        &["<|tool_call|>", "<|/tool_call|>"],
        Shape::List,
        ["<|tool_call|>", "<|/tool_call|>"],
        "arguments",
    ),
    row("granite", &["<|tool_call|>"], Shape::List, ["<|tool_call|>", ""], "arguments"),
    row(
        "llama3",
        &["\"parameters\": dictionary"],
        Shape::Bare,
        ["<|python_tag|>", ""],
        "parameters",
    ),
    row("llama3", &["<|python_tag|>"], Shape::Bare, ["<|python_tag|>", ""], "parameters"),
];

/// The form that a model is told to use whose template knows of no tools.
pub(crate) const TOLD: Format =
    row("told", &[], Shape::Tagged, ["<tool_call>", "</tool_call>"], "arguments");

impl Format {
    /// The format that a template tells of.
    pub(crate) fn of(template: &str) -> Self {
        let found =
            FORMATS.iter().find(|one| one.told_by.iter().all(|told| template.contains(told)));
        found.copied().unwrap_or(TOLD)
    }
}

/// What stands around thinking in an answer, where a template tells of it.
pub(crate) const THINK: [&str; 2] = ["<think>", "</think>"];

/// The names of all control tokens that mean something in an answer.
pub(crate) const CONTROLS: &[&str] = &[
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<|tool_call|>",
    "<|/tool_call|>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "[THINK]",
    "[/THINK]",
    "<|start|>",
    "<|channel|>",
    "<|constrain|>",
    "<|message|>",
    "<|end|>",
];
