//! The arithmetic of limits: whole numbers, no clock of its own, no storage.

use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::config::LimitSet;

/// Parts that one unit is counted in. A limit of `n` a minute gives back `n` parts a millisecond,
/// so nothing is ever rounded.
const PARTS: u64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// The largest limit that is counted; beyond it a limit is none.
pub(super) const LIMIT_MAX: u64 = 1 << 40;

/// A leaking account of what was used within about the last minute. It never holds more than one
/// minute's worth for long: it empties at the rate of the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Minute {
    /// What was used and has not leaked out yet, in parts.
    pub(super) spent: u64,
    /// When `spent` was right.
    pub(super) at_ms: i64,
    /// What was ever taken since the start, in parts. With `spent` it says how far the account has
    /// emptied: what was taken first leaks out first.
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

    /// Gives back `units` of the `taken` that were taken last when `mark` was. What of them has
    /// leaked out already is not there to be given back: it would be somebody else's.
    pub(super) fn give_back(&mut self, units: u64, taken: u64, mark: u64) {
        let emptied_to = self.taken.saturating_sub(self.spent);
        let left = mark.saturating_sub(emptied_to).min(taken.saturating_mul(PARTS));
        self.spent = self.spent.saturating_sub(units.saturating_mul(PARTS).min(left));
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

/// What was used on one day (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Day {
    /// Days since the epoch.
    pub(super) number: i64,
    pub(super) requests: u64,
    pub(super) tokens: u64,
}

impl Day {
    /// The number of the day that a moment lies in.
    pub(super) fn of(now: Timestamp) -> i64 {
        now.ms().div_euclid(DAY_MS)
    }

    /// Begins a new day where one has begun. A clock set back begins none, and what was counted on
    /// a day that was not is counted on this one: nothing is given away, and nobody waits for a day
    /// that is far off.
    fn roll(&mut self, now: Timestamp) {
        let today = Self::of(now);
        if today > self.number {
            *self = Self { number: today, requests: 0, tokens: 0 };
        }
        self.number = today;
    }

    fn until_next(self, now: Timestamp) -> Duration {
        let end = self.number.saturating_add(1).saturating_mul(DAY_MS);
        Duration::from_millis(u64::try_from(end.saturating_sub(now.ms())).unwrap_or(0))
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

/// The accounts of one person or key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) requests: Minute,
    pub(super) tokens: Minute,
    pub(super) day: Day,
    pub(super) running: u32,
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

/// The kinds of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Tokens a day.
    DayTokens,
    /// Generations at the same time.
    Concurrent,
}

impl Which {
    /// The name, as metrics and audit write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_minute",
            Self::Tokens => "tokens_per_minute",
            Self::DayTokens => "tokens_per_day",
            Self::Concurrent => "concurrent",
        }
    }
}

/// Limits with zero and absurd values taken as none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) requests: Option<u64>,
    pub(super) tokens: Option<u64>,
    pub(super) day_tokens: Option<u64>,
    pub(super) concurrent: Option<u64>,
}

impl Bounds {
    /// The tightest of several sets.
    pub(super) fn tightest<'a>(sets: impl IntoIterator<Item = &'a LimitSet>) -> Self {
        sets.into_iter().fold(Self::default(), |bounds, set| Self {
            requests: tighter(bounds.requests, set.requests_per_minute.map(u64::from)),
            tokens: tighter(bounds.tokens, set.tokens_per_minute),
            day_tokens: tighter(bounds.day_tokens, set.tokens_per_day),
            concurrent: tighter(bounds.concurrent, set.concurrent.map(u64::from)),
        })
    }
}

impl Bounds {
    /// The tokens that fit at best.
    pub(super) fn ceiling(&self) -> u64 {
        self.tokens.into_iter().chain(self.day_tokens).min().unwrap_or(u64::MAX)
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
        self.day.roll(now.date);
    }

    /// The tokens that fit at this moment.
    pub(super) fn room(&self, bounds: &Bounds) -> u64 {
        let minute = bounds.tokens.map(|limit| self.tokens.remaining(limit));
        let day = bounds.day_tokens.map(|limit| limit.saturating_sub(self.day.tokens));
        minute.into_iter().chain(day).min().unwrap_or(u64::MAX)
    }

    /// The limit that keeps a request of so many tokens waiting longest, if any does.
    pub(super) fn obstacle(&self, tokens: u64, bounds: &Bounds, now: Now) -> Option<Obstacle> {
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
        let in_minute = bounds.tokens.and_then(|limit| {
            let wait = self.tokens.wait_for(tokens, limit);
            (wait != Some(Duration::ZERO)).then(|| Obstacle {
                which: Which::Tokens,
                limit,
                remaining: self.tokens.remaining(limit),
                wait,
            })
        });
        let in_day = bounds.day_tokens.and_then(|limit| {
            let remaining = limit.saturating_sub(self.day.tokens);
            (tokens > remaining).then(|| Obstacle {
                which: Which::DayTokens,
                limit,
                remaining,
                wait: (tokens <= limit).then(|| self.day.until_next(now.date)),
            })
        });
        [concurrent, requests, in_minute, in_day]
            .into_iter()
            .flatten()
            .max_by_key(|obstacle| obstacle.wait.unwrap_or(Duration::MAX))
    }

