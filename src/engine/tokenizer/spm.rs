//! SentencePiece models of the BPE kind, as in Llama 2: characters are merged, the best score
//! first and the leftmost among equals, and what no token spells falls back to bytes.
//!
//! The `tokenizers` crate has no model that merges by score (its BPE ranks pairs, which differs
//! where two pairs make pieces of one score), so this one is our own.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::TokenizerError;
use super::vocabulary::{Vocabulary, byte_named};
use super::work::step;
use crate::engine::gguf::File;

/// A SentencePiece model.
#[derive(Debug)]
pub(super) struct Spm {
    pieces: HashMap<Box<str>, u32>,
    scores: Vec<f32>,
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
    piece_bytes_max: usize,
    adds_space: bool,
}

impl Spm {
    pub(super) fn new(vocabulary: &Vocabulary, file: &File) -> Result<Self, TokenizerError> {
        let scores = file.f32s("tokenizer.ggml.scores")?.unwrap_or_default();
        if scores.len() != vocabulary.len() {
            let problem = format!("{} tokens, but {} scores", vocabulary.len(), scores.len());
            return Err(TokenizerError::Damaged(problem));
        }
        let pieces = vocabulary.mergeable();
        let mut bytes = [None; 256];
        for (name, &token) in &pieces {
            if let Some(byte) = byte_named(name) {
                bytes[usize::from(byte)] = Some(token);
            }
        }
        Ok(Self {
            piece_bytes_max: pieces.keys().map(|name| name.len()).max().unwrap_or(0),
            pieces: pieces
                .into_iter()
                .filter(|(name, _)| byte_named(name).is_none())
                .map(|(name, token)| (Box::from(name), token))
                .collect(),
            scores,
            bytes,
            unknown: vocabulary.unknown,
            adds_space: file.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
        })
    }

    pub(super) fn adds_space(&self) -> bool {
        self.adds_space
    }

    pub(super) fn encode(&self, text: &str, at_start: bool, tokens: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let mut spelled = String::with_capacity(text.len() + text.len() / 2 + 3);
        if self.adds_space && at_start {
            spelled.push('\u{2581}');
        }
        spelled.extend(text.chars().map(|c| if c == ' ' { '\u{2581}' } else { c }));
        for symbol in self.merge(&spelled) {
            self.emit(&spelled[symbol.start..symbol.end], tokens);
        }
    }

    /// Merges until no two neighbours make a piece: O(n log n) whatever the text.
    fn merge(&self, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(at, (start, c))| Symbol {
                start,
                end: start + c.len_utf8(),
                previous: at.checked_sub(1),
                next: Some(at + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        let mut queue = BinaryHeap::with_capacity(symbols.len());
        for left in 0..symbols.len() {
            queue.extend(self.candidate(text, &symbols, left));
        }
        while let Some(best) = queue.pop() {
            step();
            let Symbol { start, end, next: Some(right), .. } = symbols[best.left] else { continue };
            // Either side may have been merged into something else since: an emptied symbol
            // keeps no length, a grown one no longer ends where the candidate does.
            if start == end || start != best.start || symbols[right].end != best.end {
                continue;
            }
            symbols[best.left].end = best.end;
            let after = symbols[right].next;
            symbols[best.left].next = after;
            symbols[right].start = symbols[right].end;
            if let Some(after) = after {
                symbols[after].previous = Some(best.left);
            }
            queue.extend(self.candidate(text, &symbols, best.left));
            if let Some(previous) = symbols[best.left].previous {
                queue.extend(self.candidate(text, &symbols, previous));
            }
        }
        symbols.retain(|symbol| symbol.start < symbol.end);
        symbols
    }

    /// The merge of a symbol with the one to its right, if that makes a piece.
    fn candidate(&self, text: &str, symbols: &[Symbol], left: usize) -> Option<Candidate> {
        let (start, end) = (symbols[left].start, symbols[symbols[left].next?].end);
        if end - start > self.piece_bytes_max {
            return None;
        }
        step();
        let token = *self.pieces.get(&text[start..end])?;
        Some(Candidate { score: self.scores[token as usize], left, start, end })
    }

    /// Gives a symbol's token, or a token for each of its bytes.
    fn emit(&self, symbol: &str, tokens: &mut Vec<u32>) {
        if let Some(&token) = self.pieces.get(symbol) {
            tokens.push(token);
            return;
        }
        let bytes: Option<Vec<u32>> =
            symbol.bytes().map(|byte| self.bytes[usize::from(byte)]).collect();
        match bytes {
            Some(bytes) => tokens.extend(bytes),
            None => tokens.extend(self.unknown),
        }
    }
}

/// A run of characters; emptied when it was merged into its left neighbour.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that make a piece.
#[derive(Debug)]
struct Candidate {
    score: f32,
    left: usize,
    start: usize,
    end: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest: the higher score, then the one further left.
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}
