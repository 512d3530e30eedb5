//! The tamper-evident record of every access and act.
