//! Alerts, posture, the bill of materials and advisories.
