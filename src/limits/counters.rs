//! The arithmetic of limits: whole numbers, no clock of its own, no storage.

use std::collections::BTreeMap;
use std::time::Duration;

use super::calendar::{Counted, Period, Span};
use crate::clock::{Clock, Timestamp};
use crate::config::{LIMIT_MAX, LimitSet};

/// Parts that one unit is counted in. A limit of `n` a minute gives back `n` parts a millisecond,
/// so nothing is ever rounded.
const PARTS: u64 = 60_000;

/// A leaking account of what was used within about the last minute. It never holds more than one
/// minute's worth for long: it empties at the rate of the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Minute {
    /// What was used and has not leaked out yet, in parts.
    pub(super) spent: u64,
    /// When `spent` was right.
    pub(super) at_ms: i64,
    /// What was ever taken since the start and not given back, in parts. With `spent` it says how far
    /// the account has emptied: what was taken first leaks out first.
    pub(super) taken: u64,
}

impl Minute {
    /// Lets leak what the time since the last look allows. Time that stands still or runs back
    /// gives nothing.
    /// `now` is a moment of the steady clock.
    pub(super) fn leak(&mut self, now: Timestamp, limit: Option<u64>) {
        let elapsed = u64::try_from(now.ms().saturating_sub(self.at_ms)).unwrap_or(0);
        // Without a limit the use is still shown, so it leaks within a minute.
        let gone = limit.map_or(self.spent.saturating_mul(elapsed) / PARTS, |each| {
            each.saturating_mul(elapsed)
        });
        self.spent = self.spent.saturating_sub(gone);
        self.at_ms = self.at_ms.max(now.ms());
    }

    pub(super) fn take(&mut self, units: u64) {
        let parts = units.saturating_mul(PARTS);
        self.spent = self.spent.saturating_add(parts);
        self.taken = self.taken.saturating_add(parts);
    }

    /// Gives back up to `units` of the `taken` that were taken last when `taken` stood at `mark`;
    /// says how many parts it were. What has leaked out already is not there to be given back: it
    /// would be somebody else's.
    fn give_back(&mut self, units: u64, taken: u64, mark: u64) -> u64 {
        let emptied_to = self.taken.saturating_sub(self.spent);
        let left = mark.saturating_sub(emptied_to).min(taken.saturating_mul(PARTS));
        let given = units.saturating_mul(PARTS).min(left);
        self.spent = self.spent.saturating_sub(given);
        // What stands above moves down by as much, so that what leaked is not what was given back.
        self.taken = self.taken.saturating_sub(given);
        given
    }

    /// Whole units used; a part of one counts as one.
    pub(super) fn used(self) -> u64 {
        self.spent.div_ceil(PARTS)
    }

    pub(super) fn remaining(self, limit: u64) -> u64 {
        limit.saturating_sub(self.used())
    }

    /// How long until `units` more fit; `None` where they never will.
    pub(super) fn wait_for(self, units: u64, limit: u64) -> Option<Duration> {
        let room = limit.checked_sub(units)?.saturating_mul(PARTS);
        let over = self.spent.saturating_sub(room);
        Some(Duration::from_millis(over.div_ceil(limit.max(1))))
    }

    /// How long until nothing counts any more.
    pub(super) fn reset(self, limit: u64) -> Duration {
        Duration::from_millis(self.spent.div_ceil(limit.max(1)))
    }
}

/// The present: by the clock that nobody sets, for what leaks, and as the calendar has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) steady: Timestamp,
    pub(super) date: Timestamp,
}

impl Now {
    pub(super) fn of(clock: &Clock) -> Self {
        Self { steady: clock.steady(), date: clock.now() }
    }
}

/// The accounts of one person, key or group, or of a person's use of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) requests: Minute,
    pub(super) tokens: Minute,
    pub(super) day: Period,
    pub(super) month: Period,
    pub(super) running: u32,
    /// Where the tokens of each reservation that is open end in `tokens`, in the order in which they
    /// were taken. At most one for each request that runs.
    open: BTreeMap<Ticket, u64>,
    next_ticket: u64,
}

