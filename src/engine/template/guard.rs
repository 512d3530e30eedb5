//! Keeps people's text apart from control tokens.
//!
//! A noncharacter, which no text may contain, is put inside everything in people's text that spells
//! a control token, before the template sees it. The rendered text is then cut at control tokens:
//! what the template wrote is found, what people wrote is not. At last the marks are taken out, and
//! what is left goes through the merges, which hold no control token.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::PromptError;
use crate::engine::tokenizer::{Fragment, Tokenizer};
use crate::engine::{Conversation, Role};

/// Finds the names of control tokens in people's text.
#[derive(Debug)]
pub(super) struct Guard {
    /// Control tokens: never in anybody's text.
    control: Option<AhoCorasick>,
    /// Control tokens and markup: not in what people and tools say. A model's own earlier answer
    /// keeps its `<think>`, which templates look for.
    markup: Option<AhoCorasick>,
    /// Control tokens of one character; a mark cannot be put inside.
    single: Vec<char>,
    /// Whether any control token begins or ends with white space.
    blank_edges: bool,
}

/// U+FDD1: a noncharacter, for use inside a program and never in interchange (Unicode 23.7).
pub(super) const MARK: char = '\u{fdd1}';

/// A text without marks.
pub(super) fn unmarked(text: &str) -> Cow<'_, str> {
    if text.contains(MARK) { Cow::Owned(text.replace(MARK, "")) } else { Cow::Borrowed(text) }
}

impl Guard {
    pub(super) fn new(tokenizer: &Tokenizer) -> Result<Self, PromptError> {
        let (mut control, mut markup, mut single) = (Vec::new(), Vec::new(), Vec::new());
        for (token, name) in tokenizer.added_tokens() {
            let mut chars = name.chars();
            match (chars.next(), chars.next()) {
                (Some(only), None) if tokenizer.is_control(token) => single.push(only),
                (Some(_), Some(_)) if tokenizer.is_control(token) => {
                    control.push(name);
                    markup.push(name);
                }
                (Some(_), Some(_)) if tokenizer.is_markup(token) => markup.push(name),
                _ => {}
            }
        }
        let blank_edges = control.iter().any(|name| name.trim() != *name);
        Ok(Self { control: finder(&control)?, markup: finder(&markup)?, single, blank_edges })
    }

    /// The conversation with a mark inside everything that spells a control token.
    pub(super) fn mark(&self, conversation: &Conversation) -> Conversation {
        let mark = |text: &str| mark_inside(self.markup.as_ref(), &self.clean(text));
        let mut marked = conversation.with_texts(&mut { mark });
        for (marked, message) in marked.messages.iter_mut().zip(&conversation.messages) {
            if message.role == Role::Assistant {
                let mark = |text: &str| mark_inside(self.control.as_ref(), &self.clean(text));
                *marked = message.with_texts(&mut { mark });
            }
        }
        marked
    }

    /// The conversation with a mark around every character.
    pub(super) fn mark_everything(&self, conversation: &Conversation) -> Conversation {
        conversation.with_texts(&mut |text| self.mark_around(text))
    }

    fn mark_around(&self, text: &str) -> String {
        let text = self.clean(text);
        let inner = if self.blank_edges { text.as_str() } else { text.trim() };
        let before = text.len() - text.trim_start().len();
        let before = if self.blank_edges { 0 } else { before.min(text.len() - inner.len()) };
        let mut marked = String::with_capacity(text.len() * 4);
        marked.push_str(&text[..before]);
        for c in inner.chars() {
            marked.push(MARK);
            marked.push(c);
        }
        if !inner.is_empty() {
            marked.push(MARK);
        }
        marked.push_str(&text[before + inner.len()..]);
        marked
    }

    /// Takes out what nobody may send: marks, and control tokens of one character.
    fn clean(&self, text: &str) -> String {
        let lost = |c: char| c == MARK || self.single.contains(&c);
        text.chars().map(|c| if lost(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
    }
}

fn finder(names: &[&str]) -> Result<Option<AhoCorasick>, PromptError> {
    if names.is_empty() {
        return Ok(None);
    }
    // Templates change case, so the case of a name does not matter.
    AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .match_kind(MatchKind::Standard)
        .ascii_case_insensitive(true)
        .build(names)
        .map(Some)
        .map_err(|error| PromptError::Template(format!("its control tokens: {error}")))
}

/// Puts a mark before the last character of every name in the text.
///
/// The automaton gives the match that ends first. Every name that overlaps it and ends later either
/// covers the mark, or begins at the last character, where the search goes on; so none survives.
fn mark_inside(finder: Option<&AhoCorasick>, text: &str) -> String {
    let Some(finder) = finder else { return text.to_owned() };
    let mut marked = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(found) = finder.find(rest) {
        let last = rest[..found.end()].char_indices().next_back().map_or(0, |(at, _)| at);
        marked.push_str(&rest[..last]);
        marked.push(MARK);
        rest = &rest[last..];
    }
    marked.push_str(rest);
    marked
}

/// The control tokens that stand in a rendered text.
pub(super) fn control_tokens<'a>(
    tokenizer: &'a Tokenizer,
    text: &'a str,
) -> impl Iterator<Item = u32> + 'a {
    tokenizer.split(text).into_iter().filter_map(|fragment| match fragment {
        Fragment::Token(token) if tokenizer.is_control(token) => Some(token),
        Fragment::Token(_) | Fragment::Text(_) => None,
    })
}

/// Turns a rendered text with marks into tokens.
pub(super) fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut tokens = Vec::with_capacity(text.len() / 3);
    let mut at_start = true;
    for fragment in tokenizer.split(text) {
        match fragment {
            Fragment::Token(token) => {
                tokens.push(token);
                at_start = true;
            }
            Fragment::Text(text) => {
                let text = unmarked(text);
                if !text.is_empty() {
                    tokenizer.encode_unmarked(&text, at_start, &mut tokens);
                    at_start = false;
                }
            }
        }
    }
    tokens
}
