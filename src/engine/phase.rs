//! Whether a thread of the engine takes work: one idea for the thread that writes and for the one that
//! makes vectors.

use std::time::{Duration, Instant};

use super::error::EngineError;

/// Where a thread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It takes work.
    Open,
    /// No new work; what is there may go on until then.
    Closing(Instant),
    /// No new work, because what it did kept failing.
    Unhealthy,
    /// It is gone, or about to go.
    Ended,
}

impl Phase {
    /// Lets new work in, or says why not.
    pub(super) fn admit(self) -> Result<(), EngineError> {
        match self {
            Self::Open => Ok(()),
            Self::Closing(_) | Self::Ended => Err(EngineError::Closed),
            Self::Unhealthy => Err(EngineError::Unhealthy),
        }
    }

    /// Lets nothing new in; what is there may go on for the time given, or for less where less was
    /// given before.
    pub(super) fn close(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        *self = match *self {
            Self::Ended => Self::Ended,
            Self::Closing(earlier) => Self::Closing(earlier.min(end)),
            Self::Open | Self::Unhealthy => Self::Closing(end),
        };
    }

    /// Takes no more work because it keeps failing.
    pub(super) fn mark_unhealthy(&mut self) {
        if *self == Self::Open {
            *self = Self::Unhealthy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_open_thread_takes_work() {
        assert!(Phase::Open.admit().is_ok());
        assert!(matches!(Phase::Closing(Instant::now()).admit(), Err(EngineError::Closed)));
        assert!(matches!(Phase::Ended.admit(), Err(EngineError::Closed)));
        assert!(matches!(Phase::Unhealthy.admit(), Err(EngineError::Unhealthy)));
    }

    #[test]
    fn the_shortest_time_holds_and_what_has_ended_stays_so() {
        let mut phase = Phase::Unhealthy;
        phase.close(Duration::from_mins(1));
        let first = phase;
        phase.close(Duration::from_mins(10));
        assert_eq!(phase, first);
        phase.close(Duration::ZERO);
        assert!(
            matches!((phase, first), (Phase::Closing(end), Phase::Closing(before)) if end < before)
        );
        phase.mark_unhealthy();
        assert!(matches!(phase, Phase::Closing(_)));
        let mut ended = Phase::Ended;
        ended.close(Duration::ZERO);
        ended.mark_unhealthy();
        assert_eq!(ended, Phase::Ended);
    }
}
