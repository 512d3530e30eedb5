//! Unigram, as in SentencePiece models of XLM-R and T5 (Kudo, 2018): a text is normalised by the
//! map that comes with the model, and cut into the pieces that are together the most likely.
//!
//! Why not the `tokenizers` crate: it keeps words of one person for the next, reads the map without
//! looking at its bounds, and holds a hash table for each letter of each piece.

use super::TokenizerError;
use super::charsmap::CharsMap;
use super::vocabulary::{Attribute, Vocabulary};
use super::work::step;
use crate::engine::gguf::File;

/// A Unigram model.
#[derive(Debug)]
pub(super) struct Unigram {
    map: CharsMap,
    /// Pieces by name, ascending; each name once.
    pieces: Vec<Piece>,
    unknown: u32,
    unknown_score: f64,
    adds_space: bool,
    merges_spaces: bool,
}

#[derive(Debug)]
struct Piece {
    name: Box<str>,
    token: u32,
    score: f64,
}

/// How much less likely than the least likely piece an unknown character is, as in SentencePiece.
const UNKNOWN_PENALTY: f64 = 10.0;
const SPACE: char = '\u{2581}';

/// The best way to the end of a prefix of the text.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    /// Where its last piece begins.
    from: usize,
    /// None: an unknown character.
    token: Option<u32>,
}

impl Unigram {
    pub(super) fn new(vocabulary: &Vocabulary, file: &File) -> Result<Self, TokenizerError> {
        let damaged = |problem: &str| TokenizerError::Damaged(problem.to_owned());
        let scores = file.f32s("tokenizer.ggml.scores")?.unwrap_or_default();
        if scores.len() != vocabulary.len() {
            return Err(damaged("it does not have one score for each token"));
        }
        if !scores.iter().all(|score| score.is_finite()) {
            return Err(damaged("a score is not a number"));
        }
        let is_known = |&token: &u32| {
            matches!(vocabulary.attribute(token), Some(Attribute::Normal | Attribute::Added))
        };
        let mut pieces: Vec<Piece> = (0..vocabulary.len() as u32)
            .filter(is_known)
            .filter_map(|token| {
                let name = vocabulary.name(token).filter(|name| !name.is_empty())?;
                let score = f64::from(scores[token as usize]);
                Some(Piece { name: name.into(), token, score })
            })
            .collect();
        pieces.sort_by(|a, b| a.name.cmp(&b.name).then(a.token.cmp(&b.token)));
        pieces.dedup_by(|a, b| a.name == b.name);
        let least = scores.iter().copied().fold(f32::INFINITY, f32::min);
        Ok(Self {
            map: CharsMap::from_gguf(file)?,
            pieces,
            unknown: vocabulary
                .unknown
                .ok_or_else(|| damaged("it has no token for what is unknown"))?,
            unknown_score: f64::from(least) - UNKNOWN_PENALTY,
            adds_space: file.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
            merges_spaces: file.bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(true),
        })
    }

    /// Whether a text gets a space in front.
    pub(super) fn adds_space(&self) -> bool {
        self.adds_space
    }

    pub(super) fn encode(&self, text: &str, at_start: bool, tokens: &mut Vec<u32>) {
        let text = self.normalise(text, at_start);
        let best = self.best(&text);
        let mut found = Vec::new();
        let mut end = text.len();
        while end > 0 {
            // Every character has a way to its end, if only as an unknown one.
            let Some(Best { from, token, .. }) = best[end] else { break };
            // Unknown characters that stand together are one token.
            if token.is_some() || found.last() != Some(&None) {
                found.push(token);
            }
            end = from;
        }
        tokens.extend(found.iter().rev().map(|token| token.unwrap_or(self.unknown)));
    }

    /// The text by the model's map, with `▁` for spaces, one at the front, and none doubled.
    fn normalise(&self, text: &str, at_start: bool) -> String {
        let mapped = self.map.normalise(text);
        let mut out = String::with_capacity(mapped.len() + 3);
        if self.merges_spaces {
            for word in mapped.split(' ').filter(|word| !word.is_empty()) {
                if !out.is_empty() || (self.adds_space && at_start) {
                    out.push(SPACE);
                }
                out.push_str(word);
            }
        } else {
            if self.adds_space && at_start && !mapped.is_empty() {
                out.push(SPACE);
            }
            out.extend(mapped.chars().map(|c| if c == ' ' { SPACE } else { c }));
        }
        out
    }

    /// For each end of a prefix the best way there (Viterbi); none within characters.
    fn best(&self, text: &str) -> Vec<Option<Best>> {
        let bytes = text.as_bytes();
        let mut best: Vec<Option<Best>> = vec![None; bytes.len() + 1];
        for (start, c) in text.char_indices() {
            let so_far = best[start].map_or(0.0, |best| best.score);
            let mut offer = |end: usize, score: f64, token: Option<u32>| {
                let score = so_far + score;
                if best[end].is_none_or(|known| score > known.score) {
                    best[end] = Some(Best { score, from: start, token });
                }
            };
            let mut has_single = false;
            // The pieces that begin as the text does here, fewer with each byte.
            let mut range = &self.pieces[..];
            for (depth, byte) in bytes[start..].iter().enumerate() {
                step();
                let at = |piece: &Piece| piece.name.as_bytes().get(depth).copied();
                let from = range.partition_point(|piece| at(piece) < Some(*byte));
                let to = range.partition_point(|piece| at(piece) <= Some(*byte));
                range = &range[from..to];
                let Some(first) = range.first() else { break };
                if first.name.len() == depth + 1 {
                    has_single |= depth + 1 == c.len_utf8();
                    offer(start + depth + 1, first.score, Some(first.token));
                }
            }
            if !has_single {
                offer(start + c.len_utf8(), self.unknown_score, None);
            }
        }
        best
    }
}