/// By which an account knows the tokens of one reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// The tokens of a reservation, as they were taken from one account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) tokens: u64,
    on_day: Counted,
    in_month: Counted,
    pub(super) ticket: Ticket,
}

/// A limit that stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) which: Which,
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// `None`: waiting does not help.
    pub(super) wait: Option<Duration>,
}

impl Obstacle {
    /// How long it stands in the way: for ever where waiting does not help.
    pub(super) fn waiting(&self) -> Duration {
        self.wait.unwrap_or(Duration::MAX)
    }

    /// The same, which stands in the way until the next stretch of the calendar.
    fn until(self, span: Span, number: i64, now: Now) -> Self {
        Self { wait: self.wait.map(|_| span.until_next(number, now.date)), ..self }
    }
}

/// The kinds of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Requests a day.
    DayRequests,
    /// Tokens a day.
    DayTokens,
    /// Requests a month.
    MonthRequests,
    /// Tokens a month.
    MonthTokens,
    /// Generations at the same time.
    Concurrent,
}

impl Which {
    /// The name, as metrics and audit write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_minute",
            Self::Tokens => "tokens_per_minute",
            Self::DayRequests => "requests_per_day",
            Self::DayTokens => "tokens_per_day",
            Self::MonthRequests => "requests_per_month",
            Self::MonthTokens => "tokens_per_month",
            Self::Concurrent => "concurrent",
        }
    }
}

/// Limits with zero and absurd values taken as none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) requests: Option<u64>,
    pub(super) tokens: Option<u64>,
    pub(super) day_requests: Option<u64>,
    pub(super) day_tokens: Option<u64>,
    pub(super) month_requests: Option<u64>,
    pub(super) month_tokens: Option<u64>,
    pub(super) concurrent: Option<u64>,
}

impl Bounds {
    /// The tightest of several sets.
    pub(super) fn tightest<'a>(sets: impl IntoIterator<Item = &'a LimitSet>) -> Self {
        sets.into_iter().fold(Self::default(), |bounds, set| Self {
            requests: tighter(bounds.requests, set.requests_per_minute.map(u64::from)),
            tokens: tighter(bounds.tokens, set.tokens_per_minute),
            day_requests: tighter(bounds.day_requests, set.requests_per_day),
            day_tokens: tighter(bounds.day_tokens, set.tokens_per_day),
            month_requests: tighter(bounds.month_requests, set.requests_per_month),
            month_tokens: tighter(bounds.month_tokens, set.tokens_per_month),
            concurrent: tighter(bounds.concurrent, set.concurrent.map(u64::from)),
        })
    }
}

impl Bounds {
    /// The tokens that fit at best.
    pub(super) fn ceiling(&self) -> u64 {
        let all = [self.tokens, self.day_tokens, self.month_tokens];
        all.into_iter().flatten().min().unwrap_or(u64::MAX)
    }
}

