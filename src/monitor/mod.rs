//! Alerts, posture, the bill of materials and advisories.

pub(crate) mod advisories;
pub(crate) mod sbom;
