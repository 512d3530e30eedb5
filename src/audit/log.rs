//! The log: events go in, the tree grows at every commit, heads are signed.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ed25519_dalek::{SigningKey, VerifyingKey};
use parking_lot::Mutex;
use sha2::Sha256;

use super::heads_file::HeadsFile;
use super::key::keep_public_key;
use super::resume::{Gap, find_gap, resume};
use super::store::{self, Record};
use super::tree::{Hash, Tree, consistency_path, inclusion_path, leaf_hash};
use super::verify::{Trust, Verification, verify};
use super::{Action, Event, Head};
use crate::clock::{Clock, Timestamp};
use crate::db::{Connection, Db, DbError, Transaction, open_to_read};
use crate::vault::{BlindPurpose, Vault, VaultError};

/// A proof that an event is in the log, for `ct_merkle::RootHash::verify_inclusion`.
pub type InclusionProof = ct_merkle::InclusionProof<Sha256>;
/// A proof that one tree goes on from another, for `ct_merkle::RootHash::verify_consistency`.
pub type ConsistencyProof = ct_merkle::ConsistencyProof<Sha256>;

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
    vault: Vault,
    directory: PathBuf,
    state: Mutex<State>,
    /// The last verification of the whole log and when it began. Held while one runs: one at a
    /// time, whoever asks.
    verified: tokio::sync::Mutex<Option<(Instant, Verification)>>,
}

/// What lives between the hooks; both run on the thread that writes.
struct State {
    /// Taken from the vault once it is open.
    signing_key: Option<SigningKey>,
    /// The tree as committed.
    tree: Tree,
    /// The newest head as committed.
    head: Option<Head>,
    /// The tree and head of the transaction at hand.
    next: Option<(Tree, Head)>,
    heads: HeadsFile,
    /// A committed head that the file of heads still lacks.
    owed: Option<Head>,
    /// Heads that the file lacked at the start, until the key to check them is there.
    missing: Vec<Head>,
    /// Set where the file of heads contradicts the database, until an event tells of it.
    gap: Option<Gap>,
    is_gap_told: bool,
}

impl AuditLog {
    /// Opens the log, whose files lie in `directory`. Once for each `Db`.
    ///
    /// Over a sealed vault nothing can be recorded until it is open, so nothing that must be
    /// recorded can be done. A log that contradicts itself is refused, and so is one whose newest
    /// head, in the database or in the file, was not signed by this vault: no further head comes on
    /// top of a forged one. Where database and file differ in how far they go, which a lost disk
    /// can do too, an event tells of it; lines that the file lacks are added again.
    pub fn open(
        db: &Db,
        vault: &Vault,
        directory: &Path,
        clock: &Clock,
    ) -> Result<Self, AuditError> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let heads = HeadsFile::open(directory)?;
        let (tree, head) = resume(db, clock)?;
        let (gap, missing) = find_gap(&heads, db, tree.size())?;
        if let Some(gap) = gap {
            tracing::error!(?gap, "the audit log and the file of its heads differ");
        }
        let (signing_key, next, owed, is_gap_told) = (None, None, None, false);
        let state = State { signing_key, tree, head, next, heads, owed, missing, gap, is_gap_told };
        let inner = Inner {
            db: db.clone(),
            clock: clock.clone(),
            vault: vault.clone(),
            directory: directory.to_owned(),
            state: Mutex::new(state),
            verified: tokio::sync::Mutex::new(None),
        };
        if vault.is_open() {
            inner.take_key(&mut inner.state.lock())?;
        }
        let log = Self { inner: Arc::new(inner) };
        let (before, after) = (Arc::downgrade(&log.inner), Arc::downgrade(&log.inner));
        db.before_commit(move |tx| {
            before.upgrade().map_or(Ok(()), |inner| inner.before_commit(tx))
        });
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
        if !self.inner.vault.is_open() {
            return Err(VaultError::Sealed.into());
        }
        Ok(insert(tx, event, self.inner.clock.now())?)
    }

    /// The newest events that fit the filter, newest first.
    pub async fn page(&self, filter: Filter) -> Result<Vec<Record>, AuditError> {
        self.inner.db.read(move |db| Ok(store::page(db, &filter)?)).await
    }

    /// `page` for threads outside the async runtime.
    pub fn page_blocking(&self, filter: Filter) -> Result<Vec<Record>, AuditError> {
        self.inner.db.read_blocking(move |db| Ok(store::page(db, &filter)?))
    }

    /// The newest signed head.
    pub fn head(&self) -> Option<Head> {
        self.inner.state.lock().head.clone()
    }

    /// Verifies the whole log, with the key of the vault and on a connection of its own. Who asks
    /// while a verification runs waits, and shares the next one with all others who wait.
    pub async fn verify(&self) -> Result<Verification, AuditError> {
        let asked = Instant::now();
        let mut last = self.inner.verified.lock().await;
        if let Some((begun, found)) = &*last
            && *begun >= asked
        {
            return Ok(found.clone());
        }
        let (log, begun) = (self.clone(), Instant::now());
        let run = move || log.verify_blocking();
        let found = tokio::task::spawn_blocking(run).await.map_err(|_| DbError::Closed)??;
        *last = Some((begun, found.clone()));
        Ok(found)
    }

    /// `verify` for threads outside the async runtime, whoever else verifies.
    pub fn verify_blocking(&self) -> Result<Verification, AuditError> {
        let trust = Trust::Key(self.inner.take_key(&mut self.inner.state.lock())?.verifying_key());
        verify(&open_to_read(self.inner.db.path())?, &self.inner.directory, &[], &trust)
    }

    /// Proves that event `seq` is in the tree of `size` events; its leaf has the index `seq - 1`.
    pub async fn prove_inclusion(&self, seq: u64, size: u64) -> Result<InclusionProof, AuditError> {
        self.check_range(seq, size)?;
        let job = move |db: &Connection| {
            let path = inclusion_path(seq - 1, size, &mut |from, to| root_of(db, from, to))?;
            Ok(InclusionProof::from_bytes(path.concat()))
        };
        self.inner.db.read(job).await
    }

    /// Proves that the tree of `old` events is a prefix of that of `new`.
    pub async fn prove_consistency(
        &self,
        old: u64,
        new: u64,
    ) -> Result<ConsistencyProof, AuditError> {
        self.check_range(old, new)?;
        let job = move |db: &Connection| {
            let path = consistency_path(old, new, &mut |from, to| root_of(db, from, to))?;
            ConsistencyProof::try_from_bytes(path.concat())
                .map_err(|_| AuditError::Inconsistent("a proof has no whole hashes".to_owned()))
        };
        self.inner.db.read(job).await
    }

    fn check_range(&self, part: u64, size: u64) -> Result<(), AuditError> {
        let known = self.inner.state.lock().tree.size();
        if part == 0 || part > size || size > known {
            let text = format!("there is no event {part} in a tree of {size} out of {known}");
            return Err(AuditError::Inconsistent(text));
        }
        Ok(())
    }

    /// A keyed digest of a prompt: equal for equal texts on this server, and of no use for trying
    /// texts out to whoever has the log and not the vault.
    pub fn digest(&self, text: &[u8]) -> Result<String, AuditError> {
        Ok(hex::encode(self.inner.vault.blind(BlindPurpose::Prompt, text)?))
    }

    /// Forces the file of heads to the disk; for an orderly end.
    pub fn flush(&self) -> Result<(), AuditError> {
        Ok(self.inner.state.lock().heads.sync()?)
    }
}

