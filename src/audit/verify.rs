//! Verification: holds every event against its hash, every head against the events, and both
//! against heads that were kept elsewhere. Needs no key but the public one.

use std::path::Path;

use ed25519_dalek::{Signature, VerifyingKey};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use super::AuditError;
use super::log::{HEADS_FILE, Head, PUBLIC_KEY_FILE};
use super::store::{self, Record};
use super::tree::{Hash, Tree, leaf_hash};

/// What verification found.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Events in the log.
    pub size: u64,
    /// The root hash over them, in hexadecimal digits: keep it elsewhere.
    pub root: String,
    /// Signed heads that were held against the events.
    pub heads: u64,
    /// When the newest head was signed.
    pub signed_at: Option<String>,
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

/// More problems than this are counted, not listed.
const PROBLEMS_MAX: usize = 100;

/// Verifies the log in `db` against the files in `directory` and the heads kept elsewhere.
pub fn verify(
    db: &Connection,
    directory: &Path,
    kept: &[KeptHead],
) -> Result<Verification, AuditError> {
    let mut problems = Problems::default();
    let key = public_key(directory, &mut problems);
    let mut claims = Vec::new();
    for head in store::heads(db)? {
        check_signature(&head, key.as_ref(), "the database", &mut problems);
        claims.push(Claim::new(head.size, head.root, "the database"));
    }
    let newest = store::heads(db)?.pop();
    for head in heads_file(directory, &mut problems)? {
        check_signature(&head, key.as_ref(), HEADS_FILE, &mut problems);
        claims.push(Claim::new(head.size, head.root, HEADS_FILE));
    }
    claims.extend(
        kept.iter().map(|head| Claim::new(head.size, head.root, "the head kept elsewhere")),
    );
    claims.sort_by_key(|claim| claim.size);
    let tree = walk(db, &claims, &mut problems)?;
    for claim in claims.iter().filter(|claim| claim.size > tree.size()) {
        problems.add(format!(
            "the log was cut short: {} covers {} events, and there are {}",
            claim.place,
            claim.size,
            tree.size()
        ));
    }
    let covered = newest.as_ref().map_or(0, |head| head.size);
    if covered < tree.size() {
        problems.add(format!("events {} to {} are under no signed head", covered + 1, tree.size()));
    }
    Ok(Verification {
        ok: problems.count == 0,
        size: tree.size(),
        root: hex::encode(tree.root()),
        heads: claims.len() as u64,
        signed_at: newest.map(|head| head.signed_at.rfc3339()),
        problems: problems.finish(),
    })
}

/// A root that the log had at some size, by somebody's word.
struct Claim {
    size: u64,
    root: Hash,
    place: &'static str,
}

impl Claim {
    fn new(size: u64, root: Hash, place: &'static str) -> Self {
        Self { size, root, place }
    }
}

/// Walks all events in order and holds the tree against each claim on the way.
fn walk(db: &Connection, claims: &[Claim], problems: &mut Problems) -> Result<Tree, AuditError> {
    let mut tree = Tree::default();
    let mut claims = claims.iter().peekable();
    let mut last_good = 0;
    let mut expected = 1;
    store::each(db, 0, |record| -> Result<(), AuditError> {
        check_record(&record, &mut expected, problems);
        tree.push(leaf_hash(&record.body));
        while let Some(claim) = claims.next_if(|claim| claim.size <= tree.size()) {
            if claim.size != tree.size() {
                continue;
            }
            if claim.root == tree.root() {
                last_good = claim.size;
            } else {
                problems.add(format!(
                    "events {} to {} are not those that were signed ({})",
                    last_good + 1,
                    claim.size,
                    claim.place
                ));
            }
        }
        Ok(())
    })?;
    Ok(tree)
}

fn check_record(record: &Record, expected: &mut u64, problems: &mut Problems) {
    if record.seq != *expected {
        problems.add(format!("events {expected} to {} are missing", record.seq.saturating_sub(1)));
    }
    *expected = record.seq + 1;
    if record.leaf != leaf_hash(&record.body) {
        problems.add(format!("event {} was changed: its hash does not fit", record.seq));
        return;
    }
    let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let fits = body["seq"].as_u64() == Some(record.seq)
        && body["at"].as_i64() == Some(record.at.ms())
        && text("action").as_deref() == Some(&record.action)
        && text("outcome").as_deref() == Some(&record.outcome)
        && text("actor").as_deref() == Some(&record.actor)
        && text("subject") == record.subject
        && text("request") == record.request;
    if !fits {
        problems.add(format!(
            "event {} was changed or moved: its columns are not those of its body",
            record.seq
        ));
    }
}

fn public_key(directory: &Path, problems: &mut Problems) -> Option<VerifyingKey> {
    let read = || {
        let text = std::fs::read_to_string(directory.join(PUBLIC_KEY_FILE)).ok()?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).ok()?;
        VerifyingKey::from_bytes(&bytes).ok()
    };
    let key = read();
    if key.is_none() {
        problems
            .add(format!("{PUBLIC_KEY_FILE} is missing or damaged: no signature can be checked"));
    }
    key
}

fn check_signature(head: &Head, key: Option<&VerifyingKey>, place: &str, problems: &mut Problems) {
    let Some(key) = key else { return };
    let text = Head::signed_text(head.size, &head.root, head.signed_at);
    if key.verify_strict(text.as_bytes(), &Signature::from_bytes(&head.signature)).is_err() {
        problems
            .add(format!("the head over {} events in {place} has a wrong signature", head.size));
    }
}

fn heads_file(directory: &Path, problems: &mut Problems) -> Result<Vec<Head>, AuditError> {
    let text = match std::fs::read_to_string(directory.join(HEADS_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            problems.add(format!("{HEADS_FILE} is missing"));
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let mut heads = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        // A last line without its end was cut off by a crash: its head is in the database too.
        match (Head::parse(line.trim_end_matches('\n')), line.ends_with('\n')) {
            (Some(head), true) => heads.push(head),
            (_, false) => {}
            (None, true) => problems.add(format!("line {} of {HEADS_FILE} is damaged", number + 1)),
        }
    }
    Ok(heads)
}

/// The problems found, with a bound on how many are listed.
#[derive(Default)]
struct Problems {
    listed: Vec<String>,
    count: usize,
}

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
