//! Takes an answer apart while it is being written: what the model thinks, what it says, what it
//! calls. However the text is cut into pieces, the parts are the same, and no part of a mark is ever
//! shown. Where a stop text is found in what it says, the answer ends.

use super::call_reader::{CallReader, Scan, Step};
use super::format::{Format, MARK, Shape, THINK, TOLD};
use super::parts::Parts;
use super::spoken::{Said, Spoken};

/// What an answer may be made of.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) format: Format,
    /// Whether calls are looked for, and the names of the functions that there are.
    pub(crate) functions: Vec<String>,
    /// Whether thinking is looked for.
    pub(crate) thinks: bool,
    /// Whether the prompt ends inside of it.
    pub(crate) starts_thinking: bool,
    /// The names that are control tokens in this vocabulary; others are looked for as text.
    pub(crate) controls: Vec<&'static str>,
}

/// Where in an answer it is.
#[derive(Clone, Debug)]
enum State {
    Content,
    Reasoning,
    /// In or between calls; what has been read since the mark, should it turn out to be none, and
    /// where that stood.
    Calls {
        reader: CallReader,
        raw: String,
        raw_at: usize,
        is_list: bool,
        called: bool,
    },
    /// In the name of a call whose arguments follow a mark.
    Name,
    /// In the arguments of such a call.
    Value(Scan),
    /// In the head of a harmony part.
    Head,
    /// In the text of a harmony part.
    Body(Part),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Content,
    Reasoning,
    Arguments,
}

/// Takes one answer apart.
#[derive(Clone, Debug)]
pub struct AnswerParser {
    expected: Expected,
    state: State,
    /// What has come and is not decided yet.
    pending: String,
    /// Bytes of the answer before that.
    decided: usize,
    /// White space at the start of content or thinking is left out, and held back at its end.
    at_start: bool,
    /// Whether content has been shown.
    has_spoken: bool,
    /// Whether an answer that says something calls nothing: a mark in it is what is said.
    calls_first: bool,
    out: Parts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Think,
    Thought,
    Call,
    Bare,
    /// The next part of a harmony answer.
    Part,
}

impl AnswerParser {
    pub(crate) fn new(expected: Expected) -> Self {
        let state = match expected.format.shape {
            Shape::Harmony => State::Head,
            _ if expected.starts_thinking => State::Reasoning,
            _ => State::Content,
        };
        Self {
            expected,
            state,
            pending: String::new(),
            decided: 0,
            at_start: true,
            has_spoken: false,
            calls_first: false,
            out: Parts::new(Vec::new()),
        }
    }

    /// Ends the answer before the first of these texts in what is said. They are not empty.
    #[must_use]
    pub fn stopping_at(self, stops: Vec<String>) -> Self {
        Self { out: Parts::new(stops), ..self }
    }

    /// For an answer that is calls or has a form: what says something calls nothing.
    #[must_use]
    pub fn calling_first(self) -> Self {
        Self { calls_first: true, ..self }
    }

    /// Which stop text was found, by its place among them: what follows is no part of the answer.
    pub fn stopped(&self) -> Option<usize> {
        self.out.stopped()
    }

    /// Whether content is held back that may be the beginning of a stop text.
    pub(super) fn holds_back(&self) -> bool {
        self.out.holds_back()
    }

    /// For a model without a vocabulary: calls in the form that models are told to use.
    pub fn without_marks(functions: Vec<String>) -> Self {
        Self::new(Expected {
            format: TOLD,
            functions,
            thinks: true,
            starts_thinking: false,
            controls: Vec::new(),
        })
    }

    /// Takes the next piece of the text; gives the parts that are certain.
    pub fn push(&mut self, text: &str) -> Vec<Spoken> {
        if self.stopped().is_none() {
            self.pending.push_str(text);
        }
        while self.step(false) {}
        self.out.take()
    }

    /// Ends the answer: what was held back comes out.
    pub fn finish(&mut self) -> Vec<Spoken> {
        while self.step(true) {}
        if let State::Calls { reader, raw, raw_at, called, .. } = &mut self.state
            && !reader.has_name()
            && !*called
        {
            let (raw, at) = (std::mem::take(raw), *raw_at);
            self.say(Part::Content, &raw, at);
        }
        self.out.finish();
        self.out.take()
    }

    /// Takes the first bytes of what is pending, which are decided; gives them, and where they stood.
    fn cut(&mut self, bytes: usize) -> (String, usize) {
        let at = self.decided;
        self.decided += bytes;
        (self.pending.drain(..bytes).collect(), at)
    }

