//! Where a caller stands against their limits, as clients are told: in headers, in refusals, and on
//! the person's own page.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::Gate;
use super::catalog::Model;
use crate::access::Caller;
use crate::limits::{
    GroupUsage, Meter, Refusal, Standing, Subject, SubjectKey, Usage, Which, Whose,
};
use crate::web::{ApiError, ErrorCode};

/// Whose limits count.
pub(super) fn subject(caller: &Caller) -> Subject {
    let key = caller.key().map(|key| SubjectKey { id: key.id, limits: key.limits });
    Subject { user: caller.user, key, roles: caller.roles.clone() }
}

/// A limit that stands in the way, as clients see it: the code that they know for its kind, whose it
/// is, and what to do.
pub(super) fn limited(refusal: &Refusal) -> ApiError {
    let Refusal { which, limit, .. } = *refusal;
    let Some(wait) = refusal.retry_after else {
        return ApiError::new(ErrorCode::RequestExceedsLimit).message(format!(
            "This request may take more tokens (prompt and longest answer) than your limit of {limit} allows at all, so waiting does not help. Lower max_tokens or shorten the prompt."
        ));
    };
    let code = match which {
        Which::Requests => ErrorCode::TooManyRequests,
        Which::Tokens => ErrorCode::TooManyTokens,
        Which::DayRequests | Which::DayTokens | Which::MonthRequests | Which::MonthTokens => {
            ErrorCode::BudgetExhausted
        }
        Which::Concurrent => ErrorCode::TooManyConcurrent,
    };
    ApiError::new(code).message(words(refusal)).retry_after(wait)
}

fn words(refusal: &Refusal) -> String {
    let Refusal { which, whose, limit, remaining, .. } = *refusal;
    let whose = match whose {
        Whose::Person => "Your limit",
        Whose::Key => "This key's limit",
        Whose::Group(_) => "Your group's limit",
        Whose::Model => "Your limit for this model",
    };
    let takes =
        "fewer than this request may take (prompt and longest answer). Lower max_tokens, or wait";
    match (which, remaining) {
        (Which::Requests, _) => {
            format!("{whose} of {limit} requests a minute is reached. Wait, then try again.")
        }
        (Which::Tokens, left) => {
            format!("{whose} of {limit} tokens a minute has {left} left, {takes}.")
        }
        (Which::DayRequests, _) => {
            format!("{whose} of {limit} requests a day is used up until midnight UTC.")
        }
        (Which::MonthRequests, _) => {
            format!("{whose} of {limit} requests a month is used up until the month ends (UTC).")
        }
        (Which::DayTokens, 0) => {
            format!("{whose} of {limit} tokens a day is used up until midnight UTC.")
        }
        (Which::MonthTokens, 0) => {
            format!("{whose} of {limit} tokens a month is used up until the month ends (UTC).")
        }
        (Which::DayTokens, left) => {
            format!("{whose} of {limit} tokens a day has {left} left, {takes} until midnight UTC.")
        }
        (Which::MonthTokens, left) => format!(
            "{whose} of {limit} tokens a month has {left} left, {takes} until the month ends (UTC)."
        ),
        (Which::Concurrent, _) => {
            format!(
                "{whose} of {limit} requests at the same time is reached. Wait until one has ended."
            )
        }
    }
}

/// Whose clients read the headers of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Those of OpenAI.
    OpenAi,
    /// Those of Anthropic. They get both: whatever stands between them and here may read the others.
    Anthropic,
}

impl Dialect {
    /// That of the clients of a path.
    pub(crate) fn of(path: &str) -> Self {
        if crate::web::anthropic::is_theirs(path) { Self::Anthropic } else { Self::OpenAi }
    }

    /// The headers in which its clients are told where they stand.
    pub(crate) fn names(self) -> Vec<&'static str> {
        let mut names = [REQUESTS, TOKENS].concat();
        if self == Self::Anthropic {
            names.extend([ANTHROPIC_REQUESTS, ANTHROPIC_TOKENS].concat());
        }
        names
    }
}

