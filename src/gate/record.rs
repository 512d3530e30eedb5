//! What goes on record, in which words. Ids, names, counts and keyed digests; never a text.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use super::catalog::Model;
use super::error::GateError;
use super::inspect::Cleared;
use super::request::{Ending, ExchangeUsage, Notice, Purpose};
use super::{Gate, store};
use crate::access::refusals::Source;
use crate::access::{Caller, Via};
use crate::audit::{Action, AuditError, Event, Outcome};
use crate::ids::{RequestId, UserId};
use crate::limits::{Refusal, ReservedFor, Which, Whose};
use crate::usage::{Entry, Tokens, User};
use crate::vault::BlindPurpose;

/// A person who runs into the same limit again is on record once in this time.
const LIMIT_RECORD_EVERY: Duration = Duration::from_mins(1);
const LIMIT_RECORDS_MAX: usize = 16_384;

/// The record of an exchange that was begun; what its end needs to be written.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) caller: Caller,
    pub(super) purpose: Purpose,
    pub(super) model: String,
    pub(super) prompt_tokens: u64,
}

/// Which refusals by limits are on record already.
#[derive(Debug, Default)]
pub(super) struct Limited {
    seen: Mutex<HashMap<(UserId, Which), Instant>>,
}

impl Limited {
    /// Whether this one is to be recorded: the first of its kind within a while.
    fn is_new(&self, user: UserId, which: Which) -> bool {
        let now = Instant::now();
        let is_recent = |at: &Instant| now.duration_since(*at) < LIMIT_RECORD_EVERY;
        let mut seen = self.seen.lock();
        if seen.get(&(user, which)).is_some_and(is_recent) {
            return false;
        }
        if seen.len() >= LIMIT_RECORDS_MAX {
            seen.retain(|_, at| is_recent(at));
        }
        seen.insert((user, which), now);
        true
    }
}

pub(super) fn event(caller: &Caller, action: Action, outcome: Outcome) -> Event {
    Event::new(action, outcome, caller.actor()).from_request(caller.address, caller.request)
}

/// What the guard did, as the log takes it: `category:action:count` each.
pub(super) fn notices(notices: &[Notice]) -> Value {
    let one = |Notice { category, action, count, .. }: &Notice| {
        Value::from(format!("{category}:{action}:{count}"))
    };
    notices.iter().map(one).collect()
}

fn not_recorded(error: &AuditError) -> GateError {
    tracing::error!(cause = %error, "the record cannot be written: nothing runs");
    GateError::NotRecorded
}

impl Gate {
    /// Puts an event on record that must be there before anything else happens.
    pub(super) async fn record(
        &self,
        accounts: Option<ReservedFor>,
        events: Vec<Event>,
    ) -> Result<(), GateError> {
        self.record_used(accounts, None, events).await
    }

    /// The same, with what was used.
    pub(super) async fn record_used(
        &self,
        accounts: Option<ReservedFor>,
        used: Option<Entry>,
        events: Vec<Event>,
    ) -> Result<(), GateError> {
        let parts = &self.inner.parts;
        let written = store::write(&parts.db, &parts.audit, accounts, used, events).await;
        written.map_err(|error| not_recorded(&error))
    }

    /// What the ledger is told of an exchange.
    pub(super) fn used(
        &self,
        caller: &Caller,
        model: &str,
        purpose: Purpose,
        usage: ExchangeUsage,
    ) -> Entry {
        let person = match caller.via {
            Via::System => None,
            Via::Session(_) | Via::Key(_) => Some(caller.user),
        };
        let user = User { person, key: caller.key().map(|key| key.id) };
        let tokens = Tokens {
            input: usage.prompt_tokens,
            cached: usage.cached_tokens,
            output: usage.completion_tokens,
        };
        self.inner.parts.ledger.entry(user, model, purpose.name(), tokens)
    }

    /// Puts on record that the caller was denied something, within the bound that holds for all
    /// refusals: whoever asks again and again fills no disk.
    pub(super) async fn record_denial(
        &self,
        caller: &Caller,
        what: &'static str,
        model: Option<&str>,
    ) -> Result<(), GateError> {
        let mut denial = event(caller, Action::AccessDenied, Outcome::Denied).with("needed", what);
        if let Some(model) = model {
            denial = denial.subject(model);
        }
        let refusals = &self.inner.parts.refusals;
        let recorded = refusals.record(denial, Source::Person(caller.user)).await;
        recorded.map_err(|error| not_recorded(&error))
    }

    /// Puts on record that a limit stood in the way; of which model, where that is known by then.
    pub(super) async fn record_limit(
        &self,
        caller: &Caller,
        model: Option<&Model>,
        refusal: Refusal,
    ) -> Result<(), GateError> {
        if !self.inner.limited.is_new(caller.user, refusal.which) {
            return Ok(());
        }
        let mut denial = event(caller, Action::GenerationRefuse, Outcome::Denied)
            .with("limit", refusal.which.name())
            .with("limit_of", refusal.whose.name())
            .with("limit_value", refusal.limit);
        if let Whose::Group(group) = refusal.whose {
            denial = denial.with("group", group.to_string());
        }
        if let Some(model) = model {
            denial = denial.subject(&model.name);
        }
        self.record(None, vec![denial]).await
    }

