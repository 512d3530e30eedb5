//! The rules: what an event of the audit log adds to what is counted, and when that is an alert.
//! They go by the log's own order and times; nothing here reads a clock.

use std::net::IpAddr;

use rusqlite::Transaction;
use serde_json::Value;

use super::store;
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::db::DbError;
use crate::ids::{AlertId, UserId};

/// What a source is called that stands for all of them.
pub(super) const EVERYWHERE: &str = "server";
/// Failures everywhere raise an alert at this many times those of one source.
const EVERYWHERE_FACTOR: u64 = 5;
/// Tokens an hour below which nobody's use is unusual.
const USUAL_TOKENS_MIN: u64 = 20_000;
const HOUR_MS: i64 = 3_600_000;

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Many failed sign-ins within a quarter of an hour.
    FailedSignIns,
    /// A sign-in after many failed ones.
    SuccessAfterFailures,
    /// Far more tokens in an hour than is usual for the person.
    UnusualVolume,
    /// A good API key of the person came from outside of its networks.
    KeyElsewhere,
}

impl Rule {
    const ALL: [Self; 4] =
        [Self::FailedSignIns, Self::SuccessAfterFailures, Self::UnusualVolume, Self::KeyElsewhere];

    /// The name, as the API, the database and the audit log write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FailedSignIns => "failed_sign_ins",
            Self::SuccessAfterFailures => "success_after_failures",
            Self::UnusualVolume => "unusual_volume",
            Self::KeyElsewhere => "key_elsewhere",
        }
    }

    /// Reads a name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// How soon a person should look: `high` or `medium`.
    pub(crate) const fn severity(self) -> &'static str {
        match self {
            Self::SuccessAfterFailures | Self::KeyElsewhere => "high",
            Self::FailedSignIns | Self::UnusualVolume => "medium",
        }
    }

    /// What the events behind an alert about this source are counted under; none where no events are.
    pub(super) fn counter(self, source: &str) -> Option<String> {
        match self {
            Self::FailedSignIns | Self::SuccessAfterFailures => Some(source.to_owned()),
            // Not with the person's failed sign-ins.
            Self::KeyElsewhere => Some(format!("keys of {source}")),
            Self::UnusualVolume => None,
        }
    }
}

/// Where the rules draw the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// Failed sign-ins of one account or address within a quarter of an hour.
    pub(crate) failed_sign_ins: u64,
    /// Times the usual hour.
    pub(crate) volume_factor: u64,
}

/// An event, as far as the rules look at it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) action: String,
    pub(super) outcome: String,
    pub(super) actor: String,
    pub(super) subject: Option<String>,
    pub(super) body: Vec<u8>,
}

/// An alert that was just raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raised {
    pub(super) id: AlertId,
    pub(super) rule: Rule,
    pub(super) source: String,
    pub(super) seen: u64,
}

/// Hours since the epoch.
pub(super) fn hour(at: Timestamp) -> i64 {
    at.ms().div_euclid(HOUR_MS)
}

/// Takes one event in; gives the alerts that it raises.
pub(super) fn take(
    tx: &Transaction<'_>,
    sample: &Sample,
    thresholds: Thresholds,
) -> Result<Vec<Raised>, DbError> {
    let is = |action: Action| sample.action == action.name();
    match sample.outcome.as_str() {
        "denied" if is(Action::SessionCreate) => failed_sign_in(tx, sample, thresholds),
        "done" if is(Action::SessionCreate) => sign_in(tx, sample, thresholds),
        "denied" if is(Action::KeyRefuse) => key_elsewhere(tx, sample),
        _ if is(Action::GenerationEnd) => used(tx, sample, thresholds),
        _ => Ok(Vec::new()),
    }
}

fn failed_sign_in(
    tx: &Transaction<'_>,
    sample: &Sample,
    thresholds: Thresholds,
) -> Result<Vec<Raised>, DbError> {
    let mut raised = Vec::new();
    let account = sample.subject.clone();
    let sources = [account, sample.address(), Some(EVERYWHERE.to_owned())];
    for source in sources.into_iter().flatten() {
        store::add_failure(tx, &source, sample.seq, sample.at)?;
        let limit = match source.as_str() {
            EVERYWHERE => thresholds.failed_sign_ins.saturating_mul(EVERYWHERE_FACTOR),
            _ => thresholds.failed_sign_ins,
        };
        let count = store::failures(tx, &source, sample.at)?;
        if count >= limit.max(1) {
            raised.extend(raise(tx, Rule::FailedSignIns, source, count, sample.at)?);
        }
    }
    Ok(raised)
}