fn tighter(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    let other = other.filter(|limit| (1..=LIMIT_MAX).contains(limit));
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Counters {
    /// Brings the accounts up to the present.
    pub(super) fn advance(&mut self, now: Now, bounds: &Bounds) {
        self.requests.leak(now.steady, bounds.requests);
        self.tokens.leak(now.steady, bounds.tokens);
        self.day.roll(Span::Day.number(now.date));
        self.month.roll(Span::Month.number(now.date));
    }

    /// The tokens that fit at this moment.
    pub(super) fn room(&self, bounds: &Bounds) -> u64 {
        let minute = bounds.tokens.map(|limit| self.tokens.remaining(limit));
        let day = bounds.day_tokens.map(|limit| limit.saturating_sub(self.day.tokens));
        let month = bounds.month_tokens.map(|limit| limit.saturating_sub(self.month.tokens));
        [minute, day, month].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Accounts as they were written down, with nothing running.
    pub(super) fn kept(requests: Minute, tokens: Minute) -> Self {
        Self { requests, tokens, ..Self::default() }
    }

    /// The limit that keeps one more request waiting longest, if any does: of requests, of those
    /// that run, or of tokens, of which it will need at least one.
    pub(super) fn obstacle_to_entry(&self, bounds: &Bounds, now: Now) -> Option<Obstacle> {
        let concurrent =
            bounds.concurrent.filter(|limit| u64::from(self.running) >= *limit).map(|limit| {
                Obstacle {
                    which: Which::Concurrent,
                    limit,
                    remaining: 0,
                    wait: Some(Duration::from_secs(1)),
                }
            });
        let requests = bounds.requests.and_then(|limit| {
            let wait = self.requests.wait_for(1, limit);
            (wait != Some(Duration::ZERO)).then(|| Obstacle {
                which: Which::Requests,
                limit,
                remaining: self.requests.remaining(limit),
                wait,
            })
        });
        let (day, month) = (&self.day, &self.month);
        let day = budget(Which::DayRequests, bounds.day_requests, day.requests, 1)
            .map(|over| over.until(Span::Day, day.number, now));
        let month = budget(Which::MonthRequests, bounds.month_requests, month.requests, 1)
            .map(|over| over.until(Span::Month, month.number, now));
        let tokens = self.obstacle_to_tokens(1, bounds, now);
        let all = [concurrent, requests, day, month, tokens];
        all.into_iter().flatten().max_by_key(Obstacle::waiting)
    }

    /// The limit that keeps so many tokens waiting longest, if any does.
    pub(super) fn obstacle_to_tokens(
        &self,
        tokens: u64,
        bounds: &Bounds,
        now: Now,
    ) -> Option<Obstacle> {
        let in_minute = bounds.tokens.and_then(|limit| {
            let wait = self.tokens.wait_for(tokens, limit);
            (wait != Some(Duration::ZERO)).then(|| Obstacle {
                which: Which::Tokens,
                limit,
                remaining: self.tokens.remaining(limit),
                wait,
            })
        });
        let (day, month) = (&self.day, &self.month);
        let in_day = budget(Which::DayTokens, bounds.day_tokens, day.tokens, tokens)
            .map(|over| over.until(Span::Day, day.number, now));
        let in_month = budget(Which::MonthTokens, bounds.month_tokens, month.tokens, tokens)
            .map(|over| over.until(Span::Month, month.number, now));
        [in_minute, in_day, in_month].into_iter().flatten().max_by_key(Obstacle::waiting)
    }

    /// Takes a request and a place among those that run.
    pub(super) fn enter(&mut self) {
        self.requests.take(1);
        self.day.enter();
        self.month.enter();
        self.running = self.running.saturating_add(1);
    }

    /// Takes tokens for a request that has entered.
    pub(super) fn take(&mut self, tokens: u64) -> Taken {
        self.tokens.take(tokens);
        let (on_day, in_month) = (self.day.take(tokens), self.month.take(tokens));
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.open.insert(ticket, self.tokens.taken);
        Taken { tokens, on_day, in_month, ticket }
    }

    /// Gives the place back.
    pub(super) fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Puts what was really used in the place of what was taken. Does nothing the second time.
    pub(super) fn settle(&mut self, taken: Taken, actual: u64) {
        let Some(mark) = self.open.remove(&taken.ticket) else { return };
        if actual >= taken.tokens {
            self.tokens.take(actual - taken.tokens);
        } else {
            let unused = taken.tokens - actual;
            let given = self.tokens.give_back(unused, taken.tokens, mark);
            for (_, later) in self.open.range_mut(taken.ticket..) {
                *later = later.saturating_sub(given);
            }
        }
        self.day.settle(taken.on_day, taken.tokens, actual);
        self.month.settle(taken.in_month, taken.tokens, actual);
    }

    /// Whether nothing is lost by forgetting these accounts.
    pub(super) fn is_idle(&self, now: Now) -> bool {
        self.running == 0
            && self.requests.spent == 0
            && self.tokens.spent == 0
            && self.day.is_idle(Span::Day.number(now.date))
            && self.month.is_idle(Span::Month.number(now.date))
    }
}

/// A budget that has no room for so many more. Where it never has, waiting does not help.
fn budget(which: Which, limit: Option<u64>, used: u64, units: u64) -> Option<Obstacle> {
    let limit = limit?;
    let remaining = limit.saturating_sub(used);
    let wait = (units <= limit).then_some(Duration::ZERO);
    (units > remaining).then_some(Obstacle { which, limit, remaining, wait })
}

#[cfg(test)]
mod tests;
