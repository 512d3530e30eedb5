//! Time: the only place that reads the wall clock, so that tests can set it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
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

    /// Whether it lies further after `now` than clocks go wrong by themselves. What was begun then was
    /// begun by a clock that was ahead, and would outlive its time by as much.
    pub fn is_ahead_of(self, now: Self) -> bool {
        self.since(now) > DRIFT
    }

    /// The day in UTC.
    pub fn date(self) -> Option<time::Date> {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000);
        moment.ok().map(OffsetDateTime::date)
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

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// So far a clock goes wrong, or is set right, without anything being made of it.
pub const DRIFT: Duration = Duration::from_mins(5);
/// Further than this from where it should be, the system's clock is told of.
const JUMP: Duration = Duration::from_hours(1);
/// For so long a clock that is behind the newest record may be set right.
const DOUBT: Duration = Duration::from_hours(1);
/// What stands for no moment at which a doubt began.
const NO_DOUBT: i64 = i64::MIN;

/// The clock of the process. It tells three times:
///
/// - `now`: what the system's clock says, whatever it said before. When something expires is
///   decided by this alone, so a clock that was once wrong does no harm once it is right again;
/// - `steady`: what it said at the start, plus what has passed since, by a clock that nobody sets.
///   For delays and limits, which nobody is to shorten or to stretch by setting a clock;
/// - `now` of the `ordered` clock: never earlier than what it told before, nor than the newest
///   record on disk; where the system's clock was set back, it stands still until that has caught
///   up. For the order of records, and for nothing else.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Arc<Shared>,
    is_ordered: bool,
}

#[derive(Debug)]
struct Shared {
    source: Source,
    latest: AtomicI64,
    /// By how much `now` was ahead of `steady` when that was last looked at.
    ahead_ms: AtomicI64,
    /// When it was first found behind the newest record, by `steady`; `NO_DOUBT` where it is not.
    doubted_ms: AtomicI64,
    jumps: Mutex<Vec<ClockJump>>,
}

#[derive(Debug)]
enum Source {
    System { start_ms: i64, begun: Instant },
    Manual { now_ms: AtomicI64, steady_ms: AtomicI64 },
}

/// The system's clock was found far from where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockJump {
    /// It moved by so many milliseconds more than passed; fewer than none: it was set back.
    Moved(i64),
    /// The newest record is dated so many milliseconds after it.
    Behind(i64),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::with(Source::System { start_ms: system_ms(), begun: Instant::now() })
    }

    /// A clock that moves only when told to, for tests.
    pub fn manual(start: Timestamp) -> Self {
        let (now_ms, steady_ms) = (AtomicI64::new(start.0), AtomicI64::new(start.0));
        Self::with(Source::Manual { now_ms, steady_ms })
    }

    fn with(source: Source) -> Self {
        let (latest, ahead_ms) = (AtomicI64::new(0), AtomicI64::new(0));
        let doubted_ms = AtomicI64::new(NO_DOUBT);
        let shared = Shared { source, latest, ahead_ms, doubted_ms, jumps: Mutex::default() };
        Self { shared: Arc::new(shared), is_ordered: false }
    }

    /// The same clock, for those who keep records in order.
    #[must_use]
    pub fn ordered(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), is_ordered: true }
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        let read = self.shared.read();
        self.shared.look_for_jump(read);
        if !self.is_ordered {
            return Timestamp(read);
        }
        Timestamp(self.shared.latest.fetch_max(read, Ordering::SeqCst).max(read))
    }

    /// The moment by a clock that nobody sets while the process runs.
    pub fn steady(&self) -> Timestamp {
        Timestamp(self.shared.steady())
    }

    /// Tells the clock the newest moment already on record, so that a restart with a clock that
    /// was set back does not date new records before old ones.
    pub fn not_before(&self, moment: Timestamp) {
        self.shared.latest.fetch_max(moment.0, Ordering::SeqCst);
        let behind_ms = moment.0.saturating_sub(self.shared.read());
        if behind_ms > as_ms(JUMP) {
            self.shared.jumps.lock().push(ClockJump::Behind(behind_ms));
        }
    }

    /// How far the system's clock lies behind the newest moment of the ordered clock.
    pub fn lag(&self) -> Duration {
        let latest = self.shared.latest.load(Ordering::SeqCst);
        let behind = latest.saturating_sub(self.shared.read());
        Duration::from_millis(u64::try_from(behind).unwrap_or(0))
    }

    /// Whether it is this clock that is in doubt, and not what is dated in the future: it lies further
    /// behind the newest record than clocks go wrong by themselves, and has not done so for long. A
    /// machine may start before it has asked for the time. A clock that nobody sets right was ahead before.
    pub fn is_in_doubt(&self) -> bool {
        let doubted = &self.shared.doubted_ms;
        if self.lag() <= DRIFT {
            doubted.store(NO_DOUBT, Ordering::SeqCst);
            return false;
        }
        let steady = self.shared.steady();
        let order = Ordering::SeqCst;
        let since = doubted.compare_exchange(NO_DOUBT, steady, order, order).err();
        steady.saturating_sub(since.unwrap_or(steady)) < as_ms(DOUBT)
    }

    /// The jumps that were found since the last time, for the record.
    pub fn take_jumps(&self) -> Vec<ClockJump> {
        std::mem::take(&mut self.shared.jumps.lock())
    }

    /// Sets a manual clock, as somebody sets the system's; no time passes. No effect on the
    /// system's.
    pub fn set(&self, moment: Timestamp) {
        if let Source::Manual { now_ms, .. } = &self.shared.source {
            now_ms.store(moment.0, Ordering::SeqCst);
        }
    }

    /// Lets time pass on a manual clock; no effect on the system's.
    pub fn advance(&self, duration: Duration) {
        if let Source::Manual { now_ms, steady_ms } = &self.shared.source {
            now_ms.fetch_add(as_ms(duration), Ordering::SeqCst);
            steady_ms.fetch_add(as_ms(duration), Ordering::SeqCst);
        }
    }
}

