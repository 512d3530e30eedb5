//! Stretches of the calendar, in UTC, and what was used in one of them.

use std::time::Duration;

use time::{Date, Month};

use crate::clock::Timestamp;

const DAY_MS: i64 = 86_400_000;
const MONTHS: i64 = 12;

/// A stretch that use is counted over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Day,
    Month,
}

impl Span {
    /// The number of the stretch that a moment lies in: days since the epoch; twelve times the year and
    /// the month of it, from 0.
    pub(super) fn number(self, moment: Timestamp) -> i64 {
        match self {
            Self::Day => moment.ms().div_euclid(DAY_MS),
            Self::Month => {
                let outer = if moment.ms() < 0 { Date::MIN } else { Date::MAX };
                let date = moment.date().unwrap_or(outer);
                i64::from(date.year()) * MONTHS + i64::from(u8::from(date.month())) - 1
            }
        }
    }

    /// The first moment of a stretch.
    fn begin(self, number: i64) -> Timestamp {
        let ms = match self {
            Self::Day => number.checked_mul(DAY_MS),
            Self::Month => first_of_month(number),
        };
        Timestamp::from_ms(ms.unwrap_or(i64::MAX))
    }

    /// How long until the next one begins.
    pub(super) fn until_next(self, number: i64, now: Timestamp) -> Duration {
        self.begin(number.saturating_add(1)).since(now)
    }
}

fn first_of_month(number: i64) -> Option<i64> {
    let year = i32::try_from(number.div_euclid(MONTHS)).ok()?;
    let month = Month::try_from(u8::try_from(number.rem_euclid(MONTHS) + 1).ok()?).ok()?;
    let date = Date::from_calendar_date(year, month, 1).ok()?;
    date.midnight().assume_utc().unix_timestamp().checked_mul(1_000)
}

/// What was used in one stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Period {
    /// Which one.
    pub(super) number: i64,
    pub(super) requests: u64,
    pub(super) tokens: u64,
    /// How many stretches were begun since the start: what was reserved in another one is not settled in
    /// this one.
    turn: u64,
    /// What was used in the last one before, for a clock that is set back into it.
    before: Option<Used>,
}

/// What is on record of one stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) number: i64,
    pub(super) requests: u64,
    pub(super) tokens: u64,
}

/// The tokens of a reservation, as a period took them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted(u64);

impl Period {
    /// As it was written down.
    pub(super) fn kept(now: Used, before: Option<Used>) -> Self {
        let Used { number, requests, tokens } = now;
        Self { number, requests, tokens, turn: 0, before }
    }

    /// Begins a new stretch where one has begun. A clock set back begins none: what was counted since
    /// is counted on the stretch that it shows now, with what was used there before. Nothing is given
    /// away, and nobody waits for a day that is far off.
    pub(super) fn roll(&mut self, number: i64) {
        if number > self.number {
            let Self { number: from, requests, tokens, turn, .. } = *self;
            let before =
                (requests > 0 || tokens > 0).then_some(Used { number: from, requests, tokens });
            *self =
                Self { number, turn: turn + 1, before: before.or(self.before), ..Self::default() };
        } else if number < self.number {
            self.number = number;
            if let Some(used) = self.before.take_if(|used| used.number >= number) {
                self.requests = self.requests.saturating_add(used.requests);
                self.tokens = self.tokens.saturating_add(used.tokens);
            }
        }
    }

    /// Counts a request.
    pub(super) fn enter(&mut self) {
        self.requests = self.requests.saturating_add(1);
    }

    /// Counts the tokens of a reservation.
    pub(super) fn take(&mut self, tokens: u64) -> Counted {
        self.tokens = self.tokens.saturating_add(tokens);
        Counted(self.turn)
    }

    /// Puts what was really used in the place of what was taken. A reservation of another stretch is that
    /// one's: its estimate stays there.
    pub(super) fn settle(&mut self, counted: Counted, taken: u64, actual: u64) {
        if counted.0 == self.turn {
            self.tokens = self.tokens.saturating_sub(taken).saturating_add(actual);
        }
    }

