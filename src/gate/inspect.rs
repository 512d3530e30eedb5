//! The guard on the road: what it does to prompts, and the watch over answers.

use super::Gate;
use super::catalog::Model;
use super::error::GateError;
use super::prompt::Draft;
use super::request::Notice;
use crate::access::Caller;
use crate::limits::Reservation;

/// Placeholder until the guard lands.
#[derive(Clone)]
pub(crate) struct Guard;

/// A request that the guard has let through.
pub(super) struct Cleared {
    pub(super) draft: Draft,
    pub(super) reservation: Reservation,
    pub(super) notices: Vec<Notice>,
    pub(super) watch: Watch,
}

impl Gate {
    /// Holds every text of the prompt against the policy: lets it pass, changes it, or refuses.
    pub(super) async fn inspect(
        &self,
        _caller: &Caller,
        _model: &Model,
        draft: Draft,
        reservation: Reservation,
    ) -> Result<Cleared, GateError> {
        Ok(Cleared { draft, reservation, notices: Vec::new(), watch: Watch })
    }
}

/// The watch over one answer.
pub(super) struct Watch;

/// What the watch lets out.
pub(super) enum Seen {
    Text(String),
    Notice(Notice),
    Stop,
}

impl Watch {
    pub(super) fn push(&mut self, text: &str) -> Vec<Seen> {
        vec![Seen::Text(text.to_owned())]
    }

    pub(super) fn finish(&mut self) -> Vec<Seen> {
        Vec::new()
    }
}