impl Shared {
    fn read(&self) -> i64 {
        match &self.source {
            Source::System { .. } => system_ms(),
            Source::Manual { now_ms, .. } => now_ms.load(Ordering::SeqCst),
        }
    }

    fn steady(&self) -> i64 {
        match &self.source {
            Source::System { start_ms, begun } => start_ms.saturating_add(as_ms(begun.elapsed())),
            Source::Manual { steady_ms, .. } => steady_ms.load(Ordering::SeqCst),
        }
    }

    /// Every jump is told once: where the clock was found is where it should be from then on.
    fn look_for_jump(&self, read: i64) {
        let ahead = read.saturating_sub(self.steady());
        let known = self.ahead_ms.load(Ordering::Relaxed);
        let moved = ahead.saturating_sub(known);
        let is_far = moved.unsigned_abs() > as_ms(JUMP).unsigned_abs();
        let relaxed = Ordering::Relaxed;
        if is_far && self.ahead_ms.compare_exchange(known, ahead, relaxed, relaxed).is_ok() {
            self.jumps.lock().push(ClockJump::Moved(moved));
        }
    }
}

fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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
    fn the_ordered_clock_stands_still_when_it_is_set_back() {
        let set = Clock::manual(Timestamp::from_ms(1_000));
        let clock = set.ordered();
        assert_eq!(clock.now().ms(), 1_000);
        set.set(Timestamp::from_ms(400));
        assert_eq!(clock.now().ms(), 1_000);
        assert_eq!(clock.lag(), Duration::from_millis(600));
        set.set(Timestamp::from_ms(1_500));
        assert_eq!(clock.now().ms(), 1_500);
    }

    #[test]
    fn one_reading_from_the_future_does_not_stop_the_clock() {
        let clock = Clock::manual(Timestamp::from_ms(0));
        clock.set(Timestamp::from_ms(86_400_000));
        assert_eq!(clock.ordered().now().ms(), 86_400_000);
        assert_eq!((clock.now().ms(), clock.steady().ms()), (86_400_000, 0));
        clock.set(Timestamp::from_ms(1_000));
        clock.advance(Duration::from_secs(1));
        assert_eq!((clock.now().ms(), clock.steady().ms()), (2_000, 1_000));
        assert_eq!(clock.ordered().now().ms(), 86_400_000, "records stay in order");
    }

    #[test]
    fn jumps_of_more_than_an_hour_are_told_once() {
        let clock = Clock::manual(Timestamp::from_ms(0));
        let hour = 3_600_000;
        for (set, told) in [
            (hour, vec![]),
            (hour + 1, vec![ClockJump::Moved(hour + 1)]),
            (hour + 2, vec![]),
            (0, vec![ClockJump::Moved(-hour - 1)]),
        ] {
            clock.set(Timestamp::from_ms(set));
            clock.now();
            assert_eq!(clock.take_jumps(), told, "set to {set}");
        }
        clock.advance(Duration::from_hours(5));
        clock.now();
        clock.not_before(Timestamp::from_ms(6 * hour));
        assert_eq!(clock.take_jumps(), []);
        clock.not_before(Timestamp::from_ms(6 * hour + 1));
        assert_eq!(clock.take_jumps(), [ClockJump::Behind(hour + 1)]);
    }

    #[test]
    fn a_clock_behind_the_newest_record_is_in_doubt_for_an_hour() {
        let start = Timestamp::from_ms(0);
        let clock = Clock::manual(start);
        clock.not_before(start.plus(DRIFT));
        assert!(!clock.is_in_doubt(), "clocks go wrong by that much");
        let tomorrow = start.plus(Duration::from_hours(24));
        clock.not_before(tomorrow);
        assert!(clock.is_in_doubt());
        let moment = Duration::from_millis(1);
        clock.advance(DOUBT.saturating_sub(moment));
        assert!(clock.is_in_doubt());
        clock.advance(moment);
        assert!(!clock.is_in_doubt(), "nobody has set it right");
        clock.set(tomorrow);
        assert!(!clock.is_in_doubt());
        clock.set(start);
        assert!(clock.is_in_doubt(), "a doubt of its own");
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
