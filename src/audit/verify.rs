//! Verification: holds every event against its hash, every head against the events, and both
//! against heads that were kept elsewhere. Needs no key but the public one, so it works beside a
//! running server, on a stopped one and on a sealed one. Takes memory for a page of rows only.

use std::fmt;
use std::io;
use std::iter::Peekable;
use std::path::Path;

use ed25519_dalek::VerifyingKey;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::found::{FileHeads, Found, StoredHeads};
use super::heads_file::{HEADS_FILE, HeadsFile};
pub use super::key::Trust;
use super::key::fingerprint;
use super::store::{self, Record};
use super::tree::{Hash, Tree, leaf_hash};
use super::{AuditError, Head};
use crate::db::Connection;

/// What verification found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Verification {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Events in the log.
    pub size: u64,
    /// The root hash over them, in hexadecimal digits: keep it elsewhere.
    pub root: String,
    /// Heads that were held against the events.
    pub heads: u64,
    /// When the newest head was signed.
    pub signed_at: Option<String>,
    /// The fingerprint of the key that signatures were checked with; none without a key.
    pub key: Option<String>,
    /// What is wrong, each with its place.
    pub problems: Vec<String>,
}

/// A head that somebody kept elsewhere: size and root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHead {
    /// Events that it covers.
    pub size: u64,
    /// The root hash over them.
    pub root: Hash,
}

impl KeptHead {
    /// Reads `SIZE:ROOT`.
    pub fn parse(text: &str) -> Option<Self> {
        let (size, root_text) = text.split_once(':')?;
        let mut root = [0; 32];
        hex::decode_to_slice(root_text.trim(), &mut root).ok()?;
        Some(Self { size: size.trim().parse().ok()?, root })
    }
}

/// Verifies the log in `db` as it stands at one moment, against the files in `directory` and the
/// heads kept elsewhere.
pub fn verify(
    db: &Connection,
    directory: &Path,
    kept: &[KeptHead],
    trust: &Trust,
) -> Result<Verification, AuditError> {
    // Counted before the snapshot: a head that a running server adds meanwhile is none of it.
    let mut problems = Problems::default();
    let file_length = match std::fs::metadata(directory.join(HEADS_FILE)) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error.into()),
    };
    store::at_one_moment(db, |db| {
        let newest = store::last_head(db)?;
        if newest.is_some() && !HeadsFile::path(directory).exists() {
            problems.add(format!("{HEADS_FILE} is missing"));
        }
        let covered = newest.as_ref().map_or(0, |(head, _)| head.size);
        // A log without a head has no key yet.
        let key = match &newest {
            Some(_) => trust.key(directory, |problem| problems.add(problem)),
            None => None,
        };
        let name = key.as_ref().map(fingerprint);
        let mut walk = Walk::new(key, covered, problems);
        walk.run(db, FileHeads::open(directory, file_length, covered)?, kept)?;
        let Walk { mut problems, tree, last, heads, .. } = walk;
        if covered < last {
            problems.add(format!("events {} to {last} are under no signed head", covered + 1));
        }
        if let Some((head, peaks)) = &newest
            && Tree::resume(head.size, peaks).is_none_or(|tree| tree.root() != head.root)
        {
            problems.add("the state from which the tree grows was changed".to_owned());
        }
        Ok(Verification {
            ok: problems.count == 0,
            size: last,
            root: hex::encode(tree.root()),
            heads,
            signed_at: newest.map(|(head, _)| head.signed_at.rfc3339()),
            key: name,
            problems: problems.finish(),
        })
    })
}

/// Where a head was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Database,
    File,
    Kept,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Database => "the database",
            Self::File => HEADS_FILE,
            Self::Kept => "the head kept elsewhere",
        })
    }
}

/// The walk over all events in order, with the heads that fall due on the way.
struct Walk {
    key: Option<VerifyingKey>,
    /// Events under the newest head of the database.
    covered: u64,
    problems: Problems,
    tree: Tree,
    /// The place of the last event that was seen.
    last: u64,
    /// Heads that were held against the tree.
    heads: u64,
    /// Events up to here are those that were signed.
    proven: u64,
    /// Whether events are missing, so that no root behind them can be made.
    is_cut: bool,
    /// By place: whether its last head did not fit, so that only the first of a row is told.
    unfit: [bool; 3],
    /// Whether the last head of the database had no line, so that only the first of a row is told.
    is_line_missing: bool,
    latest_ms: i64,
}

impl Walk {
    fn new(key: Option<VerifyingKey>, covered: u64, problems: Problems) -> Self {
        Self {
            key,
            covered,
            problems,
            tree: Tree::default(),
            last: 0,
            heads: 0,
            proven: 0,
            is_cut: false,
            unfit: [false; 3],
            is_line_missing: false,
            latest_ms: i64::MIN,
        }
    }

    fn run(
        &mut self,
        db: &Connection,
        file: FileHeads,
        kept: &[KeptHead],
    ) -> Result<(), AuditError> {
        let mut stored = StoredHeads::new(db).peekable();
        let mut file = file.peekable();
        let mut kept = kept.to_vec();
        kept.sort_by_key(|head| head.size);
        let mut kept = kept.into_iter().peekable();
        store::each(db, 0, |record| {
            self.record(&record);
            let in_database = self.due(&mut stored, Place::Database)?;
            let in_file = self.due(&mut file, Place::File)?;
            self.pair(in_database, in_file);
            while let Some(head) = kept.next_if(|head| head.size <= self.last) {
                self.hold(head.size, &head.root, Place::Kept);
            }
            Ok::<_, AuditError>(())
        })?;
        self.beyond(stored, Place::Database)?;
        self.beyond(file, Place::File)?;
        for head in kept {
            self.cut_short(head.size, Place::Kept);
        }
        Ok(())
    }

