//! What an address asks of the ledger, every parameter honoured or refused by name.

use super::answer::Kind;
use crate::gate::Purpose;
use crate::ids::{KeyId, UserId};
use crate::openai::addresses::{Address, honoured};
use crate::openai::fields::wrong;
use crate::openai::parameters::unknown;
use crate::usage::{By, HOURS_DAYS, LISTED_MAX, SYSTEM, Selection, Span, Width};
use crate::web::{ApiError, ErrorCode};

/// Characters of a model's name.
const NAME_MAX: usize = 128;
/// What stands before the beginning of a page.
const PAGE: &str = "page_";

/// One page of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The buckets of this page.
    pub(super) span: Span,
    /// The one behind the last of all pages.
    pub(super) end: i64,
    /// Of whom and what.
    pub(super) selection: Selection,
    /// What the results of a bucket are kept apart by.
    pub(super) by: By,
}

/// The parameters, as far as they have been read.
#[derive(Default)]
struct Parameters {
    start: Option<i64>,
    end: Option<i64>,
    width: Option<Width>,
    limit: Option<i64>,
    page: Option<i64>,
    selection: Selection,
    by: By,
}

impl Query {
    /// Reads the query of an address; `now` in seconds.
    pub(super) fn read(kind: Kind, pairs: &[(String, String)], now: i64) -> Result<Self, ApiError> {
        let mut parameters = Parameters::default();
        for (name, value) in honoured(pairs, address(kind))? {
            parameters.take(kind, name, value)?;
        }
        parameters.selection.kinds = purposes(kind);
        // A bucket is in the answer under its beginning, whatever else it is asked for by.
        parameters.by.slot = true;
        parameters.page(kind, now)
    }

    /// By which the next page is asked for; none: this is the last.
    pub(super) fn next_page(&self) -> Option<String> {
        let begin = self.span.end * self.span.width.seconds();
        (self.span.end < self.end).then(|| format!("{PAGE}{begin}"))
    }
}

impl Parameters {
    fn take(&mut self, kind: Kind, name: &str, value: &str) -> Result<(), ApiError> {
        match name.strip_suffix("[]").unwrap_or(name) {
            "start_time" => once(&mut self.start, name, whole(name, value)?),
            "end_time" => once(&mut self.end, name, whole(name, value)?),
            "limit" => once(&mut self.limit, name, whole(name, value)?),
            "page" => {
                let begin = value.strip_prefix(PAGE).and_then(|begin| begin.parse().ok());
                let begin = begin.ok_or_else(|| wrong(name, "the `next_page` of an answer"))?;
                once(&mut self.page, name, begin)
            }
            "bucket_width" => match value {
                "1d" => once(&mut self.width, name, Width::Day),
                "1h" => once(&mut self.width, name, Width::Hour),
                "1m" => Err(unsupported(name, "use is summed up by the hour and by the day")),
                _ => Err(wrong(name, "`1d` or `1h`")),
            },
            "user_ids" => {
                let is_one = value == SYSTEM || UserId::parse(value).is_ok();
                add(&mut self.selection.users, name, value, is_one, "ids of people (usr_…)")
            }
            "api_key_ids" => {
                let is_one = KeyId::parse(value).is_ok();
                add(&mut self.selection.keys, name, value, is_one, "ids of keys (key_…)")
            }
            "models" | "line_items" => {
                let is_one = (1..=NAME_MAX).contains(&value.len());
                add(&mut self.selection.models, name, value, is_one, "names of models")
            }
            "group_by" => value.split(',').try_for_each(|one| self.group(kind, name, one)),
            _ => Err(unknown(name)),
        }
    }

    fn group(&mut self, kind: Kind, name: &str, value: &str) -> Result<(), ApiError> {
        match value {
            "user_id" => self.by.person = true,
            "api_key_id" => self.by.key = true,
            "model" if kind != Kind::Costs => self.by.model = true,
            "line_item" if kind == Kind::Costs => self.by.model = true,
            "project_id" => return Err(unsupported(name, "there are no projects here")),
            "batch" | "service_tier" | "api_source" => {
                return Err(unsupported(name, "use is kept apart by person, key and model"));
            }
            _ if kind == Kind::Costs => {
                return Err(wrong(name, "`user_id`, `api_key_id`, `line_item`"));
            }
            _ => return Err(wrong(name, "`user_id`, `api_key_id`, `model`")),
        }
        Ok(())
    }

