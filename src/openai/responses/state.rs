//! Responses that are kept: sealed under their person's key, for as long as the configuration says, and
//! gone with the person. They are opened here and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ResponseError;
use super::input::{Given, ITEMS_MAX};
use super::items::{self, Item, Place};
use super::request::Ask;
use super::store;
use crate::access::{Caller, Changes, Registry};
use crate::audit::{Action, AuditLog, Event, Outcome};
use crate::clock::Clock;
use crate::db::{Connection, Db, Transaction};
use crate::gate::Gate;
use crate::ids::ResponseId;
use crate::openai::idempotency;
use crate::openai::kept::{Room, Shelf, make_room};
use crate::vault::Vault;

/// Where they lie.
pub(super) const RESPONSES: Shelf = Shelf { table: "responses", since: "used_at" };
/// The most that is kept for one person; what was used the longest ago goes first.
const ROOM: Room = Room { count_max: 10_000, bytes_max: 256 << 20 };
/// The most responses that are read for one request.
const READ_MAX: usize = 1_024;
/// The most bytes of them.
const READ_BYTES_MAX: usize = 32 << 20;

/// What responses are kept with.
pub(crate) struct ResponsesParts {
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
    /// Which models a caller may use.
    pub(crate) gate: Gate,
    /// For how long they are kept after they were last used; 0: none is kept.
    pub(crate) days: u32,
    /// Whether they are kept where a request does not say.
    pub(crate) by_default: bool,
}

/// The responses that are kept. A handle.
#[derive(Clone)]
pub(crate) struct Responses {
    parts: Arc<ResponsesParts>,
    changes: Changes,
}

/// What is kept of a response.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// As it was answered.
    pub(super) response: Value,
    /// What came in, each item with its id.
    pub(super) input: Vec<Item>,
}

/// What a request goes on from.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// Everything that was said, the oldest first.
    pub(super) items: Vec<Item>,
    /// The request's own items, those that it only named among them.
    pub(super) input: Vec<Item>,
    /// The responses that all of that stands in.
    pub(super) used: Vec<ResponseId>,
}

/// Why a kept response is opened, as the record has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    Shown,
    InputItems,
    GoneOnFrom,
}

impl Use {
    const fn name(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::InputItems => "input_items",
            Self::GoneOnFrom => "gone_on_from",
        }
    }
}

impl Kept {
    fn output(&self) -> Vec<Item> {
        // It was written from items.
        serde_json::from_value(self.response["output"].clone()).unwrap_or_default()
    }

    fn previous(&self) -> Option<&str> {
        self.response["previous_response_id"].as_str()
    }

    /// A key that is limited to some models opens no answers of others.
    fn is_open_to(&self, caller: &Caller, gate: &Gate) -> bool {
        !is_limited(caller) || gate.model(caller, self.response["model"].as_str()).is_some()
    }
}

impl Responses {
    /// Over the database, the vault and the record.
    pub(crate) fn new(parts: ResponsesParts) -> Self {
        let changes = Changes::new(&parts.db, &parts.audit, &parts.registry);
        Self { parts: Arc::new(parts), changes }
    }

    /// Whether a response is kept, where its request says so or leaves it open.
    pub(super) fn keeps(&self, asked: Option<bool>) -> Result<bool, ResponseError> {
        match (self.parts.days, asked) {
            (0, Some(true)) => Err(ResponseError::KeepsNone),
            (0, _) => Ok(false),
            (_, asked) => Ok(asked.unwrap_or(self.parts.by_default)),
        }
    }