    /// Takes a request and so many tokens; gives the mark by which these are known later.
    pub(super) fn take(&mut self, tokens: u64) -> u64 {
        self.requests.take(1);
        self.tokens.take(tokens);
        self.day.requests = self.day.requests.saturating_add(1);
        self.day.tokens = self.day.tokens.saturating_add(tokens);
        self.running = self.running.saturating_add(1);
        self.tokens.taken
    }

    /// Puts what was really used in the place of what was taken on day `taken_on`, under `mark`.
    pub(super) fn settle(&mut self, taken: u64, actual: u64, taken_on: i64, mark: u64) {
        self.running = self.running.saturating_sub(1);
        if actual >= taken {
            self.tokens.take(actual - taken);
        } else {
            self.tokens.give_back(taken - actual, taken, mark);
        }
        // A reservation of yesterday is yesterday's: its estimate stays there.
        if self.day.number == taken_on {
            self.day.tokens = self.day.tokens.saturating_sub(taken).saturating_add(actual);
        }
    }

    /// Whether nothing is lost by forgetting these accounts.
    pub(super) fn is_idle(&self, now: Now) -> bool {
        self.running == 0
            && self.requests.spent == 0
            && self.tokens.spent == 0
            && self.day.number < Day::of(now.date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn a_minute_gives_back_what_its_limit_allows_and_no_more() {
        let mut minute = Minute::default();
        minute.take(10);
        assert_eq!((minute.used(), minute.remaining(10)), (10, 0));
        assert_eq!(minute.wait_for(1, 10), Some(Duration::from_secs(6)));
        minute.leak(at(5_999), Some(10));
        assert_eq!(minute.wait_for(1, 10), Some(Duration::from_millis(1)));
        minute.leak(at(6_000), Some(10));
        assert_eq!(minute.wait_for(1, 10), Some(Duration::ZERO));
        minute.leak(at(60_000), Some(10));
        assert_eq!((minute.used(), minute.reset(10)), (0, Duration::ZERO));
    }

    #[test]
    fn what_has_leaked_out_is_not_given_back() {
        let mut counters = Counters::default();
        let first = counters.take(60);
        counters.tokens.leak(at(30_000), Some(60));
        let second = counters.take(60);
        assert_eq!(counters.tokens.used(), 90);
        // Half of the first has leaked: of its 60 no more than 30 are there to be given back.
        counters.settle(60, 0, 0, first);
        assert_eq!(counters.tokens.used(), 60, "the second's are all there");
        counters.settle(60, 20, 0, second);
        assert_eq!(counters.tokens.used(), 20);
    }

    #[test]
    fn what_is_given_back_leaks_no_more() {
        let mut counters = Counters::default();
        let (first, second) = (counters.take(60), counters.take(60));
        counters.settle(60, 0, 0, second);
        counters.tokens.leak(at(60_000), Some(60));
        assert_eq!(counters.tokens.used(), 0);
        counters.take(10);
        counters.settle(60, 0, 0, first);
        assert_eq!(counters.tokens.used(), 10, "nothing of the first is left");
    }

    #[test]
    fn more_than_the_limit_never_fits() {
        assert_eq!(Minute::default().wait_for(11, 10), None);
    }

    #[test]
    fn time_that_runs_back_gives_nothing() {
        let mut minute = Minute { at_ms: 60_000, ..Minute::default() };
        minute.take(5);
        minute.leak(at(0), Some(10));
        assert_eq!((minute.spent, minute.at_ms), (5 * PARTS, 60_000));
        let mut day = Day { number: 5, requests: 1, tokens: 7 };
        day.roll(at(4 * DAY_MS));
        assert_eq!((day.number, day.tokens), (4, 7));
        day.roll(at(6 * DAY_MS));
        assert_eq!(day.tokens, 0);
    }

    #[test]
    fn the_tightest_set_counts_and_zero_is_no_limit() {
        let wide = LimitSet { requests_per_minute: Some(9), ..LimitSet::default() };
        let tight = LimitSet { requests_per_minute: Some(2), ..LimitSet::default() };
        let none = LimitSet { requests_per_minute: Some(0), ..LimitSet::default() };
        assert_eq!(Bounds::tightest([&wide, &tight, &none]).requests, Some(2));
        assert_eq!(Bounds::tightest([&none]).requests, None);
    }
}
