//! The watch over a streamed answer. The stream is cut into segments at places that depend on
//! the text alone, never on how it arrived, and each segment is inspected with the text before it
//! for context: streamed or in one piece, the result is the same by construction.
//!
//! A segment ends after a plain word. Words with digits, or in capitals, may be parts of a card
//! number or of a key block: they wait for what follows, up to a bound.

use super::Guard;
use super::finding::{Category, Direction, Finding};
use super::policy::Action;
use super::redact::{Originals, redact};
use super::unicode::{is_mark, is_nothing};

/// Bytes before a segment that detectors see with it.
const CONTEXT_BYTES: usize = 160;
/// Bytes of several words that wait together.
const HOLD_BYTES: usize = 256;
/// Where held words are let go, the last bytes still wait: no number is longer. (A card's has 19
/// digits, with two separators of three bytes between any two of them.)
const KEEP_BYTES: usize = 160;
/// Bytes of one word, and of a key block, that wait.
const LONG_BYTES: usize = 8 * 1024;
/// Letters of a word that cannot be a part of a key.
const WORD_CHARS_MAX: usize = 24;

/// What the watch lets out.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent {
    /// Text that may be shown.
    Text(String),
    /// Something was found, and what was done about it.
    Found(Action, Category),
    /// The answer ends here.
    Stop,
}

/// A watch over one answer.
pub struct OutputWatch {
    guard: Guard,
    originals: Originals,
    held: String,
    /// Up to here, what is held has been read: whole words.
    read: usize,
    /// How many of the words read last are plain ones.
    plain_words: usize,
    context: String,
    phrase_bytes: usize,
    is_stopped: bool,
}

impl OutputWatch {
    pub(super) fn new(guard: Guard, originals: Originals) -> Self {
        let policy = guard.policy();
        let acts = |c| policy.action(Direction::Output, c) != Action::Allow;
        let longest = |list: &[String]| list.iter().map(String::len).max().unwrap_or(0);
        let denied = if acts(Category::Denied) { longest(policy.denied()) } else { 0 };
        let injection = if acts(Category::Injection) { longest(policy.injection()) } else { 0 };
        // Look-alike letters take up to four bytes for one.
        let phrase_bytes = 4 * denied.max(injection);
        Self {
            guard,
            originals,
            held: String::new(),
            read: 0,
            plain_words: 0,
            context: String::new(),
            phrase_bytes,
            is_stopped: false,
        }
    }

