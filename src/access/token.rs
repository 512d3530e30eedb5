//! Bearer secrets: 256 random bits with a prefix and a checksum, so that a scanner for leaked
//! secrets recognises them and a mistyped one is refused without a look-up.

use sha2::{Digest, Sha256};

use crate::secret::{SecretKey, SecretText};

const RANDOM_DIGITS: usize = 64;
const CHECK_DIGITS: usize = 8;

/// A kind of secret, told apart by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An API key.
    Key,
    /// A session cookie.
    Session,
    /// A one-time link.
    Link,
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Key => "sr-",
            Self::Session => "ss-",
            Self::Link => "sl-",
        }
    }
}

/// Makes a new secret.
pub(crate) fn make(kind: TokenKind) -> Result<SecretText, getrandom::Error> {
    let random = hex::encode(SecretKey::random()?.expose());
    let check = checksum(kind, &random);
    Ok(SecretText::new(format!("{}{random}{check}", kind.prefix())))
}

/// Whether a text has the form of such a secret, checksum included.
pub(crate) fn is_well_formed(kind: TokenKind, text: &str) -> bool {
    let Some(rest) = text.strip_prefix(kind.prefix()) else { return false };
    if rest.len() != RANDOM_DIGITS + CHECK_DIGITS || !rest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return false;
    }
    let (random, check) = rest.split_at(RANDOM_DIGITS);
    checksum(kind, random) == check
}

/// The last digits, by which a person tells keys apart.
pub(crate) fn hint(secret: &SecretText) -> String {
    let text = secret.expose();
    text.get(text.len().saturating_sub(4)..).unwrap_or_default().to_owned()
}

fn checksum(kind: TokenKind, random: &str) -> String {
    let sum = Sha256::digest(format!("strongroom/{}{random}", kind.prefix()).as_bytes());
    hex::encode(&sum[..CHECK_DIGITS / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_and_foreign_secrets_are_refused() {
        let secret = make(TokenKind::Key).expect("random");
        let good = secret.expose();
        assert!(is_well_formed(TokenKind::Key, good));
        assert!(!is_well_formed(TokenKind::Session, good));
        let mut wrong = good.to_owned();
        let last = if wrong.ends_with('0') { '1' } else { '0' };
        wrong.pop();
        wrong.push(last);
        let (short, longer) = (&good[..good.len() - 1], format!("{good}0"));
        for bad in [&*wrong, "", "sr-", short, &longer, "sr-ä"] {
            assert!(!is_well_formed(TokenKind::Key, bad));
        }
    }
}