    /// Does what can be done with what is there; false where more has to come.
    fn step(&mut self, is_last: bool) -> bool {
        if self.stopped().is_some() {
            return false;
        }
        match &self.state {
            State::Content => self.text(Part::Content, &self.content_marks(), is_last),
            State::Reasoning => self.text(Part::Reasoning, &[(Mark::Thought, THINK[1])], is_last),
            State::Body(part) => {
                let marks = ["<|end|>", "<|start|>", "<|channel|>"].map(|name| (Mark::Part, name));
                self.text(*part, &marks, is_last)
            }
            State::Head => self.head(is_last),
            State::Name => self.name(is_last),
            State::Calls { .. } => self.calls(is_last),
            State::Value(_) => self.value(),
        }
    }

    fn content_marks(&self) -> Vec<(Mark, &'static str)> {
        let mut marks = Vec::new();
        if self.expected.thinks && !self.has_spoken {
            marks.push((Mark::Think, THINK[0]));
        }
        let format = &self.expected.format;
        let may_call = !self.calls_first || !self.has_spoken;
        if may_call && !self.expected.functions.is_empty() {
            if !format.open.is_empty() {
                marks.push((Mark::Call, format.open));
            }
            if format.shape == Shape::Bare && !self.has_spoken {
                marks.push((Mark::Bare, BARE));
            }
        }
        marks
    }

    /// How a mark looks in the text.
    fn spelled(&self, name: &str) -> String {
        if self.expected.controls.contains(&name) {
            format!("{MARK}{name}{MARK}")
        } else {
            name.to_owned()
        }
    }

