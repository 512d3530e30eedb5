//! Who used which model how much, and what it cost: sums by day and hour, kept by ids alone. Knows no
//! text and no exchange; the gate enters each one when it ends, in the transaction of its record.

pub(crate) mod api;
mod cost;
mod ledger;
mod report;
mod span;
mod store;

use std::sync::Arc;

#[cfg(test)]
pub(crate) use cost::Cost;
pub(crate) use cost::Tokens;
pub(crate) use ledger::{Entry, Ledger, SYSTEM, User};
pub(crate) use report::{Asked, By, Format, LISTED_MAX, Report, Selection, Sum};
pub(crate) use span::{Span, Width};
pub(crate) use store::HOURS_DAYS;

use report::{About, Question};

use crate::access::authenticate::{audit_error, db_error};
use crate::access::permission::ReadUsage;
use crate::access::{Caller, Grant, Registry, SignedIn};
use crate::audit::{Action, Actor, AuditError, AuditLog, Event, Outcome};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Connection, Db, DbError, Transaction};
use crate::web::{ApiError, ErrorCode};

/// Groups of one report.
const ROWS_MAX: usize = 10_000;

/// What can go wrong with a report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// A parameter is not understood.
    #[error("`{parameter}` has a value that is not accepted: expected {expected}.")]
    Wrong {
        /// Which.
        parameter: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// There is too much for one report.
    #[error("This report has more than {ROWS_MAX} rows. Ask for fewer days, or for fewer groups.")]
    TooMany,
    /// A table cannot be written.
    #[error("the table could not be written")]
    Unwritable,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The audit log failed.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl From<UsageError> for ApiError {
    fn from(error: UsageError) -> Self {
        let said = error.to_string();
        let wrong = Self::new(ErrorCode::InvalidValue).message(said.clone());
        match error {
            UsageError::Wrong { parameter, .. } => wrong.param(parameter),
            UsageError::TooMany => wrong,
            UsageError::Unwritable => Self::new(ErrorCode::Internal).because(said),
            UsageError::Db(error) => db_error(&error),
            UsageError::Audit(error) => audit_error(&error),
        }
    }
}

/// What reports are made from. A handle.
#[derive(Clone)]
pub(crate) struct Reports {
    db: Db,
    audit: AuditLog,
    clock: Clock,
    registry: Arc<Registry>,
    currency: String,
    has_prices: bool,
    days_kept: i64,
}

impl Reports {
    /// Over the database, the record and who there is.
    pub(crate) fn new(
        (db, audit): (&Db, &AuditLog),
        clock: &Clock,
        registry: &Arc<Registry>,
        settings: &Settings,
    ) -> Self {
        Self {
            db: db.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            registry: Arc::clone(registry),
            currency: settings.usage.currency.clone(),
            has_prices: !settings.models.prices.is_empty(),
            days_kept: settings.usage.days_kept.into(),
        }
    }

    /// The currency of all costs.
    pub(crate) fn currency(&self) -> &str {
        &self.currency
    }

    /// A report of everybody's use. On record before anything is read.
    pub(crate) async fn report(
        &self,
        grant: &Grant<ReadUsage>,
        asked: &Asked,
    ) -> Result<(Report, Format), UsageError> {
        let question = asked.read(self.today())?;
        self.audit.record(read_by(grant.caller(), &question)).await?;
        self.answer(question).await
    }

    /// A report of the caller's own use.
    pub(crate) async fn own(
        &self,
        signed_in: &SignedIn,
        asked: &Asked,
    ) -> Result<(Report, Format), UsageError> {
        let mut question = asked.read(self.today())?;
        question.selection.users = Some(vec![signed_in.caller().user.to_string()]);
        self.answer(question).await
    }

    /// The first, for the operator at the console. Blocks.
    pub(crate) fn at_console(&self, asked: &Asked) -> Result<(Report, Format), UsageError> {
        let question = asked.read(self.today())?;
        let event = Event::new(Action::UsageRead, Outcome::Done, Actor::System);
        self.audit.record_blocking(told(event, &question))?;
        let sums = self.db.read_blocking(sums_of(&question))?;
        Ok((self.put(&question, sums)?, question.format))
    }

    /// Sums of everybody's use, for a form of somebody else's. On record before anything is read.
    pub(crate) async fn sums(
        &self,
        grant: &Grant<ReadUsage>,
        what: &'static str,
        (span, selection, by): (Span, Selection, By),
    ) -> Result<Vec<Sum>, UsageError> {
        let question = Question { span, selection, by, format: Format::Json };
        let event = read_by(grant.caller(), &question).subject(what);
        self.audit.record(event).await?;
        few(self.db.read(sums_of(&question)).await?)
    }

    /// Deletes what is older than it is kept for, a little at a time; says how many rows.
    pub(crate) async fn expire(&self) -> Result<usize, DbError> {
        let (today, days) = (self.today(), self.days_kept);
        self.db.write(move |tx: &Transaction<'_>| store::expire(tx, today, days)).await
    }

    fn today(&self) -> i64 {
        Width::Day.slot(self.clock.now().seconds())
    }

    async fn answer(&self, question: Question) -> Result<(Report, Format), UsageError> {
        let sums = self.db.read(sums_of(&question)).await?;
        Ok((self.put(&question, sums)?, question.format))
    }

    fn put(&self, question: &Question, sums: Vec<Sum>) -> Result<Report, UsageError> {
        let about = About { currency: self.currency.clone(), has_prices: self.has_prices };
        let name = |user| self.registry.person(user).map(|person| person.username);
        Ok(Report::new(question, few(sums)?, about, name))
    }
}

/// Reads one more than may be, so that it is seen where there are more.
fn sums_of(
    question: &Question,
) -> impl FnOnce(&Connection) -> Result<Vec<Sum>, DbError> + Send + use<> {
    let (span, selection, by) = (question.span, question.selection.clone(), question.by);
    move |db| store::sums(db, span, &selection, by, ROWS_MAX + 1)
}

fn few(sums: Vec<Sum>) -> Result<Vec<Sum>, UsageError> {
    if sums.len() > ROWS_MAX { Err(UsageError::TooMany) } else { Ok(sums) }
}

fn read_by(caller: &Caller, question: &Question) -> Event {
    let event = Event::new(Action::UsageRead, Outcome::Done, caller.actor())
        .from_request(caller.address, caller.request);
    told(event, question)
}

/// The event with what was asked for.
fn told(event: Event, question: &Question) -> Event {
    let seconds = question.span.width.seconds();
    let day = |slot: i64| span::day_text(Width::Day.slot(slot.saturating_mul(seconds)));
    event
        .with("from", day(question.span.first))
        .with("to", day(question.span.end - 1))
        .with("group_by", question.by.names())
        .with("people", question.selection.users.clone())
        .with("keys", question.selection.keys.clone())
        .with("models", question.selection.models.clone())
        .with("format", question.format.name())
}