/// Names of headers: limit, remaining, reset.
type Names = [&'static str; 3];

const REQUESTS: Names =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS: Names =
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
const ANTHROPIC_REQUESTS: Names = [
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
];
const ANTHROPIC_TOKENS: Names = [
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
];

impl Gate {
    /// Where the caller stands against their limits, and against those of a model.
    fn standing(&self, caller: &Caller, model: Option<&Model>) -> Standing {
        let of_model = model.map(|model| (&*model.name, &model.person_limits));
        self.inner.parts.limits.standing(&subject(caller), of_model)
    }

    /// What the caller has used of their own limits.
    pub(crate) fn usage(&self, caller: &Caller) -> Usage {
        self.inner.parts.limits.usage(caller.user, &caller.roles)
    }

    /// Where the caller stands, with a model that they asked, as headers: name and value.
    pub(crate) fn limit_headers(
        &self,
        caller: &Caller,
        model: Option<&Model>,
        dialect: Dialect,
    ) -> Vec<(&'static str, String)> {
        let standing = self.standing(caller, model);
        let mut headers = Vec::with_capacity(12);
        let mut add = |names: Names, meter: Meter, reset: String| {
            if let (Some(limit), Some(remaining)) = (meter.limit, meter.remaining()) {
                headers.push((names[0], limit.to_string()));
                headers.push((names[1], remaining.to_string()));
                headers.push((names[2], reset));
            }
        };
        add(REQUESTS, standing.requests, span(standing.requests.reset));
        add(TOKENS, standing.tokens, span(standing.tokens.reset));
        if dialect == Dialect::Anthropic {
            let now = self.inner.parts.clock.now();
            let moment = |meter: Meter| now.plus(meter.reset).rfc3339();
            add(ANTHROPIC_REQUESTS, standing.requests, moment(standing.requests));
            add(ANTHROPIC_TOKENS, standing.tokens, moment(standing.tokens));
        }
        headers
    }

    /// What the caller has used of their own limits and of those of their groups, for their own page.
    pub(crate) fn usage_view(&self, caller: &Caller) -> UsageJson {
        let Usage { tokens_day, tokens_month, tokens_minute, requests_day, requests_month } =
            self.usage(caller);
        let groups = self.inner.parts.limits.usage_of_groups(caller.user);
        UsageJson { tokens_day, tokens_month, tokens_minute, requests_day, requests_month, groups }
    }
}

/// What somebody has used of their limits.
#[derive(Serialize, JsonSchema)]
pub(crate) struct UsageJson {
    /// Of this day (UTC), those of running requests reserved.
    tokens_day: Meter,
    /// Of this month (UTC), the same.
    tokens_month: Meter,
    tokens_minute: Meter,
    requests_day: Meter,
    requests_month: Meter,
    /// What the members of each of the person's groups have used together.
    groups: Vec<GroupUsage>,
}

/// A span of time in the manner of these headers: `6m0s`, `1.5s`, `20ms`.
fn span(duration: Duration) -> String {
    let ms = duration.as_millis();
    let (minutes, rest) = (ms / 60_000, ms % 60_000);
    let seconds = rest as f64 / 1000.0;
    match (minutes, ms) {
        (_, 0..1_000) => format!("{ms}ms"),
        (0, _) => format!("{seconds}s"),
        _ => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GroupId;

    #[test]
    fn every_limit_is_told_by_its_kind_and_by_whose_it_is() {
        let told = |which, whose, remaining| {
            let retry_after = Some(Duration::from_mins(1));
            let refusal = Refusal { which, whose, limit: 7, remaining, retry_after };
            let error = limited(&refusal);
            assert_eq!(error.wait(), retry_after);
            (error.code(), error.asks_again(), error.to_string())
        };
        let group = Whose::Group(GroupId::new());
        for (which, whose, code, words) in [
            (
                Which::Requests,
                Whose::Person,
                ErrorCode::TooManyRequests,
                "Your limit of 7 requests a minute",
            ),
            (
                Which::Tokens,
                Whose::Key,
                ErrorCode::TooManyTokens,
                "This key's limit of 7 tokens a minute",
            ),
            (
                Which::DayRequests,
                Whose::Model,
                ErrorCode::BudgetExhausted,
                "Your limit for this model of 7 requests a day",
            ),
            (
                Which::DayTokens,
                Whose::Person,
                ErrorCode::BudgetExhausted,
                "Your limit of 7 tokens a day",
            ),
            (Which::MonthRequests, Whose::Key, ErrorCode::BudgetExhausted, "7 requests a month"),
            (
                Which::MonthTokens,
                group,
                ErrorCode::BudgetExhausted,
                "Your group's limit of 7 tokens a month",
            ),
            (Which::Concurrent, group, ErrorCode::TooManyConcurrent, "7 requests at the same time"),
        ] {
            for remaining in [0, 3] {
                let (told, asks_again, said) = told(which, whose, remaining);
                assert_eq!((told, asks_again), (code, code != ErrorCode::BudgetExhausted));
                assert!(said.contains(words), "{said}");
            }
        }
        let (_, _, said) = told(Which::MonthTokens, Whose::Person, 3);
        assert!(said.contains("has 3 left") && said.contains("max_tokens"), "{said}");
    }

    #[test]
    fn spans_are_written_as_clients_read_them() {
        for (ms, text) in
            [(0, "0ms"), (20, "20ms"), (1_500, "1.5s"), (60_000, "1m0s"), (360_250, "6m0.25s")]
        {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }
}
