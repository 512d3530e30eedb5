//! Fairness suites, runs, reports. A run scores given sentences on the gate's road, and keeps ids
//! and numbers; nothing that a person wrote comes in here.

mod store;

#[expect(unused_imports, reason = "for the posture page, which is not here yet")]
pub(crate) use store::{RunSummary, last_run};
