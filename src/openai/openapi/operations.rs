//! What programs may ask for, one row an address: what it takes, what it gives, how it is asked. To add one
//! takes a row here; a test of the routes names what is missing.

mod table;
mod usage;

use super::requests::Table;
use crate::web::ErrorCode;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Everybody.
    Everybody,
    /// Who has a key.
    Key,
}

/// What is answered, by the names of shapes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gives {
    /// JSON.
    Json(&'static str),
    /// JSON, or, with `stream`, events.
    JsonOrEvents(&'static str, &'static str),
    /// Text of this type.
    Text(&'static str),
    /// JSON: the first to most, the second to Anthropic's clients, who name their version.
    JsonByClient(&'static str, &'static str),
    /// Nothing: whatever is asked for here is refused.
    Nothing,
    /// Whether the server is ready, which is also told where it is not.
    Readiness,
    /// This document.
    Document,
}

/// What may stand behind the address, or in the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// `query` or `header`.
    pub(super) place: &'static str,
    /// Its shape, as JSON.
    pub(super) shape: &'static str,
    pub(super) about: &'static str,
    pub(super) is_required: bool,
}

/// One method of one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
    pub(super) who: Who,
    pub(super) takes: Option<Table>,
    pub(super) fields: &'static [Field],
    pub(super) gives: Gives,
    /// Whether it takes the road of a generation, with all that is refused there.
    pub(super) is_road: bool,
    /// What else may go wrong.
    pub(super) refusals: &'static [ErrorCode],
    /// A body, as JSON; none: an empty text.
    pub(super) example: &'static str,
    /// The same with OpenAI's client; none: an empty text.
    pub(super) python: &'static str,
}

const fn get(path: &'static str, id: &'static str, group: &'static str, gives: Gives) -> Operation {
    Operation {
        method: "GET",
        path,
        id,
        group,
        summary: "",
        who: Who::Key,
        takes: None,
        fields: &[],
        gives,
        is_road: false,
        refusals: &[],
        example: "",
        python: "",
    }
}

const fn post(
    path: &'static str,
    id: &'static str,
    group: &'static str,
    takes: Table,
    gives: Gives,
) -> Operation {
    let takes = Some(takes);
    Operation { method: "POST", takes, is_road: true, ..get(path, id, group, gives) }
}

/// What may stand behind the address.
const fn query(name: &'static str, shape: &'static str, about: &'static str) -> Field {
    Field { name, place: "query", shape, about, is_required: false }
}

/// Every row.
pub(super) fn all() -> impl Iterator<Item = &'static Operation> {
    table::OPERATIONS.iter().chain(usage::OPERATIONS)
}

impl Operation {
    /// Whether it may have a key of its own, by which it is answered once.
    pub(super) fn is_answered_once(&self) -> bool {
        self.method == "POST" && self.who == Who::Key
    }
}
