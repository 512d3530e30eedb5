//! The signed heads of the database and of the file, in order, for verification.

use std::io;
use std::path::Path;

use super::heads_file::{HeadsFile, Lines};
use super::store;
use super::{AuditError, Head};
use crate::db::Connection;

/// Heads read at once.
const PAGE: u32 = 1_024;

/// What comes next from a place where heads are kept.
pub(super) enum Found {
    /// A head.
    Head(Head),
    /// A line that is no head, or stands behind one that covers more.
    Damaged(u64),
}

/// Heads of the database, in order, read in pages.
pub(super) struct StoredHeads<'a> {
    db: &'a Connection,
    page: std::vec::IntoIter<Head>,
    last: u64,
}

impl<'a> StoredHeads<'a> {
    pub(super) fn new(db: &'a Connection) -> Self {
        Self { db, page: Vec::new().into_iter(), last: 0 }
    }
}

impl Iterator for StoredHeads<'_> {
    type Item = Result<Found, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 {
            match store::heads_after(self.db, self.last, PAGE) {
                Ok(page) => self.page = page.into_iter(),
                Err(error) => return Some(Err(error.into())),
            }
        }
        let head = self.page.next()?;
        self.last = head.size;
        Some(Ok(Found::Head(head)))
    }
}

/// Heads of the file, in order. A running server adds lines while they are read: of those behind
/// `length`, where the file ended before the database was looked at, only heads that are in the
/// database as it was seen are given.
pub(super) struct FileHeads {
    lines: Option<Lines>,
    length: u64,
    /// Events under the newest head of the database as it was seen.
    seen: u64,
    number: u64,
    last: u64,
}

impl FileHeads {
    /// Opens the file, which was `length` bytes long before a database with a newest head over
    /// `seen` events was looked at.
    pub(super) fn open(directory: &Path, length: u64, seen: u64) -> Result<Self, AuditError> {
        let lines = match Lines::over(&HeadsFile::path(directory)) {
            Ok(lines) => Some(lines),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { lines, length, seen, number: 0, last: 0 })
    }
}

impl Iterator for FileHeads {
    type Item = Result<Found, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.as_mut()?.next()?;
        self.number += 1;
        match line {
            Err(error) => {
                self.lines = None;
                Some(Err(error.into()))
            }
            Ok((end, head))
                if end > self.length && head.as_ref().is_none_or(|head| head.size > self.seen) =>
            {
                self.lines = None;
                None
            }
            Ok((_, Some(head))) if head.size > self.last => {
                self.last = head.size;
                Some(Ok(Found::Head(head)))
            }
            Ok(_) => Some(Ok(Found::Damaged(self.number))),
        }
    }
}
