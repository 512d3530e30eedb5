//! Searching what a person wrote: opened in memory, message by message, on a thread of its own; one
//! search at a time for each person, which ends when nobody waits for it any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::conversations::{CONVERSATIONS_MAX, ChatParts, Conversation, opened};
use super::error::ChatError;
use super::sealing::{self, Place};
use super::store::{self, MessageRow};
use crate::db::{Connection, DbError, open_to_read};
use crate::ids::{ConversationId, UserId};
use crate::vault::Vault;

const SEARCHED_MESSAGES_MAX: usize = 50_000;

/// Whose conversations are looked through, and which of those that are found are given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) owner: UserId,
    pub(super) before: Option<ConversationId>,
    pub(super) limit: u32,
}

/// Whose turn it is: one search at a time for each person.
#[derive(Clone, Debug, Default)]
pub(super) struct Searches {
    turns: Arc<Mutex<HashMap<UserId, Arc<tokio::sync::Mutex<()>>>>>,
}

/// Says so when it goes: that nobody waits any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Searches {
    /// Finds the conversations whose title or messages contain `wanted`, newest first.
    pub(super) async fn run(
        &self,
        parts: &ChatParts,
        page: Page,
        wanted: String,
    ) -> Result<Vec<Conversation>, ChatError> {
        let is_over = Arc::new(AtomicBool::new(false));
        let waiting = Waiting(Arc::clone(&is_over));
        let turn = self.turn(page.owner).await;
        let (path, vault) = (parts.db.path().to_owned(), parts.vault.clone());
        let search = move || -> Result<_, ChatError> {
            // Held to the end of the work, also where the one who asked has gone.
            let _turn = turn;
            let look = Look { db: &open_to_read(&path)?, vault: &vault, is_over: &is_over };
            look.find(page, &wanted.to_lowercase())
        };
        let found = tokio::task::spawn_blocking(search).await.map_err(|_| DbError::Closed)?;
        drop(waiting);
        found
    }

    async fn turn(&self, owner: UserId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock();
            // Who has no search running or waiting is forgotten.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(owner).or_default())
        };
        turn.lock_owned().await
    }
}

/// One search at work.
struct Look<'a> {
    db: &'a Connection,
    vault: &'a Vault,
    is_over: &'a AtomicBool,
}

impl Look<'_> {
    fn find(&self, page: Page, wanted: &str) -> Result<Vec<Conversation>, ChatError> {
        let Page { owner, before, limit } = page;
        let mut looked_through = 0;
        let mut found = Vec::new();
        for row in store::page(self.db, owner, before, CONVERSATIONS_MAX)? {
            if found.len() >= limit as usize || self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let conversation = opened(self.vault, owner, &row)?;
            let mut is_hit = conversation.title.to_lowercase().contains(wanted);
            if !is_hit && looked_through < SEARCHED_MESSAGES_MAX {
                let messages = store::messages(self.db, owner, row.id)?;
                looked_through += messages.len();
                is_hit = self.any_contains(owner, &messages, wanted)?;
            }
            if is_hit {
                found.push(conversation);
            }
        }
        Ok(found)
    }

    fn any_contains(
        &self,
        owner: UserId,
        rows: &[MessageRow],
        wanted: &str,
    ) -> Result<bool, ChatError> {
        for row in rows {
            let text = sealing::open(self.vault, owner, Place::Content(row.id), &row.content)?;
            if text.to_lowercase().contains(wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_person_searches_once_at_a_time_and_does_not_keep_others_waiting() {
        let searches = Searches::default();
        let (one, other) = (UserId::new(), UserId::new());
        let turn = searches.turn(one).await;
        let again = searches.clone();
        let waiting = tokio::spawn(async move { again.turn(one).await });
        drop(
            tokio::time::timeout(Duration::from_secs(5), searches.turn(other)).await.expect("free"),
        );
        assert!(!waiting.is_finished());
        drop(turn);
        drop(waiting.await.expect("its turn"));
        drop(searches.turn(other).await);
        assert_eq!(searches.turns.lock().len(), 1, "who does not search is forgotten");
    }
}