    /// Checks one event and adds it to the tree.
    fn record(&mut self, record: &Record) {
        let seq = record.seq;
        let expected = self.last + 1;
        if seq > expected {
            self.problems.add(format!(
                "events {expected} to {} are missing; the heads behind them cannot be held against anything",
                seq - 1
            ));
            self.is_cut = true;
        }
        let leaf = leaf_hash(&record.body);
        if record.leaf != leaf {
            self.problems.add(format!("event {seq} was changed: its hash does not fit"));
        } else if !columns_fit(record) {
            self.problems.add(format!(
                "event {seq} was changed or moved: its columns are not those of its body"
            ));
        } else if record.at.ms() < self.latest_ms {
            self.problems.add(format!("event {seq} is dated before the one in front of it"));
        }
        self.latest_ms = self.latest_ms.max(record.at.ms());
        // The stored hash goes into the tree: where only the event was changed, the roots still
        // fit, and the change is pinned to this one event.
        let stored = Hash::try_from(record.leaf.as_slice()).unwrap_or(leaf);
        if !self.is_cut {
            self.tree.push(stored);
        }
        self.last = seq;
    }

    /// Takes the heads of one place that fall due at the last event; returns the size of one that
    /// covers just the events so far.
    fn due<I>(&mut self, heads: &mut Peekable<I>, place: Place) -> Result<Option<u64>, AuditError>
    where
        I: Iterator<Item = Result<Found, AuditError>>,
    {
        let last = self.last;
        let is_due = |found: &Result<Found, AuditError>| match found {
            Ok(Found::Head(head)) => head.size <= last,
            Ok(Found::Damaged(_)) | Err(_) => true,
        };
        let mut exact = None;
        while let Some(found) = heads.next_if(is_due) {
            match found? {
                Found::Damaged(line) => self.damaged(line),
                Found::Head(head) => {
                    if self.is_signed(&head, place) {
                        self.hold(head.size, &head.root, place);
                    }
                    exact = (head.size == last).then_some(last).or(exact);
                }
            }
        }
        Ok(exact)
    }

    /// Every head of the database has its line in the file, and the other way round; but for the
    /// newest, whose line comes after the commit.
    fn pair(&mut self, in_database: Option<u64>, in_file: Option<u64>) {
        match (in_database, in_file) {
            (None, Some(size)) => {
                self.problems
                    .add(format!("the head over {size} events is missing in the database"));
            }
            (Some(size), None) if size < self.covered => {
                if !std::mem::replace(&mut self.is_line_missing, true) {
                    self.problems
                        .add(format!("the head over {size} events has no line in {HEADS_FILE}"));
                }
            }
            (Some(_), Some(_)) => self.is_line_missing = false,
            (Some(_) | None, None) => {}
        }
    }

    fn is_signed(&mut self, head: &Head, place: Place) -> bool {
        // That there is no key is told once; the roots still mean something.
        let Some(key) = &self.key else { return true };
        let is_signed = head.is_signed_by(key);
        if !is_signed {
            self.problems.add(format!(
                "the head over {} events in {place} has a wrong signature",
                head.size
            ));
        }
        is_signed
    }

    /// Holds a root against the tree.
    fn hold(&mut self, size: u64, root: &Hash, place: Place) {
        if self.tree.size() != size {
            return;
        }
        self.heads += 1;
        let unfit = &mut self.unfit[place as usize];
        if *root == self.tree.root() {
            *unfit = false;
            self.proven = size;
        } else if !std::mem::replace(unfit, true) {
            let from = self.proven.min(size.saturating_sub(1)) + 1;
            self.problems
                .add(format!("events {from} to {size} are not those that were signed ({place})"));
        }
    }

    /// Heads over more events than there are: only the largest is told.
    fn beyond(
        &mut self,
        heads: impl Iterator<Item = Result<Found, AuditError>>,
        place: Place,
    ) -> Result<(), AuditError> {
        let mut largest = 0;
        for found in heads {
            match found? {
                Found::Damaged(line) => self.damaged(line),
                Found::Head(head) => largest = largest.max(head.size),
            }
        }
        if largest > self.last {
            self.cut_short(largest, place);
        }
        Ok(())
    }

    fn cut_short(&mut self, size: u64, place: Place) {
        self.problems.add(format!(
            "the log was cut short: {place} covers {size} events, and there are {}",
            self.last
        ));
    }

    fn damaged(&mut self, line: u64) {
        self.problems.add(format!("line {line} of {HEADS_FILE} is damaged or out of order"));
    }
}

/// Whether the columns of a row say what its body says.
fn columns_fit(record: &Record) -> bool {
    let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    body["seq"].as_u64() == Some(record.seq)
        && body["at"].as_i64() == Some(record.at.ms())
        && text("action").as_deref() == Some(&record.action)
        && text("outcome").as_deref() == Some(&record.outcome)
        && text("actor").as_deref() == Some(&record.actor)
        && text("subject") == record.subject
        && text("request") == record.request
}

/// The problems found, with a bound on how many are listed.
#[derive(Default)]
struct Problems {
    listed: Vec<String>,
    count: usize,
}

/// More problems than this are counted, not listed.
const PROBLEMS_MAX: usize = 100;

impl Problems {
    fn add(&mut self, problem: String) {
        self.count += 1;
        if self.listed.len() < PROBLEMS_MAX {
            self.listed.push(problem);
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.count > self.listed.len() {
            self.listed.push(format!("and {} more", self.count - self.listed.len()));
        }
        self.listed
    }
}
