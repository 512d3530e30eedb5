//! Taking a log up where it was left: tree and head out of the database, held against the file of
//! heads.

use std::path::Path;

use super::heads_file::HeadsFile;
use super::store;
use super::tree::Tree;
use super::{Action, Actor, AuditError, Event, Head, Outcome};
use crate::clock::Clock;
use crate::db::{Connection, Db, DbError};

/// Heads read at once.
const PAGE: u32 = 1_024;

/// Database and file of heads do not go equally far, or do not say the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    database_size: u64,
    file_size: u64,
}

impl Gap {
    /// What tells of it.
    pub(super) fn event(self) -> Event {
        Event::new(Action::AuditGap, Outcome::Failed, Actor::System)
            .with("database_size", self.database_size)
            .with("file_size", self.file_size)
    }
}

/// The tree and head where they were left, held against the events as far as that takes no time;
/// tells the clock of the newest event.
pub(super) fn resume(db: &Db, clock: &Clock) -> Result<(Tree, Option<Head>), AuditError> {
    let (head, last, at) = db.read_blocking(|db| -> Result<_, DbError> {
        Ok((store::last_head(db)?, store::last_seq(db)?, store::last_at(db)?))
    })?;
    let (tree, head) = match head {
        None => (Tree::default(), None),
        Some((head, peaks)) => {
            let tree = Tree::resume(head.size, &peaks)
                .filter(|tree| tree.root() == head.root)
                .ok_or_else(|| AuditError::Inconsistent("the newest head is damaged".to_owned()))?;
            (tree, Some(head))
        }
    };
    // Events come with their head in one commit; others were put there by somebody else, and the
    // next head must not be signed over them.
    if last != tree.size() {
        let text = format!("the newest head covers {} events, and there are {last}", tree.size());
        return Err(AuditError::Inconsistent(text));
    }
    if let Some(at) = at {
        clock.not_before(at);
    }
    Ok((tree, head))
}

/// Holds the last line of the file of heads against the database. Gives the gap there is, and the
/// heads that the file lacks at its end.
///
/// A process that is killed between a commit and the file leaves one head out, which is no gap. A
/// file that is missing, or lacks more, is one, if only from a power cut: the file is forced to the
/// disk once a second.
pub(super) fn find_gap(
    heads: &HeadsFile,
    db: &Db,
    database_size: u64,
) -> Result<(Option<Gap>, Vec<Head>), AuditError> {
    let newest = heads.newest().cloned();
    let is_new = heads.is_new();
    db.read_blocking(move |db| {
        let file_size = newest.as_ref().map_or(0, |last| last.size);
        let gap = Gap { database_size, file_size };
        if let Some(last) = newest {
            let page = store::heads_after(db, last.size.saturating_sub(1), 1)?;
            let is_same = |head: &Head| head.size == last.size && head.root == last.root;
            if !page.first().is_some_and(is_same) {
                return Ok((Some(gap), Vec::new()));
            }
        }
        let missing = all_after(db, file_size)?;
        let is_gap = missing.len() > 1 || is_new && !missing.is_empty();
        Ok((is_gap.then_some(gap), missing))
    })
}

fn all_after(db: &Connection, size: u64) -> Result<Vec<Head>, AuditError> {
    let (mut heads, mut after) = (Vec::new(), size);
    loop {
        let page = store::heads_after(db, after, PAGE)?;
        let Some(last) = page.last() else { return Ok(heads) };
        after = last.size;
        heads.extend(page);
    }
}

/// Adds to the file of heads in `directory` what the database has beyond its end. For a copy of
/// both, of which the file was taken first.
pub fn complete_heads(db: &Connection, directory: &Path) -> Result<(), AuditError> {
    let mut heads = HeadsFile::open(directory)?;
    for head in all_after(db, heads.newest().map_or(0, |last| last.size))? {
        heads.append(&head)?;
    }
    Ok(heads.sync()?)
}