    /// Whether nothing that still counts is lost by forgetting it.
    pub(super) fn is_idle(&self, number: i64) -> bool {
        self.number < number || (self.requests == 0 && self.tokens == 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a moment")
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let check = |moment: &str, next: &str| {
            let (now, next) = (at(moment), at(next));
            let number = Span::Month.number(now);
            assert_eq!(now.plus(Span::Month.until_next(number, now)), next, "{moment}");
            assert_eq!(Span::Month.number(next), number + 1, "{moment}");
        };
        check("2026-01-31T23:59:59.999Z", "2026-02-01T00:00:00Z");
        check("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
        check("2028-02-29T12:00:00Z", "2028-03-01T00:00:00Z");
        check("2100-02-28T12:00:00Z", "2100-03-01T00:00:00Z");
        check("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z");
        check("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z");
    }

    #[test]
    fn moments_beyond_the_calendar_have_a_month_all_the_same() {
        for ms in [i64::MIN, i64::MAX] {
            let moment = Timestamp::from_ms(ms);
            let number = Span::Month.number(moment);
            assert_eq!(Span::Month.number(moment), number);
            let _ = Span::Month.until_next(number, moment);
        }
    }

    proptest! {
        #[test]
        fn a_moment_lies_in_the_stretch_that_it_is_said_to_lie_in(ms in 0_i64..4_102_444_800_000) {
            let now = Timestamp::from_ms(ms);
            for span in [Span::Day, Span::Month] {
                let number = span.number(now);
                let wait = span.until_next(number, now);
                prop_assert!(wait > Duration::ZERO);
                prop_assert_eq!(span.number(now.plus(wait)), number + 1);
                let last = now.plus(wait).minus(Duration::from_millis(1));
                prop_assert_eq!(span.number(last), number);
            }
        }

        /// Between two stretches, whatever the clock does: the earlier one holds all that was ever used,
        /// the later one what was used since it last began.
        #[test]
        fn a_clock_that_goes_back_gives_nothing_away(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..50, 0_u64..50), 1..60),
        ) {
            let mut period = Period { number: 10, ..Period::default() };
            let (mut all, mut since) = (0, 0);
            for (is_later, tokens, actual) in steps {
                let number = if is_later { 11 } else { 10 };
                if number > period.number {
                    since = 0;
                }
                period.roll(number);
                let counted = period.take(tokens);
                period.settle(counted, tokens, actual);
                all += actual;
                since += actual;
                prop_assert_eq!(period.number, number);
                prop_assert_eq!(period.tokens, if is_later { since } else { all });
            }
        }
    }

    #[test]
    fn a_budget_that_is_used_up_stays_so_when_the_clock_goes_ahead_and_back() {
        let mut period = Period { number: 10, ..Period::default() };
        period.take(100);
        period.roll(11);
        assert_eq!(period.tokens, 0, "a new one");
        period.take(10);
        period.roll(10);
        assert_eq!((period.number, period.tokens), (10, 110));
        period.roll(11);
        assert_eq!(period.tokens, 0);
        // Further back than what is on record: it is on record for the one that the clock shows.
        period.take(5);
        period.roll(3);
        assert_eq!((period.number, period.tokens), (3, 115));
    }

    #[test]
    fn a_reservation_is_settled_in_the_stretch_that_it_was_taken_in() {
        let mut period = Period { number: 10, ..Period::default() };
        let counted = period.take(100);
        period.roll(11);
        period.take(60);
        period.settle(counted, 100, 10);
        assert_eq!(period.tokens, 60, "it is of the one before");
        // The same number again is not the same stretch.
        let mut period = Period { number: 10, ..Period::default() };
        let counted = period.take(100);
        period.roll(9);
        period.roll(10);
        period.take(50);
        period.settle(counted, 100, 10);
        assert_eq!(period.tokens, 50);
    }
}