    /// Reads what a request goes on from; that it was read goes on record.
    pub(super) async fn before(&self, caller: &Caller, ask: &Ask) -> Result<Before, ResponseError> {
        let (parts, by) = (Arc::clone(&self.parts), caller.clone());
        let (previous, input) = (ask.previous.clone(), ask.input.clone());
        let read = move |db: &Connection| -> Result<Before, ResponseError> {
            let mut reader = Reader { db, parts: &parts, caller: &by, read: Vec::new(), bytes: 0 };
            let items = reader.conversation(previous.as_deref())?;
            let input = reader.resolve(input)?;
            let used = reader.read.into_iter().map(|(id, _)| id).collect();
            Ok(Before { items, input, used })
        };
        // Most requests name nothing that is kept, and are read without the database.
        let names_none = |given: &Given| matches!(given, Given::Item(_));
        if ask.previous.is_none() && ask.input.iter().all(names_none) {
            let items = ask.input.iter().filter_map(|given| match given {
                Given::Item(item) => Some(item.clone()),
                Given::Reference(_) => None,
            });
            return Ok(Before { input: items.collect(), ..Before::default() });
        }
        let before = self.parts.db.read(read).await?;
        if let Some(newest) = before.used.first() {
            let event = event(caller, Action::ResponseRead, *newest)
                .with("use", Use::GoneOnFrom.name())
                .with("responses", before.used.len());
            self.parts.audit.record(event).await?;
        }
        Ok(before)
    }

    /// Keeps a response.
    pub(super) async fn keep(
        &self,
        caller: &Caller,
        id: ResponseId,
        kept: &Kept,
        used: Vec<ResponseId>,
    ) -> Result<(), ResponseError> {
        let (owner, now) = (caller.user, self.parts.clock.now());
        let content = RESPONSES.seal(&self.parts.vault, (owner, &id.to_string()), kept)?;
        let event =
            event(caller, Action::ResponseStore, id).with("bytes", content.as_bytes().len());
        let audit = self.parts.audit.clone();
        let change = move |tx: &Transaction<'_>| -> Result<(), ResponseError> {
            store::add(tx, owner, id, &content, now)?;
            store::touch(tx, owner, &used, now)?;
            let dropped = make_room(tx, RESPONSES, owner, ROOM)?;
            audit.record_in(tx, event.with("dropped", dropped))?;
            Ok(())
        };
        self.changes.make(caller, change, |()| ()).await
    }

    /// Opens a kept response; that it was opened goes on record.
    pub(super) async fn read(
        &self,
        caller: &Caller,
        id: ResponseId,
        what_for: Use,
    ) -> Result<Kept, ResponseError> {
        let (parts, by) = (Arc::clone(&self.parts), caller.clone());
        let read = move |db: &Connection| parts.find(db, &by, id)?.ok_or(ResponseError::NotFound);
        let kept = self.parts.db.read(read).await?;
        let event = event(caller, Action::ResponseRead, id).with("use", what_for.name());
        self.parts.audit.record(event).await?;
        Ok(kept)
    }

    /// Whether this response is kept for the caller. It is opened only to see whether a limited key may
    /// know of it, and nothing of it is shown.
    pub(super) async fn has(&self, caller: &Caller, id: ResponseId) -> Result<bool, ResponseError> {
        let (parts, by) = (Arc::clone(&self.parts), caller.clone());
        let read = move |db: &Connection| -> Result<bool, ResponseError> {
            if is_limited(&by) {
                return Ok(parts.find(db, &by, id)?.is_some());
            }
            Ok(store::find(db, by.user, id)?.is_some())
        };
        self.parts.db.read(read).await
    }

    /// Deletes a kept response.
    pub(super) async fn delete(
        &self,
        caller: &Caller,
        id: ResponseId,
    ) -> Result<(), ResponseError> {
        let (parts, by) = (Arc::clone(&self.parts), caller.clone());
        let event = event(caller, Action::ResponseDelete, id);
        let change = move |tx: &Transaction<'_>| -> Result<(), ResponseError> {
            // What does not open any more can be deleted, by whoever may see all that there is.
            if is_limited(&by) {
                parts.find(tx, &by, id)?.ok_or(ResponseError::NotFound)?;
            }
            if !store::delete(tx, by.user, id)? {
                return Err(ResponseError::NotFound);
            }
            // Nor is it sent again to whoever asks once more under the same idempotency key.
            let answers = idempotency::forget(tx, by.user)?;
            parts.audit.record_in(tx, event.with("answers", answers))?;
            Ok(())
        };
        self.changes.make(caller, change, |()| ()).await
    }

    /// Deletes what nobody has used for as long as responses are kept; says how many.
    pub(crate) async fn expire(&self) -> Result<usize, ResponseError> {
        let age = Duration::from_hours(24 * u64::from(self.parts.days));
        let before = self.parts.clock.now().minus(age);
        let (parts, told) = (&self.parts, (Action::ResponseExpire, "responses"));
        RESPONSES.expire((&parts.db, &parts.audit), before, told).await
    }
}

