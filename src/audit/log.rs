//! The log: events go in, the tree grows at every commit, heads are signed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use parking_lot::Mutex;
use rusqlite::Transaction;

use super::store::{self, Record};
use super::tree::{Hash, Tree, leaf_hash};
use super::{Action, Event};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError};
use crate::vault::{Vault, VaultError};

/// Why an event could not be recorded or read. Where it cannot be recorded, the act must not be.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The signing key is not to be had.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The file of heads cannot be written.
    #[error("the audit heads cannot be written: {0}")]
    Io(#[from] std::io::Error),
    /// What is on disk does not fit together.
    #[error("the audit log was changed: {0}. Run `strongroom audit verify`")]
    Inconsistent(String),
}

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

/// Which events to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Older than this place.
    pub before: Option<u64>,
    /// By this actor: `usr_…` (with all keys), `usr_…/key_…`, `system` or `anonymous`.
    pub actor: Option<String>,
    /// This action.
    pub action: Option<Action>,
    /// On this subject.
    pub subject: Option<String>,
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// How many; 500 at most.
    pub limit: u32,
}

/// The audit log.
#[derive(Clone)]
pub struct AuditLog {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    clock: Clock,
    signing_key: SigningKey,
    state: Mutex<State>,
}

struct State {
    /// The tree as committed.
    tree: Tree,
    /// The newest head as committed.
    head: Option<Head>,
    /// The tree and head of the transaction at hand.
    next: Option<(Tree, Head)>,
    heads: File,
    /// Lines that the file of heads still lacks.
    owed: String,
}

/// The file of heads, below the audit directory.
pub(super) const HEADS_FILE: &str = "heads.log";
/// The public half of the signing key, as hexadecimal digits.
pub(super) const PUBLIC_KEY_FILE: &str = "public.key";

impl AuditLog {
    /// Opens the log over an open vault. Its files lie in `directory`.
    pub fn open(
        db: &Db,
        vault: &Vault,
        directory: &Path,
        clock: &Clock,
    ) -> Result<Self, AuditError> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let signing_key = vault.audit_signing_key()?;
        keep_public_key(directory, &signing_key)?;
        let mut options = OpenOptions::new();
        let heads =
            options.append(true).create(true).mode(0o600).open(directory.join(HEADS_FILE))?;
        let (tree, head) = db.read_blocking(|db| -> Result<_, AuditError> {
            let Some((head, peaks)) = store::last_head(db)? else {
                return Ok((Tree::default(), None));
            };
            let tree = Tree::resume(head.size, &peaks)
                .filter(|tree| tree.root() == head.root)
                .ok_or_else(|| AuditError::Inconsistent("the newest head is damaged".to_owned()))?;
            Ok((tree, Some(head)))
        })?;
        let newest = db.read_blocking(|db| -> Result<_, DbError> {
            Ok((store::last_seq(db)?, store::last_at(db)?))
        })?;
        if newest.0 < tree.size() {
            let text = format!(
                "the newest head covers {} events, and there are {}",
                tree.size(),
                newest.0
            );
            return Err(AuditError::Inconsistent(text));
        }
        if let Some(at) = newest.1 {
            clock.not_before(at);
        }
        let state = State { tree, head, next: None, heads, owed: String::new() };
        let inner =
            Inner { db: db.clone(), clock: clock.clone(), signing_key, state: Mutex::new(state) };
        let log = Self { inner: Arc::new(inner) };
        let (before, after) = (Arc::downgrade(&log.inner), Arc::downgrade(&log.inner));
        db.before_commit(move |tx| before.upgrade().map_or(Ok(()), |inner| inner.sign(tx)));
        db.after_commit(move || {
            if let Some(inner) = after.upgrade() {
                inner.publish();
            }
        });
        Ok(log)
    }

    /// Records an event, and returns its place once it is on disk.
    pub async fn record(&self, event: Event) -> Result<u64, AuditError> {
        let log = self.clone();
        self.inner.db.write(move |tx| log.record_in(tx, event)).await
    }

    /// `record` for threads outside the async runtime.
    pub fn record_blocking(&self, event: Event) -> Result<u64, AuditError> {
        let log = self.clone();
        self.inner.db.write_blocking(move |tx| log.record_in(tx, event))
    }

    /// Records an event in the caller's transaction: it is kept if and only if the change is.
    pub fn record_in(&self, tx: &Transaction<'_>, event: Event) -> Result<u64, AuditError> {
        let seq = store::last_seq(tx)? + 1;
        let at = self.inner.clock.now();
        let body = event.canonical(seq, at);
        let record = Record {
            seq,
            at,
            action: event.action.name().to_owned(),
            outcome: event.outcome.name().to_owned(),
            actor: event.actor.to_string(),
            subject: event.subject,
            request: event.request.map(|request| request.to_string()),
            leaf: leaf_hash(&body).to_vec(),
            body,
        };
        store::insert(tx, &record)?;
        Ok(seq)
    }

    /// The newest events that fit the filter, newest first.
    pub async fn page(&self, filter: Filter) -> Result<Vec<Record>, AuditError> {
        self.inner.db.read(move |db| Ok(store::page(db, &filter)?)).await
    }

    /// The newest signed head.
    pub fn head(&self) -> Option<Head> {
        self.inner.state.lock().head.clone()
    }
}

