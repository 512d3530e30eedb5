//! Reports: what was asked for, the sums that answer it, and how they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::UsageError;
use super::cost::{Cost, Tokens};
use super::ledger::SYSTEM;
use super::span::{Span, Width, day_text, parse_day};
use crate::audit::harmless;
use crate::ids::{KeyId, UserId};

/// Days of a report where none are named.
const DAYS: i64 = 30;
/// Values of one list: the record of a report names each of them, and has room for no more.
pub(crate) const LISTED_MAX: usize = 32;

/// What sums are kept apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each column, in any combination")]
pub(crate) struct By {
    /// The day or the hour.
    pub(crate) slot: bool,
    /// The person.
    pub(crate) person: bool,
    /// The key.
    pub(crate) key: bool,
    /// The model.
    pub(crate) model: bool,
    /// What it was for.
    pub(crate) kind: bool,
}

impl By {
    /// The names of what sums are kept apart by, in the order of the columns.
    pub(super) fn names(self) -> Vec<&'static str> {
        let all = [
            (self.slot, "day"),
            (self.person, "person"),
            (self.key, "key"),
            (self.model, "model"),
            (self.kind, "kind"),
        ];
        all.into_iter().filter(|(is_one, _)| *is_one).map(|(_, name)| name).collect()
    }
}

/// What is summed up; a list that is absent selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// People's ids, or `system`.
    pub(crate) users: Option<Vec<String>>,
    /// Keys' ids.
    pub(crate) keys: Option<Vec<String>>,
    /// Names of models.
    pub(crate) models: Option<Vec<String>>,
    /// Purposes.
    pub(crate) kinds: Option<Vec<String>>,
}

/// The sum of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    /// The day or the hour, where they are kept apart by it; so the next.
    pub(crate) slot: Option<i64>,
    /// The person's id, or `system`.
    pub(crate) user: Option<String>,
    /// The key's id; empty: no key.
    pub(crate) key: Option<String>,
    /// The model.
    pub(crate) model: Option<String>,
    /// The purpose.
    pub(crate) kind: Option<String>,
    /// The last digits of a key that is still there.
    pub(crate) key_hint: Option<String>,
    /// Exchanges.
    pub(crate) requests: u64,
    /// Their tokens.
    pub(crate) tokens: Tokens,
    /// What they cost.
    pub(crate) cost: Cost,
}

/// What somebody wants to know, as they wrote it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// The first day (UTC), such as `2026-01-31`; where absent, 30 days back.
    pub(crate) from: Option<String>,
    /// The last day; where absent, today.
    pub(crate) to: Option<String>,
    /// `person`, `key`, `model`, `kind`, `day`, or several with commas between; where absent, one sum.
    pub(crate) group_by: Option<String>,
    /// One person's id, or `system`.
    pub(crate) person: Option<String>,
    /// One key's id.
    pub(crate) key: Option<String>,
    /// One model.
    pub(crate) model: Option<String>,
    /// `json` (where absent) or `csv`.
    pub(crate) format: Option<String>,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// As an object.
    Json,
    /// As a table, for spreadsheets.
    Csv,
}

impl Format {
    /// The name, as the audit log writes it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}

/// What was asked for, understood.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The days.
    pub(crate) span: Span,
    /// Of whom and what.
    pub(crate) selection: Selection,
    /// Kept apart by what.
    pub(crate) by: By,
    /// Written how.
    pub(crate) format: Format,
}

impl Asked {
    /// Understands it.
    pub(crate) fn read(&self, today: i64) -> Result<Question, UsageError> {
        const DAY: &str = "a day, such as 2026-01-31";
        let wrong = |parameter, expected| UsageError::Wrong { parameter, expected };
        let day = |parameter, text: &Option<String>, absent| match text {
            None => Ok(absent),
            Some(text) => parse_day(text).ok_or_else(|| wrong(parameter, DAY)),
        };
        let last = day("to", &self.to, today)?;
        let first = day("from", &self.from, last - (DAYS - 1))?;
        if first > last {
            return Err(wrong("from", "a day that is not after `to`"));
        }
        let format = match self.format.as_deref() {
            None | Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            Some(_) => return Err(wrong("format", "`json` or `csv`")),
        };
        let is_person = |id: &String| id == SYSTEM || UserId::parse(id).is_ok();
        if self.person.as_ref().is_some_and(|id| !is_person(id)) {
            return Err(wrong("person", "the id of a person (usr_…), or `system`"));
        }
        if self.key.as_ref().is_some_and(|id| KeyId::parse(id).is_err()) {
            return Err(wrong("key", "the id of a key (key_…)"));
        }
        let only = |text: &Option<String>| text.clone().map(|text| vec![text]);
        let selection = Selection {
            users: only(&self.person),
            keys: only(&self.key),
            models: only(&self.model),
            kinds: None,
        };
        let span = Span { width: Width::Day, first, end: last + 1 };
        Ok(Question { span, selection, by: self.group_by()?, format })
    }

    fn group_by(&self) -> Result<By, UsageError> {
        let mut by = By::default();
        for name in self.group_by.iter().flat_map(|names| names.split(',')) {
            match name {
                "person" => by.person = true,
                // A key is somebody's, and what came without one is of several people.
                "key" => (by.person, by.key) = (true, true),
                "model" => by.model = true,
                "kind" => by.kind = true,
                "day" => by.slot = true,
                _ => {
                    let expected =
                        "`person`, `key`, `model`, `kind`, `day`, or several with commas between";
                    return Err(UsageError::Wrong { parameter: "group_by", expected });
                }
            }
        }
        Ok(by)
    }
}

