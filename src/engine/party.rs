//! For whom the engine works: how much of it is theirs beside others, and which part of a prompt is
//! everybody's.

use super::kv::BLOCK_TOKENS;
use super::request::Domain;

/// How much of the engine somebody gets beside others who want it too: a weight of two gets twice
/// what a weight of one does, and nobody gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u8);

impl Weight {
    /// The greatest.
    pub const MAX: u8 = 100;

    /// A weight within its bounds: the nearest one.
    pub fn new(weight: u8) -> Self {
        Self(weight.clamp(1, Self::MAX))
    }

    /// The number.
    pub(super) fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

/// Whose turn it is, and how much of it they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) domain: Domain,
    pub(super) weight: Weight,
}

impl From<Domain> for Party {
    fn from(domain: Domain) -> Self {
        Self { domain, weight: Weight::default() }
    }
}

/// The beginning of a prompt that is the same for everybody who is told the same: nothing in it may
/// come from a person. Its blocks are kept in a domain of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedPrefix {
    /// Where it is kept: no person's domain.
    pub domain: Domain,
    /// How many tokens it has.
    pub tokens: usize,
}

/// Whose the blocks of a sequence are: those that lie wholly within the shared beginning are of its
/// domain, all others of the sequence's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owners {
    pub(super) own: Domain,
    pub(super) shared: Option<SharedPrefix>,
}

impl Owners {
    /// Whose the block is that ends before this token.
    pub(super) fn of_block(&self, end: usize) -> Domain {
        self.shared.filter(|shared| end <= shared.tokens).map_or(self.own, |shared| shared.domain)
    }

    /// How many of the tokens of a cached beginning are of the shared domain.
    pub(super) fn shared_of(&self, cached: usize) -> usize {
        let whole = self.shared.map_or(0, |shared| shared.tokens / BLOCK_TOKENS * BLOCK_TOKENS);
        whole.min(cached)
    }

    /// Whether something of this domain may be in its blocks.
    pub(super) fn includes(&self, domain: Domain) -> bool {
        self.own == domain || self.shared.is_some_and(|shared| shared.domain == domain)
    }
}

impl From<Domain> for Owners {
    fn from(own: Domain) -> Self {
        Self { own, shared: None }
    }
}