impl Inner {
    fn before_commit(&self, tx: &Transaction<'_>) -> Result<(), DbError> {
        let mut state = self.state.lock();
        state.next = None;
        state.is_gap_told = false;
        self.sign(tx, &mut state).map_err(|error| match error {
            AuditError::Db(error) => error,
            other @ (AuditError::Vault(_) | AuditError::Io(_) | AuditError::Inconsistent(_)) => {
                DbError::Refused(other.to_string())
            }
        })
    }

    /// Grows the tree by the events of the transaction, and signs its head into it.
    fn sign(&self, tx: &Transaction<'_>, state: &mut State) -> Result<(), AuditError> {
        let size = state.tree.size();
        let last = store::last_seq(tx)?;
        if last == size {
            return Ok(());
        }
        if last < size {
            let text = "events are missing from the audit log".to_owned();
            return Err(AuditError::Inconsistent(text));
        }
        // A head that could not be written outside the database must be there before new ones.
        if let Some(head) = &state.owed {
            state.heads.append(head)?;
            state.owed = None;
        }
        if let Some(gap) = state.gap {
            insert(tx, gap.event(), self.clock.now())?;
            state.is_gap_told = true;
        }
        let mut tree = state.tree.clone();
        for leaf in store::leaves_after(tx, size)? {
            tree.push(leaf);
        }
        if tree.size() != store::last_seq(tx)? {
            return Err(AuditError::Inconsistent("the audit log has gaps".to_owned()));
        }
        let key = self.take_key(state)?;
        let head = Head::sign(&tree, self.clock.now(), &key);
        store::insert_head(tx, &head, &tree.peaks())?;
        state.next = Some((tree, head));
        Ok(())
    }

    fn take_key(&self, state: &mut State) -> Result<SigningKey, AuditError> {
        if let Some(key) = &state.signing_key {
            return Ok(key.clone());
        }
        let key = self.vault.audit_signing_key()?;
        keep_public_key(&self.directory, &key)?;
        state.check_and_complete(&key.verifying_key())?;
        state.signing_key = Some(key.clone());
        Ok(key)
    }

    /// After the commit: takes over the new tree and writes its head outside the database.
    fn publish(&self) {
        let mut state = self.state.lock();
        if std::mem::take(&mut state.is_gap_told) {
            state.gap = None;
        }
        if let Some((tree, head)) = state.next.take() {
            if let Err(error) = state.heads.append(&head) {
                tracing::error!(cause = %error, "an audit head could not be written; nothing more is recorded until it can");
                state.owed = Some(head.clone());
            }
            state.tree = tree;
            state.head = Some(head);
        }
    }
}

impl State {
    /// Before the first signature on top: holds the newest heads against the key, and adds to the
    /// file what it lacks.
    fn check_and_complete(&mut self, key: &VerifyingKey) -> Result<(), AuditError> {
        let newest = self.head.iter().chain(self.heads.newest());
        if let Some(forged) = newest.chain(&self.missing).find(|head| !head.is_signed_by(key)) {
            let text = format!("the head over {} events has a wrong signature", forged.size);
            return Err(AuditError::Inconsistent(text));
        }
        for head in std::mem::take(&mut self.missing) {
            self.heads.append(&head)?;
        }
        Ok(self.heads.sync()?)
    }
}

fn insert(tx: &Transaction<'_>, event: Event, at: Timestamp) -> Result<u64, DbError> {
    let seq = store::last_seq(tx)? + 1;
    let event = event.reduced();
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

/// The root over the leaves `from..to`, counted from 0.
fn root_of(db: &Connection, from: u64, to: u64) -> Result<Hash, AuditError> {
    let mut tree = Tree::default();
    store::each_leaf(db, from, to, |leaf| tree.push(leaf))?;
    if tree.size() != to - from {
        return Err(AuditError::Inconsistent(format!(
            "event {} is missing",
            from + tree.size() + 1
        )));
    }
    Ok(tree.root())
}

#[cfg(test)]
mod tests;