    /// Records what the guard refused, or what it did to a prompt that was then refused for
    /// something else.
    pub(super) async fn record_refusal(
        &self,
        caller: &Caller,
        model: &Model,
        accounts: ReservedFor,
        found: &[Notice],
        why: &GateError,
    ) -> Result<(), GateError> {
        let refusal = event(caller, Action::GenerationRefuse, Outcome::Denied)
            .subject(&model.name)
            .with("reason", why.name())
            .with("guard", notices(found));
        self.record(Some(accounts), vec![refusal]).await
    }

    /// Records that a generation begins, with its reservation, before the engine sees it.
    pub(super) async fn record_start(
        &self,
        caller: &Caller,
        model: &Model,
        purpose: Purpose,
        cleared: &Cleared,
    ) -> Result<Begun, GateError> {
        let draft = &cleared.draft;
        let digests = draft.prompts.iter().map(|prompt| self.prompt_digest(prompt));
        let mut digests = digests.collect::<Result<Vec<_>, _>>()?;
        let several = (digests.len() > 1).then(|| std::mem::take(&mut digests));
        let start = event(caller, Action::GenerationStart, Outcome::Started)
            .subject(&model.name)
            .with("purpose", purpose.name())
            .with("model_sha256", model.digest.clone())
            .with("prompt_tokens", draft.prompt_tokens())
            .with("max_tokens", draft.max_tokens)
            .with("choices", draft.choices)
            .with("guard", notices(&cleared.notices));
        let start = match several {
            // No more than a list of the log has room for: `PROMPTS_MAX`.
            Some(several) => start.with("prompts", several.len()).with("prompt_digests", several),
            None => start.with("prompt_digest", digests.pop()),
        };
        self.record(Some(cleared.reservation.reserved_for()), vec![start]).await?;
        Ok(Begun {
            caller: caller.clone(),
            purpose,
            model: model.name.clone(),
            prompt_tokens: cleared.draft.prompt_tokens() as u64,
        })
    }

    /// A keyed digest: two equal prompts can be told from two different ones, by whoever has the
    /// key, and nothing else can be told.
    pub(super) fn prompt_digest(&self, prompt: &[u32]) -> Result<String, GateError> {
        let bytes: Vec<u8> = prompt.iter().flat_map(|token| token.to_le_bytes()).collect();
        let digest = self.inner.parts.vault.blind(BlindPurpose::Prompt, &bytes);
        digest.map(hex::encode).map_err(|_| GateError::NotRecorded)
    }

    /// Records how a generation ended. Its work is done: a failure here is an operator's alarm and
    /// a number in the metrics, and the next generation will not begin.
    pub(super) async fn record_end(
        &self,
        begun: &Begun,
        accounts: Option<ReservedFor>,
        result: &Result<Ending, GateError>,
        spent: &Spent<'_>,
    ) {
        let outcome = outcome(result);
        let mut end = event(&begun.caller, Action::GenerationEnd, outcome)
            .subject(&begun.model)
            .with("purpose", begun.purpose.name())
            .with("prompt_tokens", spent.usage.prompt_tokens)
            .with("cached_tokens", spent.usage.cached_tokens)
            .with("completion_tokens", spent.usage.completion_tokens)
            .with("ms", whole_ms(spent.whole))
            .with("first_token_ms", spent.first_token.map(whole_ms))
            .with("guard", notices(spent.notices));
        end = match result {
            Ok(ending) => end.with("ending", ending.name()),
            Err(error) => end.with("ending", error.name()),
        };
        let used = Some(self.used(&begun.caller, &begun.model, begun.purpose, spent.usage));
        let parts = &self.inner.parts;
        if let Err(error) = store::write(&parts.db, &parts.audit, accounts, used, vec![end]).await {
            self.inner.metrics.record_lost();
            tracing::error!(request = %request_of(begun), cause = %error, "the end of a generation is not on record");
        }
    }
}

fn request_of(begun: &Begun) -> RequestId {
    begun.caller.request
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What an exchange took, for its record.
pub(super) struct Spent<'a> {
    pub(super) usage: ExchangeUsage,
    pub(super) whole: Duration,
    pub(super) first_token: Option<Duration>,
    pub(super) notices: &'a [Notice],
}

/// How it ended, in the words of the log.
pub(super) fn outcome(result: &Result<Ending, GateError>) -> Outcome {
    match result {
        Ok(Ending::Stop | Ending::StopText(_) | Ending::ToolCalls | Ending::Length) => {
            Outcome::Done
        }
        Ok(Ending::ContentFilter) | Err(GateError::Revoked) => Outcome::Stopped,
        Ok(Ending::Cancelled) | Err(GateError::ShuttingDown | GateError::Unloaded) => {
            Outcome::Cancelled
        }
        Err(_) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests;
