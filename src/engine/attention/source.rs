//! The keys and values of one head in one block, in f32, as much at a time as is worked on.
#![expect(clippy::inline_always, reason = "used inside of kernels; see `Kernel`")]

use std::ops::Range;

use super::super::kv::{BLOCK_TOKENS, Place, Storage};

/// Gives keys and values in parts.
pub(super) trait Source {
    /// Elements of keys in a part, at most.
    const ELEMENTS: usize;
    /// Tokens of values in a part, at most.
    const TOKENS: usize;

    /// The keys' elements, [elements, tokens].
    fn keys(&mut self, elements: Range<usize>) -> &[f32];
    /// The values of tokens, [tokens, head_dim].
    fn values(&mut self, tokens: Range<usize>) -> &[f32];
}

/// All of them, widened once for many queries.
#[derive(Clone, Copy)]
pub(super) struct Whole<'a> {
    /// [head_dim, tokens]
    pub(super) keys: &'a [f32],
    /// [tokens, head_dim]
    pub(super) values: &'a [f32],
    /// Elements of a head.
    pub(super) head_dim: usize,
}

impl Source for Whole<'_> {
    const ELEMENTS: usize = usize::MAX;
    const TOKENS: usize = BLOCK_TOKENS;

    #[inline(always)]
    fn keys(&mut self, elements: Range<usize>) -> &[f32] {
        &self.keys[elements.start * BLOCK_TOKENS..elements.end * BLOCK_TOKENS]
    }

    #[inline(always)]
    fn values(&mut self, tokens: Range<usize>) -> &[f32] {
        &self.values[tokens.start * self.head_dim..tokens.end * self.head_dim]
    }
}

/// Each part is widened when it is asked for, for a few queries: all of them would push each other out of
/// the nearest cache.
pub(super) struct Parts<'a> {
    pub(super) cache: &'a Storage,
    pub(super) place: Place,
    /// Working space.
    pub(super) wide: &'a mut Vec<f32>,
}

impl Source for Parts<'_> {
    // What these take in f32 leaves room in the nearest cache for what they are read from.
    const ELEMENTS: usize = 64;
    const TOKENS: usize = 16;

    #[inline(always)]
    fn keys(&mut self, elements: Range<usize>) -> &[f32] {
        self.cache.some_keys(self.place, elements, self.wide)
    }

    #[inline(always)]
    fn values(&mut self, tokens: Range<usize>) -> &[f32] {
        self.cache.some_values(self.place, tokens, self.wide)
    }
}
