//! Signed heads: size and root of the tree at one moment, under the log's Ed25519 key.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::tree::{Hash, Tree};
use crate::clock::Timestamp;

/// A signed head: what the tree was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Events that it covers.
    pub size: u64,
    /// The root hash over them.
    pub root: Hash,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// Ed25519 over `signed_text`.
    pub signature: [u8; 64],
}

impl Head {
    /// Signs a tree as it stands.
    pub(super) fn sign(tree: &Tree, signed_at: Timestamp, key: &SigningKey) -> Self {
        let (size, root) = (tree.size(), tree.root());
        let text = Self::signed_text(size, &root, signed_at);
        Self { size, root, signed_at, signature: key.sign(text.as_bytes()).to_bytes() }
    }

    /// Whether the signature is by this key.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let text = Self::signed_text(self.size, &self.root, self.signed_at);
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(text.as_bytes(), &signature).is_ok()
    }

    /// What is signed: a text in the manner of C2SP checkpoints.
    pub fn signed_text(size: u64, root: &Hash, signed_at: Timestamp) -> String {
        format!("strongroom audit head v1\n{size}\n{}\n{}\n", hex::encode(root), signed_at.ms())
    }

    /// One line of the file of heads.
    pub(super) fn line(&self) -> String {
        format!(
            "{} {} {} {}\n",
            self.size,
            hex::encode(self.root),
            self.signed_at.ms(),
            hex::encode(self.signature)
        )
    }

    /// Reads a line of the file of heads.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split(' ');
        let size = parts.next()?.parse().ok()?;
        let mut root = [0; 32];
        hex::decode_to_slice(parts.next()?, &mut root).ok()?;
        let signed_at = Timestamp::from_ms(parts.next()?.parse().ok()?);
        let mut signature = [0; 64];
        hex::decode_to_slice(parts.next()?, &mut signature).ok()?;
        parts.next().is_none().then_some(Self { size, root, signed_at, signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_survive_a_round_trip_and_any_change_breaks_the_signature() {
        let key = SigningKey::from_bytes(&[9; 32]);
        let mut tree = Tree::default();
        tree.push([1; 32]);
        let head = Head::sign(&tree, Timestamp::from_ms(77), &key);
        assert_eq!(Head::parse(head.line().trim_end()), Some(head.clone()));
        assert!(head.is_signed_by(&key.verifying_key()));
        assert!(!head.is_signed_by(&SigningKey::from_bytes(&[8; 32]).verifying_key()));
        for bad in [
            Head { size: 2, ..head.clone() },
            Head { root: [0; 32], ..head.clone() },
            Head { signed_at: Timestamp::from_ms(78), ..head.clone() },
        ] {
            assert!(!bad.is_signed_by(&key.verifying_key()));
        }
    }

    #[test]
    fn lines_that_are_no_head_are_refused() {
        let (root, signature) = ("0".repeat(64), "0".repeat(128));
        for line in [
            String::new(),
            format!("-1 {root} 1 {signature}"),
            format!("1 {root}0 1 {signature}"),
            format!("1 {root} 1 {signature} x"),
            format!("1  {root} 1 {signature}"),
            format!("99999999999999999999 {root} 1 {signature}"),
        ] {
            assert_eq!(Head::parse(&line), None, "{line}");
        }
    }
}