    /// Lets out text up to the first of the marks.
    fn text(&mut self, part: Part, marks: &[(Mark, &'static str)], is_last: bool) -> bool {
        let spelled: Vec<(Mark, String)> =
            marks.iter().map(|(mark, name)| (*mark, self.spelled(name))).collect();
        let found = spelled.iter().filter_map(|(mark, name)| {
            let at = self.pending.find(name.as_str())?;
            // A bare call begins the answer, or is none; thinking too.
            let begins =
                matches!(mark, Mark::Bare | Mark::Think) || self.calls_first && *mark == Mark::Call;
            let is_wrong = begins && !self.pending[..at].trim().is_empty();
            (!is_wrong).then_some((at, *mark, name.len()))
        });
        if let Some((at, mark, length)) = found.min_by_key(|(at, _, _)| *at) {
            let (before, start) = self.cut(at);
            self.say(part, before.trim_end(), start);
            let (raw, raw_at) = self.cut(if mark == Mark::Bare { 0 } else { length });
            self.marked(mark, raw, raw_at);
            return true;
        }
        // Where no mark can follow, white space is text like any other.
        let is_certain = is_last || marks.is_empty();
        let mut held = if is_certain { 0 } else { held(&self.pending, &spelled) };
        if held > HELD_BYTES_MAX {
            // So much white space is said, whatever comes after it.
            held = begun(&self.pending, &spelled);
        }
        let (text, at) = self.cut(self.pending.len() - held);
        self.say(part, &text, at);
        false
    }

    fn marked(&mut self, mark: Mark, raw: String, raw_at: usize) {
        self.at_start = true;
        self.state = match mark {
            Mark::Think => State::Reasoning,
            Mark::Thought => State::Content,
            Mark::Call if self.expected.format.shape == Shape::Named => State::Name,
            Mark::Call | Mark::Bare => State::Calls {
                reader: CallReader::new(),
                raw,
                raw_at,
                is_list: self.expected.format.shape == Shape::List,
                called: false,
            },
            Mark::Part => State::Head,
        };
    }

    /// Lets a text out as what it is; `at` is where it stood.
    fn say(&mut self, part: Part, text: &str, at: usize) {
        let end = at + text.len();
        let text = if self.at_start && part != Part::Arguments { text.trim_start() } else { text };
        let at = end - text.len()..end;
        let text: String = text.chars().filter(|c| *c != MARK).collect();
        if text.is_empty() {
            return;
        }
        self.at_start = false;
        self.has_spoken |= part == Part::Content;
        let said = match part {
            Part::Content => Said::Content(text),
            Part::Reasoning => Said::Reasoning(text),
            Part::Arguments => Said::Arguments(text),
        };
        self.out.put(said, at);
    }

    /// Reads calls; falls back to content where they are none.
    fn calls(&mut self, is_last: bool) -> bool {
        let close = self.spelled(self.expected.format.close);
        let State::Calls { reader, raw, raw_at, is_list, called } = &mut self.state else {
            return false;
        };
        while let Some(c) = self.pending.chars().next() {
            if reader.is_between() {
                let is_separator = c.is_whitespace()
                    || (*is_list && matches!(c, '[' | ']' | ','))
                    || (*called && self.expected.format.shape == Shape::Bare && c == ';');
                if is_separator {
                    raw.push(c);
                    self.pending.drain(..c.len_utf8());
                    self.decided += c.len_utf8();
                    continue;
                }
                if c != '{' {
                    if !close.is_empty() && self.pending.starts_with(&close) {
                        self.cut(close.len());
                        return self.after_calls();
                    }
                    if !is_last && close.starts_with(self.pending.as_str()) {
                        return false;
                    }
                    return self.after_calls();
                }
            }
            raw.push(c);
            self.pending.drain(..c.len_utf8());
            let at = self.decided..self.decided + c.len_utf8();
            self.decided = at.end;
            let mut say = |said| self.out.put(said, at.clone());
            match reader.push(c) {
                Step::Nothing => continue,
                Step::Name(name, early) => {
                    if !self.expected.functions.contains(&name) {
                        return self.after_calls();
                    }
                    *called = true;
                    say(Said::Call(name));
                    if !early.is_empty() {
                        say(Said::Arguments(early));
                    }
                }
                Step::Arguments(text) => say(Said::Arguments(text)),
                Step::Ended => {}
                Step::Wrong => return self.after_calls(),
            }
            raw.clear();
            *raw_at = at.end;
        }
        false
    }

    /// Goes back to content. What turned out to be no call is text.
    fn after_calls(&mut self) -> bool {
        let state = std::mem::replace(&mut self.state, State::Content);
        self.at_start = true;
        if let State::Calls { raw, raw_at, called: false, .. } = state {
            self.say(Part::Content, &raw, raw_at);
        }
        true
    }

    /// Reads the name of a call up to the mark of its arguments.
    fn name(&mut self, is_last: bool) -> bool {
        let close = self.spelled(self.expected.format.close);
        let Some(at) = self.pending.find(&close) else {
            let is_too_long = self.pending.len() > NAME_BYTES_MAX;
            if is_last || is_too_long {
                self.state = State::Content;
                return !self.pending.is_empty();
            }
            return false;
        };
        let (head, start) = self.cut(at + close.len());
        let name = head[..at].split(MARK).next().unwrap_or_default().trim();
        if self.expected.functions.iter().any(|known| known == name) {
            self.out.put(Said::Call(name.to_owned()), start..self.decided);
            self.state = State::Value(Scan::default());
        } else {
            self.state = State::Content;
            self.say(Part::Content, &head, start);
        }
        true
    }

    /// Reads arguments that end where their JSON ends.
    fn value(&mut self) -> bool {
        let State::Value(scan) = &mut self.state else { return false };
        let mut end = None;
        for (at, c) in self.pending.char_indices() {
            if scan.ends(c) {
                end = Some(at + c.len_utf8());
                break;
            }
        }
        let length = end.unwrap_or(self.pending.len());
        let (text, at) = self.cut(length);
        self.at_start = false;
        self.say(Part::Arguments, &text, at);
        if end.is_some() {
            self.state = State::Content;
            self.at_start = true;
        }
        end.is_some()
    }

    /// Reads the head of a harmony part: the channel, and the function that is called.
    fn head(&mut self, is_last: bool) -> bool {
        let close = self.spelled("<|message|>");
        let Some(at) = self.pending.find(&close) else {
            if self.pending.len() > HEAD_BYTES_MAX {
                self.state = State::Body(Part::Content);
                return true;
            }
            if is_last {
                self.cut(self.pending.len());
            }
            return false;
        };
        let (head, start) = self.cut(at + close.len());
        let head = head[..at].replace(MARK, " ");
        let called = head.split_whitespace().find_map(|word| word.strip_prefix("to=functions."));
        let name = called.map(|name| name.split('<').next().unwrap_or_default());
        self.at_start = true;
        self.state = State::Body(match name {
            Some(name) if self.expected.functions.iter().any(|known| known == name) => {
                self.out.put(Said::Call(name.to_owned()), start..self.decided);
                self.at_start = false;
                Part::Arguments
            }
            _ if head.contains("analysis") => Part::Reasoning,
            _ => Part::Content,
        });
        true
    }
}

/// How many bytes at the end may be white space before a mark, and the beginning of one.
fn held(text: &str, marks: &[(Mark, String)]) -> usize {
    let before = &text[..text.len() - begun(text, marks)];
    text.len() - before.trim_end().len()
}

/// How many bytes at the end are the beginning of a mark.
fn begun(text: &str, marks: &[(Mark, String)]) -> usize {
    let of_mark = |(_, name): &(Mark, String)| {
        let lengths = (1..name.len()).rev().filter(|&length| name.is_char_boundary(length));
        lengths.into_iter().find(|&length| text.ends_with(&name[..length])).unwrap_or(0)
    };
    marks.iter().map(of_mark).max().unwrap_or(0)
}

/// How the calls of a family begin that has no mark for them.
const BARE: &str = "{\"name\"";
/// Bytes that are held back where they may be white space before a mark.
const HELD_BYTES_MAX: usize = 512;
/// The longest name of a function.
const NAME_BYTES_MAX: usize = 256;
/// The longest head of a part.
const HEAD_BYTES_MAX: usize = 512;

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