impl Inner {
    /// Grows the tree by the events of the transaction, and signs its head into it.
    fn sign(&self, tx: &Transaction<'_>) -> Result<(), DbError> {
        let mut state = self.state.lock();
        state.next = None;
        let size = state.tree.size();
        let last = store::last_seq(tx)?;
        if last == size {
            return Ok(());
        }
        if last < size {
            return Err(DbError::Unusable("events are missing from the audit log".to_owned()));
        }
        // A head that could not be written outside the database must be there before new ones.
        state.pay().map_err(|error| DbError::Io(error.to_string()))?;
        let mut tree = state.tree.clone();
        for leaf in store::leaves_after(tx, size)? {
            tree.push(leaf);
        }
        if tree.size() != last {
            return Err(DbError::Unusable("the audit log has gaps".to_owned()));
        }
        let (root, signed_at) = (tree.root(), self.clock.now());
        let text = Head::signed_text(tree.size(), &root, signed_at);
        let signature = self.signing_key.sign(text.as_bytes()).to_bytes();
        let head = Head { size: tree.size(), root, signed_at, signature };
        store::insert_head(tx, &head, &tree.peaks())?;
        state.next = Some((tree, head));
        Ok(())
    }

    /// After the commit: takes over the new tree and writes its head outside the database.
    fn publish(&self) {
        let mut state = self.state.lock();
        if let Some((tree, head)) = state.next.take() {
            state.owed.push_str(&head.line());
            state.tree = tree;
            state.head = Some(head);
            if let Err(error) = state.pay() {
                tracing::error!(cause = %error, "an audit head could not be written; nothing more is recorded until it can");
            }
        }
    }
}

impl State {
    fn pay(&mut self) -> std::io::Result<()> {
        if !self.owed.is_empty() {
            self.heads.write_all(self.owed.as_bytes())?;
            self.owed.clear();
        }
        Ok(())
    }
}

/// Keeps the public key beside the log, so that it can be verified without the vault.
fn keep_public_key(directory: &Path, key: &SigningKey) -> Result<(), AuditError> {
    let path: PathBuf = directory.join(PUBLIC_KEY_FILE);
    let text = format!("{}\n", hex::encode(key.verifying_key().as_bytes()));
    match std::fs::read_to_string(&path) {
        Ok(known) if known == text => Ok(()),
        Ok(_) => {
            let what = format!("{} is not the key of this vault", path.display());
            Err(AuditError::Inconsistent(what))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(std::fs::write(&path, text)?)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
