//! Which requests are being answered under a key of their own, and the answers that are kept of those that
//! were. Answers are opened here and nowhere else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::IdempotencyError;
use super::store;
use crate::access::{Caller, Changes, Registry};
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::db::{Connection, Db, Transaction};
use crate::gate::{Gate, Purpose};
use crate::guard::Policy;
use crate::ids::UserId;
use crate::openai::kept::{Room, Shelf, make_room};
use crate::vault::{BlindPurpose, Vault, VaultError};

/// Where they lie.
pub(super) const ANSWERS: Shelf = Shelf { table: "kept_answers", since: "created_at" };
/// The most that is kept for one person; the oldest goes first.
const ROOM: Room = Room { count_max: 1_000, bytes_max: 32 << 20 };
/// The longest answer that is kept.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;
const KEY_BYTES_MAX: usize = 255;

/// What answers are kept with.
pub(crate) struct IdempotencyParts {
    /// Where they are kept.
    pub(crate) db: Db,
    /// What seals them.
    pub(crate) vault: Vault,
    /// The record.
    pub(crate) audit: AuditLog,
    /// The clock.
    pub(crate) clock: Clock,
    /// Who there is.
    pub(crate) registry: Arc<Registry>,
    /// Where it is known what is open to whom, and requests are counted.
    pub(crate) gate: Gate,
    /// For how long they are kept; 0: none is.
    pub(crate) hours: u32,
}

/// The requests that are answered once. A handle.
#[derive(Clone)]
pub(crate) struct Idempotency {
    parts: Arc<IdempotencyParts>,
    changes: Changes,
    /// The rules of the guard, as a digest.
    rules: Arc<str>,
    /// What is being answered: its name, and what is asked.
    under_way: Arc<Mutex<HashMap<String, String>>>,
}

/// The name that a client gave a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// Reads what came in the header.
    pub(super) fn parse(raw: &[u8]) -> Result<Self, IdempotencyError> {
        let is_printable = raw.iter().all(|byte| matches!(byte, b' '..=b'~'));
        if raw.is_empty() || raw.len() > KEY_BYTES_MAX || !is_printable {
            return Err(IdempotencyError::NoKey);
        }
        String::from_utf8(raw.to_vec()).map(Self).map_err(|_| IdempotencyError::NoKey)
    }
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The content type.
    pub(super) kind: String,
    pub(super) body: String,
}

/// An answer with what it was the answer to, and what let it out.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    asked: String,
    /// The guard's.
    rules: String,
    /// The caller's.
    roles: Vec<String>,
    /// Those that were open to the caller: one of them answered.
    models: Vec<String>,
    answer: Answer,
}

/// What becomes of a request.
pub(super) enum Stand {
    /// It is to be answered, and the answer kept.
    New(Box<Claim>),
    /// It has been answered.
    Kept(Answer),
}

/// A request that is being answered; nobody else answers it as long as this lives.
pub(super) struct Claim {
    once: Idempotency,
    caller: Caller,
    id: String,
    asked: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.once.under_way.lock().remove(&self.id);
    }
}

impl Idempotency {
    /// Over the database, the vault and the record, under these rules of the guard.
    pub(crate) fn new(parts: IdempotencyParts, policy: &Policy) -> Self {
        let changes = Changes::new(&parts.db, &parts.audit, &parts.registry);
        let rules = serde_json::to_vec(policy).expect("texts, numbers and maps of them are JSON");
        let rules = hex::encode(Sha256::digest(rules)).into();
        Self { parts: Arc::new(parts), changes, rules, under_way: Arc::default() }
    }

    /// What becomes of a request of this caller, under this key, to this address and with this body.
    pub(super) async fn begin(
        &self,
        caller: &Caller,
        key: &Key,
        address: &str,
        body: &[u8],
    ) -> Result<Stand, IdempotencyError> {
        if self.parts.hours == 0 {
            return Err(IdempotencyError::KeepsNone);
        }
        let of = caller.key().map(|key| key.id.to_string()).unwrap_or_default();
        let id = self.digest(&["name", &caller.user.to_string(), &of], key.0.as_bytes())?;
        let asked = self.digest(&["request", address], body)?;
        let claim = self.claim(caller, id, asked)?;
        let Some(kept) = self.find(caller.user, &claim.id).await? else {
            return Ok(Stand::New(Box::new(claim)));
        };
        if kept.asked != claim.asked {
            return Err(IdempotencyError::Reused);
        }
        if !self.still_stands(caller, &kept) {
            // It takes the road once more, where it is said what has changed.
            return Ok(Stand::New(Box::new(claim)));
        }
        // It counts as a request, and as nothing else.
        let _inside = self.parts.gate.enter(caller, Purpose::Api).await?;
        let event = event(caller, Action::AnswerRepeat, &claim.id);
        self.parts.audit.record(event.with("status", kept.answer.status)).await?;
        Ok(Stand::Kept(kept.answer))
    }

