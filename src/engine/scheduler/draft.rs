//! A smaller model that guesses what the large one will say (Leviathan et al., 2023). It has a cache
//! of its own, and knows of a request no more than its tokens. Whatever it guesses, right or wrong,
//! changes no answer.

use std::collections::HashMap;

use crate::engine::decoder::{Decoder, Step};
use crate::engine::kv::{BlockTable, Pool};
use crate::engine::sampling::highest;

/// Tokens of prompts that the small model reads in one step, of all requests together: it catches
/// up over several steps of the large one.
const CATCH_UP_TOKENS: usize = 256;

/// The small model.
pub(crate) struct DraftModel {
    decoder: Decoder,
    pool: Pool,
    context: usize,
    weights_bytes: u64,
    /// By the number of the request.
    texts: HashMap<u64, Text>,
}

/// What the small model has read of one request.
#[derive(Default)]
struct Text {
    table: BlockTable,
    /// The tokens whose keys and values it has; some may have been wrong guesses.
    tokens: Vec<u32>,
    /// How many of them are known to be those of the request.
    agreed: usize,
}

/// A request for which guesses are wanted.
pub(super) struct Wanted<'a> {
    pub(super) id: u64,
    /// Prompt and answer so far.
    pub(super) tokens: &'a [u32],
    pub(super) most: usize,
}

impl DraftModel {
    /// A small model with room for its keys and values.
    pub(crate) fn new(decoder: Decoder, pool: Pool, context: usize, weights_bytes: u64) -> Self {
        Self { decoder, pool, context, weights_bytes, texts: HashMap::new() }
    }

    /// Bytes of its weights.
    pub(crate) fn weights_bytes(&self) -> u64 {
        self.weights_bytes
    }

    /// Bytes of its cache.
    pub(crate) fn cache_bytes(&self) -> usize {
        self.pool.bytes()
    }

    /// Forgets what is no longer worked on, and erases it.
    pub(super) fn keep(&mut self, is_running: impl Fn(u64) -> bool) {
        let pool = &mut self.pool;
        for (_, mut text) in self.texts.extract_if(|id, _| !is_running(*id)) {
            text.table.forget();
            pool.release(&mut text.table);
        }
    }

    /// Guesses for each request, in their order. None for those whose text it has not read yet, or
    /// has no room for.
    pub(super) fn guess(&mut self, wanted: &[Wanted<'_>]) -> candle_core::Result<Vec<Vec<u32>>> {
        let mut guesses: Vec<Vec<u32>> = vec![Vec::new(); wanted.len()];
        let mut rows: Vec<(usize, Vec<u32>)> = Vec::new();
        let mut left = CATCH_UP_TOKENS;
        for (place, one) in wanted.iter().enumerate() {
            let text = self.texts.entry(one.id).or_default();
            text.agree(one.tokens);
            let missing = one.tokens.len() - text.tokens.len();
            let some = missing.min(left);
            if one.most == 0 || some == 0 || one.tokens.len() + one.most > self.context {
                continue;
            }
            left -= some;
            rows.push((place, one.tokens[text.tokens.len()..][..some].to_vec()));
        }
        while !rows.is_empty() {
            let logits = self.forward(wanted, &mut rows)?;
            let mut next = Vec::new();
            for ((place, _), logits) in rows.iter().zip(logits) {
                let one = &wanted[*place];
                let has_read = self.texts.get(&one.id).map_or(0, |text| text.tokens.len());
                let Ok((token, _)) = highest(&logits) else { continue };
                if has_read < one.tokens.len() + guesses[*place].len() {
                    continue;
                }
                guesses[*place].push(token);
                if guesses[*place].len() < one.most {
                    next.push((*place, vec![token]));
                }
            }
            rows = next;
        }
        Ok(guesses)
    }

    /// Computes rows; gives the logits after the last of each. Those that find no room are taken out.
    fn forward(
        &mut self,
        wanted: &[Wanted<'_>],
        rows: &mut Vec<(usize, Vec<u32>)>,
    ) -> candle_core::Result<Vec<Vec<f32>>> {
        let (texts, pool) = (&mut self.texts, &mut self.pool);
        rows.retain(|(place, tokens)| {
            texts.get_mut(&wanted[*place].id).is_some_and(|text| {
                let from = text.tokens.len();
                pool.grow(&mut text.table, from, from + tokens.len())
            })
        });
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut step = Step::default();
        for (place, tokens) in rows.iter() {
            let Some(text) = self.texts.get(&wanted[*place].id) else { continue };
            let start = text.tokens.len();
            let is_last = |position| position + 1 == start + tokens.len();
            step.push(start, tokens.iter().copied(), text.table.blocks(), is_last);
        }
        let logits = self.decoder.forward(&step, &mut self.pool)?;
        drop(step);
        for (place, tokens) in rows.iter() {
            if let Some(text) = self.texts.get_mut(&wanted[*place].id) {
                text.tokens.extend_from_slice(tokens);
            }
        }
        Ok(logits)
    }
}

impl Text {
    /// Keeps what the request's tokens begin with, and leaves the last of them to be computed.
    fn agree(&mut self, tokens: &[u32]) {
        let own = self.tokens[self.agreed..].iter();
        let theirs = tokens.get(self.agreed..).unwrap_or_default();
        let same = own.zip(theirs).take_while(|(own, theirs)| own == theirs).count();
        self.agreed = (self.agreed + same).min(tokens.len().saturating_sub(1));
        self.tokens.truncate(self.agreed);
    }
}
