//! When a scheduled run is due: long enough after the last try, and once, however many were missed
//! while the server was down.

use std::time::Duration;

use super::{Evals, EvalsError, Origin, StartRequest};
use crate::clock::Timestamp;
use crate::config::{Evals as EvalSettings, Schedule};

/// The first look: people come first after a start.
const FIRST_LOOK: Duration = Duration::from_mins(5);
/// The looks after it.
const LOOK_EVERY: Duration = Duration::from_mins(10);
const DAY: Duration = Duration::from_hours(24);

/// Whether a run is due.
fn is_due(schedule: Schedule, last: Option<Timestamp>, now: Timestamp) -> bool {
    let period = match schedule {
        Schedule::Never => return false,
        Schedule::Daily => DAY,
        Schedule::Weekly => 7 * DAY,
        Schedule::Monthly => 30 * DAY,
    };
    last.is_none_or(|last| now.since(last) >= period)
}

impl Evals {
    /// Starts scheduled runs as they fall due, for as long as it is polled.
    pub(crate) async fn keep_schedule(self, settings: EvalSettings) {
        if settings.schedule == Schedule::Never {
            return;
        }
        let mut look =
            tokio::time::interval_at(tokio::time::Instant::now() + FIRST_LOOK, LOOK_EVERY);
        loop {
            look.tick().await;
            if let Err(error) = self.start_if_due(&settings).await {
                tracing::warn!(cause = %error, "the scheduled evaluation could not be started");
            }
        }
    }

    /// Starts the scheduled run if it is due; says whether it did. A model that is still being
    /// read, or another run that is under way, is waited for until the next look.
    pub(super) async fn start_if_due(&self, settings: &EvalSettings) -> Result<bool, EvalsError> {
        let name = (!settings.model.is_empty()).then_some(settings.model.as_str());
        let request = StartRequest::new(&settings.suite, name, Origin::Schedule);
        let model = match self.model(&request) {
            Err(EvalsError::ModelNotReady) => return Ok(false),
            found => found?,
        };
        let last = self.last_try(&settings.suite, &model.name).await?;
        if !is_due(settings.schedule, last, self.now()) {
            return Ok(false);
        }
        match self.start(request).await {
            Err(EvalsError::AlreadyRunning) => Ok(false),
            started => started.map(|_| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_due_after_its_period_and_once() {
        let start = Timestamp::from_ms(1_800_000_000_000);
        let later = |days: f64| start.plus(DAY.mul_f64(days));
        for (schedule, days, expected) in [
            (Schedule::Never, 9_999.0, false),
            (Schedule::Daily, 0.9, false),
            (Schedule::Daily, 1.0, true),
            (Schedule::Weekly, 6.9, false),
            (Schedule::Weekly, 400.0, true),
            (Schedule::Monthly, 29.0, false),
            (Schedule::Monthly, 30.0, true),
        ] {
            assert_eq!(is_due(schedule, Some(start), later(days)), expected, "{schedule:?} {days}");
        }
        assert!(is_due(Schedule::Monthly, None, start));
        assert!(!is_due(Schedule::Never, None, start));
        // A clock that was set back a little starts none.
        assert!(!is_due(Schedule::Daily, Some(later(0.01)), start));
    }
}