    /// Takes a request on, unless it is being answered.
    fn claim(&self, caller: &Caller, id: String, asked: String) -> Result<Claim, IdempotencyError> {
        let mut under_way = self.under_way.lock();
        match under_way.get(&id) {
            Some(other) if *other != asked => return Err(IdempotencyError::Reused),
            Some(_) => return Err(IdempotencyError::UnderWay),
            None => under_way.insert(id.clone(), asked.clone()),
        };
        drop(under_way);
        Ok(Claim { once: self.clone(), caller: caller.clone(), id, asked })
    }

    /// A keyed digest: without the key of the vault nobody can tell of a guess whether it is right.
    fn digest(&self, of: &[&str], bytes: &[u8]) -> Result<String, VaultError> {
        let mut text = Vec::with_capacity(bytes.len() + 128);
        for part in of {
            // None of them has a line break.
            text.extend_from_slice(part.as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(bytes);
        Ok(hex::encode(self.parts.vault.blind(BlindPurpose::Idempotency, &text)?))
    }

    async fn find(&self, owner: UserId, id: &str) -> Result<Option<Kept>, IdempotencyError> {
        let (vault, id, since) = (self.parts.vault.clone(), id.to_owned(), self.oldest());
        let read = move |db: &Connection| -> Result<Option<Kept>, IdempotencyError> {
            let Some(content) = store::find(db, owner, &id, since)? else { return Ok(None) };
            Ok(Some(ANSWERS.open(&vault, (owner, &id), &content)?))
        };
        self.parts.db.read(read).await
    }

    /// When the oldest was kept that is sent again.
    fn oldest(&self) -> Timestamp {
        self.parts.clock.now().minus(Duration::from_hours(self.parts.hours.into()))
    }

    /// Whether all that let an answer out still lets it out: the guard's rules and the caller's roles are
    /// the same, and no model was closed to them since.
    fn still_stands(&self, caller: &Caller, kept: &Kept) -> bool {
        let open = self.models(caller);
        kept.rules == *self.rules
            && kept.roles == caller.roles
            && kept.models.iter().all(|model| open.contains(model))
    }

    fn models(&self, caller: &Caller) -> Vec<String> {
        self.parts.gate.models(caller).iter().map(|model| model.name.clone()).collect()
    }

    /// Deletes what is not sent again any more; says how many.
    pub(crate) async fn expire(&self) -> Result<usize, IdempotencyError> {
        let (parts, told) = (&self.parts, (Action::AnswerExpire, "answers"));
        ANSWERS.expire((&parts.db, &parts.audit), self.oldest(), told).await
    }
}

impl Claim {
    /// Keeps the answer. Where that cannot be done the client has its answer all the same, and the same
    /// request would be answered anew.
    pub(super) async fn keep(self, status: u16, kind: String, body: Vec<u8>) {
        let Ok(body) = String::from_utf8(body) else { return };
        if body.len() > ANSWER_BYTES_MAX {
            return;
        }
        if let Err(error) = self.put(Answer { status, kind, body }).await {
            tracing::warn!(cause = %error, "an answer could not be kept for its idempotency key");
        }
    }

    async fn put(&self, answer: Answer) -> Result<(), IdempotencyError> {
        let Self { once, caller, id, asked } = self;
        let (owner, now, id) = (caller.user, once.parts.clock.now(), id.clone());
        let kept = Kept {
            asked: asked.clone(),
            rules: once.rules.to_string(),
            roles: caller.roles.clone(),
            models: once.models(caller),
            answer,
        };
        let content = ANSWERS.seal(&once.parts.vault, (owner, &id), &kept)?;
        let event = event(caller, Action::AnswerKeep, &id).with("bytes", content.as_bytes().len());
        let audit = once.parts.audit.clone();
        let change = move |tx: &Transaction<'_>| -> Result<(), IdempotencyError> {
            store::put(tx, owner, &id, &content, now)?;
            let dropped = make_room(tx, ANSWERS, owner, ROOM)?;
            audit.record_in(tx, event.with("dropped", dropped))?;
            Ok(())
        };
        once.changes.make(caller, change, |()| ()).await
    }
}

fn event(caller: &Caller, action: Action, id: &str) -> Event {
    Event::new(action, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request)
        .subject(id.get(..32).unwrap_or(id))
}
