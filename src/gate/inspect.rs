//! The guard on the road: what it does to prompts, and the watch over answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::catalog::Model;
use super::error::GateError;
use super::prompt::{Draft, TEXT_WORK, by_length};
use super::request::{ExchangeRequest, Input, Notice, NoticeDirection};
use super::{Gate, extent, prompt};
use crate::access::Caller;
use crate::engine::Conversation;
use crate::guard::{Action, Category, Direction, Guard, OutputWatch, Verdict, WatchEvent};
use crate::limits::Reservation;

/// A request that the guard has let through.
pub(super) struct Cleared {
    pub(super) draft: Draft,
    pub(super) reservation: Reservation,
    pub(super) notices: Vec<Notice>,
    /// One for each answer.
    pub(super) watches: Vec<Watch>,
}

impl Gate {
    /// The guard, for showing its policy and trying texts against it.
    pub(crate) fn guard(&self) -> &Guard {
        &self.inner.parts.guard
    }

    /// The guard's word before somebody waits for a model: what it refuses is refused now, and has
    /// nothing loaded. What passes is held against the policy again when the whole prompt is known.
    pub(super) async fn foresee(
        &self,
        caller: &Caller,
        model: &Model,
        request: ExchangeRequest,
        reservation: Reservation,
    ) -> Result<(ExchangeRequest, Reservation), GateError> {
        if model.engine.is_some() {
            return Ok((request, reservation));
        }
        let count = extent::check(&request.input, request.held_to.as_ref())?;
        let bytes = request.bytes();
        let guard = self.guard().clone();
        let work = move || {
            let (input, held_to) = (certain(&request), request.held_to.as_ref());
            let parts = prompt::parts(&input, held_to);
            let verdict = guard.inspect(&prompt::texts(&input, held_to), parts, Direction::Input);
            drop(input);
            (request, verdict)
        };
        let (request, verdict) = by_length(bytes + TEXT_WORK * count, work).await?;
        if verdict.action != Action::Refuse {
            return Ok((request, reservation));
        }
        let passed = self.rule(caller, model, &verdict, reservation).await;
        passed.map(|(reservation, _)| (request, reservation))
    }

    /// Holds every text of the prompt against the policy: lets it pass, changes it, or refuses.
    pub(super) async fn inspect(
        &self,
        caller: &Caller,
        model: &Model,
        draft: Draft,
        reservation: Reservation,
    ) -> Result<Cleared, GateError> {
        let bytes = draft.work();
        let guard = self.guard().clone();
        let work = move || {
            let verdict = guard.inspect(&draft.texts(), draft.parts(), Direction::Input);
            (draft, verdict)
        };
        let (draft, verdict) = by_length(bytes, work).await?;
        let (reservation, notices) = self.rule(caller, model, &verdict, reservation).await?;
        let Verdict { texts, originals, .. } = verdict;
        let draft = match texts {
            None => draft,
            Some(texts) => match rewrite(draft, texts).await {
                Ok(draft) => draft,
                Err(error) => {
                    return Err(self.refuse(caller, model, reservation, &notices, error).await);
                }
            },
        };
        let watch = |_| Watch(self.guard().watch(originals.clone()));
        let watches = (0..draft.answers()).map(watch).collect();
        Ok(Cleared { draft, reservation, notices, watches })
    }

    /// What the guard's verdict means: what it did is counted, and a refusal is put on record and
    /// takes nothing of the limits.
    pub(super) async fn rule(
        &self,
        caller: &Caller,
        model: &Model,
        verdict: &Verdict,
        reservation: Reservation,
    ) -> Result<(Reservation, Vec<Notice>), GateError> {
        let notices = notices(verdict);
        for notice in &notices {
            let metrics = &self.inner.metrics;
            metrics.noticed("input", &notice.category, &notice.action, notice.count);
        }
        if verdict.action != Action::Refuse {
            return Ok((reservation, notices));
        }
        let refused = notices.iter().filter(|notice| notice.action == "refuse");
        let categories = refused.map(|notice| notice.category.clone()).collect();
        let refused = GateError::Refused { categories };
        Err(self.refuse(caller, model, reservation, &notices, refused).await)
    }

    /// Closes the books of a request that comes no further: nothing ran, so nothing is charged, and
    /// what the guard did is on record. Gives what the caller is told.
    pub(super) async fn refuse(
        &self,
        caller: &Caller,
        model: &Model,
        reservation: Reservation,
        found: &[Notice],
        why: GateError,
    ) -> GateError {
        let accounts = reservation.settle(0);
        let recorded = self.record_refusal(caller, model, accounts, found, &why).await;
        recorded.err().unwrap_or(why)
    }
}

/// What of a request stands in its prompt, whatever the model is: all of it, or the newest message where
/// older ones may have to give way.
fn certain(request: &ExchangeRequest) -> Cow<'_, Input> {
    match &request.input {
        Input::Conversation(whole) if request.drops_oldest => {
            let messages = whole.messages.last().cloned().into_iter().collect();
            let newest = Conversation {
                messages,
                tools: whole.tools.clone(),
                arguments: whole.arguments.clone(),
            };
            Cow::Owned(Input::Conversation(newest))
        }
        input => Cow::Borrowed(input),
    }
}

/// Puts the guard's texts in place, and counts their tokens.
async fn rewrite(mut draft: Draft, texts: Vec<String>) -> Result<Draft, GateError> {
    let length = texts.iter().map(String::len).sum();
    let bytes = if draft.is_held() { usize::MAX } else { length };
    by_length(bytes, move || draft.replace(texts).map(|()| draft)).await?
}

/// What was found, counted by category and action.
fn notices(verdict: &Verdict) -> Vec<Notice> {
    let mut counts: BTreeMap<(Category, Action), u32> = BTreeMap::new();
    for (_, action, finding) in &verdict.findings {
        *counts.entry((finding.category, *action)).or_default() += 1;
    }
    let direction = NoticeDirection::Input;
    let notices = counts.into_iter();
    notices.map(|((category, action), count)| notice(direction, category, action, count)).collect()
}

fn notice(direction: NoticeDirection, category: Category, action: Action, count: u32) -> Notice {
    let (category, action) = (category.name().to_owned(), action.name().to_owned());
    Notice { category, action, direction, count }
}

/// The watch over one answer.
pub(super) struct Watch(OutputWatch);

/// What the watch lets out.
pub(super) enum Seen {
    Text(String),
    Notice(Notice),
    Stop,
}

impl Watch {
    pub(super) fn push(&mut self, text: &str) -> Vec<Seen> {
        self.0.push(text).into_iter().map(Seen::from).collect()
    }

    pub(super) fn finish(&mut self) -> Vec<Seen> {
        self.0.finish().into_iter().map(Seen::from).collect()
    }
}

impl From<WatchEvent> for Seen {
    fn from(event: WatchEvent) -> Self {
        match event {
            WatchEvent::Text(text) => Self::Text(text),
            WatchEvent::Found(action, category) => {
                let mut notice = notice(NoticeDirection::Output, category, action, 1);
                if action == Action::Refuse {
                    "stop".clone_into(&mut notice.action);
                }
                Self::Notice(notice)
            }
            WatchEvent::Stop => Self::Stop,
        }
    }
}
