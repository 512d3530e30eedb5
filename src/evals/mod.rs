//! Fairness suites, runs, reports and schedules.