    fn page(self, kind: Kind, now: i64) -> Result<Query, ApiError> {
        let width = self.width.unwrap_or(Width::Day);
        let start = self.start.ok_or_else(|| {
            ApiError::new(ErrorCode::InvalidRequest)
                .message("`start_time` is missing: the seconds since 1970 from which on to count.")
                .param("start_time")
        })?;
        if self.end.is_some_and(|end| end <= start) {
            return Err(wrong("end_time", "a time after `start_time`"));
        }
        let first = width.slot(start);
        if width == Width::Hour && first < width.slot(now) - HOURS_DAYS * 24 {
            let reason = format!("`bucket_width=1h` goes back {HOURS_DAYS} days");
            return Err(unsupported("start_time", &reason));
        }
        // Of what is to come nothing is known.
        let end = self.end.map_or(now.saturating_add(1), |end| end.min(now.saturating_add(1)));
        let end = width.slot_from(end).max(first);
        let begin = match self.page {
            None => first,
            Some(at) => {
                let slot = width.slot(at);
                let is_one = slot.checked_mul(width.seconds()) == Some(at);
                if !is_one || slot < first || slot > end {
                    return Err(wrong("page", "the `next_page` of an answer to the same request"));
                }
                slot
            }
        };
        let (usual, most) = match (kind, width) {
            (Kind::Costs, _) => (7, 180),
            (_, Width::Day) => (7, 31),
            (_, Width::Hour) => (24, 168),
        };
        let limit = self.limit.unwrap_or(usual);
        if !(1..=most).contains(&limit) {
            return Err(wrong("limit", &format!("a whole number from 1 to {most}")));
        }
        let span = Span { width, first: begin, end: end.min(begin.saturating_add(limit)) };
        Ok(Query { span, end, selection: self.selection, by: self.by })
    }
}

/// Where its parameters stand in the table.
fn address(kind: Kind) -> Address {
    match kind {
        Kind::Completions => Address::UsageOfCompletions,
        Kind::Embeddings | Kind::Moderations => Address::OtherUsage,
        Kind::Costs => Address::Costs,
    }
}

/// What it sums up; costs are of everything.
fn purposes(kind: Kind) -> Option<Vec<String>> {
    let purposes: &[Purpose] = match kind {
        Kind::Completions => &[Purpose::Api, Purpose::Chat, Purpose::Evaluation],
        Kind::Embeddings => &[Purpose::Embeddings],
        Kind::Moderations => &[Purpose::Moderation],
        Kind::Costs => return None,
    };
    Some(purposes.iter().map(|purpose| purpose.name().to_owned()).collect())
}

/// A whole number that is not below 0.
fn whole(name: &str, value: &str) -> Result<i64, ApiError> {
    // Later than any clock, and far from where sums of seconds end.
    const MOST: i64 = 1 << 40;
    let number = value.parse().ok().filter(|number| (0..=MOST).contains(number));
    number.ok_or_else(|| wrong(name, "a whole number from 0"))
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), ApiError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(wrong(name, "one value")),
    }
}

fn add(
    list: &mut Option<Vec<String>>,
    name: &str,
    value: &str,
    is_one: bool,
    expected: &str,
) -> Result<(), ApiError> {
    let list = list.get_or_insert_default();
    if !is_one || list.len() >= LISTED_MAX {
        return Err(wrong(name, &format!("up to {LISTED_MAX} {expected}")));
    }
    list.push(value.to_owned());
    Ok(())
}

fn unsupported(name: &str, reason: &str) -> ApiError {
    ApiError::new(ErrorCode::UnsupportedParameter)
        .message(format!("`{name}` with this value is not supported: {reason}."))
        .param(name)
}
