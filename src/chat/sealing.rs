//! Texts of people on their way into columns and out of them: sealed under the person's key, bound
//! to table, column, row and owner.

use crate::ids::{ConversationId, MessageId, UserId};
use crate::vault::{Aad, Scope, Sealed, Vault, VaultError};

/// Where a text stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The title of a conversation.
    Title(ConversationId),
    /// The text of a message.
    Content(MessageId),
}

impl Place {
    fn names(self) -> (&'static str, &'static str, String) {
        match self {
            Self::Title(id) => ("conversations", "title", id.to_string()),
            Self::Content(id) => ("messages", "content", id.to_string()),
        }
    }
}

/// Seals a text for its place.
pub(super) fn seal(
    vault: &Vault,
    owner: UserId,
    place: Place,
    text: &str,
) -> Result<Sealed, VaultError> {
    let (table, column, row) = place.names();
    let owner_text = owner.to_string();
    let aad = Aad { table, column, row: &row, owner: &owner_text };
    vault.seal(Scope::Person(owner), &aad, text.as_bytes())
}

/// Opens a text from its place; one that was moved or changed does not open.
pub(super) fn open(
    vault: &Vault,
    owner: UserId,
    place: Place,
    sealed: &Sealed,
) -> Result<String, VaultError> {
    let (table, column, row) = place.names();
    let owner_text = owner.to_string();
    let aad = Aad { table, column, row: &row, owner: &owner_text };
    let bytes = vault.open(Scope::Person(owner), &aad, sealed)?;
    std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| VaultError::CannotOpen)
}