impl ResponsesParts {
    /// Opens a response of the caller's; none where there is none that the caller may see.
    fn find(
        &self,
        db: &Connection,
        caller: &Caller,
        id: ResponseId,
    ) -> Result<Option<Kept>, ResponseError> {
        let Some(content) = store::find(db, caller.user, id)? else { return Ok(None) };
        let kept: Kept = RESPONSES.open(&self.vault, (caller.user, &id.to_string()), &content)?;
        Ok(kept.is_open_to(caller, &self.gate).then_some(kept))
    }
}

/// Whether the caller's key is limited to some models.
fn is_limited(caller: &Caller) -> bool {
    caller.key().is_some_and(|key| key.models.is_some())
}

/// Reads kept responses of one person for one request, each once.
struct Reader<'a> {
    db: &'a Connection,
    parts: &'a ResponsesParts,
    caller: &'a Caller,
    read: Vec<(ResponseId, Kept)>,
    bytes: usize,
}

impl Reader<'_> {
    /// What was said up to a response and in it, the oldest first.
    fn conversation(&mut self, newest: Option<&str>) -> Result<Vec<Item>, ResponseError> {
        const PARAM: &str = "previous_response_id";
        let mut turns: Vec<Vec<Item>> = Vec::new();
        let mut count = 0;
        let mut next = newest.map(str::to_owned);
        while let Some(id) = next {
            let kept = self.find(ResponseId::parse(&id).ok(), PARAM)?;
            let turn: Vec<Item> = kept.input.iter().cloned().chain(kept.output()).collect();
            next = kept.previous().map(str::to_owned);
            count += turn.len();
            if count > ITEMS_MAX {
                return Err(ResponseError::TooMuch { param: PARAM.to_owned() });
            }
            turns.push(turn);
        }
        Ok(turns.into_iter().rev().flatten().collect())
    }

    /// The items of a request, with those that it only names.
    fn resolve(&mut self, input: Vec<Given>) -> Result<Vec<Item>, ResponseError> {
        let item = |(at, given)| match given {
            Given::Item(item) => Ok(item),
            Given::Reference(id) => {
                let param = format!("input[{at}].id");
                let place = items::place_of(&id);
                let kept = self.find(place.map(|(response, _)| response), &param)?;
                let found = match place {
                    Some((_, Place::In(at))) => kept.input.get(at).cloned(),
                    Some((_, Place::Out(at))) => kept.output().get(at).cloned(),
                    None => None,
                };
                found.filter(|item| item.id() == id).ok_or(ResponseError::NothingBefore { param })
            }
        };
        input.into_iter().enumerate().map(item).collect()
    }

    /// A response that is named in a parameter.
    fn find(&mut self, id: Option<ResponseId>, param: &str) -> Result<&Kept, ResponseError> {
        let nothing = || ResponseError::NothingBefore { param: param.to_owned() };
        let id = id.ok_or_else(nothing)?;
        if let Some(at) = self.read.iter().position(|(read, _)| *read == id) {
            return Ok(&self.read[at].1);
        }
        let owner = self.caller.user;
        let content = store::find(self.db, owner, id)?.ok_or_else(nothing)?;
        self.bytes += content.as_bytes().len();
        if self.read.len() >= READ_MAX || self.bytes > READ_BYTES_MAX {
            return Err(ResponseError::TooMuch { param: param.to_owned() });
        }
        let kept: Kept = RESPONSES.open(&self.parts.vault, (owner, &id.to_string()), &content)?;
        if !kept.is_open_to(self.caller, &self.parts.gate) {
            return Err(nothing());
        }
        self.read.push((id, kept));
        let last = self.read.len() - 1;
        Ok(&self.read[last].1)
    }
}

fn event(caller: &Caller, action: Action, id: ResponseId) -> Event {
    Event::new(action, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request)
        .subject(id)
}