fn sign_in(
    tx: &Transaction<'_>,
    sample: &Sample,
    thresholds: Thresholds,
) -> Result<Vec<Raised>, DbError> {
    let Some(user) = sample.user() else { return Ok(Vec::new()) };
    let account = user.to_string();
    let mut count = store::failures(tx, &account, sample.at)?;
    if let Some(address) = sample.address() {
        count = count.max(store::failures(tx, &address, sample.at)?);
    }
    if count < thresholds.failed_sign_ins.max(1) {
        return Ok(Vec::new());
    }
    Ok(raise(tx, Rule::SuccessAfterFailures, account, count, sample.at)?.into_iter().collect())
}

fn used(
    tx: &Transaction<'_>,
    sample: &Sample,
    thresholds: Thresholds,
) -> Result<Vec<Raised>, DbError> {
    let Some(user) = sample.user() else { return Ok(Vec::new()) };
    let tokens = sample.tokens();
    if tokens == 0 {
        return Ok(Vec::new());
    }
    let (sum, usual) = store::add_tokens(tx, user, hour(sample.at), tokens)?;
    let limit = usual.max(USUAL_TOKENS_MIN).saturating_mul(thresholds.volume_factor.max(1));
    let source = user.to_string();
    let begun = Timestamp::from_ms(hour(sample.at).saturating_mul(HOUR_MS));
    if sum <= limit || store::has_alert_since(tx, Rule::UnusualVolume, &source, begun)? {
        return Ok(Vec::new());
    }
    Ok(raise(tx, Rule::UnusualVolume, source, sum, sample.at)?.into_iter().collect())
}

/// The first one is an alert: whoever has the key has it from somewhere. By person, of whom one alert is
/// open at most: many keys of theirs crowd out nobody else's.
fn key_elsewhere(tx: &Transaction<'_>, sample: &Sample) -> Result<Vec<Raised>, DbError> {
    let rule = Rule::KeyElsewhere;
    let Some(source) = sample.user().map(|user| user.to_string()) else { return Ok(Vec::new()) };
    let Some(counter) = rule.counter(&source) else { return Ok(Vec::new()) };
    store::add_failure(tx, &counter, sample.seq, sample.at)?;
    let count = store::failures(tx, &counter, sample.at)?;
    Ok(raise(tx, rule, source, count, sample.at)?.into_iter().collect())
}

fn raise(
    tx: &Transaction<'_>,
    rule: Rule,
    source: String,
    seen: u64,
    at: Timestamp,
) -> Result<Option<Raised>, DbError> {
    let id = store::raise(tx, rule, &source, seen, at)?;
    Ok(id.map(|id| Raised { id, rule, source, seen }))
}

impl Sample {
    fn field(&self, name: &str) -> Value {
        let body = serde_json::from_slice::<Value>(&self.body).ok();
        body.and_then(|mut body| body.get_mut(name).map(Value::take)).unwrap_or(Value::Null)
    }

    /// The person who did it, by whatever door.
    fn user(&self) -> Option<UserId> {
        UserId::parse(self.actor.split('/').next().unwrap_or_default()).ok()
    }

    /// Where it came from. Where addresses are handed out by the network, the network counts.
    fn address(&self) -> Option<String> {
        match self.field("address").as_str()?.parse().ok()? {
            IpAddr::V4(four) => Some(four.to_string()),
            IpAddr::V6(six) => {
                let [a, b, c, d, ..] = six.segments();
                Some(format!("{a:x}:{b:x}:{c:x}:{d:x}::/64"))
            }
        }
    }

    fn tokens(&self) -> u64 {
        let detail = self.field("detail");
        let count = |name: &str| detail[name].as_u64().unwrap_or(0);
        count("prompt_tokens").saturating_add(count("completion_tokens"))
    }
}
