//! For whom the engine works, and how much of it is theirs beside others.

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
