//! Slots of time: the days and the hours that use is summed up by, in UTC.

use time::Date;
use time::macros::date;

use crate::clock::Timestamp;

const EPOCH: Date = date!(1970 - 01 - 01);

/// How long a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Width {
    /// In seconds.
    pub(crate) const fn seconds(self) -> i64 {
        match self {
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// The slot that a moment lies in.
    pub(crate) const fn slot(self, seconds: i64) -> i64 {
        seconds.div_euclid(self.seconds())
    }

    /// The first slot that begins at a moment or after it.
    pub(crate) fn slot_from(self, seconds: i64) -> i64 {
        self.slot(seconds.saturating_add(self.seconds() - 1))
    }
}

/// Slots from the one up to the other, which is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Of which length.
    pub(crate) width: Width,
    /// The first.
    pub(crate) first: i64,
    /// The one behind the last.
    pub(crate) end: i64,
}

/// Reads a day, as ISO 8601 writes it: its slot.
pub(super) fn parse_day(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let mut next = |digits: usize| {
        let part = parts.next()?;
        let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<u16>().ok()).flatten()
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    if parts.next().is_some() {
        return None;
    }
    let month = time::Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;
    Some((date - EPOCH).whole_days())
}

/// Writes a day.
pub(super) fn day_text(slot: i64) -> String {
    let moment = Timestamp::from_ms(slot.saturating_mul(Width::Day.seconds() * 1_000));
    moment.date().map_or_else(String::new, |date| {
        format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_lie_in_their_slots() {
        for (width, seconds, slot, from) in [
            (Width::Day, 0, 0, 0),
            (Width::Day, 1, 0, 1),
            (Width::Day, 86_399, 0, 1),
            (Width::Day, 86_400, 1, 1),
            (Width::Day, -1, -1, 0),
            (Width::Hour, 3_599, 0, 1),
            (Width::Hour, 3_600, 1, 1),
            (Width::Hour, 1_730_419_200, 480_672, 480_672),
        ] {
            assert_eq!((width.slot(seconds), width.slot_from(seconds)), (slot, from), "{seconds}");
        }
        assert!(Width::Day.slot_from(i64::MAX) > 0);
    }

    #[test]
    fn days_survive_a_round_trip_through_text() {
        for (text, slot) in
            [("1970-01-01", 0), ("1970-01-02", 1), ("2024-02-29", 19_782), ("2026-11-29", 20_786)]
        {
            assert_eq!(parse_day(text), Some(slot), "{text}");
            assert_eq!(day_text(slot), text);
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2026",
            "2026-1-1",
            "2026-13-01",
            "2026-02-29",
            "2026-01-32",
            "2026-01-01T00",
            "2026-01-01-01",
            "26-01-01",
            "+026-01-01",
            "2026/01/01",
            "-2026-01-01",
            "2026-00-10",
        ] {
            assert_eq!(parse_day(text), None, "{text}");
        }
    }
}
