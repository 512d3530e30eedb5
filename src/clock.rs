//! Time: the only place that reads the wall clock, so that tests can set it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A moment: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Makes a timestamp from milliseconds since the Unix epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment plus a duration; saturates at the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment minus a duration; saturates.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero where it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 text in UTC, always with three digits of a second: sorted as text, it is sorted
    /// by time.
    pub fn rfc3339(self) -> String {
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        );
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|moment| moment.format(format).ok())
            .unwrap_or_else(|| format!("{}ms", self.0))
    }

    /// Reads RFC 3339 text.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.rfc3339())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

/// The clock of the process. It never goes backwards: when the system's clock is set back, it
/// stands still until that clock has caught up, so no record is dated before an earlier one.
#[derive(Clone, Debug)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
    latest: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { manual: None, latest: Arc::new(AtomicI64::new(0)) }
    }

    /// A clock that moves only when told to, for tests.
    pub fn manual(start: Timestamp) -> Self {
        Self {
            manual: Some(Arc::new(AtomicI64::new(start.0))),
            latest: Arc::new(AtomicI64::new(0)),
        }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        let read = match &self.manual {
            Some(manual) => manual.load(Ordering::SeqCst),
            None => system_ms(),
        };
        Timestamp(self.latest.fetch_max(read, Ordering::SeqCst).max(read))
    }

    /// Tells the clock the newest moment already on record, so that a restart with a clock that
    /// was set back does not date new records before old ones.
    pub fn not_before(&self, moment: Timestamp) {
        self.latest.fetch_max(moment.0, Ordering::SeqCst);
    }

    /// How far the system's clock lies behind the newest moment that this clock has given out.
    pub fn lag(&self) -> Duration {
        let read = match &self.manual {
            Some(manual) => manual.load(Ordering::SeqCst),
            None => system_ms(),
        };
        let latest = self.latest.load(Ordering::SeqCst);
        Duration::from_millis(u64::try_from(latest.saturating_sub(read)).unwrap_or(0))
    }

    /// Moves a manual clock; no effect on the system's.
    pub fn set(&self, moment: Timestamp) {
        if let Some(manual) = &self.manual {
            manual.store(moment.0, Ordering::SeqCst);
        }
    }

    /// Moves a manual clock forward; no effect on the system's.
    pub fn advance(&self, duration: Duration) {
        if let Some(manual) = &self.manual {
            let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
            manual.fetch_add(ms, Ordering::SeqCst);
        }
    }
}

fn system_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_still_when_it_is_set_back() {
        let clock = Clock::manual(Timestamp::from_ms(1_000));
        assert_eq!(clock.now().ms(), 1_000);
        clock.set(Timestamp::from_ms(400));
        assert_eq!(clock.now().ms(), 1_000);
        assert_eq!(clock.lag(), Duration::from_millis(600));
        clock.set(Timestamp::from_ms(1_500));
        assert_eq!(clock.now().ms(), 1_500);
    }

    #[test]
    fn texts_are_in_the_order_of_their_moments() {
        let texts: Vec<String> =
            [0, 1, 9, 10, 11, 100, 120, 123, 999, 1_000].map(|ms| Timestamp(ms).rfc3339()).into();
        assert!(texts.is_sorted(), "{texts:?}");
        assert_eq!(texts[7], "1970-01-01T00:00:00.123Z");
    }

    #[test]
    fn timestamps_survive_a_round_trip_through_text() {
        for ms in [0, 1, 1_700_000_000_123, -62_135_596_800_000] {
            let moment = Timestamp::from_ms(ms);
            assert_eq!(Timestamp::parse(&moment.rfc3339()), Some(moment));
        }
    }
}