    /// Takes the next piece; gives what may be let out now.
    pub fn push(&mut self, text: &str) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        for c in text.chars() {
            if self.is_stopped {
                break;
            }
            self.held.push(c);
            if ends_word(c) {
                self.end_word(&mut events);
            } else if self.held.len() >= LONG_BYTES {
                self.release(self.held.len(), &mut events);
            }
        }
        joined(events)
    }

    /// Ends the answer; gives what was still held.
    pub fn finish(&mut self) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        if !self.is_stopped {
            self.release(self.held.len(), &mut events);
        }
        joined(events)
    }

    /// A word is complete: lets out what can no longer become part of a finding.
    fn end_word(&mut self, events: &mut Vec<WatchEvent>) {
        let start = self.read;
        self.read = self.held.len();
        if !is_plain(&self.held[start..]) {
            self.plain_words = 0;
        }
        let is_block = self.held.contains("-----BEGIN")
            && self.held.split_once("-----END").is_none_or(|(_, rest)| !rest.contains("-----"));
        if is_block && self.held.len() < LONG_BYTES {
            return;
        }
        if self.phrase_bytes > 0 {
            // Any phrase that begins before this place has ended by now.
            let keep = self.phrase_bytes.max(KEEP_BYTES);
            if self.held.len() > HOLD_BYTES + keep {
                self.release_but(keep, events);
            }
        } else if is_plain(&self.held[start..]) {
            // A number may have a word in it (`gb29 nwbk 6016`), but not two that follow each other.
            self.plain_words += 1;
            if start == 0 || self.plain_words > 1 {
                self.release(start, events);
                self.release(self.held.len(), events);
            }
        } else if self.held.len() > HOLD_BYTES {
            self.release_but(KEEP_BYTES, events);
        }
    }

    /// Lets out what is held but for the last bytes, to the end of a word.
    fn release_but(&mut self, keep: usize, events: &mut Vec<WatchEvent>) {
        let limit = before_last(&self.held, keep);
        let ends = self.held.char_indices().filter(|(_, c)| ends_word(*c));
        let end = ends.map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= limit).last();
        self.release(end.unwrap_or(self.held.len()), events);
    }

    /// Inspects all that is held, and lets out what begins before `end`.
    fn release(&mut self, end: usize, events: &mut Vec<WatchEvent>) {
        if end == 0 || self.is_stopped {
            return;
        }
        let before = self.context.len();
        let whole = format!("{}{}", self.context, self.held);
        let mut end = before + end;
        let mut found: Vec<(Action, Finding)> = Vec::new();
        if !(is_plain(&self.held) && self.phrase_bytes == 0) {
            found = self.guard.find(&whole, Direction::Output);
            found.retain(|(_, one)| one.span.end > before && one.span.start < end);
            for (_, one) in &mut found {
                // What was let out already cannot be taken back; the rest of it can.
                one.span.start = one.span.start.max(before);
            }
        }
        for (action, one) in &found {
            events.push(WatchEvent::Found(*action, one.category));
            if *action != Action::Flag {
                end = end.max(one.span.end);
            }
        }
        let stop = found.iter().find(|(action, _)| *action == Action::Refuse);
        let stop = stop.map(|(_, one)| one.span.start);
        let until = stop.unwrap_or(end).max(before);
        let redacted: Vec<Finding> = found
            .iter()
            .filter(|(action, one)| *action == Action::Redact && one.span.start < until)
            .map(|(_, one)| Finding {
                // What is refused may begin inside of what is redacted.
                span: one.span.start - before..one.span.end.min(until) - before,
                ..one.clone()
            })
            .collect();
        let redacted: Vec<&Finding> = redacted.iter().collect();
        let text = redact(&whole[before..until], &redacted, None);
        events.push(WatchEvent::Text(self.originals.restore(&text)));
        // A block that fills the whole hold goes on after it, and nothing could tell where.
        let is_endless = self.held.len() >= LONG_BYTES
            && found.iter().any(|(action, one)| {
                *action == Action::Redact && one.category == Category::SecretPrivateKey
            });
        if stop.is_some() || is_endless {
            events.push(WatchEvent::Stop);
            self.is_stopped = true;
        }
        self.held.drain(..end - before);
        self.read = self.read.saturating_sub(end - before);
        tail(&whole[..end]).clone_into(&mut self.context);
    }
}

/// Where the last `keep` bytes begin. White space that follows white space is not counted, nor is
/// what is nothing to a phrase: characters that do not show, and marks.
fn before_last(text: &str, keep: usize) -> usize {
    let (mut left, mut after) = (keep, None::<char>);
    for (at, c) in text.char_indices().rev() {
        let counts = !(c.is_whitespace() && after.is_some_and(char::is_whitespace)
            || is_nothing(c)
            || is_mark(c));
        if counts && c.len_utf8() > left {
            return at + c.len_utf8();
        }
        left -= if counts { c.len_utf8() } else { 0 };
        after = Some(c);
    }
    0
}

/// Whether a word can end with this character: white space, and letters of scripts that write
/// without it. Never one that normalisation turns into part of a number or of a Latin word.
fn ends_word(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
            | '\u{3001}'..='\u{3002}')
}

/// Whether a word, with the space after it, can be no part of anything that is looked for.
fn is_plain(word: &str) -> bool {
    let word = word.trim_end();
    let letters = word
        .trim_matches(|c| matches!(c, ',' | '.' | ';' | '!' | '?' | '\'' | '"' | '(' | ')' | '*'));
    let is_letter = |c: char| c.is_ascii_alphabetic() || ends_word(c) || matches!(c, '\'' | '-');
    let is_shouted =
        letters.len() > 1 && !letters.bytes().any(|b| b.is_ascii_lowercase()) && letters.is_ascii();
    letters.chars().count() <= WORD_CHARS_MAX && letters.chars().all(is_letter) && !is_shouted
}

/// The last bytes of a text, from the start of a character.
fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(CONTEXT_BYTES);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// Neighbouring texts as one.
fn joined(events: Vec<WatchEvent>) -> Vec<WatchEvent> {
    let mut out: Vec<WatchEvent> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (_, WatchEvent::Text(text)) if text.is_empty() => {}
            (Some(WatchEvent::Text(before)), WatchEvent::Text(text)) => before.push_str(&text),
            (_, event) => out.push(event),
        }
    }
    out
}