/// Who used which models how much.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Report {
    /// The first day (UTC).
    pub(crate) from: String,
    /// The last day.
    pub(crate) to: String,
    /// What rows are kept apart by: `day`, `person`, `key`, `model`, `kind`.
    pub(crate) group_by: Vec<String>,
    /// The currency of the costs.
    pub(crate) currency: String,
    /// Whether any model has a price in the configuration in force.
    pub(crate) has_prices: bool,
    /// One for each group in which there was any use.
    pub(crate) rows: Vec<ReportRow>,
    /// Of all of them.
    pub(crate) total: Figures,
}

/// What one group used.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReportRow {
    /// The day, where rows are kept apart by it; so the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) day: Option<String>,
    /// The person's id; `system`: the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) person_id: Option<String>,
    /// Their name, as long as they are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) person: Option<String>,
    /// The key's id; absent where no key was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_id: Option<String>,
    /// The last digits of the key, as long as it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key_hint: Option<String>,
    /// The model's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// What it was for: `chat`, `api`, `embeddings`, `rerank`, `moderation`, `tokens`, `evaluation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// What was used.
    pub(crate) used: Figures,
}

/// How much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Figures {
    /// Requests that were begun, whatever came of them.
    pub(crate) requests: u64,
    /// Tokens of prompts and texts.
    pub(crate) input_tokens: u64,
    /// Of these, those that were in the cache.
    pub(crate) cached_tokens: u64,
    /// Tokens of answers.
    pub(crate) output_tokens: u64,
    /// What they cost, at the prices of the moment at which each ended: an exact decimal number.
    pub(crate) cost: String,
}

impl Figures {
    fn of(sum: &Sum) -> Self {
        Self {
            requests: sum.requests,
            input_tokens: sum.tokens.input,
            cached_tokens: sum.tokens.cached,
            output_tokens: sum.tokens.output,
            cost: sum.cost.to_string(),
        }
    }

    /// As they stand in a table.
    pub(crate) fn cells(&self) -> [String; 5] {
        [
            self.requests.to_string(),
            self.input_tokens.to_string(),
            self.cached_tokens.to_string(),
            self.output_tokens.to_string(),
            self.cost.clone(),
        ]
    }
}

/// What a report says beside its sums.
pub(super) struct About {
    pub(super) currency: String,
    pub(super) has_prices: bool,
}

impl Report {
    /// Puts the sums that answer a question into words.
    pub(super) fn new(
        question: &Question,
        sums: Vec<Sum>,
        about: About,
        name: impl Fn(UserId) -> Option<String>,
    ) -> Self {
        let mut total = Sum::nothing();
        for sum in &sums {
            total.add(sum);
        }
        Self {
            from: day_text(question.span.first),
            to: day_text(question.span.end - 1),
            group_by: question.by.names().into_iter().map(str::to_owned).collect(),
            currency: about.currency,
            has_prices: about.has_prices,
            rows: sums.into_iter().map(|sum| row(sum, &name)).collect(),
            total: Figures::of(&total),
        }
    }

    /// As a table. No cell is taken for a formula by a spreadsheet.
    pub(crate) fn csv(&self) -> Result<Vec<u8>, UsageError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let groups = |mark: &str| -> &'static [&'static str] {
            match mark {
                "day" => &["day"],
                "person" => &["person_id", "person"],
                "key" => &["key_id", "key_hint"],
                "model" => &["model"],
                _ => &["kind"],
            }
        };
        let head = self.group_by.iter().flat_map(|mark| groups(mark)).copied();
        let figures =
            ["requests", "input_tokens", "cached_tokens", "output_tokens", "cost", "currency"];
        let failed = |_| UsageError::Unwritable;
        writer.write_record(head.chain(figures)).map_err(failed)?;
        for row in &self.rows {
            let cells = self.group_by.iter().flat_map(|mark| row.cells(mark));
            let figures = row.used.cells().into_iter().chain([self.currency.clone()]);
            writer.write_record(cells.chain(figures).map(harmless)).map_err(failed)?;
        }
        writer.into_inner().map_err(|_| UsageError::Unwritable)
    }
}

impl ReportRow {
    fn cells(&self, mark: &str) -> Vec<String> {
        let cells = match mark {
            "day" => vec![&self.day],
            "person" => vec![&self.person_id, &self.person],
            "key" => vec![&self.key_id, &self.key_hint],
            "model" => vec![&self.model],
            _ => vec![&self.kind],
        };
        cells.into_iter().map(|cell| cell.clone().unwrap_or_default()).collect()
    }
}

impl Sum {
    fn nothing() -> Self {
        Self {
            slot: None,
            user: None,
            key: None,
            model: None,
            kind: None,
            key_hint: None,
            requests: 0,
            tokens: Tokens::default(),
            cost: Cost::default(),
        }
    }

    fn add(&mut self, other: &Self) {
        let (sum, one) = (&mut self.tokens, other.tokens);
        self.requests = self.requests.saturating_add(other.requests);
        sum.input = sum.input.saturating_add(one.input);
        sum.cached = sum.cached.saturating_add(one.cached);
        sum.output = sum.output.saturating_add(one.output);
        self.cost += other.cost;
    }
}

fn row(sum: Sum, name: impl Fn(UserId) -> Option<String>) -> ReportRow {
    let user = sum.user.as_deref().and_then(|id| UserId::parse(id).ok());
    ReportRow {
        used: Figures::of(&sum),
        day: sum.slot.map(day_text),
        person: user.and_then(name),
        person_id: sum.user,
        key_id: sum.key.filter(|key| !key.is_empty()),
        key_hint: sum.key_hint,
        model: sum.model,
        kind: sum.kind,
    }
}

#[cfg(test)]
mod tests;
